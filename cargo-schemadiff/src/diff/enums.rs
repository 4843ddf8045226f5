//! Differences between enumerated types.

use schemadiff::model::{ObjectName, Schema};

use super::Change;

/// Created and changed types (they come before the tables that use them), and dropped ones (after).
pub(super) fn changes(
    current: &Schema,
    desired: &Schema,
    managed: &impl Fn(&ObjectName) -> bool,
) -> (Vec<Change>, Vec<Change>) {
    let mut first = Vec::new();
    let mut last = Vec::new();
    for (name, after) in &desired.enums {
        let before = current.enums.get(name);
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
fn is_type(ty: &str, name: &ObjectName) -> bool {
    let element = ty.trim_end_matches("[]");
    let Ok(found) = element.parse::<ObjectName>() else { return false };
    found.name == name.name
        && (found.schema == name.schema || found.schema.as_deref() == Some("public") || found.schema.is_none())
}
