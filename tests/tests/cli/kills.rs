//! `apply` killed with SIGKILL at every boundary between steps, inside steps and inside backfills, again and again, until
//! it comes to its end: the ledger stays true, no step is lost or done twice, and no row.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use schemadiff::model::Dialect;
use schemadiff_tests::engine::TestDatabase;

use super::support::{Project, snapshot};

const ROWS: u32 = 20_000;

struct Deployment {
    project: Project,
    database: TestDatabase,
}

impl Deployment {
    /// Several operations on several tables: a rename, an added column, a new table, a dropped column, an index.
    async fn new(dialect: Dialect) -> Self {
        let (project, database) = (Project::empty(), TestDatabase::new(dialect));
        let before: &[(&str, &[&str])] = &[("posts", &["title", "body"]), ("users", &["email", "name"])];
        let after: &[(&str, &[&str])] =
            &[("posts", &["body"]), ("tags", &["label"]), ("users", &["mail", "name", "note"])];
        let index = "\n[[schema.tables.indexes.users_mail_idx.parts]]\ncolumn = \"mail\"\n";
        project.write("one.toml", &snapshot(dialect.as_str(), before));
        project.write("two.toml", &(snapshot(dialect.as_str(), after) + index));
        project.write("schemadiff.toml", &format!("database-url = \"{}\"\n", database.url));
        project.run(&["new", "initial", "--to", "file:one.toml"]).expect(0);
        project.run(&["apply"]).expect(0);
        let numbers = format!("WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {ROWS})");
        database.execute(&format!("{numbers} INSERT INTO users (email, name) SELECT 'user-' || n, 'n' FROM n")).await;
        database.execute("INSERT INTO posts (title, body) VALUES ('t', 'b')").await;
        let intent = ["--rename", "users.email=users.mail", "--allow-drop", "posts.title"];
        project.run(&[&["new", "more", "--to", "file:two.toml"][..], &intent].concat()).expect(0);
        Self { project, database }
    }

    /// Steps of the second migration by state; all of them when it is done.
    fn done(&self) -> (BTreeSet<String>, usize) {
        let status = self.project.run(&["status", "--json"]).expect(0).json();
        let steps = status["status"]["migrations"][1]["steps"].as_array().unwrap().clone();
        let is_done = |s: &&serde_json::Value| s["state"] == "done";
        (steps.iter().filter(is_done).map(|s| s["id"].to_string()).collect(), steps.len())
    }

