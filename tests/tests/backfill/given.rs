//! Values that a function of the application gives.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use cargo_schemadiff::{
    diff::{DiffOptions, Hints},
    planner::{PlanRequest, plan},
};
use schemadiff::{
    Error, Lockstep,
    compat::serves,
    lockstep::{
        Backfills, NoProgress, Pace,
        admin::{self, ApplyOptions, ApplyReport, apply},
    },
    model::{Column, Dialect, Schema},
    plan::{Overlap, Phase, Plan, Strategy},
};
use schemadiff_tests::{
    engine::TestDatabase,
    lockstep::{FIRST, Recorder, SECOND, first, migrations, old_code, renderer, users, write},
};

const BOTH: [Dialect; 2] = [Dialect::Postgres, Dialect::Sqlite];

/// The schema with `email_key`, computed from `fullname`.
fn with_key(dialect: Dialect, not_null: bool) -> Schema {
    let mut schema = old_code(dialect);
    let ty = if dialect == Dialect::Sqlite { "TEXT" } else { "text" };
    let column = Column { nullable: !not_null, ..Column::new("email_key", ty) };
    schema.tables.get_mut(&users()).unwrap().columns.push(column);
    schema
}

/// The two migrations of `users`; the second one is what the planner makes.
fn plans(dialect: Dialect, desired: &Schema) -> [Plan; 2] {
    let mut hints = Hints::default();
    hints.backfills_with.insert((users(), "email_key".to_owned()), "shout(fullname, id)".to_owned());
    let dropped = ["users.fullname".to_owned()].into();
    let request = PlanRequest {
        current: &old_code(dialect),
        desired,
        hints: &hints,
        options: &DiffOptions { allowed_drops: dropped, ..DiffOptions::default() },
        ddl: &*renderer(dialect),
        sizes: &BTreeMap::new(),
        id: SECOND,
        parent: Some(FIRST),
        strategy: &Strategy { way: Overlap::Synced, why: String::new(), apps: Vec::new() },
    };
    let plan = plan(&request).unwrap_or_else(|e| panic!("{e}"));
    // What runs is what is read from the file.
    [first(dialect), Plan::from_toml(&plan.to_toml().unwrap()).unwrap()]
}

#[derive(serde::Deserialize)]
struct Old {
    id: i64,
    fullname: String,
}

#[derive(serde::Serialize)]
struct New {
    email_key: String,
}

fn shout(old: Old) -> Result<New, String> {
    match old.fullname.as_str() {
        "bad" => Err(format!("number {} has no name", old.id)),
        "panic" => panic!("number {} is too much", old.id),
        name => Ok(New { email_key: format!("{}!", name.to_uppercase()) }),
    }
}

fn with_shout() -> ApplyOptions {
    ApplyOptions { backfills: Backfills::default().with("shout", shout), ..ApplyOptions::default() }
}

async fn run(db: &TestDatabase, plans: &[Plan], options: ApplyOptions) -> Result<ApplyReport, Error> {
    apply(&db.url, &migrations(db.dialect, plans), &options, Arc::new(NoProgress)).await
}

async fn count(db: &TestDatabase, condition: &str) -> u64 {
    let sql = format!("SELECT CAST(count(*) AS text) FROM users WHERE {condition}");
    db.text(&sql).await.unwrap().parse().unwrap()
}

async fn users_of(dialect: Dialect, plans: &[Plan], rows: u32) -> TestDatabase {
    let db = TestDatabase::new(dialect);
    run(&db, &plans[..1], ApplyOptions::default()).await.unwrap();
    db.execute(&match dialect {
        Dialect::Sqlite => format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
             INSERT INTO users (id, fullname) SELECT i, 'name ' || i FROM n"
        ),
        _ => format!("INSERT INTO users (id, fullname) SELECT i, 'name ' || i FROM generate_series(1, {rows}) i"),
    })
    .await;
    db
}

/// Every row has what the function gives for it as it is now.
async fn assert_shouted(db: &TestDatabase, rows: u64) {
    assert_eq!(count(db, "email_key = upper(fullname) || '!'").await, rows);
    assert_eq!(count(db, "true").await, rows);
}

