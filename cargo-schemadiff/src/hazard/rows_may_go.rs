//! An unlogged table is empty after a crash of the server.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H031";

/// An unlogged table is empty after a crash of the server.
pub fn hazard(table: &ObjectName) -> Hazard {
    let effect = format!("from then on `{table}` is empty after a crash of the server, and on every standby");
    super::hazard(CODE, effect, "keep in it only what can be made again")
}
