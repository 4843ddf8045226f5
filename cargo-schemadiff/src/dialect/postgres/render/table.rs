//! Tables and their columns.

use std::collections::BTreeMap;

use schemadiff::model::{Column, EnumType, IdentityKind, ObjectName, Table};

use super::{
    constraint, identity, index,
    names::{ident, literal, qualified, temporary},
    sync::dollar_quoted,
    types,
};
use crate::dialect::TypeChange;

/// A collation by name: a plain name is one of the server's own, `"schema"."name"` any other.
pub(super) fn collation(name: &str) -> String {
    if name.starts_with('"') { name.to_owned() } else { ident(name) }
}

/// An expression where the grammar takes only simple ones (`DEFAULT`).
pub(super) fn in_parentheses(expr: &str) -> String {
    if expr.contains([' ', '\n', '\t']) { format!("({expr})") } else { expr.to_owned() }
}

/// `WITH (fillfactor='70')`, without the word; empty when there is nothing.
pub(super) fn storage_parameters(with: &BTreeMap<String, String>) -> String {
    let list: Vec<_> = with.iter().map(|(key, value)| format!("{key}={}", literal(value))).collect();
    if list.is_empty() { String::new() } else { format!("({})", list.join(", ")) }
}

/// A column's definition, as in CREATE TABLE and ADD COLUMN.
pub(super) fn column_definition(table: &ObjectName, column: &Column) -> String {
    let mut sql = format!("{} {}", ident(&column.name), column.ty);
    if let Some(name) = &column.collation {
        sql += &format!(" COLLATE {}", collation(name));
    }
    if let Some(generated) = &column.generated {
        // Never without the word: up to version 17 it is a syntax error, on 18 it means VIRTUAL.
        let kind = if generated.stored { "STORED" } else { "VIRTUAL" };
        sql += &format!(" GENERATED ALWAYS AS ({}) {kind}", generated.expr);
    }
    match &column.identity {
        Some(numbered) if numbered.kind == IdentityKind::Serial => {
            sql += &format!(" DEFAULT {}", identity::nextval(&identity::sequence_name(table, column)));
        }
        Some(_) => sql += &format!(" {}", identity::clause(table, column)),
        None => {}
    }
    if let Some(default) = &column.default {
        sql += &format!(" DEFAULT {}", in_parentheses(default));
    }
    if !column.nullable {
        sql += " NOT NULL";
    }
    sql
}

/// What a partition has of its own in a column that it has from its parent.
fn own_definition(table: &ObjectName, column: &Column) -> String {
    let mut sql = format!("{} WITH OPTIONS", ident(&column.name));
    if column.identity.as_ref().is_some_and(|i| i.kind == IdentityKind::Serial) {
        sql += &format!(" DEFAULT {}", identity::nextval(&identity::sequence_name(table, column)));
    } else if column.generated.is_none() {
        sql += &format!(" DEFAULT {}", column.default.as_deref().map_or_else(|| "NULL".to_owned(), in_parentheses));
    }
    if !column.nullable {
        sql += " NOT NULL";
    }
    sql
}

/// CREATE TABLE and what belongs to it, but no foreign key to another table.
pub(super) fn create(table: &Table) -> Vec<String> {
    create_as(table, None)
}

/// A table with the columns, checks and storage of another one that it will be a partition of, and with what it has of its
/// own. The indexes it shares with the parent come when it is attached.
pub(super) fn create_like(table: &Table, parent: &ObjectName) -> Vec<String> {
    let mut statements = create_as(table, Some(parent));
    for column in &table.columns {
        let set = |what: &str| alter(&table.name, &format!("ALTER COLUMN {} {what}", ident(&column.name)));
        match &column.default {
            Some(default) => statements.push(set(&format!("SET DEFAULT {}", in_parentheses(default)))),
            None if column.generated.is_none() => statements.push(set("DROP DEFAULT")),
            None => {}
        }
        if !column.nullable {
            statements.push(set("SET NOT NULL"));
        }
    }
    statements
}

