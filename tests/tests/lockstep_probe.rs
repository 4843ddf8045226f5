//! What an orchestrator and a waiting replica are told, and starts that must not happen.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use schemadiff::{
    Error, Lockstep,
    lockstep::{
        Builder, Event, NoProgress, Probe, Progress, Ready, Role,
        admin::{ApplyOptions, apply, status},
    },
    model::Dialect,
    plan::{Envelope, Phase, Plan},
};
use schemadiff_tests::{
    engine::TestDatabase,
    lockstep::{FIRST, Recorder, SECOND, first, migrations, new_code, old_code, plan, second, step, write},
};

const BOTH: [Dialect; 2] = [Dialect::Postgres, Dialect::Sqlite];

fn old(db: &TestDatabase) -> Builder {
    Lockstep::builder("shop", migrations(db.dialect, &[first(db.dialect)]))
        .database_url(&db.url)
        .schema(old_code(db.dialect))
        .heartbeat(Duration::from_millis(100))
}

fn new(db: &TestDatabase) -> Builder {
    Lockstep::builder("shop", migrations(db.dialect, &[first(db.dialect), second(db.dialect)]))
        .database_url(&db.url)
        .schema(new_code(db.dialect))
        .wait_deadline(Duration::from_secs(60))
}

async fn carry_out(db: &TestDatabase, plans: &[Plan], options: &ApplyOptions) -> Result<(), Error> {
    apply(&db.url, &migrations(db.dialect, plans), options, Arc::new(NoProgress)).await.map(drop)
}

