//! Live versions hold what they need, and retired ones are refused.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use schemadiff::{
    Error, Lockstep,
    lockstep::{
        Contract, Evidence, NoProgress, Ready, Role,
        admin::{ApplyOptions, abort, apply, status},
    },
    model::{Dialect, Fingerprint, ObjectName, Schema, between},
    plan::{Action, Envelope, Phase},
};
use schemadiff_tests::{
    engine::TestDatabase,
    lockstep::{
        FIRST, Recorder, SECOND, first, migrations, new_code, old_code, plan, renderer, second, step, table_with,
        users, users_with, version, write,
    },
};
use sqlx::{postgres::PgPoolOptions, sqlite::SqlitePoolOptions};

const BOTH: [Dialect; 2] = [Dialect::Postgres, Dialect::Sqlite];

/// A process of the old version, killed when it is dropped.
struct Service {
    child: Child,
    _files: tempfile::TempDir,
}

impl Service {
    /// Starts one and waits until it uses the database; or gives what it said on its standard error.
    fn start(db: &TestDatabase, app: &str, code: &Schema) -> Result<Self, String> {
        let files = tempfile::tempdir().unwrap();
        write(files.path(), db.dialect, &[first(db.dialect)]);
        let schema = files.path().join("schema.json");
        std::fs::write(&schema, serde_json::to_string(code).unwrap()).unwrap();
        let mut child = worker(&["serve", &db.url], files.path())
            .arg(app)
            .arg(&schema)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line == "ready"));
        if ready {
            // Nobody reads what it says afterwards.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok(Self { child, _files: files });
        }
        let output = child.wait_with_output().unwrap();
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn worker(args: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep_worker"));
    command.args(args).arg(dir);
    command
}

fn patient() -> ApplyOptions {
    ApplyOptions { wait: Some(Duration::from_secs(60)), ..ApplyOptions::default() }
}

#[tokio::test]
async fn the_gate_holds_while_an_old_version_lives_and_opens_when_it_is_killed() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let plans = [first(dialect), second(dialect)];
        let all = migrations(dialect, &plans);
        apply(&db.url, &migrations(dialect, &plans[..1]), &ApplyOptions::default(), Arc::new(NoProgress))
            .await
            .unwrap();
        db.execute("INSERT INTO users (id, fullname) VALUES (1, 'Ada')").await;
        let old = Service::start(&db, "shop", &old_code(dialect)).unwrap();

        let error = apply(&db.url, &all, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap_err();
        let Error::GateClosed { step, holders, .. } = &error else { panic!("{error}") };
        assert_eq!((step.as_str(), holders.len()), ("04-drop-column-users-fullname", 1), "{error}");
        let holder = &holders[0];
        assert_eq!((holder.app.as_str(), holder.version.as_str()), ("shop", &*version(FIRST, &old_code(dialect))));
        assert_eq!(holder.pid, i64::from(old.child.id()));
        assert_eq!(error.exit_code(), 8);

        let seen = status(&db.url, Some(&all)).await.unwrap();
        assert_eq!(seen.waiting.len(), 1, "{seen:#?}");
        assert_eq!(seen.waiting[0].holders[0].instance, holder.instance);
        assert!(seen.waiting[0].since_ms.is_some());
        let evidence = if dialect == Dialect::Sqlite { Evidence::Process } else { Evidence::Lock };
        assert_eq!((seen.versions.len(), seen.versions[0].evidence), (1, evidence));
        // Without the files, from the ledger alone.
        let bare = status(&db.url, None).await.unwrap();
        assert_eq!(bare.waiting.len(), 1, "{bare:#?}");

        let (url, recorder) = (db.url.clone(), Recorder::default());
        let progress = recorder.shared();
        let waiting = tokio::spawn(async move { apply(&url, &all, &patient(), progress).await });
        while recorder.of("gate_closed").is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let killed = Instant::now();
        old.kill();
        waiting.await.unwrap().unwrap();
        assert!(killed.elapsed() < Duration::from_secs(10), "no grace time where better evidence is there");
        assert_eq!(recorder.of("gate_closed").len(), 1);
        assert_eq!(recorder.of("version_retired")[0]["version"], version(FIRST, &old_code(dialect)));

        let refused = Service::start(&db, "shop", &old_code(dialect)).map(drop).unwrap_err();
        assert!(refused.contains("SD0650") && refused.contains(SECOND), "{refused}");
    }
}

