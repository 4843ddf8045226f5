//! What one derived struct writes into the link section: one JSON document a table.
//!
//! This is the source form, close to what the user wrote: no default names, types for every engine.
//! `lower` in the same module tree makes a [`crate::model::Schema`] of it for one engine.

use serde::{Deserialize, Serialize};

use crate::model::{Deferrable, FkAction, NullsOrder, SortOrder};

/// Version of the section's content. A reader refuses a newer one.
pub const FORMAT: u32 = 1;

/// A derived table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDecl {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// Rust path of the struct (`module_path!()` and the identifier), for messages.
    pub rust: String,
    /// `file:line` of the struct, for messages.
    #[serde(default)]
    pub location: String,
    /// Database schema.
    #[serde(default)]
    pub schema: Option<String>,
    /// Table name.
    pub name: String,
    /// Former name, `schema.name` or `name`.
    #[serde(default)]
    pub renamed_from: Option<String>,
    /// Comment.
    #[serde(default)]
    pub comment: Option<String>,
    /// SQLite `STRICT`.
    #[serde(default)]
    pub strict: bool,
    /// SQLite `WITHOUT ROWID`.
    #[serde(default)]
    pub without_rowid: bool,
    /// PostgreSQL `UNLOGGED`.
    #[serde(default)]
    pub unlogged: bool,
    /// `PARTITION BY` clause; on engines without partitions the table is a plain one.
    #[serde(default)]
    pub partition_by: Option<String>,
    /// Partitions that the struct declares; others are nobody's business.
    #[serde(default)]
    pub partitions: Vec<PartitionDecl>,
    /// Columns in field order.
    pub columns: Vec<ColumnDecl>,
    /// Primary key, from columns or from the table attribute.
    #[serde(default)]
    pub primary_key: Option<PrimaryKeyDecl>,
    /// Unique constraints, from columns and from the table attribute.
    #[serde(default)]
    pub uniques: Vec<UniqueDecl>,
    /// Check constraints, from columns and from the table attribute.
    #[serde(default)]
    pub checks: Vec<CheckDecl>,
    /// Foreign keys, from columns and from the table attribute.
    #[serde(default)]
    pub foreign_keys: Vec<TableForeignKeyDecl>,
    /// Indexes, from columns and from the table attribute.
    #[serde(default)]
    pub indexes: Vec<IndexDecl>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionDecl {
    /// Database schema; the parent's when it is not given.
    #[serde(default)]
    pub schema: Option<String>,
    /// Table name.
    pub name: String,
    /// `FOR VALUES ..` or `DEFAULT`.
    pub bound: String,
}

/// A column's type on each engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeDecl {
    /// PostgreSQL spelling; empty: the engine has no such type. Arrays carry `[]`.
    pub postgres: String,
    /// MySQL spelling; empty: none.
    pub mysql: String,
    /// SQLite spelling; empty: none.
    pub sqlite: String,
    /// The enumerated type behind it: native on PostgreSQL, checked text elsewhere.
    #[serde(default)]
    pub enumeration: Option<EnumDecl>,
}

/// An enumerated type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnumDecl {
    /// Database schema of the type.
    #[serde(default)]
    pub schema: Option<String>,
    /// Name of the type.
    pub name: String,
    /// Labels in order.
    pub values: Vec<String>,
    /// Former name of the type, `schema.name` or `name`.
    #[serde(default)]
    pub renamed_from: Option<String>,
    /// Labels that had another name.
    #[serde(default)]
    pub renamed_values: Vec<RenamedValueDecl>,
}

