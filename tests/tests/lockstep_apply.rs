//! Carrying migrations out on real databases.

use std::{sync::Arc, time::Duration};

use schemadiff::{
    Error,
    backend::Process,
    lockstep::{
        NoProgress, Retry,
        admin::{ApplyOptions, ApplyReport, abort, apply, status},
    },
    model::{Check, Dialect},
    plan::{Action, Envelope, Phase, Plan},
};
use schemadiff_tests::{
    engine::TestDatabase,
    lockstep::{FIRST, INDEX, Recorder, SECOND, first, migrations, old_code, plan, second, step, third, users_with},
};
use sqlx::{Connection as _, Executor as _};
use tokio::sync::watch;

const BOTH: [Dialect; 2] = [Dialect::Postgres, Dialect::Sqlite];

async fn run(db: &TestDatabase, plans: &[schemadiff::plan::Plan], options: ApplyOptions) -> Result<ApplyReport, Error> {
    apply(&db.url, &migrations(db.dialect, plans), &options, Arc::new(NoProgress)).await
}

async fn fill(db: &TestDatabase, rows: u32) {
    let sql = match db.dialect {
        Dialect::Sqlite => format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
             INSERT INTO users (id, fullname) SELECT i * 7, 'User ' || i FROM n"
        ),
        _ => format!("INSERT INTO users (id, fullname) SELECT i * 7, 'User ' || i FROM generate_series(1, {rows}) i"),
    };
    db.execute(&sql).await;
}

async fn count(db: &TestDatabase, condition: &str) -> String {
    db.text(&format!("SELECT CAST(count(*) AS text) FROM users WHERE {condition}")).await.unwrap()
}

fn until(until: Phase) -> ApplyOptions {
    ApplyOptions { until, ..ApplyOptions::default() }
}

#[tokio::test]
async fn all_steps_run_once_and_are_on_record() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        run(&db, &[first(dialect)], ApplyOptions::default()).await.unwrap();
        fill(&db, 1234).await;
        let plans = [first(dialect), second(dialect)];

        let report = run(&db, &plans, until(Phase::Backfill)).await.unwrap();
        assert_eq!(report.steps.len(), 3, "{report:?}");
        assert_eq!(report.steps[1].rows, 1234, "{report:?}");
        assert_eq!(report.left.len(), 1);
        assert_eq!(count(&db, "email_key = lower(fullname)").await, "1234");

        let report = run(&db, &plans, ApplyOptions::default()).await.unwrap();
        let steps: Vec<_> = report.steps.iter().map(|s| s.step.as_str()).collect();
        assert_eq!(steps, ["04-drop-column-users-fullname"]);
        assert_eq!(count(&db, "email_key IS NOT NULL").await, "1234");
        assert!(db.try_execute("SELECT fullname FROM users").await.is_err());

        let nothing = run(&db, &plans, ApplyOptions::default()).await.unwrap();
        assert_eq!(nothing, ApplyReport::default());
        let status = status(&db.url, Some(&migrations(dialect, &plans))).await.unwrap();
        assert!(status.migrations.iter().all(|m| m.state == "done" && m.known), "{status:#?}");
        assert!(status.worker.is_none() && status.waiting.is_empty() && status.versions.is_empty());
    }
}

