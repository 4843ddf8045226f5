//! One picture of many databases.

use std::sync::Arc;

use schemadiff::{
    backend::StepState,
    embed,
    lockstep::{Status, admin},
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Bar, Ended, Member, each};
use crate::{
    Error, Kind, Result,
    commands::{
        Outcome,
        args::{FleetArgs, StatusArgs},
        context::Context,
        status::outcome,
    },
    report::{JSON_FORMAT, count, error_json, paint, style},
};

/// Shows how far each one is.
pub(in crate::commands) async fn run(
    context: &Context,
    args: &StatusArgs,
    members: Vec<Member>,
    migrations: Option<embed::Migrations>,
) -> Result<Outcome> {
    // Looking is harmless: all of them, whoever cannot be reached.
    let (soak, ask) = (context.config.soak(args.soak), args.exit_code);
    let args = FleetArgs { canary: 0, keep_going: true, ..args.fleet.clone() };
    let (_go, stop) = watch::channel(false);
    let bar = Bar::new(crate::report::Report { quiet: true, ..context.report }, members.len());
    let migrations = Arc::new(migrations);
    let work = move |member: Member| {
        let migrations = Arc::clone(&migrations);
        async move { Ok(admin::status_soaking(&member.url, migrations.as_ref().as_ref(), soak).await?) }
    };
    let found = each(members, &args, &stop, &bar, |_: &Status| String::new(), work).await;
    let databases: Vec<Value> = found.iter().map(|(member, ended)| document(member, ended)).collect();
    let unreachable = found.iter().filter(|(_, ended)| !matches!(ended, Ended::Done(_))).count();
    let states = found.iter().map(|(_, ended)| state(ended));
    let mut summary = std::collections::BTreeMap::new();
    for state in states {
        *summary.entry(state).or_insert(0_u64) += 1;
    }
    context.report.json_line(&json!({
        "format": JSON_FORMAT, "command": "status", "databases": databases, "summary": summary
    }))?;
    context.report.say(text(&found, &summary))?;
    if unreachable == 0 {
        let each = || {
            found
                .iter()
                .filter_map(|(_, ended)| if let Ended::Done(status) = ended { Some(outcome(status)) } else { None })
        };
        let any = |is: fn(&Outcome) -> bool| each().any(|outcome| is(&outcome));
        // As for one: who works is said before what waits, and what waits before what is left.
        return Ok(match ask {
            true if any(|o| matches!(o, Outcome::Busy)) => Outcome::Busy,
            true if any(|o| matches!(o, Outcome::Waiting)) => Outcome::Waiting,
            true if any(|o| matches!(o, Outcome::Differences)) => Outcome::Differences,
            _ => Outcome::Done,
        });
    }
    Err(Error::new(Kind::Database, "SD0513", format!("{unreachable} of {} databases could not be read", found.len()))
        .help("their errors are in the list above"))
}

fn state(ended: &Ended<Status>) -> &'static str {
    match ended {
        Ended::Done(status) => of(status),
        Ended::Failed(_) | Ended::Left => "unreachable",
    }
}

/// The word for a database: what is most urgent comes first.
fn of(status: &Status) -> &'static str {
    let steps = || status.migrations.iter().flat_map(|m| &m.steps);
    if steps().any(|s| s.state != StepState::Done && s.last_error.is_some()) {
        return "failing";
    }
    if !status.waiting.is_empty() {
        return "waiting";
    }
    let is_paused = status.pace.as_ref().is_some_and(|pace| pace.paused);
    match status.migrations.iter().find(|m| m.state != "done") {
        Some(m) if m.state == "running" && is_paused => "paused",
        Some(m) if m.state == "running" && status.worker.is_some() => "running",
        // Nobody is at it: it was stopped within a step, or between two.
        Some(m) if m.steps.iter().any(|step| step.state == StepState::Running) => "stopped",
        Some(m) if m.state == "running" => "begun",
        Some(_) => "pending",
        None => "done",
    }
}

fn document(member: &Member, ended: &Ended<Status>) -> Value {
    let mut document = match ended {
        Ended::Done(status) => json!({ "status": status }),
        Ended::Failed(error) => json!({ "error": error_json(error) }),
        Ended::Left => json!({}),
    };
    document["name"] = json!(member.name);
    document["state"] = json!(state(ended));
    document
}

fn text(found: &[(Member, Ended<Status>)], summary: &std::collections::BTreeMap<&str, u64>) -> String {
    let width = found.iter().map(|(member, _)| member.name.chars().count()).max().unwrap_or_default();
    let mut out = String::new();
    for (member, ended) in found {
        let word = state(ended);
        let colour = match word {
            "done" => style::GOOD,
            "failing" | "unreachable" => style::BAD,
            _ => style::WARN,
        };
        let more = match ended {
            Ended::Done(status) => detail(status),
            Ended::Failed(error) => error.to_string(),
            Ended::Left => String::new(),
        };
        let line = format!("{:<width$}  {}  {more}", member.name, paint(colour, format!("{word:<11}")));
        out.push_str(line.trim_end());
        out.push('\n');
    }
    let parts: Vec<String> = summary.iter().map(|(state, many)| format!("{} {state}", count(*many))).collect();
    out.push_str(&format!("{} databases: {}\n", found.len(), parts.join(", ")));
    out
}

fn detail(status: &Status) -> String {
    let head = status.migrations.iter().rev().find(|m| m.state == "done").map(|m| m.id.as_str());
    let mut parts: Vec<String> = head.map(|id| format!("at {id}")).into_iter().collect();
    for migration in status.migrations.iter().filter(|m| m.state == "running") {
        let done = migration.steps.iter().filter(|s| s.state == StepState::Done).count();
        parts.push(format!("{} at {done} of {} steps", migration.id, migration.steps.len()));
        let filling = migration.steps.iter().find(|s| s.state == StepState::Running && s.rows > 0);
        if let Some((step, total)) = filling.and_then(|step| Some((step, step.total?))) {
            parts.push(format!("{} of {} rows", count(u64::try_from(step.rows).unwrap_or(0)), count(total)));
        }
        if let Some(error) = migration.steps.iter().find_map(|s| s.last_error.as_ref()) {
            parts.push(error.clone());
        }
    }
    for waiting in &status.waiting {
        let who: Vec<_> = waiting.holders.iter().map(ToString::to_string).collect();
        parts.push(format!("{} waits for {}", waiting.step, who.join("; ")));
    }
    parts.join("; ")
}
