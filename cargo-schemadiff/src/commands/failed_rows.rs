//! `cargo schemadiff failed-rows`: the rows that backfills have kept aside, and another try for them.

use schemadiff::lockstep::admin;
use serde_json::json;

use super::{Outcome, args::FailedRowsArgs, context::Context};
use crate::{
    Result,
    report::{JSON_FORMAT, count, paint, style},
};

pub(super) async fn run(context: &Context, args: &FailedRowsArgs) -> Result<Outcome> {
    let url = context.database_url()?;
    let rows = admin::failed_rows(&url).await?;
    let retried = if args.retry { Some(admin::retry_failed_rows(&url).await?) } else { None };
    let document = json!({ "format": JSON_FORMAT, "command": "failed-rows", "rows": rows, "retried": retried });
    context.report.json(&document)?;
    let mut text = String::new();
    for row in &rows {
        let place = paint(style::DIM, format!("{} {}", row.migration, row.step));
        text.push_str(&format!("{}  {}  {place}\n", paint(style::ACCENT, &row.key), row.reason));
    }
    match retried {
        _ if rows.is_empty() => text.push_str("no row is kept aside\n"),
        Some(retried) => text.push_str(&format!(
            "{} will be tried again: by a program that waits with the function in its next round, otherwise when the step \
             is carried out again\n",
            count(retried)
        )),
        None => {}
    }
    context.report.say(text)?;
    Ok(Outcome::Done)
}
