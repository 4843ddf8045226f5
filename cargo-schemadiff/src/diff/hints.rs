//! What two schemas alone do not say: renames and the values of rows that already exist.

use std::collections::BTreeSet;

use schemadiff::{
    artifact::Hints,
    model::{Column, ObjectKey, ObjectKind, ObjectName, Schema, expr},
};

use crate::{Error, Kind, Result};

/// Adds one `--rename old=new` to the hints: `users=customers` for a table, `users.fullname=users.display_name` for a
/// column. `a.b` is a column when there is such a column, else a table in a schema.
///
/// # Errors
/// [`Kind::Usage`] when the text is no rename or names nothing in either schema.
pub fn add_rename(hints: &mut Hints, text: &str, current: &Schema, desired: &Schema) -> Result<()> {
    let wrong = |why: String| {
        Error::new(Kind::Usage, "SD0206", format!("`--rename {text}` cannot be understood"))
            .cause(why)
            .help("write --rename users.fullname=users.display_name for a column, --rename users=customers for a table")
    };
    let (old, new) = text.split_once('=').ok_or_else(|| wrong("there is no `=` in it".to_owned()))?;
    let (old, new) = (old.trim(), new.trim());
    if let Some((new_table, new_column)) = column_in(desired, new) {
        let Some((old_table, old_column)) = column_path(old) else {
            return Err(wrong(format!("`{old}` is no column")));
        };
        if old_table != new_table && current.tables.contains_key(&new_table) {
            return Err(wrong(format!("`{old}` and `{new}` are columns of two tables")));
        }
        let is_done = current.column(&new_table, &new_column).is_some();
        // A table that is renamed too goes by either name, and the flag for it may come later.
        let may_be_renamed = old_table == new_table && !current.tables.contains_key(&old_table);
        if current.column(&old_table, &old_column).is_none() && !is_done && !may_be_renamed {
            return Err(wrong(format!("there is no column `{old}`")));
        }
        hints.renamed_columns.insert((new_table, new_column), old_column);
        return Ok(());
    }
    let parse = |name: &str| name.parse::<ObjectName>().map_err(|e| wrong(e.to_string()));
    if let Some((of, to)) = column_path(new).filter(|(of, to)| has_label(desired, of, to)) {
        let from = column_path(old).map(|(_, label)| label).ok_or_else(|| wrong(format!("`{old}` is no label")))?;
        hints.renamed_labels.insert((of, to), from);
        return Ok(());
    }
    let (old_table, new_table) = (parse(old)?, parse(new)?);
    let ty = ObjectKey::new(ObjectKind::Type, new_table.clone());
    if desired.enums.contains_key(&new_table)
        || desired.domains.contains_key(&new_table)
        || desired.objects.contains_key(&ty)
    {
        hints.renamed_types.insert(new_table, old_table);
        return Ok(());
    }
    let object = |schema: &Schema, path: &str| {
        let found = schema.objects.keys().find(|key| key.kind == ObjectKind::Sequence && key.path() == path);
        found.cloned()
    };
    if let Some(to) = object(desired, &new_table.to_string()) {
        let from =
            object(current, &old_table.to_string()).unwrap_or_else(|| ObjectKey { name: old_table, ..to.clone() });
        hints.renamed_objects.insert(to, from);
        return Ok(());
    }
    if !desired.tables.contains_key(&new_table) {
        return Err(wrong(format!("there is neither a table nor a column `{new}` in the desired schema")));
    }
    if !current.tables.contains_key(&old_table) && !current.tables.contains_key(&new_table) {
        return Err(wrong(format!("there is no table `{old}`")));
    }
    hints.renamed_tables.insert(new_table, old_table);
    Ok(())
}

