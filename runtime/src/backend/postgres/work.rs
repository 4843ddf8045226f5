//! Which session works, and how far the server says that it has come.

use std::time::Duration;

use super::{WORK_KEY, session::Postgres};
use crate::backend::{Backend as _, DbResult};

pub(super) async fn server_progress(db: &mut Postgres, session: i64) -> DbResult<Option<(String, u64, u64)>> {
    let sql = format!(
        "SELECT phase, CASE WHEN blocks_total > 0 THEN blocks_done WHEN tuples_total > 0 THEN tuples_done \
         ELSE lockers_done END, CASE WHEN blocks_total > 0 THEN blocks_total WHEN tuples_total > 0 THEN tuples_total \
         ELSE lockers_total END FROM pg_catalog.pg_stat_progress_create_index WHERE pid = {session}"
    );
    let row = db.rows(&sql, &[]).await?.into_iter().next();
    Ok(row.and_then(|row| {
        let mut cells = row.into_iter().flatten();
        let phase = cells.next()?;
        let mut number = || cells.next().and_then(|text| text.parse().ok()).unwrap_or_default();
        Some((phase, number(), number()))
    }))
}

/// The sessions that hold the work: a condition on `pg_locks`.
fn holds_the_work(db: &Postgres) -> String {
    format!(
        "locktype = 'advisory' AND objsubid = 1 AND granted \
         AND ((CAST(classid AS bigint) << 32) | CAST(objid AS bigint)) = {} \
         AND database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())",
        db.connected_to().key(WORK_KEY)
    )
}

/// Between two transactions: within one the server ends it by itself, and one that waits for its statement works.
pub(super) async fn end_idle(db: &mut Postgres, idle: Duration) -> DbResult<bool> {
    let sql = format!(
        "SELECT CAST(pg_terminate_backend(a.pid) AS text) FROM pg_stat_activity a \
         WHERE a.pid IN (SELECT pid FROM pg_locks WHERE {}) AND a.state = 'idle' \
           AND a.state_change < clock_timestamp() - interval '1 ms' * {}",
        holds_the_work(db),
        idle.as_millis()
    );
    Ok(db.rows(&sql, &[]).await?.into_iter().flatten().flatten().any(|ended| ended == "true"))
}

pub(super) async fn session(db: &mut Postgres) -> DbResult<Option<i64>> {
    let sql = format!("SELECT CAST(pid AS text) FROM pg_locks WHERE {}", holds_the_work(db));
    let pid = db.rows(&sql, &[]).await?.into_iter().next().and_then(|row| row.into_iter().next().flatten());
    Ok(pid.and_then(|pid| pid.parse().ok()))
}
