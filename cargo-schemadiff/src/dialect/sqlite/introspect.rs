//! Reads a schema out of SQLite.
//!
//! Tables and indexes come out of the statements that SQLite keeps, because its pragmas do not tell checks, names,
//! collations and conditions. What the pragmas do tell is held against that reading; where the two disagree the table is
//! listed as not understood instead of being read wrongly.

use std::collections::BTreeMap;

use schemadiff::model::{ObjectName, Opaque, Schema, Table};

use super::{
    connect::{Client, TextRow},
    normalize, parse,
    render::OWN_PREFIX,
    sizes, sync,
};
use crate::{
    Result,
    dialect::{Introspection, Scope},
};

/// See [`crate::dialect::Connection::introspect`]. Only the main database is read, attached ones are not there on the
/// next connection.
///
/// # Errors
/// When the file cannot be read.
pub async fn introspect(client: &mut Client, _scope: &Scope) -> Result<Introspection> {
    let schema = read(client).await?;
    let sizes = sizes::sizes(client, schema.tables.values().map(|table| &**table)).await?;
    Ok(Introspection { schema, sizes, server: client.server().clone() })
}

/// A row of sqlite_schema.
struct Entry {
    kind: String,
    name: String,
    table: String,
    sql: String,
}

/// What PRAGMA table_xinfo says of a column.
struct Seen {
    name: String,
    ty: String,
    not_null: bool,
    /// Position in the primary key, from 1; 0: not in it.
    key: usize,
}

/// What the pragmas say of a table.
#[derive(Default)]
struct Witness {
    columns: Vec<Seen>,
    /// (child column, parent table) of all foreign keys.
    references: Vec<(String, String)>,
}

impl Witness {
    fn primary_key(&self) -> Vec<String> {
        let mut key: Vec<_> = self.columns.iter().filter(|c| c.key > 0).collect();
        key.sort_by_key(|c| c.key);
        key.into_iter().map(|c| c.name.clone()).collect()
    }
}

/// Reads the main database's schema.
pub(super) async fn read(client: &mut Client) -> Result<Schema> {
    let entries = entries(client).await?;
    let witnesses = witnesses(client).await?;
    let shadows = shadow_tables(client).await?;
    let mut schema = Schema::default();
    for entry in entries.iter().filter(|e| e.kind == "table") {
        let reason = if entry.sql.get(..14).is_some_and(|s| s.eq_ignore_ascii_case("CREATE VIRTUAL")) {
            schema.opaque.push(opaque("virtual table", entry, "virtual tables are not compared"));
            continue;
        } else if shadows.contains(&entry.name) {
            schema.opaque.push(opaque("table", entry, "it belongs to a virtual table"));
            continue;
        } else {
            table(entry, &entries, &witnesses)
        };
        match reason {
            Ok(table) => drop(schema.tables.insert(table.name.clone(), table.into())),
            Err(reason) => schema.opaque.push(opaque("table", entry, &reason)),
        }
    }
    for entry in &entries {
        match entry.kind.as_str() {
            "view" => schema.opaque.push(opaque("view", entry, "views are not compared")),
            "trigger" => trigger(entry, &entries, &mut schema),
            _ => {}
        }
    }
    schema.opaque.sort();
    Ok(schema)
}

fn opaque(kind: &str, entry: &Entry, reason: &str) -> Opaque {
    Opaque {
        kind: kind.to_owned(),
        name: entry.name.clone(),
        reason: reason.to_owned(),
        table: None,
        definition: Some(entry.sql.clone()),
    }
}

/// A user's trigger is listed with the table it is on; the two triggers of a sync are read as one.
fn trigger(entry: &Entry, entries: &[Entry], schema: &mut Schema) {
    let table = entries
        .iter()
        .find(|e| matches!(e.kind.as_str(), "table" | "view") && e.name.eq_ignore_ascii_case(&entry.table));
    let table = ObjectName::new(table.map_or(&entry.table, |e| &e.name));
    if let Some((name, sync)) = sync::of_trigger(&entry.name, &entry.sql) {
        let is_there = |n: &String| entries.iter().any(|e| e.kind == "trigger" && e.name == *n);
        let whole = sync.later || sync::trigger_names(name).iter().all(is_there);
        if let Some(table) = schema.tables.get_mut(&table).filter(|_| whole) {
            table.syncs.insert(name.to_owned(), sync);
            return;
        }
    }
    let name = format!("{table}.{}", entry.name);
    let listed = opaque("trigger", entry, "triggers are kept but not compared");
    schema.opaque.push(Opaque { name, table: Some(table), ..listed });
}

fn table(entry: &Entry, entries: &[Entry], witnesses: &BTreeMap<String, Witness>) -> Result<Table, String> {
    let mut table = parse::table(&entry.name, &entry.sql)?;
    let Some(witness) = witnesses.get(&entry.name) else {
        return Err("SQLite tells nothing of its columns".to_owned());
    };
    resolve_references(&mut table, witnesses)?;
    testify(&table, witness)?;
    for index in entries.iter().filter(|e| e.kind == "index" && e.table.eq_ignore_ascii_case(&entry.name)) {
        if index.sql.is_empty() {
            continue; // made by SQLite for a constraint, which is read already
        }
        let read = parse::index(&index.sql, &table.columns).map_err(|e| format!("index `{}`: {e}", index.name))?;
        if table.indexes.insert(index.name.clone(), read).is_some() {
            return Err(format!("an index and a constraint both have the name `{}`", index.name));
        }
    }
    normalize::table(&mut table);
    Ok(table)
}

