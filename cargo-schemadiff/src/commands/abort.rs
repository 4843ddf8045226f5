//! `cargo schemadiff abort`: takes a migration back whose contract phase has not begun.

use schemadiff::{
    embed,
    lockstep::admin::{self, ApplyOptions},
};
use serde_json::json;
use tokio::sync::watch;

use super::{
    Outcome,
    apply::{app, progress, stop_on_interruption, stopped_at},
    args::AbortArgs,
    context::Context,
    fleet,
};
use crate::{
    Error, Kind, Result,
    migrations::Migrations,
    report::{JSON_FORMAT, paint, style},
};

pub(super) async fn run(context: &Context, args: &AbortArgs) -> Result<Outcome> {
    if let Some(members) = fleet::members(context, &args.fleet).await? {
        return fleet::abort(context, args, members).await;
    }
    let url = context.database_url()?;
    let dir = context.config.dir();
    Migrations::read(&dir)?.require_any()?;
    let migrations = embed::Migrations::load(&dir)?;
    let id = match &args.migration {
        Some(id) => id.clone(),
        None => under_way(&url, &migrations).await?,
    };
    let options = options(context, args, stop_on_interruption());
    if let Err(error) = admin::abort(&url, &migrations, &id, &options, progress(context)).await {
        return Err(stopped_at(error, &url, &migrations).await);
    }
    context.report.json_line(&json!({ "format": JSON_FORMAT, "command": "abort", "aborted": id }))?;
    if !context.report.quiet {
        context.report.say(format!("{}\n", paint(style::GOOD, format!("{id} was taken back"))))?;
    }
    Ok(Outcome::Done)
}

/// As the command line and the file say.
pub(super) fn options(context: &Context, args: &AbortArgs, stop: watch::Receiver<bool>) -> ApplyOptions {
    ApplyOptions {
        app: app(context),
        wait: Some(args.wait),
        allow_drop: args.allow_drop.clone(),
        pace: context.config.pace(None, None),
        stop: Some(stop),
        ..ApplyOptions::default()
    }
}

/// The newest migration of these that has begun and not ended; not one of another service on the database.
async fn under_way(url: &str, migrations: &embed::Migrations) -> Result<String> {
    let status = admin::status(url, Some(migrations)).await?;
    let running = status.migrations.iter().rev().find(|m| m.known && m.state == "running");
    running.map(|m| m.id.clone()).ok_or_else(|| {
        let error = Error::new(Kind::Refused, "SD0640", "none of these migrations is under way in this database");
        let newest = status.migrations.iter().rev().find(|m| m.known && m.state == "done").map(|m| m.id.as_str());
        error.help(format!(
            "name one: `cargo schemadiff abort {}`; `cargo schemadiff status` lists them",
            newest.unwrap_or("MIGRATION")
        ))
    })
}
