//! `cargo schemadiff retire`: ends the lease of an instance that is dead and still holds a contract phase.

use schemadiff::lockstep::admin;
use serde_json::json;

use super::{Outcome, args::RetireArgs, context::Context};
use crate::{
    Result,
    report::{JSON_FORMAT, paint, style},
};

pub(super) async fn run(context: &Context, args: &RetireArgs) -> Result<Outcome> {
    let url = context.database_url()?;
    let retired = admin::retire(&url, &args.instance, &args.reason, args.grace).await?;
    context.report.json(&json!({ "format": JSON_FORMAT, "command": "retire", "retired": retired }))?;
    if !context.report.quiet {
        let mut text = paint(style::GOOD, format!("{}/{} is retired", retired.app, retired.instance));
        if retired.sessions_ended > 0 {
            text.push_str(&format!(", {} of its sessions were ended", retired.sessions_ended));
        }
        text.push('\n');
        if retired.sessions_left > 0 {
            text.push_str(&format!(
                "  {} sessions of {} {} are left: another instance of that version is alive\n",
                retired.sessions_left, retired.app, retired.version
            ));
        }
        context.report.say(text)?;
    }
    Ok(Outcome::Done)
}
