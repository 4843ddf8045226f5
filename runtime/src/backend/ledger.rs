//! The ledger's rows in SQL that both engines understand.
//!
//! Parameters are text and are cast where the column is no text; times are the server's.

use super::{
    Backend, DbError, DbResult, ErrorClass, LEDGER_FORMAT, Lease, Ledger, Process, Recorded, Retired, RetiredByHand,
    StepState, Worker, digest,
};
use crate::{
    error::{Error, Result},
    model::Schema,
    plan::{Plan, Step},
};

/// A day, in milliseconds: after such a silence nobody is counted with.
const DAY: i64 = 86_400_000;

/// For so long what is known of a version that ended is kept.
const KEPT: i64 = 90 * DAY;

/// An error of the ledger for people.
pub fn explain<B: Backend>(doing: &str, error: DbError) -> Error {
    match error.class {
        ErrorClass::Forbidden => {
            Error::Forbidden { action: doing.to_owned(), cause: error.message, grant: B::SQL.rights.to_owned() }
        }
        ErrorClass::Unreadable => Error::LedgerDamaged { cause: error.message },
        ErrorClass::ReadOnly => Error::ReadOnly { doing: doing.to_owned(), cause: error.message },
        ErrorClass::Connection => {
            Error::ConnectionLost { doing: doing.to_owned(), code: error.code, cause: error.message }
        }
        _ => Error::Database { doing: doing.to_owned(), code: error.code, cause: error.message },
    }
}

/// Reads the ledger in one query; none when there is none. `known` are ids whose plans the reader has itself.
///
/// # Errors
/// When the ledger is of a newer format, a right is missing, or the server fails.
pub async fn read<B: Backend>(db: &mut B, known: &[&str]) -> Result<Option<Ledger>> {
    let sql = query::<B>(known);
    let mut found = db.rows(&sql, &[]).await;
    if found.as_ref().is_err_and(|e| e.class == ErrorClass::Missing) {
        // Of a newer format, a column or table of ours may be missing: say so, do not take it for an empty database.
        match format_of(db).await {
            None => return Ok(None),
            Some(format) if format > LEDGER_FORMAT => {
                return Err(Error::LedgerTooNew { found: format, newest: LEDGER_FORMAT });
            }
            // Somebody has created it since.
            Some(_) => found = db.rows(&sql, &[]).await,
        }
    }
    let rows = found.map_err(|e| explain::<B>("read the ledger", e))?;
    let Some(text) = rows.into_iter().next().and_then(|mut row| row.pop().flatten()) else {
        // It is made in the transaction that makes the table, and nothing deletes it.
        return Err(Error::LedgerDamaged { cause: "the row of its table `meta` is gone".to_owned() });
    };
    parsed::<B>(&text).map(Some)
}

/// What one query says of the whole ledger, in one row and column.
pub fn query<B: Backend>(known: &[&str]) -> String {
    let known = serde_json::to_string(known).unwrap_or_else(|_| "[]".to_owned());
    read_sql::<B>(&B::literal(&known))
}

/// The answer to [`query`].
///
/// # Errors
/// When the ledger is of a newer format, or nobody of ours wrote this.
pub fn parsed<B: Backend>(text: &str) -> Result<Ledger> {
    let ledger: Ledger = serde_json::from_str(text)
        .map_err(|e| explain::<B>("read the ledger", DbError::unreadable("the ledger", e)))?;
    if ledger.format > LEDGER_FORMAT {
        return Err(Error::LedgerTooNew { found: ledger.format, newest: LEDGER_FORMAT });
    }
    Ok(ledger)
}

