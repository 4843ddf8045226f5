//! SQLite.

mod aside;
mod backfill;
pub mod connect;
mod create;
mod cursor;
mod expr;
pub mod introspect;
mod lexer;
pub mod normalize;
mod parse;
mod probe;
mod rebuild;
mod render;
mod sizes;
mod sync;
mod types;

pub use render::Sqlite;
