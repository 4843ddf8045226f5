//! `--fleet`: one command for many databases. Lock, ledger and gate stay each database's own; here is only who is next.
//!
//! The canaries come first, one after the other. The rest goes side by side, so many at a time. After a failure no further
//! database is begun, unless the caller wants to know of all; what runs comes to its end. A second run finds out from each
//! ledger what is left.

mod bar;
mod check;
mod members;
mod status;
mod undo;

use std::{sync::Arc, time::Instant};

use schemadiff::{
    embed,
    lockstep::{
        NoProgress, Pacing, Progress,
        admin::{self, ApplyOptions, ApplyReport, Wish},
    },
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

use super::{
    Outcome, abort, apply,
    args::{AbortArgs, ApplyArgs, FleetArgs},
    context::Context,
    pace,
};
use crate::{
    Error, Kind, Result,
    migrations::Migrations,
    report::{JSON_FORMAT, duration, error_json, paint, progress::Lines, style},
};
use bar::{Bar, Named};
pub(super) use check::check;
pub use members::Member;
pub(super) use status::run as status;
pub(super) use undo::{purge, undo};

/// What became of one database.
enum Ended<T> {
    Done(T),
    Failed(Error),
    /// Not begun, because another one failed or somebody interrupted.
    Left,
}

impl<T> Ended<T> {
    fn error(&self) -> Option<&Error> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Done(_) | Self::Left => None,
        }
    }
}

/// The list that the options ask for; none when they are about one database.
pub(super) async fn members(context: &Context, args: &FleetArgs) -> Result<Option<Vec<Member>>> {
    members::members(context, args).await
}

/// Carries the migrations out on all of them.
pub(super) async fn apply(context: &Context, args: &ApplyArgs, members: Vec<Member>) -> Result<Outcome> {
    let dir = context.config.dir();
    let ours = Migrations::read(&dir)?;
    ours.require_any()?;
    let (ours, migrations) = (Arc::new(ours), embed::Migrations::load(&dir)?);
    let stop = apply::stop_on_interruption();
    let options = apply::options(context, args, stop.clone());
    let work = |member: Member, bar| {
        let (context, ours, migrations) = (context.clone(), Arc::clone(&ours), migrations.clone());
        let options = options.clone();
        async move { apply_one(&context, &member, &ours, &migrations, &options, bar).await }
    };
    on_all(context, ("apply", "report"), (members, &args.fleet), &stop, told_applied, work).await
}

async fn apply_one(
    context: &Context,
    member: &Member,
    ours: &Migrations,
    migrations: &embed::Migrations,
    options: &ApplyOptions,
    bar: Arc<Bar>,
) -> Result<ApplyReport> {
    // Most of a fleet has nothing to do most of the time: that is found out with one question.
    // A schema that was dropped and made again has left its ledger behind: there the objects are looked at too.
    if !member.is_tenant() && admin::is_settled(&member.url, migrations).await.unwrap_or(false) {
        return Ok(ApplyReport::default());
    }
    let progress: Arc<dyn Progress> = match (context.report.json, context.report.quiet) {
        (_, true) => Arc::new(NoProgress),
        (true, false) => Arc::new(Lines::new(context.report, Some(member.name.clone()))),
        (false, false) => Arc::new(Named::new(member.name.clone(), bar)),
    };
    apply::one(context, &member.url, ours, migrations, options, progress).await
}

fn told_applied(report: &ApplyReport) -> String {
    match report.steps.len() {
        0 => "nothing to do".to_owned(),
        1 => "1 step carried out".to_owned(),
        steps => format!("{steps} steps carried out"),
    }
}

fn named(migration: Option<&String>, command: &str) -> Result<String> {
    migration.cloned().ok_or_else(|| {
        Error::new(Kind::Usage, "SD0231", "it is not said which migration is to be taken back")
            .cause("databases of a fleet may be at different ones")
            .help(format!("name it: `cargo schemadiff {command} MIGRATION --fleet FILE`"))
    })
}

