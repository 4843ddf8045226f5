//! What a start costs, and what it needs.

mod settings;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use schemadiff::{
    Lockstep,
    lockstep::{
        NoProgress,
        admin::{ApplyOptions, apply},
    },
    model::Dialect,
    plan::{Envelope, Phase, Plan},
};
use schemadiff_tests::{
    engine::{Postgres, TestDatabase, counting_proxy},
    lockstep::{first, migrations, new_code, old_code, plan, second, step},
};

const DIALECT: Dialect = Dialect::Postgres;

/// A chain of so many migrations that change nothing after the first two.
fn long_chain(length: usize) -> Vec<Plan> {
    let mut plans = vec![first(DIALECT), second(DIALECT)];
    let schema = schemadiff_tests::lockstep::lock(DIALECT, &plans).schema;
    while plans.len() < length {
        let nothing = step("01-nothing", Phase::Expand, Envelope::Transaction, vec!["SELECT 1".to_owned()], Vec::new());
        let id = format!("202602{:08}_nothing", plans.len());
        let parent = plans.last().unwrap().id.clone();
        plans.push(plan(DIALECT, &id, Some(&parent), &schema, vec![(nothing, schema.clone())]));
    }
    plans
}

#[tokio::test]
async fn a_start_with_nothing_to_do_is_one_round_trip() {
    let db = TestDatabase::new(DIALECT);
    let all = migrations(DIALECT, &long_chain(200));
    apply(&db.url, &all, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();

    let (port, count) = counting_proxy(Postgres::shared().port()).await;
    let url = format!("postgres://postgres@127.0.0.1:{port}/{}?sslmode=disable", db.name);
    let start = || Lockstep::builder("shop", all.clone()).database_url(&url).schema(new_code(DIALECT)).start();
    let lockstep = start().await.unwrap();
    assert_eq!(count.swap(0, Ordering::SeqCst), 1);

    let pool = sqlx::postgres::PgPoolOptions::new().after_connect(lockstep.hook()).connect(&url).await.unwrap();
    let with_hook = count.swap(0, Ordering::SeqCst);
    pool.close().await;
    let pool = sqlx::postgres::PgPoolOptions::new().connect(&url).await.unwrap();
    assert_eq!(with_hook, count.load(Ordering::SeqCst) + 1, "one round trip for each connection");
    pool.close().await;
    lockstep.shutdown().await;
}

#[tokio::test]
async fn a_missing_right_is_spelled_out() {
    let db = TestDatabase::new(DIALECT);
    db.execute("DROP ROLE IF EXISTS \"a clerk\"; CREATE ROLE \"a clerk\" LOGIN").await;
    let url = Postgres::shared().url_as("a%20clerk", &db.name);
    let all = migrations(DIALECT, &[first(DIALECT)]);
    let error = apply(&url, &all, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap_err();
    assert_eq!(error.code(), "SD0552", "{error}");
    let grant = format!("GRANT CREATE ON DATABASE {} TO \"a clerk\";", db.name);
    assert!(error.help()[0].contains(&grant), "{:?}", error.help());

    // With the rights that the documentation lists, a service starts where others have applied.
    apply(&db.url, &all, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
    let start = || {
        Lockstep::builder("shop", all.clone())
            .database_url(&url)
            .schema(old_code(DIALECT))
            .wait_deadline(Duration::from_secs(5))
            .start()
    };
    let error = start().await.unwrap_err();
    assert_eq!(error.code(), "SD0552", "{error}");
    db.execute(
        "GRANT USAGE ON SCHEMA schemadiff TO \"a clerk\"; GRANT SELECT ON ALL TABLES IN SCHEMA schemadiff TO \"a clerk\"; \
         GRANT INSERT, UPDATE, DELETE ON schemadiff.lease TO \"a clerk\"",
    )
    .await;
    start().await.unwrap().shutdown().await;
    db.execute("DROP OWNED BY \"a clerk\"; DROP ROLE \"a clerk\"").await;
}

#[tokio::test]
async fn no_database_and_other_engines_are_told_apart() {
    let all = migrations(DIALECT, &[first(DIALECT)]);
    let code =
        async |url: &str| apply(url, &all, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap_err().code();
    assert_eq!(code("postgres://postgres@127.0.0.1:1/none").await, "SD0550");
    assert_eq!(code("nothing at all").await, "SD0250");
    assert_eq!(code("mysql://root@localhost/x").await, "SD0251");
    let file = TestDatabase::new(Dialect::Sqlite);
    assert_eq!(code(&file.url).await, "SD0458");
}
