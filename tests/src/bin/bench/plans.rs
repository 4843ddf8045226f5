//! Plans as the planner makes them, for the benchmarks that carry some out.

use std::collections::BTreeMap;

use cargo_schemadiff::{
    dialect::{Connection, Scope, TableSize},
    diff::{DiffOptions, Hints},
    planner::{PlanRequest, plan},
};
use schemadiff::{
    model::{Dialect, ObjectName, Schema},
    plan::{Plan, Strategy},
};
use schemadiff_tests::{engine::Postgres, lockstep::renderer};

/// From one schema to another.
pub struct Change<'a> {
    /// What is there.
    pub from: &'a Schema,
    /// What shall be there.
    pub to: &'a Schema,
    /// Names and values that the schemas do not say.
    pub hints: &'a Hints,
    /// What may go.
    pub options: &'a DiffOptions,
    /// A table and its rows.
    pub size: (&'a str, u64),
    /// Its name and that of the migration before it.
    pub id: (&'a str, Option<&'a str>),
}

impl Change<'_> {
    /// With columns kept in step by triggers.
    pub fn plan(&self) -> Plan {
        let (table, rows) = self.size;
        let size = TableSize { rows, bytes: rows * 120 };
        let sizes: BTreeMap<_, _> = [(name(table), size)].into_iter().collect();
        let (id, parent) = self.id;
        plan(&PlanRequest {
            current: self.from,
            desired: self.to,
            hints: self.hints,
            options: self.options,
            ddl: &*renderer(Dialect::Postgres),
            sizes: &sizes,
            id,
            parent,
            strategy: &Strategy::synced("a benchmark"),
        })
        .unwrap_or_else(|e| panic!("{id}: {e}"))
    }
}

fn name(table: &str) -> ObjectName {
    table.parse().expect("a name")
}

/// What a database looks like after these statements.
pub async fn schema(server: &Postgres, sql: &str) -> Schema {
    let database = server.database();
    database.execute(sql).await;
    let mut connection = Connection::open(&database.url).await.expect("a connection");
    connection.introspect(&Scope::default()).await.expect("a schema").schema
}

/// A table of users, and a column of it that is filled from another.
pub async fn filling(server: &Postgres, rows: u64) -> [Plan; 2] {
    const ONE: &str = "20260101000000_users";
    let users = schema(server, "CREATE TABLE users (id bigint PRIMARY KEY, fullname text NOT NULL)").await;
    let filled = "CREATE TABLE users (id bigint PRIMARY KEY, fullname text NOT NULL, email_key text)";
    let filled = schema(server, filled).await;
    let mut hints = Hints::default();
    hints.backfills.insert((name("users"), "email_key".to_owned()), "lower(fullname)".to_owned());
    let (empty, options) = (Schema::default(), DiffOptions::default());
    let change = |from, to, hints, size, id| Change { from, to, hints, options: &options, size, id }.plan();
    [
        change(&empty, &users, &Hints::default(), ("users", 0), (ONE, None)),
        change(&users, &filled, &hints, ("users", rows), ("20260102000000_email_key", Some(ONE))),
    ]
}
