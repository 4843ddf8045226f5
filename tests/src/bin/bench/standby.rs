//! How far a standby on the same machine falls behind while a backfill runs, with and without a limit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use schemadiff::lockstep::{
    Limits, NoProgress, Pace,
    admin::{ApplyOptions, apply},
};
use schemadiff::{model::Dialect, plan::Phase};
use schemadiff_tests::{
    engine::{Major, Postgres},
    lockstep::migrations,
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

const DIALECT: Dialect = Dialect::Postgres;
const LIMIT: Duration = Duration::from_secs(1);
/// How often the time is written on the primary and read on the standby.
const EVERY: Duration = Duration::from_millis(20);

/// `rows` in the table that is filled.
pub fn run(rows: u64) -> bool {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut bounds = super::measure::Bounds::default();
    println!("filling a column of {rows} rows beside a standby on the same machine");
    for (name, limit) in [("no limit", None), ("replica-lag = \"1s\"", Some(LIMIT))] {
        let seen = runtime.block_on(one(rows, limit));
        println!(
            "  {name:<22} {:>8.0} rows/s, behind at most {:>5.0} ms, p99 {:>5.0} ms, over 1 s in {} of {} looks",
            rows as f64 / seen.took.as_secs_f64(),
            seen.behind.last().copied().unwrap_or(f64::NAN),
            seen.behind.get(seen.behind.len() * 99 / 100).copied().unwrap_or(f64::NAN),
            seen.behind.iter().filter(|ms| **ms > LIMIT.as_secs_f64() * 1000.0).count(),
            seen.behind.len(),
        );
        if let Some(limit) = limit {
            let most = seen.behind.last().copied().unwrap_or(f64::NAN) / 1000.0;
            bounds.at_most("lag of the standby in seconds", most, limit.as_secs_f64());
        }
    }
    bounds.hold()
}

struct Seen {
    took: Duration,
    /// In milliseconds, in order.
    behind: Vec<f64>,
}

async fn one(rows: u64, limit: Option<Duration>) -> Seen {
    let server = Postgres::start_with(Major::V15, &super::backfill::SETTINGS);
    let database = server.database();
    let plans = super::plans::filling(&server, rows).await;
    let all = migrations(DIALECT, &plans);
    let options = |until| ApplyOptions {
        until,
        pace: Pace { limits: Limits { replica_lag: limit, ..Limits::default() }, ..Pace::default() },
        ..ApplyOptions::default()
    };
    let table = migrations(DIALECT, &plans[..1]);
    apply(&database.url, &table, &options(Phase::Contract), Arc::new(NoProgress)).await.expect("the table");
    let mut primary = PgConnection::connect(&database.url).await.expect("a connection");
    let fill = format!(
        "INSERT INTO users (id, fullname) SELECT i, 'User ' || i || repeat(' x', 40) FROM generate_series(1, {rows}) i; \
         CREATE TABLE beat (at timestamptz NOT NULL); INSERT INTO beat VALUES (clock_timestamp())"
    );
    for sql in [fill.as_str(), "VACUUM ANALYZE users", "CHECKPOINT"] {
        primary.execute(AssertSqlSafe(sql)).await.expect("rows");
    }
    apply(&database.url, &all, &options(Phase::Expand), Arc::new(NoProgress)).await.expect("expand");
    let name = database.url.rsplit('/').next().expect("a database").to_owned();
    let copy = tokio::task::spawn_blocking(move || {
        let standby = server.standby(Major::V15);
        (server, standby)
    });
    let (server, standby) = copy.await.expect("a standby");
    let stop = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn(behind(primary, standby.url(&name), Arc::clone(&stop)));
    let began = Instant::now();
    apply(&database.url, &all, &options(Phase::Backfill), Arc::new(NoProgress)).await.expect("filled");
    let took = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    let behind = watching.await.expect("the watcher");
    // Servers and databases are removed by blocking calls.
    tokio::task::spawn_blocking(move || drop((database, standby, server))).await.expect("an end");
    Seen { took, behind }
}

/// What a reader of the standby sees: how old the newest time is that has arrived, less what passes between two writes.
async fn behind(mut primary: PgConnection, standby: String, stop: Arc<AtomicBool>) -> Vec<f64> {
    let mut standby = PgConnection::connect(&standby).await.expect("a connection to the standby");
    let mut seen = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        primary.execute("UPDATE beat SET at = clock_timestamp()").await.expect("a beat");
        tokio::time::sleep(EVERY).await;
        let sql = "SELECT (extract(epoch FROM clock_timestamp() - at) * 1000)::float8 FROM beat";
        let age: f64 = sqlx::query_scalar(sql).fetch_one(&mut standby).await.expect("the newest beat");
        seen.push((age - EVERY.as_secs_f64() * 1000.0).max(0.0));
    }
    seen.sort_by(f64::total_cmp);
    seen
}
