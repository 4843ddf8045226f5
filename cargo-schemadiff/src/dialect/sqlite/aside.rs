//! What is dropped later is set aside first: a table under a name of schemadiff's own, the values of a column in a table
//! of their own, made while the table is rebuilt without it.

use schemadiff::model::{Column, ObjectName, PrimaryKey, Table};

use super::{
    create::{self, name},
    lexer::ident,
    render::OWN_PREFIX,
};
use crate::dialect::{SetAside, aside_stamp};

fn aside(table: &Table, id: &str, what: &str) -> ObjectName {
    table.name.sibling(format!("{OWN_PREFIX}kept_{}_{what}", aside_stamp(id)))
}

/// Only where it refers to no other table: a foreign key would go on to stop what happens to the rows it refers to. The
/// names of indexes are the database's, so they are made again when it comes back; what a UNIQUE of the table itself made
/// has a name of SQLite's own and goes along, and so do the table's triggers.
pub(super) fn table(table: &Table, id: &str) -> Option<SetAside> {
    if !table.foreign_keys.is_empty() {
        return None;
    }
    let aside = aside(table, id, &table.name.name);
    let separate = table.indexes.iter().filter(|(_, index)| !index.constraint).map(|(index, _)| index);
    let indexes = separate.chain(table.uniques.keys());
    let mut forth: Vec<String> =
        indexes.map(|index| format!("DROP INDEX {}", name(&table.name.sibling(index)))).collect();
    forth.extend(rename(&table.name, &aside));
    let mut back = rename(&aside, &table.name).to_vec();
    back.extend(create::indexes_sql(table));
    Some(SetAside { forth, back, purge: vec![format!("DROP TABLE IF EXISTS {}", name(&aside))], copy_back: None })
}

/// With what names the table: a trigger that goes on to name what is not there fails whoever renames or drops a column of any
/// table. What else follows is found by the executor ([`schemadiff::backend::sqlite`]), and the step does not come about.
///
/// A view somewhere else that is broken as it is would stop the renaming; with a writable schema it is passed over.
fn rename(from: &ObjectName, to: &ObjectName) -> [String; 5] {
    [
        "PRAGMA legacy_alter_table = OFF".to_owned(),
        "PRAGMA writable_schema = ON".to_owned(),
        format!("ALTER TABLE {} RENAME TO {}", name(from), ident(&to.name)),
        "PRAGMA writable_schema = OFF".to_owned(),
        "PRAGMA legacy_alter_table = ON".to_owned(),
    ]
}

/// By the primary key, which alone finds a row again: VACUUM may change what SQLite numbers rows by.
pub(super) fn column(table: &Table, column: &Column, id: &str) -> Option<SetAside> {
    let key = &table.primary_key.as_ref()?.columns;
    if column.generated.is_some() || key.contains(&column.name) {
        return None;
    }
    let aside = aside(table, id, &format!("{}_{}", table.name.name, column.name));
    let plain = |name: &str, nullable| {
        let of = table.column(name)?;
        Some(Column { nullable, collation: of.collation.clone(), ..Column::new(name, of.ty.clone()) })
    };
    let mut columns: Vec<Column> = key.iter().map(|name| plain(name, false)).collect::<Option<_>>()?;
    columns.push(plain(&column.name, true)?);
    let mut side = Table::new(aside.clone());
    let list = columns.iter().map(|c| ident(&c.name)).collect::<Vec<_>>().join(", ");
    side.columns = columns;
    side.primary_key = Some(PrimaryKey::over(None, key.clone()));
    side.options.without_rowid = true;
    // A key may hold NULL in tables that are not STRICT: such a row is not found again.
    let there = key.iter().map(|c| format!("{} IS NOT NULL", ident(c))).collect::<Vec<_>>().join(" AND ");
    let of_row = key.iter().map(|c| format!("k.{0} = {1}.{0}", ident(c), ident(&table.name.name)));
    let of_row = of_row.collect::<Vec<_>>().join(" AND ");
    let from = format!("FROM {} k WHERE {of_row}", name(&aside));
    let default = column.default.as_deref().unwrap_or("NULL");
    Some(SetAside {
        forth: vec![
            create::table_sql(&side, &aside),
            format!("INSERT INTO {} ({list}) SELECT {list} FROM {} WHERE {there}", name(&aside), name(&table.name)),
        ],
        back: vec![format!("DROP TABLE {}", name(&aside))],
        purge: vec![format!("DROP TABLE IF EXISTS {}", name(&aside))],
        copy_back: Some(format!(
            "CASE WHEN EXISTS (SELECT 1 {from}) THEN (SELECT k.{} {from}) ELSE {default} END",
            ident(&column.name)
        )),
    })
}