#[tokio::test]
async fn the_application_fills_what_is_there_and_what_old_code_writes_until_it_is_gone() {
    for dialect in BOTH {
        let new = with_key(dialect, false);
        let plans = plans(dialect, &new);
        let phases: Vec<_> = plans[1].steps.iter().map(|s| s.phase).collect();
        assert_eq!(phases, [Phase::Expand, Phase::Backfill, Phase::Contract, Phase::Contract], "{:?}", plans[1].steps);
        let db = users_of(dialect, &plans, 2500).await;
        let error = run(&db, &plans, ApplyOptions::default()).await.unwrap_err();
        assert!(matches!(&error, Error::NeedsApplication { function, .. } if function == "shout"), "{error}");
        assert_eq!((error.code(), error.exit_code()), ("SD0857", 8));
        run(&db, &plans, ApplyOptions { until: Phase::Backfill, ..with_shout() }).await.unwrap();
        assert_shouted(&db, 2500).await;

        db.execute("INSERT INTO users (id, fullname) VALUES (9001, 'late')").await;
        db.execute("UPDATE users SET fullname = 'changed' WHERE id IN (7, 8)").await;
        db.execute("UPDATE users SET fullname = 'by new code', email_key = 'BY NEW CODE!' WHERE id = 9").await;
        assert_eq!(count(&db, "email_key IS NULL").await, 3, "{dialect:?}: no value is better than an old one");
        let report = run(&db, &plans, with_shout()).await.unwrap();
        assert_eq!(report.steps.iter().map(|s| s.rows).sum::<u64>(), 3);
        assert_shouted(&db, 2501).await;
        assert_eq!(run(&db, &plans, ApplyOptions::default()).await.unwrap().steps, [], "nothing is left to do");
    }
}

#[tokio::test]
async fn code_that_knows_no_null_is_served_when_nobody_can_leave_one_behind() {
    for dialect in BOTH {
        let new = with_key(dialect, true);
        let plans = plans(dialect, &new);
        let mut state = old_code(dialect);
        let last = plans[1].steps.iter().position(|s| s.id.contains("backfill-last")).unwrap();
        assert_eq!(plans[1].steps[last].phase, Phase::Contract);
        for (at, step) in plans[1].steps.iter().enumerate() {
            step.apply_to(&mut state).unwrap();
            assert!(at > last || serves(dialect, &state, &new).is_err(), "{}", step.id);
        }
        serves(dialect, &state, &new).unwrap();
        assert!(plans[1].steps.iter().any(|s| s.hazards.iter().any(|h| h.code == "H002")), "it says so");

        let db = users_of(dialect, &plans, 600).await;
        run(&db, &plans, ApplyOptions { until: Phase::Backfill, ..with_shout() }).await.unwrap();
        db.execute("INSERT INTO users (id, fullname) VALUES (9001, 'late')").await;
        run(&db, &plans, with_shout()).await.unwrap();
        assert_shouted(&db, 601).await;
        let null = db.try_execute("INSERT INTO users (id, fullname) VALUES (9002, 'no key')").await;
        assert!(null.is_err(), "{dialect:?}: it is NOT NULL now");
    }
}

