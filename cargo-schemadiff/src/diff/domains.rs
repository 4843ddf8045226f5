//! Differences between domains.

use schemadiff::model::{Domain, ObjectName, Schema};

use super::Change;

/// Created and changed domains (they come before the tables that use them), and dropped ones (after).
pub(super) fn changes(
    current: &Schema,
    desired: &Schema,
    managed: &impl Fn(&ObjectName) -> bool,
) -> (Vec<Change>, Vec<Change>) {
    let mut first = Vec::new();
    let mut last = Vec::new();
    let change = |before: Option<&Domain>, after: Option<&Domain>, name: &ObjectName| Change::Domain {
        name: name.clone(),
        before: before.cloned(),
        after: after.cloned(),
    };
    for (name, after) in &desired.domains {
        let before = current.domains.get(name);
        if before != Some(after) {
            first.push(change(before, Some(after), name));
        }
    }
    for (name, before) in current.domains.iter().filter(|(name, _)| !desired.domains.contains_key(*name)) {
        // A domain that only unmanaged tables use is as unmanaged as they are.
        if current.tables_of(name).into_iter().all(managed) {
            last.push(change(Some(before), None, name));
        }
    }
    (first, last)
}