/// Takes a migration back on all of them; those on which it has not begun are left as they are.
pub(super) async fn abort(context: &Context, args: &AbortArgs, members: Vec<Member>) -> Result<Outcome> {
    let dir = context.config.dir();
    Migrations::read(&dir)?.require_any()?;
    let migrations = embed::Migrations::load(&dir)?;
    let id = named(args.migration.as_ref(), "abort")?;
    let stop = apply::stop_on_interruption();
    let options = abort::options(context, args, stop.clone());
    let work = |member: Member, bar| {
        let (migrations, id, options) = (migrations.clone(), id.clone(), options.clone());
        async move {
            let status = admin::status(&member.url, Some(&migrations)).await?;
            let state = status.migrations.iter().find(|m| m.id == id).map(|m| m.state);
            if state.is_none_or(|state| state == "pending" || state == "aborted") {
                return Ok(false);
            }
            let progress = Arc::new(Named::new(member.name, bar));
            admin::abort(&member.url, &migrations, &id, &options, progress).await?;
            Ok(true)
        }
    };
    let told = |taken_back: &bool| if *taken_back { "taken back" } else { "had not begun" }.to_owned();
    on_all(context, ("abort", "aborted"), (members, &args.fleet), &stop, told, work).await
}

/// Says the same to the backfills of all of them. Nothing is at risk: there is no canary, and whoever cannot be reached stops nobody.
pub(super) async fn wish(
    context: &Context,
    args: &FleetArgs,
    command: &str,
    wish: Wish,
    members: Vec<Member>,
) -> Result<Outcome> {
    let args = FleetArgs { canary: 0, keep_going: true, ..args.clone() };
    let stop = apply::stop_on_interruption();
    let work = |member: Member, _| async move { Ok(admin::wish(&member.url, wish, &pace::by()).await?) };
    let told = |pacing: &Pacing| pace::said(pacing).trim_end().to_owned();
    on_all(context, (command, "pace"), (members, &args), &stop, told, work).await
}

/// Works on all of them and tells what became of each; `key` is the name in JSON of what `work` gives.
async fn on_all<T: Serialize + Send + 'static, F>(
    context: &Context,
    (command, key): (&str, &str),
    (members, args): (Vec<Member>, &FleetArgs),
    stop: &watch::Receiver<bool>,
    told: impl Fn(&T) -> String,
    work: impl Fn(Member, Arc<Bar>) -> F,
) -> Result<Outcome>
where
    F: Future<Output = Result<T>> + Send + 'static,
{
    let bar = Arc::new(Bar::new(context.report, members.len()));
    let ended = each(members, args, stop, &bar, told, |member| work(member, Arc::clone(&bar))).await;
    bar.end();
    let documents = ended.iter().map(|(member, ended)| document(member, ended, |value| json!({ key: value })));
    finish(context, command, &ended, documents.collect())
}

/// Works on each, in the order that the module's documentation says.
async fn each<T: Send + 'static, F>(
    members: Vec<Member>,
    args: &FleetArgs,
    stop: &watch::Receiver<bool>,
    bar: &Bar,
    told: impl Fn(&T) -> String,
    work: impl Fn(Member) -> F,
) -> Vec<(Member, Ended<T>)>
where
    F: Future<Output = Result<T>> + Send + 'static,
{
    let mut ended: Vec<Option<Ended<T>>> = members.iter().map(|_| None).collect();
    let (mut next, mut running, mut failed, mut canary_failed) = (0, JoinSet::new(), false, false);
    let canaries = usize::try_from(args.canary).unwrap_or(usize::MAX);
    loop {
        let most = if next < canaries { 1 } else { usize::try_from(args.parallel).unwrap_or(usize::MAX).max(1) };
        // One that cannot even be canary stops the rest, whatever is asked for.
        let is_over = (failed && !args.keep_going) || (canary_failed && next >= canaries);
        let may_begin = !*stop.borrow() && !is_over;
        // The rest begins when the last canary is back.
        let waits = next == canaries && !running.is_empty() && ended.iter().take(canaries).any(Option::is_none);
        if may_begin && !waits && running.len() < most && next < members.len() {
            let (at, future) = (next, work(members[next].clone()));
            let began = Instant::now();
            running.spawn(async move { (at, began, future.await) });
            next += 1;
            continue;
        }
        let Some(done) = running.join_next().await else { break };
        let (at, began, result) = match done {
            Ok(done) => done,
            Err(e) => std::panic::resume_unwind(e.try_into_panic().unwrap_or_else(|e| Box::new(e.to_string()))),
        };
        let took = duration(began.elapsed());
        match &result {
            Ok(value) => bar.done(&members[at].name, &told(value), &took),
            Err(error) => {
                bar.failed(&members[at].name, error);
                // Where the gate is closed all is well: old code lives there, and what may be done before contract is.
                let is_failure = error.kind != Kind::Waiting;
                failed |= is_failure;
                canary_failed |= is_failure && at < canaries;
            }
        }
        ended[at] = Some(result.map_or_else(Ended::Failed, Ended::Done));
    }
    members.into_iter().zip(ended.into_iter().map(|ended| ended.unwrap_or(Ended::Left))).collect()
}

