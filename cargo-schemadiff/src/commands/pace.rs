//! `cargo schemadiff pause`, `resume` and `speed`: what backfills that run elsewhere are told.

use schemadiff::{
    backend::Process,
    lockstep::{
        Pacing,
        admin::{self, Wish},
    },
};
use serde_json::json;

use super::{
    Outcome,
    args::{FleetArgs, PaceArgs, SpeedArgs},
    context::Context,
    fleet,
};
use crate::{Result, report::JSON_FORMAT};

pub(super) async fn pause(context: &Context, args: &PaceArgs) -> Result<Outcome> {
    wish(context, &args.fleet, "pause", Wish::Pause).await
}

pub(super) async fn resume(context: &Context, args: &PaceArgs) -> Result<Outcome> {
    wish(context, &args.fleet, "resume", Wish::Resume).await
}

pub(super) async fn speed(context: &Context, args: &SpeedArgs) -> Result<Outcome> {
    wish(context, &args.fleet, "speed", Wish::Speed(args.speed.0)).await
}

/// Who wishes, for the record.
pub(super) fn by() -> String {
    format!(" on {}", Process::current().host)
}

async fn wish(context: &Context, fleet: &FleetArgs, command: &str, wish: Wish) -> Result<Outcome> {
    if let Some(members) = fleet::members(context, fleet).await? {
        return fleet::wish(context, fleet, command, wish, members).await;
    }
    let url = context.database_url()?;
    let pacing = admin::wish(&url, wish, &by()).await?;
    context.report.json(&json!({ "format": JSON_FORMAT, "command": command, "pace": pacing }))?;
    if !context.report.quiet {
        context.report.say(said(&pacing))?;
    }
    Ok(Outcome::Done)
}

pub(super) fn said(pacing: &Pacing) -> String {
    let speed = match pacing.speed {
        Some(speed) => format!("{:.0} % speed", speed * 100.0),
        None => "the speed that the load allows".to_owned(),
    };
    match pacing.paused {
        true => format!("backfills are paused; `cargo schemadiff resume` lets them go on at {speed}\n"),
        false => {
            format!("backfills go on at {speed}; `cargo schemadiff status` shows the speed and the reason for it\n")
        }
    }
}
