//! PostgreSQL.

mod capabilities;
pub mod connect;
pub mod introspect;
pub mod normalize;
mod render;
mod scratch;
mod type_body;

pub use render::Postgres;

/// What marks a comment as schemadiff's own; JSON follows.
pub(crate) const MARK: &str = "schemadiff:";

/// The longest identifier, in bytes (`NAMEDATALEN - 1`). The server cuts longer ones off without an error.
pub(crate) const MAX_IDENTIFIER: usize = 63;
