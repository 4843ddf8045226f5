//! What contract steps have set aside, as the ledger records it. The row comes and goes in the transaction that sets aside,
//! brings back or drops.

use serde::Deserialize;

use super::{Backend, DbError, DbResult, ErrorClass, KeptRow};
use crate::plan::Kept;

/// Records what a step has set aside.
///
/// # Errors
/// When the server fails.
pub async fn keep<B: Backend>(db: &mut B, migration: &str, step: &str, keeps: &[Kept]) -> DbResult<()> {
    let now = B::SQL.ms(B::SQL.now);
    let sql = format!(
        "INSERT INTO {} (migration, step, position, what, comes_back, purge, since_ms, until_ms) \
         VALUES ($1, $2, CAST($3 AS integer), $4, $5, $6, {now}, {now} + CAST($7 AS bigint)) \
         ON CONFLICT (migration, step, position) DO UPDATE SET what = excluded.what, \
         comes_back = excluded.comes_back, purge = excluded.purge, since_ms = excluded.since_ms, \
         until_ms = excluded.until_ms",
        B::SQL.table("kept"),
    );
    for (position, kept) in keeps.iter().enumerate() {
        let purge = serde_json::to_string(&kept.purge).unwrap_or_default();
        let (position, for_ms) = (position.to_string(), i64::try_from(kept.for_ms).unwrap_or(i64::MAX / 4).to_string());
        let params = [migration, step, &position, &kept.what, &kept.comes_back, &purge, &for_ms].map(Some);
        db.run(&sql, &params).await?;
    }
    Ok(())
}

/// It came back, or is gone for good; with `position`, one thing of several.
///
/// # Errors
/// When the server fails.
pub async fn end<B: Backend>(db: &mut B, migration: &str, step: &str, position: Option<i64>) -> DbResult<()> {
    let table = B::SQL.table("kept");
    let Some(position) = position.map(|p| p.to_string()) else {
        let sql = format!("DELETE FROM {table} WHERE migration = $1 AND step = $2");
        return db.run(&sql, &[Some(migration), Some(step)]).await.map(drop);
    };
    let sql = format!("DELETE FROM {table} WHERE migration = $1 AND step = $2 AND position = CAST($3 AS integer)");
    db.run(&sql, &[Some(migration), Some(step), Some(&position)]).await.map(drop)
}

/// Everything that is kept, oldest first. Nothing in a ledger that was made before there was such a thing.
///
/// # Errors
/// When the server fails.
pub async fn all<B: Backend>(db: &mut B) -> DbResult<Vec<KeptRow>> {
    let q = B::SQL;
    let sql = format!(
        "SELECT CAST({}('migration', k.migration, 'step', k.step, 'position', k.position, 'what', k.what, \
         'comes_back', k.comes_back, 'purge', k.purge, 'since_ms', k.since_ms, 'until_ms', k.until_ms, 'now_ms', {}) \
         AS text) FROM {} k ORDER BY k.since_ms, k.migration, k.step, k.position",
        q.object,
        q.ms(q.now),
        q.table("kept"),
    );
    match db.rows(&sql, &[]).await {
        Err(e) if e.class == ErrorClass::Missing => Ok(Vec::new()),
        Err(e) => Err(e),
        Ok(rows) => rows.into_iter().filter_map(|mut row| row.pop().flatten()).map(|text| read(&text)).collect(),
    }
}

/// As the query gives it.
#[derive(Deserialize)]
struct Raw {
    migration: String,
    step: String,
    position: i64,
    what: String,
    comes_back: String,
    purge: String,
    since_ms: i64,
    until_ms: i64,
    now_ms: i64,
}

fn read(text: &str) -> DbResult<KeptRow> {
    let unreadable = |e: serde_json::Error| DbError::unreadable("what is kept", e);
    let raw: Raw = serde_json::from_str(text).map_err(unreadable)?;
    let Raw { migration, step, position, what, comes_back, purge, since_ms, until_ms, now_ms } = raw;
    let purge = serde_json::from_str(&purge).map_err(unreadable)?;
    Ok(KeptRow { migration, step, position, what, comes_back, purge, since_ms, until_ms, now_ms })
}
