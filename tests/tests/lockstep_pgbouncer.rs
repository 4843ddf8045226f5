//! Through PgBouncer in transaction mode: locks of a session prove nothing there, so heartbeats do.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use schemadiff::{
    Error, Lockstep,
    lockstep::{
        Contract, Evidence, NoProgress, Ready,
        admin::{ApplyOptions, apply, status},
    },
    model::Dialect,
    plan::Phase,
};
use schemadiff_tests::{
    engine::{PgBouncer, Postgres, TestDatabase},
    lockstep::{FIRST, Recorder, SECOND, first, migrations, old_code, second, version, write},
};
use sqlx::{
    Connection as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};

const DIALECT: Dialect = Dialect::Postgres;
const GRACE: Duration = Duration::from_secs(2);

static POOLER: LazyLock<PgBouncer> = LazyLock::new(|| PgBouncer::in_front_of(Postgres::shared(), 4));

async fn prepared(plans: usize) -> (TestDatabase, String) {
    let db = TestDatabase::new(DIALECT);
    let url = POOLER.url(&db.name);
    let all = migrations(DIALECT, &[first(DIALECT), second(DIALECT)][..plans]);
    apply(&url, &all, &options(Phase::Backfill, 30), Arc::new(NoProgress)).await.unwrap();
    (db, url)
}

fn options(until: Phase, wait: u64) -> ApplyOptions {
    ApplyOptions { until, wait: Some(Duration::from_secs(wait)), grace: GRACE, ..ApplyOptions::default() }
}

/// A process of the old version whose connections all go through the pooler.
fn service(url: &str) -> (Child, tempfile::TempDir) {
    let files = tempfile::tempdir().unwrap();
    write(files.path(), DIALECT, &[first(DIALECT)]);
    let schema = files.path().join("schema.json");
    std::fs::write(&schema, serde_json::to_string(&old_code(DIALECT)).unwrap()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep_worker"));
    command.args(["serve", url]).arg(files.path()).arg("shop").arg(&schema).env("LOCKSTEP_HEARTBEAT_MS", "300");
    command.env("LOCKSTEP_GRACE_MS", GRACE.as_millis().to_string());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line == "ready")), "it does not start");
    std::thread::spawn(move || lines.for_each(drop));
    (child, files)
}

