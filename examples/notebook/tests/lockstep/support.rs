//! Diesel's connections to the databases of the tests.

use diesel::{Connection as _, PgConnection, RunQueryDsl as _, SqliteConnection};
use diesel_migrations::MigrationHarness as _;
use schemadiff::{diesel::Source, model::Dialect};
use schemadiff_tests::engine::TestDatabase;

pub const ENGINES: [Dialect; 2] = [Dialect::Postgres, Dialect::Sqlite];

/// What Diesel calls the address of a SQLite database.
pub fn path(url: &str) -> &str {
    url.trim_start_matches("sqlite:").split('?').next().unwrap()
}

/// `run_pending_migrations`: the versions that were run.
pub fn run_pending(db: &TestDatabase, source: &Source) -> Result<Vec<String>, String> {
    let error = |e: Box<dyn std::error::Error + Send + Sync>| match e.downcast_ref::<schemadiff::Error>() {
        Some(own) => own.code().to_owned(),
        None => e.to_string(),
    };
    let ran = if db.dialect == Dialect::Sqlite {
        let mut connection = patient(db);
        connection.run_pending_migrations(source.clone()).map_err(error)?.iter().map(ToString::to_string).collect()
    } else {
        let mut connection = PgConnection::establish(&db.url).unwrap();
        connection.run_pending_migrations(source.clone()).map_err(error)?.iter().map(ToString::to_string).collect()
    };
    Ok(ran)
}

/// A connection to a SQLite database that waits for its turn.
pub fn patient(db: &TestDatabase) -> SqliteConnection {
    let mut connection = SqliteConnection::establish(path(&db.url)).unwrap();
    diesel::sql_query("PRAGMA busy_timeout = 30000").execute(&mut connection).unwrap();
    connection
}

/// A number that a query gives.
pub async fn number(db: &TestDatabase, query: &str) -> i64 {
    db.text(&format!("SELECT CAST(({query}) AS text)")).await.unwrap().parse().unwrap()
}

/// Rows for the table `users` of the tests' migrations.
pub async fn fill(db: &TestDatabase, rows: u32) {
    let sql = format!(
        "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows})
         INSERT INTO users (id, fullname) SELECT n, 'User ' || n FROM s"
    );
    db.execute(&sql).await;
}
