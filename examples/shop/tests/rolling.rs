//! A rolling deploy in processes: six replicas of the shop, three versions one after the other with a rollback in the middle, under
//! load. Every replica carries its migrations itself, as a service without a pipeline does.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Condvar, LazyLock, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use schemadiff::{lockstep::admin::status, model::Dialect};
use schemadiff_tests::{
    engine::{PgBouncer, Postgres, TestDatabase},
    program::{program, succeed, workspace},
};
use shop::{Counters, Entry, Event, Expected, Held, Journal, ON_HAND};

const VERSIONS: [&str; 3] =
    [env!("CARGO_BIN_EXE_shop-v1"), env!("CARGO_BIN_EXE_shop-v2"), env!("CARGO_BIN_EXE_shop-v3")];
const REPLICAS: usize = 6;
const SEEDED: u64 = 3000;

static POOLER: LazyLock<PgBouncer> = LazyLock::new(|| PgBouncer::that_prepares(Postgres::shared(), 8));

/// Where a process works.
struct Place<'a> {
    db: &'a TestDatabase,
    pool_url: Option<String>,
    journals: tempfile::TempDir,
}

impl Place<'_> {
    fn command(&self, version: usize) -> Command {
        let mut command = Command::new(VERSIONS[version]);
        command.env("DATABASE_URL", &self.db.url).env("MIGRATE", "true");
        if let Some(url) = &self.pool_url {
            command.env("POOL_URL", url);
        }
        command
    }

    fn start(&self, version: usize) -> Replica {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let name = format!("v{}-{}", version + 1, STARTED.fetch_add(1, Ordering::Relaxed));
        let journal = self.journals.path().join(&name);
        let mut command = self.command(version);
        command.args(["serve", "--pause-ms", "15", "--name", &name, "--journal"]).arg(&journal);
        Replica::listen(command, version, journal)
    }
}

/// A running process of the shop.
struct Replica {
    version: usize,
    journal: PathBuf,
    child: Child,
    stdin: ChildStdin,
    heard: Arc<(Mutex<Heard>, Condvar)>,
    reader: JoinHandle<()>,
}

#[derive(Default)]
struct Heard {
    ready: bool,
    closed: bool,
    end: Option<Counters>,
}

impl Replica {
    fn listen(mut command: Command, version: usize, journal: PathBuf) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let heard = Arc::new((Mutex::new(Heard::default()), Condvar::new()));
        let to = Arc::clone(&heard);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                match serde_json::from_str(&line).unwrap() {
                    Event::Ready { .. } => to.0.lock().unwrap().ready = true,
                    Event::Tick(_) => {}
                    Event::End(counters) => to.0.lock().unwrap().end = Some(counters),
                }
                to.1.notify_all();
            }
            to.0.lock().unwrap().closed = true;
            to.1.notify_all();
        });
        Self { version, journal, child, stdin, heard, reader }
    }

    fn wait_until_ready(self) -> Self {
        let waiting = |heard: &mut Heard| !heard.ready && !heard.closed;
        let heard = self.heard.0.lock().unwrap();
        let (heard, _) = self.heard.1.wait_timeout_while(heard, Duration::from_secs(120), waiting).unwrap();
        assert!(heard.ready, "{} does not get ready", self.journal.display());
        drop(heard);
        self
    }

    /// What it has done in its life, and where that is noted.
    fn stop(mut self) -> (PathBuf, Counters) {
        drop(self.stdin);
        assert!(self.child.wait().unwrap().success());
        self.reader.join().unwrap();
        let end = self.heard.0.lock().unwrap().end.take();
        (self.journal, end.expect("an orderly end"))
    }
}

/// What runs, and what everybody who ran has done.
struct Fleet<'a> {
    place: Place<'a>,
    running: Vec<Replica>,
    lives: Vec<(PathBuf, Counters)>,
}

