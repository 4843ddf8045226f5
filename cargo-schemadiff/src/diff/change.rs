//! The closed vocabulary of differences between two schemas.

use std::{collections::BTreeMap, fmt};

use schemadiff::model::{
    Check, Column, CompatView, Domain, EnumType, Exclusion, ForeignKey, Index, Object, ObjectKey, ObjectKind,
    ObjectName, PrimaryKey, Schema, Shared, Sync, Table, TableOptions, Unique,
};

use super::{hints::column_name, labels, objects};

/// The kinds of named things that can be renamed without touching data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Renamable {
    /// Index.
    Index,
    /// Unique constraint.
    Unique,
    /// Check constraint.
    Check,
    /// Exclusion constraint.
    Exclusion,
    /// Foreign key.
    ForeignKey,
}

impl Renamable {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Unique => "unique constraint",
            Self::Check => "check constraint",
            Self::Exclusion => "exclusion constraint",
            Self::ForeignKey => "foreign key",
        }
    }
}

/// One difference. Tables go by their desired name everywhere but in [`Change::RenameTable`], which comes before all
/// others of its table. A pair of `before` and `after` reads: only `after` = it is added, only `before` = it is
/// dropped, both = it is replaced.
///
/// `table` is the table that the changed thing belongs to, or the whole table where one comes or goes; `name` is the
/// changed thing's own name. `backfill` is an SQL expression.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "table, name, before and after mean the same everywhere and are explained once")]
pub enum Change {
    /// An enumerated type is created, dropped, or changed in its labels or comment.
    Enum { name: ObjectName, before: Option<EnumType>, after: Option<EnumType> },
    /// A domain is created, dropped, or changed.
    Domain { name: ObjectName, before: Option<Domain>, after: Option<Domain> },
    /// An enumerated type is renamed; columns of it and expressions over it follow.
    RenameType {
        /// Its current name.
        from: ObjectName,
        /// Its desired name.
        to: ObjectName,
    },
    /// A label of an enumerated type is renamed; expressions over it follow.
    RenameLabel {
        name: ObjectName,
        /// The label as it is.
        from: String,
        /// The label as it shall be.
        to: String,
    },
    /// A view, a function, a sequence or the like is created, dropped, or changed.
    Object { before: Option<Shared<Object>>, after: Option<Shared<Object>> },
    /// One of them is renamed.
    RenameObject {
        /// Its current name.
        from: ObjectKey,
        /// Its desired name.
        to: ObjectKey,
    },
    /// A table is created, with everything on it.
    CreateTable { table: Shared<Table> },
    /// A table is dropped; acknowledged by name.
    DropTable { table: Shared<Table> },
    /// A table becomes a partition, ceases to be one, or is partitioned in another way; it changes as a whole.
    Partitioning { before: Shared<Table>, after: Shared<Table> },
    /// A table is renamed.
    RenameTable {
        /// Its current name.
        from: ObjectName,
        /// Its desired name.
        to: ObjectName,
    },
    /// A column is added; `backfill` says how existing rows get a value, `backfill_with` that a function of the application
    /// gives it to them (`name(column, ..)`).
    AddColumn {
        table: ObjectName,
        /// The new column.
        column: Column,
        backfill: Option<String>,
        backfill_with: Option<String>,
    },
    /// A column is dropped; acknowledged by name.
    DropColumn {
        table: ObjectName,
        /// The column as it is now.
        column: Column,
    },
    /// A column is renamed, and may change otherwise too.
    RenameColumn { table: ObjectName, before: Column, after: Column },
    /// A column keeps its name and changes; `backfill` fills rows that hold NULL when it becomes NOT NULL.
    AlterColumn { table: ObjectName, before: Column, after: Column, backfill: Option<String> },
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
    /// Only the name of an index or a constraint differs.
    Rename {
        table: ObjectName,
        /// What is renamed.
        kind: Renamable,
        /// Its current name.
        from: String,
        /// Its desired name.
        to: String,
    },
    /// The comment on a table.
    TableComment { table: ObjectName, before: Option<String>, after: Option<String> },
    /// The options of a table.
    TableOptions { table: ObjectName, before: TableOptions, after: TableOptions },
    /// A sync trigger that an unfinished migration left behind.
    DropSync {
        table: ObjectName,
        name: String,
        /// The trigger as it is now.
        sync: Sync,
    },
    /// A compatibility view that an unfinished migration left behind.
    DropCompatView {
        /// The view as it is now.
        view: CompatView,
    },
}

