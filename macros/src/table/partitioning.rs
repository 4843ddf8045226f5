//! `partition_by` and `partition(..)`: what can be told without a server.

use syn::ext::IdentExt as _;

use super::resolve::Table;
use crate::errors::{Errors, list};

/// Checks the clause, the columns it names, and that every key holds them.
pub fn check(table: &Table, errors: &mut Errors) {
    let Some(clause) = &table.attrs.partition_by else {
        if let Some(partition) = table.attrs.partitions.first() {
            let help = "the table has partitions: say what decides on them, `partition_by = \"RANGE (created_at)\"`";
            errors.at(partition.name.span(), help);
        }
        return;
    };
    let Some(keys) = keys(&clause.value()) else {
        errors.at(clause.span(), "write RANGE, LIST or HASH and the key: `partition_by = \"RANGE (created_at)\"`");
        return;
    };
    for key in keys.iter().filter(|key| is_plain(key)) {
        if !table.columns.iter().any(|column| column.name == *key) {
            let known: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
            errors.at(clause.span(), format!("the table has no column \"{key}\"; columns are {}", list(&known)));
            continue;
        }
        let holds = |fields: &[syn::Ident]| {
            fields.iter().any(|field| table.names.get(&field.unraw().to_string()).is_some_and(|name| name == key))
        };
        let primary = table.primary_key.iter().map(|it| ("primary key", &it.columns));
        let unique = table.uniques.iter().map(|it| ("unique constraint", &it.columns));
        if let Some((what, _)) = primary.chain(unique).find(|(_, fields)| !holds(fields)) {
            let message = format!(
                "a {what} of the table does not hold \"{key}\": each partition looks after its own rows, so every key must hold the columns of `partition_by`"
            );
            errors.at(clause.span(), message);
        }
    }
    for (at, partition) in table.attrs.partitions.iter().enumerate() {
        let name = partition.name.value();
        if name == table.name || table.attrs.partitions.iter().take(at).any(|other| other.name.value() == name) {
            errors.at(partition.name.span(), format!("\"{name}\" is the name of another table already"));
        }
    }
}

/// The keys of `RANGE (a, lower(b))`; `None` when the text is no such clause.
fn keys(clause: &str) -> Option<Vec<String>> {
    let (method, rest) = clause.trim().split_once('(')?;
    if !["RANGE", "LIST", "HASH"].iter().any(|known| method.trim().eq_ignore_ascii_case(known)) {
        return None;
    }
    let list = rest.strip_suffix(')')?;
    let (mut keys, mut depth, mut key) = (Vec::new(), 0_i32, String::new());
    for c in list.chars() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        if c == ',' && depth == 0 {
            keys.push(std::mem::take(&mut key).trim().to_owned());
        } else {
            key.push(c);
        }
    }
    keys.push(key.trim().to_owned());
    (depth == 0 && !keys.iter().any(String::is_empty)).then_some(keys)
}

/// A column's name and nothing else.
fn is_plain(key: &str) -> bool {
    key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
