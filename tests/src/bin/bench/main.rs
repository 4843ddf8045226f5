//! Benchmarks: whole commands, interleaved in one run, reported as ratios. `docs/benchmarks.md` says how to read them.
//!
//! `cargo run --release -p schemadiff-tests --bin bench -- diff|derive|start|backfill|standby|operations|warm|fleet`

mod backfill;
mod derive;
mod diff;
mod fleet;
mod measure;
mod operations;
mod plans;
mod standby;
mod start;
mod warm;

fn main() -> std::process::ExitCode {
    let number = |default: u64| std::env::args().nth(2).map_or(Ok(default), |number| number.parse());
    let holds = match std::env::args().nth(1).as_deref() {
        Some("diff") => diff::run(),
        Some("derive") => derive::run(),
        Some("start") => said(start::run),
        Some("warm") => warm::run(),
        Some(what @ ("backfill" | "standby" | "operations" | "fleet")) => {
            let (run, default): (fn(u64) -> bool, u64) = match what {
                "backfill" => (backfill::run, 5_000_000),
                "standby" => (standby::run, 2_000_000),
                "operations" => (operations::run, 2_000_000),
                _ => (fleet::run, 500),
            };
            let Ok(number) = number(default) else { return std::process::ExitCode::from(2) };
            run(number)
        }
        // Contenders of `fleet`, each in a process of its own.
        Some(once @ ("fleet-once" | "fleet-bare")) => {
            let Some(dir) = std::env::args().nth(2) else { return std::process::ExitCode::from(2) };
            let dir = std::path::Path::new(&dir);
            said(|| if once == "fleet-once" { fleet::once(dir) } else { fleet::bare(dir) })
        }
        // Contenders of `backfill`, each in a process of its own.
        Some(once @ ("backfill-once" | "backfill-by-hand")) => {
            let args: Vec<String> = std::env::args().skip(2).collect();
            let [url, dir] = args.as_slice() else { return std::process::ExitCode::from(2) };
            let dir = std::path::Path::new(dir);
            said(|| if once == "backfill-once" { backfill::once(url, dir) } else { backfill::by_hand(url) })
        }
        // One contender of `start`, in a process of its own.
        Some("start-once") => {
            let args: Vec<String> = std::env::args().skip(2).collect();
            let [tool, url, dir] = args.as_slice() else { return std::process::ExitCode::from(2) };
            said(|| start::once(tool, url, std::path::Path::new(dir)))
        }
        _ => {
            eprintln!(
                "usage: bench diff | bench derive | bench start | bench backfill [ROWS] | bench standby [ROWS] | \
                 bench operations [ROWS] | bench warm | bench fleet [DATABASES]"
            );
            return std::process::ExitCode::from(2);
        }
    };
    if holds { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}

/// For what has no bound.
fn said(run: impl FnOnce()) -> bool {
    run();
    true
}