/// Makes a table in a ledger that was made before there was one. The right to make tables is not asked for where it is there.
///
/// # Errors
/// When the server fails, or a right is missing.
pub async fn prepare<B: Backend>(db: &mut B, table: &str) -> Result<()> {
    let sql = format!("SELECT 1 FROM {} LIMIT 1", B::SQL.table(table));
    match db.is_true(&sql).await {
        Err(e) if e.class == ErrorClass::Missing => db.create_ledger().await,
        Err(e) => Err(explain::<B>("read the ledger", e)),
        Ok(_) => Ok(()),
    }
}

async fn format_of<B: Backend>(db: &mut B) -> Option<i64> {
    let sql = format!("SELECT CAST(format AS text) FROM {}", B::SQL.table("meta"));
    let rows = db.rows(&sql, &[]).await.ok()?;
    rows.first()?.first()?.as_deref()?.parse().ok()
}

fn read_sql<B: Backend>(known: &str) -> String {
    let q = B::SQL;
    let (object, array) = (q.object, q.array);
    let steps = q.json(&format!(
        "(SELECT {array} FROM (SELECT {object}('id', s.id, 'phase', s.phase, 'state', s.state, 'cursor', s.cursor, \
         'rows_done', s.rows_done, 'started_ms', {}, 'finished_ms', {}, 'attempts', s.attempts, \
         'last_error', s.last_error) AS j FROM {} s WHERE s.migration = g.id ORDER BY s.position) x)",
        q.ms("s.started_at"),
        q.ms("s.finished_at"),
        q.table("step"),
    ));
    let steps = q.json(&format!("CASE WHEN g.state = 'done' THEN {} ELSE {steps} END", q.empty));
    let migrations = q.json(&format!(
        "(SELECT {array} FROM (SELECT {object}('id', g.id, 'parent', g.parent, 'app', g.app, 'checksum', g.checksum, \
         'before', g.before_fingerprint, 'after', g.after_fingerprint, 'state', g.state, 'started_ms', {}, \
         'finished_ms', {}, 'applied_by', g.applied_by, \
         'plan', CASE WHEN g.id IN {} THEN NULL ELSE g.plan END, 'steps', {steps}) AS j FROM {} g ORDER BY g.id) y)",
        q.ms("g.started_at"),
        q.ms("g.finished_at"),
        q.texts.replace("{}", known),
        q.table("migration"),
    ));
    let retired = q.json(&format!(
        "(SELECT {array} FROM (SELECT {object}('app', r.app, 'version', r.version, 'migration', r.migration, \
         'step', r.step, 'way', r.way, 'reason', r.reason, 'at_ms', {}) AS j FROM {} r ORDER BY r.at) z)",
        q.ms("r.at"),
        q.table("retired"),
    ));
    let registered = q.json(&format!(
        "(SELECT {array} FROM (SELECT {object}('app', l.app, 'version', l.version) AS j \
         FROM (SELECT DISTINCT e.app, e.version FROM {} e WHERE e.ended_at IS NULL AND {} - {} < {DAY}) l) w)",
        q.table("lease"),
        q.ms(q.now),
        q.ms("e.heartbeat_at"),
    ));
    format!(
        "SELECT CAST({object}('format', m.format, 'epoch', m.epoch, 'now_ms', {}, 'migrations', {migrations}, \
         'retired', {retired}, 'registered', {registered}) AS text) FROM {} m",
        q.ms(q.now),
        q.table("meta"),
    )
}

