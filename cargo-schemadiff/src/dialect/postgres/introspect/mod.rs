//! Reads a schema out of PostgreSQL.

mod constraints;
mod indexes;
mod objects;
mod row;
mod sql;
mod tables;

use std::collections::BTreeMap;

use schemadiff::model::{Opaque, Schema};
use sqlx::{PgConnection, postgres::PgRow};

use self::{indexes::Words, sql::Where};
use super::connect::{Client, fetch, words};
use crate::{
    Error, Kind, Result,
    dialect::{Introspection, Scope, TableSize},
};

/// What the model does not hold, in the order in which it was found.
#[derive(Default)]
struct Found {
    opaque: Vec<Opaque>,
}

impl Found {
    fn leave_alone(&mut self, kind: impl Into<String>, name: impl Into<String>, reason: impl Into<String>) {
        let (kind, name, reason) = (kind.into(), name.into(), reason.into());
        self.opaque.push(Opaque { kind, name, reason, table: None, definition: None });
    }
}

/// See [`crate::dialect::Connection::introspect`].
///
/// # Errors
/// When the server fails.
pub async fn introspect(client: &mut Client, scope: &Scope) -> Result<Introspection> {
    let server = client.server().clone();
    let queries = queries(Where::Users, server.version);
    let sql = format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {queries}; COMMIT");
    let results = match fetch(&mut client.connection, &sql).await {
        Ok(results) => results,
        Err(error) => {
            // The transaction is broken already; what matters is the first error.
            let _ = fetch(&mut client.connection, "ROLLBACK").await;
            return Err(Error::new(Kind::Database, "SD0510", "cannot read the catalogue").cause(words(&error)));
        }
    };
    let (mut schema, mut sizes) = assemble(results.get(1..).unwrap_or_default());
    if !scope.schemas.is_empty() {
        let wanted = |name: &schemadiff::model::ObjectName| {
            scope.schemas.iter().any(|s| s == name.schema.as_deref().unwrap_or("public"))
        };
        schema.tables.retain(|name, _| wanted(name));
        schema.enums.retain(|name, _| wanted(name));
        schema.compat_views.retain(|name, _| wanted(name));
        sizes.retain(|name, _| wanted(name));
        schema.opaque.retain(|opaque| scope.schemas.iter().any(|s| opaque.name.starts_with(&format!("{s}."))));
    }
    Ok(Introspection { schema, sizes, server })
}

/// Reads this session's temporary tables, as if they were in the default schema.
pub(super) async fn temporary(connection: &mut PgConnection, version: u32) -> Result<Schema, sqlx::Error> {
    let results = fetch(connection, &queries(Where::Temporary, version)).await?;
    Ok(assemble(&results).0)
}

fn queries(scope: Where, version: u32) -> String {
    [
        sql::tables(scope),
        sql::columns(scope),
        sql::sequences(scope),
        sql::constraints(scope, version),
        sql::indexes(scope, version),
        sql::INDEX_WORDS.to_owned(),
        sql::enums(scope),
        sql::views_and_triggers(scope),
        sql::unsupported(scope),
    ]
    .join(";\n")
}

/// Puts the answers together.
fn assemble(results: &[Vec<PgRow>]) -> (Schema, BTreeMap<schemadiff::model::ObjectName, TableSize>) {
    let answer = |at: usize| results.get(at).map(Vec::as_slice).unwrap_or_default();
    let (mut schema, mut sizes, mut found) = (Schema::default(), BTreeMap::new(), Found::default());
    let words = Words::new(answer(5));
    let mut relations = tables::relations(answer(0), &mut found);
    tables::columns(answer(1), &mut relations, &words.collations);
    tables::sequences(answer(2), &mut relations, &mut found);
    let owned = constraints::constraints(answer(3), &mut relations, &mut found);
    indexes::indexes(answer(4), &mut relations, &owned, &words);
    schema.enums = objects::enums(answer(6));
    objects::views_and_triggers(answer(7), &mut relations, &mut schema, &mut found);
    objects::unsupported(answer(8), &mut found);

    for relation in relations.into_values() {
        let name = relation.table.name.clone();
        if let Some((kind, reason)) = relation.unsupported {
            let schema = name.schema.as_deref().unwrap_or("public");
            found.leave_alone(kind, format!("{schema}.{}", name.name), reason);
        } else {
            sizes.insert(name.clone(), relation.size);
            schema.tables.insert(name, relation.table);
        }
    }
    found.opaque.sort();
    schema.opaque = found.opaque;
    (schema, sizes)
}