#[tokio::test]
async fn another_service_that_reads_the_column_holds_its_drop() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let plans = [first(dialect), second(dialect)];
        let all = migrations(dialect, &plans);
        apply(&db.url, &migrations(dialect, &plans[..1]), &ApplyOptions::default(), Arc::new(NoProgress))
            .await
            .unwrap();
        let billing = Service::start(&db, "billing", &old_code(dialect)).unwrap();
        // One that declares only what stays does not.
        let reports = Service::start(&db, "reports", &schemadiff_tests::lockstep::users_with(dialect, &[])).unwrap();
        let error = apply(&db.url, &all, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap_err();
        let Error::GateClosed { holders, .. } = &error else { panic!("{error}") };
        assert_eq!(holders.iter().map(|h| h.app.as_str()).collect::<Vec<_>>(), ["billing"]);
        billing.kill();
        apply(&db.url, &all, &patient(), Arc::new(NoProgress)).await.unwrap();
        let alive = status(&db.url, Some(&all)).await.unwrap().versions;
        assert_eq!(alive.iter().map(|v| v.app.as_str()).collect::<Vec<_>>(), ["reports"]);
        assert!(alive[0].reasons.is_empty());
        reports.kill();
    }
}

#[tokio::test]
async fn a_new_version_brings_the_database_there_and_contracts_when_the_old_one_is_gone() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let plans = [first(dialect), second(dialect)];
        let start = |plans: &[schemadiff::plan::Plan], code: Schema| {
            Lockstep::builder("shop", migrations(dialect, plans))
                .database_url(&db.url)
                .schema(code)
                .contract_poll(Duration::from_millis(100))
                .wait_deadline(Duration::from_secs(30))
        };
        // The first deployment of all, on an empty database.
        start(&plans[..1], old_code(dialect)).start().await.unwrap().shutdown().await;
        let old = Service::start(&db, "shop", &old_code(dialect)).unwrap();
        db.execute("INSERT INTO users (id, fullname) VALUES (1, 'Ada')").await;

        let recorder = Recorder::default();
        let new = start(&plans, new_code(dialect)).progress(recorder.shared()).start().await.unwrap();
        assert_eq!(new.ready().await, Ready::Yes);
        assert_eq!(db.text("SELECT email_key FROM users").await.as_deref(), Some("ada"));
        while recorder.of("gate_closed").is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(db.text("SELECT fullname FROM users").await.as_deref(), Some("Ada"));
        let versions = new.status().await.unwrap().versions;
        assert_eq!(versions.iter().map(|v| v.migration.as_str()).collect::<Vec<_>>(), [FIRST, SECOND]);
        assert_eq!(versions[1].version, new.version());

        // The new version needs what abort would take away.
        let options = ApplyOptions { wait: Some(Duration::from_secs(5)), ..ApplyOptions::default() };
        let all = migrations(dialect, &plans);
        let error = abort(&db.url, &all, SECOND, &options, Arc::new(NoProgress)).await.unwrap_err();
        let Error::GateClosed { holders, .. } = &error else { panic!("{error}") };
        assert_eq!(holders[0].version, version(SECOND, &new_code(dialect)));

        old.kill();
        let since = Instant::now();
        while recorder.of("migration_finished").is_empty() {
            assert!(since.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(db.try_execute("SELECT fullname FROM users").await.is_err());
        new.shutdown().await;
        let refused = start(&plans[..1], old_code(dialect)).start().await.unwrap_err();
        assert!(matches!(refused, Error::Retired { .. }), "{refused}");
    }
}

