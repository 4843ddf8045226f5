//! What slows a backfill down, on real servers: the operator, other sessions, a standby.

use std::{sync::Arc, time::Duration};

use schemadiff::{
    Error,
    lockstep::{
        Limits, NoProgress, Pace, Status,
        admin::{ApplyOptions, ApplyReport, Wish, apply, status, wish},
    },
    model::Dialect,
    plan::{Phase, Plan},
};
use schemadiff_tests::{
    engine::{Major, Postgres, TestDatabase},
    lockstep::{Recorder, first, migrations, second},
};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::task::JoinHandle;

const BOTH: [Dialect; 2] = [Dialect::Postgres, Dialect::Sqlite];

fn plans(dialect: Dialect) -> [Plan; 2] {
    [first(dialect), second(dialect)]
}

/// A database in which the rows wait to be filled.
async fn prepared(db: &TestDatabase, rows: u32) {
    let plans = plans(db.dialect);
    let all = migrations(db.dialect, &plans);
    let options = ApplyOptions { until: Phase::Expand, ..ApplyOptions::default() };
    apply(&db.url, &all, &options, Arc::new(NoProgress)).await.unwrap();
    db.execute(&match db.dialect {
        Dialect::Sqlite => format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
             INSERT INTO users (id, fullname) SELECT i, 'User ' || i FROM n"
        ),
        _ => format!("INSERT INTO users (id, fullname) SELECT i, 'User ' || i FROM generate_series(1, {rows}) i"),
    })
    .await;
}

type Going = JoinHandle<Result<ApplyReport, Error>>;

fn fill(url: &str, dialect: Dialect, pace: Pace) -> (Going, Recorder) {
    let recorder = Recorder::default();
    let (url, all, progress) = (url.to_owned(), migrations(dialect, &plans(dialect)), recorder.shared());
    let options = ApplyOptions { until: Phase::Backfill, pace, ..ApplyOptions::default() };
    (tokio::spawn(async move { apply(&url, &all, &options, progress).await }), recorder)
}

fn limited(limits: Limits) -> Pace {
    Pace { limits, ..Pace::default() }
}

/// Waits until it stops for a reason that says this.
async fn stopped(recorder: &Recorder, reason: &str) {
    let has = |e: &serde_json::Value| e["reason"].as_str().is_some_and(|r| r.contains(reason));
    for _ in 0..3000 {
        if recorder.of("throttled").iter().any(has) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it was not stopped because of {reason:?}, but: {:#?}", recorder.of("throttled"));
}

async fn filled(db: &TestDatabase) -> u64 {
    let sql = "SELECT CAST(count(*) AS text) FROM users WHERE email_key IS NOT NULL";
    db.text(sql).await.unwrap().parse().unwrap()
}

async fn look(db: &TestDatabase) -> Status {
    status(&db.url, Some(&migrations(db.dialect, &plans(db.dialect)))).await.unwrap()
}

#[tokio::test]
async fn a_database_that_has_grown_too_large_is_filled_no_further() {
    for dialect in BOTH {
        let (small, large) = (TestDatabase::new(dialect), TestDatabase::new(dialect));
        for (db, most) in [(&small, 4096), (&large, 1 << 40)] {
            prepared(db, 5_000).await;
            let limits = Limits { database_size: Some(most), ..Limits::default() };
            let (going, recorder) = fill(&db.url, dialect, limited(limits));
            if most > 4096 {
                going.await.unwrap().unwrap();
                assert_eq!(filled(db).await, 5_000);
            } else {
                stopped(&recorder, "the size of the database is").await;
                assert_eq!(filled(db).await, 0);
                going.abort();
            }
        }
    }
}

#[tokio::test]
async fn an_operator_pauses_and_resumes_from_elsewhere() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let nothing = wish(&db.url, Wish::Pause, "").await;
        assert_eq!(nothing.err().map(|e| e.code()), Some("SD0658"), "there is nothing to pause yet");
        prepared(&db, 60_000).await;
        wish(&db.url, Wish::Speed(Some(0.3)), " on a laptop").await.unwrap();

        let (going, recorder) = fill(&db.url, dialect, Pace::default());
        while recorder.of("backfill").len() < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let pace = recorder.of("backfill")[1]["pace"].as_str().unwrap().to_owned();
        assert!(pace.contains("30 % speed") && pace.contains("on a laptop"), "{pace}");

        let now = wish(&db.url, Wish::Pause, " on a laptop").await.unwrap();
        assert_eq!((now.paused, now.speed), (true, Some(0.3)));
        stopped(&recorder, "paused as asked by").await;
        let before = filled(&db).await;
        assert!(before > 0 && before < 60_000, "{before}");
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(filled(&db).await, before, "nothing is filled while it is paused");
        let pace = look(&db).await.pace.unwrap();
        assert!(pace.paused && pace.reason.as_ref().is_some_and(|r| r.contains("paused")), "{pace:?}");

        wish(&db.url, Wish::Resume, "").await.unwrap();
        let now = wish(&db.url, Wish::Speed(None), "").await.unwrap();
        assert_eq!((now.paused, now.speed), (false, None));
        let report = going.await.unwrap().unwrap();
        assert_eq!(report.steps.iter().map(|s| s.rows).sum::<u64>(), 60_000);
    }
}

