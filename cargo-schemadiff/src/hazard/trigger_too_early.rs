//! A trigger that fires before rows are written sees columns before they are in step.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H027";

/// A trigger that fires before rows are written sees columns before they are in step.
pub fn hazard(table: &ObjectName, triggers: &str, [old, new]: [&str; 2]) -> Hazard {
    let effect = format!(
        "{triggers} fires before `{old}` and `{new}` of `{table}` are in step: until contract it sees what the statement gave, \
         that is the old name's value from old code and the new name's from new code"
    );
    super::hazard(
        CODE,
        effect,
        "let the function and the WHEN of the trigger look at both, or make it an AFTER trigger",
    )
}
