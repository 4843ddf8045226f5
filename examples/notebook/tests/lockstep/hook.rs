//! The hook of a pool of r2d2.

use std::{
    sync::{Arc, LazyLock, atomic::Ordering},
    time::Duration,
};

use diesel::{
    PgConnection, QueryableByName, RunQueryDsl as _, SqliteConnection,
    r2d2::{ConnectionManager, CustomizeConnection, Pool, R2D2Connection},
    sql_types::Text,
};
use schemadiff::{
    Lockstep,
    diesel::{Customizer, Guarding},
    lockstep::{
        Builder, Contract, Evidence, NoProgress, Ready,
        admin::{ApplyOptions, apply, status},
    },
    model::Dialect,
};
use schemadiff_tests::{
    engine::{PgBouncer, Postgres, TestDatabase, counting_proxy},
    lockstep::{FIRST, SECOND, first, migrations, new_code, second},
};

use crate::support::path;

static POOLER: LazyLock<PgBouncer> = LazyLock::new(|| PgBouncer::in_front_of(Postgres::shared(), 4));

async fn prepared(dialect: Dialect) -> (TestDatabase, Builder) {
    let db = TestDatabase::new(dialect);
    let all = migrations(dialect, &[first(dialect), second(dialect)]);
    apply(&db.url, &all, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
    let builder = Lockstep::builder("shop", all)
        .database_url(&db.url)
        .schema(new_code(dialect))
        .contract(Contract::Manual)
        .heartbeat(Duration::from_millis(300));
    (db, builder)
}

fn pool<C: R2D2Connection + Send + 'static>(
    url: &str,
    hook: impl CustomizeConnection<C, diesel::r2d2::Error>,
) -> Result<Pool<ConnectionManager<C>>, String> {
    let pool =
        Pool::builder().max_size(3).connection_timeout(Duration::from_secs(3)).connection_customizer(Box::new(hook));
    pool.build(ConnectionManager::new(url)).map_err(|e| e.to_string())
}

#[derive(QueryableByName)]
struct Shown {
    #[diesel(sql_type = Text)]
    search_path: String,
}

