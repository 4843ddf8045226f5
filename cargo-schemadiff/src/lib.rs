//! The library behind `cargo schemadiff`: everything the tool does, without its command line.

pub mod address;
pub mod commands;
pub mod config;
pub mod dialect;
pub mod diff;
mod error;
pub mod hazard;
pub mod migrations;
pub mod planner;
pub mod project;
pub mod prove;
pub mod report;
pub mod side;

pub use error::{Error, Kind, Result};
