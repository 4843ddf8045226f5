//! New code may name a unique key that is there only after contract.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H011";

/// New code may name a unique key that is there only after contract.
pub fn hazard(table: &ObjectName, columns: &str) -> Hazard {
    let effect = format!("`ON CONFLICT ({columns})` on `{table}` fails until contract");
    super::hazard(CODE, effect, REMEDY)
}

/// The same for a constraint that keeps its old name until then.
pub fn by_name(table: &ObjectName, name: &str) -> Hazard {
    super::hazard(CODE, format!("`ON CONFLICT ON CONSTRAINT {name}` on `{table}` fails until contract"), REMEDY)
}

const REMEDY: &str = "use that conflict target in the release after this one";
