//! SQLite.

mod broken;
#[cfg(feature = "diesel")]
pub(crate) mod diesel;
mod errors;
pub mod hanging;
mod leases;
mod schema;
mod session;
mod triggers;
mod values;

pub(crate) use errors::classify;
pub use session::Sqlite;

use super::{Entering, Registered, Retired};

/// Whether and why a version is retired.
const RETIRED: &str = "SELECT CAST(json_object('app', app, 'version', version, 'migration', migration, 'step', step, \
    'way', way, 'reason', reason, 'at_ms', CAST(round((julianday(at) - 2440587.5) * 86400000) AS INTEGER)) AS TEXT) AS answer \
    FROM _schemadiff_retired WHERE app = $1 AND version = $2";

/// Asks whether the version may run. The process itself is the evidence that it does.
///
/// # Errors
/// When the file cannot be read.
pub(crate) async fn enter(
    connection: &mut sqlx::SqliteConnection,
    who: Entering<'_>,
) -> Result<Registered, sqlx::Error> {
    let (app, version) = (who.app.to_owned(), who.version.to_owned());
    let found: Option<String> = sqlx::query_scalar(RETIRED).bind(app).bind(version).fetch_optional(connection).await?;
    let Some(text) = found else { return Ok(Registered::Yes) };
    let retired: Retired = serde_json::from_str(&text).map_err(|e| sqlx::Error::Protocol(e.to_string()))?;
    Ok(Registered::Retired(retired))
}
