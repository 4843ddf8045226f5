//! Brings a declared schema into SQLite's own spelling.

use schemadiff::model::{Index, IndexPart, Schema, Unique};

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

/// The unique index that stands for a UNIQUE constraint.
pub(super) fn unique_index(unique: &Unique) -> Index {
    let part = |column: &String| IndexPart { column: Some(column.clone()), ..IndexPart::default() };
    Index { parts: unique.columns.iter().map(part).collect(), unique: true, ..Index::default() }
}
