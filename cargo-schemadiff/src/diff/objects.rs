//! Differences between what is held by its definition.

use std::collections::BTreeSet;

use schemadiff::model::{Identity, IdentityKind, Object, ObjectKey, ObjectKind, ObjectName, Schema, Shared};

use super::{Change, Hints, questions::Questions};

/// Pairs of (old, new) of the renames that are still to be done: those that are asked for, and those of objects that are the
/// same apart from their name and that nothing but their table leads to.
pub(super) fn renames(base: &Schema, desired: &Schema, hints: &Hints) -> Vec<(ObjectKey, ObjectKey)> {
    let is_new = |key: &ObjectKey| desired.objects.contains_key(key) && !base.objects.contains_key(key);
    let is_gone = |key: &ObjectKey| base.objects.contains_key(key) && !desired.objects.contains_key(key);
    let mut renames: Vec<_> = hints
        .renamed_objects
        .iter()
        .filter(|(new, old)| is_new(new) && is_gone(old))
        .map(|(new, old)| (old.clone(), new.clone()))
        .collect();
    for (key, new) in desired.objects.iter().filter(|(key, _)| is_new(key) && follows_its_table(key.kind)) {
        let taken: BTreeSet<&ObjectKey> = renames.iter().flat_map(|(old, new)| [old, new]).collect();
        let same = |old: &&Shared<Object>| old.key.kind == key.kind && old.key.of == key.of && under(old, key) == **new;
        let gone = base.objects.values().filter(|old| is_gone(&old.key) && !taken.contains(&old.key));
        if let Some(old) = gone.into_iter().find(same).filter(|_| !taken.contains(key)) {
            renames.push((old.key.clone(), key.clone()));
        }
    }
    renames
}

/// Renames of composite and range types: those that are asked for, and those whose definition is the same under another name, for no
/// data hangs on the name. What uses them follows, as with every type.
pub(super) fn renamed_types(base: &Schema, desired: &Schema, hints: &Hints) -> Vec<Change> {
    let types = |of: &Schema, but: &Schema| -> Vec<Shared<Object>> {
        let all = of.objects.values().filter(|object| object.key.kind == ObjectKind::Type);
        all.filter(|object| !but.objects.contains_key(&object.key)).cloned().collect()
    };
    let mut gone = types(base, desired);
    let mut changes = Vec::new();
    for new in types(desired, base) {
        let said = hints.renamed_types.get(&new.key.name);
        let is_it = |old: &Shared<Object>| match said {
            Some(said) => *said == old.key.name,
            None => under(old, &new.key) == *new && !hints.renamed_types.values().any(|other| *other == old.key.name),
        };
        if let Some(at) = gone.iter().position(is_it) {
            let (from, to) = (gone.remove(at).key.name.clone(), new.key.name.clone());
            changes.push(Change::RenameType { from, to });
        }
    }
    changes
}

/// Kinds that no statement of an application names.
const fn follows_its_table(kind: ObjectKind) -> bool {
    matches!(kind, ObjectKind::Statistics | ObjectKind::Trigger | ObjectKind::Policy | ObjectKind::Rule)
}

/// The object under another name.
pub(crate) fn under(object: &Object, key: &ObjectKey) -> Object {
    Object { key: key.clone(), ..object.clone() }
}

/// What is new or changed, and what is gone. What hangs on a table that goes needs no word of its own.
pub(super) fn changes(
    base: &Schema,
    desired: &Schema,
    going: &BTreeSet<&ObjectName>,
    questions: &mut Questions<'_>,
) -> (Vec<Change>, Vec<Change>) {
    let mut first = Vec::new();
    for (key, after) in &desired.objects {
        let before = base.objects.get(key);
        if before != Some(after) {
            first.push(Change::Object { before: before.cloned(), after: Some(after.clone()) });
        }
    }
    let gone = |object: &&Shared<Object>| {
        !desired.objects.contains_key(&object.key) && !goes_with(object).is_some_and(|table| going.contains(table))
    };
    let dropped: Vec<_> = base.objects.values().filter(gone).collect();
    let added: Vec<_> = desired.objects.values().filter(|object| !base.objects.contains_key(&object.key)).collect();
    let asked: Vec<_> = dropped.iter().filter(|object| !goes_with_column(object, base, desired)).copied().collect();
    questions.objects(&added, &asked);
    let last = dropped.into_iter().map(|object| Change::Object { before: Some(object.clone()), after: None });
    (first, last.collect())
}

/// Whether a sequence's column goes, which is asked for itself, or becomes one that the sequence numbers.
fn goes_with_column(object: &Object, base: &Schema, desired: &Schema) -> bool {
    let gone = |(table, column): &(ObjectName, String)| desired.column(table, column).is_none();
    let numbers = || {
        let mut columns = desired.tables.values().flat_map(|table| table.columns.iter().map(move |c| (&table.name, c)));
        columns.any(|(table, column)| {
            let name = &object.key.name.name;
            let full = &object.key.name;
            let plain = base.column(table, &column.name).filter(|c| c.identity.is_none());
            let default = plain.and_then(|c| c.default.as_ref());
            let says = |identity: &Identity| {
                let said = identity.sequence.as_ref().map(|sequence| table.sibling(sequence.clone()));
                identity.kind == IdentityKind::Serial && said.as_ref() == Some(full)
            };
            plain.is_some()
                && column.identity.as_ref().is_some_and(|i| says(i) || default.is_some_and(|text| text.contains(name)))
        })
    };
    object.key.kind == ObjectKind::Sequence && (object.owned_by.as_ref().is_some_and(gone) || numbers())
}

/// The table that an object goes with.
pub(crate) fn goes_with(object: &Object) -> Option<&ObjectName> {
    object.table().or(object.owned_by.as_ref().map(|(table, _)| table))
}
