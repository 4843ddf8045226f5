//! The schema as plain data: what structs declare, what a database holds, what a plan predicts.
//!
//! Nothing here talks to a database and nothing here knows an SQL dialect, apart from the fact that
//! types and expressions are kept in the spelling of the server they were read from or will be
//! created on. Everything is ordered, so that equal schemas serialize to equal bytes.

mod delta;
mod domain;
pub mod expr;
mod fingerprint;
mod implication;
mod name;
mod object;
mod partition;
mod shared;
mod table;
mod version;

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};

pub use delta::{Delta, DeltaError, apply_all, between};
pub use domain::Domain;
pub use fingerprint::{Fingerprint, hex, same};
pub use implication::{Given, either, implies, lets_in};
pub use name::ObjectName;
pub use object::{OWN_NAME, OWN_TABLE, Object, ObjectKey, ObjectKind, Use};
pub use partition::{PartitionBy, PartitionByError, PartitionMethod, PartitionOf};
pub use shared::Shared;
pub use table::{
    Check, Column, Deferrable, Exclusion, FkAction, ForeignKey, Generated, Identity, IdentityKind, Index, IndexPart,
    NullsOrder, PrimaryKey, SortOrder, Sync, Table, TableOptions, Unique,
};
pub use version::{migration_of, version_name};

/// The database engines that schemadiff speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// PostgreSQL 14 and newer.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// SQLite.
    Sqlite,
}

impl Dialect {
    /// The name used in files, in JSON output and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Sqlite => "sqlite",
        }
    }
}

impl std::fmt::Display for Dialect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A whole schema.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schema {
    /// Tables by name.
    #[serde(with = "name::as_list", skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<ObjectName, Shared<Table>>,
    /// Enumerated types by name; only on engines that have them.
    #[serde(with = "name::as_list", skip_serializing_if = "BTreeMap::is_empty")]
    pub enums: BTreeMap<ObjectName, EnumType>,
    /// Domains by name; only on engines that have them.
    #[serde(with = "name::as_list", skip_serializing_if = "BTreeMap::is_empty")]
    pub domains: BTreeMap<ObjectName, Domain>,
    /// What is held by name, definition and what it needs: views, functions, triggers, sequences, ... Structs declare none;
    /// they are managed where a schema is read from a database.
    #[serde(with = "object::as_list", skip_serializing_if = "BTreeMap::is_empty")]
    pub objects: BTreeMap<ObjectKey, Shared<Object>>,
    /// Views that schemadiff made for a version that is being retired. User views are in [`Schema::objects`].
    #[serde(with = "name::as_list", skip_serializing_if = "BTreeMap::is_empty")]
    pub compat_views: BTreeMap<ObjectName, CompatView>,
    /// What the model cannot hold. It is listed, left alone, and is no part of the fingerprint or of a diff.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub opaque: Vec<Opaque>,
}

impl Schema {
    /// The table of that name.
    pub fn table(&self, name: &ObjectName) -> Option<&Table> {
        self.tables.get(name).map(|table| &**table)
    }

    /// The column of that table.
    pub fn column(&self, table: &ObjectName, column: &str) -> Option<&Column> {
        self.tables.get(table)?.column(column)
    }

    /// All tables, a partition always after the table that it is a partition of; otherwise by name.
    pub fn parents_first(&self) -> Vec<&Shared<Table>> {
        let mut tables: Vec<_> = self.tables.values().collect();
        // Stable: tables of one depth stay in the order of their names.
        tables.sort_by_key(|table| self.depth(table));
        tables
    }

    /// How many partitioned tables the table is under.
    fn depth(&self, table: &Table) -> usize {
        let mut depth = 0;
        let mut of = table.partition_of.as_ref();
        // A cycle is no schema that a server can show, but a file can say anything.
        while let Some(parent) = of.filter(|_| depth < self.tables.len()) {
            depth += 1;
            of = self.table(&parent.parent).and_then(|table| table.partition_of.as_ref());
        }
        depth
    }

