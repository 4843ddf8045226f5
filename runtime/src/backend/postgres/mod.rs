//! PostgreSQL.

#[cfg(feature = "diesel")]
pub(crate) mod diesel;
mod errors;
mod leases;
mod locks;
mod place;
mod rewrite;
mod schema;
mod session;
mod settings;
mod signals;
mod strangers;
mod tenant;
mod texts;
mod values;
mod watch;
mod work;

pub(crate) use errors::classify;
pub use session::Postgres;
pub use tenant::{LEDGER, LEDGER_PREFIX, Tenant};

use sqlx::{AssertSqlSafe, Row as _, ValueRef as _};

use self::place::in_ledger;
use super::{Backend as _, Entering, Registered};
use crate::compat::view_schema;

/// Registers a pool's connection as one of a version, and puts the version's compatibility views in front of its
/// `search_path`, in one round trip. They are not there unless a migration is under way.
///
/// Behind a pooler that lends its sessions the path is left alone: it would be somebody else's with the next transaction.
/// On a standby, where no transaction of ours can begin, what can be asked there is asked with a second round trip.
///
/// # Errors
/// When the server fails.
pub(crate) async fn enter(connection: &mut sqlx::PgConnection, who: Entering<'_>) -> Result<Registered, sqlx::Error> {
    let (text, Entering { app, version, .. }) = (Postgres::literal, who);
    // A function in FROM with OFFSET is called once and before the path is touched, whatever the planner thinks. It has to
    // see what is committed until then, whatever role and database make of a transaction. The path is still the application's,
    // and an operator in it may be called `=` too.
    let sql = format!(
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE; SELECT entered.answer, \
         CASE WHEN entered.answer OPERATOR(pg_catalog.=) 'ok' THEN pg_catalog.set_config('search_path', \
         pg_catalog.concat_ws(', ', {}, \
         nullif(pg_catalog.current_setting('search_path'), '')), false) END \
         FROM (SELECT schemadiff.enter({}, {}) AS answer OFFSET 0) entered",
        views_of(who),
        text(app),
        text(version)
    );
    let sql = in_ledger(sql, who.ledger);
    let entered = match asked(connection, sql).await {
        Err(error) if error.as_database_error().and_then(|e| e.code()).as_deref() == Some(NOT_SUPPORTED) => {
            let sql = format!("SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN ({}) END", leases::on_standby(who));
            let sql = in_ledger(sql, who.ledger);
            asked(connection, sql).await?.ok_or(error)?
        }
        entered => entered?.unwrap_or_default(),
    };
    leases::answer(&entered).map_err(|e| sqlx::Error::Protocol(e.to_string()))
}

/// Sends a sign of life of an instance through a connection of its pool; false when nothing is written, see
/// [`crate::lockstep::hook::Enter::sign_of_life`].
///
/// # Errors
/// When the server fails.
pub(crate) async fn sign_of_life(
    connection: &mut sqlx::PgConnection,
    who: Entering<'_>,
    instance: &str,
) -> Result<bool, sqlx::Error> {
    let sql = in_ledger(format!("{}{}", leases::WRITES, leases::sign_of_life(instance)), who.ledger);
    match sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await {
        Ok(done) => Ok(done.rows_affected() == 1),
        Err(error) if error.as_database_error().and_then(|e| e.code()).as_deref() == Some(NOT_SUPPORTED) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The schema of a version's compatibility views, as an expression; NULL for a tenant, which has none.
fn views_of(who: Entering<'_>) -> String {
    match who.ledger {
        Some(_) => "NULL".to_owned(),
        None => format!("pg_catalog.quote_ident({})", Postgres::literal(&view_schema(who.app, who.version))),
    }
}

/// The SQLSTATE of what a standby cannot do: begin a transaction that writes.
const NOT_SUPPORTED: &str = "0A000";

/// The first cell of the answer.
async fn asked(connection: &mut sqlx::PgConnection, sql: String) -> Result<Option<String>, sqlx::Error> {
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await?;
    let cell = row.try_get_raw(0)?;
    if cell.is_null() {
        return Ok(None);
    }
    Ok(Some(cell.as_str().map_err(sqlx::Error::Decode)?.to_owned()))
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
    let direct = db.is_true(&format!("SELECT {}", db.own_expression())).await;
    db.close().await;
    direct.map_err(|e| super::ledger::explain::<Postgres>("ask for the session of a pool", e))
}