impl Change {
    /// The table it is about, by its desired name.
    pub fn table(&self) -> Option<&ObjectName> {
        match self {
            Self::Enum { .. }
            | Self::Domain { .. }
            | Self::RenameType { .. }
            | Self::RenameLabel { .. }
            | Self::Object { .. }
            | Self::RenameObject { .. } => None,
            Self::CreateTable { table } | Self::DropTable { table } => Some(&table.name),
            Self::Partitioning { after, .. } => Some(&after.name),
            Self::RenameTable { to, .. } => Some(to),
            Self::AddColumn { table, .. }
            | Self::DropColumn { table, .. }
            | Self::RenameColumn { table, .. }
            | Self::AlterColumn { table, .. }
            | Self::PrimaryKey { table, .. }
            | Self::Unique { table, .. }
            | Self::Check { table, .. }
            | Self::Exclusion { table, .. }
            | Self::ForeignKey { table, .. }
            | Self::Index { table, .. }
            | Self::Rename { table, .. }
            | Self::TableComment { table, .. }
            | Self::TableOptions { table, .. }
            | Self::DropSync { table, .. } => Some(table),
            Self::DropCompatView { view } => Some(&view.table),
        }
    }

    /// Whether it gives another name to what everything else then goes by.
    pub const fn is_rename(&self) -> bool {
        matches!(
            self,
            Self::RenameTable { .. } | Self::RenameType { .. } | Self::RenameLabel { .. } | Self::RenameObject { .. }
        )
    }

    /// What it does to a schema. Applying all changes of a diff in order to the current schema gives the desired one.
    pub fn apply_to(&self, schema: &mut Schema) {
        match self {
            Self::Enum { name, after, .. } => put(&mut schema.enums, name, after.as_ref()),
            Self::Domain { name, after, .. } => put(&mut schema.domains, name, after.as_ref()),
            Self::RenameType { from, to } => labels::rename_type(schema, from, to),
            Self::RenameLabel { name, from, to } => labels::rename_label(schema, name, from, to),
            Self::Object { before, after } => {
                if let Some(object) = before.iter().chain(after).next() {
                    put(&mut schema.objects, &object.key, after.as_ref());
                }
            }
            Self::RenameObject { from, to } => {
                if let Some(object) = schema.objects.remove(from) {
                    schema.objects.insert(to.clone(), objects::under(&object, to).into());
                }
                if to.kind == ObjectKind::Sequence {
                    labels::rename_sequence(schema, &from.name, &to.name);
                }
            }
            Self::CreateTable { table } => put(&mut schema.tables, &table.name, Some(table)),
            Self::DropTable { table } => {
                put(&mut schema.tables, &table.name, None);
                schema.objects.retain(|_, object| objects::goes_with(object) != Some(&table.name));
            }
            Self::Partitioning { after, .. } => put(&mut schema.tables, &after.name, Some(after)),
            Self::RenameTable { from, to } => rename_table(schema, from, to),
            Self::DropCompatView { view } => put(&mut schema.compat_views, &view.name, None),
            Self::AddColumn { table, .. }
            | Self::DropColumn { table, .. }
            | Self::RenameColumn { table, .. }
            | Self::AlterColumn { table, .. }
            | Self::PrimaryKey { table, .. }
            | Self::Unique { table, .. }
            | Self::Check { table, .. }
            | Self::Exclusion { table, .. }
            | Self::ForeignKey { table, .. }
            | Self::Index { table, .. }
            | Self::Rename { table, .. }
            | Self::TableComment { table, .. }
            | Self::TableOptions { table, .. }
            | Self::DropSync { table, .. } => {
                if let Some(table) = schema.tables.get_mut(table) {
                    self.apply_to_table(table);
                }
            }
        }
    }