    /// Whether policies say which rows of the table one sees. Known where the schema is of a database.
    pub fn has_row_security(&self, table: &ObjectName) -> bool {
        self.objects.keys().any(|key| key.kind == ObjectKind::RowSecurity && key.of.as_ref() == Some(table))
    }

    /// The partitions of a table, those of its partitions included, parents first.
    pub fn partitions(&self, table: &ObjectName) -> Vec<&Table> {
        let mut found: Vec<&Table> = Vec::new();
        for candidate in self.parents_first() {
            if let Some(of) = &candidate.partition_of
                && (of.parent == *table || found.iter().any(|known| known.name == of.parent))
            {
                found.push(candidate);
            }
        }
        found
    }

    /// The table as statements see it: a partition with what it has from its parent. A parent that is not in the schema adds
    /// nothing.
    pub fn whole<'s>(&'s self, table: &'s Table) -> Cow<'s, Table> {
        let Some(parent) = table.partition_of.as_ref().and_then(|of| self.table(&of.parent)) else {
            return Cow::Borrowed(table);
        };
        // A file can say that two tables are partitions of each other; no server can.
        if self.depth(table) == self.tables.len() {
            return Cow::Borrowed(table);
        }
        let parent = self.whole(parent);
        let mut whole = table.clone();
        whole.columns = parent
            .columns
            .iter()
            .map(|from| table.column(&from.name).cloned().unwrap_or_else(|| from.clone()))
            .collect();
        whole.primary_key = whole.primary_key.or_else(|| parent.primary_key.clone());
        whole.uniques.extend(parent.uniques.clone());
        whole.checks.extend(parent.checks.clone());
        whole.exclusions.extend(parent.exclusions.clone());
        whole.foreign_keys.extend(parent.foreign_keys.clone());
        whole.indexes.extend(parent.indexes.clone());
        whole.syncs.extend(parent.syncs.clone());
        Cow::Owned(whole)
    }

    /// Only the named tables, all types and objects, and nothing opaque.
    pub fn restricted_to(&self, keep: impl Fn(&ObjectName) -> bool) -> Self {
        Self {
            tables: self.tables.iter().filter(|(name, _)| keep(name)).map(|(n, t)| (n.clone(), t.clone())).collect(),
            enums: self.enums.clone(),
            domains: self.domains.clone(),
            objects: self.objects.clone(),
            compat_views: self.compat_views.clone(),
            opaque: Vec::new(),
        }
    }
}

/// An enumerated type with its values in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnumType {
    /// Name of the type.
    pub name: ObjectName,
    /// Labels in sort order.
    pub values: Vec<String>,
    /// Comment on the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A plain view that shows a table under the name, and with the column names, that an older version knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompatView {
    /// Name of the view: the name the older version uses.
    pub name: ObjectName,
    /// The base table.
    pub table: ObjectName,
    /// Names in the view, and the names in the base table that they stand for. Their order is the table's, which only the
    /// server knows.
    pub columns: BTreeMap<String, String>,
}

/// Something in the database that the model does not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opaque {
    /// The kind in the words of the server: `view`, `trigger`, `function`, `policy`, ...
    pub kind: String,
    /// Its name as a person would write it, for example `public.users.audit`.
    pub name: String,
    /// Why it is not in the model.
    pub reason: String,
    /// The table it hangs on, for a trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<ObjectName>,
    /// The statement that makes it again, for what a table rebuild would take away (triggers on SQLite).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
}

impl name::Named for Table {
    fn object_name(&self) -> &ObjectName {
        &self.name
    }
}

impl name::Named for EnumType {
    fn object_name(&self) -> &ObjectName {
        &self.name
    }
}

impl name::Named for CompatView {
    fn object_name(&self) -> &ObjectName {
        &self.name
    }
}