impl Fleet<'_> {
    /// One replica more, then one of the others less, until `count` of them are replaced.
    fn roll(&mut self, to: usize, count: usize) {
        for _ in 0..count {
            let new = self.place.start(to).wait_until_ready();
            let at = self.running.iter().position(|replica| replica.version != to).expect("one of another version");
            self.lives.push(self.running.remove(at).stop());
            self.running.push(new);
        }
    }

    /// The contract phase of the newest migration waits for exactly the replicas of an older version.
    async fn gate_is_held_by(&self, old: usize) {
        let expected = self.running.iter().filter(|replica| replica.version == old);
        let mut expected: Vec<_> = expected.map(|replica| i64::from(replica.child.id())).collect();
        expected.sort_unstable();
        let began = Instant::now();
        loop {
            let seen = status(&self.place.db.url, None).await.unwrap();
            let mut pids: Vec<_> = seen.waiting.iter().flat_map(|w| &w.holders).map(|h| h.pid).collect();
            pids.sort_unstable();
            if pids == expected && !pids.is_empty() {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "held by {pids:?}, not by {expected:?}: {seen:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn contract_comes_by_itself(&self) {
        let began = Instant::now();
        loop {
            let seen = status(&self.place.db.url, None).await.unwrap();
            if seen.migrations.iter().all(|m| m.state == "done") {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(90), "contract does not come: {seen:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// No statement has failed, every read has given what was written last, and every replica has served.
    fn all_went_well(&self) {
        assert_eq!(self.lives.len(), 4 * REPLICAS);
        for (journal, counters) in &self.lives {
            assert_eq!((counters.failed, counters.wrong_reads), (0, 0), "{}: {counters:#?}", journal.display());
            assert!(counters.statements > 0, "{} has not served", journal.display());
        }
    }

    /// What the newest version reads is what was acknowledged, to the row.
    fn all_is_there(&self) {
        let mut expected = Expected::default();
        let seed = Journal::create(&self.place.journals.path().join("seed")).unwrap();
        for n in 1..=SEEDED {
            let (email, name) = (format!("Seed-{n}@Shop.Example"), format!("Customer {n}"));
            seed.note(&Entry::Customer { email, name }).unwrap();
        }
        for n in 0..shop::ARTICLES {
            seed.note(&Entry::Restock { sku: format!("article-{n}"), quantity: ON_HAND }).unwrap();
        }
        expected.read(&self.place.journals.path().join("seed")).unwrap();
        for (journal, _) in &self.lives {
            expected.read(journal).unwrap();
        }
        let mut held = Expected { customers: BTreeMap::new(), orders: BTreeMap::new(), stock: BTreeMap::new() };
        for line in succeed(self.place.command(2).arg("export")).lines() {
            match serde_json::from_str(line).unwrap() {
                Held::Customer { email, name, key } => {
                    assert_eq!(key, email.to_lowercase());
                    assert_eq!(held.customers.insert(email, name), None, "a row is doubled");
                }
                Held::Order { reference, sku, quantity } => {
                    assert_eq!(held.orders.insert(reference, (sku, quantity)), None, "a row is doubled");
                }
                Held::Stock { sku, on_hand } => assert_eq!(held.stock.insert(sku, on_hand), None, "a row is doubled"),
            }
        }
        assert!(expected.orders.len() > 10 * REPLICAS, "they have hardly served");
        differ("customers", &held.customers, &expected.customers);
        differ("orders", &held.orders, &expected.orders);
        differ("stock", &held.stock, &expected.stock);
    }
}

/// Nothing differs, or the first few that do are named.
#[track_caller]
fn differ<V: PartialEq + std::fmt::Debug>(what: &str, held: &BTreeMap<String, V>, expected: &BTreeMap<String, V>) {
    let keys: BTreeSet<_> = held.keys().chain(expected.keys()).collect();
    let found = keys.into_iter().filter(|key| held.get(*key) != expected.get(*key));
    let found: Vec<_> = found.map(|key| format!("{key}: {:?}, not {:?}", held.get(key), expected.get(key))).collect();
    assert!(
        found.is_empty(),
        "{} {what} are not what was acknowledged: {:#?}",
        found.len(),
        &found[..found.len().min(5)]
    );
}

async fn deploy(db: TestDatabase, pool_url: Option<String>) {
    let place = Place { db: &db, pool_url, journals: tempfile::tempdir().unwrap() };
    // All at once on an empty database: one works, the others wait.
    let starting: Vec<_> = (0..REPLICAS).map(|_| place.start(0)).collect();
    let running = starting.into_iter().map(Replica::wait_until_ready).collect();
    succeed(place.command(0).args(["seed", "--customers", &SEEDED.to_string()]));
    let mut fleet = Fleet { place, running, lives: Vec::new() };

    fleet.roll(1, REPLICAS / 2);
    fleet.gate_is_held_by(0).await;
    // The new version is bad: the one before is deployed again, and the database needs no change.
    fleet.roll(0, REPLICAS / 2);
    assert!(fleet.running.iter().all(|replica| replica.version == 0));
    db.execute("SELECT fullname, display_name FROM customers").await;

    fleet.roll(1, REPLICAS);
    fleet.contract_comes_by_itself().await;
    assert!(db.try_execute("SELECT fullname FROM customers").await.is_err());
    fleet.roll(2, REPLICAS / 2);
    fleet.gate_is_held_by(1).await;
    fleet.roll(2, REPLICAS / 2);
    fleet.contract_comes_by_itself().await;
    assert!(db.try_execute("SELECT on_hand FROM stock").await.is_err());

    let ended: Vec<_> = fleet.running.drain(..).map(Replica::stop).collect();
    fleet.lives.extend(ended);
    fleet.all_went_well();
    fleet.all_is_there();
    let dir = format!("examples/shop/v3/migrations/{}", db.dialect);
    let diff = [
        "schemadiff",
        "diff",
        "--exit-code",
        "-p",
        "shop",
        "--bin",
        "shop-v3",
        "--dir",
        &dir,
        "--database-url",
        &db.url,
    ];
    succeed(Command::new(program()).args(diff).current_dir(workspace()));
}

#[tokio::test(flavor = "multi_thread")]
async fn six_replicas_on_postgres() {
    deploy(TestDatabase::new(Dialect::Postgres), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn six_replicas_through_pgbouncer() {
    let db = TestDatabase::new(Dialect::Postgres);
    let url = POOLER.url(&db.name);
    deploy(db, Some(url)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn six_replicas_on_sqlite() {
    deploy(TestDatabase::new(Dialect::Sqlite), None).await;
}