    fn apply_to_table(&self, table: &mut Table) {
        match self {
            Self::AddColumn { column, .. } => table.columns.push(column.clone()),
            Self::DropColumn { column, .. } => table.columns.retain(|c| c.name != column.name),
            Self::RenameColumn { before, after, .. } | Self::AlterColumn { before, after, .. } => {
                table.partition_by.iter_mut().for_each(|by| by.rename_column(&before.name, &after.name));
                if let Some(slot) = table.column_mut(&before.name) {
                    *slot = after.clone();
                }
            }
            Self::PrimaryKey { after, .. } => table.primary_key.clone_from(after),
            Self::Unique { name, after, .. } => put(&mut table.uniques, name, after.as_ref()),
            Self::Check { name, after, .. } => put(&mut table.checks, name, after.as_ref()),
            Self::Exclusion { name, after, .. } => put(&mut table.exclusions, name, after.as_ref()),
            Self::ForeignKey { name, after, .. } => put(&mut table.foreign_keys, name, after.as_ref()),
            Self::Index { name, after, .. } => put(&mut table.indexes, name, after.as_ref()),
            Self::Rename { kind, from, to, .. } => match kind {
                Renamable::Index => rename_key(&mut table.indexes, from, to),
                Renamable::Unique => rename_key(&mut table.uniques, from, to),
                Renamable::Check => rename_key(&mut table.checks, from, to),
                Renamable::Exclusion => rename_key(&mut table.exclusions, from, to),
                Renamable::ForeignKey => rename_key(&mut table.foreign_keys, from, to),
            },
            Self::TableComment { after, .. } => table.comment.clone_from(after),
            Self::TableOptions { after, .. } => table.options.clone_from(after),
            Self::DropSync { name, .. } => put(&mut table.syncs, name, None),
            Self::Enum { .. }
            | Self::Domain { .. }
            | Self::RenameType { .. }
            | Self::RenameLabel { .. }
            | Self::Object { .. }
            | Self::RenameObject { .. }
            | Self::CreateTable { .. }
            | Self::DropTable { .. }
            | Self::Partitioning { .. }
            | Self::RenameTable { .. }
            | Self::DropCompatView { .. } => {}
        }
    }
}

fn put<K: Ord + Clone, V: Clone>(map: &mut BTreeMap<K, V>, key: &K, value: Option<&V>) {
    match value {
        Some(value) => drop(map.insert(key.clone(), value.clone())),
        None => drop(map.remove(key)),
    }
}

fn rename_key<V>(map: &mut BTreeMap<String, V>, from: &str, to: &str) {
    if let Some(value) = map.remove(from) {
        map.insert(to.to_owned(), value);
    }
}

