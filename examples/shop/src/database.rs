//! One shop, two engines: PostgreSQL and SQLite.

use std::{str::FromStr, time::Duration};

use sqlx::{
    PgPool, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

/// Any failure.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Result of everything in the shop.
pub type Result<T> = std::result::Result<T, Error>;

/// Pool of the engine that the address names.
#[derive(Debug, Clone)]
pub enum Database {
    /// PostgreSQL.
    Postgres(PgPool),
    /// SQLite.
    Sqlite(SqlitePool),
}

/// Runs the same statements on whichever engine it is: both understand `$1` and `RETURNING`.
#[macro_export]
macro_rules! on {
    ($database:expr, $pool:ident => $body:expr) => {
        match $database {
            $crate::Database::Postgres($pool) => $body,
            $crate::Database::Sqlite($pool) => $body,
        }
    };
}

/// How the shop opens SQLite: a write-ahead log, and patience with the one writer there can be.
///
/// # Errors
/// For an address that is not one.
pub fn sqlite_options(url: &str) -> Result<SqliteConnectOptions> {
    Ok(SqliteConnectOptions::from_str(url)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(60)))
}

/// How a transaction that writes begins. SQLite must take the write lock at once: a transaction that reads first and
/// then finds somebody else writing has to fail.
impl Database {
    /// The statement.
    pub const fn begin_write(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "BEGIN",
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
        }
    }

    /// Closes all connections.
    pub async fn close(&self) {
        on!(self, pool => pool.close().await);
    }
}
