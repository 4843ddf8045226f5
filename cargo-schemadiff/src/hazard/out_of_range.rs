//! New values may not fit the old type.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H015";

/// New values may not fit the old type.
pub fn hazard(table: &ObjectName, column: &str, ty: &str) -> Hazard {
    let effect =
        format!("until contract a value written to `{table}.{column}` must still fit {ty}, or the write fails");
    super::hazard(CODE, effect, "keep to the old range until contract")
}
