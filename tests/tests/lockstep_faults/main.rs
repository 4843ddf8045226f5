//! Faults on real servers: replicas and migrators are killed and paused for longer than any lease, connections break, stall
//! and lose answers, the server goes down, a standby takes over, all at random times. Afterwards nothing is lost, no
//! statement has failed but for a lost connection, and the ledger is true.
//!
//! `SCHEMADIFF_SEEDS=1000` runs so many schedules of each kind, `SCHEMADIFF_SEED=17` replays one of each kind.

mod process;
mod proxy;
mod schedule;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use schedule::{Server, run};
use schemadiff::model::Dialect;
use schemadiff_tests::engine::{Major, PgBouncer, Postgres, TestDatabase};

/// Rows that are there before anything happens.
const ROWS: u64 = 1000;
/// How long a sign of life counts, where it is the evidence.
const GRACE_MS: u64 = 400;
/// What has been said to be stored must be stored, as in production.
const DURABLE: &[&str] = &["synchronous_commit=on"];

/// Runs schedules, `beside` of them at a time: most of their time they wait.
async fn schedules<F>(what: &str, default: u64, beside: usize, new: F)
where
    F: Fn() -> (TestDatabase, Server) + Send + Sync + 'static,
{
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (first, last) = match number("SCHEMADIFF_SEED") {
        Some(seed) => (seed, seed),
        None => (1, number("SCHEMADIFF_SEEDS").unwrap_or(default)),
    };
    let (next, new) = (Arc::new(AtomicU64::new(first)), Arc::new(new));
    let workers: Vec<_> = (0..beside)
        .map(|_| {
            let (next, new) = (Arc::clone(&next), Arc::clone(&new));
            tokio::spawn(async move {
                let mut stored = Vec::new();
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed > last {
                        return Ok(stored);
                    }
                    let new = Arc::clone(&new);
                    let (db, server) = tokio::task::spawn_blocking(move || new()).await.unwrap();
                    match run(db, server, seed).await {
                        Ok(told) => stored.push(format!("seed {seed}: {told}")),
                        Err(error) => return Err(format!("SCHEMADIFF_SEED={seed} fails: {error}")),
                    }
                }
            })
        })
        .collect();
    let mut told = Vec::new();
    for worker in workers {
        match worker.await.unwrap() {
            Ok(stored) => told.extend(stored),
            Err(error) => panic!("{what}: {error}"),
        }
    }
    schemadiff_tests::said(&format!("{what}: {} schedules, seeds {first} to {last}", told.len()));
    println!("{}", told.join("\n"));
    assert_eq!(told.len() as u64, last + 1 - first);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_on_postgres() {
    let server = Postgres::start_with(Major::V15, DURABLE);
    schedules("PostgreSQL", 110, 6, move || (server.database(), Server::Stays(server.port()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_behind_a_pooler() {
    let server = Postgres::start_with(Major::V15, DURABLE);
    let pooler = Arc::new(PgBouncer::in_front_of(&server, 8));
    schedules("PostgreSQL behind PgBouncer", 20, 4, move || (server.database(), Server::Pooled(Arc::clone(&pooler))))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_on_sqlite() {
    schedules("SQLite", 60, 4, || (TestDatabase::new(Dialect::Sqlite), Server::None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_server_goes_down() {
    // A server of its own: it is brought down again and again.
    let server = Postgres::start_with(Major::V15, DURABLE);
    schedules("PostgreSQL that crashes", 6, 1, move || (server.database(), Server::Crashes(server.port()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_a_standby_takes_over() {
    schedules("PostgreSQL with a standby", 4, 2, || {
        let server = Postgres::start_with(Major::V15, DURABLE);
        (server.database(), Server::IsReplaced(Box::new(server)))
    })
    .await;
}
