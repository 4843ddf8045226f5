//! Leases and what the server knows of the sessions behind them.

use super::{GATE_KEY, errors::of_begin, session::Postgres};
use crate::{
    backend::{Backend as _, DbError, DbResult, Entering, LEDGER_FORMAT, Lease, Registered, Retired, Settled},
    waiting::Evidence,
};

/// `pg_locks` shows a 64-bit advisory key in two halves. When a session of another role began is told only to members of
/// `pg_read_all_stats`; to others the lock says whose it is.
const LEASES: &str = "SELECT CAST(json_build_object(
        'instance', l.instance, 'app', l.app, 'version', l.version, 'ordinal', l.ordinal, 'schema', l.schema,
        'fingerprint', l.fingerprint, 'process', l.process, 'revision', l.revision, 'evidence', l.evidence,
        'started_ms', CAST(extract(epoch FROM l.started_at) * 1000 AS bigint),
        'heartbeat_age_ms', CAST(extract(epoch FROM clock_timestamp() - l.heartbeat_at) * 1000 AS bigint),
        'beat', CAST(l.heartbeat_at AS text), 'grace_ms', l.grace_ms,
        'same_server', coalesce(l.server = {server}, false), 'ended', l.ended_at IS NOT NULL,
        'version_connected', coalesce(k.sessions, 0) > 0,
        'keeper_connected', EXISTS (SELECT 1 FROM pg_stat_activity a
            WHERE a.pid = l.session_pid AND coalesce(a.backend_start = l.session_start, a.pid = ANY (k.pids), false)),
        'connections', coalesce(k.sessions, 0), 'process_runs', NULL) AS text)
    FROM schemadiff.lease l
    LEFT JOIN (
        SELECT (CAST(classid AS bigint) << 32) | CAST(objid AS bigint) AS key, count(DISTINCT pid) AS sessions,
            array_agg(pid) AS pids
        FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND mode = 'ShareLock'
            AND database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
        GROUP BY 1) k ON k.key = schemadiff.version_key(l.app, l.version)
    WHERE NOT EXISTS (SELECT 1 FROM schemadiff.retired r WHERE r.app = l.app AND r.version = l.version)
    ORDER BY l.started_at, l.instance";

/// Another text after each start of the server, after a failover, and after a crash of one session, which ends all of them while
/// the server itself goes on: its statistics begin anew then. (They also do when somebody resets them; then an instance that is
/// gone is waited for a little longer.)
pub(super) const SERVER: &str = "concat(extract(epoch FROM pg_postmaster_start_time()), ' ', \
    extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time()))";

/// A standby has no such transactions, and says so; everything else that is asked outside a transaction only reads.
pub(crate) const WRITES: &str = "SET TRANSACTION READ WRITE; ";

pub(super) async fn read(db: &mut Postgres) -> DbResult<Vec<Lease>> {
    let rows = db.rows(&LEASES.replace("{server}", SERVER), &[]).await?;
    rows.into_iter()
        .filter_map(|mut row| row.pop().flatten())
        .map(|text| {
            let lease: Lease = serde_json::from_str(&text).map_err(|e| DbError::unreadable("a lease", e))?;
            Ok(Lease { silent_ms: lease.heartbeat_age_ms, ..lease })
        })
        .collect()
}

/// What a connection to a standby asks, as an expression. Its lock would be one that the gate on the primary cannot see, so it
/// takes none: its instance counts by its signs of life, which it has said when it registered. What it relies on was committed
/// before its lease was, and is there once the lease is. The path is the application's, see [`super::enter`].
pub(crate) fn on_standby(who: Entering<'_>) -> String {
    let Some(instance) = who.on_standbys else { return "SELECT 'standby'".to_owned() };
    let (app, version, instance) =
        (Postgres::literal(who.app), Postgres::literal(who.version), Postgres::literal(instance));
    format!(
        "SELECT coalesce((SELECT CAST(pg_catalog.json_build_object('app', r.app, 'version', r.version,
                'migration', r.migration, 'step', r.step, 'way', r.way, 'reason', r.reason,
                'at_ms', CAST(extract(epoch FROM r.at) OPERATOR(pg_catalog.*) 1000 AS bigint)) AS text)
            FROM schemadiff.retired r
            WHERE r.app OPERATOR(pg_catalog.=) {app} AND r.version OPERATOR(pg_catalog.=) {version}),
         CASE WHEN EXISTS (SELECT FROM schemadiff.lease l WHERE l.instance OPERATOR(pg_catalog.=) {instance}
            AND l.evidence OPERATOR(pg_catalog.<>) 'lock' AND l.ended_at IS NULL) THEN 'ok' ELSE 'behind' END)"
    )
}

