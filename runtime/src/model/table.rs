//! Tables and everything that belongs to one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ObjectName, PartitionBy, PartitionOf};

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A table. The order of its columns is kept but never compared: it cannot be changed on a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Name.
    pub name: ObjectName,
    /// Columns in their order. Of a partition only those that are not as its parent's are without their comment.
    pub columns: Vec<Column>,
    /// How its rows are spread over partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_by: Option<PartitionBy>,
    /// Which rows of which table it holds. What a partition has from its parent (columns, keys, checks, indexes, foreign
    /// keys) is the parent's and not repeated here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_of: Option<PartitionOf>,
    /// Primary key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_key: Option<PrimaryKey>,
    /// Unique constraints (a unique *index* without a constraint is in `indexes`), by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub uniques: BTreeMap<String, Unique>,
    /// Check constraints by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<String, Check>,
    /// Exclusion constraints by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exclusions: BTreeMap<String, Exclusion>,
    /// Foreign keys by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub foreign_keys: BTreeMap<String, ForeignKey>,
    /// Indexes that no constraint owns, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub indexes: BTreeMap<String, Index>,
    /// Sync triggers of schemadiff that live on the table while a migration is under way, by trigger name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub syncs: BTreeMap<String, Sync>,
    /// Comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Options of the whole table.
    #[serde(default, skip_serializing_if = "is_default")]
    pub options: TableOptions,
}

impl Table {
    /// Puts the columns into the order of their names: their order cannot be changed on a server and is no difference.
    pub fn sort_columns(&mut self) {
        self.columns.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// Leaves the name of a sequence unsaid where it is the one that the server would give it, as after a rename. A name that the
    /// server would cut stays as it is said.
    pub fn settle_sequences(&mut self) {
        let table = self.name.name.clone();
        for column in &mut self.columns {
            let default = format!("{table}_{}_seq", column.name);
            if let Some(identity) = &mut column.identity {
                identity.sequence.take_if(|name| *name == default && default.len() < 64);
            }
        }
    }

    /// The table with its columns in the order of their names.
    pub(super) fn by_column_name(&self) -> Self {
        let mut table = self.clone();
        table.sort_columns();
        table
    }

    /// A table with nothing in it.
    pub fn new(name: ObjectName) -> Self {
        Self {
            name,
            columns: Vec::new(),
            partition_by: None,
            partition_of: None,
            primary_key: None,
            uniques: BTreeMap::new(),
            checks: BTreeMap::new(),
            exclusions: BTreeMap::new(),
            foreign_keys: BTreeMap::new(),
            indexes: BTreeMap::new(),
            syncs: BTreeMap::new(),
            comment: None,
            options: TableOptions::default(),
        }
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// The column of that name, to be changed.
    pub fn column_mut(&mut self, name: &str) -> Option<&mut Column> {
        self.columns.iter_mut().find(|c| c.name == name)
    }

    /// Whether a sync trigger fills the column and rows from before the trigger may still lack their value.
    pub fn awaits_backfill(&self, column: &str) -> bool {
        let mentions = |list: &[String]| list.iter().any(|c| c == column);
        self.syncs.values().any(|s| mentions(&s.fills) && !mentions(&s.filled))
    }

    /// Whether some sync trigger gives the column its value when a statement does not.
    pub fn is_synced(&self, column: &str) -> bool {
        self.syncs.values().any(|s| !s.later && s.fills.iter().any(|c| c == column))
    }

    /// Whether some sync trigger gives the column a value other than NULL when a statement does not.
    pub fn is_valued(&self, column: &str) -> bool {
        self.syncs.values().any(|s| !s.later && !s.passes_nulls && s.fills.iter().any(|c| c == column))
    }

    /// The columns that are NULL where the column is, because a sync trigger has no other value for them.
    pub fn null_with(&self, column: &str) -> impl Iterator<Item = &str> {
        let passing = self.syncs.values().filter(move |s| s.passes_nulls && s.fills.iter().any(|c| c == column));
        passing.flat_map(|s| &s.fills).map(String::as_str).filter(move |other| *other != column)
    }

    /// Whether some sync trigger looks after the column for writers that do not know it, at once or later.
    pub fn is_looked_after(&self, column: &str) -> bool {
        self.syncs.values().any(|s| s.fills.iter().any(|c| c == column))
    }
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Type in the server's own spelling (`character varying(20)`, `bigint`, `INTEGER`).
    #[serde(rename = "type")]
    pub ty: String,
    /// Whether NULL may be stored.
    #[serde(default, skip_serializing_if = "is_default")]
    pub nullable: bool,
    /// Default as an expression in the server's spelling. `None` for identity and generated columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Numbered by the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Computed by the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<Generated>,
    /// Collation, `None` for the default of the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<String>,
    /// Comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

impl Column {
    /// The sequence that a `serial` column of that table owns: the one that is named, or the server's choice as long as that needs no
    /// cutting.
    #[must_use]
    pub fn owned_sequence(&self, table: &ObjectName) -> Option<ObjectName> {
        let identity = self.identity.as_ref().filter(|identity| identity.kind == IdentityKind::Serial)?;
        let default = || format!("{}_{}_seq", table.name, self.name);
        Some(table.sibling(identity.sequence.clone().unwrap_or_else(default)))
    }

    /// A NOT NULL column without anything else.
    pub fn new(name: impl Into<String>, ty: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ty: ty.into(),
            nullable: false,
            default: None,
            identity: None,
            generated: None,
            collation: None,
            comment: None,
        }
    }

    /// Whether the engine gives a value to an INSERT that does not name the column.
    pub fn fills_itself(&self) -> bool {
        self.nullable || self.default.is_some() || self.identity.is_some() || self.generated.is_some()
    }
}

/// How an engine numbers a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The form.
    pub kind: IdentityKind,
    /// Name of the owned sequence when it is not the engine's default name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<String>,
    /// Sequence options as SQL (`START WITH 1000 INCREMENT BY 5`) when they are not the engine's defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<String>,
}

/// The forms of numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentityKind {
    /// `GENERATED ALWAYS AS IDENTITY`.
    Always,
    /// `GENERATED BY DEFAULT AS IDENTITY`; on SQLite the rowid alias `INTEGER PRIMARY KEY`.
    ByDefault,
    /// PostgreSQL `serial`: a default from a sequence that the column owns.
    Serial,
    /// SQLite `AUTOINCREMENT`.
    Autoincrement,
}

