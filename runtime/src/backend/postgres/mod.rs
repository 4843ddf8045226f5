//! PostgreSQL.

mod errors;
mod leases;
mod schema;
mod session;
mod signals;
mod strangers;
mod watch;

pub use session::Postgres;

use sqlx::{AssertSqlSafe, Row as _, ValueRef as _};

use super::{Backend as _, Registered};

/// Registers a pool's connection as one of a version, in one round trip.
///
/// # Errors
/// When the server fails.
pub(crate) async fn enter(
    connection: &mut sqlx::PgConnection,
    app: &str,
    version: &str,
) -> Result<Registered, sqlx::Error> {
    let sql = format!("SELECT schemadiff.enter({}, {})", Postgres::literal(app), Postgres::literal(version));
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await?;
    let cell = row.try_get_raw(0)?;
    let text = if cell.is_null() { "" } else { cell.as_str().map_err(sqlx::Error::Decode)? };
    leases::answer(text).map_err(|e| sqlx::Error::Protocol(e.to_string()))
}

/// Key of the gate: registrations take it shared, gated steps exclusively, both for one transaction.
const GATE_KEY: i64 = 0x5343_4845_4d41_0001;
/// Key of the one process that works, held by its session.
const WORK_KEY: i64 = 0x5343_4845_4d41_0002;
/// Key of creating the ledger, held for one transaction.
const CREATE_KEY: i64 = 0x5343_4845_4d41_0003;