fn create_as(table: &Table, like: Option<&ObjectName>) -> Vec<String> {
    let mut statements: Vec<_> = serials(table).map(|c| identity::create_sequence(&table.name, c)).collect();
    let mut lines: Vec<_> = match (like, &table.partition_of) {
        (Some(parent), _) => vec![format!(
            "LIKE {} INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION",
            qualified(parent)
        )],
        (None, Some(_)) => table.columns.iter().map(|c| own_definition(&table.name, c)).collect(),
        (None, None) => table.columns.iter().map(|c| column_definition(&table.name, c)).collect(),
    };
    lines.extend(table.primary_key.iter().map(|key| constraint::primary_key(&table.name, key)));
    // Inside CREATE TABLE the server makes one constraint of two over the same columns.
    let mut keys: Vec<_> = table.primary_key.iter().map(|key| &key.columns).collect();
    let (twice, once): (Vec<_>, Vec<_>) = table.uniques.iter().partition(|(_, unique)| {
        let known = keys.contains(&&unique.columns);
        keys.push(&unique.columns);
        known
    });
    lines.extend(once.into_iter().map(|(name, unique)| constraint::unique(name, unique)));
    lines.extend(table.exclusions.iter().map(|(name, e)| format!("CONSTRAINT {} {}", ident(name), e.definition)));
    let valid = table.checks.iter().filter(|(_, check)| !check.not_valid);
    lines.extend(valid.map(|(name, check)| constraint::check(name, check)));

    let of = table.partition_of.as_ref().filter(|_| like.is_none());
    let body = match (of, lines.is_empty()) {
        (None, true) => " ()".to_owned(),
        (Some(_), true) => String::new(),
        (_, false) => format!(" (\n  {}\n)", lines.join(",\n  ")),
    };
    let unlogged = if table.options.unlogged { "UNLOGGED " } else { "" };
    let mut sql = format!("CREATE {unlogged}TABLE {}", qualified(&table.name));
    if let Some(of) = of {
        sql += &format!(" PARTITION OF {}{body} {}", qualified(&of.parent), of.bound);
    } else {
        sql += &body;
    }
    if let Some(by) = &table.partition_by {
        sql += &format!(" PARTITION BY {by}");
    }
    if !table.options.with.is_empty() {
        sql += &format!(" WITH {}", storage_parameters(&table.options.with));
    }
    statements.push(sql);

    statements.extend(serials(table).map(|c| identity::own_sequence(&table.name, c)));
    for (name, unique) in twice {
        statements.push(alter(&table.name, &format!("ADD {}", constraint::unique(name, unique))));
    }
    // Inside CREATE TABLE the server takes NOT VALID as valid.
    let unproven = table.checks.iter().filter(|(_, check)| check.not_valid);
    statements.extend(unproven.map(|(name, check)| constraint::add_check(&table.name, name, check)));
    let own = table.foreign_keys.iter().filter(|(_, key)| key.ref_table == table.name);
    statements.extend(own.map(|(name, key)| constraint::add_foreign_key(&table.name, name, key)));
    statements.extend(table.indexes.iter().map(|(name, i)| index::create(&table.name, name, i, false)));
    statements.extend(comments(table));
    statements
}

fn serials(table: &Table) -> impl Iterator<Item = &Column> {
    table.columns.iter().filter(|c| c.identity.as_ref().is_some_and(|i| i.kind == IdentityKind::Serial))
}

fn comments(table: &Table) -> Vec<String> {
    let name = &table.name;
    let mut statements = Vec::new();
    statements.extend(table.comment.iter().map(|text| comment_on("TABLE", &qualified(name), Some(text))));
    for column in &table.columns {
        statements.extend(column.comment.iter().map(|text| comment_on_column(name, &column.name, Some(text))));
    }
    let of_constraint = |(constraint, text): (&String, &Option<String>)| {
        text.as_ref().map(|text| constraint::comment(name, constraint, Some(text)))
    };
    let key = table.primary_key.iter().map(|key| (constraint::primary_key_name(name, key), &key.comment));
    statements.extend(key.filter_map(|(n, comment)| of_constraint((&n, comment))));
    statements.extend(table.uniques.iter().filter_map(|(n, u)| of_constraint((n, &u.comment))));
    statements.extend(table.checks.iter().filter_map(|(n, c)| of_constraint((n, &c.comment))));
    statements.extend(table.exclusions.iter().filter_map(|(n, e)| of_constraint((n, &e.comment))));
    let own = table.foreign_keys.iter().filter(|(_, key)| key.ref_table == *name);
    statements.extend(own.filter_map(|(n, f)| of_constraint((n, &f.comment))));
    statements.extend(table.indexes.iter().filter_map(|(n, i)| {
        i.comment.as_ref().map(|text| comment_on("INDEX", &qualified(&name.sibling(n.as_str())), Some(text)))
    }));
    statements
}

