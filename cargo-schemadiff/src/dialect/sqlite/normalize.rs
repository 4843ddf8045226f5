//! Brings a declared schema into SQLite's own spelling.

use std::collections::BTreeMap;

use schemadiff::model::{
    Deferrable, Identity, IdentityKind, Index, IndexPart, NullsOrder, ObjectName, Schema, SortOrder, Table, Unique,
};

use super::{
    connect::{self, Client},
    create,
    expr::{self, Names},
    introspect,
    render::{OWN_PREFIX, Sqlite},
    types,
};
use crate::{
    Error, Kind, Result,
    dialect::{Ddl as _, TypeChange, reserved},
};

/// The part that needs no server.
pub fn statically(desired: &mut Schema) {
    for table in desired.tables.values_mut() {
        table_statically(table);
    }
    for enumeration in desired.enums.values_mut() {
        enumeration.comment = None;
    }
}

fn table_statically(table: &mut Table) {
    for (name, unique) in std::mem::take(&mut table.uniques) {
        if unique.nulls_not_distinct || unique.deferrable != Deferrable::No {
            // Left as it is: `with_server` refuses it by name.
            table.uniques.insert(name, unique);
        } else {
            table.indexes.insert(name, unique_index(&unique));
        }
    }
    number_rowid_alias(table);
    forget_what_sqlite_has_not(table);
    self::table(table);
}

/// `INTEGER PRIMARY KEY` is numbered by SQLite whether the struct says so or not, and a numbered key must be spelled so.
fn number_rowid_alias(table: &mut Table) {
    let Some([key]) = table.primary_key.as_ref().map(|key| key.columns.as_slice()) else {
        return;
    };
    if table.options.without_rowid {
        return;
    }
    let key = key.clone();
    let Some(column) = table.column_mut(&key) else {
        return;
    };
    if column.identity.is_some() && types::affinity(&column.ty) == types::Affinity::Integer {
        "INTEGER".clone_into(&mut column.ty);
    }
    if types::normal(&column.ty) == "INTEGER" && column.generated.is_none() {
        let kind = match column.identity.as_ref().map(|i| i.kind) {
            Some(IdentityKind::Autoincrement) => IdentityKind::Autoincrement,
            _ => IdentityKind::ByDefault,
        };
        column.identity = Some(Identity { kind, sequence: None, options: None });
        column.nullable = false;
    }
}

/// Comments, storage parameters and the like mean nothing to the data and do not exist here.
fn forget_what_sqlite_has_not(table: &mut Table) {
    table.comment = None;
    table.options.unlogged = false;
    table.options.with = BTreeMap::new();
    if let Some(key) = &mut table.primary_key {
        key.name = None;
    }
    for column in &mut table.columns {
        column.comment = None;
    }
    for check in table.checks.values_mut() {
        (check.comment, check.not_valid, check.no_inherit) = (None, false, false);
    }
    for key in table.foreign_keys.values_mut() {
        (key.comment, key.not_valid) = (None, false);
    }
    for index in table.indexes.values_mut() {
        (index.comment, index.invalid) = (None, false);
        index.include.clear();
        index.with.clear();
        index.method.take_if(|method| method.eq_ignore_ascii_case("btree"));
    }
}

/// The normal spelling of everything in a table, for declared and introspected tables alike.
pub(super) fn table(table: &mut Table) {
    let before = table.clone();
    let names = Names::of(&before);
    for column in &mut table.columns {
        column.ty = types::normal(&column.ty);
        column.collation = column.collation.take().and_then(|c| own_collation(&c, "BINARY"));
        column.default = column.default.take().map(|d| expr::normal_default(&d)).filter(|d| d != "NULL");
        if let Some(generated) = &mut column.generated {
            generated.expr = expr::normal(&generated.expr, &names);
        }
    }
    for check in table.checks.values_mut() {
        check.expr = expr::normal(&check.expr, &names);
    }
    let collations: BTreeMap<_, _> =
        table.columns.iter().map(|c| (c.name.clone(), c.collation.clone().unwrap_or("BINARY".to_owned()))).collect();
    for index in table.indexes.values_mut() {
        index.predicate = index.predicate.take().map(|p| expr::normal(&p, &names));
        for part in &mut index.parts {
            index_part(part, &names, &collations);
        }
    }
}

