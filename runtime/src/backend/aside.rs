//! Rows that a backfill could not fill and has kept aside: by key, with the reason.

use serde::{Deserialize, Serialize};

use super::{Backend, DbResult, ErrorClass};

/// A row that was kept aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    /// Migration.
    pub migration: String,
    /// Step.
    pub step: String,
    /// The row's key, for people.
    pub key: String,
    /// Why it could not be filled.
    pub reason: String,
}

/// The rows of all migrations that are kept aside, those of one step only if one is named; none in a ledger that was made
/// before there was a table for them.
///
/// # Errors
/// When the server fails.
pub async fn read<B: Backend>(db: &mut B, of: Option<(&str, &str)>) -> DbResult<Vec<Aside>> {
    let condition = of
        .map(|(migration, step)| {
            format!(" WHERE a.migration = {} AND a.step = {}", B::literal(migration), B::literal(step))
        })
        .unwrap_or_default();
    let table = B::SQL.table("aside");
    let sql = format!(
        "SELECT a.migration, a.step, a.key, a.reason FROM {table} a{condition} ORDER BY a.migration, a.step, a.at, a.key"
    );
    let rows = match db.rows(&sql, &[]).await {
        Ok(rows) => rows,
        Err(e) if e.class == ErrorClass::Missing => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let text = |row: &mut Vec<Option<String>>, at: usize| row.get_mut(at).and_then(Option::take).unwrap_or_default();
    Ok(rows
        .into_iter()
        .map(|mut row| Aside {
            migration: text(&mut row, 0),
            step: text(&mut row, 1),
            key: text(&mut row, 2),
            reason: text(&mut row, 3),
        })
        .collect())
}

/// Keeps rows of a step aside: keys and reasons. In the batch's own transaction.
///
/// # Errors
/// When the server fails.
pub async fn keep<B: Backend>(db: &mut B, migration: &str, step: &str, rows: &[(String, String)]) -> DbResult<()> {
    let (table, now) = (B::SQL.table("aside"), B::SQL.now);
    let sql = format!(
        "INSERT INTO {table} (migration, step, key, reason, at) VALUES ($1, $2, $3, $4, {now}) \
         ON CONFLICT (migration, step, key) DO UPDATE SET reason = excluded.reason, at = excluded.at"
    );
    for (key, reason) in rows {
        // What a server's text cannot hold must not stand in the way of the other rows.
        let reason = reason.replace('\0', "");
        db.run(&sql, &[Some(migration), Some(step), Some(key), Some(&reason)]).await?;
    }
    Ok(())
}

/// Forgets the rows of a step, or all: they are tried again. How many they were.
///
/// # Errors
/// When the server fails.
pub async fn forget<B: Backend>(db: &mut B, of: Option<(&str, &str)>) -> DbResult<u64> {
    let table = B::SQL.table("aside");
    match of {
        Some((migration, step)) => {
            let sql = format!("DELETE FROM {table} WHERE migration = $1 AND step = $2");
            db.run(&sql, &[Some(migration), Some(step)]).await
        }
        None => db.run(&format!("DELETE FROM {table}"), &[]).await,
    }
}
