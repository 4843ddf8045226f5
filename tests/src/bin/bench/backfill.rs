//! A backfill against the best loop that a person writes by hand, alone and beside an application.

use std::{
    future::Future,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use schemadiff::{
    embed::Migrations,
    lockstep::{
        NoProgress,
        admin::{ApplyOptions, apply},
    },
    model::Dialect,
    plan::{Phase, Plan},
};
use schemadiff_tests::{
    engine::{Major, Postgres},
    lockstep::{migrations, write},
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::{
    measure::{Bounds, Contender, installed, peak_mib, print, reshape, rounds},
    plans::filling,
};

const DIALECT: Dialect = Dialect::Postgres;
const ROUNDS: usize = 3;

/// As a server in use has it, not as the tests want it.
pub const SETTINGS: [&str; 6] = [
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "shared_buffers=512MB",
    "max_wal_size=8GB",
    "checkpoint_timeout=30min",
];

/// One UPDATE for each range of a key without gaps: nothing that looks for keys, counts rows, keeps a cursor or gives way to
/// anybody. It commits as ours does.
const BY_HAND: &str = "CREATE PROCEDURE by_hand() LANGUAGE plpgsql AS $$
    DECLARE done bigint := 0; upto bigint := (SELECT max(id) FROM users);
    BEGIN
        WHILE done < upto LOOP
            SET LOCAL synchronous_commit = off;
            UPDATE users SET email_key = lower(fullname) WHERE id > done AND id <= done + 10000 AND email_key IS NULL;
            COMMIT;
            done := done + 10000;
        END LOOP;
    END $$";

/// reshape has to have made the table. Its `start` adds the column and fills it.
const RESHAPE: [(&str, &str); 2] = [
    (
        "1_users.toml",
        "[[actions]]\ntype = \"create_table\"\nname = \"users\"\nprimary_key = [\"id\"]\n\
         [[actions.columns]]\nname = \"id\"\ntype = \"bigint\"\n\
         [[actions.columns]]\nname = \"fullname\"\ntype = \"text\"\n",
    ),
    (
        "2_key.toml",
        "[[actions]]\ntype = \"add_column\"\ntable = \"users\"\nup = \"lower(fullname)\"\n\
         [actions.column]\nname = \"email_key\"\ntype = \"text\"\n",
    ),
];

struct Bench {
    server: Postgres,
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    plans: [Plan; 2],
}

/// `rows` in the table, `seconds` for each measurement beside an application.
pub fn run(rows: u64) -> bool {
    let server = Postgres::start_with(Major::V15, &SETTINGS);
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let plans = runtime.block_on(filling(&server, rows));
    write(folder.path(), DIALECT, &plans);
    let bench = Arc::new(Bench { server, folder, runtime, plans });
    bench.prepare(rows);
    let contender = |name, what: &'static str| {
        let bench = Arc::clone(&bench);
        let command = move || bench.fresh(base_of(what), "filled", |url| ours_or_hand(what, url, bench.folder.path()));
        Contender { name, command: Box::new(command), success: &[0] }
    };
    let mut contenders =
        vec![contender("loop in PL/pgSQL, by hand", "backfill-by-hand"), contender("schemadiff", "backfill-once")];
    if installed("reshape") {
        let dir = bench.prepare_reshape(rows);
        let bench = Arc::clone(&bench);
        let command = move || bench.fresh("base_reshape", "filled", |url| reshape(url, &["start"], Some(&dir)));
        contenders.push(Contender { name: "reshape", command: Box::new(command), success: &[0] });
    } else {
        println!("reshape is not installed (`cargo install reshape`), and is left out");
    }
    let seen = rounds(&contenders, ROUNDS);
    print(&format!("filling a column of {rows} rows, nobody else there"), &seen);
    let rate = |at: usize| rows as f64 / seen[at].median();
    println!("  rows/s: by hand {:.0}, schemadiff {:.0}, ratio {:.2}", rate(0), rate(1), rate(1) / rate(0));
    if seen.len() > 2 {
        println!("  rows/s: reshape {:.0}, schemadiff {:.1} times as fast", rate(2), rate(1) / rate(2));
    }
    let mut bounds = Bounds::default();
    bounds.at_least("rate, of that of the loop by hand", rate(1) / rate(0), 0.8);
    if seen.len() > 2 {
        bounds.at_least("rate, of reshape's", rate(1) / rate(2), 2.0);
    }
    bounds.at_most("peak memory in MiB", peak_mib(&seen[1]), 64.0);
    for application in &APPLICATIONS {
        bench.beside(application, rows, rate(1), &mut bounds);
    }
    bounds.hold()
}

/// A loop by hand has a column that nothing keeps in step.
fn base_of(what: &str) -> &'static str {
    if what == "backfill-by-hand" { "base_by_hand" } else { "base" }
}