fn index_part(part: &mut IndexPart, names: &Names<'_>, collations: &BTreeMap<String, String>) {
    if let Some(text) = part.expr.take() {
        let normal = expr::normal(&text, names);
        match collations.keys().find(|column| expr::name_text(column) == normal) {
            Some(column) => part.column = Some(column.clone()),
            None => part.expr = Some(normal),
        }
    }
    let inherited = part.column.as_ref().and_then(|c| collations.get(c)).map_or("BINARY", String::as_str);
    part.collation = part.collation.take().and_then(|c| own_collation(&c, inherited));
    let usual = match part.order {
        SortOrder::Asc => NullsOrder::First,
        SortOrder::Desc => NullsOrder::Last,
    };
    part.nulls.take_if(|nulls| *nulls == usual);
}

fn own_collation(collation: &str, inherited: &str) -> Option<String> {
    let upper = collation.to_ascii_uppercase();
    (upper != inherited).then_some(upper)
}

/// The unique index that stands for a UNIQUE constraint.
pub(super) fn unique_index(unique: &Unique) -> Index {
    let part = |column: &String| IndexPart { column: Some(column.clone()), ..IndexPart::default() };
    Index { parts: unique.columns.iter().map(part).collect(), unique: true, ..Index::default() }
}

/// Takes over from the current schema what is no difference on SQLite: the names of indexes and constraints whose
/// definitions are equal, whether a unique index came as a constraint, and type names of one affinity.
pub(crate) fn adopt(desired: &mut Schema, current: &Schema) {
    for (name, table) in &mut desired.tables {
        let Some(there) = current.tables.get(name) else {
            continue;
        };
        adopt_types(table, there);
        adopt_names(&mut table.checks, &there.checks, |a, b| a == b);
        adopt_names(&mut table.foreign_keys, &there.foreign_keys, |a, b| a == b);
        adopt_names(&mut table.indexes, &there.indexes, |a, b| Index { constraint: b.constraint, ..a.clone() } == *b);
    }
}

fn adopt_types(table: &mut Table, there: &Table) {
    let sole_key = match table.primary_key.as_ref().map(|key| key.columns.as_slice()) {
        Some([only]) => only.clone(),
        _ => String::new(),
    };
    for column in &mut table.columns {
        let Some(current) = there.column(&column.name) else {
            continue;
        };
        // `INT PRIMARY KEY` is another thing than `INTEGER PRIMARY KEY`.
        let alias_differs = column.name == sole_key && (column.ty == "INTEGER") != (current.ty == "INTEGER");
        if !alias_differs && Sqlite.type_change(&current.ty, &column.ty) == TypeChange::Same {
            current.ty.clone_into(&mut column.ty);
        }
    }
}

/// Gives each entry the name (and form) of an equal one that is there, unless another entry goes by that name.
fn adopt_names<T: Clone>(
    desired: &mut BTreeMap<String, T>,
    there: &BTreeMap<String, T>,
    same: impl Fn(&T, &T) -> bool,
) {
    let declared = std::mem::take(desired);
    let mut free: Vec<_> = there.iter().collect();
    let (known, others): (Vec<_>, Vec<_>) =
        declared.clone().into_iter().partition(|(name, value)| there.get(name).is_some_and(|v| same(value, v)));
    for (name, _) in known {
        if let Some(at) = free.iter().position(|(n, _)| **n == name) {
            desired.insert(name, free.swap_remove(at).1.clone());
        }
    }
    for (name, value) in others {
        match free.iter().position(|(n, v)| same(&value, v) && !declared.contains_key(*n)) {
            Some(at) => {
                let (name, value) = free.swap_remove(at);
                desired.insert(name.clone(), value.clone());
            }
            None => drop(desired.insert(name, value)),
        }
    }
}

/// See [`crate::dialect::check_names`].
///
/// # Errors
/// [`Kind::Project`] with the first table that bears a name of SQLite's or of schemadiff's own tables.
pub(crate) fn places(desired: &Schema) -> Result<()> {
    for table in desired.tables.values() {
        let folded = table.name.name.to_ascii_lowercase();
        let owner = match folded.as_str() {
            name if name.starts_with("sqlite_") => "SQLite",
            name if name.starts_with(OWN_PREFIX) => "schemadiff",
            _ => continue,
        };
        return Err(reserved(&table.name, owner));
    }
    Ok(())
}

/// See [`crate::dialect::check_case`].
///
/// # Errors
/// [`Kind::Refused`] with the first such name.
pub(crate) fn same_case(desired: &Schema, current: &Schema) -> Result<()> {
    let is_other = |a: &str, b: &str| a != b && a.to_lowercase() == b.to_lowercase();
    for (name, table) in &desired.tables {
        if let Some(there) = current.tables.keys().find(|there| is_other(&there.name, &name.name)) {
            return Err(other_case("table", &there.to_string(), &name.to_string()));
        }
        let Some(there) = current.table(name) else { continue };
        for column in &table.columns {
            if let Some(old) = there.columns.iter().find(|old| is_other(&old.name, &column.name)) {
                let full = format!("{name}.{}", old.name);
                return Err(other_case("column", &full, &column.name));
            }
        }
    }
    Ok(())
}

