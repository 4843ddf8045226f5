//! `cargo schemadiff demo`: a migration under load, told as it happens. Every number is measured.

mod account;
mod database;
mod shops;
mod story;

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Outcome, args::DemoArgs, context::Context, interruption};
use crate::{
    Error, Kind, Result,
    report::{JSON_FORMAT, count, duration, paint, style},
};
use database::DemoDatabase;
use shops::Shop;

/// What the demo measured; the last line with `--json`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    format: u32,
    command: &'static str,
    dialect: &'static str,
    /// Customers before the migration.
    rows: u64,
    /// Shop processes of both versions.
    processes: usize,
    /// Statements that the shops sent while the migration ran.
    statements: u64,
    failed_statements: u64,
    /// Reads that did not give what the same client had written last.
    wrong_reads: u64,
    /// Rows that must be in the database at the end.
    rows_expected: u64,
    rows_lost: u64,
    rows_unexplained: u64,
    /// The longest that one statement took, waiting included.
    max_stall_ms: u64,
    stall_ms: Stalls,
    rows_backfilled: u64,
    steps: usize,
    /// Who held the contract phase when it was tried while version 1 ran.
    gate_held_by: Vec<String>,
    /// Whether the plan made against the live database is the migration that version 2 carries.
    plan_as_committed: bool,
    final_diff_empty: bool,
    seconds: f64,
    /// The first few errors of statements, and rows that are not as they should be.
    problems: Vec<String>,
}

/// The longest stall, phase by phase.
#[derive(Debug, Clone, Default, Serialize)]
struct Stalls {
    before: u64,
    expand_and_backfill: u64,
    both_versions: u64,
    contract: u64,
    after: u64,
}

impl Summary {
    fn is_good(&self) -> bool {
        self.failed_statements == 0
            && self.wrong_reads == 0
            && self.rows_lost == 0
            && self.rows_unexplained == 0
            && !self.gate_held_by.is_empty()
            && self.plan_as_committed
            && self.final_diff_empty
    }
}

pub(super) async fn run(context: &Context, args: &DemoArgs) -> Result<Outcome> {
    let start = Instant::now();
    let shop = Shop::prepare(args.shop.as_deref(), context.config.args.project.release).await?;
    let server = context.config.args.database_url.as_deref();
    let database = DemoDatabase::create(server).await?;
    let told = tokio::select! {
        told = story::tell(context, args, &shop, &database) => told,
        () = interruption() => Err(Error::new(Kind::Interrupted, "SD1300", "interrupted")),
    };
    // The story's processes are gone by now, whichever way it ended.
    let removed = database.remove().await;
    let summary = Summary {
        format: JSON_FORMAT,
        command: "demo",
        rows: args.rows,
        seconds: (start.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        ..told?
    };
    removed?;
    print(context, &summary, start.elapsed())?;
    if summary.is_good() {
        return Ok(Outcome::Done);
    }
    Err(Error::new(Kind::Apply, "SD0744", "the demo did not go as it should").cause(if summary.problems.is_empty() {
        "see the summary above".to_owned()
    } else {
        summary.problems.join("\n")
    }))
}

fn print(context: &Context, summary: &Summary, took: Duration) -> Result<()> {
    let s = summary;
    let zero = |number: u64| {
        let style = if number == 0 { style::GOOD.bold() } else { style::BAD };
        paint(style, count(number))
    };
    let yes = |value: bool| if value { paint(style::GOOD.bold(), "yes") } else { paint(style::BAD, "no") };
    let lines = [
        ("statements sent by the shops", count(s.statements)),
        ("of them failed", zero(s.failed_statements)),
        ("reads that were not what was written", zero(s.wrong_reads)),
        ("rows lost", format!("{} of {}", zero(s.rows_lost), count(s.rows_expected))),
        ("longest stall of a statement", format!("{} ms", count(s.max_stall_ms))),
        ("contract was held by", s.gate_held_by.join(", ")),
        ("final diff is empty", yes(s.final_diff_empty)),
        ("in all", duration(took)),
    ];
    let mut text = format!("\n{}\n", paint(style::HEADING, "Summary"));
    for (name, value) in lines {
        text.push_str(&format!("  {name:<38} {value}\n"));
    }
    narrate(context, text.trim_end());
    if context.report.json {
        let line = serde_json::to_string(summary)
            .map_err(|e| Error::new(Kind::Internal, "SD0933", "the result cannot be written as JSON").cause(e))?;
        context.report.line(&line)?;
    }
    Ok(())
}

/// The story goes to standard output for people; beside JSON it goes to standard error, so that the last line of standard
/// output is the object, and the only one.
fn narrate(context: &Context, text: &str) {
    if context.report.json {
        context.report.note(text);
    } else {
        // A reader that is gone does not end the demo half-way.
        let _ = context.report.say(format!("{text}\n"));
    }
}

fn heading(context: &Context, text: &str) {
    narrate(context, &format!("\n{}", paint(style::HEADING, text)));
}
