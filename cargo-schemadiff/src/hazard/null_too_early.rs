//! New code may write NULL that the column refuses until contract.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H010";

/// New code may write NULL that the column refuses until contract.
pub fn hazard(table: &ObjectName, column: &str) -> Hazard {
    let effect = format!("`{table}.{column}` refuses NULL until contract, because old code cannot read it");
    super::hazard(CODE, effect, "do not write NULL to the column before contract")
}
