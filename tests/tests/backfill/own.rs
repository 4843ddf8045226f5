//! What a backfill does beside its batches: what it writes about itself, and that it takes its own sessions for nobody else's.

use std::time::Duration;

use schemadiff::{
    lockstep::{
        Pace,
        admin::{ApplyOptions, apply},
    },
    model::Dialect,
    plan::Phase,
};
use schemadiff_tests::lockstep::{Recorder, migrations};

use super::rows::{by_id, plans, users_of};

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
    let db = users_of(dialect, &plans, 4_000).await;
    let grace = Duration::from_millis(300);
    let options = ApplyOptions { until: Phase::Backfill, grace, ..ApplyOptions::default() };
    let recorder = Recorder::default();
    apply(&db.url, &migrations(dialect, &plans), &options, recorder.shared()).await.unwrap();
    for batch in recorder.of("backfill") {
        assert_eq!(batch["pace"], "full speed, because nobody else is at work");
    }
}