#[tokio::test]
async fn abort_takes_the_steps_back_until_contract_begins() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let plans = [first(dialect), second(dialect)];
        let all = migrations(dialect, &plans);
        run(&db, &plans[..1], ApplyOptions::default()).await.unwrap();
        fill(&db, 300).await;
        run(&db, &plans, until(Phase::Backfill)).await.unwrap();

        let options = ApplyOptions::default();
        let recorder = Recorder::default();
        abort(&db.url, &all, SECOND, &options, recorder.shared()).await.unwrap();
        assert_eq!(recorder.of("step_undone").len(), 3);
        assert!(db.try_execute("SELECT email_key FROM users").await.is_err());
        let again = abort(&db.url, &all, SECOND, &options, Arc::new(NoProgress)).await.unwrap_err();
        assert_eq!(again.code(), "SD0654");

        // What was taken back can be applied again, to the end.
        let report = run(&db, &plans, ApplyOptions::default()).await.unwrap();
        assert_eq!(report.steps.len(), 4, "{report:?}");
        assert_eq!(report.steps[1].rows, 300);
        let late = abort(&db.url, &all, SECOND, &options, Arc::new(NoProgress)).await.unwrap_err();
        assert_eq!(late.code(), "SD0652", "{late}");
        let followed = abort(&db.url, &all, FIRST, &options, Arc::new(NoProgress)).await.unwrap_err();
        assert_eq!(followed.code(), "SD0654", "{followed}");
    }
}

/// A migration of `users` that adds a column, and takes about a second for it.
fn slow(dialect: Dialect, id: &str, parent: &str, columns: &[&str], more: &str) -> Plan {
    let wait = match dialect {
        Dialect::Sqlite => {
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) \
                            SELECT max(i) FROM n"
        }
        _ => "SELECT pg_sleep(1)",
    };
    let add = format!("ALTER TABLE users ADD COLUMN {more} text");
    let drop = format!("ALTER TABLE users DROP COLUMN {more}");
    let mut add = step("01-add", Phase::Expand, Envelope::Transaction, vec![add, wait.to_owned()], vec![drop]);
    add.statement_timeout_ms = 60_000;
    let after = users_with(dialect, &[columns, &[more]].concat());
    plan(dialect, id, Some(parent), &users_with(dialect, columns), vec![(add, after)])
}

#[tokio::test]
async fn an_abort_that_waited_for_the_work_sees_what_was_applied_meanwhile() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let (b, c) = ("20260103000000_b", "20260104000000_c");
        let third = slow(dialect, c, b, &["fullname", "b"], "c");
        let plans = [first(dialect), slow(dialect, b, FIRST, &["fullname"], "b"), third];
        run(&db, &plans[..2], ApplyOptions::default()).await.unwrap();

        let (recorder, all) = (Recorder::default(), migrations(dialect, &plans));
        let (url, progress) = (db.url.clone(), recorder.shared());
        let going = tokio::spawn(async move { apply(&url, &all, &ApplyOptions::default(), progress).await });
        while recorder.of("step_started").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let patient = ApplyOptions { wait: Some(Duration::from_secs(30)), ..ApplyOptions::default() };
        let known = migrations(dialect, &plans[..2]);
        let error = abort(&db.url, &known, b, &patient, Arc::new(NoProgress)).await.unwrap_err();
        assert_eq!(error.code(), "SD0654", "{error}");
        assert!(error.to_string().contains(c), "{error}");
        going.await.unwrap().unwrap();
        db.execute("SELECT b, c FROM users").await;
    }
}

