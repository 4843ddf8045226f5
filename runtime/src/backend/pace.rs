//! The ledger's row on the speed of backfills: what the operator wishes, and what the one that runs says of it.

use super::{Backend, DbResult, ErrorClass, Pacing};

/// The speed that is wished for; nothing is wished in a ledger that was made before there was a table for it.
///
/// # Errors
/// When the server fails.
pub async fn read<B: Backend>(db: &mut B) -> DbResult<Pacing> {
    let q = B::SQL;
    let sql = format!(
        "SELECT CAST(p.paused AS text), CAST(p.speed AS text), p.asked_by, CAST({asked} AS text), p.reason, \
         CAST({now} - {noted} AS text) FROM {table} p",
        asked = q.ms("p.asked_at"),
        now = q.ms(q.now),
        noted = q.ms("p.reason_at"),
        table = q.table("pace"),
    );
    let rows = match db.rows(&sql, &[]).await {
        Ok(rows) => rows,
        Err(e) if e.class == ErrorClass::Missing => return Ok(Pacing::default()),
        Err(e) => return Err(e),
    };
    let Some(row) = rows.into_iter().next() else { return Ok(Pacing::default()) };
    let cell = |at: usize| row.get(at).and_then(Clone::clone);
    Ok(Pacing {
        paused: cell(0).as_deref() == Some("1"),
        speed: cell(1).and_then(|text| text.parse().ok()),
        by: cell(2),
        asked_ms: cell(3).and_then(|text| text.parse().ok()),
        reason: cell(4),
        reason_age_ms: cell(5).and_then(|text| text.parse().ok()),
    })
}

/// Writes down what `by` wishes.
///
/// # Errors
/// When the server fails; [`ErrorClass::Missing`] in a ledger that has no table for it.
pub async fn wish<B: Backend>(db: &mut B, paused: bool, speed: Option<f64>, by: &str) -> DbResult<()> {
    let (table, now) = (B::SQL.table("pace"), B::SQL.now);
    let (number, float) = ("CAST($1 AS integer)", if B::SESSION_LOCKS { "double precision" } else { "real" });
    let sql = format!(
        "INSERT INTO {table} (one, paused, speed, asked_by, asked_at) \
         VALUES (1, {number}, CAST($2 AS {float}), {user} || $3, {now}) \
         ON CONFLICT (one) DO UPDATE SET paused = excluded.paused, speed = excluded.speed, \
         asked_by = excluded.asked_by, asked_at = excluded.asked_at",
        user = B::SQL.user,
    );
    let (paused, speed) = (if paused { "1" } else { "0" }, speed.map(|speed| speed.to_string()));
    db.run(&sql, &[Some(paused), speed.as_deref(), Some(by)]).await.map(drop)
}

/// Writes down why a backfill goes as fast as it does.
///
/// # Errors
/// When the server fails; [`ErrorClass::Missing`] in a ledger that has no table for it.
pub async fn note<B: Backend>(db: &mut B, reason: &str) -> DbResult<()> {
    let (table, now) = (B::SQL.table("pace"), B::SQL.now);
    let sql = format!(
        "INSERT INTO {table} (one, reason, reason_at) VALUES (1, $1, {now}) \
         ON CONFLICT (one) DO UPDATE SET reason = excluded.reason, reason_at = excluded.reason_at"
    );
    db.run(&sql, &[Some(reason)]).await.map(drop)
}
