//! Schema-as-code for Rust services: the runtime crate of schemadiff.

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
pub mod artifact;
#[cfg(feature = "lockstep")]
pub mod backend;
pub mod compat;
#[cfg(feature = "diesel")]
pub mod diesel;
#[cfg(feature = "lockstep")]
pub mod embed;
#[cfg(feature = "lockstep")]
pub mod error;
#[cfg(feature = "lockstep")]
pub mod lockstep;
pub mod model;
pub mod plan;
pub mod types;
#[cfg(feature = "lockstep")]
pub mod waiting;

#[cfg(feature = "lockstep")]
pub use error::Error;
#[cfg(feature = "lockstep")]
pub use lockstep::Lockstep;
#[cfg(feature = "lockstep")]
pub use schemadiff_macros::embed;
pub use schemadiff_macros::{ColumnType, Table};
pub use types::{ColumnType, TypeDesc};