#[tokio::test]
async fn on_sqlite_nothing_is_left_behind_that_fails_when_it_is_used() {
    let dialect = Dialect::Sqlite;
    let db = TestDatabase::new(dialect);
    let statements = [
        "CREATE TABLE \"_schemadiff_new\" (\"id\" INTEGER PRIMARY KEY NOT NULL)",
        "INSERT INTO \"_schemadiff_new\" SELECT id FROM users",
        "DROP TABLE users",
        "ALTER TABLE \"_schemadiff_new\" RENAME TO users",
    ];
    let statements = statements.map(ToOwned::to_owned).to_vec();
    let step = step("01-rebuild-users", Phase::Contract, Envelope::Rebuild, statements, Vec::new());
    let (before, after) = (users_with(dialect, &["fullname"]), users_with(dialect, &[]));
    let plans = [first(dialect), plan(dialect, SECOND, Some(FIRST), &before, vec![(step, after)])];
    run(&db, &plans[..1], ApplyOptions::default()).await.unwrap();
    // One of each kind is broken from the beginning: that is nobody's doing here.
    db.execute(
        "CREATE TABLE log (what TEXT); \
         CREATE VIEW names AS SELECT fullname FROM users; CREATE VIEW broken AS SELECT x FROM nowhere; \
         CREATE TRIGGER marked AFTER INSERT ON log BEGIN UPDATE users SET fullname = NEW.what; END; \
         CREATE TRIGGER kept AFTER UPDATE OF what ON log BEGIN DELETE FROM log WHERE what IS NULL; END; \
         CREATE TRIGGER lost AFTER DELETE ON log BEGIN DELETE FROM nowhere; END",
    )
    .await;
    let error = run(&db, &plans, ApplyOptions::default()).await.unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("SD0767", 7), "{error}");
    let text = error.to_string();
    assert!(text.contains("view `names`") && text.contains("a trigger of `log` (INSERT)"), "{text}");
    assert!(!text.contains("broken") && !text.contains("DELETE") && !text.contains("UPDATE"), "{text}");
    db.execute("SELECT fullname FROM names").await;
    db.execute("INSERT INTO log VALUES ('still there'); DROP VIEW names; DROP TRIGGER marked").await;
    run(&db, &plans, ApplyOptions::default()).await.unwrap();
    db.execute("INSERT INTO log VALUES ('as before')").await;
}

#[tokio::test]
async fn a_migration_that_was_taken_back_may_be_written_anew() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let plans = [first(dialect), second(dialect)];
        run(&db, &plans, until(Phase::Backfill)).await.unwrap();
        let all = migrations(dialect, &plans);
        abort(&db.url, &all, SECOND, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();

        let mut other = slow(dialect, SECOND, FIRST, &["fullname"], "nickname");
        other.steps[0].id = "01-another".to_owned();
        other.checksum = other.compute_checksum();
        let plans = [first(dialect), other];
        run(&db, &plans, ApplyOptions::default()).await.unwrap();
        let seen = status(&db.url, Some(&migrations(dialect, &plans))).await.unwrap();
        assert_eq!(seen.migrations[1].state, "done", "the steps of then are not waited for: {seen:#?}");
    }
}

#[tokio::test]
async fn a_worker_that_gives_no_sign_of_life_is_dead_though_its_process_runs() {
    let dialect = Dialect::Sqlite;
    let db = TestDatabase::new(dialect);
    let plans = [first(dialect), second(dialect)];
    run(&db, &plans[..1], ApplyOptions::default()).await.unwrap();
    // What stays when the file was too busy for a service to take its name away again.
    let process = serde_json::to_string(&Process::current()).unwrap();
    let left = |age: u32| {
        let then = format!("strftime('%Y-%m-%d %H:%M:%f', 'now', '-{age} seconds')");
        format!(
            "INSERT OR REPLACE INTO _schemadiff_worker VALUES (1, 'another', 'shop', '{process}', 'process', {then}, {then})"
        )
    };
    db.execute(&left(0)).await;
    let options = || ApplyOptions { grace: Duration::from_secs(2), ..ApplyOptions::default() };
    // Longer than whoever waits for nobody looks.
    let patient = ApplyOptions { grace: Duration::from_secs(60), ..ApplyOptions::default() };
    let error = run(&db, &plans, patient).await.unwrap_err();
    assert_eq!(error.code(), "SD1050", "{error}");
    db.execute(&left(3)).await;
    // Its silence is watched before it counts, also by whoever waits for nobody.
    let began = std::time::Instant::now();
    run(&db, &plans, options()).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn whoever_waits_at_the_gate_keeps_nobody_from_working() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let plans = [first(dialect), second(dialect)];
        let all = migrations(dialect, &plans);
        run(&db, &plans[..1], ApplyOptions::default()).await.unwrap();
        let old = schemadiff::Lockstep::builder("shop", migrations(dialect, &plans[..1]))
            .database_url(&db.url)
            .schema(old_code(dialect))
            .start()
            .await
            .unwrap();
        let recorder = Recorder::default();
        let (url, progress) = (db.url.clone(), recorder.shared());
        let waiting = tokio::spawn(async move {
            let options = ApplyOptions { wait: Some(Duration::from_secs(60)), ..ApplyOptions::default() };
            apply(&url, &all, &options, progress).await
        });
        while recorder.of("gate_closed").is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // What would change nothing, because there is nothing to do, needs the work as well; and so does an abort.
        let patience = || Some(Duration::from_secs(10));
        let nothing = ApplyOptions { until: Phase::Backfill, wait: patience(), ..ApplyOptions::default() };
        run(&db, &plans, nothing).await.unwrap();
        let aborting = ApplyOptions { wait: patience(), ..ApplyOptions::default() };
        abort(&db.url, &migrations(dialect, &plans), SECOND, &aborting, Arc::new(NoProgress)).await.unwrap();
        old.shutdown().await;
        // It does not begin anew what somebody has just taken back.
        let error = waiting.await.unwrap().unwrap_err();
        assert_eq!(error.code(), "SD0766", "{error}");
        assert_eq!(count(&db, "fullname IS NULL").await, "0");
    }
}