async fn until(probe: &Probe, wanted: impl Fn(&Ready) -> bool) -> Ready {
    loop {
        let ready = probe.ready().await;
        if wanted(&ready) {
            return ready;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn probes_are_answered_from_before_the_start_until_after_the_shutdown() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let (plans, options) = ([first(dialect), second(dialect)], ApplyOptions::default());
        carry_out(&db, &plans[..1], &options).await.unwrap();
        let probe = Probe::default();
        assert!(probe.ready().await.is_live() && !probe.ready().await.is_ready());
        let starting = tokio::spawn(new(&db).role(Role::WaitOnly).probe(&probe).start());
        let waiting = until(&probe, |r| matches!(r, Ready::Starting { waits_for } if !waits_for.is_empty())).await;
        assert!(waiting.is_live(), "waiting is no reason to be restarted");
        let Ready::Starting { waits_for } = waiting else { panic!() };
        assert_eq!(waits_for, ["column `users.email_key` does not exist"]);

        let before = old(&db).start().await.unwrap();
        let expanded = ApplyOptions { until: Phase::Backfill, ..ApplyOptions::default() };
        carry_out(&db, &plans, &expanded).await.unwrap();
        let serving = starting.await.unwrap().unwrap();
        assert!(probe.ready().await.is_ready());
        assert_eq!(serving.probe().ready().await, Ready::Yes);
        serving.shutdown().await;
        assert_eq!(probe.ready().await, Ready::Stopping);
        assert!(
            status(&db.url, None).await.unwrap().versions.iter().all(|v| v.version == before.version()),
            "the lease is given back"
        );

        // One that has been left behind is told to end.
        let old_probe = before.probe();
        let retired = if dialect == Dialect::Sqlite { "_schemadiff_retired" } else { "schemadiff.retired" };
        let at = "'2026-01-01 00:00:00'";
        db.execute(&format!(
            "INSERT INTO {retired} VALUES ('shop', '{}', '{SECOND}', '04', 'forward', 'gone', {at})",
            before.version()
        ))
        .await;
        let refused = until(&old_probe, |r| matches!(r, Ready::Refused { .. })).await;
        assert!(!refused.is_live() && !refused.is_ready());
        before.shutdown().await;
        assert_eq!(old_probe.ready().await, refused, "what is final stays");
    }
}

/// Whoever deploys would wait out the grace time of an instance that has said goodbye to nobody.
#[tokio::test]
async fn a_lease_is_given_back_although_its_connection_is_broken() {
    let dialect = Dialect::Postgres;
    let db = TestDatabase::new(dialect);
    carry_out(&db, &[first(dialect)], &ApplyOptions::default()).await.unwrap();
    let serving = old(&db).heartbeat(Duration::from_secs(3600)).start().await.unwrap();
    let ended = "SELECT CAST(count(pg_terminate_backend(pid)) AS text) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid()";
    assert_ne!(db.text(ended).await.as_deref(), Some("0"));
    serving.shutdown().await;
    let there = "SELECT CAST(count(*) AS text) FROM schemadiff.lease WHERE ended_at IS NULL";
    assert_eq!(db.text(there).await.as_deref(), Some("0"));
}

/// Holds a worker where its first batch has ended, until it may go on.
struct Held(Arc<AtomicBool>);

impl Progress for Held {
    fn event(&self, event: &Event<'_>) {
        if matches!(event, Event::Backfill { rows, .. } if *rows > 0) {
            let since = Instant::now();
            while !self.0.load(Ordering::SeqCst) && since.elapsed() < Duration::from_secs(60) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

#[tokio::test]
async fn a_replica_that_waits_shows_how_far_another_process_is() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let plans = [first(dialect), second(dialect)];
        carry_out(&db, &plans[..1], &ApplyOptions::default()).await.unwrap();
        let rows = match dialect {
            Dialect::Sqlite => {
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
                 INSERT INTO users (id, fullname) SELECT i, 'User ' || i FROM n"
            }
            _ => "INSERT INTO users (id, fullname) SELECT i, 'User ' || i FROM generate_series(1, 20000) i",
        };
        db.execute(rows).await;
        let recorder = Recorder::default();
        let (url, all) = (db.url.clone(), migrations(dialect, &plans));
        let go_on = Arc::new(AtomicBool::new(false));
        let held = Arc::new(Held(Arc::clone(&go_on)));
        // A thread of its own, because it is held there.
        let working = std::thread::spawn(move || {
            let options = ApplyOptions { until: Phase::Backfill, ..ApplyOptions::default() };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(apply(&url, &all, &options, held)).unwrap();
        });
        // Code that the backfill's end would not serve either: it waits for as long as the work goes on.
        let mut wants_more = new_code(dialect);
        let column = schemadiff::model::Column::new("later", "TEXT");
        wants_more.tables.values_mut().for_each(|t| t.columns.push(column.clone()));
        let waiting = new(&db).schema(wants_more).role(Role::WaitOnly).progress(recorder.shared());
        let waiting = tokio::spawn(waiting.start());
        let halfway = |e: &serde_json::Value| {
            let rows = e["rows"].as_u64().unwrap();
            e["step"] == "02-backfill-users-email_key" && 0 < rows && rows < 20_000 && e["total"] == 20_000
        };
        while !recorder.of("under_way").iter().any(halfway) {
            assert!(!working.is_finished(), "{:?}", recorder.of("under_way"));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let event = recorder.of("under_way").into_iter().find(halfway).unwrap();
        assert_eq!((&event["position"], &event["of"]), (&2.into(), &4.into()));
        waiting.abort();
        go_on.store(true, Ordering::SeqCst);
        working.join().unwrap();
    }
}

/// Another history that begins as ours does and then goes its own way.
fn another_second(dialect: Dialect) -> Plan {
    let mut after = old_code(dialect);
    let nothing = step("01-nothing", Phase::Expand, Envelope::Transaction, vec!["SELECT 1".to_owned()], Vec::new());
    after.tables.values_mut().for_each(|t| {
        t.columns.push(schemadiff::model::Column { nullable: true, ..schemadiff::model::Column::new("more", "TEXT") });
    });
    plan(dialect, "20260105000000_elsewhere", Some(FIRST), &old_code(dialect), vec![(nothing, after)])
}

#[tokio::test]
async fn a_history_that_is_not_the_databases_registers_nothing() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let plans = [first(dialect), second(dialect)];
        carry_out(&db, &plans, &ApplyOptions::default()).await.unwrap();
        let start = |plans: Vec<Plan>| {
            let builder = Lockstep::builder("shop", migrations(dialect, &plans)).database_url(&db.url);
            builder.schema(old_code(dialect)).wait_deadline(Duration::ZERO).start()
        };
        // Two applications of one name.
        let error = start(vec![first(dialect), another_second(dialect)]).await.unwrap_err();
        assert_eq!((error.code(), error.exit_code()), ("SD0460", 4), "{error}");
        assert!(error.to_string().contains("elsewhere") && error.to_string().contains(SECOND), "{error}");

        // A migration that was written anew after it had been applied.
        let mut rewritten = first(dialect);
        rewritten.steps[0].undo.clear();
        rewritten.steps[0].undoable = false;
        rewritten.checksum = rewritten.compute_checksum();
        let error = start(vec![rewritten.clone()]).await.unwrap_err();
        assert_eq!(error.code(), "SD0459", "{error}");
        let error = carry_out(&db, &[rewritten], &ApplyOptions::default()).await.unwrap_err();
        assert_eq!(error.code(), "SD0459", "{error}");

        let lease = if dialect == Dialect::Sqlite { "_schemadiff_lease" } else { "schemadiff.lease" };
        let count = db.text(&format!("SELECT CAST(count(*) AS text) FROM {lease}")).await;
        assert_eq!(count.as_deref(), Some("0"), "nothing is half-registered");
    }
}

/// So many leases are in the ledger.
async fn leases(db: &TestDatabase) -> Option<String> {
    let lease = if db.dialect == Dialect::Sqlite { "_schemadiff_lease" } else { "schemadiff.lease" };
    db.text(&format!("SELECT CAST(count(*) AS text) FROM {lease}")).await
}

#[tokio::test]
async fn a_start_that_cannot_be_right_says_why_and_registers_nothing() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let plans = [first(dialect), second(dialect)];
        carry_out(&db, &plans[..1], &ApplyOptions::default()).await.unwrap();
        let start = |plans: &[Plan], code| {
            let builder = Lockstep::builder("shop", migrations(dialect, plans)).database_url(&db.url).schema(code);
            builder.wait_deadline(Duration::ZERO).start()
        };
        // A binary whose migrations were forgotten.
        let error = start(&[], old_code(dialect)).await.unwrap_err();
        assert_eq!((error.code(), error.exit_code()), ("SD0461", 4), "{error}");
        assert!(error.to_string().contains("users"), "{error}");

        // Structs that are ahead of the migrations: a schema that no ledger knows.
        let error = start(&plans[..1], new_code(dialect)).await.unwrap_err();
        assert_eq!((error.code(), error.exit_code()), ("SD0651", 6), "{error}");
        assert!(error.to_string().contains("email_key"), "{error}");

        // A ledger that a newer schemadiff has written.
        let meta = if dialect == Dialect::Sqlite { "_schemadiff_meta" } else { "schemadiff.meta" };
        db.execute(&format!("UPDATE {meta} SET format = 9")).await;
        let error = start(&plans[..1], old_code(dialect)).await.unwrap_err();
        assert_eq!((error.code(), error.exit_code()), ("SD0551", 5), "{error}");
        assert_eq!(leases(&db).await.as_deref(), Some("0"), "{dialect}: nothing is half-registered");
        db.execute(&format!("UPDATE {meta} SET format = 1")).await;
        start(&plans[..1], old_code(dialect)).await.unwrap().shutdown().await;

        // Code that uses no table needs no migration.
        start(&[], schemadiff::model::Schema::default()).await.unwrap().shutdown().await;
    }
}

