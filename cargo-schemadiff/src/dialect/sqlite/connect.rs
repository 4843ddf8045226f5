//! Connecting to SQLite.

use crate::{
    Error, Kind, Result,
    dialect::{Scratch, ServerInfo},
};

/// A connection.
pub struct Client {
    server: ServerInfo,
}

fn not_yet() -> Error {
    Error::new(Kind::Internal, "SD0900", "SQLite is not wired up yet")
}

impl Client {
    /// The server.
    pub fn server(&self) -> &ServerInfo {
        &self.server
    }

    /// See [`crate::dialect::Connection::run`].
    ///
    /// # Errors
    /// When the server fails.
    pub async fn run(&mut self, _statements: &[String]) -> Result<()> {
        Err(not_yet())
    }

    /// See [`crate::dialect::Connection::query_row`].
    ///
    /// # Errors
    /// When the server fails.
    pub async fn query_row(&mut self, _sql: &str, _params: &[Option<String>]) -> Result<Option<Vec<Option<String>>>> {
        Err(not_yet())
    }
}

/// Connects.
///
/// # Errors
/// When there is no connection.
pub async fn open(_url: &str) -> Result<Client> {
    Err(not_yet())
}

/// Makes a scratch database.
///
/// # Errors
/// When the server refuses.
pub async fn scratch(_client: &mut Client) -> Result<Scratch> {
    Err(not_yet())
}