#[tokio::test]
async fn one_of_many_replicas_works_and_the_others_wait() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let recorder = Recorder::default();
        let starts: Vec<_> = (0..5)
            .map(|at| {
                let plans = [first(dialect), second(dialect)];
                let role = if at < 3 { Role::Apply } else { Role::WaitOnly };
                let builder = Lockstep::builder("shop", migrations(dialect, &plans))
                    .database_url(&db.url)
                    .schema(new_code(dialect))
                    .role(role)
                    .contract(Contract::Manual)
                    .wait_deadline(Duration::from_secs(30))
                    .progress(recorder.shared());
                tokio::spawn(builder.start())
            })
            .collect();
        let mut replicas = Vec::new();
        for start in starts {
            replicas.push(start.await.unwrap().unwrap());
        }
        assert_eq!(recorder.finished().len(), 4, "{:?}", recorder.finished());
        assert_eq!(replicas[0].status().await.unwrap().versions[0].instances.len(), 5);
        for replica in replicas {
            replica.shutdown().await;
        }
        assert!(status(&db.url, None).await.unwrap().versions.is_empty());
    }
}

#[tokio::test]
async fn a_version_that_meets_unknown_newer_migrations_starts_while_it_is_served() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let plans = [first(dialect), second(dialect)];
        let until = ApplyOptions { until: Phase::Backfill, ..ApplyOptions::default() };
        apply(&db.url, &migrations(dialect, &plans), &until, Arc::new(NoProgress)).await.unwrap();
        let old = || {
            Lockstep::builder("shop", migrations(dialect, &plans[..1])).database_url(&db.url).schema(old_code(dialect))
        };
        old().start().await.unwrap().shutdown().await;
        // Nobody has it open, so contract retires it although no version of it was running at the time.
        apply(&db.url, &migrations(dialect, &plans), &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
        let error = old().start().await.unwrap_err();
        assert_eq!(error.code(), "SD0650", "{error}");
        // Another application with that schema was never here, so it is not retired; it is not served either.
        let error = Lockstep::builder("other", migrations(dialect, &plans[..1]))
            .database_url(&db.url)
            .schema(old_code(dialect))
            .start()
            .await
            .unwrap_err();
        assert_eq!(error.code(), "SD0651", "{error}");
        assert!(error.to_string().contains("fullname"), "{error}");
    }
}

/// A table that another service's migrations make, and a column of it that they add later.
#[tokio::test]
async fn a_service_waits_for_what_another_services_migrations_make() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let bills = ObjectName::new("bills");
        let table = table_with(dialect, &bills, &["due"]);
        let ddl = renderer(dialect);
        let (create, drop) = (ddl.create_table(&table.tables[&bills]), ddl.drop_table(&bills));
        let create = step("01-create", Phase::Expand, Envelope::Transaction, create, drop);
        let own = plan(dialect, "20260101000000_bills", None, &Schema::default(), vec![(create, table.clone())]);
        let code =
            Schema { tables: table.tables.into_iter().chain(new_code(dialect).tables).collect(), ..Schema::default() };
        let billing = || {
            Lockstep::builder("billing", migrations(dialect, std::slice::from_ref(&own)))
                .database_url(&db.url)
                .schema(code.clone())
        };
        let error = billing().start().await.unwrap_err();
        assert_eq!(error.code(), "SD0651", "nobody else has migrations here: {error}");
        let options = |until| ApplyOptions { until, app: "shop".to_owned(), ..ApplyOptions::default() };
        let one = migrations(dialect, &[first(dialect)]);
        apply(&db.url, &one, &options(Phase::Contract), Arc::new(NoProgress)).await.unwrap();
        let error = billing().wait_deadline(Duration::ZERO).start().await.unwrap_err();
        assert_eq!(error.code(), "SD0852", "{error}");
        assert!(error.to_string().contains("column `users.email_key` does not exist"), "{error}");

        let waits = tokio::spawn(billing().start());
        let all = migrations(dialect, &[first(dialect), second(dialect)]);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!waits.is_finished(), "the column is not there yet");
        apply(&db.url, &all, &options(Phase::Expand), Arc::new(NoProgress)).await.unwrap();
        let started = waits.await.unwrap().unwrap();
        // And what it does not declare is no concern of its.
        apply(&db.url, &all, &options(Phase::Contract), Arc::new(NoProgress)).await.unwrap();
        started.shutdown().await;
    }
}