#[tokio::test]
async fn a_file_that_may_not_be_written_is_said_to_be_so() {
    let dialect = Dialect::Sqlite;
    let db = TestDatabase::new(dialect);
    let plans = [first(dialect), second(dialect)];
    carry_out(&db, &plans[..1], &ApplyOptions::default()).await.unwrap();
    let url = format!("{}?mode=ro", db.url);
    let builder = Lockstep::builder("shop", migrations(dialect, &plans[..1])).database_url(&url);
    let error = builder.schema(old_code(dialect)).wait_deadline(Duration::ZERO).start().await.unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("SD0552", 5), "{error}");
    let error = apply(&url, &migrations(dialect, &plans), &ApplyOptions::default(), Arc::new(NoProgress)).await;
    let error = error.unwrap_err();
    assert_eq!(error.code(), "SD0552", "{error}");
    assert_eq!(leases(&db).await.as_deref(), Some("0"));
}

/// The instance registers as one role, and the connections of its pool as another.
#[tokio::test]
async fn a_pool_whose_role_lacks_a_right_says_so_and_makes_nobody_send_requests() {
    let dialect = Dialect::Postgres;
    let db = TestDatabase::new(dialect);
    let plans = [first(dialect)];
    carry_out(&db, &plans, &ApplyOptions::default()).await.unwrap();
    db.execute("CREATE ROLE of_the_pool LOGIN").await;
    let instance = old(&db).start().await.unwrap();
    let url = schemadiff_tests::engine::Postgres::shared().url_as("of_the_pool", &db.name);
    let mut own = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
    let refused = instance.enter(&mut own).await.unwrap_err();
    assert_eq!(refused.code(), "SD0552", "{refused}");
    assert!(refused.help()[0].contains("GRANT USAGE"), "{:?}", refused.help());
    assert!(matches!(instance.ready().await, Ready::Unreachable { cause } if cause.contains("permission")));

    let options = sqlx::postgres::PgPoolOptions::new().acquire_timeout(Duration::from_millis(500));
    let pool = options.after_connect(instance.hook()).connect(&url).await;
    assert!(matches!(pool, Err(sqlx::Error::PoolTimedOut)), "{pool:?}");

    db.execute("GRANT USAGE ON SCHEMA schemadiff TO of_the_pool; GRANT SELECT ON ALL TABLES IN SCHEMA schemadiff TO of_the_pool")
        .await;
    instance.enter(&mut own).await.unwrap();
    assert_eq!(instance.ready().await, Ready::Yes);
    instance.shutdown().await;
    db.execute("DROP OWNED BY of_the_pool; DROP ROLE of_the_pool").await;
}

