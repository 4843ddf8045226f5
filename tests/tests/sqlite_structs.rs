//! From a struct to a table of SQLite and back: what the derive says is what the database then has.

use cargo_schemadiff::dialect::{Connection, Scope, adopt_spelling, ddl, normalize_statically};
use schemadiff::{
    ColumnType, Table,
    artifact::{lower, own_tables},
    compat::serves,
    model::{Dialect, Fingerprint, IdentityKind, ObjectName, Schema, between},
};

#[derive(ColumnType)]
#[column_type(name = "state", rename_all = "snake_case")]
#[allow(dead_code)]
enum State {
    Open,
    PaidInFull,
}

#[derive(Table)]
#[table(name = "customer", strict)]
#[allow(dead_code)]
struct Customer {
    #[column(primary_key, identity = "autoincrement")]
    id: i64,
    #[column(unique, collation = "NOCASE")]
    email: String,
    #[column(default = "CURRENT_TIMESTAMP")]
    created_at: String,
}

#[derive(Table)]
#[table(
    name = "purchase",
    check(name = "positive", expr = "((QTY) > 0)"),
    index(columns(customer_id, state), where = "state != 'open'"),
    index(name = "by_note", expr = "LOWER(note)")
)]
#[allow(dead_code)]
struct Purchase {
    #[column(primary_key)]
    id: i64,
    #[column(references = Customer::id, on_delete = "cascade")]
    customer_id: i64,
    #[column(default = "'open'")]
    state: State,
    qty: i32,
    #[column(default = "1.5")]
    price: f64,
    note: Option<String>,
    raw: Option<Vec<u8>>,
    #[column(generated = "qty * price")]
    total: Option<f64>,
}

#[derive(Table)]
#[table(name = "tag", primary_key(purchase_id, label), without_rowid)]
#[allow(dead_code)]
struct Tag {
    #[column(references = Purchase::id)]
    purchase_id: i64,
    label: String,
    #[column(default = "false")]
    hidden: bool,
}

fn declared() -> Schema {
    let mut schema = lower(&own_tables().unwrap(), Dialect::Sqlite).unwrap().schema;
    normalize_statically(Dialect::Sqlite, &mut schema);
    schema
}

#[tokio::test]
async fn structs_become_tables_and_a_second_comparison_is_empty() {
    let mut base = Connection::open("sqlite::memory:").await.unwrap();
    let mut desired = declared();
    base.normalize(&mut desired, &Schema::default()).await.unwrap();
    // What needs no server was all there was to do.
    assert_eq!(between(&declared(), &desired), []);
    let renderer = ddl(Dialect::Sqlite, base.server().version).unwrap();
    for table in desired.tables.values() {
        base.run(&renderer.create_table(table)).await.unwrap();
    }
    let there = base.introspect(&Scope::default()).await.unwrap().schema;
    assert_eq!(between(&there, &desired), []);
    assert_eq!(Fingerprint::of(&there), Fingerprint::of(&desired));
    assert_eq!(serves(Dialect::Sqlite, &there, &declared()), Ok(()));

    let purchase = &there.tables[&ObjectName::new("purchase")];
    assert_eq!(purchase.column("id").unwrap().identity.as_ref().unwrap().kind, IdentityKind::ByDefault);
    assert_eq!(purchase.checks["positive"].expr, "qty > 0");
    assert!(purchase.checks.values().any(|c| c.expr == "state IN ('open', 'paid_in_full')"), "{:?}", purchase.checks);
    assert!(there.tables[&ObjectName::new("customer")].options.strict);
}

#[tokio::test]
async fn a_database_that_somebody_else_made_is_no_difference() {
    let mut base = Connection::open("sqlite::memory:").await.unwrap();
    let by_hand = [
        "CREATE TABLE customer (id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT NOT NULL UNIQUE COLLATE NOCASE, \
         created_at text not null default current_timestamp) STRICT",
        "CREATE TABLE purchase (id integer primary key, customer_id BIGINT NOT NULL REFERENCES customer ON DELETE CASCADE, \
         state varchar(20) NOT NULL DEFAULT 'open' CHECK (state in ('open','paid_in_full')), qty int NOT NULL, \
         price double precision NOT NULL DEFAULT 1.5, note CLOB, raw BLOB, \
         total REAL GENERATED ALWAYS AS (qty*price) STORED, CONSTRAINT more CHECK (qty>0))",
        "CREATE INDEX i1 ON purchase (customer_id, \"state\") WHERE (state <> 'open')",
        "CREATE INDEX i2 ON purchase (lower(\"note\"))",
        "CREATE TABLE tag (purchase_id INTEGER REFERENCES purchase (id), label TEXT, hidden BOOLEAN NOT NULL DEFAULT FALSE, \
         PRIMARY KEY (purchase_id, label)) WITHOUT ROWID",
    ];
    base.run(&by_hand.map(str::to_owned)).await.unwrap();
    let there = base.introspect(&Scope::default()).await.unwrap().schema;
    assert_eq!(there.opaque, []);
    let mut offline = declared();
    adopt_spelling(Dialect::Sqlite, &mut offline, &there);
    assert_eq!(between(&there, &offline), []);
    let mut online = declared();
    base.normalize(&mut online, &there).await.unwrap();
    assert_eq!(between(&there, &online), []);
}
