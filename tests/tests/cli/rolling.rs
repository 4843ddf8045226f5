//! A rolling deploy in processes: six replicas, three versions one after the other, a rollback in the middle, under load.

use std::{
    path::PathBuf,
    sync::LazyLock,
    time::{Duration, Instant},
};

use schemadiff::{lockstep::admin::status, model::Dialect};
use schemadiff_tests::{
    engine::{PgBouncer, Postgres, TestDatabase},
    replica::{Life, Release, Replica},
};

use super::support::{Project, snapshot};

const WORKER: &str = env!("CARGO_BIN_EXE_lockstep_worker");
const REPLICAS: usize = 6;
const SEEDED: u64 = 3000;

static POOLER: LazyLock<PgBouncer> = LazyLock::new(|| PgBouncer::in_front_of(Postgres::shared(), 8));

/// Three versions: the name of a column changes twice, and the last version has another column.
fn releases(project: &Project, db: &TestDatabase) -> [Release; 3] {
    let dialect = db.dialect.to_string();
    let steps: [(&[&str], &[&str]); 3] = [
        (&["fullname"], &[]),
        (&["display_name"], &["--rename", "users.fullname=users.display_name"]),
        (&["name", "note"], &["--rename", "users.display_name=users.name"]),
    ];
    let mut made: Vec<Release> = Vec::new();
    for (number, (columns, hints)) in steps.into_iter().enumerate() {
        let (version, file) = (format!("v{}", number + 1), format!("v{}.toml", number + 1));
        project.write(&file, &snapshot(&dialect, &[("users", columns)]));
        if let Some(before) = made.last() {
            copy(&before.dir, &project.path().join(&version));
        }
        let (to, dir) = (format!("file:{file}"), format!("{version}/migrations"));
        let mut args = vec!["new", &version, "--to", &to, "--dir", &dir, "--database-url", &db.url];
        if number == 0 {
            args.extend(["--from", "empty"]);
        }
        args.extend(hints);
        project.run(&args).expect(0);
        made.push(Release {
            app: "shop".to_owned(),
            dir: project.path().join(dir),
            columns: columns.iter().map(|c| (*c).to_owned()).collect(),
            applies: true,
            declares: None,
        });
    }
    made.try_into().unwrap()
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let to = to.join("migrations");
    for (path, bytes) in entries(from) {
        let target = to.join(path);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, bytes).unwrap();
    }
}

fn entries(dir: &std::path::Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            for (inner, bytes) in entries(&path) {
                found.push((PathBuf::from(path.file_name().unwrap()).join(inner), bytes));
            }
        } else {
            found.push((PathBuf::from(path.file_name().unwrap()), std::fs::read(&path).unwrap()));
        }
    }
    found
}

/// What runs, and what everybody who ran has done.
struct Fleet<'a> {
    db: &'a TestDatabase,
    pool_url: String,
    running: Vec<(usize, Replica)>,
    lives: Vec<Life>,
}

impl Fleet<'_> {
    /// One replica more, then one of the others less, until `count` of them are replaced.
    fn roll(&mut self, releases: &[Release; 3], to: usize, count: usize) {
        for _ in 0..count {
            let new = releases[to].spawn(WORKER, &self.db.url, &self.pool_url).wait_until_ready();
            let Some(at) = self.running.iter().position(|(version, _)| *version != to) else { panic!("all are new") };
            self.lives.push(self.running.remove(at).1.stop());
            self.running.push((to, new));
        }
    }

    fn versions(&self) -> Vec<usize> {
        self.running.iter().map(|(version, _)| *version).collect()
    }

    /// The contract phase of the newest migration waits for exactly the replicas of an older version.
    async fn gate_is_held_by(&self, old: usize) {
        let began = Instant::now();
        loop {
            let seen = status(&self.db.url, None).await.unwrap();
            let mut pids: Vec<_> = seen.waiting.iter().flat_map(|w| &w.holders).map(|h| h.pid).collect();
            let mut expected: Vec<_> =
                self.running.iter().filter(|(v, _)| *v == old).map(|(_, r)| i64::from(r.pid())).collect();
            pids.sort_unstable();
            expected.sort_unstable();
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
            let seen = status(&self.db.url, None).await.unwrap();
            if seen.migrations.iter().all(|m| m.state == "done") {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(90), "contract does not come: {seen:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn deploy(db: TestDatabase, pool_url: String) {
    let project = Project::empty();
    let releases = releases(&project, &db);
    let mut fleet = Fleet { db: &db, pool_url, running: Vec::new(), lives: Vec::new() };
    // All at once on an empty database: one works, the others wait.
    let starting: Vec<_> = (0..REPLICAS).map(|_| releases[0].spawn(WORKER, &db.url, &fleet.pool_url)).collect();
    fleet.running = starting.into_iter().map(|replica| (0, replica.wait_until_ready())).collect();
    db.execute(&format!(
        "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {SEEDED})
         INSERT INTO users (id, fullname) SELECT n, 'Seed ' || n FROM s"
    ))
    .await;

    fleet.roll(&releases, 1, REPLICAS / 2);
    fleet.gate_is_held_by(0).await;
    // The new version is bad: the one before is deployed again, and the database needs no change.
    fleet.roll(&releases, 0, REPLICAS / 2);
    assert_eq!(fleet.versions(), [0; REPLICAS]);
    db.execute("SELECT fullname, display_name FROM users").await;

    fleet.roll(&releases, 1, REPLICAS);
    fleet.contract_comes_by_itself().await;
    assert!(db.try_execute("SELECT fullname FROM users").await.is_err());
    fleet.roll(&releases, 2, REPLICAS / 2);
    fleet.gate_is_held_by(1).await;
    fleet.roll(&releases, 2, REPLICAS / 2);
    fleet.contract_comes_by_itself().await;

    let Fleet { running, mut lives, .. } = fleet;
    lives.extend(running.into_iter().map(|(_, replica)| replica.stop()));
    assert_eq!(lives.len(), 4 * REPLICAS);
    let failed: Vec<_> = lives.iter().flat_map(|life| &life.failed).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(lives.iter().all(|life| !life.stored.is_empty()), "every replica has served");
    for (id, value) in lives.iter().flat_map(|life| &life.stored).step_by(7) {
        let found = db.text(&format!("SELECT name FROM users WHERE id = {id}")).await;
        assert_eq!(found.as_ref(), Some(value), "{id}");
    }
    let stored: u64 = lives.iter().map(|life| life.stored.len() as u64).sum();
    let there = db.text("SELECT CAST(count(*) AS text) FROM users WHERE name IS NOT NULL").await;
    assert_eq!(there, Some((SEEDED + stored).to_string()), "no row is lost or doubled");
    project
        .run(&["diff", "--exit-code", "--from", &db.url, "--to", "file:v3.toml", "--dir", "v3/migrations"])
        .expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn six_replicas_on_postgres() {
    let db = TestDatabase::new(Dialect::Postgres);
    let url = db.url.clone();
    deploy(db, url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn six_replicas_through_pgbouncer() {
    let db = TestDatabase::new(Dialect::Postgres);
    let url = POOLER.url(&db.name);
    deploy(db, url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn six_replicas_on_sqlite() {
    let db = TestDatabase::new(Dialect::Sqlite);
    let url = db.url.clone();
    deploy(db, url).await;
}