fn ours_or_hand(what: &str, url: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("our own path"));
    command.arg(what).arg(url).arg(folder);
    command
}

impl Bench {
    fn run_on(&self, database: &str, sql: &str) {
        let url = self.server.url(database);
        self.runtime.block_on(async {
            let mut connection = PgConnection::connect(&url).await.expect("a connection");
            connection.execute(AssertSqlSafe(sql)).await.unwrap_or_else(|e| panic!("{e}\nin: {sql}"));
        });
    }

    fn prepare(&self, rows: u64) {
        self.run_on("postgres", "CREATE DATABASE base TEMPLATE template0");
        self.apply("base", &self.plans[..1], Phase::Contract);
        self.fill("base", rows);
        self.run_on("postgres", "CREATE DATABASE base_by_hand TEMPLATE base");
        self.run_on("base_by_hand", "ALTER TABLE users ADD COLUMN email_key text");
        self.run_on("base_by_hand", BY_HAND);
        self.apply("base", &self.plans, Phase::Expand);
    }

    fn apply(&self, database: &str, plans: &[Plan], until: Phase) {
        let (url, all) = (self.server.url(database), migrations(DIALECT, plans));
        let options = ApplyOptions { until, ..ApplyOptions::default() };
        self.runtime.block_on(apply(&url, &all, &options, Arc::new(NoProgress))).expect("a table");
    }

    /// The same rows in reshape's database. Returns the folder of its migrations.
    fn prepare_reshape(&self, rows: u64) -> PathBuf {
        self.run_on("postgres", "CREATE DATABASE base_reshape TEMPLATE template0");
        let dir = self.folder.path().join("reshape");
        std::fs::create_dir_all(&dir).expect("a folder");
        let [first, second] = RESHAPE;
        std::fs::write(dir.join(first.0), first.1).expect("a file");
        let made = reshape(&self.server.url("base_reshape"), &["start", "--complete"], Some(&dir)).output();
        let made = made.expect("reshape");
        assert!(made.status.success(), "reshape: {}", String::from_utf8_lossy(&made.stderr));
        std::fs::write(dir.join(second.0), second.1).expect("a file");
        self.fill("base_reshape", rows);
        dir
    }

    fn fill(&self, database: &str, rows: u64) {
        let rows = format!(
            "INSERT INTO users (id, fullname) SELECT i, 'User ' || i || repeat(' x', 40) FROM generate_series(1, {rows}) i"
        );
        for sql in [rows.as_str(), "VACUUM ANALYZE users", "CHECKPOINT"] {
            self.run_on(database, sql);
        }
    }

