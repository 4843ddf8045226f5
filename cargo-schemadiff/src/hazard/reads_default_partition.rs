//! The default partition is read under a lock that stops everybody.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H028";

/// The default partition is read under a lock that stops everybody.
pub fn hazard(default: &ObjectName, rows: Option<u64>) -> Hazard {
    let effect = format!(
        "the default partition `{default}` ({}) is read for rows that belong into the new one, while nobody can read or write it",
        super::size(rows)
    );
    super::hazard(CODE, effect, "make partitions before their rows come, so that the default one stays small")
}
