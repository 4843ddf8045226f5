//! A plan for the person who reviews it.

use std::{collections::BTreeMap, fmt::Write};

use schemadiff::{
    model::{ObjectName, Opaque},
    plan::{Action, Backfill, Envelope, Hazard, Overlap, Phase, Plan, Step, Strategy},
};

use super::{bytes, count, paint, style};
use crate::{dialect::TableSize, hazard::drops_data};

/// What stands beside a plan in the output.
#[derive(Debug, Clone, Copy, Default)]
pub struct Surroundings<'a> {
    /// Sizes by table, where they are known.
    pub sizes: Option<&'a BTreeMap<ObjectName, TableSize>>,
    /// Objects that the model cannot hold.
    pub opaque: &'a [Opaque],
    /// Differences in it, for which nothing is planned.
    pub beyond: &'a [String],
    /// Tables and columns that this project does not manage.
    pub unmanaged: &'a [String],
}

const PHASES: [Phase; 3] = [Phase::Expand, Phase::Backfill, Phase::Contract];

const fn meaning(phase: Phase) -> &'static str {
    match phase {
        Phase::Expand => "additive, every running version keeps working",
        Phase::Backfill => "existing rows are filled in small batches",
        Phase::Contract => "runs once no version that needs the old shape is left",
    }
}

const fn phase_style(phase: Phase) -> anstyle::Style {
    match phase {
        Phase::Expand => style::GOOD,
        Phase::Backfill => style::ACCENT,
        Phase::Contract => style::WARN,
    }
}

/// The whole plan.
pub fn render(plan: &Plan, around: Surroundings<'_>) -> String {
    let mut out = String::new();
    let one_way = plan.phase(Phase::Contract).find(|s| !s.undoable).map(|s| s.id.as_str());
    for phase in PHASES {
        let steps: Vec<&Step> = plan.phase(phase).collect();
        if steps.is_empty() {
            continue;
        }
        let name = paint(phase_style(phase).bold(), phase);
        line(&mut out, format!("{name} {}", paint(style::DIM, format!("({})", meaning(phase)))));
        for step in steps {
            render_step(&mut out, step, around.sizes, one_way);
        }
        out.push('\n');
    }
    if let Some(Strategy { way, why, .. }) = &plan.strategy {
        let way = match way {
            Overlap::Synced => "columns kept in step by triggers",
            Overlap::Views => "compatibility views for the old version",
        };
        line(&mut out, format!("{} {way}, because {why}\n", paint(style::HEADING, "strategy")));
    }
    list(&mut out, "notes", plan.notes.iter().map(String::as_str));
    out
}

/// What is in the database and left alone.
pub fn render_left_alone(around: Surroundings<'_>) -> String {
    let mut out = String::new();
    list(&mut out, "not managed by this project, left alone", around.unmanaged.iter().map(String::as_str));
    let title = "different beyond what schemadiff holds, and to be settled by hand";
    list(&mut out, title, around.beyond.iter().map(String::as_str));
    let opaque: Vec<String> = around.opaque.iter().map(|o| format!("{} {}: {}", o.kind, o.name, o.reason)).collect();
    list(&mut out, "not held by the model, left alone", opaque.iter().map(String::as_str));
    out
}

fn list<'a>(out: &mut String, title: &str, items: impl Iterator<Item = &'a str>) {
    let items: Vec<&str> = items.collect();
    if items.is_empty() {
        return;
    }
    line(out, paint(style::HEADING, title));
    for item in items {
        line(out, format!("  - {}", item.replace('\n', "\n    ")));
    }
    out.push('\n');
}

fn line(out: &mut String, text: impl AsRef<str>) {
    out.push_str(text.as_ref());
    out.push('\n');
}