/// Puts a migration and its steps on record, unless they are.
///
/// # Errors
/// When the server fails.
pub async fn begin_migration<B: Backend>(
    db: &mut B,
    plan: &Plan,
    text: &str,
    app: &str,
    ordinal: usize,
) -> DbResult<()> {
    let q = B::SQL;
    let (before, after, ordinal) = (plan.before.as_str(), plan.after.as_str(), ordinal.to_string());
    let host = format!(" on {}", Process::current().host);
    // Its steps may have been written anew since it was taken back: those of then would never end.
    let sql = format!(
        "DELETE FROM {} WHERE migration = $1 AND EXISTS (SELECT 1 FROM {} g WHERE g.id = $1 AND g.state = 'aborted')",
        q.table("step"),
        q.table("migration"),
    );
    db.run(&sql, &[Some(&plan.id)]).await?;
    let sql = format!(
        "INSERT INTO {} (id, parent, app, ordinal, checksum, plan, before_fingerprint, after_fingerprint, state, \
         started_at, applied_by) \
         VALUES ($1, $2, $3, CAST($4 AS integer), $5, $6, $7, $8, 'running', {}, {} || $9) \
         ON CONFLICT (id) DO UPDATE SET state = 'running', checksum = excluded.checksum, plan = excluded.plan, \
         parent = excluded.parent, ordinal = excluded.ordinal, before_fingerprint = excluded.before_fingerprint, \
         after_fingerprint = excluded.after_fingerprint, started_at = excluded.started_at, \
         applied_by = excluded.applied_by, finished_at = NULL",
        q.table("migration"),
        q.now,
        q.user,
    );
    let params = [
        Some(plan.id.as_str()),
        plan.parent.as_deref(),
        Some(app),
        Some(&ordinal),
        Some(&plan.checksum),
        Some(text),
        Some(before),
        Some(after),
        Some(&host),
    ];
    db.run(&sql, &params).await?;
    let sql = format!(
        "INSERT INTO {} (migration, id, position, phase, state) VALUES ($1, $2, CAST($3 AS integer), $4, 'pending') \
         ON CONFLICT (migration, id) DO NOTHING",
        q.table("step"),
    );
    for (position, step) in plan.steps.iter().enumerate() {
        let position = position.to_string();
        db.run(&sql, &[Some(&plan.id), Some(&step.id), Some(&position), Some(step.phase.as_str())]).await?;
    }
    note_digest(db).await
}

/// Whoever changes a row of a migration says in the same transaction what the rows are now, see [`digest`].
async fn note_digest<B: Backend>(db: &mut B) -> DbResult<()> {
    let sql = format!("SELECT id, parent, checksum, after_fingerprint, state FROM {}", B::SQL.table("migration"));
    let rows = db.rows(&sql, &[]).await?;
    let recorded = rows.iter().filter_map(|row| match row.as_slice() {
        [Some(id), parent, Some(checksum), Some(after), Some(state)] => {
            Some(Recorded { id, parent: parent.as_deref(), checksum, after, state })
        }
        _ => None, // only the parent can be NULL
    });
    let sql = format!("UPDATE {} SET digest = $1", B::SQL.table("meta"));
    db.run(&sql, &[Some(&digest(recorded))]).await.map(drop)
}

/// A step's begin outside its own transaction. From here on the database is in one of two states, so whoever read the
/// ledger before has to read it again: no version may register that would be served by the first of them alone.
///
/// # Errors
/// When the server fails.
pub async fn step_running<B: Backend>(db: &mut B, migration: &str, step: &Step) -> DbResult<()> {
    let sql = format!(
        "UPDATE {} SET state = 'running', started_at = coalesce(started_at, {}), finished_at = NULL \
         WHERE migration = $1 AND id = $2",
        B::SQL.table("step"),
        B::SQL.now,
    );
    db.run(&sql, &[Some(migration), Some(&step.id)]).await?;
    new_epoch(db).await
}

/// Marks a step whose `undo` has been carried out and whose `undo_proof` has not.
const UNPROVEN: &str = "taken back, not proven";

/// A step is taken back but for the proof: within the transaction that did it.
///
/// # Errors
/// When the server fails.
pub async fn step_unproven<B: Backend>(db: &mut B, migration: &str, step: &Step) -> DbResult<()> {
    let sql = format!("UPDATE {} SET cursor = $3 WHERE migration = $1 AND id = $2", B::SQL.table("step"));
    db.run(&sql, &[Some(migration), Some(&step.id), Some(UNPROVEN)]).await?;
    step_running(db, migration, step).await
}

