//! `schemas` in schemadiff.toml says which database schemas are read. What lies outside is not seen in a database, so a side that
//! speaks of it cannot be compared with one: everything outside would look new.

use std::collections::BTreeSet;

use schemadiff::model::{Dialect, ObjectKind, ObjectName, Schema};

use crate::{Error, Kind, Result, dialect::Scope, side::Side};

/// Looks whether both sides are within the scope, and whether the scope is about either.
///
/// # Errors
/// [`Kind::Usage`] for a table outside, and for a database schema that neither side has.
pub fn check(scope: &Scope, dialect: Dialect, from: (&Side, &Schema), to: (&Side, &Schema)) -> Result<()> {
    if scope.schemas.is_empty() || dialect != Dialect::Postgres {
        return Ok(());
    }
    let is_database = |side: &Side| matches!(side, Side::Database(_));
    let beside_a_database = is_database(from.0) || is_database(to.0);
    for (side, schema) in [to, from] {
        if !is_database(side) && (side.is_code() || beside_a_database) {
            inside(scope, side, schema)?;
        }
    }
    if !beside_a_database {
        return Ok(());
    }
    let here: BTreeSet<&str> = [from.1, to.1].into_iter().flat_map(schemas).chain(["public"]).collect();
    match scope.schemas.iter().find(|name| !here.contains(name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Error::new(Kind::Usage, "SD0219", format!("`schemas` names \"{name}\", which is nowhere"))
            .cause("neither side has such a database schema")
            .help("correct `schemas` in schemadiff.toml; an empty list reads all of them")),
    }
}

fn inside(scope: &Scope, side: &Side, schema: &Schema) -> Result<()> {
    let is_outside = |name: &&ObjectName| !scope.schemas.iter().any(|known| known == home(name));
    let Some(name) = schema.tables.keys().chain(schema.enums.keys()).find(is_outside) else { return Ok(()) };
    let (home, list) = (home(name), scope.schemas.join("\", \""));
    let effect = format!("`{home}.{}` lies outside of the database schemas that are read", name.name);
    Err(Error::new(Kind::Usage, "SD0217", effect)
        .cause(format!("`schemas` in schemadiff.toml is [\"{list}\"], and {side} has something in \"{home}\""))
        .help(format!("add \"{home}\" to `schemas`, or leave `schemas` out to read all"))
        .help(format!("or take `{}` out of \"{home}\"", name.name)))
}

fn home(name: &ObjectName) -> &str {
    name.schema.as_deref().unwrap_or("public")
}

/// The database schemas that something is in, and those that are empty.
fn schemas(schema: &Schema) -> impl Iterator<Item = &str> {
    let types = schema.enums.keys().chain(schema.domains.keys());
    let objects = schema.objects.keys().map(|key| match key.kind {
        ObjectKind::Schema => key.name.name.as_str(),
        _ => home(&key.name),
    });
    schema.tables.keys().chain(types).map(home).chain(objects)
}