/// Adds one `--backfill column=sql`: what existing rows hold in a column of the desired schema.
///
/// # Errors
/// [`Kind::Usage`] when there is no such column in the desired schema, or it needs no values.
pub fn add_backfill(hints: &mut Hints, column: &str, sql: &str, current: &Schema, desired: &Schema) -> Result<()> {
    let wrong = |why: String| {
        Error::new(Kind::Usage, "SD0208", format!("`--backfill {column}=..` cannot be used")).cause(why).help(
            "write --backfill 'users.email_key=lower(email)', with the names that table and column have in the end",
        )
    };
    let (table, name) = column_in(desired, column)
        .ok_or_else(|| wrong(format!("there is no column `{column}` in the desired schema")))?;
    let was = hints.renamed_tables.get(&table).unwrap_or(&table);
    let key = (table.clone(), name.clone());
    let before = current.column(was, hints.renamed_columns.get(&key).unwrap_or(&name));
    let needs = |before: &Column, after: &Column| before.ty != after.ty || before.nullable && !after.nullable;
    if before.zip(desired.column(&table, &name)).is_some_and(|(before, after)| !needs(before, after)) {
        return Err(wrong("the column is there with that type, and every row has what it shall have".to_owned()));
    }
    if let Some(call) = hints.backfills_with.get(&key) {
        return Err(wrong(format!("a function of the application gives its values: {call}")));
    }
    let old = hints.renamed_tables.get(&table).map_or(table.name.as_str(), |old| old.name.as_str());
    let text = expr::bare(sql, &[table.name.as_str(), old]);
    hints.backfills.insert((table, name), text);
    Ok(())
}

/// What `--allow-drop` names, as [`column_name`] writes it, in whichever quotes it came.
///
/// # Errors
/// [`Kind::Usage`] when a text names nothing in either schema: it would acknowledge nothing.
pub fn allowed_drops(texts: &[String], current: &Schema, desired: &Schema, hints: &Hints) -> Result<BTreeSet<String>> {
    // A column of a table that gets another name is known by the new one, and may be named by either.
    let of_renamed = |text: &String| {
        let (named, column) = column_path(text)?;
        let is_it = |(new, old): &(&ObjectName, &ObjectName)| **new == named || **old == named;
        let (new, old) = hints.renamed_tables.iter().find(is_it)?;
        current.column(old, &column)?;
        Some(column_name(new, &column))
    };
    let found = |text: &String| {
        of_renamed(text).or_else(|| [current, desired].into_iter().find_map(|schema| droppable(schema, text)))
    };
    let name = |text: &String| {
        found(text).ok_or_else(|| {
            Error::new(Kind::Usage, "SD0207", format!("`--allow-drop {text}` names nothing"))
                .cause("there is no such table, column, label or sequence in either schema")
                .help("write --allow-drop users for a table, --allow-drop users.fullname for a column")
        })
    };
    texts.iter().map(name).collect()
}

/// How the schema's thing of that name is written.
fn droppable(schema: &Schema, text: &str) -> Option<String> {
    if schema.objects.keys().any(|key| key.path() == text) {
        return Some(text.to_owned());
    }
    if let Some((of, name)) = column_path(text)
        && (schema.column(&of, &name).is_some() || has_label(schema, &of, &name))
    {
        return Some(column_name(&of, &name));
    }
    let name: ObjectName = text.parse().ok()?;
    let is_there = schema.tables.contains_key(&name)
        || schema.enums.contains_key(&name)
        || schema.domains.contains_key(&name)
        || schema.objects.keys().any(|key| key.name == name);
    is_there.then(|| name.to_string())
}

fn has_label(schema: &Schema, of: &ObjectName, label: &str) -> bool {
    schema.enums.get(of).is_some_and(|enumeration| enumeration.values.iter().any(|value| value == label))
}

/// Table and column of a dotted path, when the schema has that column.
fn column_in(schema: &Schema, path: &str) -> Option<(ObjectName, String)> {
    let (table, column) = column_path(path)?;
    schema.column(&table, &column)?;
    Some((table, column))
}

/// Splits `table.column` or `schema.table.column` at the last dot outside quotes.
pub(crate) fn column_path(path: &str) -> Option<(ObjectName, String)> {
    let mut in_quotes = false;
    let mut last_dot = None;
    for (at, c) in path.char_indices() {
        match c {
            '"' => in_quotes = !in_quotes,
            '.' if !in_quotes => last_dot = Some(at),
            _ => {}
        }
    }
    let at = last_dot?;
    let column: ObjectName = path.get(at + 1..)?.parse().ok()?;
    Some((path.get(..at)?.parse().ok()?, column.name))
}

/// How a column is named in flags and messages: `users.fullname`, with quotes where a part holds a dot.
pub fn column_name(table: &ObjectName, column: &str) -> String {
    format!("{table}.{}", ObjectName::new(column))
}
