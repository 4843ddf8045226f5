//! The SQL spoken at plan time: one folder a dialect, with the same file names in each.
//!
//! [`Ddl`] is pure text, [`Connection`] talks to a server. The planner sees `Ddl` and [`Capabilities`] only and never
//! asks for a dialect's name.

pub mod postgres;
pub mod sample;
pub mod sqlite;

mod connection;
mod fill_spec;
mod numbering;
mod questions;
mod sync_spec;

use schemadiff::{
    model::{
        Check, Column, CompatView, Deferrable, Dialect, Domain, EnumType, Exclusion, ForeignKey, Index, Object,
        ObjectKey, ObjectName, PartitionBy, PrimaryKey, Schema, Table, Unique,
    },
    plan::{Assignment, Backfill, Comparison, Generated, KeyColumn, Lock},
};

pub use connection::{Connection, Introspection, Scope, Scratch, ServerInfo, TableSize, dialect_of};
pub use fill_spec::{CompareSpec, GivenSpec};
pub use numbering::Numbering;
pub use questions::Questions;
pub use sync_spec::SyncSpec;

/// Facts about an engine that the planner branches on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Constraints can be added to a table that exists (`ALTER TABLE .. ADD CONSTRAINT`). When false, such changes go
    /// through [`Ddl::rebuild`].
    pub alter_constraints: bool,
    /// A check or foreign key can be added `NOT VALID` and validated later without blocking.
    pub not_valid: bool,
    /// A column's type, default, nullability can be changed in place. When false: [`Ddl::rebuild`].
    pub alter_column: bool,
    /// An index can be built while the table is written to (`CONCURRENTLY`).
    pub concurrent_indexes: bool,
    /// Constraints can adopt an index that exists (`USING INDEX`).
    pub constraint_using_index: bool,
    /// A plain view can take every INSERT, UPDATE and DELETE of its table with all their results, so a renamed table can
    /// keep its old name for old code. When false a table rename has no overlap.
    pub updatable_views: bool,
    /// Whoever reads through such a view is held to the policies of the table (PostgreSQL 15). When false it reads with the rights of
    /// the view's owner, who sees all rows.
    pub views_follow_policies: bool,
    /// Enumerated types are objects of their own. When false they are text with a check.
    pub native_enums: bool,
    /// Comments on objects.
    pub comments: bool,
    /// A column with an expression default can be added without rewriting the table when the expression is not volatile.
    pub fast_default: bool,
    /// A dropped column costs nothing at once. When false the table is rewritten and [`Ddl::rebuild`] is as good.
    pub cheap_drop_column: bool,
    /// A foreign key can be added `NOT VALID` to a partitioned table too (PostgreSQL 18). When false it goes through
    /// [`Ddl::each_partition`].
    pub partitioned_not_valid: bool,
    /// NOT NULL itself can be added `NOT VALID` and validated later (PostgreSQL 18). When false a check stands in for it.
    pub not_null_not_valid: bool,
    /// A partitioned table can get a column that the engine numbers (PostgreSQL 17).
    pub partitioned_identity: bool,
    /// A sync trigger passes over the rows of a session that names it, see [`Backfill::quiet`].
    pub quiet_triggers: bool,
    /// What becomes of statements with `*` that a connection keeps prepared while the table gets or loses a column: the rest of
    /// a sentence that begins with them.
    pub cached_star: &'static str,
    /// Constraint names are the user's; when false (SQLite) the primary key has no name and names are cosmetic.
    pub named_constraints: bool,
}

/// How a value that a plan puts into a new column depends on time and chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volatility {
    /// A constant, or one value for the whole statement (`now()`): existing rows can share it.
    Stable,
    /// Each row needs its own value (`gen_random_uuid()`, `nextval(..)`), or it is not known to be otherwise.
    Volatile,
}

/// What happens under the lock of an in-place type change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeChange {
    /// The two spellings are one type.
    Same,
    /// Catalogue only.
    Metadata,
    /// The table or its indexes are rebuilt: never in place.
    Rewrite,
}

