//! `cargo schemadiff undo` and `purge`: what contract has set aside comes back, or goes for good.

use schemadiff::{
    embed,
    lockstep::admin::{self, ApplyOptions},
};
use serde_json::json;
use tokio::sync::watch;

use super::{
    Outcome,
    apply::{app, progress, stop_on_interruption, stopped_at},
    args::{PurgeArgs, UndoArgs},
    context::Context,
    fleet,
};
use crate::{
    Result,
    migrations::Migrations,
    report::{JSON_FORMAT, paint, style},
};

/// As the command line and the file say.
pub(super) fn options(context: &Context, stop: watch::Receiver<bool>) -> ApplyOptions {
    ApplyOptions {
        app: app(context),
        pace: context.config.pace(None, None),
        stop: Some(stop),
        ..ApplyOptions::default()
    }
}

pub(super) fn migrations(context: &Context) -> Result<embed::Migrations> {
    let dir = context.config.dir();
    Migrations::read(&dir)?.require_any()?;
    Ok(embed::Migrations::load(&dir)?)
}

pub(super) async fn run(context: &Context, args: &UndoArgs) -> Result<Outcome> {
    if let Some(members) = fleet::members(context, &args.fleet).await? {
        return fleet::undo(context, args, members).await;
    }
    let url = context.database_url()?;
    let migrations = migrations(context)?;
    let wanted = args.migration.as_deref();
    let options = ApplyOptions { wait: Some(args.wait), ..options(context, stop_on_interruption()) };
    let undone = match admin::undo(&url, &migrations, wanted, &options, progress(context)).await {
        Ok(undone) => undone,
        Err(error) => return Err(stopped_at(error, &url, &migrations).await),
    };
    context.report.json_line(&json!({ "format": JSON_FORMAT, "command": "undo", "undone": undone }))?;
    if !context.report.quiet {
        let text = format!("the contract phase of {} was taken back", undone.migration);
        context.report.say(format!("{}\n", paint(style::GOOD, text)))?;
        context.report.say("services leave it so; `cargo schemadiff apply` carries it out again\n")?;
    }
    Ok(Outcome::Done)
}

pub(super) async fn purge(context: &Context, args: &PurgeArgs) -> Result<Outcome> {
    if let Some(members) = fleet::members(context, &args.fleet).await? {
        return fleet::purge(context, args, members).await;
    }
    let url = context.database_url()?;
    let migrations = migrations(context)?;
    let wanted = args.migration.as_deref();
    let options = options(context, stop_on_interruption());
    let purged = match admin::purge(&url, &migrations, wanted, &options, progress(context)).await {
        Ok(purged) => purged,
        Err(error) => return Err(stopped_at(error, &url, &migrations).await),
    };
    context.report.json_line(&json!({ "format": JSON_FORMAT, "command": "purge", "purged": purged }))?;
    if !context.report.quiet {
        let text = if purged.is_empty() { "nothing is kept\n".to_owned() } else { String::new() };
        let lines = purged.iter().map(|kept| format!("{} is gone for good\n", paint(style::WARN, &kept.what)));
        context.report.say(text + &lines.collect::<String>())?;
    }
    Ok(Outcome::Done)
}
