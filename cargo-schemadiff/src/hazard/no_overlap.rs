//! Old and new code cannot run at the same time.

use schemadiff::{compat::Reason, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H002";

/// Old and new code cannot run at the same time.
pub fn hazard(reasons: &[Reason]) -> Hazard {
    let effect = format!("the new version cannot run before this step: {}", words(reasons));
    super::hazard(CODE, effect, "stop the old version before the new one starts, or split the change into two releases")
}

/// The reasons in one line.
pub fn words(reasons: &[Reason]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
