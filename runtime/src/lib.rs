//! Schema-as-code for Rust services: the runtime crate of schemadiff.

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
pub mod artifact;
pub mod compat;
pub mod model;
pub mod plan;
pub mod types;

pub use schemadiff_macros::{ColumnType, Table};
pub use types::{ColumnType, TypeDesc};