/// As many replicas as start at once may have no room on the server for a moment.
#[tokio::test]
async fn a_server_without_a_free_connection_is_waited_for() {
    let server = schemadiff_tests::engine::Postgres::start_with(
        schemadiff_tests::engine::Major::under_test(),
        &["max_connections=8", "superuser_reserved_connections=0"],
    );
    let (db, dialect) = (server.database(), Dialect::Postgres);
    carry_out(&db, &[first(dialect)], &ApplyOptions::default()).await.unwrap();
    let mut taken = Vec::new();
    while let Ok(connection) = <sqlx::PgConnection as sqlx::Connection>::connect(&db.url).await {
        taken.push(connection);
    }
    let probe = Probe::default();
    let starting = tokio::spawn(old(&db).wait_deadline(Duration::from_secs(60)).probe(&probe).start());
    let waits = until(&probe, |r| matches!(r, Ready::Starting { waits_for } if !waits_for.is_empty())).await;
    assert!(waits.is_live() && !starting.is_finished(), "{waits:?}");
    drop(taken);
    starting.await.unwrap().unwrap().shutdown().await;
}

/// A library that shifts the wall clock of a program by an hour.
fn shifted_clock(folder: &std::path::Path) -> std::path::PathBuf {
    let source = "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <time.h>\n\
        int clock_gettime(clockid_t id, struct timespec *t) {\n\
        static int (*next)(clockid_t, struct timespec *);\n\
        if (!next) next = dlsym(RTLD_NEXT, \"clock_gettime\");\n\
        int r = next(id, t); if (id == CLOCK_REALTIME) t->tv_sec -= 3600; return r; }\n";
    let (code, library) = (folder.join("clock.c"), folder.join("clock.so"));
    std::fs::write(&code, source).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&code).arg("-ldl").status();
    assert!(built.expect("a C compiler, see CONTRIBUTING.md").success());
    library
}

#[tokio::test]
async fn a_client_whose_clock_is_an_hour_late_is_judged_by_the_servers() {
    let dialect = Dialect::Postgres;
    let db = TestDatabase::new(dialect);
    let plans = [first(dialect), second(dialect)];
    carry_out(&db, &plans[..1], &ApplyOptions::default()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    write(files.path(), dialect, &plans[..1]);
    let schema = files.path().join("schema.json");
    std::fs::write(&schema, serde_json::to_string(&old_code(dialect)).unwrap()).unwrap();
    let mut late = Command::new(env!("CARGO_BIN_EXE_lockstep_worker"))
        .args(["serve", &db.url])
        .arg(files.path())
        .arg("shop")
        .arg(&schema)
        .env("LD_PRELOAD", shifted_clock(files.path()))
        .env("LOCKSTEP_HEARTBEAT_MS", "100")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(late.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line == "ready")));
    std::thread::spawn(move || lines.for_each(drop));

    let seen = status(&db.url, None).await.unwrap();
    let instance = &seen.versions[0].instances[0];
    let minute = 60_000;
    assert!((0..minute).contains(&instance.heartbeat_age_ms), "{instance:?}");
    assert!((0..minute).contains(&(seen.now_ms - instance.since_ms)), "{instance:?}");
    let error = carry_out(&db, &plans, &ApplyOptions::default()).await.unwrap_err();
    let Error::GateClosed { holders, .. } = &error else { panic!("{error}") };
    assert!((0..minute).contains(&holders[0].for_ms), "{holders:?}");
    late.kill().unwrap();
    late.wait().unwrap();
    let patient = ApplyOptions { wait: Some(Duration::from_secs(60)), ..ApplyOptions::default() };
    carry_out(&db, &plans, &patient).await.unwrap();
}
