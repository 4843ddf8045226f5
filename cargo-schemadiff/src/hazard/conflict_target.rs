//! New code may name a unique key that is there only after contract.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H011";

/// New code may name a unique key that is there only after contract.
pub fn hazard(table: &ObjectName, columns: &str) -> Hazard {
    let effect = format!("`ON CONFLICT ({columns})` on `{table}` fails until contract");
    super::hazard(CODE, effect, "use that conflict target in the release after this one")
}