/// A generated column's expression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    /// The expression.
    pub expr: String,
    /// `STORED`, else `VIRTUAL`.
    pub stored: bool,
}

/// Primary key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrimaryKey {
    /// Constraint name; `None` where the engine keeps none (SQLite).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Key columns in order.
    pub columns: Vec<String>,
    /// `INCLUDE` columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// When it is checked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deferrable: Deferrable,
    /// Comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

impl PrimaryKey {
    /// A key over columns, and nothing else.
    pub fn over(name: Option<String>, columns: Vec<String>) -> Self {
        Self { name, columns, include: Vec::new(), deferrable: Deferrable::No, comment: None }
    }
}

/// When a constraint is checked; what comes later lets a transaction do more before it is held to the constraint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deferrable {
    /// At once, always.
    #[default]
    No,
    /// `DEFERRABLE INITIALLY IMMEDIATE`.
    Immediate,
    /// `DEFERRABLE INITIALLY DEFERRED`.
    Deferred,
}

/// Unique constraint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unique {
    /// Columns in order.
    pub columns: Vec<String>,
    /// `INCLUDE` columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// `NULLS NOT DISTINCT`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub nulls_not_distinct: bool,
    /// When it is checked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deferrable: Deferrable,
    /// Comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Check constraint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The condition, without `CHECK` and without outer parentheses of the clause.
    pub expr: String,
    /// Declared `NOT VALID` and not validated yet.
    #[serde(default, skip_serializing_if = "is_default")]
    pub not_valid: bool,
    /// `NO INHERIT`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub no_inherit: bool,
    /// Comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Exclusion constraint: no two rows of which all its comparisons are true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exclusion {
    /// All of it in the server's spelling, from `EXCLUDE` on.
    pub definition: String,
    /// Comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// What happens to a row whose parent goes or changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FkAction {
    /// `NO ACTION`.
    #[default]
    NoAction,
    /// `RESTRICT`.
    Restrict,
    /// `CASCADE`.
    Cascade,
    /// `SET NULL`.
    SetNull,
    /// `SET DEFAULT`.
    SetDefault,
}

impl FkAction {
    /// The SQL words.
    pub const fn as_sql(self) -> &'static str {
        match self {
            Self::NoAction => "NO ACTION",
            Self::Restrict => "RESTRICT",
            Self::Cascade => "CASCADE",
            Self::SetNull => "SET NULL",
            Self::SetDefault => "SET DEFAULT",
        }
    }
}

