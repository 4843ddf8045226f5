//! Test harness of schemadiff: real engines, and old and new code side by side.
//!
//! Everything here panics when it cannot do its work: a test without its server has failed, never been skipped.

pub mod document;
pub mod engine;
pub mod fixture;
pub mod golden;
pub mod histories;
pub mod judge;
pub mod lockstep;
pub mod program;
pub mod replica;
pub mod twin;

/// The examples of the attribute reference are compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/derive.md")]
pub struct DeriveReference;

/// Says a figure in the output of a test run that passes, too: what the runner captures nobody sees.
pub fn said(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}