/// How something is set aside instead of dropped, how it comes back and how it goes for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Sets it aside.
    pub forth: Vec<String>,
    /// Brings it back.
    pub back: Vec<String>,
    /// Drops it; does nothing when it is gone.
    pub purge: Vec<String>,
    /// Where a column goes and comes with a rebuild of its table, the values of the column that comes back: an expression over the
    /// table's columns. `forth` then runs before the rebuild, `back` after the one that brings it back.
    pub copy_back: Option<String>,
}

/// What tells things of one name apart that different migrations have set aside: the time in the migration's id.
pub(crate) fn aside_stamp(id: &str) -> &str {
    let stamp = id.split('_').next().unwrap_or_default();
    if stamp.is_empty() { id } else { stamp }
}

/// What hangs on a table and would go with it in a rebuild. The user's triggers are the executor's matter.
#[derive(Debug, Clone, Default)]
pub struct Dependents {
    /// The sync triggers that are on the table before the rebuild and must be there after it (`after.syncs`).
    pub syncs: Vec<SyncSpec>,
}

/// What is done to partitions in use step by step, as each state of the database needs; things with their names.
#[derive(Debug, Clone, Copy)]
pub enum PerPartition<'p> {
    /// An index.
    Index(&'p str, &'p Index),
    /// A unique constraint.
    Unique(&'p str, &'p Unique),
    /// The primary key.
    PrimaryKey(&'p PrimaryKey),
    /// A foreign key.
    ForeignKey(&'p str, &'p ForeignKey),
    /// A table becomes a partition itself.
    Attach {
        /// The partitioned table.
        parent: &'p ObjectName,
        /// How it is partitioned.
        by: &'p PartitionBy,
        /// The rows that the partition holds.
        bound: &'p str,
    },
}

/// See [`Ddl::each_partition`].
#[derive(Debug, Clone)]
pub struct EachPartition {
    /// The statements.
    pub forth: Generated,
    /// Those that take it away again, however far they came.
    pub undo: Vec<String>,
    /// A query for one boolean: it is there.
    pub done_when: String,
    /// A query for what has its name and is something else.
    pub stopped_by: Option<String>,
}

/// Pure SQL text of one dialect. Every identifier and literal goes through [`Ddl::ident`] and [`Ddl::literal`].
/// Statements have no final semicolon; each `String` is one statement.
pub trait Ddl: Numbering + Questions + Send + Sync {
    /// Which engine.
    fn dialect(&self) -> Dialect;
    /// Facts, for the server version this was made for.
    fn capabilities(&self) -> Capabilities;
    /// A quoted identifier.
    fn ident(&self, name: &str) -> String;
    /// A quoted, schema-qualified name (PostgreSQL: always qualified, `public` when the name has none).
    fn name(&self, name: &ObjectName) -> String;
    /// A quoted text literal.
    fn literal(&self, text: &str) -> String;

    /// The default name the engine (or schemadiff, where the engine keeps none) gives, within the engine's length limit.
    /// `suffix` is `pkey`, `key`, `check`, `fkey`, `idx` or `seq`.
    fn default_name(&self, table: &str, columns: &[&str], suffix: &str) -> String;
    /// A name for a sync trigger on (table, column), unique, within the length limit, recognised by introspection.
    fn sync_name(&self, table: &ObjectName, column: &str) -> String;
    /// Whether existing rows can share one value of this default.
    fn volatility(&self, expr: &str) -> Volatility;
    /// Makes the schema that the ledger is in, where it has one of its own.
    fn ledger_schema(&self) -> Vec<String> {
        Vec::new()
    }
    /// What changing a column's type in place would do.
    fn type_change(&self, from: &str, to: &str) -> TypeChange;
    /// A condition that holds for the values of a column (an identifier) that a change of type would refuse or spoil; none where
    /// every value converts. Computing it may fail on such a value.
    fn cannot_convert(&self, column: &str, from: &str, to: &str) -> Option<String>;
    /// A query for the names of the user's views over a table, or over one of its columns, where the server knows them, apart
    /// from those that are `known` to the plan.
    fn views_over(&self, table: &ObjectName, column: Option<&str>, known: &[&ObjectName]) -> Option<String>;

