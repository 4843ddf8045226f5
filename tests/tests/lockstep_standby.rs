//! Connections of a service to a standby: the gate on the primary cannot see them.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use schemadiff::{
    Error, Lockstep,
    lockstep::{
        Builder, Evidence, NoProgress, Role,
        admin::{ApplyOptions, apply, status},
    },
    model::Dialect,
    plan::Phase,
};
use schemadiff_tests::{
    engine::{Major, Postgres, TestDatabase},
    lockstep::{first, migrations, new_code, old_code, second},
};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool, postgres::PgPoolOptions};

const DIALECT: Dialect = Dialect::Postgres;
const GRACE: Duration = Duration::from_secs(3);

/// A primary with its standby, and a database with the first migration.
async fn pair() -> (Postgres, Postgres, TestDatabase) {
    let primary = Postgres::start(Major::V15);
    let standby = primary.standby(Major::V15);
    let db = primary.database();
    let first = migrations(DIALECT, &[first(DIALECT)]);
    apply(&db.url, &first, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
    db.execute("INSERT INTO users (id, fullname) VALUES (1, 'Ada')").await;
    // Before that, the database itself is not there.
    replayed(&db, &mut PgConnection::connect(&standby.url("postgres")).await.unwrap()).await;
    (primary, standby, db)
}

fn old(db: &TestDatabase) -> Builder {
    Lockstep::builder("shop", migrations(DIALECT, &[first(DIALECT)]))
        .database_url(&db.url)
        .schema(old_code(DIALECT))
        .role(Role::WaitOnly)
        .heartbeat(Duration::from_millis(200))
}

/// A pool of one connection, and what the hook said when it did not let it in.
async fn pool(lockstep: &Lockstep, url: &str) -> Result<PgPool, String> {
    let (said, hook) = (Arc::new(Mutex::new(String::new())), lockstep.hook::<PgConnection>());
    let to = Arc::clone(&said);
    let options = PgPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_secs(2));
    let options = options.after_connect(move |connection, metadata| {
        let (hook, to) = (hook.clone(), Arc::clone(&to));
        Box::pin(async move {
            let entered = hook(connection, metadata).await;
            if let Err(error) = &entered {
                *to.lock().unwrap() = error.to_string();
            }
            entered
        })
    });
    options.connect(url).await.map_err(|error| match said.lock().unwrap().as_str() {
        "" => error.to_string(),
        said => said.to_owned(),
    })
}

async fn contract(db: &TestDatabase, wait: Duration) -> Result<(), Error> {
    let options = ApplyOptions { grace: GRACE, wait: Some(wait), ..ApplyOptions::default() };
    let all = migrations(DIALECT, &[first(DIALECT), second(DIALECT)]);
    apply(&db.url, &all, &options, Arc::new(NoProgress)).await.map(drop)
}

