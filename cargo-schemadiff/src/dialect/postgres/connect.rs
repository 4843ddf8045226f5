//! Connecting to PostgreSQL.

use std::{borrow::Cow, str::FromStr, time::Duration};

use schemadiff::{backend::postgres::Tenant, model::Dialect};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions, Connection as _, Either, PgConnection, Row, TypeInfo, ValueRef,
    postgres::{PgConnectOptions, PgDatabaseError, PgRow},
};

use super::render::names::ident;
use crate::{Error, Kind, Result, address, dialect::ServerInfo};

pub use super::scratch::{drop_scratch, scratch};

/// The oldest server that is supported.
const OLDEST: u32 = 140_000;

/// How long a connection may take before the server counts as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// One session for everything: names and dates mean the same whatever role and database have set, and no timeout that was
/// made for an application ends the reading of a big catalogue.
const SESSION: &str = "SET timezone = 'UTC'; SET DateStyle = 'ISO, MDY';
    SET client_min_messages = warning; SET statement_timeout = 0; SET lock_timeout = 0;
    SET idle_in_transaction_session_timeout = 0; SET idle_session_timeout = 0; SET row_security = off;
    SET standard_conforming_strings = on; SET quote_all_identifiers = off; SET extra_float_digits = 1;
    SET bytea_output = hex; SET intervalstyle = postgres; SET default_transaction_isolation = 'read committed';
    SET default_transaction_read_only = off;
    SELECT current_setting('server_version_num'), split_part(current_setting('server_version'), ' ', 1),
           current_database()::text, current_user::text";

/// A connection.
pub struct Client {
    pub(super) connection: PgConnection,
    server: ServerInfo,
    /// Of the database, with its password: never shown.
    pub(super) url: String,
    /// The schema that is treated as a database of its own.
    tenant: Option<Tenant>,
    pub(super) user: String,
    pub(super) database: String,
}

/// Connects.
///
/// # Errors
/// When there is no connection, or the server is too old.
pub async fn open(url: &str) -> Result<Client> {
    let shown = address::redact(url);
    let (url, tenant) = Tenant::of_address(url)?;
    let options = PgConnectOptions::from_str(&url)
        .map_err(|e| {
            Error::new(Kind::Usage, "SD0204", format!("{shown} is no address of a PostgreSQL database"))
                .cause(e)
                .help("write postgres://user:password@host:port/database")
        })?
        .application_name("schemadiff")
        // PgBouncer refuses it at the start unless it is told to ignore it; the session sets it itself.
        .extra_float_digits(None)
        // Statements run once each, and a pooler in transaction mode cannot keep prepared ones.
        .statement_cache_capacity(0)
        .disable_statement_logging();
    let connecting = PgConnection::connect_with(&options);
    let mut connection = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(connected) => connected.map_err(|e| refused(&shown, &e))?,
        Err(_) => return Err(unreachable_server(&shown).cause("no answer within 30 seconds")),
    };
    // Before the settings of a session, some of which it does not know.
    if let Some(version) = connection.server_version_num().filter(|version| *version < OLDEST) {
        return Err(too_old(&shown, &format!("{}.{}", version / 10_000, version % 10_000)));
    }
    let rows = fetch(&mut connection, &session(tenant.as_ref())).await.map_err(|e| refused(&shown, &e))?;
    let facts: Vec<String> = rows
        .last()
        .and_then(|rows| rows.first())
        .map(|row| (0..row.len()).filter_map(|i| text(row, i)).map(str::to_owned).collect())
        .unwrap_or_default();
    let [number, label, database, user] = <[String; 4]>::try_from(facts).unwrap_or_default();
    let version = number.parse().unwrap_or(0);
    if version < OLDEST {
        return Err(too_old(&shown, &label));
    }
    let tenant = match tenant {
        Some(tenant) => {
            let rows = fetch(&mut connection, &tenant.facts()).await.map_err(|e| refused(&shown, &e))?;
            let row = rows.iter().flatten().next();
            let fact = |at| row.and_then(|row| text(row, at)).unwrap_or_default();
            Some(tenant.knowing([fact(0), fact(1), fact(2)])?)
        }
        None => None,
    };
    let server = ServerInfo { dialect: Dialect::Postgres, version, label: format!("PostgreSQL {label}") };
    Ok(Client { connection, server, url, tenant, user, database })
}

/// The settings, and then version, database and user. `public` is visible, and the tenant's schema before it; other schemas are
/// written out.
fn session(tenant: Option<&Tenant>) -> String {
    let own = tenant.map(|tenant| format!("{}, ", ident(tenant.schema()))).unwrap_or_default();
    format!("SET search_path = {own}public, pg_temp; {SESSION}")
}

fn too_old(shown: &str, label: &str) -> Error {
    Error::new(Kind::Database, "SD0504", format!("the server of {shown} is too old"))
        .cause(format!("it is PostgreSQL {label}, schemadiff needs 14 or newer"))
        .help("upgrade the server")
}

fn unreachable_server(shown: &str) -> Error {
    Error::new(Kind::Database, "SD0501", format!("cannot connect to {shown}"))
        .help("check host and port, and that the server runs and accepts connections from here")
}

