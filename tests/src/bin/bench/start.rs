//! A start with 200 applied migrations and nothing to do, against sqlx's migrator with as many.

use std::{path::Path, process::Command};

use schemadiff::{
    Lockstep,
    embed::Migrations,
    model::Dialect,
    plan::{Envelope, Phase, Plan},
};
use schemadiff_tests::{
    engine::TestDatabase,
    lockstep::{first, lock, plan, second, step, write},
};
use sqlx::Connection as _;

use super::measure::{Contender, installed, print, rounds};

const MIGRATIONS: usize = 200;
const DIALECT: Dialect = Dialect::Postgres;

/// A chain whose first two migrations build something; the others are as small as a migration can be, on both sides.
fn chain() -> Vec<Plan> {
    let mut plans = vec![first(DIALECT), second(DIALECT)];
    let schema = lock(DIALECT, &plans).schema;
    while plans.len() < MIGRATIONS {
        let nothing = step("01-nothing", Phase::Expand, Envelope::Transaction, vec!["SELECT 1".to_owned()], Vec::new());
        let id = format!("202602{:08}_nothing", plans.len());
        let parent = plans.last().map(|last| last.id.clone());
        plans.push(plan(DIALECT, &id, parent.as_deref(), &schema, vec![(nothing, schema.clone())]));
    }
    plans
}

/// The same number of migrations in sqlx's form.
fn write_sqlx(dir: &Path) {
    for n in 0..MIGRATIONS {
        let sql = if n == 0 { "CREATE TABLE sqlx_users (id bigint PRIMARY KEY)" } else { "SELECT 1" };
        std::fs::write(dir.join(format!("202602{n:08}_nothing.sql")), sql).expect("a folder to write to");
    }
}

/// What a binary carries is in one file here, so that it need not be compiled for each run.
const CARRIED: &str = "carried.json";

/// What `embed!` puts into a binary: the lock, and name and text of each plan.
fn carry(dir: &Path) {
    let read = |path: &Path| std::fs::read_to_string(path).expect("a file");
    let mut plans: Vec<(String, String)> = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            plans.push((name, read(&path.join("plan.toml"))));
        }
    }
    plans.sort_unstable();
    let all = serde_json::to_string(&(read(&dir.join("schemadiff.lock")), plans)).expect("JSON");
    std::fs::write(dir.join(CARRIED), all).expect("a folder to write to");
}

fn carried(dir: &Path) -> Migrations {
    let text = std::fs::read(dir.join(CARRIED)).expect("a file");
    let (lock, plans): (String, Vec<(String, String)>) = serde_json::from_slice(&text).expect("JSON");
    let leaked = |text: String| -> &'static str { text.leak() };
    let plans: Vec<_> = plans.into_iter().map(|(name, text)| (leaked(name), leaked(text))).collect();
    Migrations::embedded(leaked(lock), plans.leak())
}

/// What one process of a contender does: connects, and finds that there is nothing to do. Then it has started, and ends without
/// a good-bye: how a service goes is another matter than how it comes.
pub fn once(tool: &str, url: &str, dir: &Path) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        if tool == "sqlx" {
            let migrator = sqlx::migrate::Migrator::new(dir).await.expect("migrations");
            let mut connection = sqlx::PgConnection::connect(url).await.expect("a connection");
            migrator.run(&mut connection).await.expect("nothing to do");
            std::mem::forget(connection);
        } else {
            let started = Lockstep::builder("shop", carried(dir))
                .database_url(url)
                .schema(schemadiff_tests::lockstep::new_code(DIALECT))
                .start()
                .await
                .expect("nothing to do");
            std::mem::forget(started);
        }
        // Before anything is dropped.
        std::process::exit(0);
    });
}

pub fn run() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, theirs) = (folder.path().join("schemadiff"), folder.path().join("sqlx"));
    for dir in [&ours, &theirs] {
        std::fs::create_dir(dir).expect("a folder");
    }
    write(&ours, DIALECT, &chain());
    carry(&ours);
    write_sqlx(&theirs);
    let (for_ours, for_theirs) = (TestDatabase::new(DIALECT), TestDatabase::new(DIALECT));
    let contender = |name, tool: &'static str, url: &str, dir: &Path| {
        let (url, dir) = (url.to_owned(), dir.to_owned());
        Contender {
            name,
            command: Box::new(move || {
                let mut command = Command::new(std::env::current_exe().expect("our own path"));
                command.args(["start-once", tool, &url]).arg(&dir);
                command
            }),
            success: &[0],
        }
    };
    let mut contenders = vec![
        contender("sqlx in a program, from its folder", "sqlx", &for_theirs.url, &theirs),
        contender("schemadiff in a program", "schemadiff", &for_ours.url, &ours),
    ];
    if installed("sqlx") {
        let (url, dir) = (for_theirs.url.clone(), theirs.display().to_string());
        contenders.push(Contender {
            name: "sqlx migrate run",
            command: Box::new(move || {
                let mut command = Command::new("sqlx");
                command.args(["migrate", "run", "--source", &dir, "-D", &url]);
                command
            }),
            success: &[0],
        });
    }
    // The first round applies them.
    rounds(&contenders, 1);
    print("start with nothing to do", &rounds(&contenders, 31));
}