/// Whether a step is taken back but for the proof.
///
/// # Errors
/// When the server fails.
pub async fn is_unproven<B: Backend>(db: &mut B, migration: &str, step: &str) -> DbResult<bool> {
    let sql = format!(
        "SELECT CAST(count(*) AS text) FROM {} WHERE migration = $1 AND id = $2 AND state = 'running' AND cursor = $3",
        B::SQL.table("step")
    );
    let rows = db.rows(&sql, &[Some(migration), Some(step), Some(UNPROVEN)]).await?;
    Ok(rows.into_iter().flatten().flatten().any(|count| count == "1"))
}

async fn new_epoch<B: Backend>(db: &mut B) -> DbResult<()> {
    let sql = format!("UPDATE {} SET epoch = epoch + 1", B::SQL.table("meta"));
    db.run(&sql, &[]).await.map(drop)
}

/// A step's end, done or undone.
///
/// # Errors
/// When the server fails.
pub async fn step_ended<B: Backend>(db: &mut B, migration: &str, step: &str, how: StepState) -> DbResult<()> {
    let (table, now) = (B::SQL.table("step"), B::SQL.now);
    let sql = format!(
        "UPDATE {table} SET state = $3, started_at = coalesce(started_at, {now}), finished_at = {now}, \
         attempts = attempts + 1, last_error = NULL, cursor = CASE WHEN $3 = 'undone' OR cursor = '{UNPROVEN}' THEN NULL ELSE cursor END, \
         rows_done = CASE WHEN $3 = 'undone' THEN 0 ELSE rows_done END \
         WHERE migration = $1 AND id = $2",
    );
    db.run(&sql, &[Some(migration), Some(step), Some(how.as_str())]).await?;
    new_epoch(db).await
}

/// Notes a failure, so that `status` can show it.
///
/// # Errors
/// When the server fails.
pub async fn step_failed<B: Backend>(db: &mut B, migration: &str, step: &str, error: &str) -> DbResult<()> {
    let sql = format!(
        "UPDATE {} SET attempts = attempts + 1, last_error = $3 WHERE migration = $1 AND id = $2",
        B::SQL.table("step")
    );
    db.run(&sql, &[Some(migration), Some(step), Some(error)]).await.map(drop)
}

/// A backfill's cursor and the rows it has changed by now, in the batch's own transaction: the only row that it writes beside
/// those of the table. False when somebody else has taken over, and the batch must not be committed.
///
/// # Errors
/// When the server fails.
pub async fn batch<B: Backend>(
    db: &mut B,
    token: &str,
    migration: &str,
    step: &str,
    cursor: &str,
    changed: u64,
) -> DbResult<bool> {
    // Where several write at once, the row is held so that nobody takes over before the batch is committed.
    let held = if B::SESSION_LOCKS { " FOR SHARE" } else { "" };
    let sql = format!(
        "UPDATE {} SET cursor = $3, rows_done = rows_done + CAST($4 AS bigint) WHERE migration = $1 AND id = $2 \
         AND EXISTS (SELECT 1 FROM {} WHERE token = $5{held})",
        B::SQL.table("step"),
        B::SQL.table("worker"),
    );
    let changed = changed.to_string();
    Ok(db.run(&sql, &[Some(migration), Some(step), Some(cursor), Some(&changed), Some(token)]).await? == 1)
}

/// Lets a backfill that is not done begin anew at the next time: filling twice changes nothing.
///
/// # Errors
/// When the server fails.
pub async fn rewind<B: Backend>(db: &mut B, migration: &str, step: &str) -> DbResult<()> {
    let sql = format!(
        "UPDATE {} SET cursor = NULL WHERE migration = $1 AND id = $2 AND state <> 'done'",
        B::SQL.table("step")
    );
    db.run(&sql, &[Some(migration), Some(step)]).await.map(drop)
}

