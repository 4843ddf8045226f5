//! Statements for what is held by its definition.

use schemadiff::model::{OWN_NAME, OWN_TABLE, Object, ObjectKey, ObjectKind, ObjectName};

use super::{
    names::{ident, qualified},
    sequence::Altered,
    table::comment_on,
};

/// The object's own name as its statements write it.
fn name(key: &ObjectKey) -> String {
    match key.kind {
        ObjectKind::Type
        | ObjectKind::Sequence
        | ObjectKind::View
        | ObjectKind::MaterializedView
        | ObjectKind::Statistics
        | ObjectKind::Function
        | ObjectKind::Procedure => qualified(&key.name),
        ObjectKind::Schema
        | ObjectKind::Extension
        | ObjectKind::Trigger
        | ObjectKind::Rule
        | ObjectKind::Policy
        | ObjectKind::RowSecurity
        | ObjectKind::ColumnSettings => ident(&key.name.name),
    }
}

const fn word(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Schema => "SCHEMA",
        ObjectKind::Extension => "EXTENSION",
        ObjectKind::Type => "TYPE",
        ObjectKind::Sequence => "SEQUENCE",
        ObjectKind::Function => "FUNCTION",
        ObjectKind::Procedure => "PROCEDURE",
        ObjectKind::View => "VIEW",
        ObjectKind::MaterializedView => "MATERIALIZED VIEW",
        ObjectKind::Trigger => "TRIGGER",
        ObjectKind::Rule => "RULE",
        ObjectKind::Policy => "POLICY",
        ObjectKind::RowSecurity | ObjectKind::ColumnSettings => "TABLE",
        ObjectKind::Statistics => "STATISTICS",
    }
}

/// How DROP, ALTER and COMMENT address it: `VIEW "public"."v"`, `TRIGGER "t" ON "public"."users"`.
fn address(key: &ObjectKey) -> String {
    let arguments = key.arguments.as_ref().map(|arguments| format!("({arguments})")).unwrap_or_default();
    let of = key.of.as_ref().map(|table| format!(" ON {}", qualified(table))).unwrap_or_default();
    format!("{} {}{arguments}{of}", word(key.kind), name(key))
}

/// A statement of the object with its names in it.
fn named(object: &Object, statement: &str) -> String {
    // Each name stands in the head; further on the text is the user's.
    let statement = statement.replacen(OWN_NAME, &name(&object.key), places(object));
    match object.table() {
        Some(table) => statement.replacen(OWN_TABLE, &qualified(table), 1),
        None => statement,
    }
}

/// How often the own name may stand in a statement.
const fn places(object: &Object) -> usize {
    match object.key.kind {
        ObjectKind::ColumnSettings => usize::MAX,
        _ => 1,
    }
}

/// Everything that makes it, or puts it in the place of one of its name where the statement can do that.
pub(super) fn create(object: &Object) -> Vec<String> {
    let mut sql = Vec::new();
    match object.key.kind {
        // Its body may name what comes later.
        ObjectKind::Function | ObjectKind::Procedure => {
            sql.push("SET LOCAL check_function_bodies = off".to_owned());
            sql.push(named(object, &object.definition));
        }
        ObjectKind::Sequence => sql.push(format!("CREATE SEQUENCE {} {}", name(&object.key), object.definition)),
        _ => sql.push(named(object, &object.definition)),
    }
    sql.extend(object.completed_by.iter().map(|statement| named(object, statement)));
    if object.comment.is_some() {
        sql.extend(comment(object));
    }
    sql
}

/// The statement after which one of those that complete an object says nothing any more; none where only a new object is without it.
fn taken_back(statement: &str) -> Option<String> {
    if statement.starts_with("COMMENT ON ") {
        // The text is a literal, perhaps one with escapes.
        let end = [" IS '", " IS E'"].iter().filter_map(|is| statement.find(is)).min()?;
        return Some(format!("{} IS NULL", &statement[..end]));
    }
    let (column, _) = statement.split_once(" SET STATISTICS ")?;
    Some(format!("{column} SET STATISTICS -1"))
}

/// Makes `after` of `before` in place. `None`: it must be dropped and made again.
pub(super) fn replace(before: &Object, after: &Object) -> Option<Vec<String>> {
    let mut sql = Vec::new();
    if before.definition != after.definition {
        match after.key.kind {
            ObjectKind::Sequence => {
                let altered = Altered { sequence: &name(&after.key), ty: None, column: None };
                sql.push(altered.statement(&before.definition, &after.definition));
            }
            ObjectKind::Type => sql.push(attributes(before, after)?),
            ObjectKind::View if extends(before, after) => sql.push(named(after, &after.definition)),
            ObjectKind::Function | ObjectKind::Procedure if same_result(before, after) => {
                sql.push("SET LOCAL check_function_bodies = off".to_owned());
                sql.push(named(after, &after.definition));
            }
            ObjectKind::Trigger if !is_constraint(before) && !is_constraint(after) => {
                sql.push(named(after, &after.definition));
            }
            ObjectKind::Rule => sql.push(named(after, &after.definition)),
            ObjectKind::RowSecurity => {
                let forced = after.definition.contains(", FORCE");
                let word = if forced { "FORCE" } else { "NO FORCE" };
                sql.push(format!("ALTER TABLE {} {word} ROW LEVEL SECURITY", table(after)));
            }
            ObjectKind::ColumnSettings => {
                sql.extend(drop(before));
                sql.push(named(after, &after.definition));
            }
            ObjectKind::Extension => {
                let place = after.definition.strip_prefix("CREATE EXTENSION {name} WITH SCHEMA ")?;
                sql.push(format!("ALTER EXTENSION {} SET SCHEMA {place}", name(&after.key)));
            }
            _ => return None,
        }
    }
    if before.completed_by != after.completed_by {
        // What is no longer said would stay.
        for gone in before.completed_by.iter().filter(|statement| !after.completed_by.contains(statement)) {
            sql.push(named(before, &taken_back(gone)?));
        }
        let new = after.completed_by.iter().filter(|statement| !before.completed_by.contains(statement));
        sql.extend(new.map(|statement| named(after, statement)));
    }
    if before.owned_by != after.owned_by {
        sql.extend(own(after));
    }
    if before.comment != after.comment {
        sql.extend(comment(after));
    }
    Some(sql)
}

