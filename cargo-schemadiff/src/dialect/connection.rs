//! A connection to a server at plan time, whichever engine it is.

use std::collections::BTreeMap;

use schemadiff::model::{Dialect, ObjectName, Schema};

use super::{postgres, sqlite};
use crate::{Error, Kind, Result};

/// What to read from a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Database schemas to read; empty: all but the system's and schemadiff's own.
    pub schemas: Vec<String>,
}

/// A server's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Engine.
    pub dialect: Dialect,
    /// `150018` for PostgreSQL 15.18, `3051003` for SQLite 3.51.3.
    pub version: u32,
    /// For people: `PostgreSQL 15.18`.
    pub label: String,
}

/// A table's size, from statistics: an estimate that costs nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct TableSize {
    /// Rows.
    pub rows: u64,
    /// Bytes with indexes.
    pub bytes: u64,
}

/// What a database holds.
#[derive(Debug, Clone)]
pub struct Introspection {
    /// The schema, in normal form.
    pub schema: Schema,
    /// Sizes by table.
    pub sizes: BTreeMap<ObjectName, TableSize>,
    /// Server.
    pub server: ServerInfo,
}

/// An open connection. Dropping it closes it.
pub enum Connection {
    /// PostgreSQL.
    Postgres(Box<postgres::connect::Client>),
    /// SQLite.
    Sqlite(Box<sqlite::connect::Client>),
}

impl Connection {
    /// Connects to `postgres://…`, `postgresql://…`, `sqlite:…` (`sqlite:path`, `sqlite::memory:`).
    ///
    /// # Errors
    /// [`Kind::Database`] with the address (without its password), the reason and a remedy; [`Kind::Usage`] for an
    /// address of no known form. A server older than is supported is refused here.
    pub async fn open(url: &str) -> Result<Self> {
        match dialect_of(url)? {
            Dialect::Postgres => Ok(Self::Postgres(Box::new(postgres::connect::open(url).await?))),
            Dialect::Sqlite => Ok(Self::Sqlite(Box::new(sqlite::connect::open(url).await?))),
            Dialect::Mysql => Err(Error::new(Kind::Usage, "SD0203", "MySQL and MariaDB are not supported yet")
                .help("use a postgres:// or sqlite: address")),
        }
    }

    /// Makes the database where an address names one that an empty file is enough for; true when it was not there.
    ///
    /// # Errors
    /// [`Kind::Database`] when it cannot be made.
    pub fn create_if_missing(url: &str) -> Result<bool> {
        match dialect_of(url)? {
            Dialect::Sqlite => sqlite::connect::create_file(url),
            Dialect::Postgres | Dialect::Mysql => Ok(false),
        }
    }

    /// The server behind it.
    pub fn server(&self) -> &ServerInfo {
        match self {
            Self::Postgres(client) => client.server(),
            Self::Sqlite(client) => client.server(),
        }
    }

    /// Reads the schema.
    ///
    /// # Errors
    /// When the server fails, or the user may not read the catalogue.
    pub async fn introspect(&mut self, scope: &Scope) -> Result<Introspection> {
        match self {
            Self::Postgres(client) => postgres::introspect::introspect(client, scope).await,
            Self::Sqlite(client) => sqlite::introspect::introspect(client, scope).await,
        }
    }

    /// Brings `desired` (lowered from structs, statically normalized) into the server's spelling: types, defaults,
    /// checks, predicates, expressions. Only what differs textually from `current` is sent to the server, in a
    /// transaction that is rolled back.
    ///
    /// # Errors
    /// [`Kind::Project`] when the server refuses an expression or type, naming table, column and the server's words.
    pub async fn normalize(&mut self, desired: &mut Schema, current: &Schema) -> Result<()> {
        match self {
            Self::Postgres(client) => postgres::normalize::with_server(client, desired, current).await,
            Self::Sqlite(client) => sqlite::normalize::with_server(client, desired, current).await,
        }
    }

    /// Runs statements one after the other outside any transaction of ours.
    ///
    /// # Errors
    /// With the statement and the server's words.
    pub async fn run(&mut self, statements: &[String]) -> Result<()> {
        match self {
            Self::Postgres(client) => client.run(statements).await,
            Self::Sqlite(client) => client.run(statements).await,
        }
    }

    /// The first column of the first row as text, for `done_when` and the like; parameters are text.
    ///
    /// # Errors
    /// With the statement and the server's words.
    pub async fn query_row(&mut self, sql: &str, params: &[Option<String>]) -> Result<Option<Vec<Option<String>>>> {
        match self {
            Self::Postgres(client) => client.query_row(sql, params).await,
            Self::Sqlite(client) => client.query_row(sql, params).await,
        }
    }

    /// Makes an empty scratch database next to this one: `CREATE DATABASE schemadiff_scratch_<random>` on PostgreSQL (with
    /// the extensions of this one), a temporary file on SQLite.
    ///
    /// # Errors
    /// [`Kind::Database`] when the user may not create one, saying which right is missing.
    pub async fn scratch(&mut self) -> Result<Scratch> {
        match self {
            Self::Postgres(client) => postgres::connect::scratch(client).await,
            Self::Sqlite(client) => sqlite::connect::scratch(client).await,
        }
    }
}

/// A scratch database. [`Scratch::remove`] drops it; a scratch database that a crash left behind is removed by the next
/// run that makes one.
pub struct Scratch {
    /// A connection to it.
    pub connection: Connection,
    /// Its address, for the runtime's executor.
    pub url: String,
    /// How it is removed.
    pub(crate) owner: Option<Connection>,
    /// Its name on the server.
    pub(crate) name: String,
}

impl Scratch {
    /// Drops it.
    ///
    /// # Errors
    /// When the server refuses; the name is in the message.
    pub async fn remove(self) -> Result<()> {
        let Self { connection, owner, name, .. } = self;
        drop(connection);
        match owner {
            Some(Connection::Postgres(mut client)) => postgres::connect::drop_scratch(&mut client, &name).await,
            _ => Ok(()),
        }
    }
}

/// The engine an address is for.
///
/// # Errors
/// [`Kind::Usage`] for an address of no known form.
pub fn dialect_of(url: &str) -> Result<Dialect> {
    let scheme = url.split(':').next().unwrap_or_default();
    match scheme {
        "postgres" | "postgresql" => Ok(Dialect::Postgres),
        "sqlite" => Ok(Dialect::Sqlite),
        "mysql" | "mariadb" => Ok(Dialect::Mysql),
        _ => Err(Error::new(Kind::Usage, "SD0202", "the database address is of no known form")
            .help("write postgres://user@host/database or sqlite:path/to/file")),
    }
}
