//! `cargo schemadiff apply`: carries the migrations out, in lockstep with the versions that are running.

use std::sync::Arc;

use schemadiff::{
    embed,
    lockstep::{
        NoProgress, Progress,
        admin::{self, ApplyOptions, ApplyReport},
    },
};
use serde_json::json;
use tokio::sync::watch;

use super::{Outcome, args::ApplyArgs, context::Context, drift, interruption};
use crate::{
    Result,
    migrations::Migrations,
    report::{JSON_FORMAT, paint, progress::Terminal, style},
};

pub(super) async fn run(context: &Context, args: &ApplyArgs) -> Result<Outcome> {
    let url = context.config.require_database_url()?;
    let dir = context.config.dir();
    // Everything that can be wrong with the directory is said before the database is touched.
    let ours = Migrations::read(&dir)?;
    ours.require_any()?;
    let migrations = embed::Migrations::load(&dir)?;
    drift::refuse(context, &url, &ours, &migrations).await?;
    let options = ApplyOptions {
        until: args.until.into(),
        app: app(context),
        wait: Some(args.wait),
        stop: Some(stop_on_interruption()),
        ..ApplyOptions::default()
    };
    let report = admin::apply(&url, &migrations, &options, progress(context)).await?;
    context.report.json(&json!({ "format": JSON_FORMAT, "command": "apply", "report": report }))?;
    if !context.report.quiet {
        context.report.say(summary(&report))?;
    }
    Ok(Outcome::Done)
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
    context.config.file.app.clone().unwrap_or_else(|| "cargo-schemadiff".to_owned())
}

/// Bars and lines for people.
pub(super) fn progress(context: &Context) -> Arc<dyn Progress> {
    if context.report.json && context.report.quiet {
        Arc::new(NoProgress)
    } else {
        Arc::new(Terminal::new(context.report.quiet))
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
