//! An added label cannot be taken away.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H012";

/// An added label cannot be taken away.
pub fn hazard(name: &ObjectName, value: &str) -> Hazard {
    let effect = format!(
        "the label '{value}' stays in type `{name}` even when the migration is aborted, and old code cannot read it: an abort \
         waits for rows with it to be changed"
    );
    super::hazard(CODE, effect, "let new code write the label only when no old version is left")
}
