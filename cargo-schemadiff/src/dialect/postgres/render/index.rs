//! Indexes.

use schemadiff::model::{Index, IndexPart, NullsOrder, ObjectName, SortOrder};

use super::{
    names::{columns, ident, literal, qualified},
    skeleton::{skeleton, skeleton_of},
    table::{collation, storage_parameters},
};

/// CREATE INDEX, never with IF NOT EXISTS: over the invalid rest of a failed build that would be a silent success.
pub(super) fn create(table: &ObjectName, name: &str, index: &Index, concurrently: bool) -> String {
    let unique = if index.unique { "UNIQUE " } else { "" };
    let concurrently = if concurrently { "CONCURRENTLY " } else { "" };
    format!("CREATE {unique}INDEX {concurrently}{} ON {} {}", ident(name), qualified(table), definition(index))
}

/// What follows the table's name.
pub(super) fn definition(index: &Index) -> String {
    let parts: Vec<_> = index.parts.iter().map(part).collect();
    let method = index.method.as_deref().unwrap_or("btree");
    let mut sql = format!("USING {method} ({})", parts.join(", "));
    if !index.include.is_empty() {
        sql += &format!(" INCLUDE {}", columns(&index.include));
    }
    if index.nulls_not_distinct {
        sql += " NULLS NOT DISTINCT";
    }
    if !index.with.is_empty() {
        sql += &format!(" WITH {}", storage_parameters(&index.with));
    }
    if let Some(predicate) = &index.predicate {
        sql += &format!(" WHERE ({predicate})");
    }
    sql
}

fn part(part: &IndexPart) -> String {
    let mut sql = match (&part.column, &part.expr) {
        (Some(column), _) => ident(column),
        (None, expr) => format!("({})", expr.as_deref().unwrap_or_default()),
    };
    if let Some(name) = &part.collation {
        sql += &format!(" COLLATE {}", collation(name));
    }
    if let Some(opclass) = &part.opclass {
        sql += &format!(" {opclass}");
    }
    if part.order == SortOrder::Desc {
        sql += " DESC";
    }
    match part.nulls {
        Some(NullsOrder::First) => sql += " NULLS FIRST",
        Some(NullsOrder::Last) => sql += " NULLS LAST",
        None => {}
    }
    sql
}

/// DROP INDEX.
pub(super) fn drop(table: &ObjectName, name: &str, concurrently: bool) -> String {
    let concurrently = if concurrently { "CONCURRENTLY " } else { "" };
    format!("DROP INDEX {concurrently}{}", qualified(&table.sibling(name)))
}

/// Whether row `i` of `pg_index` is about this index of this table: a name alone may be another table's, or another index's.
fn is_it(table: &ObjectName, name: &str, index: &Index) -> String {
    let wanted = skeleton(&definition(index));
    format!(
        "{} AND i.indisunique = {} AND pg_catalog.right({}, {}) = {}",
        is_on(table, name),
        index.unique,
        skeleton_of("pg_catalog.pg_get_indexdef(i.indexrelid)"),
        wanted.chars().count(),
        literal(&wanted)
    )
}

/// Whether row `i` of `pg_index` is about an index of that name on the table.
fn is_on(table: &ObjectName, name: &str) -> String {
    format!(
        "i.indexrelid = pg_catalog.to_regclass({}) AND i.indrelid = pg_catalog.to_regclass({})",
        literal(&qualified(&table.sibling(name))),
        literal(&qualified(table))
    )
}

/// A query for one boolean: this index of this table is there and valid.
pub(super) fn is_valid(table: &ObjectName, name: &str, index: &Index) -> String {
    format!("SELECT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE {} AND i.indisvalid)", is_it(table, name, index))
}

/// A query for one boolean: the table has no index of that name.
pub(super) fn is_gone(table: &ObjectName, name: &str) -> String {
    format!("SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE {})", is_on(table, name))
}

/// A query for the statement that drops what is left of a build that failed.
pub(super) fn clear(table: &ObjectName, name: &str, index: &Index) -> String {
    format!(
        "SELECT {} FROM pg_catalog.pg_index i WHERE {} AND NOT i.indisvalid",
        literal(&drop(table, name, true)),
        is_it(table, name, index)
    )
}

/// A query for what has the name and is not this index.
pub(super) fn name_taken(table: &ObjectName, name: &str, index: &Index) -> String {
    format!(
        "SELECT pg_catalog.format('%s, %s', c.oid::pg_catalog.regclass, coalesce(pg_catalog.pg_get_indexdef(i.indexrelid) \
         || CASE WHEN NOT i.indisvalid THEN ' (INVALID)' ELSE '' END, CASE c.relkind WHEN 'v' THEN 'a view' \
         WHEN 'm' THEN 'a materialized view' WHEN 'S' THEN 'a sequence' WHEN 'c' THEN 'a type' ELSE 'a table' END)) \
         FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid \
         WHERE c.oid = pg_catalog.to_regclass({}) AND ({}) IS NOT TRUE",
        literal(&qualified(&table.sibling(name))),
        is_it(table, name, index)
    )
}
