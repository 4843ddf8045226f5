//! `cargo schemadiff snapshot`: one side as a file.

use schemadiff::plan::{SNAPSHOT_FORMAT, Snapshot};
use serde_json::json;

use super::{
    Outcome,
    args::{IntentArgs, SnapshotArgs},
    compare::{Spelling, compare},
    context::Context,
};
use crate::{
    Result,
    migrations::{Migrations, Sources, snapshot_text, write_atomically},
    report::{
        JSON_FORMAT,
        plan::{Surroundings, render_left_alone},
    },
    side::Side,
};

pub(super) async fn run(context: &Context, args: &SnapshotArgs) -> Result<Outcome> {
    let migrations = Migrations::read(&context.config.dir())?;
    let from = match &args.from {
        Some(side) => side.clone(),
        None => context.database_side()?,
    };
    let comparison =
        compare(context, &Side::Empty, &from, &IntentArgs::default(), &migrations, Spelling::BestEffort).await?;
    let mut schema = comparison.desired;
    schema.opaque.clear();
    let snapshot =
        Snapshot { format: SNAPSHOT_FORMAT, dialect: comparison.dialect, head: None, sources: Sources::new(), schema };
    let text = snapshot_text(&snapshot)?;
    let around = Surroundings { opaque: &comparison.opaque, ..Surroundings::default() };
    let left_alone = render_left_alone(around);
    if !left_alone.is_empty() {
        context.report.note(left_alone.trim_end());
    }
    match &args.output {
        Some(path) => {
            write_atomically(path, &text)?;
            let written = path.display().to_string();
            context.report.json(&json!({ "format": JSON_FORMAT, "command": "snapshot", "written": written }))?;
            context.report.note(format!("wrote {}", path.display()));
        }
        None if context.report.json => context.report.json(&snapshot)?,
        None => context.report.say(text)?,
    }
    Ok(Outcome::Done)
}
