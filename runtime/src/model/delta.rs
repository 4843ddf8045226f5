//! What a step does to a schema, as data that can be applied and turned round.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Check, Column, CompatView, Domain, EnumType, Exclusion, ForeignKey, Index, Object, ObjectKey, ObjectName,
    PrimaryKey, Schema, Shared, Sync, Table, TableOptions, Unique,
};

/// One part of a schema before and after a step; `None` is "not there".
///
/// Deltas come only from [`between`], so the planner never writes one by hand and cannot forget one.
/// `before` makes a delta invertible, and makes applying it to the wrong schema an error.
///
/// `table` is the table that the part belongs to, `name` the part's own name; a part without a name is the only one of
/// its kind in its table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs, reason = "every variant is table, name, before and after, which are explained once")]
pub enum Delta {
    /// A whole table came or went, or takes another place among partitions.
    Table { name: ObjectName, before: Option<Shared<Table>>, after: Option<Shared<Table>> },
    /// A column.
    Column { table: ObjectName, name: String, before: Option<Column>, after: Option<Column> },
    /// The primary key.
    PrimaryKey { table: ObjectName, before: Option<PrimaryKey>, after: Option<PrimaryKey> },
    /// A unique constraint.
    Unique { table: ObjectName, name: String, before: Option<Unique>, after: Option<Unique> },
    /// A check constraint.
    Check { table: ObjectName, name: String, before: Option<Check>, after: Option<Check> },
    /// An exclusion constraint.
    Exclusion { table: ObjectName, name: String, before: Option<Exclusion>, after: Option<Exclusion> },
    /// A foreign key.
    ForeignKey { table: ObjectName, name: String, before: Option<ForeignKey>, after: Option<ForeignKey> },
    /// An index.
    Index { table: ObjectName, name: String, before: Option<Index>, after: Option<Index> },
    /// A sync trigger.
    Sync { table: ObjectName, name: String, before: Option<Sync>, after: Option<Sync> },
    /// The table's comment.
    Comment { table: ObjectName, before: Option<String>, after: Option<String> },
    /// The table's options.
    Options { table: ObjectName, before: TableOptions, after: TableOptions },
    /// An enumerated type.
    Enum { name: ObjectName, before: Option<EnumType>, after: Option<EnumType> },
    /// A domain.
    Domain { name: ObjectName, before: Option<Domain>, after: Option<Domain> },
    /// An object that is neither table nor enumerated type.
    Object { key: ObjectKey, before: Option<Shared<Object>>, after: Option<Shared<Object>> },
    /// A compatibility view.
    CompatView { name: ObjectName, before: Option<CompatView>, after: Option<CompatView> },
}

/// A delta met a schema that is not the one it was made for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{object} is not as the plan expects it to be")]
pub struct DeltaError {
    /// The part that differs.
    pub object: String,
}

impl Delta {
    /// The delta that takes this one back.
    #[must_use]
    pub fn inverted(self) -> Self {
        match self {
            Self::Table { name, before, after } => Self::Table { name, before: after, after: before },
            Self::Column { table, name, before, after } => Self::Column { table, name, before: after, after: before },
            Self::PrimaryKey { table, before, after } => Self::PrimaryKey { table, before: after, after: before },
            Self::Unique { table, name, before, after } => Self::Unique { table, name, before: after, after: before },
            Self::Check { table, name, before, after } => Self::Check { table, name, before: after, after: before },
            Self::Exclusion { table, name, before, after } => {
                Self::Exclusion { table, name, before: after, after: before }
            }
            Self::ForeignKey { table, name, before, after } => {
                Self::ForeignKey { table, name, before: after, after: before }
            }
            Self::Index { table, name, before, after } => Self::Index { table, name, before: after, after: before },
            Self::Sync { table, name, before, after } => Self::Sync { table, name, before: after, after: before },
            Self::Comment { table, before, after } => Self::Comment { table, before: after, after: before },
            Self::Options { table, before, after } => Self::Options { table, before: after, after: before },
            Self::Enum { name, before, after } => Self::Enum { name, before: after, after: before },
            Self::Domain { name, before, after } => Self::Domain { name, before: after, after: before },
            Self::CompatView { name, before, after } => Self::CompatView { name, before: after, after: before },
            Self::Object { key, before, after } => Self::Object { key, before: after, after: before },
        }
    }

