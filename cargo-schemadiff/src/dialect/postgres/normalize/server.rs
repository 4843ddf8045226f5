//! The part of normalization that asks the server: declared tables are made as temporary ones and read back.

use std::collections::{BTreeMap, BTreeSet};

use schemadiff::model::{EnumType, ObjectName, Schema, Table};

use super::{is_plain_literal, limits, statically};
use crate::{
    Error, Kind, Result,
    dialect::{
        Ddl as _,
        postgres::{
            connect::{self, Client, fetch, text, words},
            introspect,
            render::{Postgres, names::ident},
        },
    },
};

/// See [`crate::dialect::Connection::normalize`].
///
/// # Errors
/// When the server refuses an expression.
pub async fn with_server(client: &mut Client, desired: &mut Schema, current: &Schema) -> Result<()> {
    limits::identifiers(desired)?;
    statically(desired);
    let mut waiting: BTreeSet<ObjectName> = desired
        .tables
        .values()
        .filter(|table| !current.tables.get(&table.name).is_some_and(|now| same_spelling(now, table)))
        .filter(|table| !spelled_already(table))
        .map(|table| table.name.clone())
        .collect();
    if waiting.is_empty() {
        return Ok(());
    }
    // A partition is made of its parent.
    let mut below: Vec<_> = waiting.iter().cloned().collect();
    while let Some(name) = below.pop() {
        let of = desired.table(&name).and_then(|table| table.partition_of.as_ref());
        below.extend(of.map(|of| of.parent.clone()).filter(|parent| waiting.insert(parent.clone())));
    }
    // Temporary tables live in one schema: tables of one name in several schemas take turns.
    let schemas: BTreeSet<Option<String>> = waiting.iter().map(|name| name.schema.clone()).collect();
    for schema in schemas {
        let names: Vec<_> = waiting.iter().filter(|name| name.schema == schema).cloned().collect();
        begin(client).await?;
        let done = spell(client, desired, current, &names).await;
        // Nothing of it stays, whatever came out.
        let ended = fetch(&mut client.connection, "ROLLBACK").await;
        done?;
        ended.map_err(|e| connect::failed("ROLLBACK", &e))?;
    }
    Ok(())
}

/// A transaction in which temporary tables can be made.
async fn begin(client: &mut Client) -> Result<()> {
    const SQL: &str = "BEGIN; SELECT has_database_privilege(current_database(), 'TEMPORARY'),
        current_setting('transaction_read_only') = 'on'";
    let rows = fetch(&mut client.connection, SQL).await.map_err(|e| connect::failed(SQL, &e))?;
    let answer = |at| rows.iter().flatten().next().and_then(|row| text(row, at));
    let refused = if answer(1) == Some("t") {
        Error::new(Kind::Database, "SD0511", "declared expressions cannot be brought into the server's spelling")
            .cause("the server is read-only, temporary tables cannot be made on it")
            .help("name the primary server, not a standby")
    } else if answer(0) == Some("f") {
        Error::new(Kind::Database, "SD0512", "declared expressions cannot be brought into the server's spelling")
            .cause(format!("user \"{}\" may not make temporary tables", client.user))
            .help(format!("GRANT TEMPORARY ON DATABASE {} TO {}", ident(&client.database), ident(&client.user)))
    } else {
        return Ok(());
    };
    // What is reported is why, not how the empty transaction ended.
    let _ = fetch(&mut client.connection, "ROLLBACK").await;
    Err(refused)
}

/// Whether what is compared as text is the same text in both.
fn same_spelling(now: &Table, desired: &Table) -> bool {
    let place = |table: &Table| (table.partition_by.clone(), table.partition_of.as_ref().map(|of| of.bound.clone()));
    place(now) == place(desired)
        && desired.columns.iter().all(|column| {
            now.column(&column.name).is_some_and(|old| {
                old.ty == column.ty
                    && old.default == column.default
                    && old.generated == column.generated
                    && old.collation == column.collation
            })
        })
        && desired.checks.iter().all(|(name, check)| now.checks.get(name).is_some_and(|old| old.expr == check.expr))
        && desired.indexes.iter().all(|(name, index)| {
            let parts_and_predicate = |old: &schemadiff::model::Index| {
                old.parts == index.parts && old.predicate == index.predicate && old.with == index.with
            };
            now.indexes.get(name).is_some_and(parts_and_predicate)
        })
}

