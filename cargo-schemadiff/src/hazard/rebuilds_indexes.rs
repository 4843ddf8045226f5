//! Indexes are built anew under a lock that stops everybody.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H018";

/// Indexes are built anew under a lock that stops everybody.
pub fn hazard(table: &ObjectName, rows: Option<u64>) -> Hazard {
    let effect =
        format!("indexes of `{table}` ({}) are built anew while nobody can read or write it", super::size(rows));
    super::hazard(
        CODE,
        effect,
        "rehearse it on a copy of the data, or choose a new column name and move in two releases",
    )
}
