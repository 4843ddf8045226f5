//! Ctrl-C and kill -9 in the middle of `apply`: nothing is lost, and the next run goes on from there.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use schemadiff::model::Dialect;
use schemadiff_tests::engine::TestDatabase;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use super::support::{Project, snapshot};

const ROWS: u32 = 300_000;

struct Applying {
    project: Project,
    database: TestDatabase,
}

impl Applying {
    /// A table with rows, and a migration that renames a column of it: expand, a backfill of some seconds, contract.
    async fn new(dialect: Dialect) -> Self {
        let (project, database) = (Project::empty(), TestDatabase::new(dialect));
        project.write("one.toml", &snapshot(dialect.as_str(), &[("users", &["email"])]));
        project.write("two.toml", &snapshot(dialect.as_str(), &[("users", &["mail"])]));
        project.write("schemadiff.toml", &format!("database-url = \"{}\"\n", database.url));
        project.run(&["new", "initial", "--to", "file:one.toml"]).expect(0);
        project.run(&["apply"]).expect(0);
        let numbers = format!("WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {ROWS})");
        database
            .execute(&format!("{numbers} INSERT INTO users (email) SELECT 'user-' || n || '@example.org' FROM n"))
            .await;
        project.run(&["new", "mail", "--to", "file:two.toml", "--rename", "users.email=users.mail"]).expect(0);
        Self { project, database }
    }

    /// Starts `apply` and returns when its backfill has filled some rows and not all.
    fn in_the_middle(&self) -> Child {
        let mut command = self.project.command(&["apply", "--until", "backfill"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let status = self.project.run(&["status", "--json"]).expect(0).json();
            let steps = status["status"]["migrations"][1]["steps"].as_array().cloned().unwrap_or_default();
            let begun = |s: &serde_json::Value| s["phase"] == "backfill" && s["state"] == "running";
            if steps.iter().any(|s| begun(s) && s["rows"].as_i64() > Some(0)) {
                return child;
            }
            assert!(child.try_wait().unwrap().is_none(), "it ended before it was interrupted: {steps:?}");
            assert!(Instant::now() < deadline, "{steps:?}");
        }
    }

    async fn goes_on(&self) {
        // A server may take a moment to notice that the killed process is gone.
        let run = self.project.run(&["apply", "--wait", "60s"]).expect(0);
        self.project.run(&["diff", "--to", "file:two.toml", "--exit-code"]).expect(0);
        let filled = "SELECT count(*) || '' FROM users WHERE mail = 'user-' || id || '@example.org'";
        assert_eq!(self.database.text(filled).await, Some(ROWS.to_string()), "{run:#?}");
    }
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

const ENGINES: [Dialect; 2] = [Dialect::Sqlite, Dialect::Postgres];

#[tokio::test]
async fn ctrl_c() {
    for dialect in ENGINES {
        let applying = Applying::new(dialect).await;
        let child = applying.in_the_middle();
        signal(&child, "-INT");
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(130), "{err}");
        assert!(err.contains("error[SD1350]"), "{err}");
        let state = err.lines().find(|line| line.contains("cause:")).unwrap();
        assert!(state.contains("_mail: ") && state.contains("has begun (") && state.contains("300,000 rows)"), "{err}");
        applying.goes_on().await;
    }
}

#[tokio::test]
async fn kill_9() {
    for dialect in ENGINES {
        let applying = Applying::new(dialect).await;
        let child = applying.in_the_middle();
        signal(&child, "-KILL");
        assert_eq!(child.wait_with_output().unwrap().status.code(), None);
        applying.goes_on().await;
    }
}

/// A migration that builds an index, in one long statement: concurrently on PostgreSQL, where an old transaction of
/// somebody else makes it wait; in a transaction on SQLite, where each row takes a while.
struct Building {
    project: Project,
    database: TestDatabase,
    old: Option<sqlx::PgConnection>,
}

/// Deterministic, as an index wants it, and slow.
const SLOW: &str = "length(hex(zeroblob(150000 + length(email)))) > 0";

impl Building {
    async fn new(dialect: Dialect) -> Self {
        let (project, database) = (Project::empty(), TestDatabase::new(dialect));
        let table = snapshot(dialect.as_str(), &[("users", &["email"])]);
        project.write("one.toml", &table);
        let part = "[[schema.tables.indexes.users_email_idx.parts]]\ncolumn = \"email\"\n";
        let predicate = match dialect {
            Dialect::Sqlite => format!("[schema.tables.indexes.users_email_idx]\nwhere = \"{SLOW}\"\n\n"),
            _ => String::new(),
        };
        project.write("two.toml", &format!("{table}\n{predicate}{part}"));
        project.write("schemadiff.toml", &format!("database-url = \"{}\"\n", database.url));
        project.run(&["new", "initial", "--to", "file:one.toml"]).expect(0);
        project.run(&["apply"]).expect(0);
        let numbers = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000)";
        database.execute(&format!("{numbers} INSERT INTO users (email) SELECT 'user-' || n FROM n")).await;
        project.run(&["new", "index", "--to", "file:two.toml"]).expect(0);
        Self { project, database, old: None }
    }