/// One of the instance whose lease this is, by whatever connection. Whoever retires its version ends the lease in the same
/// transaction, and this waits for it. The path is the application's.
pub(crate) fn sign_of_life(instance: &str) -> String {
    format!(
        "UPDATE schemadiff.lease SET heartbeat_at = pg_catalog.clock_timestamp()
         WHERE instance OPERATOR(pg_catalog.=) {} AND ended_at IS NULL",
        Postgres::literal(instance)
    )
}

/// What `schemadiff.enter`, `schemadiff.register` and [`on_standby`] answer.
pub(crate) fn answer(text: &str) -> DbResult<Registered> {
    match text {
        "behind" => Ok(Registered::Behind),
        "standby" => Ok(Registered::OnStandby),
        "ok" | "pooled" => Ok(Registered::Yes),
        "busy" => Ok(Registered::Busy),
        "changed" => Ok(Registered::Changed),
        retired => {
            let retired: Retired =
                serde_json::from_str(retired).map_err(|e| DbError::unreadable("the answer of the ledger", e))?;
            Ok(Registered::Retired(retired))
        }
    }
}

/// The values of a lease that a client sends, as literals: a statement with parameters costs a second round trip.
fn values(lease: &Lease) -> DbResult<String> {
    let text = Postgres::literal;
    let schema = serde_json::to_string(&lease.identity.schema).map_err(|e| DbError::unreadable("the schema", e))?;
    let process = serde_json::to_string(&lease.process).map_err(|e| DbError::unreadable("the process", e))?;
    Ok(format!(
        "{}, {}, {}, {}, {}, {}, {}, {}, {}, {}",
        text(&lease.instance),
        text(&lease.identity.app),
        text(&lease.identity.version),
        lease.identity.ordinal,
        text(lease.fingerprint.as_str()),
        text(&schema),
        text(&process),
        lease.revision.as_deref().map_or_else(|| "NULL".to_owned(), text),
        text(lease.evidence.as_str()),
        lease.grace_ms,
    ))
}

pub(super) async fn register(db: &mut Postgres, lease: &Lease, epoch: i64) -> DbResult<Registered> {
    let sql = format!(
        "{WRITES}SELECT set_config('schemadiff.direct', CASE WHEN {} THEN 'on' ELSE '' END, true); \
         SELECT r.answer, CASE WHEN r.answer = 'ok' THEN {} END \
         FROM (SELECT schemadiff.register({epoch}, {}) AS answer OFFSET 0) r",
        db.own_expression(),
        db.session_expression(),
        values(lease)?
    );
    let rows = db.rows(&sql, &[]).await.map_err(of_begin)?;
    let text = rows.into_iter().last().and_then(|row| row.into_iter().next().flatten()).unwrap_or_default();
    db.knows_session(text == "ok");
    answer(&text)
}

/// What `schemadiff.version_key` gives, without the time that a session takes to load a function.
fn version_key(ledger: &str, app: &str, version: &str) -> String {
    let text = format!("{ledger} {} {app} {version}", app.chars().count());
    format!("pg_catalog.hashtextextended({}, 7)", Postgres::literal(&text))
}

