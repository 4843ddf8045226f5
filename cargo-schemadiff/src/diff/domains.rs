//! Differences between domains.

use schemadiff::model::{Domain, ObjectName, Schema};

use super::{Change, Hints};

/// Renames that are still to be done: those that somebody said, and a domain that is gone where a new one has the same rules.
pub(super) fn renames(base: &Schema, desired: &Schema, hints: &Hints) -> Vec<Change> {
    let mut gone: Vec<_> = base.domains.values().filter(|d| !desired.domains.contains_key(&d.name)).collect();
    let mut changes = Vec::new();
    for (name, new) in desired.domains.iter().filter(|(name, _)| !base.domains.contains_key(*name)) {
        let said = hints.renamed_types.get(name);
        let is_it = |old: &&Domain| match said {
            Some(said) => *said == old.name,
            None => same_rules(old, new) && !hints.renamed_types.values().any(|other| *other == old.name),
        };
        if let Some(at) = gone.iter().position(is_it) {
            changes.push(Change::RenameType { from: gone.remove(at).name.clone(), to: name.clone() });
        }
    }
    changes
}

/// Whether both take the same values, whatever they and their rules are called.
fn same_rules(one: &Domain, other: &Domain) -> bool {
    let rules = |domain: &Domain| {
        let mut rules: Vec<_> = domain.checks.values().map(|check| (check.expr.clone(), check.not_valid)).collect();
        rules.sort();
        rules
    };
    let bare = |domain: &Domain| Domain {
        name: other.name.clone(),
        checks: Default::default(),
        comment: None,
        ..domain.clone()
    };
    bare(one) == bare(other) && rules(one) == rules(other)
}

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
