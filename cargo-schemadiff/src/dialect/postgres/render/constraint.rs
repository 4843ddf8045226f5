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

/// A unique constraint inside CREATE TABLE.
pub(super) fn unique(name: &str, unique: &Unique) -> String {
    format!("CONSTRAINT {} {}", ident(name), key("UNIQUE", unique))
}

/// `UNIQUE (..)` or `PRIMARY KEY (..)` with what follows.
pub(super) fn key(kind: &str, unique: &Unique) -> String {
    let nulls = if unique.nulls_not_distinct { " NULLS NOT DISTINCT" } else { "" };
    let include =
        if unique.include.is_empty() { String::new() } else { format!(" INCLUDE {}", columns(&unique.include)) };
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
    let name = ident(&primary_key_name(table, key));
    alter(table, &format!("ADD CONSTRAINT {name} PRIMARY KEY USING INDEX {}", ident(index)))
}

/// COMMENT ON CONSTRAINT.
pub(super) fn comment(table: &ObjectName, name: &str, text: Option<&str>) -> String {
    comment_on("CONSTRAINT", &format!("{} ON {}", ident(name), qualified(table)), text)
}
