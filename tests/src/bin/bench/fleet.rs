//! A fleet with nothing to do against as many bare connections.

use std::{fmt::Write as _, path::Path, process::Command, sync::Arc};

use schemadiff::model::Dialect;
use schemadiff_tests::{
    engine::Postgres,
    lockstep::{first, second, write},
};
use sqlx::{Connection as _, PgConnection};
use tokio::{sync::Semaphore, task::JoinSet};

use super::measure::{Bounds, Contender, print, rounds};

const DIALECT: Dialect = Dialect::Postgres;
const PARALLEL: usize = 16;

/// `cargo schemadiff apply` in a process of its own.
pub fn once(dir: &Path) {
    std::env::set_current_dir(dir).expect("a folder");
    let parallel = PARALLEL.to_string();
    let args = ["cargo-schemadiff", "apply", "--fleet", "fleet.txt", "--parallel", &parallel, "--canary", "0", "-q"];
    let code = cargo_schemadiff::commands::main(args.into_iter().map(Into::into));
    assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::SUCCESS), "the fleet is applied");
}

/// Connects to each, asks one question, and goes.
pub fn bare(dir: &Path) {
    let list = std::fs::read_to_string(dir.join("fleet.txt")).expect("a list");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (places, mut all) = (Arc::new(Semaphore::new(PARALLEL)), JoinSet::new());
        for url in list.lines().filter_map(|line| line.split(' ').nth(1)).map(str::to_owned) {
            let places = Arc::clone(&places);
            all.spawn(async move {
                let _place = places.acquire().await.expect("a place");
                let mut connection = PgConnection::connect(&url).await.expect("a connection");
                sqlx::query("SELECT 1").execute(&mut connection).await.expect("an answer");
                connection.close().await.expect("an end");
            });
        }
        all.join_all().await;
    });
}

/// `databases` databases on one server.
pub fn run(databases: u64) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join("migrations"), DIALECT, &[first(DIALECT), second(DIALECT)]);
    let server = Postgres::shared();
    // The databases live as long as these values.
    let members: Vec<_> = (0..databases).map(|_| server.database()).collect();
    let mut list = String::new();
    for (n, member) in members.iter().enumerate() {
        // Writing into a string cannot fail.
        let _ = writeln!(list, "tenant-{n} {}", member.url);
    }
    std::fs::write(folder.path().join("fleet.txt"), list).expect("a folder to write to");
    std::fs::write(folder.path().join("schemadiff.toml"), "dialect = \"postgres\"\n").expect("a folder to write to");
    let contender = |name, what: &'static str| {
        let dir = folder.path().to_owned();
        Contender {
            name,
            command: Box::new(move || {
                let mut command = Command::new(std::env::current_exe().expect("our own path"));
                command.arg(what).arg(&dir);
                command
            }),
            success: &[0],
        }
    };
    let contenders = [contender("bare connections", "fleet-bare"), contender("schemadiff apply --fleet", "fleet-once")];
    // The first round applies the migrations.
    rounds(&contenders, 1);
    let seen = rounds(&contenders, 5);
    print(&format!("{databases} databases with nothing to do"), &seen);
    let mut bounds = Bounds::default();
    bounds.at_most("time, of that of bare connections", seen[1].median() / seen[0].median(), 3.0);
    bounds.hold()
}
