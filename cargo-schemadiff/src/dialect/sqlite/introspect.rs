//! Reads a schema out of SQLite.

use super::connect::Client;
use crate::{
    Error, Kind, Result,
    dialect::{Introspection, Scope},
};

/// See [`crate::dialect::Connection::introspect`].
///
/// # Errors
/// When the server fails.
pub async fn introspect(_client: &mut Client, _scope: &Scope) -> Result<Introspection> {
    Err(Error::new(Kind::Internal, "SD0900", "SQLite is not wired up yet"))
}
