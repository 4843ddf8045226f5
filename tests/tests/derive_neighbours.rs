//! One struct with sqlx's, Diesel's and serde's derives, and types of other crates, created and read on real servers.
#![allow(dead_code)]

use schemadiff::{
    ColumnType, Table,
    artifact::{TableDecl, lower, own_tables},
    model::{Dialect, ObjectName},
};
use schemadiff_tests::engine::TestDatabase;
use sqlx::Connection as _;

diesel::table! {
    people (user_id) {
        #[sql_name = "userId"]
        user_id -> BigInt,
        mail -> Text,
    }
}

#[derive(Debug, Table, sqlx::FromRow, diesel::Queryable, diesel::Insertable, serde::Serialize, serde::Deserialize)]
#[diesel(table_name = people)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[table(primary_key(user_id))]
struct Person {
    #[serde(rename = "ID")]
    user_id: i64,
    #[sqlx(rename = "mail")]
    #[diesel(column_name = mail)]
    #[serde(rename = "EMAIL")]
    email: String,
    #[sqlx(skip)]
    #[diesel(skip_insertion)]
    #[serde(skip)]
    cached: String,
}

#[derive(Debug, PartialEq, ColumnType, sqlx::Type)]
#[sqlx(transparent)]
struct UserId(i64);

#[derive(Debug, PartialEq, ColumnType, sqlx::Type)]
#[sqlx(type_name = "mood", rename_all = "snake_case")]
enum Mood {
    VeryHappy,
    #[sqlx(rename = "SAD")]
    Sad,
}

#[derive(Debug, PartialEq, ColumnType, sqlx::Type)]
#[repr(i32)]
enum Level {
    Low = 1,
    High = 2,
}

/// What both engines have.
#[derive(Debug, PartialEq, Table, sqlx::FromRow)]
#[table(name = "everything")]
#[sqlx(rename_all = "camelCase")]
struct Everything {
    #[column(primary_key)]
    the_id: UserId,
    flag: bool,
    small: i16,
    medium: i32,
    half: f32,
    whole: f64,
    some_text: String,
    bytes: Vec<u8>,
    mood: Mood,
    level: Level,
    maybe: Option<String>,
    #[sqlx(try_from = "i64")]
    wide: i128,
}

/// What PostgreSQL has besides.
#[derive(Debug, PartialEq, Table, sqlx::FromRow)]
#[table(name = "more")]
struct More {
    #[column(primary_key)]
    id: i64,
    tiny: i8,
    tags: Vec<String>,
    numbers: Option<Vec<i64>>,
}

/// Types of other crates: created on the server, which knows every one of them.
#[derive(Table)]
#[table(name = "foreign_types")]
struct ForeignTypes {
    #[column(primary_key)]
    id: uuid::Uuid,
    created: chrono::DateTime<chrono::Utc>,
    local: chrono::NaiveDateTime,
    day: chrono::NaiveDate,
    hour: Option<chrono::NaiveTime>,
    at: time::OffsetDateTime,
    plain: time::PrimitiveDateTime,
    date: time::Date,
    clock: time::Time,
    data: serde_json::Value,
    #[column(ty(postgres = "numeric", sqlite = "TEXT"))]
    price: rust_decimal::Decimal,
}

#[derive(Table)]
#[table(name = "postgres_types")]
struct PostgresTypes {
    #[column(primary_key)]
    id: i64,
    price: rust_decimal::Decimal,
    big: bigdecimal::BigDecimal,
    net: ipnetwork::IpNetwork,
    ids: Vec<uuid::Uuid>,
}

fn declared(name: &str) -> TableDecl {
    let tables = own_tables().expect("the test's own section");
    tables.into_iter().find(|table| table.name == name).unwrap_or_else(|| panic!("no table {name}"))
}

/// Creates a table by its lowered columns alone.
async fn create(database: &TestDatabase, name: &str) {
    let lowered = lower(&[declared(name)], database.dialect).unwrap_or_else(|errors| panic!("{errors:?}"));
    for (name, kind) in &lowered.schema.enums {
        let values = kind.values.iter().map(|value| format!("'{value}'")).collect::<Vec<_>>().join(", ");
        database.execute(&format!("CREATE TYPE {name} AS ENUM ({values})")).await;
    }
    let table = &lowered.schema.tables[&ObjectName::new(name)];
    let columns = table
        .columns
        .iter()
        .map(|column| format!("\"{}\" {}{}", column.name, column.ty, if column.nullable { "" } else { " NOT NULL" }));
    let checks = table.checks.values().map(|check| format!("CHECK ({})", check.expr));
    let all = columns.chain(checks).collect::<Vec<_>>().join(", ");
    database.execute(&format!("CREATE TABLE {name} ({all})")).await;
}

fn everything() -> Everything {
    Everything {
        the_id: UserId(7),
        flag: true,
        small: -3,
        medium: 70_000,
        half: 0.5,
        whole: 0.25,
        some_text: "it's".into(),
        bytes: vec![0, 255],
        mood: Mood::Sad,
        level: Level::High,
        maybe: None,
        wide: 1 << 40,
    }
}

const INSERT: &str = "INSERT INTO everything VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";

