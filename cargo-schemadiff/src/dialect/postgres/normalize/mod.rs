//! Brings a declared schema into PostgreSQL's own spelling.

mod limits;
mod server;
pub(crate) mod text;

use schemadiff::model::{Schema, Table};

use super::render::{names::default_name, types};

pub use limits::identifiers;
pub use server::with_server;

/// The part that needs no server: type aliases, parentheses around whole expressions, what the server takes for granted.
pub fn statically(desired: &mut Schema) {
    for table in desired.tables.values_mut() {
        table_statically(table);
    }
}

fn table_statically(table: &mut Table) {
    for column in &mut table.columns {
        column.ty = types::canonical(&column.ty);
        expression(&mut column.default);
        if let Some(default) = &mut column.default {
            *default = with_cast(default, &column.ty);
        }
        if let Some(generated) = &mut column.generated {
            generated.expr = text::expression(&generated.expr);
        }
    }
    if let Some(key) = &mut table.primary_key {
        key.name.get_or_insert_with(|| default_name(&table.name.name, &[], "pkey"));
        // A primary key is NOT NULL whatever the columns say.
        for column in table.columns.iter_mut().filter(|c| key.columns.contains(&c.name)) {
            column.nullable = false;
        }
    }
    for check in table.checks.values_mut() {
        check.expr = text::expression(&check.expr);
    }
    for index in table.indexes.values_mut() {
        expression(&mut index.predicate);
        index.method.take_if(|method| method == "btree");
        for part in &mut index.parts {
            expression(&mut part.expr);
        }
    }
}

/// The server shows a literal with the type it took: `'new'` is `'new'::text`. Done here for what people write most, so
/// that most structs need no server.
fn with_cast(default: &str, ty: &str) -> String {
    let base = ty.split('(').next().unwrap_or(ty);
    let is_known = match base {
        "text" | "character varying" if !ty.ends_with("[]") => is_plain_literal(default),
        "text[]" | "integer[]" | "bigint[]" | "uuid[]" => default == "'{}'",
        "jsonb" if !ty.ends_with("[]") => matches!(default, "'{}'" | "'[]'"),
        _ => false,
    };
    if is_known { format!("{default}::{base}") } else { default.to_owned() }
}

/// A quoted literal and nothing else, without anything in it that could be spelled in two ways.
fn is_plain_literal(text: &str) -> bool {
    let inner = text.strip_prefix('\'').and_then(|t| t.strip_suffix('\''));
    inner.is_some_and(|inner| !inner.contains(['\'', '\\']))
}

fn expression(slot: &mut Option<String>) {
    if let Some(text) = slot {
        *text = text::expression(text);
    }
}

#[cfg(test)]
mod tests {
    use super::with_cast;

    #[test]
    fn literals_get_the_cast_that_the_server_shows() {
        for (default, ty, spelled) in [
            ("'new'", "text", "'new'::text"),
            ("'new'", "character varying(20)", "'new'::character varying"),
            ("'{}'", "text[]", "'{}'::text[]"),
            ("'{}'", "jsonb", "'{}'::jsonb"),
            ("'{\"a\":1}'", "jsonb", "'{\"a\":1}'"),
            ("'it''s'", "text", "'it''s'"),
            ("'1'", "integer", "'1'"),
            ("'new'::text", "text", "'new'::text"),
            ("'a' || 'b'", "text", "'a' || 'b'"),
            ("'new'", "mood", "'new'"),
        ] {
            assert_eq!(with_cast(default, ty), spelled, "{default} {ty}");
        }
    }
}
