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

fn expression(slot: &mut Option<String>) {
    if let Some(text) = slot {
        *text = text::expression(text);
    }
}