fn document<T>(member: &Member, ended: &Ended<T>, done: impl Fn(&T) -> Value) -> Value {
    let (state, mut document) = match ended {
        Ended::Done(value) => ("done", done(value)),
        Ended::Failed(error) if error.kind == Kind::Interrupted => ("interrupted", json!({})),
        Ended::Failed(error) if error.kind == Kind::Waiting => ("waiting", json!({ "error": error_json(error) })),
        Ended::Failed(error) => ("failed", json!({ "error": error_json(error) })),
        Ended::Left => ("not_begun", json!({})),
    };
    document["name"] = json!(member.name);
    document["state"] = json!(state);
    document
}

/// One document, or one line, for all; an error when one failed.
fn finish<T>(context: &Context, command: &str, ended: &[(Member, Ended<T>)], databases: Vec<Value>) -> Result<Outcome> {
    let count = |kind: Kind| ended.iter().filter(|(_, ended)| ended.error().is_some_and(|e| e.kind == kind)).count();
    let (waiting, interrupted) = (count(Kind::Waiting), count(Kind::Interrupted));
    let done = ended.iter().filter(|(_, ended)| matches!(ended, Ended::Done(_))).count();
    let left = ended.iter().filter(|(_, ended)| matches!(ended, Ended::Left)).count();
    let failed = ended.len() - done - left - waiting - interrupted;
    let summary = json!({
        "done": done, "waiting": waiting, "failed": failed, "interrupted": interrupted, "not_begun": left,
    });
    let document = json!({ "format": JSON_FORMAT, "command": command, "databases": databases, "summary": summary });
    context.report.json_line(&document)?;
    let mut line = format!("{done} of {} databases are done", ended.len());
    let rest = [
        (waiting, "wait for old code to go"),
        (failed, "failed"),
        (interrupted, "were stopped on the way"),
        (left, "were not begun"),
    ];
    for (many, what) in rest.iter().filter(|(many, _)| *many > 0) {
        line.push_str(&format!(", {many} {what}"));
    }
    let errors: Vec<_> = ended.iter().filter_map(|(member, ended)| Some((member, ended.error()?))).collect();
    let of = |is: fn(Kind) -> bool| errors.iter().filter(|(_, error)| is(error.kind)).collect::<Vec<_>>();
    let real = of(|kind| !matches!(kind, Kind::Interrupted | Kind::Waiting));
    if let Some((_, error)) = real.first() {
        return Err(Error::new(error.kind, "SD0746", line)
            .cause(causes(&real))
            .help("correct what it says and run the command again: databases that are done have nothing to do"));
    }
    if interrupted > 0 || left > 0 {
        return Err(Error::new(Kind::Interrupted, "SD1300", "interrupted")
            .cause(line)
            .help("run the command again to go on"));
    }
    if waiting > 0 {
        return Err(Error::new(Kind::Waiting, "SD0855", line)
            .cause(causes(&of(|kind| kind == Kind::Waiting)))
            .help("run the command again when it has gone; what may be done before that is done"));
    }
    if !context.report.quiet {
        context.report.say(format!("{}\n", paint(style::GOOD, line)))?;
    }
    Ok(Outcome::Done)
}

/// How many failures are told in full at the end; the list above has all.
const TOLD: usize = 20;

/// Each failure with the name of its database. One that many share is said once, with all their names.
fn causes(errors: &[&(&Member, &Error)]) -> String {
    let mut by_text: Vec<(String, Vec<&str>)> = Vec::new();
    for (member, error) in errors {
        let text = error.to_string();
        match by_text.iter_mut().find(|(known, _)| *known == text) {
            Some((_, names)) => names.push(&member.name),
            None => by_text.push((text, vec![&member.name])),
        }
    }
    let more = by_text.len().saturating_sub(TOLD);
    let each = by_text.iter().take(TOLD).map(|(text, names)| format!("{}: {text}", names.join(", ")));
    let last = (more > 0).then(|| format!("and {more} more, see above"));
    each.chain(last).collect::<Vec<_>>().join("\n")
}
