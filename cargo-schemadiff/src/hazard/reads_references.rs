//! Rows that refer to a partition are looked for under a lock that stops everybody.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H036";

/// Rows that refer to a partition are looked for under a lock that stops everybody.
pub fn hazard(child: &ObjectName, partition: &ObjectName, rows: Option<u64>) -> Hazard {
    let effect = format!(
        "`{child}` ({}) is read for rows that refer to `{partition}`, while nobody can read or write it",
        super::size(rows)
    );
    super::hazard(
        CODE,
        effect,
        "drop the foreign key in a migration before, and make it anew in the one after: it is proven without such a lock",
    )
}
