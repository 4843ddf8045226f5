//! New code may rely on a check that waits for the end of its transaction before it does so.

use schemadiff::{
    model::{Deferrable, ObjectName},
    plan::Hazard,
};

/// The rule's code.
pub const CODE: &str = "H021";

/// A constraint that can be deferred, or is, only after contract.
pub fn hazard(table: &ObjectName, columns: &str) -> Hazard {
    let effect = format!("the constraint on ({columns}) of `{table}` is checked as before until contract");
    super::hazard(
        CODE,
        effect,
        "let the code keep to the constraint within a transaction, and defer it in the release after this one",
    )
}

/// The hazard, when a constraint becomes one that lets a transaction do more.
pub fn of(table: &ObjectName, columns: &str, before: Option<Deferrable>, after: Deferrable) -> Option<Hazard> {
    before.is_some_and(|before| before < after).then(|| hazard(table, columns))
}
