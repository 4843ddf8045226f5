//! A column becomes NOT NULL while rows hold NULL.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H006";

/// A column becomes NOT NULL while rows hold NULL.
pub fn hazard(table: &ObjectName, column: &str) -> Hazard {
    let effect = format!("the step fails if `{table}.{column}` holds NULL in some row");
    super::hazard(CODE, effect, "say how those rows get a value: #[column(backfill = \"..\")]")
}
