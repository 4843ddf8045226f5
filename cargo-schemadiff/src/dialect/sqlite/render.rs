//! The SQL of SQLite as the planner asks for it.

use schemadiff::{
    artifact::naming,
    compat::types::Fit,
    model::{
        Check, Column, CompatView, Dialect, EnumType, Exclusion, ForeignKey, Index, ObjectName, PrimaryKey, Table,
        Unique, hex,
    },
    plan::{Assignment, Backfill, Comparison, KeyColumn, Lock},
};
use sha2::{Digest, Sha256};

use super::{aside, backfill, create, expr, lexer, probe, rebuild, sync, types};
use crate::dialect::{
    Capabilities, CompareSpec, Ddl, Dependents, GivenSpec, SetAside, SyncSpec, TypeChange, Volatility,
};

/// What the names of all objects of schemadiff's own begin with.
pub(super) const OWN_PREFIX: &str = "_schemadiff_";

/// SQLite's renderer.
///
/// ALTER TABLE knows four forms here: rename a table, rename a column, drop a column, and add a column that
/// [`Ddl::can_add_column`] allows. Everything else about a table that exists is a [`Ddl::rebuild`], and the methods for it
/// return no statement. The forms that came with 3.53 (SET NOT NULL, ADD CHECK) are not used: the SQLite that sqlx links
/// has none of them.
///
/// UNIQUE constraints are unique indexes, which can be made and dropped by themselves. Sync triggers fill a column after
/// the row was stored, see [`Ddl::sync_needs_nullable_old`].
#[derive(Debug, Clone, Copy)]
pub struct Sqlite;

impl Sqlite {
    /// A renderer for a version (`3051003`). All supported versions are spoken to alike.
    #[must_use]
    pub const fn new(_version: u32) -> Self {
        Self
    }
}

/// Functions of SQLite that return the same for the same arguments, or one value for a whole statement.
const STEADY_FUNCTIONS: &[&str] = &[
    "abs",
    "ceil",
    "ceiling",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "date",
    "datetime",
    "floor",
    "format",
    "glob",
    "hex",
    "ifnull",
    "iif",
    "instr",
    "json",
    "json_array",
    "json_extract",
    "json_object",
    "json_quote",
    "julianday",
    "length",
    "like",
    "lower",
    "ltrim",
    "max",
    "min",
    "mod",
    "nullif",
    "octet_length",
    "pow",
    "power",
    "printf",
    "quote",
    "replace",
    "round",
    "rtrim",
    "sign",
    "sqrt",
    "strftime",
    "substr",
    "substring",
    "time",
    "timediff",
    "trim",
    "trunc",
    "typeof",
    "unhex",
    "unicode",
    "unixepoch",
    "upper",
    "zeroblob",
];

impl crate::dialect::Numbering for Sqlite {}

impl crate::dialect::Questions for Sqlite {
    fn keeps_apart(&self, from: &str, to: &str) -> bool {
        probe::keeps_apart(from, to)
    }
}

