//! A foreign key with an action stays for as long as old code runs that relies on it.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H026";

/// A foreign key with an action stays for as long as old code runs that relies on it.
pub fn hazard(child: &ObjectName, name: &str, parent: &ObjectName) -> Hazard {
    let effect = format!(
        "`{name}` stays until contract, because old code may rely on its action: until then it acts on rows of `{child}` also \
         where new code deletes rows of `{parent}` or changes their keys"
    );
    super::hazard(CODE, effect, "let new code delete and change such rows of the parent only after contract")
}