    /// The table it is about, if it is about one.
    pub fn table(&self) -> Option<&ObjectName> {
        match self {
            Self::Table { name, .. } => Some(name),
            Self::Column { table, .. }
            | Self::PrimaryKey { table, .. }
            | Self::Unique { table, .. }
            | Self::Check { table, .. }
            | Self::Exclusion { table, .. }
            | Self::ForeignKey { table, .. }
            | Self::Index { table, .. }
            | Self::Sync { table, .. }
            | Self::Comment { table, .. }
            | Self::Options { table, .. } => Some(table),
            Self::Enum { .. } | Self::Domain { .. } | Self::CompatView { .. } | Self::Object { .. } => None,
        }
    }

    /// Applies it.
    ///
    /// # Errors
    /// When the schema's part is not `before`. The schema is then partly changed and must be thrown away.
    pub fn apply(&self, schema: &mut Schema) -> Result<(), DeltaError> {
        let wrong = |object: String| DeltaError { object };
        match self {
            Self::Table { name, before, after } => {
                // Steps that were taken back leave columns in another order than the one they came in.
                if !same_table(schema.tables.get(name), before.as_ref()) {
                    return Err(wrong(format!("table `{name}`")));
                }
                match after {
                    Some(table) => drop(schema.tables.insert(name.clone(), table.clone())),
                    None => drop(schema.tables.remove(name)),
                }
                Ok(())
            }
            Self::Enum { name, before, after } => replace(&mut schema.enums, name, before.as_ref(), after.as_ref())
                .map_err(|()| wrong(format!("type `{name}`"))),
            Self::Domain { name, before, after } => replace(&mut schema.domains, name, before.as_ref(), after.as_ref())
                .map_err(|()| wrong(format!("domain `{name}`"))),
            Self::CompatView { name, before, after } => {
                replace(&mut schema.compat_views, name, before.as_ref(), after.as_ref())
                    .map_err(|()| wrong(format!("compatibility view `{name}`")))
            }
            Self::Object { key, before, after } => {
                replace(&mut schema.objects, key, before.as_ref(), after.as_ref()).map_err(|()| wrong(key.to_string()))
            }
            Self::Column { table, name, before, after } => {
                let t = table_mut(schema, table)?;
                if t.column(name) != before.as_ref() {
                    return Err(wrong(format!("column `{table}.{name}`")));
                }
                match (t.columns.iter().position(|c| c.name == *name), after) {
                    (Some(at), Some(column)) => t.columns[at] = column.clone(),
                    (Some(at), None) => drop(t.columns.remove(at)),
                    (None, Some(column)) => t.columns.push(column.clone()),
                    (None, None) => {}
                }
                Ok(())
            }
            Self::PrimaryKey { table, before, after } => set(&mut table_mut(schema, table)?.primary_key, before, after)
                .map_err(|()| wrong(format!("primary key of `{table}`"))),
            Self::Comment { table, before, after } => set(&mut table_mut(schema, table)?.comment, before, after)
                .map_err(|()| wrong(format!("comment on `{table}`"))),
            Self::Options { table, before, after } => set(&mut table_mut(schema, table)?.options, before, after)
                .map_err(|()| wrong(format!("options of `{table}`"))),
            Self::Unique { table, name, before, after } => {
                replace(&mut table_mut(schema, table)?.uniques, name, before.as_ref(), after.as_ref())
                    .map_err(|()| wrong(format!("unique constraint `{name}` on `{table}`")))
            }
            Self::Check { table, name, before, after } => {
                replace(&mut table_mut(schema, table)?.checks, name, before.as_ref(), after.as_ref())
                    .map_err(|()| wrong(format!("check constraint `{name}` on `{table}`")))
            }
            Self::Exclusion { table, name, before, after } => {
                replace(&mut table_mut(schema, table)?.exclusions, name, before.as_ref(), after.as_ref())
                    .map_err(|()| wrong(format!("exclusion constraint `{name}` on `{table}`")))
            }
            Self::ForeignKey { table, name, before, after } => {
                replace(&mut table_mut(schema, table)?.foreign_keys, name, before.as_ref(), after.as_ref())
                    .map_err(|()| wrong(format!("foreign key `{name}` on `{table}`")))
            }
            Self::Index { table, name, before, after } => {
                replace(&mut table_mut(schema, table)?.indexes, name, before.as_ref(), after.as_ref())
                    .map_err(|()| wrong(format!("index `{name}` on `{table}`")))
            }
            Self::Sync { table, name, before, after } => {
                replace(&mut table_mut(schema, table)?.syncs, name, before.as_ref(), after.as_ref())
                    .map_err(|()| wrong(format!("sync trigger `{name}` on `{table}`")))
            }
        }
    }
}