#[tokio::test]
async fn the_hook_keeps_a_version_alive_and_refuses_it_when_it_is_retired() {
    let dialect = Dialect::Postgres;
    let db = TestDatabase::new(dialect);
    let plans = [first(dialect), second(dialect)];
    let all = migrations(dialect, &plans);
    let old = Lockstep::builder("shop", migrations(dialect, &plans[..1]))
        .database_url(&db.url)
        .schema(old_code(dialect))
        .start()
        .await
        .unwrap();
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(2))
        .after_connect(old.hook())
        .connect(&db.url)
        .await
        .unwrap();
    let (hook, name) = (old.hook(), old.version().to_owned());
    // The guard is gone, the pool is not: its connection is the evidence.
    old.shutdown().await;
    let error = apply(&db.url, &all, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap_err();
    let Error::GateClosed { holders, .. } = &error else { panic!("{error}") };
    assert_eq!((holders.len(), holders[0].instance.as_str(), holders[0].connections), (1, "", 1), "{error}");
    pool.close().await;
    apply(&db.url, &all, &patient(), Arc::new(NoProgress)).await.unwrap();

    let again = PgPoolOptions::new().acquire_timeout(Duration::from_millis(500)).after_connect(hook).connect(&db.url);
    assert!(again.await.is_err());
    let answer = db.text(&format!("SELECT schemadiff.enter('shop', '{name}')")).await.unwrap();
    assert!(answer.contains(SECOND), "{answer}");
    // Of this database: others are at work on the server.
    let locks = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' \
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(db.text(locks).await.as_deref(), Some("0"), "a refused connection holds nothing");
}

#[tokio::test]
async fn a_file_refuses_connections_of_a_retired_version() {
    let dialect = Dialect::Sqlite;
    let db = TestDatabase::new(dialect);
    let plans = [first(dialect), second(dialect)];
    let old = Lockstep::builder("shop", migrations(dialect, &plans[..1]))
        .database_url(&db.url)
        .schema(old_code(dialect))
        .start()
        .await
        .unwrap();
    let options = || SqlitePoolOptions::new().acquire_timeout(Duration::from_millis(500)).after_connect(old.hook());
    options().connect(&db.url).await.unwrap().close().await;
    db.execute(&format!(
        "INSERT INTO _schemadiff_retired VALUES ('shop', '{}', '{SECOND}', '04', 'forward', 'gone', '2026-01-01 00:00:00')",
        old.version()
    ))
    .await;
    assert!(options().connect(&db.url).await.is_err());
    assert!(matches!(old.ready().await, Ready::Refused { .. }));
    old.shutdown().await;
}

#[tokio::test]
async fn a_version_left_behind_by_an_abort_runs_again_when_its_migration_does() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let plans = [first(dialect), second(dialect)];
        let all = migrations(dialect, &plans);
        let filled = ApplyOptions { until: Phase::Backfill, ..ApplyOptions::default() };
        let again = async |progress| apply(&db.url, &all, &filled, progress).await.unwrap();
        again(Arc::new(NoProgress)).await;
        let start = async || {
            let new = Lockstep::builder("shop", all.clone()).database_url(&db.url).schema(new_code(dialect));
            new.role(Role::WaitOnly).wait_deadline(Duration::ZERO).start().await
        };
        start().await.unwrap().shutdown().await;

        abort(&db.url, &all, SECOND, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
        let error = start().await.unwrap_err();
        assert_eq!(error.code(), "SD0650", "{error}");
        assert!(error.to_string().contains("was taken back"), "{error}");
        assert!(error.help()[0].contains(SECOND), "{:?}", error.help());

        // Half of the way is not enough: the step that was taken back first is the one it needs.
        let half = ApplyOptions { until: Phase::Expand, ..ApplyOptions::default() };
        apply(&db.url, &all, &half, Arc::new(NoProgress)).await.unwrap();
        assert_eq!(start().await.unwrap_err().code(), "SD0650");
        let recorder = Recorder::default();
        again(recorder.shared()).await;
        assert_eq!(recorder.of("version_readmitted").len(), 1);
        start().await.unwrap().shutdown().await;
        // What contract leaves behind stays behind.
        apply(&db.url, &all, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
        assert!(status(&db.url, Some(&all)).await.unwrap().retired.iter().all(|r| r.version.starts_with(FIRST)));
        start().await.unwrap().shutdown().await;
    }
}

