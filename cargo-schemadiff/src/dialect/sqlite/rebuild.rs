//! Rebuilding a table into another shape, inside one transaction.
//!
//! The executor has set `foreign_keys=OFF` (or dropping the old table would empty the tables that cascade from it) and
//! `legacy_alter_table=ON` (or references, views and triggers of others would follow the old table) before it began the
//! transaction, and runs `foreign_key_check` before it commits. What is done here: the new table is filled under a name of
//! its own, takes over rowids and the AUTOINCREMENT mark, and only then the old one goes. Indexes and sync triggers come
//! last, so that no trigger fires for copied rows; the user's triggers are made again by the executor
//! ([`schemadiff::backend::sqlite::hanging`]).

use std::collections::BTreeSet;

use schemadiff::model::{IdentityKind, ObjectName, Table};

use super::{
    create::{self, name},
    lexer::{ident, literal},
    render::OWN_PREFIX,
    sync,
};
use crate::dialect::Dependents;

/// Prefix of the table that is filled.
const NEW_PREFIX: &str = "_schemadiff_new_";

/// See [`crate::dialect::Ddl::rebuild`].
pub(super) fn rebuild(
    before: &Table,
    after: &Table,
    copy: &[(String, String)],
    dependents: &Dependents,
) -> Vec<String> {
    let shadow = after.name.sibling(format!("{NEW_PREFIX}{}", after.name.name));
    let mut sql = guard(before, dependents);
    sql.push(create::table_sql(after, &shadow));
    sql.extend(copy_rows(before, after, copy, &shadow));
    if counts(before) && counts(after) {
        sql.extend(carry_sequence(before, &shadow));
    }
    sql.push(format!("DROP TABLE {}", name(&before.name)));
    sql.push(format!("ALTER TABLE {} RENAME TO {}", name(&shadow), ident(&after.name.name)));
    sql.extend(create::indexes_sql(after));
    let kept_syncs = dependents.syncs.iter().filter(|s| after.syncs.contains_key(&s.name));
    sql.extend(kept_syncs.flat_map(sync::triggers).map(|(_, statement)| statement));
    sql
}

fn counts(table: &Table) -> bool {
    let automatic = |kind| kind == IdentityKind::Autoincrement;
    table.columns.iter().any(|c| c.identity.as_ref().is_some_and(|i| automatic(i.kind)))
}

/// A temporary table that takes no row: what is inserted names, by the column it goes to, why the step must fail. (RAISE
/// only exists inside triggers.)
const GUARD: &str = "temp.\"_schemadiff_guard\"";

/// Statements that fail when the table has something that would be lost because the plan does not know it.
fn guard(before: &Table, dependents: &Dependents) -> Vec<String> {
    let table = &before.name.name;
    let refused = |column: &str, what: &str| {
        let message = format!("table {table} {what}; make the plan again");
        format!("{column} TEXT CONSTRAINT {} CHECK ({column} IS NULL)", ident(&message))
    };
    let columns = [
        refused("trigger_name", "has a trigger that the plan does not know"),
        refused("index_name", "has an index that the plan does not know"),
        refused("column_name", "has a column that the plan does not know"),
    ];
    let schema_table = format!("{}.sqlite_schema", ident(before.name.schema.as_deref().unwrap_or("main")));
    let hanging = |kind: &str, known: &str| {
        let on_table = format!("tbl_name = {} COLLATE NOCASE AND sql IS NOT NULL", literal(table));
        format!("SELECT name FROM {schema_table} WHERE type = '{kind}' AND {on_table} AND {known}")
    };
    let indexes = create::literals(before.indexes.keys().chain(before.uniques.keys()).map(String::as_str));
    let known_columns = create::literals(before.columns.iter().map(|c| c.name.as_str()));
    let table_columns = format!("pragma_table_xinfo({})", literal(table));
    vec![
        format!("CREATE TEMP TABLE \"_schemadiff_guard\" ({})", columns.join(", ")),
        format!("INSERT INTO {GUARD} (trigger_name) {}", hanging("trigger", &unknown_syncs(dependents))),
        format!("INSERT INTO {GUARD} (index_name) {}", hanging("index", &format!("name NOT IN ({indexes})"))),
        format!(
            "INSERT INTO {GUARD} (column_name) SELECT name FROM {table_columns} WHERE name NOT IN ({known_columns})"
        ),
        format!("DROP TABLE {GUARD}"),
    ]
}

/// A sync trigger that another plan has made, or that this one has lost sight of.
fn unknown_syncs(dependents: &Dependents) -> String {
    let own: Vec<_> = dependents.syncs.iter().flat_map(|s| sync::trigger_names(&s.name)).collect();
    let own = create::literals(own.iter().map(String::as_str));
    let prefix = literal(OWN_PREFIX);
    format!("substr(name, 1, length({prefix})) = {prefix} AND name NOT IN ({own})")
}

fn copy_rows(before: &Table, after: &Table, copy: &[(String, String)], shadow: &ObjectName) -> Option<String> {
    let mut targets = Vec::new();
    let mut sources = Vec::new();
    for column in after.columns.iter().filter(|c| c.generated.is_none()) {
        let listed = copy.iter().find(|(target, _)| *target == column.name).map(|(_, source)| format!("({source})"));
        let same = before.column(&column.name).map(|c| ident(&c.name));
        if let Some(source) = listed.or(same) {
            targets.push(ident(&column.name));
            sources.push(source);
        }
    }
    if let Some(rowid) = carried_rowid(before, after) {
        targets.push(rowid.to_owned());
        sources.push(rowid.to_owned());
    }
    if targets.is_empty() {
        return None;
    }
    let (targets, sources) = (targets.join(", "), sources.join(", "));
    Some(format!("INSERT INTO {} ({targets}) SELECT {sources} FROM {}", name(shadow), name(&before.name)))
}

/// The rowid goes along unless a column is it already: something outside may have stored it.
fn carried_rowid(before: &Table, after: &Table) -> Option<&'static str> {
    let alias = |table: &Table| table.columns.iter().any(|c| create::is_rowid_alias(table, c));
    if before.options.without_rowid || after.options.without_rowid || alias(after) {
        return None;
    }
    let columns: BTreeSet<_> = before.columns.iter().chain(&after.columns).map(|c| &c.name).collect();
    sync::rowid_name(columns)
}

/// The highest number ever given out goes along, also when the rows that had it are gone. RENAME takes the row with it.
fn carry_sequence(before: &Table, shadow: &ObjectName) -> [String; 2] {
    let sequence = match &before.name.schema {
        Some(schema) => format!("{}.sqlite_sequence", ident(schema)),
        None => "main.sqlite_sequence".to_owned(),
    };
    let (old, new) = (literal(&before.name.name), literal(&shadow.name));
    [
        format!("DELETE FROM {sequence} WHERE name = {new}"),
        format!("INSERT INTO {sequence} (name, seq) SELECT {new}, seq FROM {sequence} WHERE name = {old}"),
    ]
}