/// Applies what one step does. Where it takes one column of a table away and brings another, that is a new name, and the column
/// keeps its place, as it does in the database.
///
/// # Errors
/// When the schema is not the one that the deltas were made for.
pub fn apply_all(deltas: &[Delta], schema: &mut Schema) -> Result<(), DeltaError> {
    let mut gone: BTreeMap<&ObjectName, Vec<Option<usize>>> = BTreeMap::new();
    let mut come: BTreeMap<&ObjectName, Vec<&str>> = BTreeMap::new();
    for delta in deltas {
        match delta {
            Delta::Column { table, name, before: Some(_), after: None } => {
                let at = schema.table(table).and_then(|t| t.columns.iter().position(|c| c.name == *name));
                gone.entry(table).or_default().push(at);
            }
            Delta::Column { table, name, before: None, after: Some(_) } => come.entry(table).or_default().push(name),
            _ => {}
        }
    }
    deltas.iter().try_for_each(|delta| delta.apply(schema))?;
    for (table, places) in gone {
        let (&[Some(place)], Some(&[name])) = (places.as_slice(), come.get(table).map(Vec::as_slice)) else { continue };
        let Ok(table) = table_mut(schema, table) else { continue };
        if let Some(at) = table.columns.iter().position(|c| c.name == *name) {
            let column = table.columns.remove(at);
            table.columns.insert(place.min(table.columns.len()), column);
        }
    }
    Ok(())
}

fn same_table(a: Option<&Shared<Table>>, b: Option<&Shared<Table>>) -> bool {
    a == b || a.map(|table| table.by_column_name()) == b.map(|table| table.by_column_name())
}

fn table_mut<'s>(schema: &'s mut Schema, name: &ObjectName) -> Result<&'s mut Table, DeltaError> {
    schema
        .tables
        .get_mut(name)
        .map(|table| &mut **table)
        .ok_or_else(|| DeltaError { object: format!("table `{name}`") })
}

fn set<T: PartialEq + Clone>(slot: &mut T, before: &T, after: &T) -> Result<(), ()> {
    if slot != before {
        return Err(());
    }
    *slot = after.clone();
    Ok(())
}

fn replace<K: Ord + Clone, V: PartialEq + Clone>(
    map: &mut BTreeMap<K, V>,
    key: &K,
    before: Option<&V>,
    after: Option<&V>,
) -> Result<(), ()> {
    if map.get(key) != before {
        return Err(());
    }
    match after {
        Some(value) => map.insert(key.clone(), value.clone()),
        None => map.remove(key),
    };
    Ok(())
}