/// Why there is no connection, and what to do about it.
fn refused(shown: &str, error: &sqlx::Error) -> Error {
    let effect = format!("cannot connect to {shown}");
    let code = error.as_database_error().and_then(|e| e.code()).unwrap_or_default().into_owned();
    match code.as_str() {
        "28P01" | "28000" => Error::new(Kind::Database, "SD0502", effect)
            .cause(words(error))
            .help("check the user and the password in the address, or set PGPASSWORD or a .pgpass file"),
        "3D000" => Error::new(Kind::Database, "SD0503", effect)
            .cause(words(error))
            .help("check the database's name in the address, or create it"),
        "42501" => Error::new(Kind::Database, "SD0505", effect)
            .cause(words(error))
            .help("GRANT CONNECT ON DATABASE .. TO the user of the address"),
        _ => unreachable_server(shown).cause(words(error)),
    }
}

/// What went wrong in the server's words, with its detail and hint.
pub(super) fn words(error: &sqlx::Error) -> String {
    let Some(database) = error.as_database_error().and_then(|e| e.try_downcast_ref::<PgDatabaseError>()) else {
        return match error {
            sqlx::Error::Io(e) => e.to_string(),
            other => other.to_string(),
        };
    };
    let mut text = format!("{} (SQLSTATE {})", database.message(), database.code());
    for more in [database.detail(), database.hint()].into_iter().flatten() {
        text.push('\n');
        text.push_str(more);
    }
    text
}

/// Runs statements in one message of the simple protocol: one round trip, and every value comes as text.
/// One list of rows for each statement.
pub(super) async fn fetch(connection: &mut PgConnection, sql: &str) -> Result<Vec<Vec<PgRow>>, sqlx::Error> {
    let mut results = Vec::new();
    fetch_each(connection, sql, |_, rows| results.push(rows)).await?;
    Ok(results)
}

/// As [`fetch`], and `take` gets the rows of each statement with the statement's position as soon as they are all there.
pub(super) async fn fetch_each(
    connection: &mut PgConnection,
    sql: &str,
    mut take: impl FnMut(usize, Vec<PgRow>),
) -> Result<(), sqlx::Error> {
    use futures_util::TryStreamExt as _;
    let (mut statement, mut rows) = (0, Vec::new());
    let mut stream = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(connection);
    while let Some(item) = stream.try_next().await? {
        match item {
            Either::Right(row) => rows.push(row),
            Either::Left(_) => {
                take(statement, std::mem::take(&mut rows));
                statement += 1;
            }
        }
    }
    Ok(())
}

/// A value of [`fetch`].
pub(super) fn text(row: &PgRow, index: usize) -> Option<&str> {
    let value = row.try_get_raw(index).ok()?;
    if value.is_null() { None } else { value.as_str().ok() }
}

impl Client {
    /// The server.
    pub fn server(&self) -> &ServerInfo {
        &self.server
    }

    /// The schema that is treated as a database of its own, if it is not the whole database.
    pub(super) fn tenant(&self) -> Option<&Tenant> {
        self.tenant.as_ref()
    }

    /// A statement as it is sent: a tenant's objects are in the tenant's schema.
    pub(super) fn placed<'s>(&self, sql: &'s str) -> Cow<'s, str> {
        self.tenant.as_ref().map_or(Cow::Borrowed(sql), |tenant| Cow::Owned(tenant.statement(sql)))
    }

    /// See [`crate::dialect::Connection::run`].
    ///
    /// # Errors
    /// When the server fails.
    pub async fn run(&mut self, statements: &[String]) -> Result<()> {
        for sql in statements {
            let sql = &*self.placed(sql);
            fetch(&mut self.connection, sql).await.map_err(|e| failed(sql, &e))?;
        }
        Ok(())
    }

    /// See [`crate::dialect::Connection::query_row`]. Booleans come as `true` and `false`.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn query_row(&mut self, sql: &str, params: &[Option<String>]) -> Result<Option<Vec<Option<String>>>> {
        let sql = &*self.placed(sql);
        let row = if params.is_empty() {
            let results = fetch(&mut self.connection, sql).await.map_err(|e| failed(sql, &e))?;
            results.into_iter().flatten().next()
        } else {
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for param in params {
                query = query.bind(param);
            }
            query.fetch_optional(&mut self.connection).await.map_err(|e| failed(sql, &e))?
        };
        let Some(row) = row else {
            return Ok(None);
        };
        (0..row.len()).map(|i| as_text(&row, i)).collect::<Result<_, _>>().map(Some).map_err(|e| failed(sql, &e))
    }
}

/// A value in whichever format it came.
fn as_text(row: &PgRow, index: usize) -> Result<Option<String>, sqlx::Error> {
    let value = row.try_get_raw(index)?;
    if value.is_null() {
        return Ok(None);
    }
    Ok(Some(match row.column(index).type_info().name() {
        "BOOL" => row.try_get_unchecked::<bool, _>(index)?.to_string(),
        "INT2" => row.try_get::<i16, _>(index)?.to_string(),
        "INT4" => row.try_get::<i32, _>(index)?.to_string(),
        "INT8" => row.try_get::<i64, _>(index)?.to_string(),
        _ => row.try_get_unchecked::<String, _>(index)?,
    }))
}

/// A statement failed.
pub(super) fn failed(sql: &str, error: &sqlx::Error) -> Error {
    // Class 22 is a value that cannot be what it shall be, class 23 a constraint that a row violates, P0001 what a trigger
    // raises by itself.
    let code = error.as_database_error().and_then(|e| e.code()).unwrap_or_default();
    let about_rows = code.starts_with("22") || code.starts_with("23") || code == "P0001"
        // What types of extensions say of a text that is none of theirs.
        || code == "XX000";
    Error::new(Kind::Database, "SD0506", "a statement failed")
        .cause(format!("{}\nin: {sql}", words(error)))
        .about_rows(about_rows)
}
