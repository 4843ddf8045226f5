//! The notebook in two versions under load, from version 1 alone to version 2 alone. The processes are real ones.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use notebook::{Held, Summary};
use schemadiff::{
    lockstep::admin::{Wish, status, wish},
    model::Dialect,
};
use schemadiff_tests::{
    engine::TestDatabase,
    program::{program, succeed, workspace},
};

use crate::support::{ENGINES, number};

const V1: &str = env!("CARGO_BIN_EXE_notebook-v1");
const V2: &str = env!("CARGO_BIN_EXE_notebook-v2");
const SEEDED: i64 = 20_000;

fn notebook(program: &str, db: &TestDatabase, what: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(what).env("DATABASE_URL", &db.url);
    command
}

/// A serving process.
struct Service {
    child: Child,
    stdin: ChildStdin,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Service {
    fn start(program: &str, db: &TestDatabase) -> Self {
        let mut command = notebook(program, db, "serve");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| line == "ready");
        assert!(ready, "{program} does not get ready: {:?}", child.wait());
        Self { child, stdin, lines }
    }

    fn stop(mut self) -> Summary {
        drop(self.stdin);
        let last = self.lines.map_while(Result::ok).last().unwrap();
        assert!(self.child.wait().unwrap().success());
        serde_json::from_str(&last).unwrap()
    }
}

/// Version 2's migration begins in one process, which is killed in the middle of its backfill, and ends in another.
async fn migrate_with_a_kill(db: &TestDatabase) -> String {
    wish(&db.url, Wish::Speed(Some(0.02)), "a test").await.unwrap();
    let mut first = notebook(V2, db, "migrate").stdout(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    let filled = async || {
        let seen = status(&db.url, None).await.unwrap();
        let steps = seen.migrations.iter().flat_map(|m| &m.steps);
        steps.filter(|step| step.total.is_some()).map(|step| step.rows).sum::<i64>()
    };
    while filled().await == 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "no batch was recorded");
        assert!(first.try_wait().unwrap().is_none(), "it ended before it was to be killed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let before = filled().await;
    assert!((1..SEEDED).contains(&before), "killed in the middle: {before}");
    wish(&db.url, Wish::Speed(None), "a test").await.unwrap();
    let said = succeed(&mut notebook(V2, db, "migrate"));
    assert!(filled().await >= SEEDED, "it went on where the other one stopped");
    said
}

async fn wait_for_contract(db: &TestDatabase) {
    let began = Instant::now();
    while status(&db.url, None).await.unwrap().migrations.iter().any(|m| m.state != "done") {
        assert!(began.elapsed() < Duration::from_secs(60), "contract does not come");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_version_and_the_new_one_run_side_by_side() {
    for dialect in ENGINES {
        let db = TestDatabase::new(dialect);
        let old = Service::start(V1, &db);
        db.execute(&format!(
            "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {SEEDED})
             INSERT INTO notes (title) SELECT 'Seed ' || n FROM s"
        ))
        .await;
        let said = migrate_with_a_kill(&db).await;
        assert!(said.contains("waits for notebook ") && said.contains("ran "), "{said}");
        assert_eq!(status(&db.url, None).await.unwrap().waiting[0].holders[0].pid, i64::from(old.child.id()));

        let new = Service::start(V2, &db);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(status(&db.url, None).await.unwrap().versions.len(), 2);
        let mut summaries = vec![old.stop()];
        wait_for_contract(&db).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        summaries.push(new.stop());

        for summary in &summaries {
            assert!(summary.statements > 100, "{summary:?}");
            assert_eq!((summary.failed, summary.wrong_reads), (0, 0), "{:?}", summary.errors);
        }
        every_note_is_there(&db, &summaries);
        assert_eq!(number(&db, "SELECT count(*) FROM notes").await, SEEDED + summaries.iter().map(count).sum::<i64>());
        let late = notebook(V1, &db, "list").output().unwrap();
        assert!(!late.status.success() && String::from_utf8_lossy(&late.stderr).contains("SD0650"), "{late:?}");
        the_final_diff_is_empty(&db);
    }
}

fn count(summary: &Summary) -> i64 {
    i64::try_from(summary.written.len()).unwrap()
}

fn every_note_is_there(db: &TestDatabase, summaries: &[Summary]) {
    let listed = succeed(&mut notebook(V2, db, "list"));
    let held: BTreeMap<String, Option<String>> = listed
        .lines()
        .map(|line| serde_json::from_str::<Held>(line).unwrap())
        .map(|note| (note.title, note.slug))
        .collect();
    for title in summaries.iter().flat_map(|summary| &summary.written) {
        assert_eq!(held.get(title), Some(&Some(title.to_lowercase())), "{title}");
    }
}

fn the_final_diff_is_empty(db: &TestDatabase) {
    let engine = if db.dialect == Dialect::Sqlite { "sqlite" } else { "postgres" };
    let mut diff = Command::new(program());
    diff.current_dir(workspace()).args(["diff", "--exit-code", "--from", &db.url, "--to"]);
    succeed(diff.arg(format!("artifact:{V2}")).args(["--dir", &format!("examples/notebook/v2/migrations/{engine}")]));
}
