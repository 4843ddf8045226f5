//! What a backfill does beside its batches: what it writes about itself, that it takes its own sessions for nobody else's, and that
//! the triggers of the plan leave its rows alone.

use std::{sync::atomic::Ordering, time::Duration};

use schemadiff::{
    lockstep::{
        Compare, Pace,
        admin::{ApplyOptions, apply},
    },
    model::Dialect,
    plan::{Action, Phase},
};
use schemadiff_tests::{
    engine::{Major, Postgres, distant_proxy, replacing_proxy},
    lockstep::{Recorder, migrations},
};
use sqlx::{Connection as _, Executor as _, PgConnection, postgres::PgConnectOptions};

use super::{
    compared,
    rows::{by_id, plans, users_in, users_of},
};

#[tokio::test]
async fn a_batch_writes_one_row_of_the_ledger() {
    let dialect = Dialect::Postgres;
    let plans = plans(dialect, by_id(dialect), "fullname", false);
    let db = users_of(dialect, &plans, 20_000).await;
    let pace = Pace { max_stall: Some(Duration::from_millis(10)), ..Pace::default() };
    let options = ApplyOptions { until: Phase::Backfill, pace, ..ApplyOptions::default() };
    let recorder = Recorder::default();
    apply(&db.url, &migrations(dialect, &plans), &options, recorder.shared()).await.unwrap();
    let batches = recorder.of("backfill").len();
    assert!(batches > 10, "{batches} batches are too few to tell");
    let of = async |table: &str| -> usize {
        let sql = format!("SELECT CAST(n_tup_upd AS text) FROM pg_stat_all_tables WHERE relname = '{table}'");
        db.text(&sql).await.unwrap().parse().unwrap()
    };
    let (cursors, others) = (of("step").await, of("worker").await);
    assert!(cursors >= batches, "the cursor is kept: {cursors} rows in {batches} batches");
    // Beginnings and ends of steps write theirs.
    assert!(others <= 12, "{others} rows beside those of the cursor in {batches} batches");
}

#[tokio::test]
async fn the_signs_of_life_of_its_own_do_not_slow_it_down() {
    let dialect = Dialect::Postgres;
    let slow = "(SELECT fullname FROM pg_sleep(0.0005 + id * 0))";
    let plans = plans(dialect, by_id(dialect), slow, false);
    let server = Postgres::start(Major::under_test());
    let db = users_in(server.database(), &plans, 4_000).await;
    let grace = Duration::from_millis(300);
    let options = ApplyOptions { until: Phase::Backfill, grace, ..ApplyOptions::default() };
    let recorder = Recorder::default();
    apply(&db.url, &migrations(dialect, &plans), &options, recorder.shared()).await.unwrap();
    for batch in recorder.of("backfill") {
        assert_eq!(batch["pace"], "full speed, because nobody else is at work");
    }
}

/// It takes longer than filling the row, as the benchmark of backfills shows.
#[tokio::test]
async fn the_plan_s_own_triggers_are_not_called_for_rows_that_are_filled() {
    let plans = compared::plans(Dialect::Postgres).await;
    let db = compared::expanded(Dialect::Postgres, &plans).await;
    let name = db.text("SELECT current_database()::text").await.unwrap();
    db.execute(&format!("ALTER DATABASE \"{name}\" SET track_functions = 'pl'")).await;
    let calls = async || {
        let calls = db.text("SELECT sum(calls)::text FROM pg_stat_user_functions WHERE funcname LIKE 'sync\\_%'").await;
        calls.map_or(0, |calls| calls.parse::<u32>().unwrap())
    };
    let waiting = "SELECT count(*)::text FROM users WHERE display_name IS NULL OR email_key IS NULL";
    assert_ne!(db.text(waiting).await.as_deref(), Some("0"));
    let (filled, _) = compared::run(&db, &plans, Phase::Backfill, Compare::Full).await;
    filled.unwrap();
    assert_eq!(db.text(waiting).await.as_deref(), Some("0"));
    // What is counted comes from a session after those that have filled, and is as old as they are.
    db.execute("UPDATE users SET fullname = 'Ada' WHERE id = 1").await;
    while calls().await == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(calls().await, 2, "one call of each trigger, for the row that somebody else has changed");
}

