//! `cargo schemadiff status`: who runs what, what waits for whom, since when.

use std::{io::IsTerminal as _, time::Duration};

use schemadiff::{
    embed,
    lockstep::{Status, admin},
};
use serde_json::json;

use super::{Outcome, args::StatusArgs, context::Context, fleet, interruption};
use crate::{
    Result,
    migrations::{LOCK_FILE, Migrations},
    report::{
        JSON_FORMAT,
        status::{Rate, render, render_live},
    },
};

pub(super) async fn run(context: &Context, args: &StatusArgs) -> Result<Outcome> {
    if let Some(members) = fleet::members(context, &args.fleet).await? {
        return fleet::status(context, args, members, migrations(context)?).await;
    }
    let url = context.database_url()?;
    let soak = context.config.soak(args.soak);
    if !args.watch {
        let status = admin::status_soaking(&url, migrations(context)?.as_ref(), soak).await?;
        context.report.json(&json!({ "format": JSON_FORMAT, "command": "status", "status": status }))?;
        context.report.say(render(&status, &Rate::default()))?;
        return Ok(if args.exit_code { outcome(&status) } else { Outcome::Done });
    }
    tokio::select! {
        result = watch(context, &url, args.interval, soak) => result,
        () = interruption() => Ok(Outcome::Done),
    }
}

/// What a deploy script branches on.
pub(super) fn outcome(status: &Status) -> Outcome {
    // Without the files, what has been begun is known by the ledger alone.
    let left = status.migrations.iter().any(|m| m.state == "running" || (m.known && m.state != "done"));
    match (status.worker.is_some(), status.waiting.is_empty(), left) {
        (true, ..) => Outcome::Busy,
        (false, false, _) => Outcome::Waiting,
        (false, true, true) => Outcome::Differences,
        (false, true, false) => Outcome::Done,
    }
}

/// In a production image there are no files: the ledger then speaks for itself.
fn migrations(context: &Context) -> Result<Option<embed::Migrations>> {
    let dir = context.config.dir();
    // One that somebody has named is meant to be there: a mistake in it must not read as "all done".
    if context.config.names_dir() {
        Migrations::read(&dir)?.require_any()?;
    }
    Ok(if dir.join(LOCK_FILE).is_file() { Some(embed::Migrations::load(&dir)?) } else { None })
}

/// Looks again and again until somebody ends it. On a terminal the picture stays in its place; elsewhere a picture comes when
/// something has changed, in JSON one document a line. A database that is away for a while is said and asked again.
async fn watch(context: &Context, url: &str, every: Duration, soak: Duration) -> Result<Outcome> {
    let live = std::io::stdout().is_terminal() && !context.report.json;
    let migrations = migrations(context)?;
    let (mut rate, mut last) = (Rate::default(), None);
    // What cannot be read at first is a mistake of the caller's; later on it is a server that restarts.
    let mut found = admin::status_soaking(url, migrations.as_ref(), soak).await.map(Some)?;
    loop {
        if let Some(status) = found.take() {
            rate.saw(&status);
            let facts = without_clock(&status);
            if live {
                context.report.picture(&render_live(&status, &rate))?;
            } else if last.as_ref() != Some(&facts) {
                context.report.json_line(&json!({ "format": JSON_FORMAT, "command": "status", "status": status }))?;
                context.report.say(render(&status, &rate))?;
            }
            last = Some(facts);
        }
        tokio::time::sleep(every).await;
        match admin::status_soaking(url, migrations.as_ref(), soak).await {
            Ok(status) => found = Some(status),
            Err(error) if live => context.report.picture(&format!("{error}\n"))?,
            Err(error) => context.report.note(error.to_string()),
        }
    }
}

/// Without what changes from look to look although nothing happens.
fn without_clock(status: &Status) -> Status {
    let mut facts = status.clone();
    facts.now_ms = 0;
    facts.migrations.iter_mut().flat_map(|m| &mut m.steps).for_each(|step| step.eta_ms = None);
    for version in &mut facts.versions {
        version.instances.iter_mut().for_each(|i| i.heartbeat_age_ms = 0);
    }
    for waiting in &mut facts.waiting {
        waiting.holders.iter_mut().for_each(|h| h.for_ms = 0);
    }
    if let Some(worker) = &mut facts.worker {
        (worker.heartbeat_age_ms, worker.silent_ms) = (0, 0);
        worker.beat.clear();
    }
    if let Some(pace) = &mut facts.pace {
        pace.reason_age_ms = None;
    }
    for session in facts.strangers.sessions.iter_mut().chain(&mut facts.held_up_by) {
        session.transaction_ms = None;
    }
    facts
}