fn search_path(pool: &Pool<ConnectionManager<PgConnection>>) -> String {
    let mut connection = pool.get().unwrap();
    diesel::sql_query("SHOW search_path").get_result::<Shown>(&mut connection).unwrap().search_path
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_of_the_pool_proves_the_life_of_its_version() {
    let (db, builder) = prepared(Dialect::Postgres).await;
    let lockstep = builder.start_blocking().unwrap();
    let pool = pool::<PgConnection>(&db.url, lockstep.customizer(&db.url).unwrap()).unwrap();
    let seen = status(&db.url, None).await.unwrap();
    assert_eq!((seen.versions[0].evidence, seen.versions[0].connections), (Evidence::Lock, 4), "{seen:#?}");
    assert_eq!(seen.versions[0].migration, SECOND);
    assert!(search_path(&pool).starts_with("schemadiff_shop_"), "{}", search_path(&pool));
    assert!(seen.strangers.is_empty(), "{seen:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_pooler_heartbeats_are_the_evidence() {
    let (db, builder) = prepared(Dialect::Postgres).await;
    // Started in an async runtime of the application's, asked with the same words.
    let lockstep = builder.start().await.unwrap();
    let url = POOLER.url(&db.name);
    let pool = pool::<PgConnection>(&url, lockstep.customizer(&url).await.unwrap()).unwrap();
    let seen = status(&db.url, None).await.unwrap();
    assert_eq!((seen.versions[0].evidence, seen.versions[0].connections), (Evidence::Heartbeat, 1), "{seen:#?}");
    assert_eq!(search_path(&pool), "\"$user\", public", "a path that one client sets would be the next client's");
    drop(pool);
    lockstep.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_costs_one_round_trip() {
    let (db, builder) = prepared(Dialect::Postgres).await;
    let (port, count) = counting_proxy(Postgres::shared().port()).await;
    let url = format!("postgres://postgres@127.0.0.1:{port}/{}?sslmode=disable", db.name);
    let lockstep = builder.start_blocking().unwrap();
    let hook = lockstep.customizer(&url).unwrap();
    let connect = |with: bool| {
        count.store(0, Ordering::SeqCst);
        let pool = Pool::builder().max_size(1);
        let pool = if with { pool.connection_customizer(Box::new(hook.clone())) } else { pool };
        let pool = pool.build(ConnectionManager::<PgConnection>::new(&url)).unwrap();
        let round_trips = count.load(Ordering::SeqCst);
        drop(pool);
        round_trips
    };
    assert_eq!(connect(true), connect(false) + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_version_gets_no_connection_and_hears_why() {
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        let (db, builder) = prepared(dialect).await;
        let lockstep = builder.start_blocking().unwrap();
        let hook = lockstep.customizer(&db.url).unwrap();
        let connect = || match dialect {
            Dialect::Sqlite => pool::<SqliteConnection>(path(&db.url), hook.clone()).map(drop),
            _ => pool::<PgConnection>(&db.url, hook.clone()).map(drop),
        };
        connect().unwrap();
        let (table, now) = match dialect {
            Dialect::Sqlite => ("_schemadiff_retired", "strftime('%Y-%m-%d %H:%M:%f', 'now')"),
            _ => ("schemadiff.retired", "clock_timestamp()"),
        };
        let version = status(&db.url, None).await.unwrap().versions[0].version.clone();
        let reason = "it''s gone";
        db.execute(&format!(
            "INSERT INTO {table} (app, version, migration, step, way, reason, at)
             VALUES ('shop', '{version}', '{FIRST}', '04', 'forward', '{reason}', {now})"
        ))
        .await;
        let refused = connect().unwrap_err();
        assert!(refused.contains("it's gone"), "{refused}");
        assert!(matches!(lockstep.ready(), Ready::Refused { .. }), "{:?}", lockstep.ready());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_through_under_any_kind_of_transaction_that_the_role_has_by_default() {
    let (db, builder) = prepared(Dialect::Postgres).await;
    let lockstep = builder.start_blocking().unwrap();
    for setting in ["isolation = 'repeatable read'", "isolation = 'serializable'", "read_only = on"] {
        db.execute(&format!("ALTER ROLE postgres IN DATABASE {} SET default_transaction_{setting}", db.name)).await;
        let pool = pool::<PgConnection>(&db.url, lockstep.customizer(&db.url).unwrap());
        assert!(pool.is_ok_and(|pool| search_path(&pool).starts_with("schemadiff_shop_")), "{setting}");
        db.execute(&format!("SET TRANSACTION READ WRITE; ALTER ROLE postgres IN DATABASE {} RESET ALL", db.name)).await;
    }
}

/// Heartbeats that come so rarely that the instance may have been given up: each connection that is open already is asked for
/// when it is wanted.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_open_is_asked_again_after_a_silence() {
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        let (db, builder) = prepared(dialect).await;
        let rarely = builder.heartbeat(Duration::from_secs(3600)).grace(Duration::from_millis(400));
        let lockstep = rarely.start_blocking().unwrap();
        let hook = lockstep.customizer(&db.url).unwrap();
        match dialect {
            Dialect::Sqlite => {
                let manager = hook.guarding(ConnectionManager::<SqliteConnection>::new(path(&db.url)));
                guarded(&db, lockstep.version(), manager, hook).await;
            }
            _ => {
                guarded(&db, lockstep.version(), hook.guarding(ConnectionManager::<PgConnection>::new(&db.url)), hook)
                    .await
            }
        }
        let ready = lockstep.ready();
        assert!(matches!(ready, Ready::Refused { .. }), "{ready:?}");
    }
}

async fn guarded<C>(db: &TestDatabase, version: &str, manager: Guarding<ConnectionManager<C>>, hook: Customizer)
where
    C: R2D2Connection + 'static,
    Guarding<ConnectionManager<C>>: diesel::r2d2::ManageConnection<Connection = C>,
    Customizer: CustomizeConnection<C, <Guarding<ConnectionManager<C>> as diesel::r2d2::ManageConnection>::Error>,
{
    let pool = Pool::builder().max_size(1).connection_timeout(Duration::from_secs(2));
    let pool = pool.connection_customizer(Box::new(hook)).build(manager).unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    drop(pool.get().unwrap());
    let (prefix, now) = match db.dialect {
        Dialect::Sqlite => ("_schemadiff_", "strftime('%Y-%m-%d %H:%M:%f', 'now')"),
        _ => ("schemadiff.", "clock_timestamp()"),
    };
    db.execute(&format!("UPDATE {prefix}lease SET ended_at = {now}")).await;
    db.execute(&format!(
        "INSERT INTO {prefix}retired VALUES ('shop', '{version}', '{SECOND}', '04', 'forward', 'gone', {now})"
    ))
    .await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(tokio::task::block_in_place(|| pool.get().map(drop)).is_err());
}