/// Its own connection still has the work, which nobody but itself could release.
#[tokio::test]
async fn a_worker_that_loses_its_connection_is_replaced() {
    let dialect = Dialect::Postgres;
    let slow = "(SELECT fullname FROM pg_sleep(0.0005 + id * 0))";
    let plans = plans(dialect, by_id(dialect), slow, false);
    let db = users_of(dialect, &plans, 8_000).await;
    let pace = Pace { parallel: Some(3), ..Pace::default() };
    let options = ApplyOptions { until: Phase::Backfill, pace, ..ApplyOptions::default() };
    let recorder = Recorder::default();
    let all = migrations(dialect, &plans);
    let running = apply(&db.url, &all, &options, recorder.shared());
    let ended = async {
        while recorder.of("backfill").len() < 5 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Whoever fills and does not hold the work.
        let others = "SELECT pg_terminate_backend(a.pid)::text FROM pg_stat_activity a WHERE a.datname = current_database() \
                      AND a.query LIKE '%UPDATE%users%' AND a.pid <> pg_backend_pid() AND NOT EXISTS (SELECT FROM pg_locks l \
                      WHERE l.pid = a.pid AND l.locktype = 'advisory' AND l.mode = 'ExclusiveLock' AND l.granted) LIMIT 1";
        while db.text(others).await.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (done, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(60), running), ended);
    done.expect("it takes the work again, which it still has").unwrap();
    let left = db.text("SELECT count(*)::text FROM users WHERE email_key IS NULL AND fullname IS NOT NULL").await;
    assert_eq!(left.as_deref(), Some("0"));
}

/// They run for the rows of their partition, whatever table the statement names.
#[tokio::test]
async fn triggers_of_partitions_are_named_too() {
    let dialect = Dialect::Postgres;
    let mut plans = plans(dialect, by_id(dialect), "fullname", false);
    plans[0].steps[0].action = Action::Sql(vec![
        "CREATE TABLE users (id bigint PRIMARY KEY, fullname text) PARTITION BY RANGE (id)".to_owned(),
        "CREATE TABLE users_all PARTITION OF users FOR VALUES FROM (MINVALUE) TO (MAXVALUE)".to_owned(),
        "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$".to_owned(),
        "CREATE TRIGGER stamp BEFORE UPDATE ON users_all FOR EACH ROW EXECUTE FUNCTION stamp()".to_owned(),
    ]);
    // Its index is another test's matter.
    plans[1].steps.truncate(2);
    plans[0].checksum = plans[0].compute_checksum();
    let after = plans[1].steps.iter().fold(schemadiff_tests::lockstep::old_code(dialect), |mut state, step| {
        step.apply_to(&mut state).unwrap();
        state
    });
    plans[1].after = schemadiff::model::Fingerprint::of(&after);
    plans[1].checksum = plans[1].compute_checksum();
    let db = users_of(dialect, &plans, 10).await;
    let options = ApplyOptions { until: Phase::Backfill, ..ApplyOptions::default() };
    let recorder = Recorder::default();
    apply(&db.url, &migrations(dialect, &plans), &options, recorder.shared()).await.unwrap();
    let told = recorder.of("fires_triggers");
    assert_eq!(told[0]["triggers"], serde_json::json!(["stamp"]), "{told:?}");
}

/// A key that is a number is walked along without a look where it can be, and whatever numbers are missing, no row is.
#[tokio::test]
async fn numbers_that_are_missing_in_the_key_cost_no_row_and_few_batches() {
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        let plans = plans(dialect, by_id(dialect), "fullname", false);
        let db = users_of(dialect, &plans, 3_000).await;
        for id in
            (-5_000_000..-4_999_990).chain([i64::MIN, -1, 0, 4_000, 1 << 40, (1 << 40) + 1, i64::MAX - 1, i64::MAX])
        {
            db.execute(&format!("INSERT INTO users (id, fullname) VALUES ({id}, 'far')")).await;
        }
        let options = ApplyOptions { until: Phase::Backfill, ..ApplyOptions::default() };
        let recorder = Recorder::default();
        apply(&db.url, &migrations(dialect, &plans), &options, recorder.shared()).await.unwrap();
        let left = "SELECT CAST(count(*) AS text) FROM users WHERE email_key IS NULL";
        assert_eq!(db.text(left).await.as_deref(), Some("0"), "{dialect}");
        let batches = recorder.of("backfill");
        assert!(batches.len() < 60, "{dialect}: {} batches for 3,018 rows", batches.len());
        assert_eq!(batches.last().unwrap()["rows"], 3_018, "{dialect}");
    }
}

/// What takes long is counted beside the first batches.
#[tokio::test]
async fn the_first_batch_does_not_wait_until_all_rows_are_counted() {
    let dialect = Dialect::Postgres;
    let mut plans = plans(dialect, by_id(dialect), "fullname", false);
    let Action::Backfill(backfill) = &mut plans[1].steps[1].action else { unreachable!() };
    // As long as a table of many gigabytes.
    backfill.remaining_sql = "SELECT count(*)::text FROM users, pg_sleep(1) WHERE email_key IS NULL".to_owned();
    plans[1].checksum = plans[1].compute_checksum();
    let db = users_of(dialect, &plans, 20_000).await;
    let pace = Pace { max_stall: Some(Duration::from_millis(10)), pause: 100.0, ..Pace::default() };
    let options = ApplyOptions { until: Phase::Backfill, pace, ..ApplyOptions::default() };
    let recorder = Recorder::default();
    let busy = async {
        // Somebody else at work makes it pause between its batches.
        let all = migrations(dialect, &plans);
        let running = apply(&db.url, &all, &options, recorder.shared());
        let working = db.execute("SELECT pg_sleep(4)");
        tokio::join!(running, working).0.unwrap();
    };
    busy.await;
    let batches = recorder.of("backfill");
    assert!(batches[0]["total"].is_null(), "{:?}", batches[0]);
    let total = batches.iter().find_map(|batch| batch["total"].as_u64()).expect("it is known in the end");
    assert!((19_000..=20_000).contains(&total), "{total}");
    assert_eq!(batches.last().unwrap()["rows"], 20_000);
}