/// Renames a table and makes the foreign keys that reference it, and its partitions, follow.
pub(crate) fn rename_table(schema: &mut Schema, from: &ObjectName, to: &ObjectName) {
    if let Some(mut table) = schema.tables.remove(from) {
        table.name = to.clone();
        table.settle_sequences();
        schema.tables.insert(to.clone(), table);
    }
    for table in schema.tables.values_mut() {
        // Only what changes is touched: the other tables stay shared with the schema this one was copied from.
        if table.partition_of.as_ref().is_some_and(|of| of.parent == *from) {
            table.partition_of.iter_mut().for_each(|of| of.parent = to.clone());
        }
        if !table.foreign_keys.values().any(|key| key.ref_table == *from) {
            continue;
        }
        for key in table.foreign_keys.values_mut().filter(|key| key.ref_table == *from) {
            key.ref_table = to.clone();
        }
    }
    // Its rows have a type of its name, which functions may take and who calls them may name.
    let follows = |object: &Shared<Object>| {
        object.uses_relation(from) || object.uses_type(from) || objects::goes_with(object) == Some(from)
    };
    let keys: Vec<_> = schema.objects.values().filter(|o| follows(o)).map(|object| object.key.clone()).collect();
    for mut object in keys.iter().filter_map(|key| schema.objects.remove(key)).collect::<Vec<_>>() {
        object.follow_table(from, to);
        labels::follow_rows(&mut object, from, to);
        object.definition = labels::definition_with_relation(&object, from, to);
        schema.objects.insert(object.key.clone(), object);
    }
    for view in schema.compat_views.values_mut() {
        if view.table == *from {
            view.table = to.clone();
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enum { name, before, after } => member(f, before, after, format_args!("type `{name}`")),
            Self::Domain { name, before, after } => member(f, before, after, format_args!("domain `{name}`")),
            Self::RenameType { from, to } => write!(f, "rename type `{from}` to `{to}`"),
            Self::RenameLabel { name, from, to } => write!(f, "rename the value '{from}' of type `{name}` to '{to}'"),
            Self::Object { before, after } => match before.iter().chain(after).next() {
                Some(object) => member(f, before, after, format_args!("{}", object.key)),
                None => Ok(()),
            },
            Self::RenameObject { from, to } => write!(f, "rename {from} to `{}`", to.path()),
            Self::CreateTable { table } => write!(f, "create table `{}`", table.name),
            Self::DropTable { table } => write!(f, "drop table `{}`", table.name),
            Self::Partitioning { before, after } => partitioning(f, before, after),
            Self::RenameTable { from, to } => write!(f, "rename table `{from}` to `{to}`"),
            Self::AddColumn { table, column, .. } => write!(f, "add column `{}`", column_name(table, &column.name)),
            Self::DropColumn { table, column } => write!(f, "drop column `{}`", column_name(table, &column.name)),
            Self::RenameColumn { table, before, after } => {
                write!(f, "rename column `{}` to `{}`", column_name(table, &before.name), after.name)
            }
            Self::AlterColumn { table, before, after, .. } => {
                let what = altered(before, after).join(", ");
                write!(f, "change column `{}`: {what}", column_name(table, &after.name))
            }
            Self::PrimaryKey { table, before, after } => {
                member(f, before, after, format_args!("primary key of `{table}`"))
            }
            Self::Unique { table, name, before, after } => {
                member(f, before, after, format_args!("unique constraint `{name}` on `{table}`"))
            }
            Self::Check { table, name, before, after } => {
                member(f, before, after, format_args!("check constraint `{name}` on `{table}`"))
            }
            Self::Exclusion { table, name, before, after } => {
                member(f, before, after, format_args!("exclusion constraint `{name}` on `{table}`"))
            }
            Self::ForeignKey { table, name, before, after } => {
                member(f, before, after, format_args!("foreign key `{name}` on `{table}`"))
            }
            Self::Index { table, name, before, after } => {
                member(f, before, after, format_args!("index `{name}` on `{table}`"))
            }
            Self::Rename { table, kind, from, to } => {
                write!(f, "rename {} `{from}` on `{table}` to `{to}`", kind.as_str())
            }
            Self::TableComment { table, .. } => write!(f, "change the comment on `{table}`"),
            Self::TableOptions { table, .. } => write!(f, "change the options of `{table}`"),
            Self::DropSync { table, name, .. } => write!(f, "remove the left-over sync trigger `{name}` on `{table}`"),
            Self::DropCompatView { view } => write!(f, "remove the left-over compatibility view `{}`", view.name),
        }
    }
}

fn partitioning(f: &mut fmt::Formatter<'_>, before: &Table, after: &Table) -> fmt::Result {
    let name = &after.name;
    match (&before.partition_of, &after.partition_of) {
        (None, Some(of)) => write!(f, "attach table `{name}` to `{}` as a partition", of.parent),
        (Some(of), None) => write!(f, "detach partition `{name}` from `{}`", of.parent),
        (Some(old), Some(new)) if old != new => write!(f, "change which rows partition `{name}` holds"),
        _ => write!(f, "change how table `{name}` is partitioned"),
    }
}

fn member<T>(
    f: &mut fmt::Formatter<'_>,
    before: &Option<T>,
    after: &Option<T>,
    what: fmt::Arguments<'_>,
) -> fmt::Result {
    let verb = match (before, after) {
        (None, _) => "add",
        (Some(_), None) => "drop",
        (Some(_), Some(_)) => "change",
    };
    write!(f, "{verb} {what}")
}

/// What differs between two versions of a column, in words.
fn altered(before: &Column, after: &Column) -> Vec<String> {
    let mut what = Vec::new();
    if before.ty != after.ty {
        what.push(format!("type {} to {}", before.ty, after.ty));
    }
    if before.nullable != after.nullable {
        what.push(if after.nullable { "drop NOT NULL" } else { "set NOT NULL" }.to_owned());
    }
    if before.default != after.default {
        what.push(match &after.default {
            Some(default) => format!("default {default}"),
            None => "no default".to_owned(),
        });
    }
    for (differs, name) in [
        (before.identity != after.identity, "identity"),
        (before.generated != after.generated, "generated expression"),
        (before.collation != after.collation, "collation"),
        (before.comment != after.comment, "comment"),
    ] {
        if differs {
            what.push(name.to_owned());
        }
    }
    what
}