/// Marks the migration as done when all its steps are.
///
/// # Errors
/// When the server fails.
pub async fn settle_migration<B: Backend>(db: &mut B, migration: &str) -> DbResult<()> {
    let (table, steps, now) = (B::SQL.table("migration"), B::SQL.table("step"), B::SQL.now);
    let sql = format!(
        "UPDATE {table} SET state = 'done', finished_at = {now} WHERE id = $1 AND state <> 'done' \
         AND NOT EXISTS (SELECT 1 FROM {steps} s WHERE s.migration = $1 AND s.state <> 'done')"
    );
    db.run(&sql, &[Some(migration)]).await?;
    note_digest(db).await
}

/// A migration of which a step is taken back is not done any more.
///
/// # Errors
/// When the server fails.
pub async fn reopen_migration<B: Backend>(db: &mut B, migration: &str) -> DbResult<()> {
    let table = B::SQL.table("migration");
    let sql = format!("UPDATE {table} SET state = 'running', finished_at = NULL WHERE id = $1 AND state = 'done'");
    db.run(&sql, &[Some(migration)]).await?;
    note_digest(db).await
}

/// Lets contract steps that `undo` took back be carried out again; how many there were.
///
/// # Errors
/// When the server fails.
pub async fn redo<B: Backend>(db: &mut B) -> DbResult<u64> {
    let (steps, migrations) = (B::SQL.table("step"), B::SQL.table("migration"));
    let sql = format!(
        "UPDATE {steps} SET state = 'pending' WHERE state = 'undone' AND phase = 'contract' \
         AND migration IN (SELECT g.id FROM {migrations} g WHERE g.state = $1)"
    );
    db.run(&sql, &[Some("running")]).await
}

/// Marks the migration as taken back.
///
/// # Errors
/// When the server fails.
pub async fn migration_aborted<B: Backend>(db: &mut B, migration: &str) -> DbResult<()> {
    let sql = format!(
        "UPDATE {} SET state = 'aborted', finished_at = {} WHERE id = $1",
        B::SQL.table("migration"),
        B::SQL.now
    );
    db.run(&sql, &[Some(migration)]).await?;
    note_digest(db).await
}

/// Puts versions on record that must not run any more.
///
/// # Errors
/// When the server fails.
pub async fn retire<B: Backend>(db: &mut B, retired: &Retired) -> DbResult<()> {
    let sql = format!(
        "INSERT INTO {} (app, version, migration, step, way, reason, at) VALUES ($1, $2, $3, $4, $5, $6, {}) \
         ON CONFLICT (app, version) DO NOTHING",
        B::SQL.table("retired"),
        B::SQL.now
    );
    let r = retired;
    let params = [r.app.as_str(), &r.version, &r.migration, &r.step, r.way.as_str(), &r.reason].map(Some);
    db.run(&sql, &params).await.map(drop)
}

/// A version need not be refused any longer.
///
/// # Errors
/// When the server fails.
pub async fn readmit<B: Backend>(db: &mut B, app: &str, version: &str) -> DbResult<()> {
    let sql = format!("DELETE FROM {} WHERE app = $1 AND version = $2", B::SQL.table("retired"));
    db.run(&sql, &[Some(app), Some(version)]).await.map(drop)
}

/// The schemas that the leases of a version declare, retired or not.
///
/// # Errors
/// When the server fails.
pub async fn schemas_of<B: Backend>(db: &mut B, app: &str, version: &str) -> DbResult<Vec<Schema>> {
    let sql = format!("SELECT CAST(schema AS text) FROM {} WHERE app = $1 AND version = $2", B::SQL.table("lease"));
    let rows = db.rows(&sql, &[Some(app), Some(version)]).await?;
    let texts = rows.into_iter().filter_map(|mut row| row.pop().flatten());
    texts.map(|text| serde_json::from_str(&text).map_err(|e| DbError::unreadable("the schema of a lease", e))).collect()
}

