//! Rows are no longer found through the partitioned table.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H019";

/// Rows are no longer found through the partitioned table.
pub fn hazard(parent: &ObjectName, partition: &ObjectName) -> Hazard {
    super::hazard(
        CODE,
        format!(
            "queries on `{parent}` no longer find the rows of `{partition}`, and until then rows that do not belong into that \
             partition are refused by it"
        ),
        "make sure that no code looks for them there",
    )
}
