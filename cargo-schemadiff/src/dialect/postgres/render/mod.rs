//! The SQL text of PostgreSQL: statements, and what is known about them without a server.

pub(super) mod aside;
mod backfill;
mod constraint;
mod domain;
mod given;
mod identity;
mod index;
mod locks;
pub(crate) mod names;
mod nulls;
mod object;
mod partition;
mod probe;
mod sequence;
mod skeleton;
pub(crate) mod sync;
mod table;
pub(crate) mod types;
mod view;
mod volatility;

use schemadiff::{
    backend::postgres::LEDGER,
    model::{
        Check, Column, CompatView, Deferrable, Dialect, Domain, EnumType, Exclusion, ForeignKey, Index, Object,
        ObjectKey, ObjectName, PartitionBy, PrimaryKey, Table, Unique,
    },
    plan::{Assignment, Backfill, Comparison, KeyColumn, Lock},
};

use self::names::{ident, literal, qualified};
use super::capabilities::capabilities;
use crate::dialect::{
    Capabilities, CompareSpec, Ddl, Dependents, EachPartition, GivenSpec, PerPartition, SetAside, SyncSpec, TypeChange,
    Volatility,
};

/// The renderer.
#[derive(Debug, Clone, Copy)]
pub struct Postgres {
    version: u32,
}

impl Postgres {
    /// For a server version, `150018` style.
    #[must_use]
    pub const fn new(version: u32) -> Self {
        Self { version }
    }
}

impl Ddl for Postgres {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn capabilities(&self) -> Capabilities {
        capabilities(self.version)
    }

    fn ident(&self, name: &str) -> String {
        ident(name)
    }

    fn name(&self, name: &ObjectName) -> String {
        qualified(name)
    }

    fn literal(&self, text: &str) -> String {
        literal(text)
    }

    fn default_name(&self, table: &str, columns: &[&str], suffix: &str) -> String {
        names::default_name(table, columns, suffix)
    }

    fn sync_name(&self, table: &ObjectName, column: &str) -> String {
        names::sync_name(table, column)
    }

    fn volatility(&self, expr: &str) -> Volatility {
        volatility::volatility(expr)
    }

    fn type_change(&self, from: &str, to: &str) -> TypeChange {
        types::change(from, to)
    }

    fn cast(&self, expr: &str, to: &str) -> String {
        let quoted = expr.strip_prefix('"').and_then(|e| e.strip_suffix('"'));
        let is_name = quoted.is_some_and(|inner| !inner.replace("\"\"", "").contains('"'));
        // A cast to `varchar(5)` cuts off, an assignment to such a column fails.
        let to = if types::cuts_off(to) { "text" } else { to };
        if is_name { format!("{expr}::{to}") } else { format!("({expr})::{to}") }
    }

    /// Alternatives that are all literals are a text (`CASE WHEN ok THEN 'good' ELSE 'bad' END`), which is assigned to no label,
    /// document or time. Most of what else is given to a type of numbers or times is one.
    fn value_of(&self, expr: &str, ty: &str) -> String {
        let is_own =
            types::base(ty).is_some_and(|base| types::is_number(&base) || types::is_time(&base) || base == "uuid");
        let fits = types::is_text(ty)
            || types::is_bits(ty)
            || is_own && schemadiff::model::expr::literals(expr).is_empty()
            || expr.ends_with(&format!("::{ty}"));
        if fits { expr.to_owned() } else { format!("CAST(({expr}) AS {ty})") }
    }

    fn create_schema(&self, schema: &str) -> Vec<String> {
        vec![format!("CREATE SCHEMA IF NOT EXISTS {}", ident(schema))]
    }

    fn create_table(&self, table: &Table) -> Vec<String> {
        table::create(table)
    }

    fn drop_table(&self, table: &ObjectName) -> Vec<String> {
        vec![format!("DROP TABLE {}", qualified(table))]
    }