/// The process that carries out migrations, if one says so.
///
/// # Errors
/// When the server fails.
pub async fn worker<B: Backend>(db: &mut B) -> DbResult<Option<Worker>> {
    let q = B::SQL;
    let sql = format!(
        "SELECT CAST({object}('token', w.token, 'app', w.app, 'since_ms', {since}, 'heartbeat_age_ms', {now} - {beat}, \
         'beat', CAST(w.heartbeat_at AS text), 'process', {process}, 'evidence', w.evidence) AS text) FROM {table} w",
        object = q.object,
        since = q.ms("w.since"),
        now = q.ms(q.now),
        beat = q.ms("w.heartbeat_at"),
        process = q.json("w.process"),
        table = q.table("worker"),
    );
    let rows = db.rows(&sql, &[]).await?;
    let text = rows.into_iter().next().and_then(|mut row| row.pop().flatten());
    let worker: Option<Worker> = text
        .map(|text| serde_json::from_str(&text).map_err(|e| DbError::unreadable("the worker's row", e)))
        .transpose()?;
    Ok(worker.map(|worker| Worker { silent_ms: worker.heartbeat_age_ms, ..worker }))
}

/// Writes this process down as the one that works.
///
/// # Errors
/// When the server fails.
pub async fn set_worker<B: Backend>(db: &mut B, token: &str, app: &str) -> DbResult<()> {
    let (table, now) = (B::SQL.table("worker"), B::SQL.now);
    let process = serde_json::to_string(&Process::current()).unwrap_or_default();
    let process_sql = if B::SESSION_LOCKS { "CAST($3 AS json)" } else { "$3" };
    let sql = format!(
        "INSERT INTO {table} (one, token, app, process, evidence, since, heartbeat_at) \
         VALUES (1, $1, $2, {process_sql}, $4, {now}, {now}) \
         ON CONFLICT (one) DO UPDATE SET token = excluded.token, app = excluded.app, process = excluded.process, \
         evidence = excluded.evidence, since = excluded.since, heartbeat_at = excluded.heartbeat_at",
    );
    let evidence = db.evidence().as_str();
    db.run(&sql, &[Some(token), Some(app), Some(&process), Some(evidence)]).await.map(drop)
}

/// Whether this process is still the one that works; a sign of life, and a row lock that holds a successor off until the
/// transaction ends.
///
/// # Errors
/// When the server fails.
pub async fn still_working<B: Backend>(db: &mut B, token: &str) -> DbResult<bool> {
    let sql = format!("UPDATE {} SET heartbeat_at = {} WHERE token = $1", B::SQL.table("worker"), B::SQL.now);
    Ok(db.run(&sql, &[Some(token)]).await? == 1)
}

/// Takes this process's name away again.
///
/// # Errors
/// When the server fails.
pub async fn clear_worker<B: Backend>(db: &mut B, token: &str) -> DbResult<()> {
    let sql = format!("DELETE FROM {} WHERE token = $1", B::SQL.table("worker"));
    db.run(&sql, &[Some(token)]).await.map(drop)
}

/// A lease's sign of life; false when the lease is not there or was ended by somebody, or its version has been retired.
///
/// # Errors
/// When the server fails.
pub async fn heartbeat<B: Backend>(db: &mut B, instance: &str) -> DbResult<bool> {
    let (lease, now, retired) = (B::SQL.table("lease"), B::SQL.now, B::SQL.table("retired"));
    let server = B::SQL.server.map(|server| format!(", server = {server}")).unwrap_or_default();
    let sql = format!(
        "UPDATE {lease} SET heartbeat_at = {now}{server} WHERE instance = $1 AND ended_at IS NULL AND NOT EXISTS \
         (SELECT 1 FROM {retired} r WHERE r.app = {lease}.app AND r.version = {lease}.version)"
    );
    Ok(db.run(&sql, &[Some(instance)]).await? == 1)
}

