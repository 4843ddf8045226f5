//! Data goes for good.

use schemadiff::plan::Hazard;

/// The rule's code.
pub const CODE: &str = "H003";

/// Data goes for good.
pub fn hazard(what: &str) -> Hazard {
    let effect = format!("the data in {what} is gone after this step");
    super::hazard(CODE, effect, "take a backup, or copy what may still be needed, before contract")
}
