//! Deletes of the parent read the whole child.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H013";

/// Deletes of the parent read the whole child.
pub fn hazard(table: &ObjectName, columns: &str) -> Hazard {
    let effect = format!(
        "no index of `{table}` starts with ({columns}): each delete in the referenced table reads all of `{table}`"
    );
    super::hazard(CODE, effect, "add an index on the referencing columns")
}
