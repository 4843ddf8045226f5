//! Test harness of schemadiff.
