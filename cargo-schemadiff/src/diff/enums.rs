//! Differences between enumerated types.

use schemadiff::model::{EnumType, ObjectName, Schema};

use super::{Change, Hints, questions::Questions};

/// Renames of types and of labels that are still to be done. A type that is gone and a new one with the same labels are one
/// type under a new name: no data hangs on it.
pub(super) fn renames(base: &Schema, desired: &Schema, hints: &Hints) -> Vec<Change> {
    let is_gone = |name: &ObjectName| base.enums.contains_key(name) && !desired.enums.contains_key(name);
    let mut gone: Vec<_> = base.enums.values().filter(|e| is_gone(&e.name)).collect();
    let mut changes = Vec::new();
    for (name, new) in desired.enums.iter().filter(|(name, _)| !base.enums.contains_key(*name)) {
        let said = hints.renamed_types.get(name);
        let is_it = |old: &&EnumType| match said {
            Some(said) => *said == old.name,
            None => old.values == new.values && !hints.renamed_types.values().any(|other| *other == old.name),
        };
        if let Some(at) = gone.iter().position(is_it) {
            changes.push(Change::RenameType { from: gone.remove(at).name.clone(), to: name.clone() });
        }
    }
    for ((name, to), from) in &hints.renamed_labels {
        let was = changes.iter().find_map(|change| match change {
            Change::RenameType { from, to } if to == name => Some(from),
            _ => None,
        });
        let (Some(old), Some(new)) = (base.enums.get(was.unwrap_or(name)), desired.enums.get(name)) else { continue };
        let is_open = |label: &String, here: &EnumType, there: &EnumType| {
            here.values.contains(label) && !there.values.contains(label)
        };
        if is_open(from, old, new) && is_open(to, new, old) {
            changes.push(Change::RenameLabel { name: name.clone(), from: from.clone(), to: to.clone() });
        }
    }
    changes
}

/// Created and changed types (they come before the tables that use them), and dropped ones (after).
pub(super) fn changes(
    current: &Schema,
    desired: &Schema,
    managed: &impl Fn(&ObjectName) -> bool,
    questions: &mut Questions<'_>,
) -> (Vec<Change>, Vec<Change>) {
    let mut first = Vec::new();
    let mut last = Vec::new();
    for (name, after) in &desired.enums {
        let before = current.enums.get(name);
        if let Some(before) = before {
            questions.labels(before, after);
        }
        if before != Some(after) {
            first.push(Change::Enum { name: name.clone(), before: before.cloned(), after: Some(after.clone()) });
        }
    }
    for (name, before) in current.enums.iter().filter(|(name, _)| !desired.enums.contains_key(*name)) {
        // A type that only unmanaged tables use is as unmanaged as they are.
        let users = users(current, name);
        if users.iter().all(|table| managed(table)) {
            last.push(Change::Enum { name: name.clone(), before: Some(before.clone()), after: None });
        }
    }
    (first, last)
}

fn users<'s>(schema: &'s Schema, enumeration: &ObjectName) -> Vec<&'s ObjectName> {
    let uses = |ty: &str| is_type(ty, enumeration);
    schema.tables.values().filter(|t| t.columns.iter().any(|c| uses(&c.ty))).map(|t| &t.name).collect()
}

/// Whether a column type is that enumerated type or an array of it, in whichever spelling the server gives it.
pub(crate) fn is_type(ty: &str, name: &ObjectName) -> bool {
    let element = ty.trim_end_matches("[]");
    let Ok(found) = element.parse::<ObjectName>() else { return false };
    found.name == name.name
        && (found.schema == name.schema || found.schema.as_deref() == Some("public") || found.schema.is_none())
}