/// Whether nothing in the table can be spelled in another way: most new tables are of this kind, and a thousand of them
/// must not cost a thousand temporary tables.
fn spelled_already(table: &Table) -> bool {
    let plain = |key: &String| key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    table.checks.is_empty()
        && table.partition_by.as_ref().is_none_or(|by| by.keys.iter().all(plain))
        && table.partition_of.as_ref().is_none_or(|of| of.bound == "DEFAULT")
        && table.columns.iter().all(|column| {
            is_usual_type(&column.ty)
                && column.collation.is_none()
                && column.generated.is_none()
                && column.default.as_deref().is_none_or(|expr| is_usual_default(expr, &column.ty))
        })
        && table.indexes.values().all(|index| {
            let plain = |part: &schemadiff::model::IndexPart| {
                part.expr.is_none() && part.opclass.is_none() && part.collation.is_none()
            };
            index.predicate.is_none() && index.with.is_empty() && index.parts.iter().all(plain)
        })
}

/// Types that the static part has brought into their only spelling.
fn is_usual_type(ty: &str) -> bool {
    let element = ty.strip_suffix("[]").unwrap_or(ty);
    let base = element.split('(').next().unwrap_or(element);
    matches!(
        base,
        "smallint"
            | "integer"
            | "bigint"
            | "boolean"
            | "real"
            | "double precision"
            | "numeric"
            | "text"
            | "character varying"
            | "bytea"
            | "uuid"
            | "json"
            | "jsonb"
            | "date"
            | "timestamp without time zone"
            | "timestamp with time zone"
            | "time without time zone"
            | "inet"
    )
}

fn is_usual_default(expr: &str, ty: &str) -> bool {
    match ty {
        "smallint" | "integer" | "bigint" => is_plain_number(expr),
        "boolean" => matches!(expr, "true" | "false"),
        "uuid" => expr == "gen_random_uuid()",
        "timestamp with time zone" => matches!(expr, "now()" | "CURRENT_TIMESTAMP"),
        "jsonb" => matches!(expr, "'{}'::jsonb" | "'[]'::jsonb"),
        "text" => expr.strip_suffix("::text").is_some_and(is_plain_literal),
        _ if ty.starts_with("character varying") && !ty.ends_with("[]") => {
            expr.strip_suffix("::character varying").is_some_and(is_plain_literal)
        }
        _ if ty.starts_with("numeric") && !ty.ends_with("[]") => is_plain_number(expr),
        _ => expr == format!("'{{}}'::{ty}"),
    }
}

/// Digits that fit into an integer, whatever they are; longer ones are shown with a cast.
fn is_plain_number(expr: &str) -> bool {
    matches!(expr.len(), 1..=9) && expr.bytes().all(|b| b.is_ascii_digit()) && (expr == "0" || !expr.starts_with('0'))
}

/// Makes the tables, reads them back, and takes over the server's spelling.
async fn spell(client: &mut Client, desired: &mut Schema, current: &Schema, names: &[ObjectName]) -> Result<()> {
    make_types(client, desired, current).await?;
    for table in desired.parents_first().into_iter().filter(|table| names.contains(&table.name)) {
        // Temporary tables stand for one schema at a time; a partition in another one than its parent's waits for the plan.
        if table.partition_of.as_ref().is_none_or(|of| names.contains(&of.parent)) {
            make_table(client, table).await?;
        }
    }
    let version = client.server().version;
    let read = introspect::temporary(&mut client.connection, version)
        .await
        .map_err(|e| Error::new(Kind::Database, "SD0510", "cannot read the catalogue").cause(words(&e)))?;
    for name in names {
        if let (Some(table), Some(spelled)) =
            (desired.tables.get_mut(name), read.tables.get(&ObjectName::new(name.name.as_str())))
        {
            take_over(table, spelled);
        }
    }
    Ok(())
}

/// Types that the declared tables use and the database lacks, or has with other labels.
///
/// Those of the default schema are made as temporary types, which hide the ones of the same name: a label that is only
/// being added cannot be used in the transaction that adds it.
async fn make_types(client: &mut Client, desired: &Schema, current: &Schema) -> Result<()> {
    let ddl = Postgres::new(client.server().version);
    let mut statements = vec!["SET LOCAL search_path = pg_temp, public".to_owned()];
    let changed = |e: &&EnumType| current.enums.get(&e.name).is_none_or(|now| now.values != e.values);
    for enumeration in desired.enums.values().filter(changed) {
        let name = &enumeration.name;
        if let Some(schema) = &name.schema {
            statements.extend(ddl.create_schema(schema));
        }
        if name.schema.is_none() {
            let temporary =
                EnumType { name: ObjectName::in_schema(Some("pg_temp"), name.name.as_str()), ..enumeration.clone() };
            statements.extend(ddl.create_enum(&temporary));
        } else if !current.enums.contains_key(name) {
            statements.extend(ddl.create_enum(enumeration));
        }
    }
    client.run(&statements).await?;
    client.run(&["SAVEPOINT schemadiff".to_owned()]).await
}