    fn set_aside_table(&self, table: &Table, id: &str) -> Option<SetAside> {
        aside::table(table, id)
    }

    fn set_aside_column(&self, table: &Table, column: &Column, id: &str) -> Option<SetAside> {
        aside::column(table, column, id)
    }

    fn rename_table(&self, from: &ObjectName, to: &ObjectName) -> Vec<String> {
        table::rename(from, to)
    }

    fn add_column(&self, table: &ObjectName, column: &Column) -> Vec<String> {
        table::add_column(table, column)
    }

    fn drop_column(&self, table: &ObjectName, column: &str) -> Vec<String> {
        vec![table::alter(table, &format!("DROP COLUMN {}", ident(column)))]
    }

    fn rename_column(&self, table: &ObjectName, from: &str, to: &str) -> Vec<String> {
        vec![table::alter(table, &format!("RENAME COLUMN {} TO {}", ident(from), ident(to)))]
    }

    fn alter_type(&self, from: &str, column: &Column, using: Option<&str>) -> String {
        table::alter_type(from, column, using)
    }

    fn alter_table(&self, table: &ObjectName, parts: &[String]) -> String {
        table::alter(table, &parts.join(", "))
    }

    fn ledger_schema(&self) -> Vec<String> {
        self.create_schema(LEDGER)
    }

    fn cannot_convert(&self, column: &str, from: &str, to: &str) -> Option<String> {
        probe::cannot_convert(self.version, column, from, to)
    }

    fn views_over(&self, table: &ObjectName, column: Option<&str>, known: &[&ObjectName]) -> Option<String> {
        Some(probe::views_over(table, column, known))
    }