#[tokio::test]
async fn errors_panics_and_refused_values_are_kept_aside_with_their_reasons() {
    for dialect in BOTH {
        let new = with_key(dialect, false);
        let plans = plans(dialect, &new);
        let db = users_of(dialect, &plans, 1500).await;
        db.execute("UPDATE users SET fullname = 'bad' WHERE id = 70").await;
        db.execute("UPDATE users SET fullname = 'panic' WHERE id IN (3, 1400)").await;
        run(&db, &plans, ApplyOptions { until: Phase::Expand, ..with_shout() }).await.unwrap();
        db.execute(match dialect {
            Dialect::Sqlite => {
                "CREATE TRIGGER short BEFORE UPDATE ON users WHEN length(NEW.email_key) > 40 \
                 BEGIN SELECT RAISE(ABORT, 'not short'); END"
            }
            _ => "ALTER TABLE users ADD CONSTRAINT short CHECK (length(email_key) < 40)",
        })
        .await;
        let long = format!("UPDATE users SET fullname = '{}' WHERE id = 800", "x".repeat(50));
        db.execute(&long).await;

        let recorder = Recorder::default();
        let all = migrations(dialect, &plans);
        let error = apply(&db.url, &all, &with_shout(), recorder.shared()).await.unwrap_err();
        let Error::BackfillAside { kept: 4, too_many: false, rows, .. } = &error else { panic!("{error}") };
        assert_eq!(rows.len(), 4);
        assert_eq!((error.code(), recorder.of("kept_aside").len()), ("SD0763", 4), "{error}");
        let rows: BTreeMap<_, _> =
            admin::failed_rows(&db.url).await.unwrap().into_iter().map(|r| (r.key, r.reason)).collect();
        assert_eq!(rows["id = 70"], "number 70 has no name");
        assert_eq!(rows["id = 1400"], "it panicked: number 1400 is too much");
        assert!(rows["id = 800"].contains("short"), "{rows:?}");
        assert_eq!(count(&db, "email_key IS NULL").await, 4, "all others are filled");

        let again = run(&db, &plans, with_shout()).await.unwrap_err();
        assert!(matches!(again, Error::BackfillAside { kept: 4, .. }), "nothing is lost by trying: {again}");
        db.execute("UPDATE users SET fullname = 'good' WHERE id IN (3, 70, 800)").await;
        db.execute("UPDATE users SET fullname = 'by hand', email_key = 'BY HAND!' WHERE id = 1400").await;
        let report = run(&db, &plans, with_shout()).await.unwrap();
        assert_eq!(report.steps.iter().map(|s| s.rows).sum::<u64>(), 3);
        assert_shouted(&db, 1500).await;
        assert_eq!(admin::failed_rows(&db.url).await.unwrap(), []);
    }
}

#[tokio::test]
async fn more_failures_than_are_allowed_stop_it() {
    for dialect in BOTH {
        let plans = plans(dialect, &with_key(dialect, false));
        let db = users_of(dialect, &plans, 5000).await;
        db.execute("UPDATE users SET fullname = 'bad' WHERE id > 100").await;
        let pace = Pace { failed_rows: 10, ..Pace::default() };
        let error = run(&db, &plans, ApplyOptions { pace, ..with_shout() }).await.unwrap_err();
        assert!(matches!(&error, Error::BackfillAside { too_many: true, .. }), "{error}");
        assert!(admin::failed_rows(&db.url).await.unwrap().len() < 4900, "it did not go on to the end");
        assert!(admin::retry_failed_rows(&db.url).await.unwrap() > 10);
        db.execute("UPDATE users SET fullname = 'good' WHERE id > 100").await;
        run(&db, &plans, with_shout()).await.unwrap();
        assert_shouted(&db, 5000).await;
    }
}