/// The table under its name as a temporary one, without what is not compared as text.
fn temporary(table: &Table) -> Table {
    let mut table = table.clone();
    table.name = ObjectName::in_schema(Some("pg_temp"), table.name.name);
    for of in table.partition_of.iter_mut() {
        of.parent = ObjectName::in_schema(Some("pg_temp"), of.parent.name.as_str());
    }
    table.options = Default::default();
    table.foreign_keys.clear();
    table.uniques.clear();
    table.primary_key = None;
    table.comment = None;
    for column in &mut table.columns {
        column.comment = None;
        column.identity = None;
    }
    for check in table.checks.values_mut() {
        check.comment = None;
        check.not_valid = false;
    }
    for index in table.indexes.values_mut() {
        index.comment = None;
    }
    table
}

async fn make_table(client: &mut Client, table: &Table) -> Result<()> {
    let ddl = Postgres::new(client.server().version);
    // The savepoint for the next table comes last: a syntax error ends the message before anything of it is carried out.
    let statements =
        [ddl.create_table(&temporary(table)), vec!["SAVEPOINT schemadiff".to_owned()]].concat().join(";\n");
    let statements = client.placed(&statements).into_owned();
    match fetch(&mut client.connection, &statements).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let error = guilty(client, table).await.unwrap_or_else(|| refused(&table.name.to_string(), &error));
            Err(error.declared_by(&table.name))
        }
    }
}

/// Makes the table again piece by piece: the piece that fails is what the message names.
async fn guilty(client: &mut Client, table: &Table) -> Option<Error> {
    let ddl = Postgres::new(client.server().version);
    let whole = temporary(table);
    let mut empty = Table::new(whole.name.clone());
    empty.columns.clone_from(&whole.columns);
    for column in &mut empty.columns {
        (column.default, column.generated, column.collation) = (None, None, None);
    }
    let columns = std::mem::take(&mut empty.columns);
    let mut pieces = vec![(table.name.to_string(), ddl.create_table(&empty))];
    let named = |column: &str| format!("{}.{column}", table.name);
    for column in &columns {
        pieces.push((named(&column.name), ddl.add_column(&whole.name, column)));
    }
    // Each is then made once more as it is declared; generated ones last, because they need the others.
    let declared = whole.columns.iter().filter(|column| !columns.contains(column));
    let (generated, others): (Vec<_>, Vec<_>) = declared.partition(|column| column.generated.is_some());
    for column in others.into_iter().chain(generated) {
        let again = [ddl.drop_column(&whole.name, &column.name), ddl.add_column(&whole.name, column)].concat();
        pieces.push((named(&column.name), again));
    }
    for (name, check) in &whole.checks {
        pieces.push((format!("{} (check {name})", table.name), ddl.add_check(&whole.name, name, check)));
    }
    for (name, index) in &whole.indexes {
        pieces.push((format!("{} (index {name})", table.name), ddl.create_index(&whole.name, name, index, false)));
    }
    fetch(&mut client.connection, "ROLLBACK TO SAVEPOINT schemadiff").await.ok()?;
    for (what, statements) in pieces {
        let statements = client.placed(&statements.join(";\n")).into_owned();
        if let Err(error) = fetch(&mut client.connection, &statements).await {
            return Some(refused(&what, &error));
        }
    }
    None
}

fn refused(what: &str, error: &sqlx::Error) -> Error {
    Error::new(Kind::Project, "SD0350", format!("PostgreSQL refuses the declaration of {what}"))
        .cause(words(error))
        .help("correct the type or expression in the attribute")
}

/// Everything that is compared as text, as the server spells it.
fn take_over(table: &mut Table, spelled: &Table) {
    for column in &mut table.columns {
        if let Some(now) = spelled.column(&column.name) {
            column.ty.clone_from(&now.ty);
            column.default.clone_from(&now.default);
            column.generated.clone_from(&now.generated);
            column.collation.clone_from(&now.collation);
        }
    }
    if spelled.partition_by.is_some() {
        table.partition_by.clone_from(&spelled.partition_by);
    }
    if let (Some(of), Some(now)) = (&mut table.partition_of, &spelled.partition_of) {
        of.bound.clone_from(&now.bound);
    }
    let checks: &BTreeMap<_, _> = &spelled.checks;
    for (name, check) in &mut table.checks {
        if let Some(now) = checks.get(name) {
            check.expr.clone_from(&now.expr);
        }
    }
    for (name, index) in &mut table.indexes {
        if let Some(now) = spelled.indexes.get(name) {
            index.parts.clone_from(&now.parts);
            index.predicate.clone_from(&now.predicate);
            index.method.clone_from(&now.method);
            index.with.clone_from(&now.with);
        }
    }
}
