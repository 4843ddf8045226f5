//! Declared schemas in the server's own spelling.

use cargo_schemadiff::{
    Kind,
    dialect::{Connection, Scope, normalize_statically},
};
use schemadiff::model::{
    Check, Column, Dialect, EnumType, Generated, Index, IndexPart, ObjectName, PrimaryKey, Schema, Table,
};
use schemadiff_tests::engine::Postgres;

fn with_default(name: &str, ty: &str, default: &str) -> Column {
    Column { default: Some(default.to_owned()), nullable: true, ..Column::new(name, ty) }
}

/// Everything spelled as a person would.
fn declared() -> Schema {
    let mut orders = Table::new(ObjectName::new("orders"));
    orders.columns = vec![
        Column::new("id", "int8"),
        with_default("code", "varchar(20)", "'x'"),
        with_default("tags", "text[]", "'{}'"),
        with_default("price", "decimal(10, 2)", "0"),
        with_default("at", "timestamptz", "now() + interval '90 days'"),
        with_default("mood", "mood", "'new'"),
        Column {
            generated: Some(Generated { expr: "price*2".into(), stored: true }),
            nullable: true,
            ..Column::new("twice", "numeric")
        },
    ];
    orders.primary_key = Some(PrimaryKey::over(None, vec!["id".into()]));
    let check = |expr: &str| Check { expr: expr.into(), not_valid: false, no_inherit: false, comment: None };
    orders.checks.insert("price_check".into(), check("price>=0 and code in ('a','b')"));
    let by_code = IndexPart { expr: Some("lower(code)".into()), ..IndexPart::default() };
    let by_tag = IndexPart { column: Some("code".into()), opclass: Some("text_ops".into()), ..IndexPart::default() };
    orders.indexes.insert(
        "by_code".into(),
        Index { parts: vec![by_code, by_tag], predicate: Some("price>0".into()), ..Index::default() },
    );
    let mut other = orders.clone();
    other.name = ObjectName::in_schema(Some("app"), "orders");
    let mood = EnumType { name: ObjectName::new("mood"), values: vec!["old".into(), "new".into()], comment: None };
    Schema {
        tables: [(orders.name.clone(), orders.into()), (other.name.clone(), other.into())].into(),
        enums: [(mood.name.clone(), mood)].into(),
        ..Schema::default()
    }
}

/// The same schema made by hand.
const BY_HAND: &str = "CREATE TYPE mood AS ENUM ('old', 'new');
CREATE TABLE orders (id int8 PRIMARY KEY, code varchar(20) DEFAULT 'x', tags text[] DEFAULT '{}', price decimal(10, 2) DEFAULT 0,
  at timestamptz DEFAULT now() + interval '90 days', mood mood DEFAULT 'new', twice numeric GENERATED ALWAYS AS (price*2) STORED,
  CONSTRAINT price_check CHECK (price>=0 and code in ('a','b')));
CREATE INDEX by_code ON orders (lower(code), code text_ops) WHERE price>0;
CREATE SCHEMA app; CREATE TABLE app.orders (LIKE orders INCLUDING ALL);
ALTER INDEX app.orders_lower_code_idx RENAME TO by_code";

#[tokio::test]
async fn what_is_declared_is_spelled_as_if_it_were_there() {
    let (empty, by_hand, older) =
        (Postgres::shared().database(), Postgres::shared().database(), Postgres::shared().database());
    by_hand.execute(BY_HAND).await;
    older.execute("CREATE TYPE mood AS ENUM ('old')").await;
    let mut connection = Connection::open(&by_hand.url).await.unwrap();
    let mut expected = connection.introspect(&Scope::default()).await.unwrap().schema;
    // Structs declare no objects; here it is the database schema alone, which is made with its first table.
    let objects = std::mem::take(&mut expected.objects);
    assert_eq!(objects.keys().map(ToString::to_string).collect::<Vec<_>>(), ["schema `app`"]);
    for database in [&empty, &older, &by_hand] {
        let mut connection = Connection::open(&database.url).await.unwrap();
        let current = connection.introspect(&Scope::default()).await.unwrap().schema;
        let mut desired = declared();
        normalize_statically(Dialect::Postgres, &mut desired);
        connection.normalize(&mut desired, &current).await.unwrap();
        assert_eq!(desired, expected, "on {}", database.name);
        let after = connection.introspect(&Scope::default()).await.unwrap().schema;
        assert_eq!(after, current, "nothing stays behind");
    }
}

#[tokio::test]
async fn what_the_server_refuses_is_named() {
    let database = Postgres::shared().database();
    let mut connection = Connection::open(&database.url).await.unwrap();
    let orders = ObjectName::new("orders");
    type Break = fn(&mut Table);
    let broken: [(&str, Break); 5] = [
        ("orders.code", |t| t.columns[1].ty = "varchr(20)".into()),
        ("orders.price", |t| t.columns[3].default = Some("nonsense()".into())),
        ("orders.twice", |t| t.columns[6].generated.as_mut().unwrap().expr = "unknown * 2".into()),
        ("orders (check price_check)", |t| t.checks.get_mut("price_check").unwrap().expr = "price + 1".into()),
        ("orders (index by_code)", |t| t.indexes.get_mut("by_code").unwrap().predicate = Some("gone > 0".into())),
    ];
    for (name, break_it) in broken {
        let mut desired = declared();
        break_it(desired.tables.get_mut(&orders).unwrap());
        normalize_statically(Dialect::Postgres, &mut desired);
        let error = connection.normalize(&mut desired, &Schema::default()).await.unwrap_err();
        assert_eq!((error.kind, error.code), (Kind::Project, "SD0350"), "{error}");
        assert_eq!(error.effect, format!("PostgreSQL refuses the declaration of {name}"), "{error}");
        assert!(error.cause.as_ref().unwrap().contains("SQLSTATE"), "{error}");
        // The connection is as good as before.
        connection.normalize(&mut declared(), &Schema::default()).await.unwrap();
    }
}

