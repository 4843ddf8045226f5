//! A foreign key with an action goes while old code runs that relies on it.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H026";

/// A foreign key with an action goes while old code runs that relies on it.
pub fn hazard(child: &ObjectName, name: &str, parent: &ObjectName) -> Hazard {
    let effect = format!(
        "from here on, deleting rows of `{parent}` or changing their keys leaves the rows of `{child}` as they are, also for old \
         code that leaves that to the action of `{name}`"
    );
    super::hazard(
        CODE,
        effect,
        "look for such rows after contract, or drop it in a migration of its own when no code relies on it",
    )
}
