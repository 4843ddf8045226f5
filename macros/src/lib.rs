//! Derive macros of schemadiff.