/// A version that needs nothing of what its newest migration adds does not hold its abort, and waits at its gate all the same: what
/// was taken back on purpose stays so.
#[tokio::test]
async fn what_was_aborted_is_not_carried_out_again_by_who_waits_for_its_gate() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let plans = [first(dialect), second(dialect)];
        let all = migrations(dialect, &plans);
        apply(&db.url, &migrations(dialect, &plans[..1]), &patient(), Arc::new(NoProgress)).await.unwrap();
        db.execute("INSERT INTO users (id, fullname) VALUES (1, 'Ada')").await;
        let old = Service::start(&db, "shop", &old_code(dialect)).unwrap();
        let recorder = Recorder::default();
        let new = Lockstep::builder("shop", all.clone())
            .database_url(&db.url)
            .schema(users_with(dialect, &[]))
            .contract_poll(Duration::from_millis(50))
            .progress(recorder.shared())
            .start()
            .await
            .unwrap();
        while recorder.of("gate_closed").is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        abort(&db.url, &all, SECOND, &patient(), Arc::new(NoProgress)).await.unwrap();
        old.kill();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let found = status(&db.url, Some(&all)).await.unwrap();
        assert_eq!(found.migrations[1].state, "aborted");
        assert_eq!(db.text("SELECT fullname FROM users").await.as_deref(), Some("Ada"), "nothing was dropped");
        new.shutdown().await;
        // Whoever says so carries it out.
        apply(&db.url, &all, &patient(), Arc::new(NoProgress)).await.unwrap();
        assert!(db.try_execute("SELECT fullname FROM users").await.is_err());
    }
}

/// As [`what_was_aborted_is_not_carried_out_again_by_who_waits_for_its_gate`], of a version that needs the contract phase before it
/// can run at all.
#[tokio::test]
async fn what_was_aborted_is_not_carried_out_again_by_a_start_that_waits() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let (renamed, ddl) = (users_with(dialect, &["email_key", "name"]), renderer(dialect));
        let mut plans = [first(dialect), second(dialect)];
        let [.., last] = plans[1].steps.as_mut_slice() else { unreachable!() };
        last.action = Action::Sql(ddl.rename_column(&users(), "fullname", "name"));
        let mut state = old_code(dialect);
        plans[1].steps[..3].iter().for_each(|step| step.apply_to(&mut state).unwrap());
        let mut after = state.clone();
        let columns = &mut after.tables.get_mut(&users()).unwrap().columns;
        columns.iter_mut().filter(|c| c.name == "fullname").for_each(|c| c.name = "name".to_owned());
        plans[1].steps[3].effects = between(&state, &after);
        plans[1].after = Fingerprint::of(&after);
        plans[1].checksum = plans[1].compute_checksum();
        let all = migrations(dialect, &plans);
        apply(&db.url, &migrations(dialect, &plans[..1]), &patient(), Arc::new(NoProgress)).await.unwrap();
        let old = Service::start(&db, "shop", &old_code(dialect)).unwrap();
        let recorder = Recorder::default();
        let start = Lockstep::builder("shop", all.clone())
            .database_url(&db.url)
            .schema(renamed)
            .progress(recorder.shared())
            .start();
        let aborting = async {
            while recorder.of("gate_closed").is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            abort(&db.url, &all, SECOND, &patient(), Arc::new(NoProgress)).await.unwrap();
        };
        let (started, ()) = tokio::join!(start, aborting);
        assert_eq!(started.err().map(|error| error.code()), Some("SD0766"), "{dialect}");
        let found = status(&db.url, Some(&all)).await.unwrap();
        assert_eq!(found.migrations[1].state, "aborted", "{dialect}");
        drop(old);
    }
}