/// `kind` is also the attribute that gives a name.
fn other_case(kind: &str, there: &str, wanted: &str) -> Error {
    let name = there.rsplit('.').next().unwrap_or(there);
    Error::new(Kind::Refused, "SD0628", format!("the {kind} `{there}` cannot become `{wanted}`"))
        .cause("SQLite does not tell upper from lower case: both are one name, and statements find it under either")
        .help(format!("keep the name that is there: #[{kind}(name = \"{name}\")]"))
        .help("or rename it to something else in a migration of its own first")
}

/// See [`crate::dialect::Connection::normalize`]. The desired tables are created in a private database in memory and read
/// back, so that what SQLite refuses is known before a plan is made, and what it changes is no difference afterwards.
///
/// # Errors
/// When SQLite refuses a table, an index or a foreign key, or a struct asks for what SQLite does not have.
pub async fn with_server(_client: &mut Client, desired: &mut Schema, current: &Schema) -> Result<()> {
    adopt(desired, current);
    if desired.tables.iter().all(|(name, table)| current.tables.get(name).is_some_and(|there| same(table, there))) {
        return Ok(());
    }
    desired.tables.values().try_for_each(|table| has_what_is_asked(table))?;
    let mut memory = connect::private_memory().await?;
    for table in desired.tables.values() {
        let alone = Table { name: ObjectName::new(&table.name.name), ..table.clone().into_inner() };
        for statement in Sqlite.create_table(&alone) {
            memory.run(&[statement]).await.map_err(|e| refused(&table.name, &e))?;
        }
    }
    if let Err(e) = memory.run(&["PRAGMA foreign_key_check".to_owned()]).await {
        return Err(Error::new(Kind::Project, "SD0341", "a foreign key does not fit the table it references")
            .cause(e.effect)
            .help("reference the primary key, or columns with a unique index that has no condition"));
    }
    let read = introspect::read(&mut memory).await?;
    for (name, table) in &mut desired.tables {
        if let Some(created) = read.tables.get(&ObjectName::new(&name.name)) {
            let kept = table.clone();
            *table = created.clone();
            (table.name, table.syncs) = (kept.name.clone(), kept.syncs.clone());
        }
    }
    adopt(desired, current);
    Ok(())
}

/// Equal but for the order of columns and the sync triggers.
fn same(a: &Table, b: &Table) -> bool {
    let bare = |table: &Table| {
        let mut bare = Table { syncs: BTreeMap::new(), ..table.clone() };
        bare.sort_columns();
        bare
    };
    bare(a) == bare(b)
}

fn refused(table: &ObjectName, error: &Error) -> Error {
    Error::new(Kind::Project, "SD0340", format!("SQLite refuses the table `{table}`"))
        .cause(format!("{}\n{}", error.effect, error.cause.as_deref().unwrap_or_default()))
        .help("correct the attribute that this part comes from; defaults and conditions must be SQLite's SQL here")
        .declared_by(table)
}

/// Things that SQLite has not and that leaving out would change what the data may be.
fn has_what_is_asked(table: &Table) -> Result<()> {
    let lacks = |what: String| {
        Err(Error::new(Kind::Project, "SD0342", format!("SQLite has no {what}"))
            .cause(format!("asked for by the table `{}`", table.name))
            .help("leave the attribute out, or keep the table to the other engine"))
    };
    if let Some(name) = table.uniques.keys().next() {
        return lacks(format!("deferrable or NULLS NOT DISTINCT unique constraint (`{name}`)"));
    }
    for (name, index) in &table.indexes {
        if let Some(method) = &index.method {
            return lacks(format!("index method {method} (`{name}`)"));
        }
        if index.nulls_not_distinct {
            return lacks(format!("NULLS NOT DISTINCT index (`{name}`)"));
        }
        if let Some(class) = index.parts.iter().find_map(|part| part.opclass.as_ref()) {
            return lacks(format!("operator class {class} (`{name}`)"));
        }
    }
    let numbered = table.columns.iter().find(|c| c.identity.is_some() && !create::is_rowid_alias(table, c));
    match numbered {
        Some(column) => lacks(format!("identity for `{}`: only the one INTEGER primary key is numbered", column.name)),
        None => Ok(()),
    }
}