    /// The engine's own name for the place of a row, for tables without a primary key.
    fn row_identifier(&self) -> &'static str;
    /// An expression that converts a value to a type, for assignment to a column of it (`"qty"::bigint`, `CAST(..)`): a text
    /// that is too long for the column must fail there, so it is not cut to length here.
    fn cast(&self, expr: &str, to: &str) -> String;
    /// A value that somebody else wrote, as one of a column's type wherever it stands. What does not fit is refused, never cut.
    fn value_of(&self, expr: &str, ty: &str) -> String {
        let _ = ty;
        expr.to_owned()
    }

    /// The database schema, if it must be made first (`CREATE SCHEMA`).
    fn create_schema(&self, schema: &str) -> Vec<String>;
    /// The table with columns, primary key, uniques, checks, indexes and comments; foreign keys only where
    /// `alter_constraints` is false or the referenced table is the table itself.
    fn create_table(&self, table: &Table) -> Vec<String>;
    /// Drops without CASCADE.
    fn drop_table(&self, table: &ObjectName) -> Vec<String>;
    /// How the table is set aside by migration `id`; `None` where that is not cheap, or not possible. Foreign keys to it are gone.
    fn set_aside_table(&self, table: &Table, id: &str) -> Option<SetAside> {
        let _ = (table, id);
        None
    }
    /// How the column is set aside by migration `id`; `None` where that is not cheap, or not possible. `table` is the table with it;
    /// constraints and indexes on it are gone.
    fn set_aside_column(&self, table: &Table, column: &Column, id: &str) -> Option<SetAside> {
        let _ = (table, column, id);
        None
    }
    /// Renames, and moves to another database schema where the name says so.
    fn rename_table(&self, from: &ObjectName, to: &ObjectName) -> Vec<String>;
    /// Whether [`Ddl::add_column`] can add this column to a table that has rows, `has_fk` together with a foreign key.
    /// When false, the column comes with a [`Ddl::rebuild`].
    fn can_add_column(&self, column: &Column, has_fk: bool) -> bool {
        let _ = (column, has_fk);
        true
    }
    /// Adds the column with what `column` says.
    fn add_column(&self, table: &ObjectName, column: &Column) -> Vec<String>;
    /// Drops without CASCADE.
    fn drop_column(&self, table: &ObjectName, column: &str) -> Vec<String>;
    /// Renames.
    fn rename_column(&self, table: &ObjectName, from: &str, to: &str) -> Vec<String>;
    /// The part of an ALTER TABLE that changes the type in place, from `from` (and the collation, when `column` has one). A text that is too long for the new
    /// type is refused, never cut off. `using` is an expression over the row that gives the values instead of a cast.
    fn alter_type(&self, from: &str, column: &Column, using: Option<&str>) -> String;
    /// All parts in one statement, which writes the table anew once at most.
    fn alter_table(&self, table: &ObjectName, parts: &[String]) -> String;
    /// Sets (`Some`) or drops (`None`) the default.
    fn alter_default(&self, table: &ObjectName, column: &str, default: Option<&str>) -> Vec<String>;
    /// Fails where a row's value in `column` is not what `expr` gives.
    fn refuse_other_values(&self, table: &ObjectName, column: &Column, expr: &str) -> Vec<String>;
    /// A condition for such rows.
    fn has_other_value(&self, column: &Column, expr: &str) -> String;
    /// Makes a generated column a plain one that keeps its values.
    fn drop_expression(&self, table: &ObjectName, column: &str) -> Vec<String>;
    /// Sets or drops NOT NULL.
    fn alter_nullable(&self, table: &ObjectName, column: &str, nullable: bool) -> Vec<String>;
    /// NOT NULL for new rows, under a name of its own; see [`Capabilities::not_null_not_valid`].
    fn add_not_null(&self, table: &ObjectName, name: &str, column: &str) -> Vec<String> {
        let _ = (table, name, column);
        Vec::new()
    }
    /// Adds a check, `NOT VALID` when it says so.
    fn add_check(&self, table: &ObjectName, name: &str, check: &Check) -> Vec<String>;
    /// Adds an exclusion constraint, and builds its index.
    fn add_exclusion(&self, table: &ObjectName, name: &str, exclusion: &Exclusion) -> Vec<String>;
    /// Adds a foreign key, `NOT VALID` when it says so.
    fn add_foreign_key(&self, table: &ObjectName, name: &str, key: &ForeignKey) -> Vec<String>;
    /// Validates a constraint.
    fn validate(&self, table: &ObjectName, constraint: &str) -> Vec<String>;
    /// Adds a unique constraint, and builds its index.
    fn add_unique(&self, table: &ObjectName, name: &str, unique: &Unique) -> Vec<String> {
        let _ = (table, name, unique);
        Vec::new()
    }
    /// Adds a primary key, and builds its index.
    fn add_primary_key(&self, table: &ObjectName, key: &PrimaryKey) -> Vec<String> {
        let _ = (table, key);
        Vec::new()
    }
    /// Adds a unique constraint over the unique index of that name that is already there.
    fn add_unique_using_index(&self, table: &ObjectName, name: &str, unique: &Unique, index: &str) -> Vec<String>;
    /// Adds a primary key over the unique index that is already there.
    fn add_primary_key_using_index(&self, table: &ObjectName, key: &PrimaryKey, index: &str) -> Vec<String>;
    /// Changes when a foreign key is checked.
    fn alter_deferrable(&self, table: &ObjectName, name: &str, to: Deferrable) -> Vec<String> {
        let _ = (table, name, to);
        Vec::new()
    }
    /// Drops any constraint by name.
    fn drop_constraint(&self, table: &ObjectName, name: &str) -> Vec<String>;
    /// Renames any constraint.
    fn rename_constraint(&self, table: &ObjectName, from: &str, to: &str) -> Vec<String>;
    /// Creates an index, concurrently if asked and able, never with IF NOT EXISTS.
    fn create_index(&self, table: &ObjectName, name: &str, index: &Index, concurrently: bool) -> Vec<String>;
    /// Drops an index.
    fn drop_index(&self, table: &ObjectName, name: &str, concurrently: bool) -> Vec<String>;
    /// Renames an index.
    fn rename_index(&self, table: &ObjectName, from: &str, to: &str) -> Vec<String>;
    /// A query for the statement that takes away what a failed concurrent build of this index left; no row when nothing is left.
    fn clear_index(&self, table: &ObjectName, name: &str, index: &Index) -> Option<String> {
        let _ = (table, name, index);
        None
    }
    /// A query for what has the index's name and is not this index of this table, in words; no row when nothing has.
    fn index_name_taken(&self, table: &ObjectName, name: &str, index: &Index) -> Option<String> {
        let _ = (table, name, index);
        None
    }
    /// A query for one boolean: this index of this table exists and is valid.
    fn index_is_valid(&self, table: &ObjectName, name: &str, index: &Index) -> String;
    /// A query for one boolean: the table has no index of that name.
    fn index_is_gone(&self, table: &ObjectName, name: &str) -> String;
    /// Creates an enumerated type.
    fn create_enum(&self, enumeration: &EnumType) -> Vec<String>;
    /// Drops an enumerated type.
    fn drop_enum(&self, name: &ObjectName) -> Vec<String>;
    /// Adds a label, before another one or at the end. Adding a label that is there already is no error.
    fn add_enum_value(&self, name: &ObjectName, value: &str, before: Option<&str>) -> Vec<String>;
    /// Creates a domain with its checks and comments.
    fn create_domain(&self, domain: &Domain) -> Vec<String> {
        let _ = domain;
        Vec::new()
    }
    /// Drops a domain.
    fn drop_domain(&self, name: &ObjectName) -> Vec<String> {
        let _ = name;
        Vec::new()
    }
    /// Sets (`Some`) or drops (`None`) the default of a domain.
    fn alter_domain_default(&self, name: &ObjectName, default: Option<&str>) -> Vec<String> {
        let _ = (name, default);
        Vec::new()
    }
    /// Sets or drops NOT NULL of a domain.
    fn alter_domain_nullable(&self, name: &ObjectName, nullable: bool) -> Vec<String> {
        let _ = (name, nullable);
        Vec::new()
    }
    /// Adds a check to a domain, `NOT VALID` when it says so.
    fn add_domain_check(&self, domain: &ObjectName, name: &str, check: &Check) -> Vec<String> {
        let _ = (domain, name, check);
        Vec::new()
    }
    /// Validates a check of a domain.
    fn validate_domain_check(&self, domain: &ObjectName, name: &str) -> Vec<String> {
        let _ = (domain, name);
        Vec::new()
    }
    /// Drops a check of a domain.
    fn drop_domain_check(&self, domain: &ObjectName, name: &str) -> Vec<String> {
        let _ = (domain, name);
        Vec::new()
    }
    /// Renames a check of a domain.
    fn rename_domain_check(&self, domain: &ObjectName, from: &str, to: &str) -> Vec<String> {
        let _ = (domain, from, to);
        Vec::new()
    }
    /// Comment on a domain (`None` removes it).
    fn comment_on_domain(&self, name: &ObjectName, comment: Option<&str>) -> Vec<String> {
        let _ = (name, comment);
        Vec::new()
    }
    /// Comment on a check of a domain.
    fn comment_on_domain_check(&self, domain: &ObjectName, name: &str, comment: Option<&str>) -> Vec<String> {
        let _ = (domain, name, comment);
        Vec::new()
    }
    /// Comment on a table (`None` removes it).
    fn comment_on_table(&self, table: &ObjectName, comment: Option<&str>) -> Vec<String>;
    /// Comment on a column.
    fn comment_on_column(&self, table: &ObjectName, column: &str, comment: Option<&str>) -> Vec<String>;
    /// Comment on a constraint.
    fn comment_on_constraint(&self, table: &ObjectName, name: &str, comment: Option<&str>) -> Vec<String>;
    /// Comment on an index.
    fn comment_on_index(&self, table: &ObjectName, name: &str, comment: Option<&str>) -> Vec<String>;
    /// Comment on an enumerated type.
    fn comment_on_enum(&self, name: &ObjectName, comment: Option<&str>) -> Vec<String>;
    /// Renames an enumerated type, into another database schema where the name says so.
    fn rename_enum(&self, from: &ObjectName, to: &ObjectName) -> Vec<String> {
        let _ = (from, to);
        Vec::new()
    }
    /// Makes an enumerated type anew with other labels, and the columns over it with it, in one transaction. Their defaults
    /// are those that the columns say.
    fn replace_enum(&self, after: &EnumType, columns: &[(ObjectName, Column)]) -> Vec<String> {
        let _ = (after, columns);
        Vec::new()
    }
    /// Renames a label of an enumerated type.
    fn rename_enum_value(&self, name: &ObjectName, from: &str, to: &str) -> Vec<String> {
        let _ = (name, from, to);
        Vec::new()
    }
    /// Everything that makes an object, apart from the owner of a sequence.
    fn create_object(&self, object: &Object) -> Vec<String> {
        let _ = object;
        Vec::new()
    }
    /// Makes one object of another of the same key in place; `None` where it must be dropped and made again.
    fn replace_object(&self, before: &Object, after: &Object) -> Option<Vec<String>> {
        let _ = (before, after);
        None
    }
    /// Drops an object without CASCADE.
    fn drop_object(&self, object: &Object) -> Vec<String> {
        let _ = object;
        Vec::new()
    }
    /// Takes an object away with all that depends on it, and does nothing where there is none: for scratch databases.
    fn clear_object(&self, object: &Object) -> Vec<String> {
        let _ = object;
        Vec::new()
    }
    /// Renames an object, into another database schema where the name says so.
    fn rename_object(&self, from: &ObjectKey, to: &ObjectKey) -> Vec<String> {
        let _ = (from, to);
        Vec::new()
    }
    /// Gives a sequence to the column that it belongs to, or to none.
    fn own_sequence(&self, sequence: &Object) -> Vec<String> {
        let _ = sequence;
        Vec::new()
    }
    /// The locks that making (`true`) or dropping (`false`) an object takes on tables, and on itself.
    fn object_locks(&self, object: &Object, makes: bool) -> Vec<Lock> {
        let _ = (object, makes);
        Vec::new()
    }
    /// Whether a sync trigger fills columns only after the row was stored. Then a constraint on the old column strikes
    /// before the trigger can help: the old column must be nullable (or have a default) before new code, which does not
    /// name it, may insert. The planner makes it so with a rebuild in expand; the new column stays nullable until contract
    /// for the same reason.
    fn sync_needs_nullable_old(&self) -> bool {
        false
    }
    /// The trigger(s) and function that keep two columns in step.
    fn create_sync(&self, sync: &SyncSpec) -> Vec<String>;
    /// Takes them away, trigger first.
    fn drop_sync(&self, table: &ObjectName, name: &str) -> Vec<String>;
    /// The same for one that was made from [`SyncSpec::later`].
    fn drop_later_sync(&self, table: &ObjectName, name: &str) -> Vec<String> {
        self.drop_sync(table, name)
    }
    /// A compatibility view, marked so that introspection knows it, with the table's grants. One that shows the table `of`, as
    /// it is at that moment, with all its columns under their names, has them in the table's order. Where it stands in another
    /// database schema than its table, that schema is one version's own: it is made with its first view and goes with its
    /// last.
    fn create_compat_view(&self, view: &CompatView, of: &Table) -> Vec<String>;
    /// Drops it.
    fn drop_compat_view(&self, view: &CompatView) -> Vec<String>;
    /// Whether every row has an identifier of the engine's own, so that a backfill and a trigger need no key.
    fn has_row_identifier(&self) -> bool {
        false
    }
    /// The empty value of a type (`''`, `0`, `false`) in the server's spelling, for a column that new code no longer
    /// writes; `None` for types that have none.
    fn neutral_default(&self, ty: &str) -> Option<String> {
        let _ = ty;
        None
    }
    /// The statements of a backfill. An empty key walks along the engine's row identifier, where there is one (SQLite's
    /// rowid); pass it when the primary key may hold NULL.
    fn backfill(&self, table: &ObjectName, key: &[KeyColumn], set: &[Assignment], pending: &str) -> Backfill;
    /// Which of these triggers of one table puts back what triggers of the user's make of a row that is filled, see
    /// [`Backfill::restored_by`]; none where none can.
    fn restores(&self, syncs: &mut dyn Iterator<Item = &str>) -> Option<String> {
        let _ = syncs;
        None
    }
    /// Whether an expression gives the same for a row whenever it is asked: not where it depends on chance or the time.
    fn is_lasting(&self, expr: &str) -> bool;
    /// How the rows between two keys are compared with what they should be, see [`Comparison`]. The key is the backfill's.
    fn comparison(&self, table: &ObjectName, key: &[KeyColumn], columns: &[CompareSpec]) -> Comparison;
    /// The query that gives expressions their turn over the rows between two keys, see [`Backfill::evaluate_sql`].
    fn evaluation(&self, table: &ObjectName, key: &[KeyColumn], exprs: &[&str]) -> String;
    /// The statements of a backfill whose values a function of the application gives: `by`, from the columns `reads`, for
    /// those in `set`, whose types are in `gives`.
    fn backfill_with(&self, table: &ObjectName, key: &[KeyColumn], given: &GivenSpec<'_>, pending: &str) -> Backfill;
    /// Statements that compile the table's triggers and carry nothing out; none where the engine looks at a trigger when it is
    /// made.
    fn compile_writes(&self, _table: &ObjectName, _columns: &[Column]) -> Vec<String> {
        Vec::new()
    }
    /// Rebuilds a table into its new shape: copy, swap, indexes, triggers, for [`schemadiff::plan::Envelope::Rebuild`].
    /// `copy` maps each column of `after` to an expression over `before`'s columns (columns of the same name are
    /// copied when not listed). `dependents` are made again after the swap. The statements fail, and so take everything
    /// back, when the table has a trigger, an index or a column that the plan does not know. Only where
    /// `alter_constraints` is false.
    fn rebuild(&self, before: &Table, after: &Table, copy: &[(String, String)], dependents: &Dependents)
    -> Vec<String>;
    /// Option changes of a table (`SET (fillfactor = ..)`), where no rewrite is needed; empty when there is no way.
    fn alter_options(&self, before: &Table, after: &Table) -> Vec<String>;

    /// A partition of a table that is in use, without a lock on it that stops anybody.
    fn create_partition(&self, table: &Table) -> Vec<String> {
        self.create_table(table)
    }
    /// Makes a partition a table of its own.
    fn detach_partition(&self, parent: &ObjectName, partition: &ObjectName) -> Vec<String> {
        let _ = (parent, partition);
        Vec::new()
    }
    /// Lets whoever may use one column of the table use another one: what is granted for the whole table needs no word.
    fn copy_column_rights(&self, table: &ObjectName, from: &str, to: &str) -> Vec<String> {
        let _ = (table, from, to);
        Vec::new()
    }
    /// What the rows within a partition's bound fulfil, and no others; `None` where no plain condition says it.
    fn partition_condition(&self, by: &PartitionBy, bound: &str) -> Option<String> {
        let _ = (by, bound);
        None
    }
    /// How a partitioned table gets something while all its partitions, also those that the plan does not know, are in use;
    /// `None` where there are no partitions.
    fn each_partition(&self, table: &ObjectName, what: &PerPartition<'_>) -> Option<EachPartition> {
        let _ = (table, what);
        None
    }

    /// The locks that a statement kind takes on a table: `what` is the method's name above, with `_concurrently` behind it
    /// for an index that is built or dropped so; `others` are the tables at the other end of its foreign keys.
    fn locks(&self, what: &str, table: &ObjectName, others: &[&ObjectName]) -> Vec<Lock>;
}

/// The renderer for a dialect and server version (`150018` style on PostgreSQL, `3051003` style on SQLite).
///
/// # Errors
/// For a dialect that this version does not plan for (MySQL).
pub fn ddl(dialect: Dialect, version: u32) -> crate::Result<Box<dyn Ddl>> {
    match dialect {
        Dialect::Postgres => Ok(Box::new(postgres::Postgres::new(version))),
        Dialect::Sqlite => Ok(Box::new(sqlite::Sqlite::new(version))),
        Dialect::Mysql => {
            Err(crate::Error::new(crate::Kind::Usage, "SD0203", "MySQL and MariaDB are not supported yet")
                .help("use a postgres:// or sqlite: address"))
        }
    }
}

/// The static part of normalization: aliases of type names (`varchar(20)` is `character varying(20)`), quoted names,
/// redundant parentheses, default names. Works without a server; what needs one is [`Connection::normalize`].
pub fn normalize_statically(dialect: Dialect, desired: &mut Schema) {
    match dialect {
        Dialect::Postgres => postgres::normalize::statically(desired),
        Dialect::Sqlite => sqlite::normalize::statically(desired),
        Dialect::Mysql => {}
    }
}

/// Refuses names that the engine would cut off without a word, wherever they come from, and places that are not the
/// application's: what is there is hidden from comparisons, so a table would be made again and again.
///
/// # Errors
/// [`crate::error::Kind::Project`] with the first such name.
pub fn check_names(dialect: Dialect, desired: &Schema) -> crate::Result<()> {
    match dialect {
        Dialect::Postgres => postgres::normalize::identifiers(desired),
        Dialect::Sqlite => sqlite::normalize::places(desired),
        Dialect::Mysql => Ok(()),
    }
}

/// A table in a place that is not the application's.
pub(crate) fn reserved(table: &ObjectName, owner: &str) -> crate::Error {
    crate::Error::new(crate::Kind::Project, "SD0352", format!("the table `{table}` cannot be there"))
        .cause(format!("the place belongs to {owner}, and what is in it is not looked at"))
        .help("give the struct another name or schema")
        .declared_by(table)
}

/// Refuses names that differ from those that are there in nothing but case, where the engine does not tell upper from
/// lower case: to it they are one name, so neither is a new one and nothing can be renamed step by step.
///
/// # Errors
/// [`crate::error::Kind::Refused`] with the first such name.
pub fn check_case(dialect: Dialect, desired: &Schema, current: &Schema) -> crate::Result<()> {
    match dialect {
        Dialect::Sqlite => sqlite::normalize::same_case(desired, current),
        Dialect::Postgres | Dialect::Mysql => Ok(()),
    }
}

/// Takes over from `current` what is no difference on this engine but would look like one: on SQLite the names of indexes
/// and constraints with equal definitions, whether a unique index came as a constraint, and type names of one affinity.
/// [`Connection::normalize`] does it too; a comparison without a server (with the lock file) needs it by itself.
pub fn adopt_spelling(dialect: Dialect, desired: &mut Schema, current: &Schema) {
    if dialect == Dialect::Sqlite {
        sqlite::normalize::adopt(desired, current);
    }
}
