//! The engines that every other test stands on.

use schemadiff_tests::engine::{Major, Postgres, Sqlite, TestDatabase};

#[tokio::test]
async fn databases_of_one_server_are_apart() {
    let (one, two) = (Postgres::shared().database(), Postgres::shared().database());
    one.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (7)").await;
    assert_eq!(one.text("SELECT a::text FROM t").await.as_deref(), Some("7"));
    assert!(two.try_execute("SELECT * FROM t").await.is_err());
}

#[tokio::test]
async fn a_member_of_needs_password_needs_a_password() {
    let db = Postgres::shared().database();
    db.execute(
        "CREATE ROLE needs_password; \
         CREATE ROLE guarded LOGIN PASSWORD 'right' IN ROLE needs_password",
    )
    .await;
    let with = |password: &str| Postgres::shared().url_as(&format!("guarded:{password}"), &db.name);
    use sqlx::Connection as _;
    assert!(sqlx::PgConnection::connect(&with("right")).await.is_ok());
    assert!(sqlx::PgConnection::connect(&with("wrong")).await.is_err());
}

#[tokio::test]
async fn sqlite_files_are_in_wal_mode_and_go_away() {
    let db = Sqlite::file();
    assert_eq!(db.text("PRAGMA journal_mode").await.as_deref(), Some("wal"));
    let path = db.name.clone();
    drop(db);
    assert!(!std::path::Path::new(&path).exists());
}

#[tokio::test]
async fn a_server_stops_when_it_is_dropped() {
    let server = Postgres::start(Major::V15);
    let url = server.url("postgres");
    use sqlx::Connection as _;
    assert!(sqlx::PgConnection::connect(&url).await.is_ok());
    drop(server);
    assert!(sqlx::PgConnection::connect(&url).await.is_err());
}

#[tokio::test]
async fn each_engine_is_chosen_by_its_dialect() {
    for dialect in [schemadiff::model::Dialect::Postgres, schemadiff::model::Dialect::Sqlite] {
        let db = TestDatabase::new(dialect);
        db.execute("CREATE TABLE t (a text)").await;
        assert_eq!(db.dialect, dialect);
    }
}
