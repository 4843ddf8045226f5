//! Differences between tables, and of everything on them.

use std::collections::{BTreeMap, BTreeSet};

use schemadiff::model::{Column, ObjectName, PartitionBy, Schema, Shared, Table};

use super::{Change, Hints, Renamable, hints::column_name, questions::Questions};
use crate::{Error, Kind, Result};

/// Pairs of (old, new) of the table renames that are still to be done.
pub(super) fn renames(current: &Schema, desired: &Schema, hints: &Hints) -> Result<Vec<(ObjectName, ObjectName)>> {
    let mut renames = Vec::new();
    for (new, old) in &hints.renamed_tables {
        if !desired.tables.contains_key(new) || !current.tables.contains_key(old) {
            continue; // done already, or about a table of no concern here
        }
        if current.tables.contains_key(new) || desired.tables.contains_key(old) {
            return Err(both_exist(&old.to_string(), &new.to_string()));
        }
        renames.push((old.clone(), new.clone()));
    }
    Ok(renames)
}

fn both_exist(old: &str, new: &str) -> Error {
    Error::new(Kind::Refused, "SD0603", format!("`{old}` cannot be renamed to `{new}`: both are there"))
        .help(format!("if `{new}` already took over, remove `renamed_from` and drop `{old}` with --allow-drop {old}"))
        .help(format!("if `{new}` was made by mistake, drop it in a migration of its own first"))
}

/// All table-level and column-level changes, in an order in which they can be applied to the model.
pub(super) fn changes(
    base: &Schema,
    desired: &Schema,
    hints: &Hints,
    managed: &impl Fn(&ObjectName) -> bool,
    questions: &mut Questions<'_>,
    changes: &mut Vec<Change>,
) -> Result<()> {
    let is_new = |t: &&Shared<Table>| !base.tables.contains_key(&t.name);
    let added: Vec<_> = desired.parents_first().into_iter().filter(is_new).collect();
    let gone = |t: &&Shared<Table>| !desired.tables.contains_key(&t.name) && managed(&t.name);
    let dropped: Vec<_> = base.tables.values().filter(gone).collect();
    questions.tables(&added, &dropped);

    changes.extend(added.iter().map(|t| Change::CreateTable { table: (*t).clone() }));
    for after in desired.tables.values() {
        if let Some(before) = base.tables.get(&after.name) {
            if renamed_key(before, after, hints) == after.partition_by && before.partition_of == after.partition_of {
                refuse_own_columns((base, before), (desired, after))?;
                table(before, after, hints, questions, changes)?;
            } else {
                changes.push(Change::Partitioning { before: before.clone(), after: after.clone() });
            }
        }
    }
    changes.extend(dropped.iter().map(|t| Change::DropTable { table: (*t).clone() }));
    Ok(())
}

/// A partition has its columns from its parent; what it says of one itself (a default, a comment) comes and goes by hand.
fn refuse_own_columns((base, before): (&Schema, &Table), (desired, after): (&Schema, &Table)) -> Result<()> {
    let has_from_parent = |schema: &Schema, table: &Table, name: &str| {
        table.partition_of.is_some() && table.column(name).is_none() && schema.whole(table).column(name).is_some()
    };
    let comes = after.columns.iter().find(|column| has_from_parent(base, before, &column.name));
    let goes = before.columns.iter().find(|column| has_from_parent(desired, after, &column.name));
    let Some((column, verb)) = comes.map(|c| (c, "get")).or_else(|| goes.map(|c| (c, "lose"))) else { return Ok(()) };
    let full = column_name(&after.name, &column.name);
    let what = format!("column `{full}` of a partition would {verb} a default, NOT NULL or comment of its own");
    Err(Error::new(Kind::Refused, "SD0677", what)
        .cause("schemadiff changes the columns of a partition together with its parent's")
        .help(format!(
            "ALTER TABLE {} ALTER COLUMN .. (or COMMENT ON COLUMN) by hand; the next diff finds it done",
            after.name
        )))
}

