//! What PostgreSQL would change without a word.

use schemadiff::model::Schema;

use crate::{Error, Kind, Result, dialect::postgres::MAX_IDENTIFIER};

/// Names that the server would cut off. Two of them can become one.
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
        }
        for column in &table.columns {
            check("column", &column.name, Some(name))?;
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
    Err(Error::new(Kind::Project, "SD0351", effect).cause(cause).help("give it another name, with `name = \"..\"`"))
}
