//! Killed processes lose nothing and do nothing twice.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use schemadiff::{
    Lockstep,
    lockstep::{
        NoProgress,
        admin::{ApplyOptions, apply, status},
    },
    model::Dialect,
    plan::Phase,
};
use schemadiff_tests::{
    engine::{Major, Postgres, TestDatabase},
    lockstep::{INDEX, Recorder, first, migrations, old_code, second, write},
};
use sqlx::{Connection as _, Executor as _, PgConnection};

const ROWS: u64 = 40_000;

async fn prepared(dialect: Dialect) -> (TestDatabase, tempfile::TempDir) {
    prepared_with(dialect, ROWS).await
}

async fn prepared_with(dialect: Dialect, rows: u64) -> (TestDatabase, tempfile::TempDir) {
    let db = TestDatabase::new(dialect);
    let plans = [first(dialect), second(dialect)];
    let options = ApplyOptions::default();
    apply(&db.url, &migrations(dialect, &plans[..1]), &options, Arc::new(NoProgress)).await.unwrap();
    let rows = match dialect {
        Dialect::Sqlite => format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
             INSERT INTO users (id, fullname) SELECT i, 'User ' || i FROM n"
        ),
        _ => format!("INSERT INTO users (id, fullname) SELECT i, 'User ' || i FROM generate_series(1, {rows}) i"),
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

/// Applies the second migration in a task of its own.
fn applying(
    db: &TestDatabase,
    until: Phase,
) -> (tokio::task::JoinHandle<Result<schemadiff::lockstep::admin::ApplyReport, schemadiff::Error>>, Recorder) {
    let recorder = Recorder::default();
    let (url, progress) = (db.url.clone(), recorder.shared());
    let all = migrations(db.dialect, &[first(db.dialect), second(db.dialect)]);
    let options = ApplyOptions { until, wait: Some(Duration::from_secs(60)), ..ApplyOptions::default() };
    (tokio::spawn(async move { apply(&url, &all, &options, progress).await }), recorder)
}

async fn until(recorder: &Recorder, kind: &str, times: usize) {
    while recorder.of(kind).len() < times {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Ends every session of schemadiff's own.
const END_ALL: &str = "SELECT CAST(count(pg_terminate_backend(pid)) AS text) FROM pg_stat_activity \
    WHERE application_name LIKE 'schemadiff%' AND datname = current_database()";

#[tokio::test]
async fn a_backfill_whose_connection_breaks_goes_on_by_itself() {
    let (db, _files) = prepared(Dialect::Postgres).await;
    let (going, recorder) = applying(&db, Phase::Backfill);
    for round in 1..=3 {
        let batches = recorder.of("backfill").len();
        until(&recorder, "backfill", batches + 2).await;
        db.text(END_ALL).await;
        until(&recorder, "reconnecting", round).await;
    }
    going.await.unwrap().unwrap();
    let counted = "SELECT CAST(rows_done AS text) FROM schemadiff.step WHERE id LIKE '02%'";
    assert_eq!(db.text(counted).await.unwrap(), ROWS.to_string(), "each row once");
    assert_eq!(db.text("SELECT count(*)::text FROM users WHERE email_key IS NULL").await.as_deref(), Some("0"));
}

#[tokio::test]
async fn steps_whose_connection_breaks_are_begun_again() {
    let (db, _files) = prepared(Dialect::Postgres).await;
    let options: sqlx::postgres::PgConnectOptions = db.url.parse().unwrap();
    let mut reader = sqlx::PgConnection::connect_with(&options).await.unwrap();
    // A reader keeps the ALTER TABLE waiting, and then the concurrent build.
    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM users").await.unwrap();
    let (going, recorder) = applying(&db, Phase::Backfill);
    until(&recorder, "retrying", 1).await;
    db.text(END_ALL).await;
    until(&recorder, "reconnecting", 1).await;
    assert_eq!(recorder.finished(), [] as [&str; 0], "nothing is half-done");
    reader.execute("COMMIT").await.unwrap();
    until(&recorder, "backfill", 1).await;
    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM users").await.unwrap();
    while !recorder.of("step_started").iter().any(|e| e["step"] == "03-create-index") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    until(&recorder, "server_progress", 1).await;
    let phase = recorder.of("server_progress")[0]["phase"].as_str().unwrap().to_owned();
    assert!(phase.contains("waiting") || phase.contains("building"), "{phase}");
    db.text(END_ALL).await;
    until(&recorder, "reconnecting", 2).await;
    reader.execute("COMMIT").await.unwrap();
    going.await.unwrap().unwrap();
    let valid = "SELECT count(*)::text FROM pg_index WHERE indrelid = 'users'::regclass AND indisvalid";
    assert_eq!(db.text(valid).await.as_deref(), Some("2"), "the key's index and ours");
    let all = "SELECT count(*)::text FROM pg_index WHERE indrelid = 'users'::regclass";
    assert_eq!(db.text(all).await.as_deref(), Some("2"), "what was cut short is cleared away");
}

#[tokio::test]
async fn a_server_that_restarts_in_the_middle_is_waited_for() {
    let server = Postgres::start(Major::V15);
    let db = server.database();
    let plans = [first(db.dialect), second(db.dialect)];
    let options = ApplyOptions::default();
    apply(&db.url, &migrations(db.dialect, &plans[..1]), &options, Arc::new(NoProgress)).await.unwrap();
    db.execute("INSERT INTO users (id, fullname) SELECT i, 'User ' || i FROM generate_series(1, 30000) i").await;
    let (going, recorder) = applying(&db, Phase::Contract);
    until(&recorder, "backfill", 3).await;
    // A backend that is killed takes the whole server down, and through recovery.
    let ours = "SELECT max(pid)::text FROM pg_stat_activity WHERE application_name = 'schemadiff'";
    let pid = db.text(ours).await.unwrap();
    signal("-KILL", &pid);
    until(&recorder, "reconnecting", 1).await;
    going.await.unwrap().unwrap();
    let unfilled = "SELECT count(*)::text FROM users WHERE email_key IS NULL";
    assert_eq!(db.text(unfilled).await.as_deref(), Some("0"));
}

fn signal(name: &str, pid: &str) {
    assert!(Command::new("kill").args([name, pid]).status().unwrap().success());
}

/// A server that is being recovered answers that it is: whoever applies then, or starts, waits for it.
#[tokio::test]
async fn a_server_that_is_not_ready_yet_is_waited_for() {
    // What was said to be done is so after the crash.
    let server = Postgres::start_with(Major::V15, &["synchronous_commit=on"]);
    let db = server.database();
    let first = migrations(db.dialect, &[first(db.dialect)]);
    apply(&db.url, &first, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
    let checkpointer = "SELECT pid::text FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
    let checkpointer = db.text(checkpointer).await.unwrap();
    let mut mine = PgConnection::connect(&db.url).await.unwrap();
    let pid: String = sqlx::query_scalar("SELECT pg_backend_pid()::text").fetch_one(&mut mine).await.unwrap();
    // A process that does not answer keeps the server from starting again, for five seconds, until it is killed as well.
    signal("-STOP", &checkpointer);
    signal("-KILL", &pid);
    // At first a session may still begin, and end in the middle.
    let not_yet = |e: sqlx::Error| e.as_database_error().and_then(|e| e.code()).is_some_and(|code| code == "57P03");
    while !PgConnection::connect(&db.url).await.is_err_and(not_yet) {}
    let (going, recorder) = applying(&db, Phase::Backfill);
    let service = Lockstep::builder("shop", first).database_url(&db.url).schema(old_code(db.dialect)).start();
    let (applied, service) = tokio::join!(going, service);
    assert!(!recorder.of("reconnecting").is_empty(), "it was ready before anybody asked");
    assert_eq!(applied.unwrap().unwrap().steps.len(), 3);
    service.unwrap().shutdown().await;
}

/// Carries on where the dead process was, and looks at what is there.
async fn ends_well(db: &TestDatabase, rows: u64, what: &str) {
    let plans = [first(db.dialect), second(db.dialect)];
    let options = ApplyOptions { wait: Some(Duration::from_secs(60)), ..ApplyOptions::default() };
    apply(&db.url, &migrations(db.dialect, &plans), &options, Arc::new(NoProgress)).await.unwrap();
    let filled = db.text("SELECT CAST(count(*) AS text) FROM users WHERE email_key = 'user ' || id").await;
    assert_eq!(filled, Some(rows.to_string()), "{what}");
    assert!(db.try_execute("SELECT fullname FROM users").await.is_err(), "{what}");
    let index = match db.dialect {
        Dialect::Sqlite => format!("SELECT 'true' FROM sqlite_schema WHERE name = '{INDEX}'"),
        _ => format!("SELECT CAST(indisvalid AS text) FROM pg_index WHERE indexrelid = CAST('{INDEX}' AS regclass)"),
    };
    assert_eq!(db.text(&index).await.as_deref(), Some("true"), "{what}");
    let seen = status(&db.url, None).await.unwrap();
    assert!(seen.migrations.iter().all(|m| m.state == "done"), "{what}: {:?}", seen.migrations);
    let report = apply(&db.url, &migrations(db.dialect, &plans), &options, Arc::new(NoProgress)).await.unwrap();
    assert!(report.steps.is_empty() && report.left.is_empty(), "{what}: {report:?}");
}

#[tokio::test]
async fn a_process_killed_at_any_event_is_followed_by_one_that_ends_the_work() {
    const FEW: u64 = 250;
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        for event in 1.. {
            let (db, files) = prepared_with(dialect, FEW).await;
            let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep_worker"));
            command.args(["die", &db.url]).arg(files.path()).arg(event.to_string()).stdout(Stdio::null());
            if command.status().unwrap().success() {
                assert!(event > 8, "{dialect}: there are only {event} events");
                break;
            }
            ends_well(&db, FEW, &format!("{dialect}, killed at event {event}")).await;
        }
    }
}

#[tokio::test]
async fn a_process_killed_inside_a_step_is_followed_by_one_that_ends_the_work() {
    const FEW: u64 = 250;
    // What holds the step up, and the statement that waits.
    let cases = [
        ("SELECT count(*) FROM users", "ALTER TABLE%ADD COLUMN%"),
        ("SELECT count(*) FROM pg_class", "CREATE INDEX CONCURRENTLY%"),
        ("SELECT count(*) FROM users", "ALTER TABLE%DROP COLUMN%"),
    ];
    for (at, (holds, waits)) in cases.into_iter().enumerate() {
        let (db, files) = prepared_with(Dialect::Postgres, FEW).await;
        if at == 2 {
            let plans = [first(Dialect::Postgres), second(Dialect::Postgres)];
            let options = ApplyOptions { until: Phase::Backfill, ..ApplyOptions::default() };
            apply(&db.url, &migrations(Dialect::Postgres, &plans), &options, Arc::new(NoProgress)).await.unwrap();
        }
        let mut holder = PgConnection::connect(&db.url).await.unwrap();
        sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ").execute(&mut holder).await.unwrap();
        sqlx::raw_sql(holds).execute(&mut holder).await.unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep_worker"));
        let mut child = command.args(["apply", &db.url]).arg(files.path()).stdout(Stdio::null()).spawn().unwrap();
        let waiting = format!(
            "SELECT CAST(count(*) AS text) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
             AND datname = current_database() AND query LIKE '{waits}'"
        );
        while db.text(&waiting).await.as_deref() == Some("0") {
            assert!(child.try_wait().unwrap().is_none(), "{waits}: it does not wait");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // The server goes on with what the dead process asked for, and the next one waits for that.
        let release = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            holder.close().await.unwrap();
        };
        tokio::join!(release, ends_well(&db, FEW, waits));
    }
}

/// SIGSTOP, a frozen container or a suspended machine, at every word that the worker says: it holds the work, and others wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stands_still_is_followed_by_one_that_ends_the_work_and_is_told_so() {
    const FEW: u64 = 250;
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        let (db, _files) = prepared_with(dialect, FEW).await;
        let recorder = Recorder::default();
        let all = migrations(dialect, &[first(dialect), second(dialect)]);
        apply(&db.url, &all, &ApplyOptions::default(), recorder.shared()).await.unwrap();
        let words = recorder.all();
        assert!(words >= 10, "{words} words");
        let at_once = Arc::new(tokio::sync::Semaphore::new(4));
        let mut stopped = tokio::task::JoinSet::new();
        for at in 1..=words {
            let turn = Arc::clone(&at_once);
            stopped.spawn(async move {
                let _turn = turn.acquire_owned().await.unwrap();
                stands_still(dialect, FEW, at).await;
            });
        }
        while let Some(done) = stopped.join_next().await {
            done.unwrap();
        }
    }
}

async fn stands_still(dialect: Dialect, rows: u64, at: usize) {
    let what = format!("{dialect}, stopped at word {at}");
    let (db, files) = prepared_with(dialect, rows).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep_worker"));
    command.args(["halt", &db.url]).arg(files.path()).arg(at.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.env("LOCKSTEP_GRACE_MS", "600").spawn().unwrap();
    let pid = child.id().to_string();
    let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    while !state().contains(") T ") {
        assert!(child.try_wait().unwrap().is_none(), "{what}: it ended before");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let plans = [first(dialect), second(dialect)];
    let options =
        ApplyOptions { grace: Duration::from_secs(2), wait: Some(Duration::from_secs(60)), ..ApplyOptions::default() };
    apply(&db.url, &migrations(dialect, &plans), &options, Arc::new(NoProgress)).await.unwrap();
    signal("-CONT", &pid);
    // It finds that nothing is left, or that it has the work no more; and changes nothing either way.
    let ended = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
    assert!(ended.code().is_some(), "{what}: {ended}");
    ends_well(&db, rows, &what).await;
}
