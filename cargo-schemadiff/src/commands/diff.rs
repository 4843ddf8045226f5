//! `cargo schemadiff diff`: what differs, and how it would get there.

use serde_json::{Value, json};

use super::{
    Outcome,
    args::DiffArgs,
    compare::{Comparison, Spelling, compare},
    context::Context,
    planning, strategy,
};
use crate::{
    Error, Result,
    diff::{Change, DiffOptions, diff},
    migrations::Migrations,
    report::{
        JSON_FORMAT, error_json, paint,
        plan::{Surroundings, render, render_left_alone, summary},
        style,
    },
    side::Side,
};
use schemadiff::{model::ObjectKey, plan::Plan};

pub(super) async fn run(context: &Context, args: &DiffArgs) -> Result<Outcome> {
    let migrations = Migrations::read(&context.config.dir())?;
    let from = match &args.from {
        Some(side) => side.clone(),
        None => context.database_side()?,
    };
    let to = args.to.clone().unwrap_or(Side::Crate);
    let comparison = compare(context, &from, &to, &args.intent, &migrations, Spelling::BestEffort).await?;
    let parent = migrations.head().map(|plan| plan.id.as_str());
    let result = match comparison.changes() {
        Ok(changes) if changes.is_empty() => Planned { changes, plan: None, refused: None },
        Ok(changes) => match plan(context, args, &comparison, parent).await {
            Ok(plan) => Planned { changes, plan: Some(plan), refused: None },
            Err(error) => Planned { changes, plan: None, refused: Some(error) },
        },
        // What differs can be shown even where nothing can be planned before the user has said what is meant.
        Err(error) => Planned { changes: all_changes(&comparison)?, plan: None, refused: Some(error) },
    };
    let title = format!("{from} -> {to}");
    context.report.json(&document(&title, &comparison, &result))?;
    context.report.say(text(&title, &comparison, &result))?;
    match result.refused {
        Some(error) => Ok(Outcome::Failed(error)),
        None if args.exit_code && !(result.changes.is_empty() && comparison.beyond.is_empty()) => {
            Ok(Outcome::Differences)
        }
        None => Ok(Outcome::Done),
    }
}

async fn plan(context: &Context, args: &DiffArgs, comparison: &Comparison, parent: Option<&str>) -> Result<Plan> {
    let strategy = strategy::choose(context, args.intent.strategy, comparison, parent).await?;
    planning::plan(comparison, "diff", parent, &strategy)
}

struct Planned {
    changes: Vec<Change>,
    plan: Option<Plan>,
    refused: Option<Error>,
}

/// The changes as if every drop had been acknowledged.
fn all_changes(comparison: &Comparison) -> Result<Vec<Change>> {
    let mut allowed = comparison.options.allowed_drops.clone();
    for (name, table) in &comparison.current.tables {
        allowed.insert(name.to_string());
        allowed.extend(table.columns.iter().map(|c| crate::diff::column_name(name, &c.name)));
    }
    allowed.extend(comparison.current.objects.keys().map(ObjectKey::path));
    for (name, enumeration) in &comparison.current.enums {
        allowed.extend(enumeration.values.iter().map(|label| crate::diff::column_name(name, label)));
    }
    let options = DiffOptions { allowed_drops: allowed, ..comparison.options.clone() };
    diff(&comparison.current, &comparison.desired, &comparison.hints, &options)
}

fn around<'a>(comparison: &'a Comparison) -> Surroundings<'a> {
    let (opaque, beyond) = (&comparison.opaque, &comparison.beyond);
    Surroundings { sizes: Some(&comparison.sizes), opaque, beyond, unmanaged: &comparison.unmanaged }
}

fn text(title: &str, comparison: &Comparison, result: &Planned) -> String {
    let mut out = String::new();
    if result.changes.is_empty() {
        let (style, said) = match comparison.beyond.is_empty() {
            true => (style::GOOD, "no differences"),
            false => (style::WARN, "no differences in what schemadiff holds, and some beyond it"),
        };
        out.push_str(&format!("{}\n", paint(style, said)));
    } else {
        let count = result.changes.len();
        let plural = if count == 1 { "" } else { "s" };
        let head = format!("{count} difference{plural}, {title} ({})", comparison.dialect);
        out.push_str(&format!("{}\n", paint(style::HEADING, head)));
        for change in &result.changes {
            out.push_str(&format!("  - {change}\n"));
        }
        out.push('\n');
        if let Some(plan) = &result.plan {
            out.push_str(&format!("{}\n\n{}", paint(style::HEADING, summary(plan)), render(plan, around(comparison))));
        }
    }
    out.push_str(&render_left_alone(around(comparison)));
    out
}

fn document(title: &str, comparison: &Comparison, result: &Planned) -> Value {
    let sizes: serde_json::Map<String, Value> =
        comparison.sizes.iter().map(|(name, size)| (name.to_string(), json!(size))).collect();
    json!({
        "format": JSON_FORMAT,
        "command": "diff",
        "sides": title,
        "dialect": comparison.dialect,
        "equal": result.changes.is_empty() && comparison.beyond.is_empty(),
        "changes": result.changes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "plan": result.plan,
        "refused": result.refused.as_ref().map(error_json),
        "sizes": sizes,
        "unmanaged": comparison.unmanaged,
        "opaque": comparison.opaque,
        "beyond": comparison.beyond,
    })
}
