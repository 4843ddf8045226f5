//! The library behind `cargo schemadiff`: everything the tool does, without its command line.

pub mod dialect;
mod error;

pub use error::{Error, Kind, Result};
