//! What a start costs, and what it needs.

mod settings;
mod telling;

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
    model::{Dialect, Schema},
    plan::{Envelope, Phase, Plan},
};
use schemadiff_tests::{
    engine::{Major, Postgres, TestDatabase, counting_proxy},
    lockstep::{first, migrations, new_code, old_code, plan, second, step},
};
use sqlx::{Connection as _, PgConnection};

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

/// Nobody would wait for it, whatever SQL it sends.
#[tokio::test]
async fn a_program_without_structs_says_what_it_uses() {
    let db = TestDatabase::new(Dialect::Sqlite);
    let all = migrations(Dialect::Sqlite, &[first(Dialect::Sqlite)]);
    let builder = || Lockstep::builder("shop", all.clone()).database_url(&db.url);
    let refused = builder().start().await.unwrap_err();
    assert_eq!(refused.code(), "SD0463", "{refused}");
    assert!(refused.help().iter().any(|way| way.contains("Schema::default()")));
    // Waiting for ever is a time like any other.
    let nothing = builder().schema(Schema::default()).wait_deadline(Duration::MAX);
    nothing.start().await.unwrap().shutdown().await;
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

    // Beside another service, whose migrations say something of the database that this one does not know.
    let nothing = step("01-nothing", Phase::Expand, Envelope::Transaction, vec!["SELECT 1".to_owned()], Vec::new());
    let bills = plan(DIALECT, "20250101000000_bills", None, &Schema::default(), vec![(nothing, Schema::default())]);
    let options = ApplyOptions { app: "billing".to_owned(), ..ApplyOptions::default() };
    let theirs = migrations(DIALECT, &[bills]);
    apply(&db.url, &theirs, &options, Arc::new(NoProgress)).await.unwrap();
    count.store(0, Ordering::SeqCst);
    let lockstep = start().await.unwrap();
    assert_eq!(count.swap(0, Ordering::SeqCst), 2);
    lockstep.shutdown().await;
}

/// A start takes the key that the server's function gives, whatever the names; and the session bears one name in the end.
#[tokio::test]
async fn a_start_takes_the_key_of_its_version() {
    let db = TestDatabase::new(DIALECT);
    let all = migrations(DIALECT, &[first(DIALECT), second(DIALECT)]);
    apply(&db.url, &all, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
    for app in ["shop", "Łódź 'n' \\ café", "店"] {
        let lockstep =
            Lockstep::builder(app, all.clone()).database_url(&db.url).schema(new_code(DIALECT)).start().await.unwrap();
        let held = "SELECT string_agg(DISTINCT a.application_name, ',') FROM schemadiff.lease e \
             JOIN pg_locks l ON ((l.classid::bigint << 32) | l.objid::bigint) = schemadiff.version_key(e.app, e.version) \
             JOIN pg_stat_activity a ON a.pid = l.pid \
             WHERE l.locktype = 'advisory' AND l.granted AND e.ended_at IS NULL AND e.evidence = 'lock'";
        assert_eq!(db.text(held).await.as_deref(), Some("schemadiff"), "{app}");
        lockstep.shutdown().await;
    }
}

/// What versions of long ago left goes; what ended lately is known for as long as somebody may soak.
#[tokio::test]
async fn leases_of_long_ago_are_swept_away() {
    for dialect in [DIALECT, Dialect::Sqlite] {
        let db = TestDatabase::new(dialect);
        let all = migrations(dialect, &[first(dialect), second(dialect)]);
        apply(&db.url, &all, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
        let start = || Lockstep::builder("shop", all.clone()).database_url(&db.url).schema(new_code(dialect));
        let (lease, ago) = match dialect {
            Dialect::Sqlite => ("_schemadiff_lease", "strftime('%Y-%m-%d %H:%M:%f', 'now', '-{} days')"),
            _ => ("schemadiff.lease", "now() - interval '{} days'"),
        };
        for (version, app, ended) in [("old", "shop", "91"), ("late", "shop", "89"), ("other", "reports", "91")] {
            start().start().await.unwrap().shutdown().await;
            let sql = format!(
                "UPDATE {lease} SET version = '{version}', app = '{app}', ended_at = {}",
                ago.replace("{}", ended)
            );
            db.execute(&format!("{sql} WHERE version NOT IN ('old', 'late', 'other')")).await;
        }
        let lockstep = start().heartbeat(Duration::from_millis(50)).start().await.unwrap();
        let there = format!("SELECT CAST(count(*) AS text) FROM {lease} WHERE version = 'old'");
        while db.text(&there).await.as_deref() != Some("0") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let left = format!("SELECT CAST(count(*) AS text) FROM {lease} WHERE version IN ('late', 'other')");
        assert_eq!(db.text(&left).await.as_deref(), Some("2"), "{dialect}");
        lockstep.shutdown().await;
    }
}

/// The end of the write-ahead log, and how many transactions have written.
async fn written(connection: &mut PgConnection) -> (i64, i64) {
    let sql = "SELECT CAST(pg_current_wal_insert_lsn() - '0/0' AS bigint), \
               CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)";
    sqlx::query_as(sql).fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn a_sign_of_life_is_one_small_statement() {
    // Of its own: nobody else writes.
    let server = Postgres::start(Major::V15);
    let db = server.database();
    let all = migrations(DIALECT, &[first(DIALECT), second(DIALECT)]);
    apply(&db.url, &all, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
    let (port, count) = counting_proxy(server.port()).await;
    let url = format!("postgres://postgres@127.0.0.1:{port}/{}?sslmode=disable", db.name);
    let every = Duration::from_millis(20);
    let lockstep = Lockstep::builder("shop", all).database_url(&url).schema(new_code(DIALECT)).heartbeat(every);
    let lockstep = lockstep.start().await.unwrap();
    let mut own = PgConnection::connect(&db.url).await.unwrap();
    // The first one sweeps, too, and prepares.
    tokio::time::sleep(every * 10).await;

    let ((log, transactions), trips) = (written(&mut own).await, count.load(Ordering::SeqCst));
    tokio::time::sleep(every * 50).await;
    let ((log_after, transactions_after), trips_after) = (written(&mut own).await, count.load(Ordering::SeqCst));
    let beats = transactions_after - transactions;
    let trips = i64::try_from(trips_after - trips).unwrap();
    // One of them may be under way at each end.
    assert!(beats > 5 && (beats - 1..=beats + 1).contains(&trips), "{trips} round trips for {beats} signs of life");
    lockstep.shutdown().await;

    // The same row without lockstep around it.
    db.execute("CREATE TABLE plain AS TABLE schemadiff.lease; ALTER TABLE plain ADD PRIMARY KEY (instance)").await;
    let update = "UPDATE plain SET heartbeat_at = clock_timestamp() WHERE ended_at IS NOT NULL";
    sqlx::query(update).execute(&mut own).await.unwrap();
    let before = written(&mut own).await;
    for _ in 0..beats {
        sqlx::query(update).execute(&mut own).await.unwrap();
    }
    let after = written(&mut own).await;
    assert_eq!(after.1 - before.1, beats);
    let (ours, plain) = ((log_after - log) / beats, (after.0 - before.0) / beats);
    println!("{ours} bytes of write-ahead log for a sign of life, {plain} for an update of the same row");
    // The server itself writes a little now and then.
    assert!(ours <= plain + plain / 10, "{ours} bytes, a plain update writes {plain}");
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
