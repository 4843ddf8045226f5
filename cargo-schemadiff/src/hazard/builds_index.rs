//! An index is built while writers wait.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H016";

/// An index is built while writers wait.
pub fn hazard(table: &ObjectName, rows: Option<u64>) -> Hazard {
    let effect = format!(
        "writers wait while the index on `{table}` ({}) is built, about 1 to 2 microseconds a row",
        super::size(rows)
    );
    super::hazard(CODE, effect, "raise busy_timeout above the expected time, or run it when few writers are there")
}