/// Foreign key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignKey {
    /// Referencing columns.
    pub columns: Vec<String>,
    /// Referenced table.
    pub ref_table: ObjectName,
    /// Referenced columns, always spelled out.
    pub ref_columns: Vec<String>,
    /// `ON DELETE`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_delete: FkAction,
    /// The columns that `ON DELETE SET NULL` and `SET DEFAULT` set, when those are not all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_delete_columns: Vec<String>,
    /// `ON UPDATE`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_update: FkAction,
    /// `MATCH FULL`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub match_full: bool,
    /// When it is checked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deferrable: Deferrable,
    /// Declared `NOT VALID` and not validated yet.
    #[serde(default, skip_serializing_if = "is_default")]
    pub not_valid: bool,
    /// Comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Index that no constraint owns; on SQLite also the index behind a UNIQUE constraint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Key parts in order.
    pub parts: Vec<IndexPart>,
    /// `UNIQUE`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unique: bool,
    /// Access method; `None` is the default (`btree`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// `INCLUDE` columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Predicate of a partial index.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub predicate: Option<String>,
    /// `NULLS NOT DISTINCT`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub nulls_not_distinct: bool,
    /// Storage parameters (`fillfactor`, `fastupdate`, ...).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, String>,
    /// Left behind by a failed concurrent build (`indisvalid = false`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub invalid: bool,
    /// SQLite only: it belongs to a UNIQUE constraint written into the table. It can be neither dropped nor renamed by
    /// itself, only by a rebuild. Structs never declare it; normalization takes it over from the current schema.
    #[serde(default, skip_serializing_if = "is_default")]
    pub constraint: bool,
    /// Comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

impl Index {
    /// A plain unique index over columns: what stands behind a key.
    pub fn over(columns: &[String]) -> Self {
        let part = |column: &String| IndexPart { column: Some(column.clone()), ..IndexPart::default() };
        Self { parts: columns.iter().map(part).collect(), unique: true, ..Self::default() }
    }
}

/// Sort order of an index part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SortOrder {
    /// Ascending.
    #[default]
    Asc,
    /// Descending.
    Desc,
}

/// Where NULLs sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NullsOrder {
    /// `NULLS FIRST`.
    First,
    /// `NULLS LAST`.
    Last,
}

/// One key part of an index: a column or an expression.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexPart {
    /// Column name; exactly one of `column` and `expr` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expr: Option<String>,
    /// Sort order.
    #[serde(default, skip_serializing_if = "is_default")]
    pub order: SortOrder,
    /// Where NULLs sort, when it is not the default of the sort order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nulls: Option<NullsOrder>,
    /// Operator class (with parameters) when it is not the type's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opclass: Option<String>,
    /// Collation when it is not the column's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<String>,
}

/// A sync trigger of a running migration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sync {
    /// Columns that get a value from the trigger when a statement gives none.
    pub fills: Vec<String>,
    /// Those of `fills` whose older rows hold their value too: from the start for the column that was there before,
    /// after the backfill for the new one. Known from the ledger alone; introspection leaves it empty, and
    /// [`Sync::structure`] is what a comparison with a server looks at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filled: Vec<String>,
    /// Those of `fills` that were there, with NULLs, before the trigger (a column that becomes NOT NULL): code that reads
    /// them as nullable goes on as before, while code that knows no NULL waits for the backfill. Ledger knowledge too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub there_before: Vec<String>,
    /// The trigger knows no value: it takes the value away when what it comes from changes, and a function of the
    /// application gives `fills` theirs later. Until then they are NULL.
    #[serde(default, skip_serializing_if = "is_default")]
    pub later: bool,
    /// A NULL in one of `fills` is a NULL in the other one: the trigger has no value of its own for it. Ledger knowledge.
    #[serde(default, skip_serializing_if = "is_default")]
    pub passes_nulls: bool,
}

impl Sync {
    /// The part that a server can show.
    #[must_use]
    pub fn structure(&self) -> Self {
        Self { fills: self.fills.clone(), later: self.later, ..Self::default() }
    }
}

/// Options of a whole table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TableOptions {
    /// PostgreSQL `UNLOGGED`.
    #[serde(skip_serializing_if = "is_default")]
    pub unlogged: bool,
    /// PostgreSQL storage parameters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, String>,
    /// SQLite `STRICT`.
    #[serde(skip_serializing_if = "is_default")]
    pub strict: bool,
    /// SQLite `WITHOUT ROWID`.
    #[serde(skip_serializing_if = "is_default")]
    pub without_rowid: bool,
}
