//! SQLite.

mod backfill;
pub mod connect;
mod create;
mod expr;
pub mod introspect;
mod lexer;
pub mod normalize;
mod rebuild;
mod render;
mod sync;
mod types;

pub use render::Sqlite;