/// Not a function of the ledger: a start with nothing to do would pay more for loading PL/pgSQL than for all the rest.
///
/// Both statements are one message, so one transaction, in which each statement has a snapshot of its own. The first one shares the gate, which nobody who retires a version
/// can then have; the second one looks at what others have committed until then. The version's lock is the last condition,
/// so that it is not taken in vain.
///
/// Where that does not do, a third one says in the same message what the ledger holds.
pub(super) async fn register_settled(db: &mut Postgres, lease: &Lease, known: &str, ledger: &str) -> DbResult<Settled> {
    let (app, version) = (Postgres::literal(&lease.identity.app), Postgres::literal(&lease.identity.version));
    let place = db.connected_to();
    let sql = format!(
        "{WRITES}SELECT set_config('schemadiff.gate', CAST(pg_try_advisory_xact_lock_shared({}) AS text), true);
         INSERT INTO schemadiff.lease (instance, app, version, ordinal, fingerprint, schema, process, revision, evidence,
             grace_ms, started_at, heartbeat_at, session_pid, session_start, server)
         SELECT {}, clock_timestamp(), clock_timestamp(), pg_backend_pid(),
             (SELECT a.backend_start FROM pg_stat_get_activity(pg_backend_pid()) a), {SERVER}
         FROM schemadiff.meta m
         WHERE CASE
             WHEN current_setting('schemadiff.gate') = 'true' AND m.digest = {} AND m.format = {LEDGER_FORMAT} AND {}
                 AND NOT EXISTS (SELECT FROM schemadiff.retired r WHERE r.app = {app} AND r.version = {version})
             THEN pg_try_advisory_lock_shared({})
             ELSE false END
         RETURNING {};
         SELECT CASE WHEN NOT EXISTS (SELECT FROM schemadiff.lease WHERE instance = {}) THEN ({ledger}) END",
        place.key(GATE_KEY),
        values(lease)?,
        Postgres::literal(known),
        db.own_expression(),
        version_key(&place.ledger(), &lease.identity.app, &lease.identity.version),
        db.session_expression(),
        Postgres::literal(&lease.instance),
    );
    // One row answers the first statement, and one the last; another one, the second.
    let mut rows = db.rows(&sql, &[]).await.map_err(of_begin)?;
    if rows.len() == 3 {
        db.knows_session(true);
        return Ok(Settled::Registered);
    }
    Ok(Settled::Not(rows.pop().and_then(|row| row.into_iter().next().flatten())))
}

/// The row stays: it knows the schema of connections that may outlive it. One message, so one round trip: a service that goes makes its orchestrator wait for it.
pub(super) async fn end(db: &mut Postgres, lease: &Lease) -> DbResult<()> {
    let text = Postgres::literal;
    let mut sql =
        format!("UPDATE schemadiff.lease SET ended_at = clock_timestamp() WHERE instance = {}", text(&lease.instance));
    if db.evidence() == Evidence::Lock {
        let (app, version) = (text(&lease.identity.app), text(&lease.identity.version));
        sql.push_str(&format!("; SELECT pg_advisory_unlock_shared(schemadiff.version_key({app}, {version}))"));
    }
    db.rows(&sql, &[]).await.map(drop)
}

/// A machine that died without a word leaves its sessions open until the server's keep-alive gives up, and with them the keys
/// of its version. Sessions say of which version they are and not of which instance: beside a live instance of the version
/// only the session that kept the lease is ended.
pub(super) async fn end_sessions(db: &mut Postgres, lease: &Lease, grace_ms: i64) -> DbResult<(i64, i64)> {
    let (app, version) = (Postgres::literal(&lease.identity.app), Postgres::literal(&lease.identity.version));
    let instance = Postgres::literal(&lease.instance);
    let sql = format!(
        "WITH sessions AS (
            SELECT DISTINCT k.pid FROM pg_locks k
            WHERE k.locktype = 'advisory' AND k.objsubid = 1 AND k.granted AND k.mode = 'ShareLock'
                AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                AND ((CAST(k.classid AS bigint) << 32) | CAST(k.objid AS bigint)) = schemadiff.version_key({app}, {version})),
        wanted AS (
            SELECT s.pid, EXISTS (SELECT 1 FROM schemadiff.lease l JOIN pg_stat_activity a
                    ON a.pid = l.session_pid AND coalesce(a.backend_start = l.session_start, true)
                    WHERE l.instance = {instance} AND a.pid = s.pid)
                OR NOT EXISTS (SELECT 1 FROM schemadiff.lease l
                    WHERE l.app = {app} AND l.version = {version} AND l.instance <> {instance} AND l.ended_at IS NULL
                        AND l.heartbeat_at > clock_timestamp() - interval '1 ms' * greatest(l.grace_ms, {grace_ms})) AS ends
            FROM sessions s WHERE s.pid <> pg_backend_pid()),
        done AS (SELECT w.ends, CASE WHEN w.ends THEN pg_terminate_backend(w.pid) END AS ended FROM wanted w)
        SELECT count(*) FILTER (WHERE ended), count(*) FILTER (WHERE NOT ends) FROM done"
    );
    let row = db.rows(&sql, &[]).await?.into_iter().next().unwrap_or_default();
    let mut counts = row.into_iter().map(|cell| cell.and_then(|text| text.parse().ok()).unwrap_or(0));
    Ok((counts.next().unwrap_or(0), counts.next().unwrap_or(0)))
}
