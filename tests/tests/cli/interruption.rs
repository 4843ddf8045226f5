//! Ctrl-C and kill -9 in the middle of `apply`: nothing is lost, and the next run goes on from there.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use schemadiff::model::Dialect;
use schemadiff_tests::engine::TestDatabase;

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
