//! Reads a schema out of PostgreSQL.

mod constraints;
mod definitions;
mod indexes;
mod objects;
mod row;
mod sql;
mod tables;

use std::collections::{BTreeMap, HashMap};

use schemadiff::{
    backend::postgres::Tenant,
    model::{ObjectKind, ObjectName, Opaque, Schema},
};
use sqlx::{PgConnection, postgres::PgRow};

use self::{constraints::Owned, definitions::Objects, indexes::Words, row::Oid, sql::Where, tables::Relation};
use super::connect::{Client, fetch, fetch_each, words};
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
    let tenant = client.tenant().cloned();
    let within = tenant.as_ref().map_or(Where::Users, |tenant| Where::Tenant(tenant.schema()));
    let queries = queries(within, server.version);
    let sql = format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {queries}; COMMIT");
    let mut assembly = Assembly { tenant: tenant.clone(), ..Assembly::default() };
    // The first answer is that of BEGIN.
    let read = fetch_each(&mut client.connection, &sql, |at, rows| assembly.take(at.checked_sub(1), &rows)).await;
    if let Err(error) = read {
        // The transaction is broken already; what matters is the first error.
        let _ = fetch(&mut client.connection, "ROLLBACK").await;
        return Err(Error::new(Kind::Database, "SD0510", "cannot read the catalogue").cause(words(&error)));
    }
    let (mut schema, mut sizes) = assembly.finish();
    // Of a tenant there is one schema, whatever it is called.
    if !scope.schemas.is_empty() && tenant.is_none() {
        let wanted = |name: &ObjectName| scope.schemas.iter().any(|s| s == name.schema.as_deref().unwrap_or("public"));
        schema.tables.retain(|name, _| wanted(name));
        schema.enums.retain(|name, _| wanted(name));
        schema.domains.retain(|name, _| wanted(name));
        schema.compat_views.retain(|_, view| wanted(&view.table));
        schema.objects.retain(|key, object| match key.kind {
            ObjectKind::Schema => scope.schemas.contains(&key.name.name),
            _ => wanted(object.table().unwrap_or(&key.name)),
        });
        sizes.retain(|name, _| wanted(name));
        schema.opaque.retain(|opaque| scope.schemas.iter().any(|s| opaque.name.starts_with(&format!("{s}."))));
    }
    Ok(Introspection { schema, sizes, server })
}

/// Reads this session's temporary tables, as if they were in the default schema.
pub(super) async fn temporary(connection: &mut PgConnection, version: u32) -> Result<Schema, sqlx::Error> {
    let mut assembly = Assembly::default();
    let queries = queries(Where::Temporary, version);
    fetch_each(connection, &queries, |at, rows| assembly.take(Some(at), &rows)).await?;
    Ok(assembly.finish().0)
}

/// In the order in which [`Assembly::take`] expects the answers.
fn queries(scope: Where<'_>, version: u32) -> String {
    let mut queries = vec![
        sql::INDEX_WORDS.to_owned(),
        sql::tables(scope),
        sql::columns(scope),
        sql::sequences(scope),
        sql::constraints(scope, version),
        sql::indexes(scope, version),
        sql::enums(scope),
        sql::domains(scope),
        sql::views_and_triggers(scope),
        sql::unsupported(scope),
    ];
    // A temporary table has none of them, and another transaction's search path is not changed.
    if !matches!(scope, Where::Temporary) {
        queries.extend([
            definitions::QUALIFIED.to_owned(),
            definitions::objects(scope, version),
            definitions::uses(),
            definitions::column_settings(scope),
        ]);
    }
    scope.named(queries.join(";\n"))
}

/// The answers, put together as they come: the rows of one are gone before those of the next are there, which keeps the
/// memory for a big catalogue near that of the schema itself.
#[derive(Default)]
struct Assembly {
    /// Whose schema is read as if it were `public`.
    tenant: Option<Tenant>,
    words: Words,
    relations: HashMap<Oid, Relation>,
    owned: Owned,
    schema: Schema,
    objects: Objects,
    found: Found,
}

impl Assembly {
    /// Takes the answer to one of [`queries`].
    fn take(&mut self, at: Option<usize>, rows: &[PgRow]) {
        let Self { tenant, words, relations, owned, schema, objects, found } = self;
        match at {
            Some(0) => *words = Words::new(rows),
            Some(1) => *relations = tables::relations(rows),
            Some(2) => {
                tables::columns(rows, relations, &words.collations);
                tables::inherited(relations);
            }
            Some(3) => schema.objects = tables::sequences(rows, relations),
            Some(4) => *owned = constraints::constraints(rows, relations, found),
            Some(5) => indexes::indexes(rows, relations, owned, words),
            Some(6) => schema.enums = objects::enums(rows),
            Some(7) => schema.domains = objects::domains(rows, &words.collations),
            Some(8) => objects::views_and_triggers(rows, relations, schema, found),
            Some(9) => objects::unsupported(rows, found),
            Some(11) => *objects = definitions::read(rows, tenant.as_ref()),
            Some(12) => definitions::needs(rows, objects, tenant.as_ref()),
            Some(13) => schema.objects.append(&mut definitions::by_key(definitions::settings(rows))),
            // BEGIN and COMMIT answer without rows.
            _ => {}
        }
    }

    fn finish(mut self) -> (Schema, BTreeMap<ObjectName, TableSize>) {
        tables::partitions(&mut self.relations);
        let (mut schema, mut found, mut sizes) = (self.schema, self.found, BTreeMap::new());
        for relation in self.relations.into_values() {
            let name = relation.table.name.clone();
            if let Some((kind, reason)) = relation.unsupported {
                let schema = name.schema.as_deref().unwrap_or("public");
                found.leave_alone(kind, format!("{schema}.{}", name.name), reason);
            } else {
                sizes.insert(name.clone(), relation.size);
                schema.tables.insert(name, relation.table.into());
            }
        }
        schema.objects.append(&mut definitions::by_key(self.objects.into_values()));
        found.opaque.sort();
        schema.opaque = found.opaque;
        (schema, sizes)
    }
}