/// One that works through a pooler sends no sign of life while its own long transaction holds its row.
#[tokio::test]
async fn a_worker_whose_row_is_held_by_its_transaction_is_waited_for() {
    let dialect = Dialect::Postgres;
    let db = TestDatabase::new(dialect);
    let plans = [first(dialect), second(dialect)];
    run(&db, &plans[..1], ApplyOptions::default()).await.unwrap();
    let mut worker = sqlx::PgConnection::connect(&db.url).await.unwrap();
    let row = "INSERT INTO schemadiff.worker VALUES (1, 'another', 'shop', '{\"host\": \"far\", \"pid\": 7, \"machine\": \"\", \
               \"started\": \"\"}', 'heartbeat', now(), now()); BEGIN; SELECT FROM schemadiff.worker FOR UPDATE";
    worker.execute(row).await.unwrap();
    let options = ApplyOptions {
        grace: Duration::from_millis(400),
        wait: Some(Duration::from_secs(4)),
        ..ApplyOptions::default()
    };
    let error = run(&db, &plans, options.clone()).await.unwrap_err();
    assert_eq!(error.code(), "SD1050", "{error}");
    worker.close().await.unwrap();
    run(&db, &plans, options).await.unwrap();
}

#[tokio::test]
async fn a_stopped_run_goes_on_where_it_stopped() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let plans = [first(dialect), second(dialect)];
        run(&db, &plans[..1], ApplyOptions::default()).await.unwrap();
        fill(&db, 20_000).await;

        let (stop, stopped) = watch::channel(false);
        let recorder = Recorder::default();
        let options = ApplyOptions { stop: Some(stopped), ..ApplyOptions::default() };
        let (url, all, progress) = (db.url.clone(), migrations(dialect, &plans), recorder.shared());
        let running = tokio::spawn(async move { apply(&url, &all, &options, progress).await });
        while recorder.of("backfill").len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.send_replace(true);
        let error = running.await.unwrap().unwrap_err();
        assert_eq!((error.code(), error.exit_code()), ("SD1350", 130));

        let filled: u64 = count(&db, "email_key IS NOT NULL").await.parse().unwrap();
        assert!(filled > 0 && filled < 20_000, "{filled}");
        let report = run(&db, &plans, ApplyOptions::default()).await.unwrap();
        let rest = report.steps.iter().find(|s| s.phase == Phase::Backfill).unwrap();
        assert_eq!(rest.rows, 20_000 - filled, "rows that were filled are not filled again");
        assert_eq!(count(&db, "email_key IS NOT NULL").await, "20000");
    }
}

