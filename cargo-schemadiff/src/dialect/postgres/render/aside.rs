//! What is dropped later is set aside first: a table in a database schema of schemadiff's own, a column under a name of
//! its own. Both are changes of the catalogue alone, whatever the size.

use schemadiff::{
    backend::postgres::LEDGER_PREFIX,
    model::{Column, Table},
};

use super::{
    names::{bounded, ident, literal, qualified},
    table::alter,
};
use crate::dialect::{SetAside, aside_stamp};

/// What the database schemas begin with. Introspection leaves them out.
pub(in crate::dialect::postgres) const SCHEMA_PREFIX: &str = "schemadiff_kept_";
/// What the columns begin with. Introspection leaves them out.
pub(in crate::dialect::postgres) const COLUMN_PREFIX: &str = "_schemadiff_kept_";

/// The table with its indexes, sequences, triggers and grants. Partitions would stay behind.
pub(super) fn table(table: &Table, id: &str) -> Option<SetAside> {
    if table.partition_by.is_some() || table.partition_of.is_some() {
        return None;
    }
    let home = table.name.schema.as_deref().unwrap_or("public");
    let stamp = aside_stamp(id);
    let schema = match home {
        "public" => format!("{SCHEMA_PREFIX}{stamp}"),
        other => bounded(&format!("{SCHEMA_PREFIX}{stamp}_"), other),
    };
    let there = format!("{}.{}", ident(&schema), ident(&table.name.name));
    // Several tables of a migration share it: it goes with the last.
    let tidy = format!(
        "DO {} LANGUAGE plpgsql",
        literal(&format!(
            "BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
             ON n.oid = c.relnamespace WHERE n.nspname = {}) THEN DROP SCHEMA IF EXISTS {}; END IF; END",
            literal(&schema),
            ident(&schema)
        ))
    );
    Some(SetAside {
        forth: vec![
            format!("CREATE SCHEMA IF NOT EXISTS {}", ident(&schema)),
            alter(&table.name, &format!("SET SCHEMA {}", ident(&schema))),
        ],
        back: vec![format!("ALTER TABLE {there} SET SCHEMA {}", ident(home)), tidy.clone()],
        purge: vec![format!("DROP TABLE IF EXISTS {there}"), tidy],
        copy_back: None,
    })
}

/// The column with its values, its default and its grants. Partitions that are made meanwhile would lack it.
pub(super) fn column(table: &Table, column: &Column, id: &str) -> Option<SetAside> {
    if table.partition_by.is_some() || table.partition_of.is_some() || column.generated.is_some() {
        return None;
    }
    let name = bounded(&format!("{COLUMN_PREFIX}{}_", aside_stamp(id)), &column.name);
    let rename = |from: &str, to: &str| {
        format!("ALTER TABLE {} RENAME COLUMN {} TO {}", qualified(&table.name), ident(from), ident(to))
    };
    // The table may have another name by then, or be in another schema, or be gone. What tenants keep has the same name in the schema
    // of each, and is the tenant's.
    let purge = format!(
        "DECLARE t regclass; BEGIN FOR t IN SELECT a.attrelid FROM pg_catalog.pg_attribute a \
         JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE a.attname = {} AND c.relkind = 'r' AND NOT a.attisdropped AND (n.nspname = pg_catalog.current_schema() \
         OR coalesce(pg_catalog.current_schema(), 'public') = 'public' AND NOT EXISTS (SELECT FROM pg_catalog.pg_namespace l \
         WHERE l.nspname = '{LEDGER_PREFIX}' || n.nspname)) LOOP EXECUTE pg_catalog.format('ALTER TABLE %s DROP COLUMN %I', t, {}); \
         END LOOP; END",
        literal(&name),
        literal(&name)
    );
    Some(SetAside {
        forth: vec![rename(&column.name, &name)],
        back: vec![rename(&name, &column.name)],
        purge: vec![format!("DO {} LANGUAGE plpgsql", literal(&purge))],
        copy_back: None,
    })
}