#[tokio::test]
async fn what_old_code_writes_while_the_function_computes_is_not_overwritten() {
    for dialect in BOTH {
        let plans = plans(dialect, &with_key(dialect, false));
        let db = users_of(dialect, &plans, 3000).await;
        let slow = |old: Old| async move {
            if old.id % 50 == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            shout(old)
        };
        let options =
            ApplyOptions { backfills: Backfills::default().with_async("shout", slow), ..ApplyOptions::default() };
        let (url, all) = (db.url.clone(), migrations(dialect, &plans));
        let recorder = Recorder::default();
        let (backfill, progress) = (ApplyOptions { until: Phase::Backfill, ..options.clone() }, recorder.shared());
        let going = tokio::spawn(async move { apply(&url, &all, &backfill, progress).await });
        let mut round = 0;
        while !going.is_finished() {
            round += 1;
            let sql = format!(
                "UPDATE users SET fullname = 'round {round} ' || id WHERE id % 7 = {}; \
                 INSERT INTO users (id, fullname) VALUES ({round} + 10000, 'new {round}')",
                round % 7
            );
            for sql in sql.split("; ") {
                db.execute(sql).await;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        going.await.unwrap().unwrap();
        assert!(round > 3, "it was too fast to be disturbed");
        assert_eq!(
            count(&db, "email_key IS NOT NULL AND email_key <> upper(fullname) || '!'").await,
            0,
            "{dialect:?}: a value that does not fit the row"
        );
        run(&db, &plans, options).await.unwrap();
        assert_shouted(&db, 3000 + round).await;
    }
}

#[tokio::test]
async fn a_process_that_was_killed_goes_on_from_its_cursor() {
    for dialect in BOTH {
        let plans = plans(dialect, &with_key(dialect, false));
        let db = users_of(dialect, &plans, 20_000).await;
        let files = tempfile::tempdir().unwrap();
        write(files.path(), dialect, &plans);
        let mut child = Command::new(env!("CARGO_BIN_EXE_lockstep_worker"))
            .args(["apply", &db.url])
            .arg(files.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let batches = out.lines().map_while(Result::ok).filter(|line| line.contains("\"event\":\"backfill\""));
        assert_eq!(batches.take(3).count(), 3, "it ended before it could be killed");
        child.kill().unwrap();
        child.wait().unwrap();
        let filled = count(&db, "email_key IS NOT NULL").await;
        assert!(filled > 0 && filled < 20_000, "{filled}");
        let options = ApplyOptions { wait: Some(Duration::from_secs(30)), ..with_shout() };
        let report = run(&db, &plans, options).await.unwrap();
        assert_eq!(report.steps.iter().map(|s| s.rows).sum::<u64>(), 20_000 - filled, "none is filled twice");
        assert_shouted(&db, 20_000).await;
    }
}

#[tokio::test]
async fn a_service_fills_rows_of_the_old_version_as_long_as_that_one_lives() {
    for dialect in BOTH {
        let plans = plans(dialect, &with_key(dialect, false));
        let db = users_of(dialect, &plans, 800).await;
        let old = Lockstep::builder("shop", migrations(dialect, &plans[..1]))
            .database_url(&db.url)
            .schema(old_code(dialect))
            .start()
            .await
            .unwrap();
        let new = Lockstep::builder("shop", migrations(dialect, &plans))
            .database_url(&db.url)
            .schema(with_key(dialect, false))
            .backfill("shout", shout)
            .contract_poll(Duration::from_millis(50))
            .start()
            .await
            .unwrap();
        assert_shouted(&db, 800).await;
        db.execute("INSERT INTO users (id, fullname) VALUES (9001, 'late')").await;
        while count(&db, "email_key IS NULL").await > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let contracted = |status: &schemadiff::lockstep::Status| status.migrations[1].state == "done";
        assert!(
            !contracted(&admin::status(&db.url, Some(&migrations(dialect, &plans))).await.unwrap()),
            "old code lives"
        );
        old.shutdown().await;
        while !contracted(&admin::status(&db.url, Some(&migrations(dialect, &plans))).await.unwrap()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_shouted(&db, 801).await;
        new.shutdown().await;
    }
}

/// However large rows are, few of them are in memory at once.
#[tokio::test]
async fn large_rows_come_a_few_at_a_time() {
    for dialect in BOTH {
        let plans = plans(dialect, &with_key(dialect, false));
        let db = users_of(dialect, &plans, 40).await;
        let large = if dialect == Dialect::Sqlite { "hex(zeroblob(500000))" } else { "repeat('0', 1000000)" };
        db.execute(&format!("UPDATE users SET fullname = {large} || id WHERE id > 4")).await;
        let recorder = Recorder::default();
        let options = ApplyOptions {
            backfills: Backfills::default()
                .with("shout", |old: Old| Ok::<_, String>(New { email_key: old.id.to_string() })),
            until: Phase::Backfill,
            ..ApplyOptions::default()
        };
        apply(&db.url, &migrations(dialect, &plans), &options, recorder.shared()).await.unwrap();
        assert_eq!(count(&db, "email_key = CAST(id AS text)").await, 40);
        let done: Vec<u64> = recorder.of("backfill").iter().map(|event| event["rows"].as_u64().unwrap()).collect();
        let most = done.windows(2).map(|pair| pair[1] - pair[0]).chain(done.first().copied()).max();
        assert!(most.is_some_and(|most| most <= 7), "{dialect:?}: {done:?}");
    }
}

/// One row is all that there is room for, and the database refuses its value: that row is kept aside, and not the one that the
/// range began with.
#[tokio::test]
async fn a_large_row_that_is_refused_is_the_one_that_is_named() {
    for dialect in BOTH {
        let plans = plans(dialect, &with_key(dialect, false));
        let db = users_of(dialect, &plans, 12).await;
        let large = if dialect == Dialect::Sqlite { "hex(zeroblob(1500000))" } else { "repeat('0', 3000000)" };
        db.execute(&format!("UPDATE users SET fullname = {large} WHERE id > 2")).await;
        let options = |until| ApplyOptions {
            backfills: Backfills::default().with("shout", |old: Old| {
                let email_key = if old.id == 3 { "a\0b".to_owned() } else { old.id.to_string() };
                Ok::<_, String>(New { email_key })
            }),
            until,
            ..ApplyOptions::default()
        };
        run(&db, &plans, options(Phase::Expand)).await.unwrap();
        db.execute("UPDATE users SET email_key = 'known' WHERE id < 3").await;
        if dialect == Dialect::Sqlite {
            // There a NUL is a character like any other.
            db.execute(
                "CREATE TRIGGER refused BEFORE UPDATE OF email_key ON users WHEN NEW.id = 3 AND NEW.email_key IS NOT NULL \
                 BEGIN SELECT RAISE(ABORT, 'not that one'); END",
            )
            .await;
        }
        let error = run(&db, &plans, options(Phase::Backfill)).await.unwrap_err();
        let Error::BackfillAside { kept, rows, .. } = &error else { panic!("{error}") };
        assert_eq!((*kept, rows[0].0.as_str()), (1, "id = 3"), "{dialect:?}: {error}");
        assert_eq!(count(&db, "email_key IS NOT NULL").await, 11);
    }
}

/// They lie behind the cursor of the step.
#[tokio::test]
async fn rows_that_were_kept_aside_and_repaired_are_filled_when_they_are_retried() {
    for dialect in BOTH {
        let plans = plans(dialect, &with_key(dialect, false));
        let db = users_of(dialect, &plans, 30).await;
        db.execute("UPDATE users SET fullname = 'bad' WHERE id IN (3, 20)").await;
        let backfills = Backfills::default().with("shout", shout);
        let options = ApplyOptions { until: Phase::Backfill, backfills, ..ApplyOptions::default() };
        assert_eq!(run(&db, &plans, options.clone()).await.unwrap_err().code(), "SD0763");
        db.execute("UPDATE users SET fullname = 'user ' || id WHERE fullname = 'bad'").await;
        assert_eq!(admin::retry_failed_rows(&db.url).await.unwrap(), 2);
        run(&db, &plans, options).await.unwrap();
        assert_shouted(&db, 30).await;
    }
}

#[tokio::test]
async fn a_run_that_is_told_to_stop_does_not_wait_for_the_function() {
    for dialect in BOTH {
        let plans = plans(dialect, &with_key(dialect, false));
        let db = users_of(dialect, &plans, 30).await;
        let (asked, mut was_asked) = tokio::sync::watch::channel(false);
        let for_ever = move |_: Old| {
            asked.send_replace(true);
            std::future::pending::<Result<New, String>>()
        };
        let (stop, told) = tokio::sync::watch::channel(false);
        let backfills = Backfills::default().with_async("shout", for_ever);
        let options = ApplyOptions { until: Phase::Backfill, backfills, stop: Some(told), ..ApplyOptions::default() };
        let running = run(&db, &plans, options);
        let stopping = async {
            was_asked.wait_for(|asked| *asked).await.unwrap();
            // Whoever fills would write his cursor over the one that is set back.
            let retried = admin::retry_failed_rows(&db.url).await;
            assert!(matches!(retried, Err(Error::WorkerBusy { .. })), "{dialect}: {retried:?}");
            stop.send_replace(true);
        };
        let (ended, ()) = tokio::join!(running, stopping);
        assert!(matches!(ended, Err(Error::Interrupted)), "{dialect}: {ended:?}");
    }
}