/// Waits until the standby has replayed what the primary has committed by now.
async fn replayed(db: &TestDatabase, replica: &mut PgConnection) {
    let there = db.text("SELECT pg_current_wal_insert_lsn()::text").await.unwrap();
    let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{there}'");
    while !sqlx::query_scalar::<_, bool>(sqlx::AssertSqlSafe(sql.as_str())).fetch_one(&mut *replica).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_connection_to_a_standby_is_let_in_when_the_application_says_that_there_are_such() {
    let (_primary, standby, db) = pair().await;
    let there = standby.url(&db.name);
    let mut replica = PgConnection::connect(&there).await.unwrap();
    replayed(&db, &mut replica).await;

    let silent = old(&db).start().await.unwrap();
    let refused = pool(&silent, &there).await.unwrap_err();
    assert!(refused.contains("goes to a standby, where the gate on the primary cannot see it"), "{refused}");
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(sqlx::query_scalar::<_, i64>(locks).fetch_one(&mut replica).await.unwrap(), 0);
    // To the primary it goes as ever.
    pool(&silent, &db.url).await.unwrap().close().await;
    silent.shutdown().await;

    let says = old(&db).reads_from_standbys().start().await.unwrap();
    let (reads, writes) = (pool(&says, &there).await.unwrap(), pool(&says, &db.url).await.unwrap());
    let name: String = sqlx::query_scalar("SELECT fullname FROM users").fetch_one(&reads).await.unwrap();
    assert_eq!(name, "Ada");
    let seen = status(&db.url, None).await.unwrap();
    assert_eq!((seen.versions.len(), seen.versions[0].evidence), (1, Evidence::Standby), "{seen:#?}");
    assert_eq!(seen.versions[0].instances.len(), 1, "{seen:#?}");
    reads.close().await;
    writes.close().await;
    says.shutdown().await;
    contract(&db, Duration::ZERO).await.expect("a lease that was given back holds nothing, without any grace time");
    // It is left behind, and the standby knows it as soon as it has replayed that.
    replayed(&db, &mut replica).await;
    let error = old(&db).reads_from_standbys().start().await.map(drop).unwrap_err();
    assert!(matches!(error, Error::Retired { .. }), "{error}");
}

#[tokio::test]
async fn who_is_to_migrate_a_standby_or_to_register_there_is_told_so() {
    let (_primary, standby, db) = pair().await;
    let there = standby.url(&db.name);
    replayed(&db, &mut PgConnection::connect(&there).await.unwrap()).await;
    let before = db.text("SELECT count(*)::text FROM schemadiff.lease").await;
    let all = migrations(DIALECT, &[first(DIALECT), second(DIALECT)]);
    let error = apply(&there, &all, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("SD0556", 5), "{error}");
    let error = old(&db).database_url(&there).start().await.map(drop).unwrap_err();
    assert_eq!(error.code(), "SD0556", "{error}");
    assert!(error.help()[0].contains("primary"), "{:?}", error.help());
    // One where there is no ledger yet, either.
    let empty = Lockstep::builder("shop", all).database_url(standby.url("postgres")).schema(old_code(DIALECT));
    assert_eq!(empty.start().await.map(drop).unwrap_err().code(), "SD0556");
    assert_eq!(db.text("SELECT count(*)::text FROM schemadiff.lease").await, before);
    // Looking is possible.
    assert_eq!(status(&there, None).await.unwrap().migrations.len(), 1);
}

#[tokio::test]
async fn a_standby_that_is_behind_lets_nobody_in_whom_it_does_not_serve_yet() {
    let (_primary, standby, db) = pair().await;
    let there = standby.url(&db.name);
    let mut replica = PgConnection::connect(&there).await.unwrap();
    replayed(&db, &mut replica).await;
    replica.execute("SELECT pg_wal_replay_pause()").await.unwrap();
    while sqlx::query_scalar::<_, String>("SELECT pg_get_wal_replay_pause_state()")
        .fetch_one(&mut replica)
        .await
        .unwrap()
        != "paused"
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    // The new version is served by the primary, and its column is not on the standby yet.
    let until = ApplyOptions { until: Phase::Backfill, ..ApplyOptions::default() };
    let all = migrations(DIALECT, &[first(DIALECT), second(DIALECT)]);
    apply(&db.url, &all, &until, Arc::new(NoProgress)).await.unwrap();
    let new = Lockstep::builder("shop", all).database_url(&db.url).schema(new_code(DIALECT)).role(Role::WaitOnly);
    let new = new.reads_from_standbys().start().await.unwrap();
    let waits = {
        let hook = new.hook::<PgConnection>();
        let options = PgPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_secs(30));
        let there = there.clone();
        tokio::spawn(async move { options.after_connect(hook).connect(&there).await })
    };
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!waits.is_finished(), "a standby without the column let the new version in");
    replica.execute("SELECT pg_wal_replay_resume()").await.unwrap();
    let pool = waits.await.unwrap().unwrap();
    let key: Option<String> = sqlx::query_scalar("SELECT email_key FROM users").fetch_one(&pool).await.unwrap();
    assert_eq!(key.as_deref(), Some("ada"));
    pool.close().await;
    new.shutdown().await;
}

#[tokio::test]
async fn readers_on_a_standby_hold_contract_for_the_grace_time_when_their_process_is_cut_off_from_the_primary() {
    let (_primary, standby, db) = pair().await;
    let there = standby.url(&db.name);
    let mut replica = PgConnection::connect(&there).await.unwrap();
    let started = Instant::now();
    // No sign of life but the first, so that it can be cut off for as long as the test wants.
    let cut_off = old(&db).heartbeat(Duration::from_secs(3600)).reads_from_standbys().start().await.unwrap();
    let reads = pool(&cut_off, &there).await.unwrap();
    db.execute("SELECT pg_terminate_backend(session_pid) FROM schemadiff.lease").await;
    while db.text("SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'").await.as_deref() != Some("0") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let error = contract(&db, Duration::ZERO).await.unwrap_err();
    let Error::GateClosed { holders, .. } = &error else { panic!("{error}") };
    assert_eq!((holders.len(), holders[0].evidence), (1, Evidence::Standby), "{error}");
    sqlx::query("SELECT fullname FROM users").fetch_one(&reads).await.unwrap();

    contract(&db, Duration::from_secs(60)).await.unwrap();
    assert!(started.elapsed() >= GRACE, "{:?}", started.elapsed());
    replayed(&db, &mut replica).await;
    let refused = pool(&cut_off, &there).await.unwrap_err();
    assert!(refused.contains("is retired in this database"), "{refused}");
    reads.close().await;
    cut_off.shutdown().await;
}
