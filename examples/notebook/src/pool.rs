//! One program, two engines: PostgreSQL and SQLite.

use diesel::{
    PgConnection, SqliteConnection,
    connection::SimpleConnection as _,
    r2d2::{ConnectionManager, CustomizeConnection, Error as R2d2Error, Pool},
};
use schemadiff::diesel::{Blocking, Customizer};

use crate::Result;

/// Pool of the engine that the address names.
#[derive(Clone)]
pub enum Database {
    Postgres(Pool<ConnectionManager<PgConnection>>),
    Sqlite(Pool<ConnectionManager<SqliteConnection>>),
}

/// Runs the same statements on whichever engine it is, with a connection of the pool.
#[macro_export]
macro_rules! on {
    ($database:expr, $connection:ident => $body:expr) => {
        match $database {
            $crate::Database::Postgres(pool) => {
                let $connection = &mut *pool.get()?;
                $body
            }
            $crate::Database::Sqlite(pool) => {
                let $connection = &mut *pool.get()?;
                $body
            }
        }
    };
}

const CONNECTIONS: u32 = 3;

/// Diesel takes a path.
pub(crate) fn sqlite_path(url: &str) -> &str {
    url.trim_start_matches("sqlite:").trim_start_matches("//")
}

impl Database {
    /// Every connection is registered as one of this version when it is opened.
    pub(crate) fn open(url: &str, lockstep: &Blocking) -> Result<Self> {
        let hook = lockstep.customizer(url)?;
        Ok(if url.starts_with("sqlite:") {
            let hook = Box::new(Patient(hook));
            let pool = Pool::builder().max_size(CONNECTIONS).connection_customizer(hook);
            Self::Sqlite(pool.build(ConnectionManager::new(sqlite_path(url)))?)
        } else {
            let pool = Pool::builder().max_size(CONNECTIONS).connection_customizer(Box::new(hook));
            Self::Postgres(pool.build(ConnectionManager::new(url))?)
        })
    }
}

/// On SQLite everybody has to be patient with the one writer there can be, and Diesel's connections are not by themselves: the
/// one that migrates would fail with "database is locked" when it writes down a step while another process writes a row.
pub(crate) const PATIENCE: &str = "PRAGMA busy_timeout = 60000";

/// An application's own customizer calls schemadiff's.
#[derive(Debug)]
struct Patient(Customizer);

impl CustomizeConnection<SqliteConnection, R2d2Error> for Patient {
    fn on_acquire(&self, connection: &mut SqliteConnection) -> std::result::Result<(), R2d2Error> {
        let settings = format!("{PATIENCE}; PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON");
        connection.batch_execute(&settings).map_err(R2d2Error::QueryError)?;
        self.0.on_acquire(connection)
    }
}
