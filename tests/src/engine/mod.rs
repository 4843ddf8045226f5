//! Real engines for tests: `Postgres::shared().database()` and `Sqlite::file()` give a fresh database each.
//!
//! PostgreSQL comes from the first of: a folder named in the environment (`SCHEMADIFF_PG15_BIN` for major 15), what is
//! installed, `.engines/` in the workspace, a download into it through npm, the system's package manager when run as root.

mod binaries;

mod pgbouncer;
mod postgres;
mod proxies;
mod server;
mod sqlite;

use std::future::Future;

use schemadiff::model::Dialect;

pub(crate) use binaries::{engines_folder, run};
pub use pgbouncer::PgBouncer;
pub use postgres::{Major, Postgres};
pub use proxies::{counting_proxy, distant_proxy, replacing_proxy};
pub use sqlite::Sqlite;

/// An empty database of one test, removed when this is dropped.
pub struct TestDatabase {
    /// Its address, as a user would write it.
    pub url: String,
    /// Engine.
    pub dialect: Dialect,
    /// Name on the server; the file's path on SQLite.
    pub name: String,
    owner: Owner,
}

/// What removes the database.
enum Owner {
    Postgres { admin_url: String },
    Sqlite { _folder: tempfile::TempDir },
}

impl TestDatabase {
    /// A fresh database of an engine: for tests that run on each.
    pub fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Postgres => Postgres::shared().database(),
            Dialect::Sqlite => Sqlite::file(),
            Dialect::Mysql => panic!("MySQL is not supported yet"),
        }
    }

    /// After another server has taken over from the one it was made on.
    pub fn is_now_on(&mut self, server: &Postgres) {
        self.url = server.url(&self.name);
        self.owner = Owner::Postgres { admin_url: server.url("postgres") };
    }

    /// Runs one or more statements separated by semicolons.
    pub async fn execute(&self, sql: &str) {
        self.try_execute(sql).await.unwrap_or_else(|e| panic!("{e}\nin: {sql}"));
    }

    /// Makes what is there when an executor carries steps out, for whoever sends their statements without one.
    pub async fn has_ledger_schema(&self) {
        if self.url.starts_with("postgres") {
            self.execute("CREATE SCHEMA IF NOT EXISTS schemadiff").await;
        }
    }

    /// As [`TestDatabase::execute`], for statements that may fail.
    pub async fn try_execute(&self, sql: &str) -> Result<(), sqlx::Error> {
        use sqlx::{Connection as _, Executor as _};
        match self.dialect {
            Dialect::Sqlite => {
                let mut connection = sqlite::connect(&self.url).await?;
                connection.execute(sqlx::AssertSqlSafe(sql)).await?;
                connection.close().await
            }
            _ => {
                let mut connection = sqlx::PgConnection::connect(&self.url).await?;
                connection.execute(sqlx::AssertSqlSafe(sql)).await?;
                connection.close().await
            }
        }
    }

    /// The first column of the first row as text; cast in the query what is no text.
    pub async fn text(&self, sql: &str) -> Option<String> {
        use sqlx::Connection as _;
        let sql = sqlx::AssertSqlSafe(sql);
        let found: Result<Option<Option<String>>, _> = match self.dialect {
            Dialect::Sqlite => {
                let mut connection = sqlite::connect(&self.url).await.unwrap();
                sqlx::query_scalar(sql).fetch_optional(&mut connection).await
            }
            _ => {
                let mut connection = sqlx::PgConnection::connect(&self.url).await.unwrap();
                sqlx::query_scalar(sql).fetch_optional(&mut connection).await
            }
        };
        found.unwrap().flatten()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Owner::Postgres { admin_url } = &self.owner {
            let (admin_url, sql) =
                (admin_url.clone(), format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name));
            // The server goes away with the process anyway: a failure here loses nothing.
            let _ = block_on(async move { run_on(&admin_url, &sql).await });
        }
    }
}

async fn run_on(url: &str, sql: &str) -> Result<(), sqlx::Error> {
    use sqlx::{Connection as _, Executor as _};
    let mut connection = sqlx::PgConnection::connect(url).await?;
    connection.execute(sqlx::AssertSqlSafe(sql)).await?;
    connection.close().await
}

/// Runs a future to its end on a thread of its own: callable inside and outside of a runtime, and in `drop`.
fn block_on<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(future)
    };
    std::thread::spawn(run).join().unwrap()
}