/// COMMENT ON; without a text it removes the comment.
pub(super) fn comment_on(kind: &str, object: &str, comment: Option<&str>) -> String {
    let text = comment.map_or_else(|| "NULL".to_owned(), literal);
    format!("COMMENT ON {kind} {object} IS {text}")
}

/// COMMENT ON COLUMN.
pub(super) fn comment_on_column(table: &ObjectName, column: &str, comment: Option<&str>) -> String {
    comment_on("COLUMN", &format!("{}.{}", qualified(table), ident(column)), comment)
}

/// ADD COLUMN with everything the column says.
pub(super) fn add_column(table: &ObjectName, column: &Column) -> Vec<String> {
    let serial = column.identity.as_ref().is_some_and(|i| i.kind == IdentityKind::Serial);
    let mut statements = Vec::new();
    if serial {
        statements.push(identity::create_sequence(table, column));
    }
    statements.push(alter(table, &format!("ADD COLUMN {}", column_definition(table, column))));
    if serial {
        statements.push(identity::own_sequence(table, column));
    }
    statements.extend(column.comment.iter().map(|text| comment_on_column(table, &column.name, Some(text))));
    statements
}

/// ALTER TABLE.
pub(super) fn alter(table: &ObjectName, what: &str) -> String {
    format!("ALTER TABLE {} {what}", qualified(table))
}

/// Type and collation in place.
pub(super) fn alter_type(from: &str, column: &Column, using: Option<&str>) -> String {
    let collate = column.collation.as_ref().map(|name| format!(" COLLATE {}", collation(name))).unwrap_or_default();
    let name = ident(&column.name);
    // Without USING the server refuses what has no assignment cast (text to integer).
    // A cast to a shorter text cuts off; what is only wider must be cast as it is, or the server writes the table anew.
    let may_cut = types::cuts_off(&column.ty) && types::change(from, &column.ty) == TypeChange::Rewrite;
    let using = match using {
        Some(expr) => format!(" USING {}", in_parentheses(expr)),
        None => format!(" USING {name}::{}", if may_cut { "text" } else { &column.ty }),
    };
    format!("ALTER COLUMN {name} TYPE {}{collate}{using}", column.ty)
}

/// Storage parameters. Nothing when a rewrite (`UNLOGGED`) would be needed.
pub(super) fn alter_options(before: &Table, after: &Table) -> Vec<String> {
    let (old, new) = (&before.options.with, &after.options.with);
    let set: BTreeMap<_, _> =
        new.iter().filter(|(k, v)| old.get(*k) != Some(*v)).map(|(k, v)| (k.clone(), v.clone())).collect();
    let reset: Vec<_> = old.keys().filter(|k| !new.contains_key(*k)).cloned().collect();
    let mut statements = Vec::new();
    if before.options.unlogged != after.options.unlogged {
        let word = if after.options.unlogged { "UNLOGGED" } else { "LOGGED" };
        statements.push(alter(&after.name, &format!("SET {word}")));
    }
    if !set.is_empty() {
        statements.push(alter(&after.name, &format!("SET {}", storage_parameters(&set))));
    }
    if !reset.is_empty() {
        statements.push(alter(&after.name, &format!("RESET ({})", reset.join(", "))));
    }
    statements
}

/// CREATE TYPE .. AS ENUM.
pub(super) fn create_enum(enumeration: &EnumType) -> Vec<String> {
    let values: Vec<_> = enumeration.values.iter().map(|value| literal(value)).collect();
    let name = qualified(&enumeration.name);
    let mut statements = vec![format!("CREATE TYPE {name} AS ENUM ({})", values.join(", "))];
    statements.extend(enumeration.comment.iter().map(|text| comment_on("TYPE", &name, Some(text))));
    statements
}

