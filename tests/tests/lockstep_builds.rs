//! Two builds of one application that carry the same migrations and declare other structs are two versions.

use std::sync::Arc;

use schemadiff::{
    Error, Lockstep,
    lockstep::{
        NoProgress, Role,
        admin::{ApplyOptions, apply, status},
    },
    model::{Dialect, Schema},
};
use schemadiff_tests::{
    engine::TestDatabase,
    lockstep::{FIRST, first, migrations, old_code, second, users_with},
};
use sqlx::{Connection as _, postgres::PgPoolOptions, sqlite::SqlitePoolOptions};

const BOTH: [Dialect; 2] = [Dialect::Postgres, Dialect::Sqlite];

/// A build with the first migration alone whose structs say this.
async fn build(db: &TestDatabase, code: Schema) -> Result<Lockstep, Error> {
    Lockstep::builder("shop", migrations(db.dialect, &[first(db.dialect)]))
        .database_url(&db.url)
        .schema(code)
        .role(Role::WaitOnly)
        .wait_deadline(std::time::Duration::from_secs(1))
        .start()
        .await
}

async fn with_first(dialect: Dialect) -> TestDatabase {
    let db = TestDatabase::new(dialect);
    let first = migrations(dialect, &[first(dialect)]);
    apply(&db.url, &first, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
    db
}

async fn drop_fullname(db: &TestDatabase) -> Result<(), Error> {
    let plans = [first(db.dialect), second(db.dialect)];
    apply(&db.url, &migrations(db.dialect, &plans), &ApplyOptions::default(), Arc::new(NoProgress)).await.map(drop)
}

/// A new connection of a pool of this version.
async fn connects(db: &TestDatabase, version: &Lockstep) -> bool {
    let soon = std::time::Duration::from_millis(500);
    if db.dialect == Dialect::Sqlite {
        let pool = SqlitePoolOptions::new().acquire_timeout(soon).after_connect(version.hook()).connect(&db.url).await;
        return pool.is_ok();
    }
    let pool = PgPoolOptions::new().acquire_timeout(soon).after_connect(version.hook()).connect(&db.url).await;
    pool.is_ok()
}

#[tokio::test]
async fn a_build_that_is_gone_holds_nothing_beside_one_that_lives_and_is_left_behind_alone() {
    for dialect in BOTH {
        let db = with_first(dialect).await;
        // The second build reads the column no more, and came without a migration.
        let reads = build(&db, old_code(dialect)).await.unwrap();
        let reads_not = build(&db, users_with(dialect, &[])).await.unwrap();
        assert_ne!(reads.version(), reads_not.version());
        assert_eq!((reads.migration(), reads_not.migration()), (FIRST, FIRST));

        // While both live, only the one that reads the column holds it.
        let error = drop_fullname(&db).await.unwrap_err();
        let Error::GateClosed { holders, .. } = &error else { panic!("{error}") };
        assert_eq!(holders.iter().map(|h| h.version.as_str()).collect::<Vec<_>>(), [reads.version()]);

        let old = reads.version().to_owned();
        reads.shutdown().await;
        drop_fullname(&db).await.unwrap();
        let seen = status(&db.url, None).await.unwrap();
        assert_eq!(seen.retired.iter().map(|r| r.version.as_str()).collect::<Vec<_>>(), [old.as_str()]);
        assert!(connects(&db, &reads_not).await, "a build that never needed the column is not refused");

        // Rolled back to the build that reads it: refused by name, and a build like the one that lives is not.
        let error = build(&db, old_code(dialect)).await.map(drop).unwrap_err();
        let Error::Retired { version, .. } = &error else { panic!("{error}") };
        assert_eq!(*version, old);
        build(&db, users_with(dialect, &[])).await.unwrap().shutdown().await;
        reads_not.shutdown().await;
    }
}

#[tokio::test]
async fn a_build_that_comes_after_the_drop_was_decided_is_refused_though_another_of_its_migration_lives() {
    for dialect in BOTH {
        let db = with_first(dialect).await;
        let reads_not = build(&db, users_with(dialect, &[])).await.unwrap();
        drop_fullname(&db).await.unwrap();
        // Nobody ever saw this build, so nobody could leave it behind by name: the database does not serve it.
        let error = build(&db, old_code(dialect)).await.map(drop).unwrap_err();
        assert!(matches!(error, Error::NotServed { .. } | Error::NotServedInTime { .. }), "{error}");
        reads_not.shutdown().await;
    }
}

#[tokio::test]
async fn the_lock_of_a_build_is_its_own() {
    let db = with_first(Dialect::Postgres).await;
    let reads = build(&db, old_code(Dialect::Postgres)).await.unwrap();
    let reads_not = build(&db, users_with(Dialect::Postgres, &[])).await.unwrap();
    let mut look = sqlx::PgConnection::connect(&db.url).await.unwrap();
    let keys: i64 = sqlx::query_scalar(
        "SELECT count(DISTINCT (classid, objid)) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock'
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .fetch_one(&mut look)
    .await
    .unwrap();
    assert_eq!(keys, 2);
    reads.shutdown().await;
    reads_not.shutdown().await;
}
