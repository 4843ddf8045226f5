//! One file per subcommand.

mod abort;
mod apply;
pub mod args;
mod check;
mod code;
mod compare;
mod context;
mod demo;
mod diff;
mod drift;
mod failed_rows;
mod fleet;
mod new;
mod pace;
mod planning;
mod retire;
mod scope;
mod snapshot;
mod status;
mod strategy;
mod undeclared;
mod undo;
mod unheld;
mod usage;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

use crate::{Error, Kind, Result, report::Report};
use args::{Cli, Command};
use context::Context;

/// What a command that did not fail found.
#[derive(Debug)]
pub enum Outcome {
    /// Done, or equal: exit code 0.
    Done,
    /// Differences, where the command was asked to say so: exit code 1.
    Differences,
    /// A step waits for running versions, where the command was asked to say so: exit code 8.
    Waiting,
    /// Another process works, where the command was asked to say so: exit code 10.
    Busy,
    /// It failed, and the document that was printed holds the error.
    Failed(Error),
}

/// The program. `cargo schemadiff …` calls it with `schemadiff` as the first argument, which is left out.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args = args.enumerate().filter(|(at, arg)| !(*at == 1 && arg == "schemadiff")).map(|(_, arg)| arg);
    let args: Vec<OsString> = args.collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        // Help and version: to standard output, with code 0.
        Err(e) if !e.use_stderr() => e.exit(),
        Err(e) => {
            let error = usage::error(&e);
            Report { json: usage::asks_for_json(&args), quiet: false, verbose: 0 }.error(&error);
            return ExitCode::from(error.kind.exit_code());
        }
    };
    let report = context::report(&cli.global);
    start_tracing(&report);
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(Kind::Internal, "SD0934", "the asynchronous runtime does not start").cause(e))
        .and_then(|runtime| {
            let result = runtime.block_on(run(&cli));
            // Whatever still runs is a connection that is closing; nobody waits for it.
            runtime.shutdown_background();
            result
        });
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Differences) => ExitCode::from(1),
        Ok(Outcome::Waiting) => ExitCode::from(Kind::Waiting.exit_code()),
        Ok(Outcome::Busy) => ExitCode::from(Kind::Busy.exit_code()),
        Ok(Outcome::Failed(error)) => {
            report.told(&error);
            ExitCode::from(error.kind.exit_code())
        }
        Err(error) => {
            report.error(&error);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

async fn run(cli: &Cli) -> Result<Outcome> {
    let context = Context::new(&cli.global)?;
    match &cli.command {
        Command::Diff(args) => until_interrupted(diff::run(&context, args)).await,
        Command::New(args) => until_interrupted(new::run(&context, args)).await,
        Command::Check(args) => until_interrupted(check::run(&context, args)).await,
        Command::Snapshot(args) => until_interrupted(snapshot::run(&context, args)).await,
        // Looking on is ended by an interruption, and has then done what it was asked for.
        Command::Status(args) if args.watch => status::run(&context, args).await,
        Command::Status(args) => until_interrupted(status::run(&context, args)).await,
        Command::Pause(args) => until_interrupted(pace::pause(&context, args)).await,
        Command::Resume(args) => until_interrupted(pace::resume(&context, args)).await,
        Command::FailedRows(args) => until_interrupted(failed_rows::run(&context, args)).await,
        Command::Speed(args) => until_interrupted(pace::speed(&context, args)).await,
        // These change a database, and stop where nothing is half-done.
        Command::Apply(args) => apply::run(&context, args).await,
        Command::Abort(args) => abort::run(&context, args).await,
        Command::Undo(args) => undo::run(&context, args).await,
        Command::Purge(args) => undo::purge(&context, args).await,
        Command::Retire(args) => retire::run(&context, args).await,
        Command::Demo(args) => demo::run(&context, args).await,
    }
}

/// Ctrl-C and SIGTERM end a command that only looks between two awaits: connections close, and servers take back what was not committed.
async fn until_interrupted(command: impl Future<Output = Result<Outcome>>) -> Result<Outcome> {
    tokio::select! {
        result = command => result,
        () = interruption() => Err(Error::new(Kind::Interrupted, "SD1300", "interrupted")
            .help("nothing is half-done; run the command again to go on")),
    }
}

async fn interruption() {
    #[cfg(unix)]
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        // Without a handler the process simply dies of the signal.
        Ok(()) = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

fn start_tracing(report: &Report) {
    use tracing_subscriber::EnvFilter;
    let default = match report.verbose {
        // The driver warns of statements that took long, ours, with pages of SQL.
        0 => "warn,sqlx::query=error",
        1 => "info,sqlx::query=error",
        _ => "debug",
    };
    let mut filter = EnvFilter::try_from_env("SCHEMADIFF_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    // It tells the values of parameters that it does not know, and a misspelled one may be a password.
    if let Ok(off) = "sqlx_postgres::options::parse=off".parse() {
        filter = filter.add_directive(off);
    }
    let colours = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours);
    // A second subscriber in one process can only be a test's, and it then has the say.
    let _ = lines.with_writer(std::io::stderr).without_time().try_init();
}
