//! What two schemas alone do not say: renames and the values of rows that already exist.

use schemadiff::{
    artifact::Hints,
    model::{ObjectName, Schema},
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
        let old_column = match column_path(old) {
            Some((_, column)) => column,
            None => return Err(wrong(format!("`{old}` is no column"))),
        };
        hints.renamed_columns.insert((new_table, new_column), old_column);
        return Ok(());
    }
    let parse = |name: &str| name.parse::<ObjectName>().map_err(|e| wrong(e.to_string()));
    let (old_table, new_table) = (parse(old)?, parse(new)?);
    if !desired.tables.contains_key(&new_table) {
        return Err(wrong(format!("there is neither a table nor a column `{new}` in the desired schema")));
    }
    if !current.tables.contains_key(&old_table) && !current.tables.contains_key(&new_table) {
        return Err(wrong(format!("there is no table `{old}`")));
    }
    hints.renamed_tables.insert(new_table, old_table);
    Ok(())
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
