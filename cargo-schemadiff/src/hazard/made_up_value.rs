//! Old code reads a value that nobody wrote.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H009";

/// Old code reads a value that nobody wrote.
pub fn hazard(table: &ObjectName, column: &str, value: &str) -> Hazard {
    let effect = format!("until contract old code reads {value} in `{table}.{column}` of rows that new code inserts");
    super::hazard(
        CODE,
        effect,
        "make sure the old version copes with it, or give the column a meaningful default in a release before",
    )
}
