//! Constraints.

use schemadiff::model::{Check, Deferrable, ForeignKey, ObjectName, PrimaryKey, Unique};

use super::{
    names::{columns, default_name, ident, qualified},
    table::{alter, comment_on},
};

/// The key's name, or the one that the server gives.
pub(super) fn primary_key_name(table: &ObjectName, key: &PrimaryKey) -> String {
    key.name.clone().unwrap_or_else(|| default_name(&table.name, &[], "pkey"))
}

/// When a constraint is checked, with a space before it.
pub(super) fn deferrable(deferrable: Deferrable) -> &'static str {
    match deferrable {
        Deferrable::No => "",
        Deferrable::Immediate => " DEFERRABLE",
        Deferrable::Deferred => " DEFERRABLE INITIALLY DEFERRED",
    }
}

/// The primary key inside CREATE TABLE.
pub(super) fn primary_key(table: &ObjectName, key: &PrimaryKey) -> String {
    let include = included(&key.include);
    let (name, when) = (ident(&primary_key_name(table, key)), deferrable(key.deferrable));
    format!("CONSTRAINT {name} PRIMARY KEY {}{include}{when}", columns(&key.columns))
}

fn included(include: &[String]) -> String {
    if include.is_empty() { String::new() } else { format!(" INCLUDE {}", columns(include)) }
}

/// A unique constraint inside CREATE TABLE.
pub(super) fn unique(name: &str, unique: &Unique) -> String {
    format!("CONSTRAINT {} {}", ident(name), key("UNIQUE", unique))
}

/// `UNIQUE (..)` or `PRIMARY KEY (..)` with what follows.
pub(super) fn key(kind: &str, unique: &Unique) -> String {
    let nulls = if unique.nulls_not_distinct { " NULLS NOT DISTINCT" } else { "" };
    let include = included(&unique.include);
    format!("{kind}{nulls} {}{include}{}", columns(&unique.columns), deferrable(unique.deferrable))
}

/// A check, as in CREATE TABLE and ADD CONSTRAINT.
pub(super) fn check(name: &str, check: &Check) -> String {
    let no_inherit = if check.no_inherit { " NO INHERIT" } else { "" };
    format!("CONSTRAINT {} CHECK ({}){no_inherit}", ident(name), check.expr)
}

/// ADD CONSTRAINT .. CHECK.
pub(super) fn add_check(table: &ObjectName, name: &str, constraint: &Check) -> String {
    let not_valid = if constraint.not_valid { " NOT VALID" } else { "" };
    alter(table, &format!("ADD {}{not_valid}", check(name, constraint)))
}

/// ADD CONSTRAINT .. FOREIGN KEY.
pub(super) fn add_foreign_key(table: &ObjectName, name: &str, key: &ForeignKey) -> String {
    alter(table, &format!("ADD CONSTRAINT {} {}", ident(name), references(key)))
}

/// `FOREIGN KEY (..) REFERENCES ..` with what follows.
pub(super) fn references(key: &ForeignKey) -> String {
    let mut sql = format!(
        "FOREIGN KEY {} REFERENCES {} {}",
        columns(&key.columns),
        qualified(&key.ref_table),
        columns(&key.ref_columns)
    );
    if key.match_full {
        sql += " MATCH FULL";
    }
    if key.on_update != Default::default() {
        sql += &format!(" ON UPDATE {}", key.on_update.as_sql());
    }
    if key.on_delete != Default::default() {
        sql += &format!(" ON DELETE {}", key.on_delete.as_sql());
        if !key.on_delete_columns.is_empty() {
            sql += &format!(" {}", columns(&key.on_delete_columns));
        }
    }
    sql += deferrable(key.deferrable);
    if key.not_valid {
        sql += " NOT VALID";
    }
    sql
}

/// ADD CONSTRAINT .. UNIQUE USING INDEX; the index takes the constraint's name.
pub(super) fn unique_using_index(table: &ObjectName, name: &str, unique: &Unique, index: &str) -> String {
    let when = deferrable(unique.deferrable);
    alter(table, &format!("ADD CONSTRAINT {} UNIQUE USING INDEX {}{when}", ident(name), ident(index)))
}

/// ADD CONSTRAINT .. PRIMARY KEY USING INDEX.
pub(super) fn primary_key_using_index(table: &ObjectName, key: &PrimaryKey, index: &str) -> String {
    let (name, when) = (ident(&primary_key_name(table, key)), deferrable(key.deferrable));
    alter(table, &format!("ADD CONSTRAINT {name} PRIMARY KEY USING INDEX {}{when}", ident(index)))
}

/// ALTER CONSTRAINT: when a foreign key is checked, all of it said, because what is left out is taken as the default.
pub(super) fn alter_deferrable(table: &ObjectName, name: &str, to: Deferrable) -> String {
    let when = match to {
        Deferrable::No => "NOT DEFERRABLE",
        Deferrable::Immediate => "DEFERRABLE INITIALLY IMMEDIATE",
        Deferrable::Deferred => "DEFERRABLE INITIALLY DEFERRED",
    };
    alter(table, &format!("ALTER CONSTRAINT {} {when}", ident(name)))
}

/// COMMENT ON CONSTRAINT.
pub(super) fn comment(table: &ObjectName, name: &str, text: Option<&str>) -> String {
    comment_on("CONSTRAINT", &format!("{} ON {}", ident(name), qualified(table)), text)
}