    /// A copy of the prepared database, the same to the byte for whoever comes.
    fn fresh<T>(&self, base: &str, name: &str, then: impl FnOnce(&str) -> T) -> T {
        self.run_on("postgres", &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        self.run_on("postgres", &format!("CREATE DATABASE {name} TEMPLATE {base}"));
        self.run_on("postgres", "CHECKPOINT");
        then(&self.server.url(name))
    }

    /// Both, beside an application, and the application alone.
    fn beside(&self, application: &Application, rows: u64, idle_rate: f64, bounds: &mut Bounds) {
        println!("beside {} (4 reads and 1 write by key in turn)", application.what);
        let alone = self.fresh("base", "alone", |url| {
            let alone = async |rest: Rest| {
                let stop = Arc::new(AtomicBool::new(false));
                let going = tokio::spawn(application.run(url.to_owned(), rows, rest, Arc::clone(&stop)));
                tokio::time::sleep(Duration::from_secs(15)).await;
                stop.store(true, Ordering::Relaxed);
                going.await.expect("the application")
            };
            self.runtime.block_on(async { alone(Rest::Always(alone(Rest::AsLong).await.rest)).await })
        });
        println!("  {:<26} p99 {:>7.2} ms, {:>6.0} statements/s", "nobody fills", alone.p99_ms, alone.per_second);
        // The application rests as long beside a backfill as it does now.
        let rest = Rest::Always(alone.rest);
        for (name, what) in [("loop by hand", "backfill-by-hand"), ("schemadiff", "backfill-once")] {
            let (load, took) = self.fresh(base_of(what), "beside", |url| {
                self.runtime.block_on(async {
                    let stop = Arc::new(AtomicBool::new(false));
                    let going = tokio::spawn(application.run(url.to_owned(), rows, rest, Arc::clone(&stop)));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    let mut command = ours_or_hand(what, url, self.folder.path());
                    let began = Instant::now();
                    let status = tokio::task::spawn_blocking(move || command.status()).await.expect("a thread");
                    assert!(status.expect("it starts").success(), "{what} failed");
                    let took = began.elapsed();
                    stop.store(true, Ordering::Relaxed);
                    (going.await.expect("the application"), took)
                })
            });
            let (p99, statements) = (load.p99_ms / alone.p99_ms, load.per_second / alone.per_second);
            let rate = rows as f64 / took.as_secs_f64();
            println!(
                "  {name:<26} p99 {:>7.2} ms (x{p99:.2}), {:>6.0} statements/s (x{statements:.2}), {rate:.0} rows/s (x{:.2} of schemadiff's idle rate)",
                load.p99_ms,
                load.per_second,
                rate / idle_rate,
            );
            if what == "backfill-once" {
                bounds.at_most("p99 of the application, of that without", p99, 2.0);
                bounds.at_least("statements of the application, of those without", statements, 0.85);
                bounds.at_least("rate, of the idle one", rate / idle_rate, 0.4);
            }
        }
    }
}

/// An application that uses half of a machine with two cores when nobody fills.
struct Application {
    what: &'static str,
    connections: u64,
    /// How much longer than a round its connections rest between two: 0 for one that is always busy.
    rests: u32,
}

const APPLICATIONS: [Application; 2] = [
    Application { what: "an application that keeps one connection busy", connections: 1, rests: 0 },
    Application {
        what: "an application of four connections, each busy for a quarter of the time",
        connections: 4,
        rests: 3,
    },
];

/// How long a connection rests between two rounds.
#[derive(Clone, Copy)]
enum Rest {
    /// In proportion to what the round before took.
    AsLong,
    /// As people do, whatever the rounds take.
    Always(Duration),
}

impl Application {
    fn run(&self, url: String, rows: u64, rest: Rest, stop: Arc<AtomicBool>) -> impl Future<Output = Load> + 'static {
        let (connections, rests) = (self.connections, self.rests);
        async move {
            let began = Instant::now();
            let all = (0..connections).map(|n| connection(url.clone(), rows, n, (rests, rest), Arc::clone(&stop)));
            let all: Vec<_> = all.map(tokio::spawn).collect();
            let (mut took, mut rounds) = (Vec::new(), Vec::new());
            for one in all {
                let (statements, whole) = one.await.expect("a connection of the application");
                took.extend(statements);
                rounds.extend(whole);
            }
            took.sort();
            let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or_default();
            let rest = rounds.iter().sum::<Duration>() * rests / u32::try_from(rounds.len().max(1)).unwrap_or(1);
            let per_second = took.len() as f64 / began.elapsed().as_secs_f64();
            Load { p99_ms: p99.as_secs_f64() * 1000.0, per_second, rest }
        }
    }
}

struct Load {
    p99_ms: f64,
    per_second: f64,
    /// How long a connection rests so that it is busy for its share of the time.
    rest: Duration,
}

/// How long each statement took, and each round.
async fn connection(
    url: String,
    rows: u64,
    seed: u64,
    (rests, rest): (u32, Rest),
    stop: Arc<AtomicBool>,
) -> (Vec<Duration>, Vec<Duration>) {
    let mut connection = PgConnection::connect(&url).await.expect("a connection");
    let (mut took, mut rounds, mut at) = (Vec::new(), Vec::new(), seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1);
    while !stop.load(Ordering::Relaxed) {
        let round = Instant::now();
        for turn in 0..5 {
            // Keys in no order that a walk along the key has.
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let sent = Instant::now();
            let id = i64::try_from((at >> 16) % rows.max(1) + 1).unwrap_or(1);
            let result = match turn {
                0 => sqlx::query("UPDATE users SET fullname = fullname || '' WHERE id = $1")
                    .bind(id)
                    .execute(&mut connection)
                    .await
                    .map(drop),
                _ => sqlx::query("SELECT id, fullname FROM users WHERE id = $1")
                    .bind(id)
                    .fetch_all(&mut connection)
                    .await
                    .map(drop),
            };
            result.expect("no statement of the application fails");
            took.push(sent.elapsed());
        }
        rounds.push(round.elapsed());
        let rest = match rest {
            Rest::AsLong => round.elapsed() * rests,
            Rest::Always(rest) => rest,
        };
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
        }
    }
    (took, rounds)
}

/// One run of ours, in a process of its own.
pub fn once(url: &str, folder: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let all = Migrations::load(folder).expect("the migrations");
        let options = ApplyOptions { until: Phase::Backfill, ..ApplyOptions::default() };
        apply(url, &all, &options, Arc::new(NoProgress)).await.expect("filled rows");
    });
}

/// One run of the loop by hand, in a process of its own.
pub fn by_hand(url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut connection = PgConnection::connect(url).await.expect("a connection");
        sqlx::raw_sql("CALL by_hand()").execute(&mut connection).await.expect("the loop");
    });
}
