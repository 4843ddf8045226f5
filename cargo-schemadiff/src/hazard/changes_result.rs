//! A function gives another type than it did, and old code may call it.

use schemadiff::plan::Hazard;

/// The rule's code.
pub const CODE: &str = "H025";

/// A function gives another type than it did, and old code may call it.
pub fn hazard(function: &str) -> Hazard {
    let effect =
        format!("{function} gives another type from this step on: statements of old code that call it may fail");
    super::hazard(
        CODE,
        effect,
        "give the new function another name, and drop the old one in the release after this one",
    )
}