#[tokio::test]
async fn two_migrators_at_once_never_do_a_step_twice() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let plans = [first(dialect), second(dialect)];
        run(&db, &plans[..1], ApplyOptions::default()).await.unwrap();
        fill(&db, 3000).await;
        let recorder = Recorder::default();
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let (url, all, progress) = (db.url.clone(), migrations(dialect, &plans), recorder.shared());
                let options = ApplyOptions { wait: Some(Duration::from_secs(60)), ..ApplyOptions::default() };
                tokio::spawn(async move { apply(&url, &all, &options, progress).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let mut finished = recorder.finished();
        finished.sort();
        assert_eq!(finished.len(), 4, "{finished:?}");
        finished.dedup();
        assert_eq!(finished.len(), 4, "{finished:?}");
        let rows = recorder.of("step_finished").iter().map(|e| e["rows"].as_u64().unwrap()).sum::<u64>();
        assert_eq!(rows, 3000);
    }
}

#[tokio::test]
async fn a_ledger_is_created_once_by_many_at_once() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let tasks: Vec<_> = (0..6)
            .map(|_| {
                let (url, all) = (db.url.clone(), migrations(dialect, &[first(dialect)]));
                let options = ApplyOptions { wait: Some(Duration::from_secs(60)), ..ApplyOptions::default() };
                tokio::spawn(async move { apply(&url, &all, &options, Arc::new(NoProgress)).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn other_histories_and_newer_ledgers_are_refused() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        run(&db, &[first(dialect), second(dialect)], until(Phase::Expand)).await.unwrap();

        let mut edited = second(dialect);
        edited.steps[0].title = "the same".to_owned();
        edited.steps[0].lock_timeout_ms = 7;
        let error = run(&db, &[first(dialect), edited], ApplyOptions::default()).await.unwrap_err();
        assert_eq!(error.code(), "SD0459", "{error}");

        let mut other = second(dialect);
        other.id = "20260103000000_other".to_owned();
        let error = run(&db, &[first(dialect), other], ApplyOptions::default()).await.unwrap_err();
        assert_eq!(error.code(), "SD0460", "{error}");

        let meta = if dialect == Dialect::Sqlite { "_schemadiff_meta" } else { "schemadiff.meta" };
        db.execute(&format!("UPDATE {meta} SET format = 9")).await;
        let error = run(&db, &[first(dialect)], ApplyOptions::default()).await.unwrap_err();
        assert_eq!(error.code(), "SD0551", "{error}");
    }
}

#[tokio::test]
async fn a_failed_statement_leaves_nothing_and_is_on_record() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let mut plans = [first(dialect), second(dialect)];
        let Action::Sql(statements) = &mut plans[1].steps[0].action else { unreachable!() };
        statements.push("SELECT no_such_function()".to_owned());
        plans[1].checksum = plans[1].compute_checksum();
        let error = run(&db, &plans, ApplyOptions::default()).await.unwrap_err();
        assert_eq!(error.code(), "SD0750", "{error}");
        assert!(db.try_execute("SELECT email_key FROM users").await.is_err(), "the step's own transaction");
        // Plans that were never begun are not on record: the corrected one can be applied.
        let report = run(&db, &[first(dialect), second(dialect)], ApplyOptions::default()).await.unwrap();
        assert_eq!(report.steps.len(), 4);
    }
}

