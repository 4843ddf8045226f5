//! What is said through a connection of Diesel's, or about its table.

use super::Sqlite;
#[cfg(feature = "diesel-r2d2")]
use crate::backend::Entering;
use crate::backend::{Backend as _, DbResult};

/// The versions that Diesel has written down.
pub(super) async fn recorded(db: &mut Sqlite) -> DbResult<Vec<String>> {
    let there = "SELECT count(*) > 0 FROM sqlite_master WHERE type = 'table' AND name = '__diesel_schema_migrations'";
    if !db.is_true(there).await? {
        return Ok(Vec::new());
    }
    let rows = db.rows("SELECT CAST(version AS TEXT) FROM __diesel_schema_migrations", &[]).await?;
    Ok(rows.into_iter().filter_map(|mut row| row.pop().flatten()).collect())
}

/// What a new connection asks: a row with the text of the retirement in the column `answer` if its version is retired.
#[cfg(feature = "diesel-r2d2")]
pub(crate) fn enter_sql(who: Entering<'_>) -> String {
    let (before, after) = super::RETIRED.split_once("$1").unwrap_or((super::RETIRED, ""));
    format!("{before}{}{}", Sqlite::literal(who.app), after.replace("$2", &Sqlite::literal(who.version)))
}
