//! How a step comes by its locks: all of them at once and within one time limit, before its first statement.
//!
//! A statement that waits for its second lock keeps everybody waiting behind its first one. What waits in a circle is ended by
//! the server after a second (`deadlock_timeout`), and it is often the application that is ended. So the locks that
//! the plan says the step takes are taken first, those that stop fewer others before those that stop more, and all
//! waiting together ends long before a second.

use std::time::{Duration, Instant};

use super::Postgres;
use crate::{
    backend::{Approach, Backend as _, DbError, DbResult, ErrorClass, Timeouts},
    plan::{Lock, Way},
};

/// The modes that are asked for beforehand, weakest first: their names in plans and in SQL. Weaker ones stop no reader and no writer.
const MODES: [(&str, &str); 5] = [
    ("ShareUpdateExclusive", "SHARE UPDATE EXCLUSIVE"),
    ("Share", "SHARE"),
    ("ShareRowExclusive", "SHARE ROW EXCLUSIVE"),
    ("Exclusive", "EXCLUSIVE"),
    ("AccessExclusive", "ACCESS EXCLUSIVE"),
];
/// From here on writers wait.
const STOPS_WRITERS: usize = 1;
const STRONGEST: usize = MODES.len() - 1;

/// Longer than the server waits before it makes autovacuum give way to somebody.
const PATIENCE_BEYOND: Duration = Duration::from_millis(500);

fn place(mode: &str) -> Option<usize> {
    MODES.iter().position(|(name, _)| *name == mode)
}

/// Takes the locks, in the transaction that was begun with these timeouts.
pub(super) async fn take(db: &mut Postgres, approach: &Approach<'_>, timeouts: Timeouts) -> DbResult<()> {
    let strong = |lock: &&Lock| place(&lock.mode).is_some_and(|place| place >= STOPS_WRITERS);
    let wanted: Vec<&Lock> = approach.locks.iter().filter(strong).collect();
    if wanted.is_empty() || timeouts.lock.is_zero() {
        return Ok(());
    }
    let tables = lockable(db, &wanted).await?;
    if tables.is_empty() {
        return Ok(());
    }
    if approach.patient {
        // Against autovacuum, which gives way to whoever waits for longer than `deadlock_timeout`: in a mode in which one can
        // wait for as long without stopping a reader or a writer.
        let all: Vec<&str> = tables.iter().map(|(name, _)| name.as_str()).collect();
        let deadlock = milliseconds_of(db, "deadlock_timeout").await?;
        lock(db, &all, MODES[0].1, deadlock + PATIENCE_BEYOND).await?;
    }
    let began = Instant::now();
    for (at, (_, sql)) in MODES.iter().enumerate().skip(STOPS_WRITERS) {
        let place = |mode: &usize| if approach.way == Way::Back { STRONGEST } else { *mode };
        let names: Vec<&str> =
            tables.iter().filter(|(_, mode)| place(mode) == at).map(|(name, _)| name.as_str()).collect();
        if !names.is_empty() {
            let left = timeouts.lock.saturating_sub(began.elapsed()).max(Duration::from_millis(1));
            lock(db, &names, sql, left).await?;
        }
    }
    let statement = timeouts.statement.as_millis();
    db.execute(&format!("SET LOCAL statement_timeout = {statement}")).await.map(drop)
}

/// All of the tables with one statement, which does nothing but wait: its timeout is the time that all of the waiting may take.
async fn lock(db: &mut Postgres, tables: &[&str], mode: &str, within: Duration) -> DbResult<()> {
    let (ms, tables) = (within.as_millis().max(1), tables.join(", "));
    let sql = format!("SET LOCAL statement_timeout = {ms}; LOCK TABLE {tables} IN {mode} MODE");
    db.execute(&sql).await.map(drop).map_err(|e| match e.class {
        ErrorClass::Cancelled => {
            DbError { class: ErrorClass::LockTimeout, message: format!("no lock on {tables} within {ms} ms"), ..e }
        }
        _ => e,
    })
}

async fn milliseconds_of(db: &mut Postgres, setting: &str) -> DbResult<Duration> {
    let sql = format!("SELECT setting FROM pg_catalog.pg_settings WHERE name = '{setting}'");
    let rows = db.rows(&sql, &[]).await?;
    let text = rows.into_iter().flatten().flatten().next();
    Ok(Duration::from_millis(text.and_then(|text| text.parse().ok()).unwrap_or(1_000)))
}

/// Those that are tables and are there at this moment, with the place of the mode in [`MODES`]. What a step makes cannot be
/// locked before it, and a lock on a view would be one on every table under it. Whoever may not lock a table may still be its owner and
/// change it.
async fn lockable(db: &mut Postgres, locks: &[&Lock]) -> DbResult<Vec<(String, usize)>> {
    let (literal, place_of) = (Postgres::literal, db.connected_to().clone());
    let row = |lock: &&Lock| {
        let schema = place_of.schema_of(&lock.relation);
        let mode = place(&lock.mode).unwrap_or(STRONGEST);
        format!("({}, {}, {mode})", literal(schema), literal(&lock.relation.name))
    };
    let wanted = locks.iter().map(row).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT format('%I.%I', n.nspname, c.relname), max(w.mode) FROM (VALUES {wanted}) AS w (space, name, mode) \
         JOIN pg_catalog.pg_namespace n ON n.nspname = w.space \
         JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name \
         WHERE c.relkind IN ('r', 'p') AND pg_catalog.has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE') \
         GROUP BY n.nspname, c.relname ORDER BY n.nspname, c.relname"
    );
    let rows = db.rows(&sql, &[]).await?;
    let found = |row: Vec<Option<String>>| {
        let mut cells = row.into_iter().flatten();
        Some((cells.next()?, cells.next()?.parse().ok()?))
    };
    Ok(rows.into_iter().filter_map(found).collect())
}
