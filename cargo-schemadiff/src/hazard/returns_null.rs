//! A value that a trigger puts in after the row was stored is not what RETURNING gives back.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H020";

/// A value that a trigger puts in after the row was stored is not what RETURNING gives back.
pub fn hazard(table: &ObjectName, column: &str) -> Hazard {
    let effect = format!(
        "until contract an INSERT of new code that leaves out `{table}.{column}` gets NULL for it from RETURNING; the row has its value right after"
    );
    super::hazard(CODE, effect, "name the column in the INSERT, or read the row again, until contract is through")
}
