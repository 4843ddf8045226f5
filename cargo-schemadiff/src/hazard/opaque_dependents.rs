//! Things outside of the model may use what changes.

use schemadiff::plan::Hazard;

/// The rule's code.
pub const CODE: &str = "H014";

/// Things outside of the model may use what changes.
pub fn hazard(what: &str, dependents: &str) -> Hazard {
    let effect = format!("{dependents} may use {what}; what is inside of them is not looked at");
    super::hazard(CODE, effect, "check and change them by hand, in the same release")
}