#[tokio::test]
async fn a_lock_that_is_not_had_names_the_blocker_and_is_tried_again() {
    let dialect = Dialect::Postgres;
    let db = TestDatabase::new(dialect);
    let plans = [first(dialect), second(dialect)];
    run(&db, &plans[..1], ApplyOptions::default()).await.unwrap();
    let mut reader = sqlx::PgConnection::connect(&db.url).await.unwrap();
    reader.execute("SET application_name = 'the reader'; BEGIN; SELECT count(*) FROM users").await.unwrap();

    let quick = Retry { attempts: 3, first_pause: Duration::from_millis(50), ..Retry::default() };
    let options = ApplyOptions { retry: quick, until: Phase::Expand, ..ApplyOptions::default() };
    let error = run(&db, &plans, options.clone()).await.unwrap_err();
    let Error::LockNotHad { attempts, blockers, .. } = &error else { panic!("{error}") };
    assert_eq!((*attempts, blockers.len()), (3, 1), "{error}");
    assert_eq!((blockers[0].application.as_str(), blockers[0].state.as_str()), ("the reader", "idle in transaction"));
    assert!(db.try_execute("SELECT email_key FROM users").await.is_err());

    let recorder = Recorder::default();
    let (url, all, progress) = (db.url.clone(), migrations(dialect, &plans), recorder.shared());
    let patient = ApplyOptions { retry: Retry { attempts: 40, ..quick }, ..options };
    let running = tokio::spawn(async move { apply(&url, &all, &patient, progress).await });
    while recorder.of("retrying").is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    reader.execute("COMMIT").await.unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(recorder.of("retrying")[0]["blockers"][0]["application"], "the reader");
    assert_eq!(recorder.finished(), ["01-add-column-users-email_key"]);
}

#[tokio::test]
async fn taking_a_proof_back_makes_nobody_queue_behind_it() {
    let dialect = Dialect::Postgres;
    let db = TestDatabase::new(dialect);
    let (users, before) = ("users".parse().unwrap(), old_code(dialect));
    let check = |not_valid| Check { expr: "id > 0".to_owned(), not_valid, no_inherit: false, comment: None };
    let with = |not_valid| {
        let mut schema = before.clone();
        schema.tables.get_mut(&users).unwrap().checks.insert("low".to_owned(), check(not_valid));
        schema
    };
    let alter = |what: &str| format!("ALTER TABLE users {what}");
    let (drop, add) = (alter("DROP CONSTRAINT low"), alter("ADD CONSTRAINT low CHECK (id > 0) NOT VALID"));
    let added = step("01-add", Phase::Expand, Envelope::Transaction, vec![add.clone()], vec![drop.clone()]);
    let mut proven =
        step("02-prove", Phase::Backfill, Envelope::Long, vec![alter("VALIDATE CONSTRAINT low")], vec![drop, add]);
    (proven.lock_timeout_ms, proven.statement_timeout_ms) = (0, 0);
    let steps = vec![(added, with(true)), (proven, with(false))];
    let plans = [first(dialect), plan(dialect, SECOND, Some(FIRST), &before, steps)];
    run(&db, &plans, until(Phase::Backfill)).await.unwrap();

    let mut reader = sqlx::PgConnection::connect(&db.url).await.unwrap();
    reader.execute("BEGIN; SELECT count(*) FROM users").await.unwrap();
    let quick = Retry { attempts: 2, first_pause: Duration::from_millis(50), ..Retry::default() };
    let options = ApplyOptions { retry: quick, ..ApplyOptions::default() };
    let all = migrations(dialect, &plans);
    let back = abort(&db.url, &all, SECOND, &options, Arc::new(NoProgress));
    // Without a lock timeout it would wait as long as the reader does, and everybody behind it.
    let error = tokio::time::timeout(Duration::from_secs(60), back).await.expect("an end").unwrap_err();
    assert!(matches!(error, Error::LockNotHad { attempts: 2, .. }), "{error}");
    reader.execute("COMMIT").await.unwrap();
    abort(&db.url, &all, SECOND, &options, Arc::new(NoProgress)).await.unwrap();
    db.execute("INSERT INTO users (id, fullname) VALUES (-1, 'n')").await;
}

