//! Schema-as-code for Rust services: the runtime crate of schemadiff.

pub mod artifact;
pub mod compat;
pub mod model;
pub mod plan;
