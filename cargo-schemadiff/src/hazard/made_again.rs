//! Something that stands in the way of a change is dropped and made again around it.

use schemadiff::plan::Hazard;

/// The rule's code.
pub const CODE: &str = "H030";

/// Something that stands in the way of a change is dropped and made again around it.
pub fn hazard(what: &str) -> Hazard {
    let effect = format!("{what} is dropped and made again in the step's transaction; who uses it waits for that long");
    super::hazard(CODE, effect, "rehearse the step where a materialized view is among them: its query runs in it")
}