/// Gives a composite type what it gets at its end, or takes from it what it loses there. The server refuses any other change of a type
/// whose values are stored.
fn attributes(before: &Object, after: &Object) -> Option<String> {
    let (old, new) = (&before.columns, &after.columns);
    let each: Vec<_> = if !old.is_empty() && new.starts_with(old) {
        new[old.len()..].iter().map(|(attribute, ty)| format!("ADD ATTRIBUTE {} {ty}", ident(attribute))).collect()
    } else if !new.is_empty() && old.starts_with(new) {
        old[new.len()..].iter().map(|(attribute, _)| format!("DROP ATTRIBUTE {}", ident(attribute))).collect()
    } else {
        return None;
    };
    Some(format!("ALTER TYPE {} {}", name(&after.key), each.join(", ")))
}

/// Whether a view keeps its columns and only gets more of them at its end.
fn extends(before: &Object, after: &Object) -> bool {
    after.columns.starts_with(&before.columns)
}

fn is_constraint(trigger: &Object) -> bool {
    trigger.definition.starts_with("CREATE CONSTRAINT")
}

/// Whether names, defaults and the result of a function allow that it is replaced: the whole head is the same.
fn same_result(before: &Object, after: &Object) -> bool {
    fn head(object: &Object) -> Option<&str> {
        object.definition.split("\n LANGUAGE ").next()
    }
    head(before) == head(after)
}

pub(super) fn drop(object: &Object) -> Vec<String> {
    let table = || table(object);
    vec![match object.key.kind {
        ObjectKind::RowSecurity => {
            format!("ALTER TABLE {} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY", table())
        }
        ObjectKind::ColumnSettings => {
            let column = name(&object.key);
            let set = |what: &str| object.definition.contains(what);
            let mut reset = Vec::new();
            if set(" SET STATISTICS ") {
                reset.push(format!("ALTER COLUMN {column} SET STATISTICS -1"));
            }
            if set(" SET COMPRESSION ") {
                reset.push(format!("ALTER COLUMN {column} SET COMPRESSION default"));
            }
            if set(" SET STORAGE ")
                && let Some((_, own)) = object.columns.first()
            {
                reset.push(format!("ALTER COLUMN {column} SET STORAGE {own}"));
            }
            for option in ["n_distinct_inherited", "n_distinct"].iter().filter(|option| set(option)) {
                reset.push(format!("ALTER COLUMN {column} RESET ({option})"));
            }
            format!("ALTER TABLE {} {}", table(), reset.join(", "))
        }
        _ => format!("DROP {}", address(&object.key)),
    }]
}

pub(super) fn clear(object: &Object) -> Vec<String> {
    let address = address(&object.key);
    let (word, rest) = address.split_at(word(object.key.kind).len());
    vec![format!("DROP {word} IF EXISTS{rest} CASCADE")]
}

fn table(object: &Object) -> String {
    object.table().map(qualified).unwrap_or_default()
}

/// Gives a sequence to the column that it belongs to, or to none.
pub(super) fn own(object: &Object) -> Vec<String> {
    let owner = match &object.owned_by {
        Some((table, column)) => format!("{}.{}", qualified(table), ident(column)),
        None => "NONE".to_owned(),
    };
    vec![format!("ALTER SEQUENCE {} OWNED BY {owner}", name(&object.key))]
}

fn comment(object: &Object) -> Vec<String> {
    match object.key.kind {
        ObjectKind::RowSecurity | ObjectKind::ColumnSettings | ObjectKind::Extension => Vec::new(),
        _ => {
            let address = address(&object.key);
            let (word, rest) = address.split_at(word(object.key.kind).len());
            vec![comment_on(word, rest.trim_start(), object.comment.as_deref())]
        }
    }
}

/// Gives it another name, in another database schema where that is said.
pub(super) fn rename(from: &ObjectKey, to: &ObjectKey) -> Vec<String> {
    let mut sql = Vec::new();
    let mut at = from.clone();
    if at.name.schema != to.name.schema {
        let place = to.name.schema.as_deref().unwrap_or("public");
        sql.push(format!("ALTER {} SET SCHEMA {}", address(&at), ident(place)));
        at.name = ObjectName { schema: to.name.schema.clone(), ..at.name };
    }
    if at.name.name != to.name.name {
        sql.push(format!("ALTER {} RENAME TO {}", address(&at), ident(&to.name.name)));
    }
    sql
}
