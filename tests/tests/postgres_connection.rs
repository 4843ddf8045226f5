//! Connecting to PostgreSQL: what goes wrong is told apart, and no password is ever shown.

use cargo_schemadiff::{Error, Kind, dialect::Connection};
use schemadiff_tests::engine::{Major, Postgres};

async fn refused(url: &str) -> Error {
    let error = Connection::open(url).await.err().unwrap();
    assert_eq!(error.kind, Kind::Database, "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    error
}

#[tokio::test]
async fn each_way_to_fail_has_its_code() {
    let server = Postgres::shared();
    let database = server.database();
    database
        .execute(
            "CREATE ROLE needs_password; CREATE ROLE app LOGIN PASSWORD 'right' IN ROLE needs_password;
             CREATE ROLE stranger LOGIN",
        )
        .await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let unreachable = refused(&format!("postgres://app:hunter2@127.0.0.1:{free}/shop")).await;
    assert_eq!(unreachable.code, "SD0501");
    assert_eq!(unreachable.effect, format!("cannot connect to postgres://app@127.0.0.1:{free}/shop"));
    assert!(unreachable.cause.unwrap().contains("refused"));

    let wrong = refused(&server.url_as("app:hunter2", &database.name)).await;
    assert_eq!(wrong.code, "SD0502");
    assert!(wrong.cause.unwrap().contains("password authentication failed"));

    let unknown = refused(&server.url_as("postgres:hunter2", "nowhere")).await;
    assert_eq!(unknown.code, "SD0503");

    database.execute(&format!("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", database.name)).await;
    let no_right = refused(&server.url_as("stranger:hunter2", &database.name)).await;
    assert_eq!(no_right.code, "SD0505");
}

#[tokio::test]
async fn an_old_server_is_refused() {
    let server = Postgres::start(Major::V13);
    let error = refused(&server.url("postgres")).await;
    assert_eq!(error.code, "SD0504");
    assert!(error.cause.unwrap().contains("it is PostgreSQL 13."));
}

#[tokio::test]
async fn nonsense_is_no_address() {
    let error = Connection::open("postgres://app:hunter2@host:port/x").await.err().unwrap();
    assert_eq!((error.kind, error.code), (Kind::Usage, "SD0204"));
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test]
async fn values_are_texts() {
    let database = Postgres::shared().database();
    let mut connection = Connection::open(&database.url).await.unwrap();
    assert!(connection.server().label.starts_with("PostgreSQL 1"), "{}", connection.server().label);
    let row = connection.query_row("SELECT true, 7, NULL::text, 'x'", &[]).await.unwrap().unwrap();
    assert_eq!(row, [Some("true".into()), Some("7".into()), None, Some("x".into())]);
    let row = connection.query_row("SELECT $1::text::bigint + 1, $2::text IS NULL", &[Some("41".into()), None]).await;
    assert_eq!(row.unwrap().unwrap(), [Some("42".into()), Some("true".into())]);
    assert_eq!(connection.query_row("SELECT 1 WHERE false", &[]).await.unwrap(), None);
    let error = connection.run(&["SELECT 1".into(), "SELECT 1/0".into()]).await.unwrap_err();
    assert_eq!((error.kind, error.code), (Kind::Database, "SD0506"));
    assert_eq!(error.cause.as_deref(), Some("division by zero (SQLSTATE 22012)\nin: SELECT 1/0"));
}

async fn scratch_databases(server: &Postgres) -> u64 {
    let mut connection = Connection::open(&server.url("postgres")).await.unwrap();
    let sql = "SELECT count(*) FROM pg_database WHERE datname LIKE 'schemadiff_scratch%'";
    connection.query_row(sql, &[]).await.unwrap().unwrap()[0].as_ref().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_scratch_database_is_like_the_source_and_goes_away() {
    let server = Postgres::start(Major::V15);
    let database = server.database();
    database.execute("CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; CREATE EXTENSION pg_trgm").await;
    let mut connection = Connection::open(&database.url).await.unwrap();

    let mut scratch = connection.scratch().await.unwrap();
    scratch.connection.run(&["CREATE TABLE t (c ext.citext)".into()]).await.unwrap();
    let sql = "SELECT string_agg(extname, ' ' ORDER BY extname) FROM pg_extension";
    let extensions = scratch.connection.query_row(sql, &[]).await.unwrap().unwrap();
    assert_eq!(extensions, [Some("citext pg_trgm plpgsql".into())]);
    assert!(Connection::open(&scratch.url).await.is_ok(), "the address works for others");

    // A second run leaves the first one's database alone, even while nobody is connected to it.
    let another = connection.scratch().await.unwrap();
    assert_eq!(scratch_databases(&server).await, 2);
    another.remove().await.unwrap();
    scratch.remove().await.unwrap();
    assert_eq!(scratch_databases(&server).await, 0);

    // What a crash left behind is removed by the next run.
    let mut admin = Connection::open(&server.url("postgres")).await.unwrap();
    admin.run(&["CREATE DATABASE schemadiff_scratch_0123456789abcdef".into()]).await.unwrap();
    let scratch = connection.scratch().await.unwrap();
    assert_eq!(scratch_databases(&server).await, 1);
    scratch.remove().await.unwrap();
}

#[tokio::test]
async fn without_createdb_the_error_says_what_to_grant() {
    let server = Postgres::shared();
    let database = server.database();
    database.execute("CREATE ROLE \"no db\" LOGIN").await;
    let mut connection = Connection::open(&server.url_as("no%20db", &database.name)).await.unwrap();
    let error = connection.scratch().await.err().unwrap();
    assert_eq!((error.kind, error.code), (Kind::Database, "SD0507"), "{error}");
    assert_eq!(error.help[0], "as a superuser: ALTER ROLE \"no db\" CREATEDB");
}
