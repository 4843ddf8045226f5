//! The text of CREATE TABLE and CREATE INDEX.

use schemadiff::model::{
    Column, Deferrable, FkAction, ForeignKey, IdentityKind, Index, IndexPart, NullsOrder, ObjectName, SortOrder, Table,
};

use super::{
    expr,
    lexer::{ident, literal},
    render::default_name,
};

/// A quoted name, with its schema where it has one (an attached database).
pub(super) fn name(name: &ObjectName) -> String {
    match &name.schema {
        Some(schema) => format!("{}.{}", ident(schema), ident(&name.name)),
        None => ident(&name.name),
    }
}

/// A list of quoted names.
pub(super) fn idents<'n>(names: impl IntoIterator<Item = &'n String>) -> String {
    names.into_iter().map(|n| ident(n)).collect::<Vec<_>>().join(", ")
}

/// Whether the column is the rowid under another name.
pub(super) fn is_rowid_alias(table: &Table, column: &Column) -> bool {
    let sole_key =
        table.primary_key.as_ref().is_some_and(|key| matches!(key.columns.as_slice(), [c] if *c == column.name));
    sole_key && !table.options.without_rowid && column.ty.eq_ignore_ascii_case("INTEGER")
}

/// CREATE TABLE with everything that is part of the table: columns, key, checks, foreign keys, and the UNIQUE constraints
/// it came with. `as_name` is the name it is created under; self-references keep the table's own name.
pub(super) fn table_sql(table: &Table, as_name: &ObjectName) -> String {
    let mut lines: Vec<String> = table.columns.iter().map(|column| column_sql(table, column)).collect();
    if let Some(key) = &table.primary_key
        && !table.columns.iter().any(|column| is_rowid_alias(table, column))
    {
        lines.push(format!("PRIMARY KEY ({})", idents(&key.columns)));
    }
    for (constraint, index) in table.indexes.iter().filter(|(_, index)| index.constraint) {
        lines.push(format!("CONSTRAINT {} UNIQUE ({})", ident(constraint), parts_sql(&index.parts)));
    }
    for (constraint, check) in &table.checks {
        lines.push(format!("CONSTRAINT {} CHECK ({})", ident(constraint), check.expr));
    }
    for (constraint, key) in &table.foreign_keys {
        let columns: Vec<&str> = key.columns.iter().map(String::as_str).collect();
        // A name that says no more than the table's is left to introspection: written down, it would stay behind when the
        // table is renamed, and SQLite can rename no constraint.
        let named = *constraint != default_name(&table.name.name, &columns, "fkey");
        let name = if named { format!("CONSTRAINT {} ", ident(constraint)) } else { String::new() };
        lines.push(format!("{name}{}", foreign_key_sql(key)));
    }
    let options: Vec<_> = [(table.options.strict, "STRICT"), (table.options.without_rowid, "WITHOUT ROWID")]
        .iter()
        .filter_map(|(on, words)| on.then_some(*words))
        .collect();
    let options = if options.is_empty() { String::new() } else { format!(" {}", options.join(", ")) };
    format!("CREATE TABLE {} (\n  {}\n){options}", name(as_name), lines.join(",\n  "))
}

/// A column inside CREATE TABLE.
fn column_sql(table: &Table, column: &Column) -> String {
    let mut sql = column_start(column);
    if is_rowid_alias(table, column) {
        sql.push_str(" PRIMARY KEY");
        if column.identity.as_ref().is_some_and(|i| i.kind == IdentityKind::Autoincrement) {
            sql.push_str(" AUTOINCREMENT");
        }
    }
    sql.push_str(&column_rest(column));
    sql
}

/// A column as ADD COLUMN takes it.
pub(super) fn added_column_sql(column: &Column) -> String {
    column_start(column) + &column_rest(column)
}

fn column_start(column: &Column) -> String {
    if column.ty.is_empty() { ident(&column.name) } else { format!("{} {}", ident(&column.name), column.ty) }
}

fn column_rest(column: &Column) -> String {
    let mut sql = String::new();
    if let Some(collation) = &column.collation {
        sql.push_str(&format!(" COLLATE {}", ident(collation)));
    }
    if !column.nullable {
        sql.push_str(" NOT NULL");
    }
    if let Some(generated) = &column.generated {
        let kind = if generated.stored { "STORED" } else { "VIRTUAL" };
        sql.push_str(&format!(" GENERATED ALWAYS AS ({}) {kind}", generated.expr));
    } else if let Some(default) = &column.default {
        match expr::is_plain_default(default) {
            true => sql.push_str(&format!(" DEFAULT {default}")),
            false => sql.push_str(&format!(" DEFAULT ({default})")),
        }
    }
    sql
}

fn foreign_key_sql(key: &ForeignKey) -> String {
    // SQLite resolves a referenced table in the database of the table itself and takes no schema name.
    let target = ident(&key.ref_table.name);
    let mut sql = format!("FOREIGN KEY ({}) REFERENCES {target} ({})", idents(&key.columns), idents(&key.ref_columns));
    for (event, action) in [("DELETE", key.on_delete), ("UPDATE", key.on_update)] {
        if action != FkAction::NoAction {
            sql.push_str(&format!(" ON {event} {}", action.as_sql()));
        }
    }
    if key.match_full {
        sql.push_str(" MATCH FULL");
    }
    match key.deferrable {
        Deferrable::No => {}
        Deferrable::Immediate => sql.push_str(" DEFERRABLE INITIALLY IMMEDIATE"),
        Deferrable::Deferred => sql.push_str(" DEFERRABLE INITIALLY DEFERRED"),
    }
    sql
}

/// CREATE INDEX.
pub(super) fn index_sql(table: &ObjectName, index_name: &str, index: &Index) -> String {
    let unique = if index.unique { "UNIQUE " } else { "" };
    let place = name(&table.sibling(index_name));
    let mut sql = format!("CREATE {unique}INDEX {place} ON {} ({})", ident(&table.name), parts_sql(&index.parts));
    if let Some(predicate) = &index.predicate {
        sql.push_str(&format!(" WHERE {predicate}"));
    }
    sql
}

fn parts_sql(parts: &[IndexPart]) -> String {
    parts.iter().map(part_sql).collect::<Vec<_>>().join(", ")
}

fn part_sql(part: &IndexPart) -> String {
    let mut sql = match (&part.column, &part.expr) {
        (Some(column), _) => ident(column),
        (None, Some(expr)) => format!("({expr})"),
        (None, None) => String::new(),
    };
    if let Some(collation) = &part.collation {
        sql.push_str(&format!(" COLLATE {}", ident(collation)));
    }
    if part.order == SortOrder::Desc {
        sql.push_str(" DESC");
    }
    match part.nulls {
        Some(NullsOrder::First) => sql.push_str(" NULLS FIRST"),
        Some(NullsOrder::Last) => sql.push_str(" NULLS LAST"),
        None => {}
    }
    sql
}

/// The table and its own indexes, in the order in which they are created.
pub(super) fn indexes_sql(table: &Table) -> Vec<String> {
    let separate = table.indexes.iter().filter(|(_, index)| !index.constraint);
    let mut sql: Vec<_> = separate.map(|(index_name, index)| index_sql(&table.name, index_name, index)).collect();
    // A schema that never went through normalization may still hold UNIQUE constraints.
    for (index_name, unique) in &table.uniques {
        sql.push(index_sql(&table.name, index_name, &super::normalize::unique_index(unique)));
    }
    sql
}

/// A comma separated list of text literals.
pub(super) fn literals<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    texts.into_iter().map(literal).collect::<Vec<_>>().join(", ")
}
