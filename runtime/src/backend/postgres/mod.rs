//! PostgreSQL.

#[cfg(feature = "diesel")]
pub(crate) mod diesel;
mod errors;
mod leases;
mod locks;
mod schema;
mod session;
mod settings;
mod signals;
mod strangers;
mod values;
mod watch;

pub use session::Postgres;

use sqlx::{AssertSqlSafe, Row as _, ValueRef as _};

use super::{Backend as _, Registered};
use crate::compat::view_schema;

/// Registers a pool's connection as one of a version, and puts the version's compatibility views in front of its
/// `search_path`, in one round trip. They are not there unless a migration is under way.
///
/// Behind a pooler that lends its sessions the path is left alone: it would be somebody else's with the next transaction.
///
/// # Errors
/// When the server fails.
pub(crate) async fn enter(
    connection: &mut sqlx::PgConnection,
    app: &str,
    version: &str,
) -> Result<Registered, sqlx::Error> {
    let text = Postgres::literal;
    // A function in FROM with OFFSET is called once and before the path is touched, whatever the planner thinks. It has to
    // see what is committed until then, whatever role and database make of a transaction. The path is still the application's,
    // and an operator in it may be called `=` too.
    let sql = format!(
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE; SELECT entered.answer, \
         CASE WHEN entered.answer OPERATOR(pg_catalog.=) 'ok' THEN pg_catalog.set_config('search_path', \
         pg_catalog.concat_ws(', ', pg_catalog.quote_ident({}), \
         nullif(pg_catalog.current_setting('search_path'), '')), false) END \
         FROM (SELECT schemadiff.enter({}, {}) AS answer OFFSET 0) entered",
        text(&view_schema(app, version)),
        text(app),
        text(version)
    );
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

/// Whether the address leads to sessions of one's own, not to a pooler's.
///
/// # Errors
/// When the server cannot be asked.
#[cfg(feature = "diesel-r2d2")]
pub(crate) async fn is_direct(url: &str) -> crate::error::Result<bool> {
    let mut db = Postgres::connect(&Postgres::target(url)?).await?;
    let direct = db.is_true("SELECT schemadiff.session_is_own()").await;
    db.close().await;
    direct.map_err(|e| super::ledger::explain::<Postgres>("ask for the session of a pool", e))
}
