//! A new constraint meets rows that violate it.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H005";

/// A new constraint meets rows that violate it.
pub fn hazard(what: &str, table: &ObjectName) -> Hazard {
    let effect = format!("the step fails if rows of `{table}` violate {what}");
    super::hazard(CODE, effect, "repair the rows that `apply` names: it looks for them before it begins")
}