#[tokio::test]
async fn no_lock_on_a_users_table_is_needed() {
    use sqlx::{Connection as _, Executor as _};
    let database = Postgres::shared().database();
    database.execute(BY_HAND).await;
    let mut blocker = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let mut connection = Connection::open(&database.url).await.unwrap();
    let current = connection.introspect(&Scope::default()).await.unwrap().schema;
    blocker.execute("BEGIN; LOCK TABLE orders, app.orders IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut desired = declared();
    desired.tables.values_mut().for_each(|t| t.columns[3].default = Some("'1'".into()));
    connection.run(&["SET lock_timeout = '2s'".into()]).await.unwrap();
    connection.normalize(&mut desired, &current).await.unwrap();
    assert_eq!(desired.tables[&ObjectName::new("orders")].columns[3].default.as_deref(), Some("'1'::numeric"));
}

#[tokio::test]
async fn names_that_the_server_would_cut_off_are_refused() {
    let database = Postgres::shared().database();
    let mut connection = Connection::open(&database.url).await.unwrap();
    let mut desired = declared();
    let long = "x".repeat(80);
    desired.tables.get_mut(&ObjectName::new("orders")).unwrap().columns[1].name.clone_from(&long);
    let error = connection.normalize(&mut desired, &Schema::default()).await.unwrap_err();
    assert_eq!((error.kind, error.code), (Kind::Project, "SD0351"));
    assert!(error.effect.contains(&long) && error.cause.unwrap().contains("80 bytes"));
}

#[tokio::test]
async fn a_user_without_the_right_to_temporary_tables_is_told_what_to_grant() {
    let server = Postgres::shared();
    let database = server.database();
    database
        .execute(&format!("CREATE ROLE \"no temp\" LOGIN; REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC", database.name))
        .await;
    let mut connection = Connection::open(&server.url_as("no%20temp", &database.name)).await.unwrap();
    let error = connection.normalize(&mut declared(), &Schema::default()).await.unwrap_err();
    assert_eq!((error.kind, error.code), (Kind::Database, "SD0512"));
    assert_eq!(error.help, [format!("GRANT TEMPORARY ON DATABASE \"{}\" TO \"no temp\"", database.name)]);
}

/// What is taken for spelled without asking the server is what the server says.
#[tokio::test]
async fn what_needs_no_server_is_spelled_right() {
    let database = Postgres::shared().database();
    let mut connection = Connection::open(&database.url).await.unwrap();
    let usual = [
        ("int", "0"),
        ("int8", "999999999"),
        ("int8", "3000000000"),
        ("int2", "007"),
        ("numeric(12,2)", "7"),
        ("numeric", "12345678901"),
        ("bool", "true"),
        ("uuid", "gen_random_uuid()"),
        ("timestamptz", "now()"),
        ("timestamptz", "CURRENT_TIMESTAMP"),
        ("text", "'new'"),
        ("varchar(2)", "'longer'"),
        ("varchar", "''"),
        ("text[]", "'{}'"),
        ("uuid[]", "'{}'"),
        ("jsonb", "'{}'"),
        ("jsonb", "'[]'"),
        ("jsonb", "'{\"a\":1}'"),
        ("date", "'2020-01-01'"),
        ("int", "-1"),
    ];
    let mut table = Table::new(ObjectName::new("t"));
    let mut sql = Vec::new();
    for (at, (ty, default)) in usual.iter().enumerate() {
        table.columns.push(with_default(&format!("c{at}"), ty, default));
        sql.push(format!("c{at} {ty} DEFAULT {default}"));
    }
    let mut desired = Schema { tables: [(table.name.clone(), table.into())].into(), ..Schema::default() };
    normalize_statically(Dialect::Postgres, &mut desired);
    // One column at a time, so that none is sent because of another.
    let mut alone = Vec::new();
    for column in desired.tables.values().flat_map(|t| &t.columns) {
        let one = Table { columns: vec![column.clone()], ..Table::new(ObjectName::new("t")) };
        let mut one = Schema { tables: [(one.name.clone(), one.into())].into(), ..Schema::default() };
        connection.normalize(&mut one, &Schema::default()).await.unwrap();
        alone.extend(one.tables.into_values().flat_map(|t| t.into_inner().columns));
    }
    database.execute(&format!("CREATE TABLE t ({})", sql.join(", "))).await;
    let actual = connection.introspect(&Scope::default()).await.unwrap().schema;
    assert_eq!(alone, actual.tables[&ObjectName::new("t")].columns);
}