async fn advisory_locks(db: &TestDatabase) -> Option<String> {
    db.text(
        "SELECT count(*) || '' FROM pg_locks WHERE locktype = 'advisory' AND database = \
             (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .await
}

#[tokio::test]
async fn the_gate_goes_by_heartbeats_and_says_so() {
    let (db, url) = prepared(1).await;
    db.execute("INSERT INTO users (id, fullname) SELECT i, 'User ' || i FROM generate_series(1, 3000) i").await;
    let (mut old, _files) = service(&url);
    let all = migrations(DIALECT, &[first(DIALECT), second(DIALECT)]);
    let seen = status(&db.url, Some(&all)).await.unwrap();
    assert_eq!((seen.versions.len(), seen.versions[0].evidence), (1, Evidence::Heartbeat), "{seen:#?}");
    assert_eq!(
        advisory_locks(&db).await.as_deref(),
        Some("0"),
        "a lock would be somebody else's with the next transaction"
    );

    // Expand, backfill and a concurrent index build go through it; contract waits as long as the heart beats.
    let error = apply(&url, &all, &options(Phase::Contract, 4), Arc::new(NoProgress)).await.unwrap_err();
    let Error::GateClosed { step, holders, .. } = &error else { panic!("{error}") };
    assert_eq!(step, "04-drop-column-users-fullname");
    assert_eq!((holders.len(), holders[0].evidence), (1, Evidence::Heartbeat));
    assert_eq!(holders[0].version, version(FIRST, &old_code(DIALECT)));
    assert_eq!(db.text("SELECT count(*) || '' FROM users WHERE email_key IS NOT NULL").await.as_deref(), Some("3000"));

    old.kill().unwrap();
    old.wait().unwrap();
    let killed = Instant::now();
    apply(&url, &all, &options(Phase::Contract, 30), Arc::new(NoProgress)).await.unwrap();
    assert!(killed.elapsed() > GRACE / 2, "a heartbeat counts for the grace time: {:?}", killed.elapsed());
    assert_eq!(advisory_locks(&db).await.as_deref(), Some("0"));
    // Nothing of the executor's settings stays with the sessions that others get.
    for setting in ["lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"] {
        let through = url.parse::<PgConnectOptions>().unwrap().extra_float_digits(None);
        let mut connection = sqlx::PgConnection::connect_with(&through).await.unwrap();
        let found =
            sqlx::raw_sql(sqlx::AssertSqlSafe(format!("SHOW {setting}"))).fetch_one(&mut connection).await.unwrap();
        assert_eq!(sqlx::Row::try_get::<String, _>(&found, 0).unwrap(), "0", "{setting}");
    }
}

#[tokio::test]
async fn a_pool_behind_the_pooler_makes_heartbeats_the_evidence_of_its_version() {
    let (db, url) = prepared(2).await;
    let all = migrations(DIALECT, &[first(DIALECT), second(DIALECT)]);
    let old = Lockstep::builder("shop", migrations(DIALECT, &[first(DIALECT)]))
        .database_url(&db.url)
        .schema(old_code(DIALECT))
        .contract(Contract::Manual)
        .heartbeat(Duration::from_millis(300))
        .start()
        .await
        .unwrap();
    let evidence = async || status(&db.url, Some(&all)).await.unwrap().versions[0].evidence;
    assert_eq!(evidence().await, Evidence::Lock);
    let pool = PgPoolOptions::new().max_connections(3).after_connect(old.hook());
    let through = url.parse::<PgConnectOptions>().unwrap().extra_float_digits(None);
    let pool = pool.connect_with(through).await.unwrap();
    assert_eq!(evidence().await, Evidence::Heartbeat);
    assert_eq!(advisory_locks(&db).await.as_deref(), Some("1"), "that of the guard's own, direct connection");
    // A path that one client sets would be the next client's: its version has no views.
    let path = sqlx::raw_sql("SHOW search_path").fetch_one(&pool).await.unwrap();
    assert_eq!(sqlx::Row::try_get::<String, _>(&path, 0).unwrap(), "\"$user\", public");
    pool.close().await;

    // It is left behind while its heart does not beat, and learns it without any new connection.
    db.execute("UPDATE schemadiff.lease SET ended_at = clock_timestamp()").await;
    let closed = apply(&url, &all, &options(Phase::Contract, 0), Arc::new(NoProgress)).await.unwrap_err();
    assert!(matches!(closed, Error::GateClosed { .. }), "the guard's own connection is still there: {closed}");
    db.execute(&format!(
        "INSERT INTO schemadiff.retired VALUES ('shop', '{}', '{SECOND}', '04', 'forward', 'gone', clock_timestamp())",
        old.version()
    ))
    .await;
    let since = Instant::now();
    while !matches!(old.ready().await, Ready::Refused { .. }) {
        assert!(since.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    old.shutdown().await;
}

#[tokio::test]
async fn migrators_through_the_pooler_and_direct_ones_do_no_step_twice() {
    for round in 0..3 {
        let db = TestDatabase::new(DIALECT);
        let pooled = POOLER.url(&db.name);
        let plans = [first(DIALECT), second(DIALECT)];
        apply(&pooled, &migrations(DIALECT, &plans[..1]), &options(Phase::Contract, 30), Arc::new(NoProgress))
            .await
            .unwrap();
        db.execute("INSERT INTO users (id, fullname) SELECT i, 'User ' || i FROM generate_series(1, 2000) i").await;
        let recorders: Vec<Recorder> = (0..4).map(|_| Recorder::default()).collect();
        let tasks: Vec<_> = recorders
            .iter()
            .enumerate()
            .map(|(n, recorder)| {
                let url = if (n + round) % 2 == 0 { pooled.clone() } else { db.url.clone() };
                let (all, progress) = (migrations(DIALECT, &plans), recorder.shared());
                tokio::spawn(async move { apply(&url, &all, &options(Phase::Contract, 60), progress).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let mut done: Vec<String> = recorders.iter().flat_map(Recorder::finished).collect();
        done.sort();
        assert_eq!(done.len(), 4, "{done:?}");
        assert_eq!(
            db.text("SELECT count(*) || '' FROM users WHERE email_key IS NOT NULL").await.as_deref(),
            Some("2000")
        );
    }
}

/// A process that stands still, as under SIGSTOP, for longer than anybody counts on it, and whose pool has a connection open all
/// the while.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_given_up_gets_no_connection_that_is_open_still() {
    let (db, url) = prepared(2).await;
    db.execute("INSERT INTO users (id, fullname, email_key) VALUES (1, 'Ada', 'ada')").await;
    let (stands_still, waits) = std::sync::mpsc::channel::<()>();
    let (goes_on, paused) = std::sync::mpsc::channel::<()>();
    let direct = db.url.clone();
    let process = std::thread::spawn(move || {
        // One thread, so that a wait of the thread is a wait of the heartbeats.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let old = Lockstep::builder("shop", migrations(DIALECT, &[first(DIALECT)]))
                .database_url(&direct)
                .schema(old_code(DIALECT))
                .heartbeat(Duration::from_millis(300))
                .grace(GRACE)
                .contract(Contract::Manual)
                .start()
                .await
                .unwrap();
            let through = url.parse::<PgConnectOptions>().unwrap().extra_float_digits(None);
            let options = PgPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_secs(2));
            let pool = old.guarded(options).connect_with(through).await.unwrap();
            let asks = || sqlx::raw_sql("SELECT fullname FROM users").fetch_one(&pool);
            asks().await.unwrap();
            tokio::time::sleep(GRACE * 2).await;
            asks().await.unwrap();
            // Its own session ends while it stands still, as behind a pooler or after a cut.
            stands_still.send(()).unwrap();
            paused.recv().unwrap();
            let refused = asks().await.map(drop);
            let ready = old.ready().await;
            pool.close().await;
            old.shutdown().await;
            (refused, ready)
        })
    });
    tokio::task::spawn_blocking(move || waits.recv().unwrap()).await.unwrap();
    db.execute("SELECT pg_terminate_backend(session_pid) FROM schemadiff.lease").await;
    let all = migrations(DIALECT, &[first(DIALECT), second(DIALECT)]);
    apply(&db.url, &all, &options(Phase::Contract, 30), Arc::new(NoProgress)).await.unwrap();
    // The same name with another meaning: what it reads would be wrong, not an error.
    db.execute("ALTER TABLE users ADD COLUMN fullname text DEFAULT 'wrong'").await;
    goes_on.send(()).unwrap();
    let (refused, ready) = tokio::task::spawn_blocking(move || process.join().unwrap()).await.unwrap();
    assert!(matches!(refused, Err(sqlx::Error::PoolTimedOut)), "{refused:?}");
    assert!(matches!(ready, Ready::Refused { .. }), "{ready:?}");
}

/// Settings that the pooler sends when it opens a session look like those of its client.
#[tokio::test]
async fn a_pooler_with_settings_of_its_own_is_told_from_a_client() {
    let pooler = PgBouncer::opening_sessions_with(Postgres::shared(), 2, "client_encoding=UTF8 datestyle=ISO");
    let db = TestDatabase::new(DIALECT);
    let url = pooler.url(&db.name);
    let all = migrations(DIALECT, &[first(DIALECT)]);
    apply(&db.url, &all, &options(Phase::Backfill, 30), Arc::new(NoProgress)).await.unwrap();
    let (mut old, _files) = service(&url);
    let seen = status(&db.url, Some(&all)).await.unwrap();
    assert_eq!((seen.versions.len(), seen.versions[0].evidence), (1, Evidence::Heartbeat), "{seen:#?}");
    assert_eq!(advisory_locks(&db).await.as_deref(), Some("0"));
    old.kill().unwrap();
    old.wait().unwrap();
}