    /// Starts `apply` and returns in the middle of the statement.
    async fn in_the_middle(&mut self) -> Child {
        if self.database.dialect == Dialect::Postgres {
            let mut old = sqlx::PgConnection::connect(&self.database.url).await.unwrap();
            old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class").await.unwrap();
            self.old = Some(old);
        }
        let mut child = self.project.command(&["apply"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.is_building().await {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it was interrupted");
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        child
    }

    async fn is_building(&self) -> bool {
        if self.database.dialect == Dialect::Postgres {
            let waiting = "SELECT CASE WHEN EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
                           AND query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event = 'virtualxid') THEN 'yes' END";
            return self.database.text(waiting).await.is_some();
        }
        let options: sqlx::sqlite::SqliteConnectOptions = self.database.url.parse().unwrap();
        let mut other = options.busy_timeout(Duration::ZERO).connect().await.unwrap();
        // The ledger's own transactions are over in a moment; the index is not.
        for _ in 0..10 {
            if other.execute("BEGIN IMMEDIATE; ROLLBACK").await.is_ok() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        true
    }

    /// The old transaction ends.
    async fn release(&mut self) {
        if let Some(old) = self.old.take() {
            old.close().await.unwrap();
        }
    }

    async fn nothing_is_left(&self) {
        let left = match self.database.dialect {
            Dialect::Sqlite => "SELECT count(*) || '' FROM sqlite_schema WHERE name = 'users_email_idx'",
            _ => "SELECT count(*) || '' FROM pg_class WHERE relname = 'users_email_idx'",
        };
        assert_eq!(self.database.text(left).await.as_deref(), Some("0"));
    }

    async fn goes_on(&self) {
        let run = self.project.run(&["apply", "--wait", "120s"]).expect(0);
        self.project.run(&["diff", "--to", "file:two.toml", "--exit-code"]).expect(0);
        assert_eq!(self.database.text("SELECT count(*) || '' FROM users").await.as_deref(), Some("20000"), "{run:#?}");
    }
}

#[tokio::test]
async fn ctrl_c_cancels_a_long_statement() {
    for dialect in ENGINES {
        let mut building = Building::new(dialect).await;
        let child = building.in_the_middle().await;
        let told = Instant::now();
        signal(&child, "-INT");
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(130), "{err}");
        assert!(told.elapsed() < Duration::from_secs(5), "{dialect}: {:?}: {err}", told.elapsed());
        assert!(err.contains("error[SD1350]") && err.contains("are done"), "{err}");
        building.nothing_is_left().await;
        building.release().await;
        building.goes_on().await;
    }
}

#[tokio::test]
async fn kill_9_in_a_long_statement() {
    for dialect in ENGINES {
        let mut building = Building::new(dialect).await;
        let child = building.in_the_middle().await;
        signal(&child, "-KILL");
        assert_eq!(child.wait_with_output().unwrap().status.code(), None);
        if dialect == Dialect::Postgres {
            // The server does not know yet that nobody listens: it goes on with the statement and keeps the work.
            building.project.run(&["apply"]).expect_error("SD1050");
        } else {
            building.nothing_is_left().await;
        }
        building.release().await;
        building.goes_on().await;
    }
}