#[tokio::test]
async fn an_invalid_index_is_dropped_and_built_again() {
    let dialect = Dialect::Postgres;
    let db = TestDatabase::new(dialect);
    let mut plans = [first(dialect), second(dialect)];
    let Action::Sql(statements) = &mut plans[1].steps[2].action else { unreachable!() };
    statements[0] = statements[0].replace("CREATE INDEX", "CREATE UNIQUE INDEX");
    let step = &mut plans[1].steps[2];
    for query in [&mut step.done_when, &mut step.clean_up, &mut step.stopped_by].into_iter().flatten() {
        *query = query.replace("indisunique = false", "indisunique = true");
    }
    plans[1].checksum = plans[1].compute_checksum();
    run(&db, &plans[..1], ApplyOptions::default()).await.unwrap();
    db.execute("INSERT INTO users (id, fullname) VALUES (1, 'same'), (2, 'SAME')").await;

    let valid = format!("SELECT indisvalid::text FROM pg_index WHERE indexrelid = to_regclass('{INDEX}')");
    let error = run(&db, &plans, ApplyOptions::default()).await.unwrap_err();
    assert_eq!(error.code(), "SD0750", "{error}");
    assert_eq!(db.text(&valid).await, None, "nothing half-done stays behind");

    // A process that was killed cannot clean up: its leftover is found by the next one.
    let left = db.try_execute(&format!("CREATE UNIQUE INDEX CONCURRENTLY {INDEX} ON users (email_key)")).await;
    assert!(left.is_err());
    assert_eq!(db.text(&valid).await.as_deref(), Some("false"));
    db.execute("UPDATE users SET email_key = 'another' WHERE id = 2").await;
    run(&db, &plans, until(Phase::Backfill)).await.unwrap();
    assert_eq!(db.text(&valid).await.as_deref(), Some("true"));

    // And a crash between the work and its record is recognised by the work.
    db.execute("UPDATE schemadiff.step SET state = 'running' WHERE id = '03-create-index'").await;
    let recorder = Recorder::default();
    apply(&db.url, &migrations(dialect, &plans), &until(Phase::Backfill), recorder.shared()).await.unwrap();
    assert_eq!(recorder.of("step_found").len(), 1);
}

/// What has the name of an index that is to be built, and is not that index, is neither taken for it nor dropped.
#[tokio::test]
async fn an_index_of_that_name_that_is_not_the_steps_own_stops_the_step_and_stays() {
    let dialect = Dialect::Postgres;
    let plans = [first(dialect), second(dialect)];
    let lower = format!("CREATE INDEX {INDEX} ON users (lower(email_key))");
    for (made, undone) in [
        (format!("CREATE TABLE other (email_key text); CREATE INDEX {INDEX} ON other (email_key)"), "other"),
        (format!("CREATE VIEW {INDEX} AS SELECT 1 AS one"), "view"),
        (lower.clone(), "lower"),
        (format!("CREATE UNIQUE INDEX {INDEX} ON users (email_key)"), "UNIQUE"),
        (format!("CREATE INDEX {INDEX} ON users (email_key DESC)"), "DESC"),
        (format!("CREATE INDEX {INDEX} ON users (email_key) WHERE email_key <> ''"), "WHERE"),
        (format!("CREATE INDEX {INDEX} ON users (email_key) INCLUDE (id)"), "INCLUDE"),
        (format!("CREATE INDEX {INDEX} ON users (email_key text_pattern_ops)"), "text_pattern_ops"),
        (format!("CREATE INDEX {INDEX} ON users USING hash (email_key)"), "hash"),
        // Left half-built by somebody: it is not this step's to drop.
        (format!("{lower}; UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{INDEX}'::regclass"), "lower"),
    ] {
        let db = TestDatabase::new(dialect);
        run(&db, &plans[..1], ApplyOptions::default()).await.unwrap();
        run(&db, &plans, until(Phase::Expand)).await.unwrap();
        db.execute(&made).await;
        let oid = format!("SELECT to_regclass('{INDEX}')::oid::text");
        let before = db.text(&oid).await;

        let error = run(&db, &plans, until(Phase::Backfill)).await.unwrap_err();
        assert_eq!(error.code(), "SD0764", "{made}: {error}");
        assert!(error.to_string().contains(undone), "{made}: {error}");
        assert_eq!(db.text(&oid).await, before, "{made}");
        // Taking the migration back does not take it for the step's own either.
        let (all, options) = (migrations(dialect, &plans), ApplyOptions::default());
        abort(&db.url, &all, SECOND, &options, Arc::new(NoProgress)).await.unwrap();
        assert_eq!(db.text(&oid).await, if made.contains("ON users") { None } else { before }, "{made}");
    }
}

