//! What depends on a column, a table or another object and would stop a step, or would keep to what the step puts away: it is
//! dropped before the step's own statements and made again after them, in the step's transaction. It is never gone for
//! anybody: others wait for the transaction, and then find it again.

use std::collections::BTreeSet;

use schemadiff::{
    model::{Object, ObjectKey, ObjectKind, ObjectName, Schema, Shared, Use},
    plan::Phase,
};

use crate::{Error, Kind, Result, dialect::Ddl};

/// What a step cannot do, or does not do as meant, while something depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Disturbed {
    /// The column gets another type, or another column its name.
    Column(ObjectName, String),
    /// The column goes.
    GoneColumn(ObjectName, String),
    /// The table goes.
    GoneTable(ObjectName),
    /// The object is made anew.
    Object(ObjectKey),
    /// The type is made anew.
    Type(ObjectName),
}

/// The objects that go along with a step, each after those that it needs.
///
/// # Errors
/// [`Kind::Refused`] when an object needs what goes for good.
pub(super) fn with(disturbed: &[&Disturbed], before: &Schema) -> Result<Vec<Shared<Object>>> {
    // What a step makes anew is its own matter.
    let own: Vec<&ObjectKey> = disturbed
        .iter()
        .filter_map(|disturbed| match disturbed {
            Disturbed::Object(key) => Some(key),
            _ => None,
        })
        .collect();
    let mut found: Vec<Shared<Object>> = Vec::new();
    for disturbed in disturbed {
        let depends = |object: &Object| match disturbed {
            Disturbed::Column(table, column) | Disturbed::GoneColumn(table, column) => {
                object.uses_column(table, column)
            }
            Disturbed::GoneTable(table) => object.uses_relation(table) && object.table() != Some(table),
            Disturbed::Object(key) => object.uses_object(key),
            Disturbed::Type(name) => object.uses_type(name),
        };
        for object in before.objects.values().filter(|object| depends(object) && stands_in_the_way(object)) {
            match disturbed {
                Disturbed::GoneColumn(table, column) => {
                    return Err(needed(object, &format!("column `{table}.{column}`")));
                }
                Disturbed::GoneTable(table) => return Err(needed(object, &format!("table `{table}`"))),
                Disturbed::Column(..) | Disturbed::Object(_) | Disturbed::Type(_) => {}
            }
            if !found.iter().any(|known| known.key == object.key) {
                found.push(object.clone());
            }
        }
    }
    let mut all = with_dependents(found, before);
    all.retain(|object| !own.contains(&&object.key));
    Ok(in_order(all))
}

/// Settings of a column stay with it, and a sequence is none of those that read it.
const fn stands_in_the_way(object: &Object) -> bool {
    !matches!(object.key.kind, ObjectKind::ColumnSettings | ObjectKind::Sequence | ObjectKind::RowSecurity)
}

fn needed(object: &Object, what: &str) -> Error {
    Error::new(Kind::Refused, "SD0670", format!("{what} cannot be dropped: {} needs it", object.key))
        .cause("structs do not say what it shall be without it, and dropping it is not theirs to say")
        .help(format!("drop or change {} by hand first", object.key))
        .help("or plan the change from a database that has it as it shall be: --to postgres://..")
}

/// And what depends on those, directly or through others.
pub(super) fn with_dependents(mut found: Vec<Shared<Object>>, schema: &Schema) -> Vec<Shared<Object>> {
    let mut at = 0;
    while let Some(object) = found.get(at).cloned() {
        for other in schema.objects.values().filter(|other| other.uses_object(&object.key) && stands_in_the_way(other))
        {
            if !found.iter().any(|known| known.key == other.key) {
                found.push(other.clone());
            }
        }
        at += 1;
    }
    found
}

/// Objects in an order in which they can be made: each after those that it needs.
pub(crate) fn in_order(objects: Vec<Shared<Object>>) -> Vec<Shared<Object>> {
    let mut waiting = objects;
    let mut ordered: Vec<Shared<Object>> = Vec::new();
    while !waiting.is_empty() {
        let keys: BTreeSet<ObjectKey> = waiting.iter().map(|object| object.key.clone()).collect();
        let free = |object: &Shared<Object>| !keys.iter().any(|key| *key != object.key && object.uses_object(key));
        let (ready, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(free);
        // Functions may call each other; then any order is as good as another.
        if ready.is_empty() {
            ordered.extend(rest);
            break;
        }
        ordered.extend(ready);
        waiting = rest;
    }
    ordered
}

/// What is made of an object that goes along with a step: what it shall be in the end, where that needs nothing but what is
/// there after the step, and nobody who still uses it misses a column. Its old words may not even fit any more: a comparison
/// with a constant of the old type, say.
pub(super) fn made_again(object: &Shared<Object>, desired: &Schema, after: &Schema, phase: Phase) -> Shared<Object> {
    let Some(shall) = desired.objects.get(&object.key).filter(|shall| *shall != object) else {
        return object.clone();
    };
    let is_there = |used: &Use| match used {
        Use::Column { table, column } => {
            let there = |schema: &Schema| schema.column(table, column).map(|c| c.ty.clone());
            // Of a view it is the view's matter.
            after.table(table).is_none() && !desired.tables.contains_key(table) || there(after) == there(desired)
        }
        Use::Relation { name } => after.tables.contains_key(name) || !desired.tables.contains_key(name),
        Use::Function { .. } => {
            let mut used = desired.objects.values().filter(|other| shall.uses_object(&other.key));
            used.all(|other| after.objects.get(&other.key).is_none_or(|there| there == other))
        }
        Use::Type { .. } => true,
    };
    let names = |object: &Object| object.columns.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let serves = phase == Phase::Contract || names(shall).starts_with(&names(object));
    if !serves || !shall.uses.iter().all(is_there) {
        return object.clone();
    }
    Object { rights: object.rights.clone(), ..(**shall).clone() }.into()
}

/// The statements with the objects out of their way, and made `again` after them.
pub(super) fn around(
    ddl: &dyn Ddl,
    away: &[Shared<Object>],
    again: &[Shared<Object>],
    statements: Vec<String>,
) -> Vec<String> {
    let mut sql: Vec<String> = away.iter().rev().flat_map(|object| ddl.drop_object(object)).collect();
    sql.extend(statements);
    for object in again {
        sql.extend(ddl.create_object(object));
        sql.extend(object.rights.iter().cloned());
    }
    sql
}
