//! `cargo schemadiff status`: who runs what, what waits for whom, since when.

use schemadiff::{embed, lockstep::admin};
use serde_json::json;

use super::{Outcome, context::Context};
use crate::{
    Result,
    migrations::LOCK_FILE,
    report::{JSON_FORMAT, status::render},
};

pub(super) async fn run(context: &Context) -> Result<Outcome> {
    let url = context.config.require_database_url()?;
    let dir = context.config.dir();
    // In a production image there are no files: the ledger then speaks for itself.
    let migrations = if dir.join(LOCK_FILE).is_file() { Some(embed::Migrations::load(&dir)?) } else { None };
    let status = admin::status(&url, migrations.as_ref()).await?;
    context.report.json(&json!({ "format": JSON_FORMAT, "command": "status", "status": status }))?;
    context.report.say(render(&status))?;
    Ok(Outcome::Done)
}
