//! Benchmarks: whole commands, interleaved in one run, reported as ratios. `docs/benchmarks.md` says how to read them.
//!
//! `cargo run --release -p schemadiff-tests --bin bench -- diff|derive|start|backfill|standby|operations|warm|fleet`

mod backfill;
mod derive;
mod diff;
mod fleet;
mod measure;
mod operations;
mod standby;
mod start;
mod warm;

fn main() -> std::process::ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("diff") => diff::run(),
        Some("derive") => derive::run(),
        Some("start") => start::run(),
        Some("backfill") => {
            let rows = std::env::args().nth(2).map_or(Ok(5_000_000), |rows| rows.parse());
            let Ok(rows) = rows else { return std::process::ExitCode::from(2) };
            backfill::run(rows);
        }
        Some("standby") => {
            let rows = std::env::args().nth(2).map_or(Ok(2_000_000), |rows| rows.parse());
            let Ok(rows) = rows else { return std::process::ExitCode::from(2) };
            standby::run(rows);
        }
        Some("warm") => warm::run(),
        Some("operations") => {
            let rows = std::env::args().nth(2).map_or(Ok(2_000_000), |rows| rows.parse());
            let Ok(rows) = rows else { return std::process::ExitCode::from(2) };
            if !operations::run(rows) {
                return std::process::ExitCode::FAILURE;
            }
        }
        Some("fleet") => {
            let databases = std::env::args().nth(2).map_or(Ok(500), |databases| databases.parse());
            let Ok(databases) = databases else { return std::process::ExitCode::from(2) };
            fleet::run(databases);
        }
        // Contenders of `fleet`, each in a process of its own.
        Some(once @ ("fleet-once" | "fleet-bare")) => {
            let Some(dir) = std::env::args().nth(2) else { return std::process::ExitCode::from(2) };
            let dir = std::path::Path::new(&dir);
            if once == "fleet-once" { fleet::once(dir) } else { fleet::bare(dir) }
        }
        // Contenders of `backfill`, each in a process of its own.
        Some(once @ ("backfill-once" | "backfill-by-hand")) => {
            let args: Vec<String> = std::env::args().skip(2).collect();
            let [url, dir] = args.as_slice() else { return std::process::ExitCode::from(2) };
            if once == "backfill-once" {
                backfill::once(url, std::path::Path::new(dir))
            } else {
                backfill::by_hand(url)
            }
        }
        // One contender of `start`, in a process of its own.
        Some("start-once") => {
            let args: Vec<String> = std::env::args().skip(2).collect();
            let [tool, url, dir] = args.as_slice() else { return std::process::ExitCode::from(2) };
            start::once(tool, url, std::path::Path::new(dir));
        }
        _ => {
            eprintln!(
                "usage: bench diff | bench derive | bench start | bench backfill [ROWS] | bench standby [ROWS] | \
                 bench operations [ROWS] | bench warm | bench fleet [DATABASES]"
            );
            return std::process::ExitCode::from(2);
        }
    }
    std::process::ExitCode::SUCCESS
}
