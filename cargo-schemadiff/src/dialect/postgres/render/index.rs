//! Indexes.

use schemadiff::model::{Index, IndexPart, NullsOrder, ObjectName, SortOrder};

use super::{
    names::{columns, ident, literal, qualified},
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

/// A query for one boolean about the index's row in `pg_index`.
pub(super) fn is_valid(table: &ObjectName, name: &str) -> String {
    let index = literal(&qualified(&table.sibling(name)));
    format!(
        "SELECT coalesce((SELECT indisvalid FROM pg_catalog.pg_index \
         WHERE indexrelid = pg_catalog.to_regclass({index})), false)"
    )
}

/// A query for one boolean: nothing of that name is left.
pub(super) fn is_gone(table: &ObjectName, name: &str) -> String {
    format!("SELECT pg_catalog.to_regclass({}) IS NULL", literal(&qualified(&table.sibling(name))))
}
