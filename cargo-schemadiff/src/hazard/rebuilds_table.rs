//! SQLite rebuilds the table in one transaction.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H004";

/// SQLite rebuilds the table in one transaction.
pub fn hazard(table: &ObjectName, rows: Option<u64>) -> Hazard {
    let effect =
        format!("writers wait while `{table}` ({}) is copied, about 20 to 45 microseconds a row", super::size(rows));
    super::hazard(CODE, effect, "raise busy_timeout above the expected time, or run it when few writers are there")
}
