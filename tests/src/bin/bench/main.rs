//! Benchmarks: whole commands, interleaved in one run, reported as ratios. `docs/benchmarks.md` says how to read them.
//!
//! `cargo run --release -p schemadiff-tests --bin bench -- diff|derive`

mod derive;
mod diff;
mod measure;

fn main() -> std::process::ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("diff") => diff::run(),
        Some("derive") => derive::run(),
        _ => {
            eprintln!("usage: bench diff | bench derive");
            return std::process::ExitCode::from(2);
        }
    }
    std::process::ExitCode::SUCCESS
}