    /// Runs `apply` and kills it `after` its first step ended, or `after` its start; false when it ended by itself.
    fn killed(&self, at_boundary: bool, after: Duration) -> bool {
        // A server may take a moment to notice that the process before is gone.
        let mut command = self.project.command(&["apply", "--wait", "60s"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ended = ["  expand", "  backfill", "  contract"];
        let mut said = String::new();
        if at_boundary {
            for line in lines.by_ref().map_while(Result::ok) {
                said += &line;
                if ended.iter().any(|phase| line.starts_with(phase)) {
                    break;
                }
            }
        }
        std::thread::sleep(after);
        child.kill().unwrap();
        let rest: String = lines.map_while(Result::ok).collect();
        let status = child.wait().unwrap();
        assert!(status.code().is_none_or(|code| code == 0), "{status}: {said}{rest}");
        status.code().is_none()
    }

    async fn comes_to_its_end(&self) {
        let run = self.project.run(&["apply", "--wait", "60s"]).expect(0);
        self.project.run(&["diff", "--to", "file:two.toml", "--exit-code"]).expect(0);
        let rows = "SELECT count(*) || '' FROM users WHERE mail = 'user-' || id AND name = 'n'";
        assert_eq!(self.database.text(rows).await, Some(ROWS.to_string()), "{run:#?}");
        assert_eq!(self.database.text("SELECT count(*) || body FROM posts GROUP BY body").await.as_deref(), Some("1b"));
        let ledger = if self.database.dialect == Dialect::Sqlite { "_schemadiff_" } else { "schemadiff." };
        let counted = format!("SELECT max(rows_done) || '' FROM {ledger}step");
        assert_eq!(self.database.text(&counted).await, Some(ROWS.to_string()), "each row once, and on record");
        let open = format!("SELECT count(*) || '' FROM {ledger}step WHERE state <> 'done'");
        assert_eq!(self.database.text(&open).await.as_deref(), Some("0"));
    }
}

#[tokio::test]
async fn at_every_boundary_and_in_between_until_the_end() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let deployment = Deployment::new(dialect).await;
        let (mut done, steps) = deployment.done();
        assert!(done.is_empty() && steps >= 7, "{steps} steps");
        let (mut kills, mut at_boundary, mut random) = (0, 0, 0x9e37_79b9_u32);
        loop {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let chance = u64::from(random >> 16);
            // At the boundary; a moment into the next step; somewhere.
            let killed = match kills % 3 {
                0 => deployment.killed(true, Duration::ZERO),
                1 => deployment.killed(true, Duration::from_millis(chance % 40)),
                _ => deployment.killed(false, Duration::from_millis(20 + chance % 300)),
            };
            if !killed {
                break;
            }
            let (now, _) = deployment.done();
            if now.is_empty() && !done.is_empty() {
                break; // all are: the steps of a migration that is done are not listed
            }
            assert!(now.is_superset(&done), "{dialect}: {done:?} became {now:?}");
            at_boundary += usize::from(now.len() > done.len());
            done = now;
            kills += 1;
            assert!(kills < 100, "{dialect}: it does not come to its end: {done:?}");
        }
        println!("{dialect}: killed {kills} times, {at_boundary} times with more done than before, {steps} steps");
        // How many steps end before a kill arrives is the scheduler's to say; each event has its kill in the test below.
        assert!(at_boundary > 0, "{dialect}: {kills} kills, {steps} steps");
        deployment.comes_to_its_end().await;
    }
}

/// The process dies at an event itself: when a step is about to begin, when it has just ended, and after a batch.
#[tokio::test]
async fn exactly_at_each_event() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let deployment = Deployment::new(dialect).await;
        let migrations = deployment.project.path().join("migrations");
        let (_, steps) = deployment.done();
        let mut died: Vec<(String, String)> = Vec::new();
        loop {
            // About to begin a step; in a backfill, after a batch, some times; at its end.
            let batches = died.iter().filter(|(event, _)| event == "backfill").count();
            let at = match died.last() {
                Some((event, step)) if event == "step_started" && step.contains("backfill") && batches < 5 => {
                    "backfill"
                }
                Some((event, _)) if event == "step_started" => "step_finished",
                _ => "step_started",
            };
            let mut worker = Command::new(env!("CARGO_BIN_EXE_lockstep_worker"));
            worker.args(["die", &deployment.database.url]).arg(&migrations).arg(at);
            let output = worker.output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            let Some(last) = said.lines().last() else {
                assert!(output.status.success(), "{errors}");
                break;
            };
            let event: serde_json::Value = serde_json::from_str(last).unwrap();
            assert_eq!(output.status.code(), None, "{said}{errors}");
            died.push((event["event"].as_str().unwrap().to_owned(), event["step"].to_string()));
            assert!(died.len() < 200, "{dialect}: it does not come to its end: {died:?}");
        }
        let at =
            |kind: &str| died.iter().filter(|(event, _)| event == kind).map(|(_, step)| step).collect::<BTreeSet<_>>();
        let (begun, ended, batches) = (at("step_started"), at("step_finished"), at("backfill"));
        println!(
            "{dialect}: killed {} times; {} begins, {} ends of {steps} steps",
            died.len(),
            begun.len(),
            ended.len()
        );
        assert_eq!(begun.len(), steps, "each step was about to begin when the process died: {died:?}");
        assert!(ended.len() == steps && !batches.is_empty(), "{died:?}");
        deployment.comes_to_its_end().await;
    }
}