/// Referenced tables and columns in their own spelling; the parent's primary key where no columns are named.
fn resolve_references(table: &mut Table, witnesses: &BTreeMap<String, Witness>) -> Result<(), String> {
    for key in table.foreign_keys.values_mut() {
        let parent = witnesses.iter().find(|(name, _)| name.eq_ignore_ascii_case(&key.ref_table.name));
        match parent {
            Some((name, witness)) => {
                name.clone_into(&mut key.ref_table.name);
                if key.ref_columns.is_empty() {
                    key.ref_columns = witness.primary_key();
                }
                for column in &mut key.ref_columns {
                    if let Some(seen) = witness.columns.iter().find(|c| c.name.eq_ignore_ascii_case(column)) {
                        seen.name.clone_into(column);
                    }
                }
            }
            None if key.ref_columns.is_empty() => {
                return Err(format!("it references `{}`, which does not exist, without naming columns", key.ref_table));
            }
            None => {}
        }
    }
    Ok(())
}

/// Holds what was read against what SQLite says of the table.
fn testify(table: &Table, witness: &Witness) -> Result<(), String> {
    let disagree = |what: &str| Err(format!("its definition is understood differently from SQLite ({what})"));
    let squeezed = |ty: &str| ty.split_whitespace().collect::<String>().to_ascii_uppercase();
    if table.columns.len() != witness.columns.len() {
        return disagree("number of columns");
    }
    for (column, seen) in table.columns.iter().zip(&witness.columns) {
        // `GENERATED ALWAYS` is part of the type's text in some versions.
        let seen_type = seen.ty.to_ascii_uppercase();
        let seen_type = seen_type.trim_end_matches("GENERATED ALWAYS");
        if column.name != seen.name {
            return disagree(&format!("column `{}`", seen.name));
        }
        if squeezed(&column.ty) != squeezed(seen_type) {
            return disagree(&format!("type of `{}`", seen.name));
        }
        if seen.not_null && column.nullable {
            return disagree(&format!("NOT NULL of `{}`", seen.name));
        }
    }
    if table.primary_key.as_ref().map(|key| key.columns.clone()).unwrap_or_default() != witness.primary_key() {
        return disagree("primary key");
    }
    let pairs = |key: &schemadiff::model::ForeignKey| {
        key.columns.iter().map(|c| (c.clone(), key.ref_table.name.to_lowercase())).collect::<Vec<_>>()
    };
    let mut read: Vec<_> = table.foreign_keys.values().flat_map(pairs).collect();
    let mut seen: Vec<_> = witness.references.iter().map(|(c, t)| (c.clone(), t.to_lowercase())).collect();
    read.sort();
    seen.sort();
    if read == seen { Ok(()) } else { disagree("foreign keys") }
}

/// The field of a row, empty for NULL.
fn field(row: &mut TextRow, at: usize) -> String {
    row.get_mut(at).and_then(Option::take).unwrap_or_default()
}

async fn entries(client: &mut Client) -> Result<Vec<Entry>> {
    let sql = format!(
        "SELECT type, name, tbl_name, sql FROM main.sqlite_master \
         WHERE substr(name, 1, 7) <> 'sqlite_' AND substr(tbl_name, 1, 12) <> '{OWN_PREFIX}' \
         AND (type = 'trigger' OR substr(name, 1, 12) <> '{OWN_PREFIX}') ORDER BY name"
    );
    let rows = client.query(&sql, &[]).await?;
    let entry = |mut row: TextRow| Entry {
        kind: field(&mut row, 0),
        name: field(&mut row, 1),
        table: field(&mut row, 2),
        sql: field(&mut row, 3),
    };
    Ok(rows.into_iter().map(entry).collect())
}

async fn witnesses(client: &mut Client) -> Result<BTreeMap<String, Witness>> {
    // A virtual table may need a module that is not there; its columns cannot be asked for.
    let tables = "FROM main.sqlite_master AS m, pragma_{}(m.name) AS p \
                  WHERE m.type = 'table' AND m.sql NOT LIKE 'CREATE VIRTUAL%' AND substr(m.name, 1, 7) <> 'sqlite_'";
    let columns = format!(
        "SELECT m.name, p.name, p.type, p.\"notnull\", p.pk {} ORDER BY m.name, p.cid",
        tables.replace("{}", "table_xinfo")
    );
    let references = format!("SELECT m.name, p.\"from\", p.\"table\" {}", tables.replace("{}", "foreign_key_list"));
    let mut found: BTreeMap<String, Witness> = BTreeMap::new();
    for mut row in client.query(&columns, &[]).await? {
        let seen = Seen {
            name: field(&mut row, 1),
            ty: field(&mut row, 2),
            not_null: field(&mut row, 3) == "1",
            key: field(&mut row, 4).parse().unwrap_or(0),
        };
        found.entry(field(&mut row, 0)).or_default().columns.push(seen);
    }
    for mut row in client.query(&references, &[]).await? {
        let reference = (field(&mut row, 1), field(&mut row, 2));
        found.entry(field(&mut row, 0)).or_default().references.push(reference);
    }
    Ok(found)
}

/// Names of the tables in which virtual tables keep their content.
async fn shadow_tables(client: &mut Client) -> Result<Vec<String>> {
    const TABLE_LIST_SINCE: u32 = 3_037_000;
    let sql = match client.server().version >= TABLE_LIST_SINCE {
        true => "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow'",
        // Before there was a way to ask: the name of a virtual table, and an underscore.
        false => {
            "SELECT t.name FROM main.sqlite_master AS t, main.sqlite_master AS v WHERE t.type = 'table' \
             AND v.type = 'table' AND v.sql LIKE 'CREATE VIRTUAL%' \
             AND substr(t.name, 1, length(v.name) + 1) = v.name || '_'"
        }
    };
    let rows = client.query(sql, &[]).await?;
    Ok(rows.into_iter().map(|mut row| field(&mut row, 0)).collect())
}
