//! SQLite.

pub mod connect;
pub mod introspect;
pub mod normalize;
