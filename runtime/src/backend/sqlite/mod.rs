//! SQLite.

mod errors;
mod leases;
mod schema;
mod session;

pub use session::Sqlite;

use super::{Registered, Retired};

/// Asks whether the version may run. The process itself is the evidence that it does.
///
/// # Errors
/// When the file cannot be read.
pub(crate) async fn enter(
    connection: &mut sqlx::SqliteConnection,
    app: &str,
    version: &str,
) -> Result<Registered, sqlx::Error> {
    let found: Option<(String, String, String, i64)> = sqlx::query_as(
        "SELECT migration, step, reason, CAST(round((julianday(at) - 2440587.5) * 86400000) AS INTEGER) \
         FROM _schemadiff_retired WHERE app = $1 AND version = $2",
    )
    .bind(app.to_owned())
    .bind(version.to_owned())
    .fetch_optional(connection)
    .await?;
    Ok(match found {
        None => Registered::Yes,
        Some((migration, step, reason, at_ms)) => {
            let (app, version) = (app.to_owned(), version.to_owned());
            Registered::Retired(Retired { app, version, migration, step, reason, at_ms })
        }
    })
}