/// `one_way` is a contract step that has no way back: then the whole contract phase has none.
fn render_step(out: &mut String, step: &Step, sizes: Option<&BTreeMap<ObjectName, TableSize>>, one_way: Option<&str>) {
    let (number, _) = step.id.split_once('-').unwrap_or((&step.id, ""));
    line(out, format!("  {} {}", paint(style::DIM, number), paint(style::HEADING, &step.title)));
    if step.cause != step.title {
        fact(out, "why", &step.cause);
    }
    let locks: Vec<String> = step.locks.iter().map(|l| format!("{} on {}", l.mode, l.relation)).collect();
    if !locks.is_empty() {
        fact(out, "locks", &locks.join(", "));
    }
    fact(out, "runs", &how(step));
    if let Some(sizes) = sizes {
        let tables: Vec<String> = tables_of(step)
            .into_iter()
            .filter_map(|name| sizes.get(name).map(|size| format!("{name} {}", size_text(*size))))
            .collect();
        if !tables.is_empty() {
            fact(out, "size", &tables.join(", "));
        }
    }
    for hazard in &step.hazards {
        render_hazard(out, hazard);
    }
    match &step.action {
        Action::Sql(statements) => {
            for sql in statements {
                line(out, format!("       {}", paint(style::ACCENT, format!("{};", indent(sql)))));
            }
        }
        Action::Backfill(backfill) => render_backfill(out, backfill),
        Action::Generated(generated) => {
            fact(out, "sends", "what this query gives, one statement after the other, until it gives none:");
            line(out, format!("       {}", paint(style::ACCENT, format!("{};", indent(&generated.next_sql)))));
        }
    }
    for kept in &step.keeps {
        fact(out, "keeps", &format!("{} for {}: {}", kept.what, drops_data::words(kept.for_ms), kept.comes_back));
    }
    if step.phase == Phase::Contract && step.undoable {
        match one_way {
            None => fact(out, "undo", "by `cargo schemadiff undo`, as long as what the migration set aside is kept"),
            Some(other) => {
                let what = format!("by hand: {other} has no way back, so `undo` does not begin");
                fact(out, "undo", &paint(style::WARN, what));
            }
        }
    }
    if !step.undoable {
        let what = if step.hazards.iter().any(|h| h.code == drops_data::CODE) {
            "not possible, data is lost"
        } else if step.phase == Phase::Contract {
            "only by a new migration: `abort` ends where contract begins"
        } else {
            "not possible"
        };
        fact(out, "undo", &paint(style::WARN, what));
    }
}

fn fact(out: &mut String, name: &str, text: &str) {
    line(out, format!("       {} {text}", paint(style::DIM, format!("{name:<5}"))));
}

fn indent(sql: &str) -> String {
    sql.trim_end().trim_end_matches(';').replace('\n', "\n       ")
}

fn how(step: &Step) -> String {
    let mut text = match step.envelope {
        Envelope::Transaction => "in one short transaction".to_owned(),
        Envelope::Long => "in one transaction that blocks neither readers nor writers".to_owned(),
        Envelope::Concurrent => "outside a transaction, beside readers and writers".to_owned(),
        Envelope::Batches => "in small batches, can be stopped and resumed".to_owned(),
        Envelope::Rebuild => "as a rebuild of the table in one transaction, writers wait".to_owned(),
    };
    if step.rewrites {
        text.push_str("; rewrites the table");
    }
    if step.rebuilds_indexes {
        text.push_str("; rebuilds indexes of the table");
    }
    if step.scans {
        text.push_str("; reads the whole table");
    }
    if step.lock_timeout_ms > 0 {
        // Writing into a string cannot fail.
        let _ = write!(text, "; gives way after {} ms without the lock and tries again", step.lock_timeout_ms);
    }
    text
}

fn tables_of(step: &Step) -> Vec<&ObjectName> {
    let mut tables: Vec<&ObjectName> = step.locks.iter().map(|l| &l.relation).collect();
    if let Action::Backfill(backfill) = &step.action {
        tables.push(&backfill.table);
    }
    tables.sort();
    tables.dedup();
    tables
}

fn size_text(size: TableSize) -> String {
    format!("about {} rows, {}", count(size.rows), bytes(size.bytes))
}

fn render_hazard(out: &mut String, hazard: &Hazard) {
    line(out, format!("       {} {}", paint(style::BAD, &hazard.code), hazard.effect));
    line(out, format!("            {} {}", paint(style::GOOD, "do:"), hazard.remedy));
}

fn render_backfill(out: &mut String, backfill: &Backfill) {
    let set: Vec<String> = backfill.set.iter().map(|a| format!("{} = {}", a.column, a.expr)).collect();
    let key: Vec<&str> = backfill.key.iter().map(|k| k.name.as_str()).collect();
    line(out, format!("       {}", paint(style::ACCENT, format!("SET {} WHERE {}", set.join(", "), backfill.pending))));
    if let Some(given) = &backfill.given {
        fact(out, "by", &format!("the function `{}` that the application registers", given.by));
    }
    fact(out, "order", &format!("by {}, first batch {} rows", key.join(", "), count(backfill.batch_size.into())));
}

/// `3 steps: 2 expand, 1 contract`.
pub fn summary(plan: &Plan) -> String {
    let parts: Vec<String> = PHASES
        .into_iter()
        .map(|phase| (plan.phase(phase).count(), phase))
        .filter(|(n, _)| *n > 0)
        .map(|(n, phase)| format!("{n} {phase}"))
        .collect();
    let total = plan.steps.len();
    format!("{total} step{}: {}", if total == 1 { "" } else { "s" }, parts.join(", "))
}
