//! `run_pending_migrations`.

use std::{sync::Arc, time::Duration};

use diesel::{Connection as _, PgConnection};
use diesel_migrations::MigrationHarness as _;
use schemadiff::{
    Error, Lockstep,
    diesel::Source,
    lockstep::{
        Builder, Contract, NoProgress,
        admin::{ApplyOptions, abort},
    },
    model::Dialect,
};
use schemadiff_tests::{
    engine::TestDatabase,
    lockstep::{FIRST, Recorder, SECOND, first, migrations, new_code, old_code, second},
};

use crate::support::{ENGINES, fill, number, run_pending};

fn builder(db: &TestDatabase, plans: usize, recorder: &Recorder) -> Builder {
    let all = [first(db.dialect), second(db.dialect)];
    Lockstep::builder("shop", migrations(db.dialect, &all[..plans]))
        .database_url(&db.url)
        .schema(if plans == 1 { old_code(db.dialect) } else { new_code(db.dialect) })
        .progress(recorder.shared())
        .wait_deadline(Duration::from_secs(60))
}

fn source(db: &TestDatabase, plans: usize, recorder: &Recorder) -> Source {
    builder(db, plans, recorder).migration_source().unwrap()
}

fn versions(migration: &str, steps: &[&str]) -> Vec<String> {
    steps.iter().map(|step| format!("{migration}.{step}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_gate_is_no_error_and_says_what_it_waits_for() {
    for dialect in ENGINES {
        let (db, recorder) = (TestDatabase::new(dialect), Recorder::default());
        assert_eq!(run_pending(&db, &source(&db, 1, &recorder)).unwrap(), versions(FIRST, &["001"]));
        fill(&db, 3000).await;
        let old = builder(&db, 1, &recorder).contract(Contract::Manual).start_blocking().unwrap();
        assert!(old.ready().is_ready());

        let source = source(&db, 2, &recorder);
        // Expand and backfill, a concurrent index build among them on PostgreSQL.
        assert_eq!(run_pending(&db, &source).unwrap(), versions(SECOND, &["001", "002", "003"]));
        assert_eq!(number(&db, "SELECT count(*) FROM users WHERE email_key = lower(fullname)").await, 3000);
        assert!(recorder.of("backfill").len() > 1, "it works in batches: {:?}", recorder.of("backfill"));
        let closed = recorder.of("gate_closed");
        let holder = closed[0]["holders"][0]["version"].as_str().unwrap();
        assert_eq!(schemadiff::model::migration_of(holder), FIRST, "{closed:#?}");
        let waiting = source.status().unwrap().waiting;
        assert_eq!(
            (waiting[0].step.as_str(), waiting[0].holders[0].app.as_str()),
            ("04-drop-column-users-fullname", "shop")
        );
        assert_eq!(run_pending(&db, &source).unwrap(), Vec::<String>::new());
        assert_eq!(recorder.of("gate_closed").len(), closed.len(), "it is said once");

        old.shutdown();
        assert_eq!(run_pending(&db, &source).unwrap(), versions(SECOND, &["004"]));
        assert_eq!(run_pending(&db, &source).unwrap(), Vec::<String>::new());
        assert_eq!(number(&db, "SELECT count(*) FROM __diesel_schema_migrations").await, 5);
        assert!(db.try_execute("SELECT fullname FROM users").await.is_err());
        assert!(source.status().unwrap().worker.is_none(), "the work was given back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_start_at_once_do_each_step_once() {
    for dialect in ENGINES {
        let db = TestDatabase::new(dialect);
        run_pending(&db, &source(&db, 1, &Recorder::default())).unwrap();
        fill(&db, 1000).await;
        let recorders: Vec<Recorder> = (0..4).map(|_| Recorder::default()).collect();
        std::thread::scope(|scope| {
            let runs: Vec<_> = recorders.iter().map(|r| scope.spawn(|| run_pending(&db, &source(&db, 2, r)))).collect();
            for run in runs {
                run.join().unwrap().unwrap();
            }
        });
        let done: Vec<String> = recorders.iter().flat_map(Recorder::finished).collect();
        assert_eq!(done.len(), 4, "{done:?}");
        let told = number(&db, "SELECT count(*) FROM __diesel_schema_migrations").await;
        assert_eq!(told, 5, "Diesel knows of each step once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_back_is_offered_again() {
    for dialect in ENGINES {
        let (db, recorder) = (TestDatabase::new(dialect), Recorder::default());
        let expanded = || builder(&db, 2, &recorder).contract(Contract::Manual).migration_source().unwrap();
        let all = versions(SECOND, &["001", "002", "003"]);
        assert_eq!(run_pending(&db, &expanded()).unwrap(), [versions(FIRST, &["001"]), all].concat());
        let plans = migrations(dialect, &[first(dialect), second(dialect)]);
        abort(&db.url, &plans, SECOND, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
        let again = run_pending(&db, &expanded()).unwrap();
        assert_eq!(
            again,
            versions(SECOND, &["001.2", "002.2", "003.2"]),
            "the ledger is the truth, not Diesel's table"
        );
        db.execute("SELECT email_key FROM users").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_tool_has_applied_is_not_pending_and_steps_need_no_transaction_of_diesels() {
    let db = TestDatabase::new(Dialect::Postgres);
    let mut connection = PgConnection::establish(&db.url).unwrap();
    let source = source(&db, 2, &Recorder::default());
    let pending = connection.pending_migrations(source.clone()).unwrap();
    assert_eq!(pending.len(), 5);
    assert!(pending.iter().all(|step| !step.metadata().run_in_transaction()));
    assert!(pending[0].name().to_string().starts_with(FIRST), "{}", pending[0].name());
    drop(pending);
    let plans = migrations(db.dialect, &[first(db.dialect), second(db.dialect)]);
    schemadiff::lockstep::admin::apply(&db.url, &plans, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
    assert!(!connection.has_pending_migration(source.clone()).unwrap());
    // One by one, and never backwards.
    let db = TestDatabase::new(Dialect::Postgres);
    let mut connection = PgConnection::establish(&db.url).unwrap();
    let source = super::source::source(&db, 2, &Recorder::default());
    let ran: Vec<String> = (0..5).map(|_| connection.run_next_migration(source.clone()).unwrap().to_string()).collect();
    assert_eq!(ran[4], format!("{SECOND}.004"));
    connection.revert_last_migration(source).unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_is_the_runtimes_error_and_the_next_call_goes_on() {
    for dialect in ENGINES {
        let (db, recorder) = (TestDatabase::new(dialect), Recorder::default());
        run_pending(&db, &source(&db, 1, &recorder)).unwrap();
        db.execute("ALTER TABLE users ADD COLUMN email_key text").await;
        let failed = run_pending(&db, &source(&db, 2, &recorder)).unwrap_err();
        assert!(failed.starts_with("SD07"), "{failed}");
        db.execute("ALTER TABLE users DROP COLUMN email_key").await;
        assert_eq!(
            run_pending(&db, &source(&db, 2, &recorder)).unwrap(),
            versions(SECOND, &["001", "002", "003", "004"])
        );
    }
}

#[test]
fn a_database_in_memory_is_refused() {
    let all = migrations(Dialect::Sqlite, &[first(Dialect::Sqlite)]);
    let refused = Lockstep::builder("shop", all).database_url("sqlite::memory:").migration_source().unwrap_err();
    assert!(matches!(refused, Error::InMemory), "{refused}");
}