/// How the table is partitioned once its columns have their new names.
fn renamed_key(before: &Table, after: &Table, hints: &Hints) -> Option<PartitionBy> {
    let mut by = before.partition_by.clone()?;
    for column in &after.columns {
        let old = hints.renamed_columns.get(&(after.name.clone(), column.name.clone()));
        if let Some(old) = old.filter(|old| before.column(old).is_some() && before.column(&column.name).is_none()) {
            by.rename_column(old, &column.name);
        }
    }
    Some(by)
}

fn table(
    before: &Table,
    after: &Table,
    hints: &Hints,
    questions: &mut Questions<'_>,
    changes: &mut Vec<Change>,
) -> Result<()> {
    columns(before, after, hints, questions, changes)?;
    let name = || after.name.clone();
    if before.primary_key != after.primary_key {
        let (before, after) = (before.primary_key.clone(), after.primary_key.clone());
        changes.push(Change::PrimaryKey { table: name(), before, after });
    }
    for member in members(&before.uniques, &after.uniques) {
        changes.push(member.change(&after.name, Renamable::Unique, |table, name, before, after| Change::Unique {
            table,
            name,
            before,
            after,
        }));
    }
    for member in members(&before.checks, &after.checks) {
        changes.push(member.change(&after.name, Renamable::Check, |table, name, before, after| Change::Check {
            table,
            name,
            before,
            after,
        }));
    }
    for member in members(&before.exclusions, &after.exclusions) {
        changes.push(member.change(&after.name, Renamable::Exclusion, |table, name, before, after| {
            Change::Exclusion { table, name, before, after }
        }));
    }
    for member in members(&before.foreign_keys, &after.foreign_keys) {
        changes.push(member.change(&after.name, Renamable::ForeignKey, |table, name, before, after| {
            Change::ForeignKey { table, name, before, after }
        }));
    }
    for member in members(&before.indexes, &after.indexes) {
        changes.push(member.change(&after.name, Renamable::Index, |table, name, before, after| Change::Index {
            table,
            name,
            before,
            after,
        }));
    }
    for (sync_name, sync) in &before.syncs {
        changes.push(Change::DropSync { table: name(), name: sync_name.clone(), sync: sync.clone() });
    }
    if before.comment != after.comment {
        let (before, after) = (before.comment.clone(), after.comment.clone());
        changes.push(Change::TableComment { table: name(), before, after });
    }
    if before.options != after.options {
        let (before, after) = (before.options.clone(), after.options.clone());
        changes.push(Change::TableOptions { table: name(), before, after });
    }
    Ok(())
}

fn columns(
    before: &Table,
    after: &Table,
    hints: &Hints,
    questions: &mut Questions<'_>,
    changes: &mut Vec<Change>,
) -> Result<()> {
    let table_name = after.name.clone();
    let mut taken = BTreeSet::new();
    let mut added = Vec::new();
    let mut renamed = Vec::new();
    let hint = |column: &Column| {
        let hint = hints.renamed_columns.get(&(after.name.clone(), column.name.clone()));
        hint.filter(|_| !is_renamed(before, after, hints, &column.name, after.columns.len()))
    };
    let backfill = |column: &Column| hints.backfills.get(&(after.name.clone(), column.name.clone())).cloned();
    // A column that gives its name away, to another one that takes it.
    let leaves = |name: &str| after.columns.iter().any(|c| hint(c).is_some_and(|old| old == name));
    let arrives = |name: &str| {
        let from = after.column(name).and_then(hint);
        from.is_some_and(|old| before.column(old).is_some())
    };
    for column in &after.columns {
        let old = hint(column).and_then(|old| before.column(old));
        match (old, before.column(&column.name)) {
            (Some(old), Some(_)) if !leaves(&column.name) => {
                let full = |name: &str| column_name(&after.name, name);
                return Err(both_exist(&full(&old.name), &full(&column.name)));
            }
            (Some(old), _) => {
                let stays = after.column(&old.name).is_some() && !arrives(&old.name);
                if stays || !taken.insert(old.name.clone()) {
                    let full = |name: &str| column_name(&after.name, name);
                    return Err(both_exist(&full(&old.name), &full(&column.name)));
                }
                renamed.push((old, column));
            }
            (None, Some(old)) if old != column => changes.push(Change::AlterColumn {
                table: after.name.clone(),
                before: old.clone(),
                after: column.clone(),
                backfill: backfill(column),
            }),
            (None, Some(_)) => {}
            (None, None) => added.push(column),
        }
    }
    for (before, after) in in_turn(&table_name, renamed)? {
        let (table, before, after) = (table_name.clone(), before.clone(), after.clone());
        changes.push(Change::RenameColumn { table, before, after });
    }
    let gone = |c: &&Column| after.column(&c.name).is_none() && !taken.contains(&c.name);
    let dropped: Vec<_> = before.columns.iter().filter(gone).collect();
    questions.columns(&after.name, &added, &dropped);
    changes.extend(added.into_iter().map(|column| Change::AddColumn {
        table: after.name.clone(),
        column: column.clone(),
        backfill: backfill(column),
        backfill_with: hints.backfills_with.get(&(after.name.clone(), column.name.clone())).cloned(),
    }));
    changes.extend(
        dropped.into_iter().map(|column| Change::DropColumn { table: after.name.clone(), column: column.clone() }),
    );
    Ok(())
}

