//! Killed processes lose nothing and do nothing twice.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use schemadiff::{
    lockstep::{
        NoProgress,
        admin::{ApplyOptions, apply},
    },
    model::Dialect,
};
use schemadiff_tests::{
    engine::TestDatabase,
    lockstep::{first, migrations, second, write},
};

const ROWS: u64 = 40_000;

async fn prepared(dialect: Dialect) -> (TestDatabase, tempfile::TempDir) {
    let db = TestDatabase::new(dialect);
    let plans = [first(dialect), second(dialect)];
    let options = ApplyOptions::default();
    apply(&db.url, &migrations(dialect, &plans[..1]), &options, Arc::new(NoProgress)).await.unwrap();
    let rows = match dialect {
        Dialect::Sqlite => format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
             INSERT INTO users (id, fullname) SELECT i, 'User ' || i FROM n"
        ),
        _ => format!("INSERT INTO users (id, fullname) SELECT i, 'User ' || i FROM generate_series(1, {ROWS}) i"),
    };
    db.execute(&rows).await;
    let files = tempfile::tempdir().unwrap();
    write(files.path(), dialect, &plans);
    (db, files)
}

/// Starts a process that applies, and kills it with SIGKILL after so many lines of one kind.
fn killed_after(db: &TestDatabase, files: &tempfile::TempDir, kind: &str, lines: usize) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lockstep_worker"))
        .args(["apply", &db.url])
        .arg(files.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let wanted = format!("\"event\":\"{kind}\"");
    let seen = out.lines().map_while(Result::ok).filter(|line| line.contains(&wanted)).take(lines).count();
    assert_eq!(seen, lines, "it ended before it could be killed");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn a_backfill_that_was_killed_goes_on_from_its_cursor() {
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        let (db, files) = prepared(dialect).await;
        killed_after(&db, &files, "backfill", 3);
        killed_after(&db, &files, "backfill", 2);
        let filled = "SELECT CAST(count(*) AS text) FROM users WHERE email_key IS NOT NULL";
        let before: u64 = db.text(filled).await.unwrap().parse().unwrap();
        assert!(before > 0 && before < ROWS, "{before}");

        let plans = [first(dialect), second(dialect)];
        let options = ApplyOptions { wait: Some(Duration::from_secs(30)), ..ApplyOptions::default() };
        let report = apply(&db.url, &migrations(dialect, &plans), &options, Arc::new(NoProgress)).await.unwrap();
        let backfill = report.steps.iter().find(|s| s.step.starts_with("02")).unwrap();
        assert!(backfill.rows <= ROWS - before, "{} rows after {before}", backfill.rows);
        let step = if dialect == Dialect::Sqlite { "_schemadiff_step" } else { "schemadiff.step" };
        let counted = format!("SELECT CAST(rows_done AS text) FROM {step} WHERE id LIKE '02%'");
        assert_eq!(db.text(&counted).await.unwrap(), ROWS.to_string(), "each row once, and on record");
        assert_eq!(
            db.text("SELECT CAST(count(*) AS text) FROM users WHERE email_key LIKE 'user %'").await,
            Some(ROWS.to_string())
        );
    }
}

#[tokio::test]
async fn a_process_killed_between_any_two_steps_leaves_a_true_ledger() {
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        let (db, files) = prepared(dialect).await;
        for _ in 0..3 {
            killed_after(&db, &files, "step_started", 1);
        }
        let plans = [first(dialect), second(dialect)];
        let options = ApplyOptions { wait: Some(Duration::from_secs(30)), ..ApplyOptions::default() };
        apply(&db.url, &migrations(dialect, &plans), &options, Arc::new(NoProgress)).await.unwrap();
        assert_eq!(
            db.text("SELECT CAST(count(*) AS text) FROM users WHERE email_key IS NULL").await.as_deref(),
            Some("0")
        );
    }
}