/// Ends the lease of an instance of a version that is retired; false when it has shown life since `lease` was read. What it
/// sends afterwards waits for this transaction, and then finds that its lease has ended.
///
/// # Errors
/// When the server fails.
pub async fn end_silent<B: Backend>(db: &mut B, lease: &Lease) -> DbResult<bool> {
    let (table, now) = (B::SQL.table("lease"), B::SQL.now);
    let sql = format!(
        "UPDATE {table} SET ended_at = {now} WHERE instance = $1 AND CAST(heartbeat_at AS text) = $2 AND ended_at IS NULL"
    );
    Ok(db.run(&sql, &[Some(&lease.instance), Some(&lease.beat)]).await? == 1)
}

/// Sweeps away what earlier instances of the same code left: leases that ended, or were silent for a day. What such a
/// lease knows, the schema of connections that may outlive it, this one says as well. Of other versions of the application, those
/// that ended ninety days ago: no connection outlives them, and no soak time lasts, for so long.
///
/// # Errors
/// When the server fails.
pub async fn sweep<B: Backend>(db: &mut B, lease: &Lease) -> DbResult<u64> {
    let q = B::SQL;
    let sql = format!(
        "DELETE FROM {} WHERE app = $1 AND instance <> $4 AND CASE WHEN version = $2 AND fingerprint = $3 \
         THEN ended_at IS NOT NULL OR {now} - {} > {DAY} ELSE {now} - {} > {KEPT} END",
        q.table("lease"),
        q.ms("heartbeat_at"),
        q.ms("ended_at"),
        now = q.ms(q.now),
    );
    let by = [&lease.identity.app, &lease.identity.version, lease.fingerprint.as_str(), &lease.instance];
    db.run(&sql, &by.map(|text: &str| Some(text))).await
}

/// Ends the lease of an instance that is dead, and writes down who said so and why. Its row stays: it knows the schema of its
/// version.
///
/// # Errors
/// When the server fails.
pub async fn retire_instance<B: Backend>(db: &mut B, lease: &Lease, reason: &str, by: &str) -> DbResult<()> {
    let (table, now) = (B::SQL.table("retired_instance"), B::SQL.now);
    let sql = format!(
        "INSERT INTO {table} (instance, app, version, reason, by_whom, at) VALUES ($1, $2, $3, $4, $5, {now}) \
         ON CONFLICT (instance) DO UPDATE SET reason = excluded.reason, by_whom = excluded.by_whom, at = excluded.at"
    );
    let (app, version) = (lease.identity.app.as_str(), lease.identity.version.as_str());
    db.run(&sql, &[lease.instance.as_str(), app, version, reason, by].map(Some)).await?;
    // No soak time for one that a person has given up: it counts as gone for ever.
    let sql = format!(
        "UPDATE {} SET ended_at = coalesce(ended_at, {now}), heartbeat_at = '1970-01-01 00:00:00' WHERE instance = $1",
        B::SQL.table("lease")
    );
    db.run(&sql, &[Some(&lease.instance)]).await.map(drop)
}

/// The instances that were retired by hand, newest last.
///
/// # Errors
/// When the server fails.
pub async fn retired_by_hand<B: Backend>(db: &mut B) -> DbResult<Vec<RetiredByHand>> {
    let q = B::SQL;
    let sql = format!(
        "SELECT CAST({}('app', r.app, 'version', r.version, 'instance', r.instance, 'reason', r.reason, 'by', r.by_whom, \
         'at_ms', {}) AS text) FROM {} r ORDER BY r.at, r.instance",
        q.object,
        q.ms("r.at"),
        q.table("retired_instance"),
    );
    let texts = db.rows(&sql, &[]).await?.into_iter().filter_map(|mut row| row.pop().flatten());
    texts.map(|text| serde_json::from_str(&text).map_err(|e| DbError::unreadable("a retired instance", e))).collect()
}
