//! Rows may hold what the old version's check forbids.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H023";

/// New code may write what the old check refused, and old code reads it.
pub fn hazard(table: &ObjectName, check: &str) -> Hazard {
    let effect = format!(
        "from here on rows of `{table}` may hold what the old check `{check}` forbids, and old code may read them"
    );
    super::hazard(
        CODE,
        effect,
        "let new code write such values only when no old version is left, unless old code can read them",
    )
}
