//! Prepared statements with `SELECT *` change their result.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H007";

/// The table gets a column while the old version runs; `effect` is the engine's (`Capabilities::cached_star`).
pub fn gets(table: &ObjectName, effect: &str) -> Hazard {
    hazard(table, "old", effect, "name the columns in the old version's queries before this migration runs")
}

/// The table loses a column while the new version runs.
pub fn loses(table: &ObjectName, effect: &str) -> Hazard {
    hazard(table, "new", effect, "name the columns in the new version's queries before it is deployed")
}

fn hazard(table: &ObjectName, version: &str, effect: &str, way_out: &str) -> Hazard {
    let effect =
        format!("cached statements of the {version} version with `SELECT *` or `RETURNING *` on `{table}` {effect}");
    super::hazard(CODE, effect, way_out)
}
