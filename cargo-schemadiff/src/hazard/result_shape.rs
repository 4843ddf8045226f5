//! Prepared statements with `SELECT *` change their result.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H007";

/// Prepared statements with `SELECT *` change their result.
pub fn hazard(table: &ObjectName) -> Hazard {
    let effect = format!(
        "cached statements of the old version with `SELECT *` or `RETURNING *` on `{table}` fail once per connection"
    );
    super::hazard(CODE, effect, "name the columns in the old version's queries before this migration runs")
}