/// An index of that name on another table is not the one that is dropped.
#[tokio::test]
async fn an_index_that_is_gone_is_not_looked_for_on_other_tables() {
    let dialect = Dialect::Postgres;
    let db = TestDatabase::new(dialect);
    let plans = [first(dialect), second(dialect), third(dialect)];
    run(&db, &plans[..2], ApplyOptions::default()).await.unwrap();
    db.execute(&format!("DROP INDEX {INDEX}; CREATE TABLE other (a int); CREATE INDEX {INDEX} ON other (a)")).await;
    run(&db, &plans, ApplyOptions::default()).await.unwrap();
    assert_eq!(db.text(&format!("SELECT to_regclass('{INDEX}')::text")).await.as_deref(), Some(INDEX));

    // And one of that name on that table that is another one stays, and stops the step.
    let db = TestDatabase::new(dialect);
    run(&db, &plans[..2], ApplyOptions::default()).await.unwrap();
    db.execute(&format!("DROP INDEX {INDEX}; CREATE INDEX {INDEX} ON users (lower(email_key))")).await;
    let error = run(&db, &plans, ApplyOptions::default()).await.unwrap_err();
    assert_eq!(error.code(), "SD0764", "{error}");
    assert_eq!(db.text(&format!("SELECT to_regclass('{INDEX}')::text")).await.as_deref(), Some(INDEX));
}

#[tokio::test]
async fn a_rebuild_keeps_the_rows_of_referring_tables() {
    let dialect = Dialect::Sqlite;
    let db = TestDatabase::new(dialect);
    let before = users_with(dialect, &["fullname"]);
    let mut after = before.clone();
    let table = after.tables.values_mut().next().unwrap();
    table.column_mut("fullname").unwrap().nullable = false;
    let rebuild = |copy: &str| {
        vec![
            "CREATE TABLE \"_schemadiff_new\" (\"id\" INTEGER PRIMARY KEY NOT NULL, \"fullname\" TEXT NOT NULL)"
                .to_owned(),
            copy.to_owned(),
            "DROP TABLE users".to_owned(),
            "ALTER TABLE \"_schemadiff_new\" RENAME TO users".to_owned(),
        ]
    };
    let make = |copy: &str| {
        let step = step("01-rebuild-users", Phase::Expand, Envelope::Rebuild, rebuild(copy), Vec::new());
        let plan = schemadiff_tests::lockstep::plan(dialect, SECOND, Some(FIRST), &before, vec![(step, after.clone())]);
        [first(dialect), plan]
    };
    let good = make("INSERT INTO \"_schemadiff_new\" (id, fullname) SELECT id, fullname FROM users");
    let bad = make("INSERT INTO \"_schemadiff_new\" (id, fullname) SELECT id, fullname FROM users WHERE id <> 7");
    run(&db, &good[..1], ApplyOptions::default()).await.unwrap();
    fill(&db, 5).await;
    db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users (id) ON DELETE CASCADE)")
        .await;
    db.execute("INSERT INTO orders (user_id) SELECT id FROM users").await;

    let error = run(&db, &bad, ApplyOptions::default()).await.unwrap_err();
    assert_eq!(error.code(), "SD0754", "{error}");
    assert_eq!(count(&db, "true").await, "5");
    run(&db, &good, ApplyOptions::default()).await.unwrap();
    assert_eq!(db.text("SELECT CAST(count(*) AS text) FROM orders").await.as_deref(), Some("5"));
    let sql = "SELECT sql FROM sqlite_schema WHERE name = 'orders'";
    assert!(db.text(sql).await.unwrap().contains("REFERENCES users"), "{:?}", db.text(sql).await);
}