/// A label that had another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenamedValueDecl {
    /// What it was.
    pub from: String,
    /// What it is.
    pub to: String,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDecl {
    /// Column name.
    pub name: String,
    /// Field name, for messages.
    #[serde(default)]
    pub field: String,
    /// Type on each engine.
    #[serde(rename = "type")]
    pub ty: TypeDecl,
    /// `Option`.
    pub nullable: bool,
    /// `default = ".."`: one expression for every engine, or one per engine.
    #[serde(default)]
    pub default: Option<DefaultDecl>,
    /// `identity`.
    #[serde(default)]
    pub identity: Option<IdentityDecl>,
    /// `generated = ".."`.
    #[serde(default)]
    pub generated: Option<GeneratedDecl>,
    /// `collation = ".."`.
    #[serde(default)]
    pub collation: Option<String>,
    /// Comment.
    #[serde(default)]
    pub comment: Option<String>,
    /// Former name of the column.
    #[serde(default)]
    pub renamed_from: Option<String>,
    /// How existing rows get a value: an SQL expression over the row.
    #[serde(default)]
    pub backfill: Option<String>,
    /// How existing rows get a value: a function of the application, and the columns that it is given.
    #[serde(default)]
    pub backfill_with: Option<String>,
}

/// Default expression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultDecl {
    /// The expression as written.
    pub expr: String,
}

/// Identity form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentityDecl {
    /// `identity`.
    ByDefault,
    /// `identity = "always"`.
    Always,
    /// `identity = "serial"`: PostgreSQL serial, for databases that already have it.
    Serial,
    /// `identity = "autoincrement"`: SQLite AUTOINCREMENT; by-default identity elsewhere.
    Autoincrement,
}

/// Generated column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneratedDecl {
    /// Expression.
    pub expr: String,
    /// Stored (the default) or virtual.
    pub stored: bool,
}

/// Primary key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrimaryKeyDecl {
    /// Constraint name when given.
    #[serde(default)]
    pub name: Option<String>,
    /// Columns.
    pub columns: Vec<String>,
    /// When it is checked.
    #[serde(default)]
    pub deferrable: Deferrable,
}

/// Unique constraint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UniqueDecl {
    /// Constraint name when given.
    #[serde(default)]
    pub name: Option<String>,
    /// Columns.
    pub columns: Vec<String>,
    /// `NULLS NOT DISTINCT`.
    #[serde(default)]
    pub nulls_not_distinct: bool,
    /// When it is checked.
    #[serde(default)]
    pub deferrable: Deferrable,
}

/// Check constraint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckDecl {
    /// Constraint name when given.
    #[serde(default)]
    pub name: Option<String>,
    /// The column it was written on; decides the default name.
    #[serde(default)]
    pub column: Option<String>,
    /// Condition.
    pub expr: String,
}

/// Foreign key with its target already resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableForeignKeyDecl {
    /// Constraint name when given.
    #[serde(default)]
    pub name: Option<String>,
    /// Referencing columns.
    pub columns: Vec<String>,
    /// Target, one entry a column, all of one table.
    pub references: Vec<ReferenceDecl>,
    /// `on_delete`.
    #[serde(default)]
    pub on_delete: FkAction,
    /// `on_update`.
    #[serde(default)]
    pub on_update: FkAction,
    /// When it is checked.
    #[serde(default)]
    pub deferrable: Deferrable,
}

/// A referenced column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceDecl {
    /// Database schema of the table.
    #[serde(default)]
    pub schema: Option<String>,
    /// Table.
    pub table: String,
    /// Column.
    pub column: String,
}

/// Index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexDecl {
    /// Name when given.
    #[serde(default)]
    pub name: Option<String>,
    /// `unique`.
    #[serde(default)]
    pub unique: bool,
    /// Access method, PostgreSQL only.
    #[serde(default)]
    pub method: Option<String>,
    /// Key parts.
    pub parts: Vec<IndexPartDecl>,
    /// `include`.
    #[serde(default)]
    pub include: Vec<String>,
    /// `where = ".."`.
    #[serde(default, rename = "where")]
    pub predicate: Option<String>,
    /// `NULLS NOT DISTINCT`.
    #[serde(default)]
    pub nulls_not_distinct: bool,
}

/// Key part of an index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexPartDecl {
    /// Column, or
    #[serde(default)]
    pub column: Option<String>,
    /// expression.
    #[serde(default)]
    pub expr: Option<String>,
    /// Sort order.
    #[serde(default)]
    pub order: SortOrder,
    /// Where NULLs sort.
    #[serde(default)]
    pub nulls: Option<NullsOrder>,
    /// Operator class.
    #[serde(default)]
    pub opclass: Option<String>,
    /// Collation.
    #[serde(default)]
    pub collation: Option<String>,
}