/// Whether the rename of a column is done. That it is there does not say so when its old name is there too, but that name may
/// have been taken over by the next column of a chain.
fn is_renamed(before: &Table, after: &Table, hints: &Hints, column: &str, depth: usize) -> bool {
    let Some(old) = hints.renamed_columns.get(&(after.name.clone(), column.to_owned())) else { return false };
    if before.column(old).is_none() {
        return true;
    }
    let both = before.column(column).is_some() && after.column(old).is_some();
    both && depth > 0 && is_renamed(before, after, hints, old, depth - 1)
}

/// Renames in an order in which every new name is free when it is its turn.
fn in_turn<'c>(
    table: &ObjectName,
    mut renames: Vec<(&'c Column, &'c Column)>,
) -> Result<Vec<(&'c Column, &'c Column)>> {
    let mut ordered = Vec::new();
    while !renames.is_empty() {
        let is_free = |(_, to): &(&Column, &Column)| !renames.iter().any(|(from, _)| from.name == to.name);
        match renames.iter().position(is_free) {
            Some(at) => ordered.push(renames.remove(at)),
            None => {
                let (from, to) = renames[0];
                return Err(both_exist(&column_name(table, &from.name), &column_name(table, &to.name))
                    .cause("the columns exchange their names: at no moment would one of them be free")
                    .help("give one of them a third name in a migration before this one"));
            }
        }
    }
    Ok(ordered)
}

/// A difference between two maps of named parts.
enum Member<T> {
    Renamed { from: String, to: String },
    Changed { name: String, before: Option<T>, after: Option<T> },
}

impl<T> Member<T> {
    fn change(
        self,
        table: &ObjectName,
        kind: Renamable,
        make: impl Fn(ObjectName, String, Option<T>, Option<T>) -> Change,
    ) -> Change {
        match self {
            Self::Renamed { from, to } => Change::Rename { table: table.clone(), kind, from, to },
            Self::Changed { name, before, after } => make(table.clone(), name, before, after),
        }
    }
}

/// A part that is gone and a new one with the same definition are one part under a new name: no data hangs on it.
fn members<T: PartialEq + Clone>(before: &BTreeMap<String, T>, after: &BTreeMap<String, T>) -> Vec<Member<T>> {
    let mut gone: Vec<_> = before.iter().filter(|(name, _)| !after.contains_key(*name)).collect();
    let mut members = Vec::new();
    for (name, new) in after {
        match before.get(name) {
            Some(old) if old == new => {}
            Some(old) => {
                let (before, after) = (Some(old.clone()), Some(new.clone()));
                members.push(Member::Changed { name: name.clone(), before, after });
            }
            None => match gone.iter().position(|(_, old)| *old == new) {
                Some(at) => {
                    let (from, _) = gone.remove(at);
                    members.push(Member::Renamed { from: from.clone(), to: name.clone() });
                }
                None => {
                    members.push(Member::Changed { name: name.clone(), before: None, after: Some(new.clone()) });
                }
            },
        }
    }
    members.extend(gone.into_iter().map(|(name, old)| Member::Changed {
        name: name.clone(),
        before: Some(old.clone()),
        after: None,
    }));
    members
}
