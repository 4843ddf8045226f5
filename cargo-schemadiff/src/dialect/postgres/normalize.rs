//! Brings a declared schema into PostgreSQL's own spelling.

use schemadiff::model::Schema;

use super::connect::Client;
use crate::Result;

/// The part that needs no server.
pub fn statically(_desired: &mut Schema) {}

/// See [`crate::dialect::Connection::normalize`].
///
/// # Errors
/// When the server refuses an expression.
pub async fn with_server(_client: &mut Client, _desired: &mut Schema, _current: &Schema) -> Result<()> {
    Ok(())
}