impl Ddl for Sqlite {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // Measured with sqlx 0.9, which keeps the places of a statement's columns while SQLite prepares it again.
            cached_star: "may take the values of other columns or end their connection, and INSERT without a list of columns fails",
            alter_constraints: false,
            not_valid: false,
            alter_column: false,
            concurrent_indexes: false,
            constraint_using_index: false,
            updatable_views: false,
            views_follow_policies: true,
            native_enums: false,
            comments: false,
            fast_default: false,
            cheap_drop_column: false,
            partitioned_not_valid: false,
            not_null_not_valid: false,
            partitioned_identity: false,
            quiet_triggers: false,
            named_constraints: false,
        }
    }

    fn compile_writes(&self, table: &ObjectName, columns: &[Column]) -> Vec<String> {
        let name = create::name(table);
        let written = columns.iter().filter(|column| column.generated.is_none());
        let set: Vec<_> = written.map(|column| format!("{0} = {0}", self.ident(&column.name))).collect();
        vec![
            format!("EXPLAIN INSERT INTO {name} DEFAULT VALUES"),
            format!("EXPLAIN UPDATE {name} SET {}", set.join(", ")),
            format!("EXPLAIN DELETE FROM {name}"),
        ]
    }

    fn ident(&self, name: &str) -> String {
        lexer::ident(name)
    }

    fn name(&self, name: &ObjectName) -> String {
        create::name(name)
    }

    fn literal(&self, text: &str) -> String {
        lexer::literal(text)
    }

    fn default_name(&self, table: &str, columns: &[&str], suffix: &str) -> String {
        default_name(table, columns, suffix)
    }

    fn sync_name(&self, table: &ObjectName, column: &str) -> String {
        let mut hash = Sha256::new();
        for part in [table.schema.as_deref().unwrap_or("main"), &table.name, column] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        format!("{OWN_PREFIX}{}", hex(&hash.finalize()[..8]))
    }

    fn volatility(&self, text: &str) -> Volatility {
        match expr::functions(text).iter().all(|f| STEADY_FUNCTIONS.contains(&f.as_str())) {
            true => Volatility::Stable,
            false => Volatility::Volatile,
        }
    }

    fn type_change(&self, from: &str, to: &str) -> TypeChange {
        match schemadiff::compat::types::sqlite::fit(from, to) {
            Fit::Same => TypeChange::Same,
            Fit::Decodes | Fit::Other => TypeChange::Rewrite,
        }
    }

    fn cast(&self, text: &str, to: &str) -> String {
        if to.eq_ignore_ascii_case("ANY") || to.is_empty() {
            return text.to_owned();
        }
        format!("CAST({text} AS {})", types::cast_target(types::affinity(to)))
    }

    fn create_schema(&self, _schema: &str) -> Vec<String> {
        Vec::new()
    }

    fn create_table(&self, table: &Table) -> Vec<String> {
        let mut sql = vec![create::table_sql(table, &table.name)];
        sql.extend(create::indexes_sql(table));
        sql
    }

    fn drop_table(&self, table: &ObjectName) -> Vec<String> {
        vec![format!("DROP TABLE {}", create::name(table))]
    }

    fn set_aside_table(&self, table: &Table, id: &str) -> Option<SetAside> {
        aside::table(table, id)
    }

    fn set_aside_column(&self, table: &Table, column: &Column, id: &str) -> Option<SetAside> {
        aside::column(table, column, id)
    }

    fn rename_table(&self, from: &ObjectName, to: &ObjectName) -> Vec<String> {
        vec![format!("ALTER TABLE {} RENAME TO {}", create::name(from), lexer::ident(&to.name))]
    }

    fn can_add_column(&self, column: &Column, has_fk: bool) -> bool {
        if column.identity.is_some() {
            return false;
        }
        if let Some(generated) = &column.generated {
            return !generated.stored;
        }
        match &column.default {
            None => column.nullable,
            Some(default) if default.eq_ignore_ascii_case("NULL") => column.nullable,
            Some(default) => !has_fk && expr::is_constant(default),
        }
    }

    fn add_column(&self, table: &ObjectName, column: &Column) -> Vec<String> {
        vec![format!("ALTER TABLE {} ADD COLUMN {}", create::name(table), create::added_column_sql(column))]
    }

    fn drop_column(&self, table: &ObjectName, column: &str) -> Vec<String> {
        vec![format!("ALTER TABLE {} DROP COLUMN {}", create::name(table), lexer::ident(column))]
    }

    fn rename_column(&self, table: &ObjectName, from: &str, to: &str) -> Vec<String> {
        let (table, from, to) = (create::name(table), lexer::ident(from), lexer::ident(to));
        vec![format!("ALTER TABLE {table} RENAME COLUMN {from} TO {to}")]
    }

    fn cannot_convert(&self, column: &str, from: &str, to: &str) -> Option<String> {
        probe::cannot_convert(column, from, to)
    }

    /// SQLite keeps views as text, and finds out about their columns when they are used.
    fn views_over(&self, _table: &ObjectName, _column: Option<&str>, _known: &[&ObjectName]) -> Option<String> {
        None
    }

    fn row_identifier(&self) -> &'static str {
        "rowid"
    }

    fn alter_type(&self, _from: &str, _column: &Column, _using: Option<&str>) -> String {
        String::new()
    }

    fn alter_table(&self, table: &ObjectName, parts: &[String]) -> String {
        format!("ALTER TABLE {} {}", self.name(table), parts.join(", "))
    }

    fn alter_default(&self, _table: &ObjectName, _column: &str, _default: Option<&str>) -> Vec<String> {
        Vec::new()
    }

    fn has_other_value(&self, column: &Column, expr: &str) -> String {
        format!("{} COLLATE BINARY IS NOT ({expr})", self.ident(&column.name))
    }

    fn refuse_other_values(&self, table: &ObjectName, column: &Column, expr: &str) -> Vec<String> {
        let guard = self.ident("_schemadiff_values");
        let why = self.ident(&format!("rows have values of their own in {}, which would be lost", column.name));
        let (name, condition) = (self.name(table), self.has_other_value(column, expr));
        vec![
            format!("CREATE TEMP TABLE {guard} (found INTEGER CONSTRAINT {why} CHECK (found IS NULL))"),
            format!("INSERT INTO temp.{guard} (found) SELECT 1 FROM {name} WHERE {condition} LIMIT 1"),
            format!("DROP TABLE temp.{guard}"),
        ]
    }

    fn drop_expression(&self, _table: &ObjectName, _column: &str) -> Vec<String> {
        Vec::new()
    }

    fn alter_nullable(&self, _table: &ObjectName, _column: &str, _nullable: bool) -> Vec<String> {
        Vec::new()
    }

    fn add_check(&self, _table: &ObjectName, _name: &str, _check: &Check) -> Vec<String> {
        Vec::new()
    }

    fn add_exclusion(&self, _table: &ObjectName, _name: &str, _exclusion: &Exclusion) -> Vec<String> {
        Vec::new()
    }

    fn add_foreign_key(&self, _table: &ObjectName, _name: &str, _key: &ForeignKey) -> Vec<String> {
        Vec::new()
    }

    fn validate(&self, _table: &ObjectName, _constraint: &str) -> Vec<String> {
        Vec::new()
    }

    fn add_unique_using_index(&self, _: &ObjectName, _: &str, _: &Unique, _: &str) -> Vec<String> {
        Vec::new()
    }

    fn add_primary_key_using_index(&self, _: &ObjectName, _: &PrimaryKey, _: &str) -> Vec<String> {
        Vec::new()
    }

    fn drop_constraint(&self, _table: &ObjectName, _name: &str) -> Vec<String> {
        Vec::new()
    }

    fn rename_constraint(&self, _table: &ObjectName, _from: &str, _to: &str) -> Vec<String> {
        Vec::new()
    }

    fn create_index(&self, table: &ObjectName, name: &str, index: &Index, _concurrently: bool) -> Vec<String> {
        vec![create::index_sql(table, name, index)]
    }

    fn drop_index(&self, table: &ObjectName, name: &str, _concurrently: bool) -> Vec<String> {
        vec![format!("DROP INDEX {}", create::name(&table.sibling(name)))]
    }

    /// SQLite cannot rename an index; normalization makes a declared index take the name of the one that is there.
    fn rename_index(&self, _table: &ObjectName, _from: &str, _to: &str) -> Vec<String> {
        Vec::new()
    }

    fn index_is_valid(&self, table: &ObjectName, name: &str, _index: &Index) -> String {
        format!("SELECT EXISTS ({})", index_query(table, name))
    }

    fn index_is_gone(&self, table: &ObjectName, name: &str) -> String {
        format!("SELECT NOT EXISTS ({})", index_query(table, name))
    }

    fn create_enum(&self, _enumeration: &EnumType) -> Vec<String> {
        Vec::new()
    }

    fn drop_enum(&self, _name: &ObjectName) -> Vec<String> {
        Vec::new()
    }

    fn add_enum_value(&self, _name: &ObjectName, _value: &str, _before: Option<&str>) -> Vec<String> {
        Vec::new()
    }

    fn comment_on_table(&self, _table: &ObjectName, _comment: Option<&str>) -> Vec<String> {
        Vec::new()
    }

    fn comment_on_column(&self, _table: &ObjectName, _column: &str, _comment: Option<&str>) -> Vec<String> {
        Vec::new()
    }

    fn comment_on_constraint(&self, _table: &ObjectName, _name: &str, _comment: Option<&str>) -> Vec<String> {
        Vec::new()
    }

    fn comment_on_index(&self, _table: &ObjectName, _name: &str, _comment: Option<&str>) -> Vec<String> {
        Vec::new()
    }

    fn comment_on_enum(&self, _name: &ObjectName, _comment: Option<&str>) -> Vec<String> {
        Vec::new()
    }

    fn sync_needs_nullable_old(&self) -> bool {
        true
    }

    fn create_sync(&self, sync: &SyncSpec) -> Vec<String> {
        sync::triggers(sync).into_iter().map(|(_, statement)| statement).collect()
    }

    fn drop_sync(&self, table: &ObjectName, name: &str) -> Vec<String> {
        let drop = |trigger: String| format!("DROP TRIGGER {}", create::name(&table.sibling(trigger)));
        sync::trigger_names(name).map(drop).into()
    }

    fn drop_later_sync(&self, table: &ObjectName, name: &str) -> Vec<String> {
        vec![format!("DROP TRIGGER {}", create::name(&table.sibling(name.to_owned())))]
    }

    fn create_compat_view(&self, _view: &CompatView, _of: &Table) -> Vec<String> {
        Vec::new()
    }

    fn drop_compat_view(&self, _view: &CompatView) -> Vec<String> {
        Vec::new()
    }

    fn has_row_identifier(&self) -> bool {
        true
    }

    fn neutral_default(&self, ty: &str) -> Option<String> {
        match types::affinity(ty) {
            types::Affinity::Text => Some("''".to_owned()),
            types::Affinity::Integer | types::Affinity::Real => Some("0".to_owned()),
            // BOOLEAN and DATE are both NUMERIC: only the first has an empty value.
            types::Affinity::Numeric if ty.to_ascii_uppercase().starts_with("BOOL") => Some("0".to_owned()),
            types::Affinity::Numeric | types::Affinity::Blob => None,
        }
    }

    fn backfill(&self, table: &ObjectName, key: &[KeyColumn], set: &[Assignment], pending: &str) -> Backfill {
        backfill::backfill(table, key, set, pending)
    }

    fn is_lasting(&self, expr: &str) -> bool {
        expr::is_lasting(expr)
    }

    fn comparison(&self, table: &ObjectName, key: &[KeyColumn], columns: &[CompareSpec]) -> Comparison {
        backfill::comparison(table, key, columns)
    }

    fn evaluation(&self, table: &ObjectName, key: &[KeyColumn], exprs: &[&str]) -> String {
        backfill::evaluation(table, key, exprs)
    }

    fn backfill_with(&self, table: &ObjectName, key: &[KeyColumn], given: &GivenSpec<'_>, pending: &str) -> Backfill {
        backfill::with(table, key, given, pending)
    }

    fn rebuild(
        &self,
        before: &Table,
        after: &Table,
        copy: &[(String, String)],
        dependents: &Dependents,
    ) -> Vec<String> {
        rebuild::rebuild(before, after, copy, dependents)
    }

    fn alter_options(&self, _before: &Table, _after: &Table) -> Vec<String> {
        Vec::new()
    }

    /// One writer at a time: whatever the statement, it holds the file's write lock. Readers go on in WAL mode.
    fn locks(&self, _what: &str, table: &ObjectName, _others: &[&ObjectName]) -> Vec<Lock> {
        vec![Lock { relation: table.clone(), mode: "write lock on the file".to_owned() }]
    }
}

fn index_query(table: &ObjectName, index: &str) -> String {
    let schema = table.schema.as_deref().unwrap_or("main");
    let (schema, index) = (lexer::ident(schema), lexer::literal(index));
    format!("SELECT 1 FROM {schema}.sqlite_schema WHERE type = 'index' AND name = {index}")
}

/// The names PostgreSQL would give, which structs get on every engine: a check over several columns and a primary key are
/// named after the table alone.
pub(super) fn default_name(table: &str, columns: &[&str], suffix: &str) -> String {
    let columns = match suffix {
        "pkey" => &[],
        "check" if columns.len() > 1 => &[],
        _ => columns,
    };
    naming::default_name(table, columns, suffix)
}