#[tokio::test]
async fn a_pause_holds_for_a_backfill_that_begins_later() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        prepared(&db, 1000).await;
        wish(&db.url, Wish::Pause, "").await.unwrap();
        let (going, recorder) = fill(&db.url, dialect, Pace::default());
        stopped(&recorder, "paused").await;
        assert_eq!(filled(&db).await, 0);
        wish(&db.url, Wish::Resume, "").await.unwrap();
        going.await.unwrap().unwrap();
        assert_eq!(filled(&db).await, 1000);
    }
}

#[tokio::test]
async fn it_waits_while_others_wait_for_locks_and_while_many_transactions_are_open() {
    let dialect = Dialect::Postgres;
    let db = TestDatabase::new(dialect);
    prepared(&db, 2000).await;
    db.execute("CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1)").await;
    let mut holder = PgConnection::connect(&db.url).await.unwrap();
    holder.execute("BEGIN; SELECT * FROM other FOR UPDATE").await.unwrap();
    let url = db.url.clone();
    let waiter = tokio::spawn(async move {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        connection.execute("UPDATE other SET id = 2").await.unwrap();
    });

    let limits = Limits { lock_waits: Some(0), transactions: Some(0), ..Limits::default() };
    let (going, recorder) = fill(&db.url, dialect, limited(limits));
    stopped(&recorder, "sessions that wait for locks is 1, the limit is 0").await;
    assert_eq!(filled(&db).await, 0);
    let mut reader = PgConnection::connect(&db.url).await.unwrap();
    reader.execute("BEGIN; SELECT 1").await.unwrap();
    holder.execute("COMMIT").await.unwrap();
    waiter.await.unwrap();
    stopped(&recorder, "open transactions is 1, the limit is 0").await;
    assert_eq!(filled(&db).await, 0);
    reader.execute("COMMIT").await.unwrap();
    going.await.unwrap().unwrap();
    assert_eq!(filled(&db).await, 2000);
}

#[tokio::test]
async fn it_leaves_a_part_of_the_time_to_others_and_takes_all_of_it_alone() {
    let dialect = Dialect::Postgres;
    // Whoever is at work on the server counts.
    let server = Postgres::start(Major::under_test());
    let db = server.database();
    prepared(&db, 20_000).await;
    let mut other = PgConnection::connect(&db.url).await.unwrap();
    other.execute("BEGIN; SELECT 1").await.unwrap();
    let (going, recorder) = fill(&db.url, dialect, Pace::default());
    going.await.unwrap().unwrap();
    let beside: Vec<_> = recorder.of("backfill").iter().map(|e| e["pace"].as_str().unwrap().to_owned()).collect();
    assert!(beside.iter().all(|pace| pace.starts_with("60 % speed")), "{beside:?}");
    drop(other);

    let db = server.database();
    prepared(&db, 20_000).await;
    let (going, recorder) = fill(&db.url, dialect, Pace { parallel: Some(2), ..Pace::default() });
    going.await.unwrap().unwrap();
    let alone: Vec<_> = recorder.of("backfill").iter().map(|e| e["pace"].as_str().unwrap().to_owned()).collect();
    assert!(alone.iter().any(|pace| pace.starts_with("full speed")), "its own workers are not others: {alone:?}");
}

