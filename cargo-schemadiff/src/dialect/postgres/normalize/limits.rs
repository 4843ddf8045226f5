//! Names that PostgreSQL would change without a word, or does not take.

use schemadiff::model::Schema;

use crate::{
    Error, Kind, Result,
    dialect::{
        postgres::{MAX_IDENTIFIER, render::aside::SCHEMA_PREFIX},
        reserved,
    },
};

/// The columns that every table has.
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// Names that the server would cut off, of which two can become one, and those that it keeps for itself.
///
/// # Errors
/// [`Kind::Project`] with the first such name.
pub fn identifiers(schema: &Schema) -> Result<()> {
    for enumeration in schema.enums.values() {
        check("type", &enumeration.name.name, None)?;
        for value in &enumeration.values {
            check("value", value, Some(&enumeration.name.name))?;
        }
    }
    for domain in schema.domains.values() {
        check("domain", &domain.name.name, None)?;
        for name in domain.checks.keys() {
            check("constraint", name, Some(&domain.name.name))?;
        }
    }
    for table in schema.tables.values() {
        let name = &table.name.name;
        check("table", name, None)?;
        if let Some(schema) = &table.name.schema {
            check("schema", schema, Some(name))?;
            if let Some(owner) = owner(schema) {
                return Err(reserved(&table.name, owner));
            }
        }
        for column in &table.columns {
            check("column", &column.name, Some(name))?;
            if SYSTEM_COLUMNS.contains(&column.name.as_str()) {
                let effect = format!("column `{}` of `{name}` cannot have that name", column.name);
                return Err(refused(
                    effect,
                    "every table of PostgreSQL has a system column that is called so".to_owned(),
                ));
            }
        }
        let key = table.primary_key.iter().filter_map(|key| key.name.as_ref());
        let constraints = table.uniques.keys().chain(table.checks.keys()).chain(table.foreign_keys.keys());
        for constraint in key.chain(constraints) {
            check("constraint", constraint, Some(name))?;
        }
        for index in table.indexes.keys() {
            check("index", index, Some(name))?;
        }
    }
    Ok(())
}

/// Whose the database schema is, where it is not the application's.
fn owner(schema: &str) -> Option<&'static str> {
    if schema == "information_schema" || schema.starts_with("pg_") {
        return Some("PostgreSQL");
    }
    (schema == "schemadiff" || schema.starts_with(SCHEMA_PREFIX)).then_some("schemadiff")
}

fn check(kind: &str, name: &str, of: Option<&str>) -> Result<()> {
    if name.len() <= MAX_IDENTIFIER && !name.is_empty() && !name.contains('\0') {
        return Ok(());
    }
    let place = of.map(|of| format!(" of `{of}`")).unwrap_or_default();
    let (effect, cause) = if name.len() > MAX_IDENTIFIER {
        (
            format!("the name of {kind} `{name}`{place} is too long"),
            format!("it has {} bytes, PostgreSQL cuts names off after {MAX_IDENTIFIER} without an error", name.len()),
        )
    } else {
        (format!("the name of a {kind}{place} is no name"), "it is empty or holds a zero byte".to_owned())
    };
    Err(refused(effect, cause))
}

fn refused(effect: String, cause: String) -> Error {
    Error::new(Kind::Project, "SD0351", effect).cause(cause).help("give it another name, with `name = \"..\"`")
}
