//! What the authors of a migration knew and two schemas do not say: renames, a value for rows that lack one, and that what
//! is gone may go.

use std::collections::BTreeSet;

use cargo_schemadiff::diff::{DiffOptions, Hints, column_name};
use schemadiff::model::{Column, ObjectKind, ObjectName, Schema, Table};

use super::State;

/// `users` for `public.users`, `app.users` for `app.users`.
fn table_name(text: &str) -> ObjectName {
    match text.split_once('.') {
        Some(("public", name)) => ObjectName::new(name),
        Some((schema, name)) => ObjectName::in_schema(Some(schema), name),
        None => ObjectName::new(text),
    }
}

/// The hints and acknowledgements that the migration to `state` needs.
pub fn intent(state: &State, old: &Schema, new: &Schema) -> (Hints, DiffOptions) {
    let mut hints = renames(state, new);
    for (name, table) in &new.tables {
        let Some(before) = old.table(hints.renamed_tables.get(name).unwrap_or(name)) else { continue };
        for column in table.columns.iter().filter(|c| c.identity.is_none() && c.generated.is_none()) {
            let key = (name.clone(), column.name.clone());
            let was = before.column(hints.renamed_columns.get(&key).unwrap_or(&column.name));
            let value = match was {
                Some(was) if was.ty != column.ty => converted(was, column, new),
                Some(was) if was.nullable && !column.nullable => Some(value(new, before, table, column)),
                None if !column.nullable && column.default.is_none() => Some(value(new, before, table, column)),
                _ => None,
            };
            hints.backfills.extend(value.map(|value| (key, value)));
        }
    }
    let allowed_drops = drops(&hints, old, new);
    (hints, DiffOptions { allowed_drops, ..DiffOptions::default() })
}

fn renames(state: &State, new: &Schema) -> Hints {
    let mut hints = Hints::default();
    for change in &state.changes {
        let Some(from) = change.frm.as_ref().and_then(|f| f.as_str()) else { continue };
        match (change.kind.as_str(), change.obj.rsplit_once('.')) {
            // A column that is there after all was copied, not renamed.
            ("column.rename", Some((table, _)))
                if new.column(&table_name(table), from).is_some() && !takes_over(state, &format!("{table}.{from}")) => {
            }
            ("column.rename", Some((table, column))) => {
                hints.renamed_columns.insert((table_name(table), column.into()), from.into());
            }
            ("table.rename", Some((schema, _))) => {
                let from = if from.contains('.') { from.to_owned() } else { format!("{schema}.{from}") };
                hints.renamed_tables.insert(table_name(&change.obj), table_name(&from));
            }
            _ => {}
        }
    }
    hints
}

/// Whether another column takes the name.
fn takes_over(state: &State, column: &str) -> bool {
    state.changes.iter().any(|change| change.kind == "column.rename" && change.obj == column)
}

/// Everything that is gone.
fn drops(hints: &Hints, old: &Schema, new: &Schema) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (name, table) in &old.tables {
        let now = hints.renamed_tables.iter().find(|(_, from)| *from == name).map_or(name, |(to, _)| to);
        let Some(after) = new.table(now) else {
            names.insert(name.to_string());
            continue;
        };
        names.extend(
            table.columns.iter().filter(|c| after.column(&c.name).is_none()).map(|c| column_name(now, &c.name)),
        );
    }
    let sequences = old.objects.keys().filter(|key| key.kind == ObjectKind::Sequence);
    names.extend(sequences.filter(|key| !new.objects.contains_key(key)).map(|key| key.path()));
    names
}

/// A value for rows that have none: one of their own where no two rows may have the same.
fn value(schema: &Schema, before: &Table, table: &Table, column: &Column) -> String {
    let in_key = |columns: &[String]| columns.contains(&column.name);
    let unique = table.uniques.values().any(|u| in_key(&u.columns))
        || table.primary_key.as_ref().is_some_and(|key| in_key(&key.columns))
        || table.indexes.values().any(|i| i.unique && i.parts.iter().any(|p| p.column.as_ref() == Some(&column.name)));
    let reference = table.foreign_keys.values().find(|key| key.columns.contains(&column.name));
    if let Some(key) = reference {
        let at = key.columns.iter().position(|c| *c == column.name).unwrap_or_default();
        // The greatest is of a row that the load leaves alone (`twin::Scenario::bystanders`): any other may go meanwhile.
        return format!("(SELECT max({}::text)::{} FROM {})", key.ref_columns[at], column.ty, key.ref_table);
    }
    let labels = schema.enums.values().find(|e| e.name.to_string() == column.ty.replace('"', ""));
    if let Some(label) = labels.and_then(|e| e.values.first()) {
        return format!("'{label}'");
    }
    let key = before.primary_key.as_ref().filter(|key| unique && !in_key(&key.columns));
    let Some(key) = key else { return some_value(&column.ty).to_owned() };
    let own = key.columns.iter().map(|c| format!("\"{c}\"::text")).collect::<Vec<_>>().join(" || ':' || ");
    match column.ty.as_str() {
        "uuid" => format!("md5({own})::uuid"),
        "smallint" | "integer" | "bigint" | "numeric" => format!("(hashtext({own}) % 30000)::{}", column.ty),
        ty if ty == "text" || ty.starts_with("character") => format!("md5({own})::{ty}"),
        ty => some_value(ty).to_owned(),
    }
}

fn some_value(ty: &str) -> &'static str {
    match ty.split('(').next().unwrap_or_default().trim() {
        "smallint" | "integer" | "bigint" | "numeric" | "double precision" | "real" => "0",
        "boolean" => "false",
        "jsonb" | "json" => "'{}'",
        // As long as the digests that most of them hold.
        "bytea" => "decode(repeat('00', 32), 'hex')",
        "date" => "current_date",
        ty if ty.starts_with("timestamp") => "now()",
        "uuid" => "gen_random_uuid()",
        ty if ty.ends_with("[]") => "'{}'",
        _ => "''",
    }
}

/// The expression that the authors wrote after USING, where the server has no conversion of its own.
fn converted(was: &Column, is: &Column, schema: &Schema) -> Option<String> {
    let text = was.ty == "text" || was.ty.starts_with("character");
    let named = schema.enums.values().find(|e| e.name.to_string() == is.ty.replace('"', ""));
    let labels = named.map(|e| e.values.as_slice()).unwrap_or_default();
    match (was.ty.as_str(), is.ty.as_str(), labels) {
        ("boolean", _, [first, .., last]) => {
            Some(format!("CASE WHEN {} THEN '{first}'::{ty} ELSE '{last}'::{ty} END", was.name, ty = is.ty))
        }
        (_, "jsonb", _) if text => Some(format!("to_jsonb(coalesce({}, ''))", was.name)),
        (_, ty, _) if text && ty.ends_with("[]") => {
            Some(format!("string_to_array(coalesce({}, ''), ',')::{ty}", was.name))
        }
        _ => None,
    }
}