fn changed<'a, K: Ord + Clone, V: PartialEq + Clone>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (K, Option<V>, Option<V>)> + 'a {
    let gone_or_changed = before
        .iter()
        .filter(move |(k, v)| after.get(*k) != Some(*v))
        .map(move |(k, v)| (k.clone(), Some(v.clone()), after.get(k).cloned()));
    let came =
        after.iter().filter(move |(k, _)| !before.contains_key(*k)).map(|(k, v)| (k.clone(), None, Some(v.clone())));
    gone_or_changed.chain(came)
}

/// The deltas that lead from one schema to the other, in a fixed order. Opaque objects and column order are ignored.
pub fn between(before: &Schema, after: &Schema) -> Vec<Delta> {
    let mut deltas = Vec::new();
    for (name, before, after) in changed(&before.enums, &after.enums) {
        deltas.push(Delta::Enum { name, before, after });
    }
    for (name, before, after) in changed(&before.domains, &after.domains) {
        deltas.push(Delta::Domain { name, before, after });
    }
    for (name, old, new) in changed(&before.tables, &after.tables) {
        match (old, new) {
            (Some(old), Some(new)) if same_place(&old, &new) => table_deltas(&old, &new, &mut deltas),
            (before, after) => deltas.push(Delta::Table { name, before, after }),
        }
    }
    let same = |key: &ObjectKey| {
        let sides = (before.objects.get(key), after.objects.get(key));
        sides.0.zip(sides.1).is_some_and(|(before, after)| before.same_in_full(after))
    };
    let keys: BTreeSet<_> = before.objects.keys().chain(after.objects.keys()).collect();
    for key in keys.into_iter().filter(|key| !same(key)) {
        let (before, after) = (before.objects.get(key).cloned(), after.objects.get(key).cloned());
        deltas.push(Delta::Object { key: key.clone(), before, after });
    }
    for (name, before, after) in changed(&before.compat_views, &after.compat_views) {
        deltas.push(Delta::CompatView { name, before, after });
    }
    deltas
}

/// Whether both are partitioned, and are partitions, in the same way; else the table changes as a whole.
fn same_place(old: &Table, new: &Table) -> bool {
    old.partition_by == new.partition_by && old.partition_of == new.partition_of
}

fn table_deltas(old: &Table, new: &Table, deltas: &mut Vec<Delta>) {
    let table = || new.name.clone();
    let by_name = |t: &Table| t.columns.iter().map(|c| (c.name.clone(), c.clone())).collect::<BTreeMap<_, _>>();
    for (name, before, after) in changed(&by_name(old), &by_name(new)) {
        deltas.push(Delta::Column { table: table(), name, before, after });
    }
    if old.primary_key != new.primary_key {
        let (before, after) = (old.primary_key.clone(), new.primary_key.clone());
        deltas.push(Delta::PrimaryKey { table: table(), before, after });
    }
    for (name, before, after) in changed(&old.uniques, &new.uniques) {
        deltas.push(Delta::Unique { table: table(), name, before, after });
    }
    for (name, before, after) in changed(&old.checks, &new.checks) {
        deltas.push(Delta::Check { table: table(), name, before, after });
    }
    for (name, before, after) in changed(&old.exclusions, &new.exclusions) {
        deltas.push(Delta::Exclusion { table: table(), name, before, after });
    }
    for (name, before, after) in changed(&old.foreign_keys, &new.foreign_keys) {
        deltas.push(Delta::ForeignKey { table: table(), name, before, after });
    }
    for (name, before, after) in changed(&old.indexes, &new.indexes) {
        deltas.push(Delta::Index { table: table(), name, before, after });
    }
    for (name, before, after) in changed(&old.syncs, &new.syncs) {
        deltas.push(Delta::Sync { table: table(), name, before, after });
    }
    if old.comment != new.comment {
        deltas.push(Delta::Comment { table: table(), before: old.comment.clone(), after: new.comment.clone() });
    }
    if old.options != new.options {
        deltas.push(Delta::Options { table: table(), before: old.options.clone(), after: new.options.clone() });
    }
}