#[tokio::test]
async fn a_longest_stall_bounds_every_batch_and_every_lock_timeout() {
    let dialect = Dialect::Postgres;
    let db = TestDatabase::new(dialect);
    prepared(&db, 3000).await;
    // What the batch itself is told, by a trigger that runs inside of it; and that many rows make it too slow.
    db.execute(
        "CREATE TABLE seen (statement_timeout text, lock_timeout text); \
         CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.002); \
         INSERT INTO seen VALUES (current_setting('statement_timeout'), current_setting('lock_timeout')); \
         RETURN NEW; END $$; \
         CREATE TRIGGER slow BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION slow()",
    )
    .await;
    let pace = Pace { max_stall: Some(Duration::from_millis(80)), ..Pace::default() };
    let (going, recorder) = fill(&db.url, dialect, pace);
    going.await.unwrap().unwrap();
    assert_eq!(filled(&db).await, 3000);
    // The last of several attempts on one row may take its time; any other batch is cancelled after the stall.
    let told = "SELECT string_agg(DISTINCT lock_timeout || '/' || statement_timeout, ' ') FROM seen \
                WHERE statement_timeout <> '5s'";
    assert_eq!(db.text(told).await.as_deref(), Some("40ms/80ms"));
    assert!(
        recorder.of("backfill").len() > 3000 / 40,
        "2 ms for each row: no batch of more than 40 fits into the stall"
    );
}

#[tokio::test]
async fn a_standby_that_is_behind_gone_or_not_to_be_seen_stops_it() {
    // So many that a tenth of the time is not enough for them before somebody looks.
    const ROWS: u32 = 400_000;
    let dialect = Dialect::Postgres;
    let primary = Postgres::start(Major::V15);
    let standby = primary.standby(Major::V15);
    let db = primary.database();
    prepared(&db, ROWS).await;
    let mut replica = PgConnection::connect(&standby.url("postgres")).await.unwrap();
    let limits = Limits { replica_lag: Some(Duration::from_millis(400)), replicas: 1, ..Limits::default() };

    replica.execute("SELECT pg_wal_replay_pause()").await.unwrap();
    wish(&db.url, Wish::Speed(Some(0.1)), "").await.unwrap();
    let (going, recorder) = fill(&db.url, dialect, limited(limits.clone()));
    stopped(&recorder, "the lag of a standby is").await;
    replica.execute("SELECT pg_wal_replay_resume()").await.unwrap();
    let before = filled(&db).await;
    assert!(before < u64::from(ROWS), "nothing is left to be seen");
    while filled(&db).await == before {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(replica);
    drop(standby);
    stopped(&recorder, "a standby is gone, so its lag is not known: 0 of 1 are connected").await;
    assert!(filled(&db).await < u64::from(ROWS));

    let again = primary.standby(Major::V15);
    wish(&db.url, Wish::Speed(None), "").await.unwrap();
    going.await.unwrap().unwrap();
    assert_eq!(filled(&db).await, u64::from(ROWS));

    // Somebody without rights sees that there is a standby, and no more.
    db.execute("UPDATE users SET email_key = NULL; UPDATE schemadiff.step SET state = 'pending', cursor = NULL WHERE id LIKE '02-%'; \
                UPDATE schemadiff.migration SET state = 'running'; CREATE ROLE plain LOGIN; \
                GRANT ALL ON SCHEMA schemadiff TO plain; GRANT ALL ON ALL TABLES IN SCHEMA schemadiff TO plain; \
                GRANT ALL ON users TO plain")
        .await;
    let (going, recorder) = fill(&primary.url_as("plain", &db.name), dialect, limited(limits));
    stopped(&recorder, "plain has no right to see how far the standbys are: GRANT pg_monitor TO plain").await;
    db.execute("GRANT pg_monitor TO plain").await;
    while filled(&db).await == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    going.abort();
    drop(again);
}