/// The way there and back is as long for a batch of one row.
#[tokio::test]
async fn batches_are_no_smaller_where_the_server_is_far_away() {
    let dialect = Dialect::Postgres;
    let plans = plans(dialect, by_id(dialect), "fullname", false);
    let db = users_of(dialect, &plans, 20_000).await;
    let port = distant_proxy(Postgres::shared().port(), Duration::from_millis(30)).await;
    let recorder = Recorder::default();
    let options = ApplyOptions { until: Phase::Backfill, ..ApplyOptions::default() };
    apply(&through(&db.url, port), &migrations(dialect, &plans), &options, recorder.shared()).await.unwrap();
    let batches = recorder.of("backfill");
    assert_eq!(batches.last().unwrap()["rows"], 20_000);
    assert!(batches.len() < 40, "{} batches for 20,000 rows", batches.len());
}

/// The same address, but for the port.
fn through(url: &str, port: u16) -> String {
    url.replace(&format!(":{}/", Postgres::shared().port()), &format!(":{port}/"))
}

/// A time-out that runs off when its statement has ended is the error of the next one. Where that was to roll back, the transaction
/// is still there.
#[tokio::test]
async fn what_is_not_rolled_back_at_once_is_rolled_back_again() {
    let dialect = Dialect::Postgres;
    let mut plans = plans(dialect, by_id(dialect), "fullname", false);
    let Action::Backfill(backfill) = &mut plans[1].steps[1].action else { unreachable!() };
    backfill.remaining_sql = "SELECT count(*)::text FROM users, pg_sleep(0.2) WHERE email_key IS NULL".to_owned();
    plans[1].checksum = plans[1].compute_checksum();
    let db = users_of(dialect, &plans, 1_000).await;
    let (port, replaced) = replacing_proxy(Postgres::shared().port(), "ROLLBACK", "SELECT/0").await;
    let options = ApplyOptions { until: Phase::Backfill, ..ApplyOptions::default() };
    let report = apply(&through(&db.url, port), &migrations(dialect, &plans), &options, Recorder::default().shared())
        .await
        .unwrap();
    assert_eq!(report.steps.iter().map(|step| step.rows).sum::<u64>(), 1_000);
    assert!(replaced.load(Ordering::SeqCst) > 0, "nothing was rolled back");
}

/// What the machine has left belongs to whoever comes.
#[tokio::test]
async fn a_second_worker_fills_while_nobody_else_is_at_work_on_the_server() {
    let dialect = Dialect::Postgres;
    let slow = "(SELECT fullname FROM pg_sleep(0.001 + id * 0))";
    let plans = plans(dialect, by_id(dialect), slow, false);
    let server = Postgres::start(Major::under_test());
    let db = users_in(server.database(), &plans, 12_000).await;
    let (url, all, recorder) = (db.url.clone(), migrations(dialect, &plans), Recorder::default());
    let progress = recorder.shared();
    let filling = tokio::spawn(async move {
        let options = ApplyOptions { until: Phase::Backfill, ..ApplyOptions::default() };
        apply(&url, &all, &options, progress).await
    });
    // One that looks, as the tool's own do, is not at work.
    let looks = db.url.parse::<PgConnectOptions>().unwrap().application_name("schemadiff watcher");
    let mut looks = PgConnection::connect_with(&looks).await.unwrap();
    let mut workers = async || -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
                   AND query LIKE 'UPDATE%users%'";
        sqlx::query_scalar(sql).fetch_one(&mut looks).await.unwrap()
    };
    while workers().await < 2 {
        assert!(!filling.is_finished(), "it was filled by one worker alone");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // In another database of the server.
    let mut other = PgConnection::connect(&server.url("postgres")).await.unwrap();
    other.execute("BEGIN; SELECT 1").await.unwrap();
    // A look, and the end of what the second worker has begun.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..50 {
        assert!(workers().await < 2, "somebody else is at work");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!filling.is_finished(), "too short to tell");
    drop(other);
    let report = filling.await.unwrap().unwrap();
    assert_eq!(report.steps.iter().map(|step| step.rows).sum::<u64>(), 12_000, "each row once");
}