/// RENAME TO, and SET SCHEMA.
pub(super) fn rename(from: &ObjectName, to: &ObjectName) -> Vec<String> {
    let mut sql = Vec::new();
    let mut at = from.clone();
    if from.schema != to.schema {
        let place = to.schema.as_deref().unwrap_or("public");
        sql.push(alter(&at, &format!("SET SCHEMA {}", ident(place))));
        at.schema.clone_from(&to.schema);
    }
    if from.name != to.name {
        sql.push(alter(&at, &format!("RENAME TO {}", ident(&to.name))));
    }
    sql
}

/// A type that takes another's place gets its owner and those who may use it. Which these are is known when it happens.
fn keep_rights(old: &ObjectName, new: &ObjectName) -> String {
    let (was, new) = (literal(&qualified(old)), qualified(new));
    let [revoke, grant, own] = [
        format!("REVOKE ALL ON TYPE {new} FROM PUBLIC"),
        format!("GRANT %s ON TYPE {new} TO %s%s"),
        format!("ALTER TYPE {new} OWNER TO %I"),
    ]
    .map(|sql| literal(&sql));
    let body = format!(
        "DECLARE\n  was record;\n  given record;\nBEGIN\n  \
         SELECT typowner, typacl INTO was FROM pg_catalog.pg_type WHERE oid = pg_catalog.to_regtype({was});\n  \
         IF was.typacl IS NOT NULL THEN\n    EXECUTE {revoke};\n    \
         FOR given IN SELECT * FROM pg_catalog.aclexplode(was.typacl) LOOP\n      \
         EXECUTE pg_catalog.format({grant}, given.privilege_type, CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE \
         pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(given.grantee)) END, \
         CASE WHEN given.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END);\n    END LOOP;\n  END IF;\n  \
         IF pg_catalog.pg_get_userbyid(was.typowner) <> current_user THEN\n    \
         BEGIN\n      EXECUTE pg_catalog.format({own}, pg_catalog.pg_get_userbyid(was.typowner));\n    \
         EXCEPTION WHEN insufficient_privilege THEN\n      \
         RAISE WARNING 'the type stays with %', current_user;\n    END;\n  END IF;\nEND\n"
    );
    format!("DO {}", dollar_quoted(&body))
}

/// A type of the same name with other labels: the server has no statement that takes a label away.
pub(super) fn replace_enum(after: &EnumType, columns: &[(ObjectName, Column)]) -> Vec<String> {
    let old = after.name.sibling(temporary(&after.name.name));
    let mut sql = rename_enum(&after.name, &old);
    sql.extend(create_enum(after));
    for (table, column) in columns {
        let name = ident(&column.name);
        let ty = format!("{}{}", qualified(&after.name), if column.ty.ends_with("[]") { "[]" } else { "" });
        let text = if column.ty.ends_with("[]") { "text[]" } else { "text" };
        let mut actions = vec![
            format!("ALTER COLUMN {name} DROP DEFAULT"),
            format!("ALTER COLUMN {name} TYPE {ty} USING {name}::{text}::{ty}"),
        ];
        let default = column.default.as_ref();
        actions.extend(default.map(|expr| format!("ALTER COLUMN {name} SET DEFAULT {}", in_parentheses(expr))));
        sql.push(alter(table, &actions.join(", ")));
    }
    sql.push(keep_rights(&old, &after.name));
    sql.push(format!("DROP TYPE {}", qualified(&old)));
    sql
}

/// ALTER TYPE .. RENAME TO, and SET SCHEMA.
pub(super) fn rename_enum(from: &ObjectName, to: &ObjectName) -> Vec<String> {
    let mut sql = Vec::new();
    let mut at = from.clone();
    if from.schema != to.schema {
        let place = to.schema.as_deref().unwrap_or("public");
        sql.push(format!("ALTER TYPE {} SET SCHEMA {}", qualified(&at), ident(place)));
        at.schema.clone_from(&to.schema);
    }
    if from.name != to.name {
        sql.push(format!("ALTER TYPE {} RENAME TO {}", qualified(&at), ident(&to.name)));
    }
    sql
}

/// ALTER TYPE .. ADD VALUE.
pub(super) fn add_enum_value(name: &ObjectName, value: &str, before: Option<&str>) -> String {
    let place = before.map(|other| format!(" BEFORE {}", literal(other))).unwrap_or_default();
    format!("ALTER TYPE {} ADD VALUE IF NOT EXISTS {}{place}", qualified(name), literal(value))
}
