//! A process of its own for tests: carries migrations out, or runs as an instance of a service.
//!
//! `lockstep_worker apply URL DIR` prints each event as a line of JSON.
//! `lockstep_worker die URL DIR KIND` does so too, and dies of SIGKILL at the first event of a kind, or at the event of that number,
//! before anything else happens.
//! `lockstep_worker halt URL DIR KIND` stops itself with SIGSTOP there, and goes on at SIGCONT.
//! `lockstep_worker undo URL DIR` and `lockstep_worker purge URL DIR` do the same with what is kept; `die-undo` and
//! `die-purge` with a KIND die, too.
//! `lockstep_worker work URL DIR SCHEMA_FILE COLUMN` runs as an instance that prints what it stored and what failed.
//! `lockstep_worker replica URL POOL_URL DIR APP SCHEMA_FILE apply|wait COLUMN...` serves until its standard input closes.
//! `lockstep_worker serve URL DIR APP SCHEMA_FILE` prints `ready` when it serves, then uses the database until it is ended.

mod replica;
mod work;

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use schemadiff::{
    Lockstep,
    embed::Migrations,
    lockstep::{
        Backfills, Contract, Event, Progress,
        admin::{ApplyOptions, apply, purge, undo},
    },
};
use sqlx::{
    Executor as _,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::SqlitePoolOptions,
};

struct Lines;

impl Progress for Lines {
    fn event(&self, event: &Event<'_>) {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(event).unwrap()).unwrap();
        out.flush().unwrap();
    }
}

/// Sends the process a signal, once: at the first event of a kind, or at the event of that number.
struct Mortal {
    signal: &'static str,
    at: String,
    seen: AtomicUsize,
    sent: AtomicBool,
}

impl Mortal {
    fn new(signal: &'static str, at: &str) -> Arc<Self> {
        Arc::new(Self { signal, at: at.to_owned(), seen: AtomicUsize::new(0), sent: AtomicBool::new(false) })
    }
}

impl Progress for Mortal {
    fn event(&self, event: &Event<'_>) {
        Lines.event(event);
        let number = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        let kind = serde_json::to_value(event).unwrap()["event"] == self.at.as_str();
        if (kind || self.at == number.to_string()) && !self.sent.swap(true, Ordering::SeqCst) {
            let pid = std::process::id().to_string();
            std::process::Command::new("kill").args([self.signal, pid.as_str()]).status().unwrap();
            if self.signal == "-KILL" {
                loop {
                    std::thread::park();
                }
            }
        }
    }
}

/// Patient, and as the environment says.
fn options() -> ApplyOptions {
    // Slow enough to be met at work.
    let shout = |(name, _): (String, i64)| async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok::<_, std::convert::Infallible>(format!("{}!", name.to_uppercase()))
    };
    let backfills = Backfills::default().with_async("shout", shout);
    let mut options = ApplyOptions { wait: Some(Duration::from_secs(60)), backfills, ..ApplyOptions::default() };
    if let Ok(ms) = std::env::var("LOCKSTEP_GRACE_MS") {
        options.grace = Duration::from_millis(ms.parse().unwrap());
    }
    if let Ok(ms) = std::env::var("LOCKSTEP_SOAK_MS") {
        options.soak = Duration::from_millis(ms.parse().unwrap());
    }
    if let Ok(times) = std::env::var("LOCKSTEP_PAUSE") {
        options.pace.pause = times.parse().unwrap();
    }
    options
}

async fn carry_out(what: &str, url: &str, dir: &str, progress: Arc<dyn Progress>) {
    let options = options();
    let migrations = Migrations::load(dir).unwrap();
    let result = match what {
        "undo" => undo(url, &migrations, None, &options, progress).await.map(drop),
        "purge" => purge(url, &migrations, None, &options, progress).await.map(drop),
        _ => apply(url, &migrations, &options, progress).await.map(drop),
    };
    if let Err(error) = result {
        eprintln!("{}: {error}", error.code());
        std::process::exit(error.exit_code().into());
    }
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        [what @ ("apply" | "undo" | "purge"), url, dir] => carry_out(what, url, dir, Arc::new(Lines)).await,
        [what @ ("die" | "die-undo" | "die-purge"), url, dir, kind] => {
            let what = what.strip_prefix("die-").unwrap_or("apply");
            carry_out(what, url, dir, Mortal::new("-KILL", kind)).await;
        }
        ["halt", url, dir, kind] => {
            carry_out("apply", url, dir, Mortal::new("-STOP", kind)).await;
        }
        ["serve", url, dir, app, schema] => serve(url, dir, app, schema).await,
        ["work", url, dir, schema, column] => work::work(url, dir, schema, column).await,
        ["replica", url, pool_url, dir, app, schema, role, columns @ ..] => {
            let (columns, waits_only) = (columns.to_vec(), *role == "wait");
            replica::run(replica::Args { url, pool_url, dir, app, schema, columns, waits_only }).await;
        }
        _ => panic!("apply URL DIR, or serve URL DIR APP SCHEMA_FILE"),
    }
}

async fn serve(url: &str, dir: &str, app: &str, schema: &str) {
    let schema = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    let heartbeat = std::env::var("LOCKSTEP_HEARTBEAT_MS").map_or(10_000, |ms| ms.parse().unwrap());
    let grace = std::env::var("LOCKSTEP_GRACE_MS").map_or(30_000, |ms| ms.parse().unwrap());
    let started = Lockstep::builder(app, Migrations::load(dir).unwrap())
        .heartbeat(Duration::from_millis(heartbeat))
        .grace(Duration::from_millis(grace))
        .database_url(url)
        .schema(schema)
        .contract(Contract::Manual)
        .wait_deadline(Duration::from_secs(30))
        .progress(Arc::new(Lines))
        .start()
        .await;
    let lockstep = match started {
        Ok(lockstep) => lockstep,
        Err(error) => {
            eprintln!("{}: {error}", error.code());
            std::process::exit(error.exit_code().into());
        }
    };
    if url.starts_with("sqlite") {
        let pool = SqlitePoolOptions::new().after_connect(lockstep.hook()).connect(url).await.unwrap();
        println!("ready");
        loop {
            pool.execute("SELECT count(*) FROM users").await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    // PgBouncer refuses the parameter unless it is told to ignore it.
    let options = url.parse::<PgConnectOptions>().unwrap().extra_float_digits(None);
    let pool = PgPoolOptions::new().max_connections(2).after_connect(lockstep.hook()).connect_with(options);
    let pool = pool.await.unwrap();
    println!("ready");
    loop {
        pool.execute("SELECT count(*) FROM users").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