macro_rules! round_trip {
    ($connection:expr) => {{
        let row = everything();
        sqlx::query(INSERT)
            .bind(row.the_id)
            .bind(row.flag)
            .bind(row.small)
            .bind(row.medium)
            .bind(row.half)
            .bind(row.whole)
            .bind(row.some_text)
            .bind(row.bytes)
            .bind(row.mood)
            .bind(row.level)
            .bind(row.maybe)
            .bind(1_i64 << 40)
            .execute(&mut $connection)
            .await
            .expect("every type is written");
        let read: Everything =
            sqlx::query_as("SELECT * FROM everything").fetch_one(&mut $connection).await.expect("every type is read");
        assert_eq!(read, everything());
    }};
}

#[test]
fn names_come_from_sqlx_and_diesel_and_never_from_serde() {
    let person = declared("people");
    let names: Vec<_> = person.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["user_id", "mail"]);
    assert_eq!(declared("everything").columns[6].name, "someText");
}

#[tokio::test]
async fn sqlx_reads_and_writes_every_type_on_sqlite() {
    let database = TestDatabase::new(Dialect::Sqlite);
    create(&database, "everything").await;
    let mut connection = sqlx::SqliteConnection::connect(&database.url).await.expect("a connection");
    round_trip!(connection);
    // The check stands in for the enumerated type.
    assert!(database.try_execute("UPDATE everything SET mood = 'bored'").await.is_err());
    create(&database, "foreign_types").await;
}

#[tokio::test]
async fn sqlx_reads_and_writes_every_type_on_postgresql() {
    let database = TestDatabase::new(Dialect::Postgres);
    for table in ["everything", "more", "foreign_types", "postgres_types"] {
        create(&database, table).await;
    }
    let mut connection = sqlx::PgConnection::connect(&database.url).await.expect("a connection");
    round_trip!(connection);
    let more = || More { id: 1, tiny: 5, tags: vec!["a".into(), "b".into()], numbers: Some(vec![1, 2]) };
    let row = more();
    sqlx::query("INSERT INTO more VALUES ($1, $2, $3, $4)")
        .bind(row.id)
        .bind(row.tiny)
        .bind(row.tags)
        .bind(row.numbers)
        .execute(&mut connection)
        .await
        .expect("written");
    let read: More = sqlx::query_as("SELECT * FROM more").fetch_one(&mut connection).await.expect("read");
    assert_eq!(read, more());
}

#[tokio::test]
async fn default_names_are_those_that_a_real_server_gives() {
    let database = TestDatabase::new(Dialect::Postgres);
    let (long, other) = ("a".repeat(50), "b".repeat(40));
    database
        .execute(&format!(
            "CREATE TABLE {long} (id bigint PRIMARY KEY, {other} bigint UNIQUE REFERENCES {long}, n int CHECK (n > 0), m int, \
             CHECK (n < m), CHECK (n < 9), UNIQUE (n, m)); \
             CREATE INDEX ON {long} (n, {other}); CREATE INDEX ON {long} (lower('x' || n::text)); \
             CREATE INDEX ON {long} (n) INCLUDE (m); CREATE INDEX ON {long} (n) WHERE m > 3; CREATE INDEX ON {long} ((n + m), (n - m))"
        ))
        .await;
    let sql = format!(
        "SELECT string_agg(name, ' ' ORDER BY name COLLATE \"C\") FROM (\
         SELECT conname::text AS name FROM pg_constraint WHERE conrelid = '{long}'::regclass \
         UNION SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = '{long}'::regclass) AS x"
    );
    let given = database.text(&sql).await.expect("names");
    let columns = ["id", &other, "n", "m"].map(|name| {
        serde_json::json!({"name": name, "nullable": false, "type": {"postgres": "bigint", "mysql": "", "sqlite": ""}})
    });
    let part = |name: &str| serde_json::json!({ "column": name });
    let expr = |text: &str| serde_json::json!({ "expr": text });
    let decl: TableDecl = serde_json::from_value(serde_json::json!({
        "format": 1, "rust": "x", "name": long, "columns": columns, "primary_key": {"columns": ["id"]},
        "uniques": [{"columns": [other]}, {"columns": ["n", "m"]}],
        "checks": [{"expr": "n > 0"}, {"expr": "n < m"}, {"expr": "n < 9"}],
        "foreign_keys": [{"columns": [other], "references": [{"table": long, "column": "id"}]}],
        "indexes": [
            {"parts": [part("n"), part(&other)]}, {"parts": [expr("lower('x' || n::text)")]},
            {"parts": [part("n")], "include": ["m"]}, {"parts": [part("n")], "where": "m > 3"},
            {"parts": [expr("n + m"), expr("n - m")]}
        ]
    }))
    .expect("a declaration");
    let lowered = lower(&[decl], Dialect::Postgres).unwrap_or_else(|errors| panic!("{errors:?}"));
    let table = lowered.schema.tables.into_values().next().expect("the table").into_inner();
    let mut ours: Vec<String> = table.primary_key.into_iter().filter_map(|key| key.name).collect();
    ours.extend(table.uniques.into_keys().chain(table.checks.into_keys()));
    ours.extend(table.foreign_keys.into_keys().chain(table.indexes.into_keys()));
    ours.sort();
    assert_eq!(ours.join(" "), given);
}