    fn row_identifier(&self) -> &'static str {
        "ctid"
    }

    fn alter_default(&self, table: &ObjectName, column: &str, default: Option<&str>) -> Vec<String> {
        let what = match default {
            Some(expr) => format!("SET DEFAULT {}", table::in_parentheses(expr)),
            None => "DROP DEFAULT".to_owned(),
        };
        vec![table::alter(table, &format!("ALTER COLUMN {} {what}", ident(column)))]
    }

    fn has_other_value(&self, column: &Column, expr: &str) -> String {
        // As rows: not every type has an operator that compares.
        format!("(ROW({})::record *<> ROW(({expr})::{})::record)", ident(&column.name), column.ty)
    }

    fn refuse_other_values(&self, table: &ObjectName, column: &Column, expr: &str) -> Vec<String> {
        let (table, condition) = (qualified(table), self.has_other_value(column, expr));
        let message = literal(&format!("rows have values of their own in {}, which would be lost", column.name));
        let body = format!(
            "BEGIN IF EXISTS (SELECT FROM {table} WHERE {condition}) THEN \
             RAISE EXCEPTION USING ERRCODE = 'data_exception', MESSAGE = {message}; END IF; END"
        );
        vec![format!("DO {}", literal(&body))]
    }

    fn drop_expression(&self, table: &ObjectName, column: &str) -> Vec<String> {
        vec![table::alter(table, &format!("ALTER COLUMN {} DROP EXPRESSION", ident(column)))]
    }

    fn alter_nullable(&self, table: &ObjectName, column: &str, nullable: bool) -> Vec<String> {
        let what = if nullable { "DROP" } else { "SET" };
        vec![table::alter(table, &format!("ALTER COLUMN {} {what} NOT NULL", ident(column)))]
    }

    fn add_not_null(&self, table: &ObjectName, name: &str, column: &str) -> Vec<String> {
        let (name, column) = (ident(name), ident(column));
        vec![table::alter(table, &format!("ADD CONSTRAINT {name} NOT NULL {column} NOT VALID"))]
    }

    fn add_check(&self, table: &ObjectName, name: &str, check: &Check) -> Vec<String> {
        vec![constraint::add_check(table, name, check)]
    }

    fn add_exclusion(&self, table: &ObjectName, name: &str, exclusion: &Exclusion) -> Vec<String> {
        vec![table::alter(table, &format!("ADD CONSTRAINT {} {}", ident(name), exclusion.definition))]
    }

    fn add_foreign_key(&self, table: &ObjectName, name: &str, key: &ForeignKey) -> Vec<String> {
        vec![constraint::add_foreign_key(table, name, key)]
    }

    fn validate(&self, table: &ObjectName, constraint: &str) -> Vec<String> {
        vec![table::alter(table, &format!("VALIDATE CONSTRAINT {}", ident(constraint)))]
    }

    fn add_unique(&self, table: &ObjectName, name: &str, unique: &Unique) -> Vec<String> {
        vec![table::alter(table, &format!("ADD {}", constraint::unique(name, unique)))]
    }

    fn add_primary_key(&self, table: &ObjectName, key: &PrimaryKey) -> Vec<String> {
        vec![table::alter(table, &format!("ADD {}", constraint::primary_key(table, key)))]
    }

    fn add_unique_using_index(&self, table: &ObjectName, name: &str, unique: &Unique, index: &str) -> Vec<String> {
        vec![constraint::unique_using_index(table, name, unique, index)]
    }

    fn add_primary_key_using_index(&self, table: &ObjectName, key: &PrimaryKey, index: &str) -> Vec<String> {
        vec![constraint::primary_key_using_index(table, key, index)]
    }

    fn alter_deferrable(&self, table: &ObjectName, name: &str, to: Deferrable) -> Vec<String> {
        vec![constraint::alter_deferrable(table, name, to)]
    }

    fn drop_constraint(&self, table: &ObjectName, name: &str) -> Vec<String> {
        vec![table::alter(table, &format!("DROP CONSTRAINT {}", ident(name)))]
    }

    fn rename_constraint(&self, table: &ObjectName, from: &str, to: &str) -> Vec<String> {
        vec![table::alter(table, &format!("RENAME CONSTRAINT {} TO {}", ident(from), ident(to)))]
    }

    fn create_index(&self, table: &ObjectName, name: &str, index: &Index, concurrently: bool) -> Vec<String> {
        vec![index::create(table, name, index, concurrently)]
    }

    fn drop_index(&self, table: &ObjectName, name: &str, concurrently: bool) -> Vec<String> {
        vec![index::drop(table, name, concurrently)]
    }

    fn clear_index(&self, table: &ObjectName, name: &str, index: &Index) -> Option<String> {
        Some(index::clear(table, name, index))
    }

    fn index_name_taken(&self, table: &ObjectName, name: &str, index: &Index) -> Option<String> {
        Some(index::name_taken(table, name, index))
    }

    fn rename_index(&self, table: &ObjectName, from: &str, to: &str) -> Vec<String> {
        vec![format!("ALTER INDEX {} RENAME TO {}", qualified(&table.sibling(from)), ident(to))]
    }

    fn index_is_valid(&self, table: &ObjectName, name: &str, index: &Index) -> String {
        index::is_valid(table, name, index)
    }

    fn index_is_gone(&self, table: &ObjectName, name: &str) -> String {
        index::is_gone(table, name)
    }

    fn create_enum(&self, enumeration: &EnumType) -> Vec<String> {
        table::create_enum(enumeration)
    }

    fn drop_enum(&self, name: &ObjectName) -> Vec<String> {
        vec![format!("DROP TYPE {}", qualified(name))]
    }

    fn add_enum_value(&self, name: &ObjectName, value: &str, before: Option<&str>) -> Vec<String> {
        vec![table::add_enum_value(name, value, before)]
    }

    fn create_domain(&self, domain: &Domain) -> Vec<String> {
        domain::create(domain)
    }

    fn drop_domain(&self, name: &ObjectName) -> Vec<String> {
        vec![format!("DROP DOMAIN {}", qualified(name))]
    }

    fn alter_domain_default(&self, name: &ObjectName, default: Option<&str>) -> Vec<String> {
        vec![domain::default(name, default)]
    }

    fn alter_domain_nullable(&self, name: &ObjectName, nullable: bool) -> Vec<String> {
        vec![domain::alter(name, if nullable { "DROP NOT NULL" } else { "SET NOT NULL" })]
    }

    fn add_domain_check(&self, domain: &ObjectName, name: &str, check: &Check) -> Vec<String> {
        vec![domain::add_check(domain, name, check)]
    }

    fn validate_domain_check(&self, domain: &ObjectName, name: &str) -> Vec<String> {
        vec![domain::alter(domain, &format!("VALIDATE CONSTRAINT {}", ident(name)))]
    }

    fn drop_domain_check(&self, domain: &ObjectName, name: &str) -> Vec<String> {
        vec![domain::alter(domain, &format!("DROP CONSTRAINT {}", ident(name)))]
    }

    fn rename_domain_check(&self, domain: &ObjectName, from: &str, to: &str) -> Vec<String> {
        vec![domain::rename_check(domain, from, to)]
    }

    fn comment_on_domain(&self, name: &ObjectName, comment: Option<&str>) -> Vec<String> {
        vec![domain::comment(name, comment)]
    }

    fn comment_on_domain_check(&self, domain: &ObjectName, name: &str, comment: Option<&str>) -> Vec<String> {
        vec![domain::comment_on_check(domain, name, comment)]
    }

    fn comment_on_table(&self, table: &ObjectName, comment: Option<&str>) -> Vec<String> {
        vec![table::comment_on("TABLE", &qualified(table), comment)]
    }

    fn comment_on_column(&self, table: &ObjectName, column: &str, comment: Option<&str>) -> Vec<String> {
        vec![table::comment_on_column(table, column, comment)]
    }

    fn comment_on_constraint(&self, table: &ObjectName, name: &str, comment: Option<&str>) -> Vec<String> {
        vec![constraint::comment(table, name, comment)]
    }

    fn comment_on_index(&self, table: &ObjectName, name: &str, comment: Option<&str>) -> Vec<String> {
        vec![table::comment_on("INDEX", &qualified(&table.sibling(name)), comment)]
    }

    fn comment_on_enum(&self, name: &ObjectName, comment: Option<&str>) -> Vec<String> {
        vec![table::comment_on("TYPE", &qualified(name), comment)]
    }

    fn rename_enum(&self, from: &ObjectName, to: &ObjectName) -> Vec<String> {
        table::rename_enum(from, to)
    }

    fn replace_enum(&self, after: &EnumType, columns: &[(ObjectName, Column)]) -> Vec<String> {
        table::replace_enum(after, columns)
    }

    fn rename_enum_value(&self, name: &ObjectName, from: &str, to: &str) -> Vec<String> {
        let (from, to) = (literal(from), literal(to));
        vec![format!("ALTER TYPE {} RENAME VALUE {from} TO {to}", qualified(name))]
    }

    fn create_object(&self, object: &Object) -> Vec<String> {
        object::create(object)
    }

    fn replace_object(&self, before: &Object, after: &Object) -> Option<Vec<String>> {
        object::replace(before, after)
    }

    fn drop_object(&self, object: &Object) -> Vec<String> {
        object::drop(object)
    }

    fn clear_object(&self, object: &Object) -> Vec<String> {
        object::clear(object)
    }

    fn rename_object(&self, from: &ObjectKey, to: &ObjectKey) -> Vec<String> {
        object::rename(from, to)
    }

    fn own_sequence(&self, sequence: &Object) -> Vec<String> {
        object::own(sequence)
    }

    fn object_locks(&self, object: &Object, makes: bool) -> Vec<Lock> {
        locks::of_object(object, makes)
    }

    fn create_sync(&self, sync: &SyncSpec) -> Vec<String> {
        sync::create(sync)
    }

    fn drop_sync(&self, table: &ObjectName, name: &str) -> Vec<String> {
        sync::drop(table, name)
    }

    fn create_compat_view(&self, view: &CompatView, of: &Table) -> Vec<String> {
        view::create(view, of, self.version)
    }

    fn drop_compat_view(&self, view: &CompatView) -> Vec<String> {
        view::drop(view)
    }

    fn neutral_default(&self, ty: &str) -> Option<String> {
        let base = ty.split('(').next().unwrap_or(ty).trim();
        match base {
            _ if ty.ends_with("[]") => None,
            // The server adds the type to a bare literal, without its length.
            "text" | "character varying" => Some(format!("''::{base}")),
            "smallint" | "integer" | "bigint" | "numeric" | "real" | "double precision" => Some("0".to_owned()),
            "boolean" => Some("false".to_owned()),
            _ => None,
        }
    }

    fn has_row_identifier(&self) -> bool {
        true
    }

    fn backfill(&self, table: &ObjectName, key: &[KeyColumn], set: &[Assignment], pending: &str) -> Backfill {
        backfill::statements(table, key, set, pending)
    }

    fn restores(&self, syncs: &mut dyn Iterator<Item = &str>) -> Option<String> {
        // The one that comes first: the others then see the row as it was.
        syncs.min().map(str::to_owned)
    }

    fn is_lasting(&self, expr: &str) -> bool {
        volatility::is_lasting(expr)
    }

    fn comparison(&self, table: &ObjectName, key: &[KeyColumn], columns: &[CompareSpec]) -> Comparison {
        backfill::comparison(table, key, columns)
    }

    fn evaluation(&self, table: &ObjectName, key: &[KeyColumn], exprs: &[&str]) -> String {
        backfill::evaluation(table, key, exprs)
    }

    fn backfill_with(&self, table: &ObjectName, key: &[KeyColumn], given: &GivenSpec<'_>, pending: &str) -> Backfill {
        given::statements(table, key, given, pending)
    }

    fn rebuild(&self, _: &Table, _: &Table, _: &[(String, String)], _: &Dependents) -> Vec<String> {
        // Every change has a statement of its own here; see `Capabilities::alter_constraints`.
        Vec::new()
    }

    fn alter_options(&self, before: &Table, after: &Table) -> Vec<String> {
        table::alter_options(before, after)
    }

    fn create_partition(&self, table: &Table) -> Vec<String> {
        partition::create(table)
    }

    fn detach_partition(&self, parent: &ObjectName, partition: &ObjectName) -> Vec<String> {
        vec![partition::detach(parent, partition)]
    }

    fn copy_column_rights(&self, table: &ObjectName, from: &str, to: &str) -> Vec<String> {
        let (name, from, to) = (literal(&qualified(table)), literal(from), literal(to));
        let body = format!(
            "DECLARE\n  granted record;\nBEGIN\n  FOR granted IN SELECT acl.* FROM pg_catalog.pg_attribute a, \
             pg_catalog.aclexplode(a.attacl) acl\n    WHERE a.attrelid = {name}::pg_catalog.regclass AND a.attname = {from} LOOP\n    \
             EXECUTE pg_catalog.format('GRANT %s (%I) ON TABLE %s TO %s%s', granted.privilege_type, {to}, {name},\n      \
             CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(granted.grantee)) END,\n      \
             CASE WHEN granted.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END);\n  END LOOP;\nEND\n"
        );
        vec![format!("DO {}", sync::dollar_quoted(&body))]
    }

    fn partition_condition(&self, by: &PartitionBy, bound: &str) -> Option<String> {
        partition::condition(by, bound)
    }

    fn each_partition(&self, table: &ObjectName, what: &PerPartition<'_>) -> Option<EachPartition> {
        Some(partition::each(table, what))
    }

    fn locks(&self, what: &str, table: &ObjectName, others: &[&ObjectName]) -> Vec<Lock> {
        locks::locks(what, table, others)
    }
}

#[cfg(test)]
mod tests;
