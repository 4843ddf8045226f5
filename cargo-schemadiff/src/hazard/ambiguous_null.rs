//! A trigger cannot tell a NULL that is meant from one that is missing.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H008";

/// A trigger cannot tell a NULL that is meant from one that is missing.
pub fn hazard(table: &ObjectName, column: &str) -> Hazard {
    let effect = format!(
        "until contract a NULL that new code writes to `{table}.{column}` may be replaced by the trigger's value"
    );
    super::hazard(CODE, effect, "do not write NULL to the column before contract")
}
