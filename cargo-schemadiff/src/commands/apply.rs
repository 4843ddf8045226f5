//! `cargo schemadiff apply`: carries the migrations out, in lockstep with the versions that are running.

use std::sync::Arc;

use schemadiff::{
    backend::StepState,
    embed,
    lockstep::{
        NoProgress, Progress, Status,
        admin::{self, ApplyOptions, ApplyReport},
    },
    model::{Fingerprint, Schema},
};
use serde_json::json;
use tokio::sync::watch;

use super::{Outcome, args::ApplyArgs, context::Context, drift, fleet, interruption};
use crate::{
    Error, Result,
    address::redact,
    dialect::{Connection, dialect_of},
    migrations::Migrations,
    report::{
        JSON_FORMAT, count, paint,
        progress::{Lines, Terminal},
        style,
    },
};

pub(super) async fn run(context: &Context, args: &ApplyArgs) -> Result<Outcome> {
    if let Some(members) = fleet::members(context, &args.fleet).await? {
        return fleet::apply(context, args, members).await;
    }
    let url = context.database_url()?;
    let dir = context.config.dir();
    // Everything that can be wrong with the directory is said before the database is touched.
    let ours = Migrations::read(&dir)?;
    ours.require_any()?;
    let migrations = embed::Migrations::load(&dir)?;
    let options = options(context, args, stop_on_interruption());
    let report = one(context, &url, &ours, &migrations, &options, progress(context)).await?;
    context.report.json_line(&json!({ "format": JSON_FORMAT, "command": "apply", "report": report }))?;
    if !context.report.quiet {
        context.report.say(summary(&report))?;
    }
    Ok(Outcome::Done)
}

/// One database, from the first look at it to the last step.
pub(super) async fn one(
    context: &Context,
    url: &str,
    ours: &Migrations,
    migrations: &embed::Migrations,
    options: &ApplyOptions,
    progress: Arc<dyn Progress>,
) -> Result<ApplyReport> {
    // A mistaken address must not leave a file behind: migrations that begin at something have nothing to do in a new one.
    let (plans, database) = (migrations.history()?.snapshot().dialect, dialect_of(url)?);
    if plans != database {
        return Err(schemadiff::Error::OtherDialect { plans, database }.into());
    }
    let begins_empty = ours.plans.first().is_some_and(|first| first.before == Fingerprint::of(&Schema::default()));
    if begins_empty && Connection::create_if_missing(url)? && !context.report.quiet && !context.report.json {
        context.report.say(format!("{}\n", paint(style::ACCENT, format!("made a new database: {}", redact(url)))))?;
    }
    drift::refuse(context, url, ours, migrations).await?;
    match admin::apply(url, migrations, options, progress).await {
        Ok(report) => Ok(report),
        Err(error) => Err(stopped_at(error, url, migrations).await),
    }
}

/// As the command line and the file say.
pub(super) fn options(context: &Context, args: &ApplyArgs, stop: watch::Receiver<bool>) -> ApplyOptions {
    ApplyOptions {
        until: args.until.into(),
        app: app(context),
        wait: Some(args.wait),
        accept_stall: args.accept_stall,
        soak: context.config.soak(args.soak),
        pace: context.config.pace(args.max_stall, args.compare),
        stop: Some(stop),
        ..ApplyOptions::default()
    }
}

/// Whoever stopped it wants to know in one line how far it came.
pub(super) async fn stopped_at(error: schemadiff::Error, url: &str, migrations: &embed::Migrations) -> Error {
    let interrupted = matches!(error, schemadiff::Error::Interrupted);
    let error = Error::from(error);
    if !interrupted {
        return error;
    }
    match admin::status(url, Some(migrations)).await {
        Ok(status) => error.cause(progress_line(&status)),
        Err(_) => error,
    }
}

fn progress_line(status: &Status) -> String {
    let Some(migration) = status.migrations.iter().find(|m| m.state == "running") else {
        let done = status.migrations.iter().filter(|m| m.state == "done").count();
        return format!("no migration is under way: {done} of {} are done", status.migrations.len());
    };
    let done = migration.steps.iter().filter(|s| s.state == StepState::Done).count();
    let mut line = format!("{}: {done} of {} steps are done", migration.id, migration.steps.len());
    if let Some(step) = migration.steps.iter().find(|s| s.state == StepState::Running) {
        line.push_str(&format!(", {} has begun", step.id));
        if let (Ok(rows @ 1..), Some(total)) = (u64::try_from(step.rows), step.total) {
            line.push_str(&format!(" ({} of {} rows)", count(rows), count(total)));
        }
    }
    line
}

fn summary(report: &ApplyReport) -> String {
    let done = report.steps.len();
    let mut text = match done {
        0 => paint(style::GOOD, "nothing to do"),
        1 => paint(style::GOOD, "1 step carried out"),
        _ => paint(style::GOOD, format!("{done} steps carried out")),
    };
    if !report.left.is_empty() {
        text.push_str(&format!(", {} left for later phases", report.left.len()));
    }
    text.push('\n');
    text
}

/// Who applies, for the record.
pub(super) fn app(context: &Context) -> String {
    context.config.app().unwrap_or_else(|| admin::ANONYMOUS.to_owned())
}

/// Bars and lines for people, a line of JSON for each event for programs.
pub(super) fn progress(context: &Context) -> Arc<dyn Progress> {
    match (context.report.json, context.report.quiet) {
        (true, true) => Arc::new(NoProgress),
        (true, false) => Arc::new(Lines::new(context.report, None)),
        (false, quiet) => Arc::new(Terminal::new(quiet)),
    }
}

/// Becomes true with Ctrl-C or SIGTERM, so that the executor stops where nothing is half-done. A second one ends the
/// process at once: the server then takes back what was not committed.
pub(super) fn stop_on_interruption() -> watch::Receiver<bool> {
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        interruption().await;
        stop.send_replace(true);
        interruption().await;
        std::process::exit(130);
    });
    stopped
}
