//! `--fleet`: one command for many databases. Lock, ledger and gate stay each database's own; here is only who is next.
//!
//! The canaries come first, one after the other. The rest goes side by side, so many at a time. After a failure no further
//! database is begun, unless the caller wants to know of all; what runs comes to its end. A second run finds out from each
//! ledger what is left.

mod check;
mod members;
mod status;

use std::{sync::Arc, time::Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use schemadiff::{
    embed,
    lockstep::{
        Event, NoProgress, Pacing, Progress,
        admin::{self, ApplyOptions, ApplyReport, Wish},
    },
};
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
    report::{
        JSON_FORMAT, Report, duration, error_json, paint,
        progress::{Lines, held},
        style,
    },
};
pub(super) use check::check;
pub use members::Member;
pub(super) use status::run as status;

/// What became of one database.
enum Ended<T> {
    Done(T),
    Failed(Error),
    /// Not begun, because another one failed or somebody interrupted.
    Left,
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
    let bar = Arc::new(Bar::new(context.report, members.len()));
    let work = {
        let (context, bar) = (context.clone(), Arc::clone(&bar));
        move |member: Member| {
            let (context, ours, migrations) = (context.clone(), Arc::clone(&ours), migrations.clone());
            let (options, bar) = (options.clone(), Arc::clone(&bar));
            async move { apply_one(&context, &member, &ours, &migrations, &options, bar).await }
        }
    };
    let ended = each(members, &args.fleet, &stop, &bar, told_applied, work).await;
    bar.end();
    let documents = ended.iter().map(|(member, ended)| document(member, ended, |report| json!({ "report": report })));
    finish(context, "apply", &ended, documents.collect())
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
        (false, false) => Arc::new(Named { name: member.name.clone(), bar }),
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

/// Takes a migration back on all of them; those on which it has not begun are left as they are.
pub(super) async fn abort(context: &Context, args: &AbortArgs, members: Vec<Member>) -> Result<Outcome> {
    let dir = context.config.dir();
    Migrations::read(&dir)?.require_any()?;
    let migrations = embed::Migrations::load(&dir)?;
    let Some(id) = args.migration.clone() else {
        return Err(Error::new(Kind::Usage, "SD0231", "it is not said which migration is to be taken back")
            .cause("databases of a fleet may be at different ones")
            .help("name it: `cargo schemadiff abort MIGRATION --fleet FILE`"));
    };
    let stop = apply::stop_on_interruption();
    let options = abort::options(context, args, stop.clone());
    let bar = Arc::new(Bar::new(context.report, members.len()));
    let work = {
        let bar = Arc::clone(&bar);
        move |member: Member| {
            let (migrations, id, options, bar) = (migrations.clone(), id.clone(), options.clone(), Arc::clone(&bar));
            async move {
                let status = admin::status(&member.url, Some(&migrations)).await?;
                let state = status.migrations.iter().find(|m| m.id == id).map(|m| m.state);
                if state.is_none_or(|state| state == "pending" || state == "aborted") {
                    return Ok(false);
                }
                let progress = Arc::new(Named { name: member.name.clone(), bar });
                admin::abort(&member.url, &migrations, &id, &options, progress).await?;
                Ok(true)
            }
        }
    };
    let told = |taken_back: &bool| if *taken_back { "taken back" } else { "had not begun" }.to_owned();
    let ended = each(members, &args.fleet, &stop, &bar, told, work).await;
    bar.end();
    let documents = ended.iter().map(|(m, ended)| document(m, ended, |aborted| json!({ "aborted": aborted })));
    finish(context, "abort", &ended, documents.collect())
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
    let bar = Bar::new(context.report, members.len());
    let work = |member: Member| async move { Ok(admin::wish(&member.url, wish, &pace::by()).await?) };
    let told = |pacing: &Pacing| pace::said(pacing).trim_end().to_owned();
    let ended = each(members, &args, &stop, &bar, told, work).await;
    bar.end();
    let documents = ended.iter().map(|(m, ended)| document(m, ended, |pacing| json!({ "pace": pacing })));
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
    let (mut next, mut running, mut failed) = (0, JoinSet::new(), false);
    let canaries = usize::try_from(args.canary).unwrap_or(usize::MAX);
    loop {
        let most = if next < canaries { 1 } else { usize::try_from(args.parallel).unwrap_or(usize::MAX).max(1) };
        let may_begin = !*stop.borrow() && (!failed || args.keep_going);
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
                // One that cannot even be canary stops the rest, whatever is asked for.
                failed = true;
                if at < canaries {
                    next = if args.keep_going && at + 1 < canaries { next } else { members.len() };
                }
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
        Ended::Failed(error) => ("failed", json!({ "error": error_json(error) })),
        Ended::Left => ("not_begun", json!({})),
    };
    document["name"] = json!(member.name);
    document["state"] = json!(state);
    document
}

/// One document, or one line, for all; an error when one failed.
fn finish<T>(context: &Context, command: &str, ended: &[(Member, Ended<T>)], databases: Vec<Value>) -> Result<Outcome> {
    let count = |is: fn(&Ended<T>) -> bool| ended.iter().filter(|(_, ended)| is(ended)).count();
    let done = count(|ended| matches!(ended, Ended::Done(_)));
    let interrupted = count(|ended| matches!(ended, Ended::Failed(error) if error.kind == Kind::Interrupted));
    let failed = count(|ended| matches!(ended, Ended::Failed(_))) - interrupted;
    let left = count(|ended| matches!(ended, Ended::Left));
    let summary = json!({ "done": done, "failed": failed, "interrupted": interrupted, "not_begun": left });
    let document = json!({ "format": JSON_FORMAT, "command": command, "databases": databases, "summary": summary });
    context.report.json_line(&document)?;
    let mut line = format!("{done} of {} databases are done", ended.len());
    if failed > 0 {
        line.push_str(&format!(", {failed} failed"));
    }
    if interrupted > 0 {
        line.push_str(&format!(", {interrupted} were stopped on the way"));
    }
    if left > 0 {
        line.push_str(&format!(", {left} were not begun"));
    }
    let errors = ended.iter().filter_map(|(member, ended)| match ended {
        Ended::Failed(error) => Some((member, error)),
        Ended::Done(_) | Ended::Left => None,
    });
    let errors: Vec<_> = errors.collect();
    let real: Vec<_> = errors.iter().filter(|(_, error)| error.kind != Kind::Interrupted).collect();
    match real.first() {
        Some((_, error)) => Err(Error::new(error.kind, "SD0746", line)
            .cause(causes(&real))
            .help("correct what it says and run the command again: databases that are done have nothing to do")),
        None if errors.is_empty() && left == 0 => {
            if !context.report.quiet {
                context.report.say(format!("{}\n", paint(style::GOOD, line)))?;
            }
            Ok(Outcome::Done)
        }
        None => Err(Error::new(Kind::Interrupted, "SD1300", "interrupted")
            .cause(line)
            .help("run the command again to go on")),
    }
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

/// How far the fleet is, and a line for each database that is done.
struct Bar {
    report: Report,
    bar: ProgressBar,
}

impl Bar {
    fn new(report: Report, databases: usize) -> Self {
        let target = if report.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(u64::try_from(databases).ok(), target);
        if let Ok(style) = ProgressStyle::with_template("  [{bar:30}] {pos}/{len} databases, {elapsed}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { report, bar }
    }

    fn line(&self, text: &str) {
        self.bar.suspend(|| self.report.note(text));
    }

    fn done(&self, name: &str, what: &str, took: &str) {
        self.bar.inc(1);
        // With hundreds of them only those with something to tell are of interest.
        if what != "nothing to do" || self.report.verbose > 0 {
            self.line(&format!("  {} {name}: {what} {}", paint(style::GOOD, "done  "), paint(style::DIM, took)));
        }
    }

    fn failed(&self, name: &str, error: &Error) {
        self.bar.inc(1);
        let line = match error.kind {
            Kind::Interrupted => format!("  {} {name}: what was done is recorded", paint(style::WARN, "stopped")),
            _ => format!("  {} {name}: {error}", paint(style::BAD, "failed")),
        };
        self.line(&line);
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// What happens on one database, with its name.
struct Named {
    name: String,
    bar: Arc<Bar>,
}

impl Progress for Named {
    fn event(&self, event: &Event<'_>) {
        let text = match event {
            Event::GateClosed { holders, back, step, .. } => held(step, holders, *back),
            Event::Throttled { reason, .. } => format!("the backfill waits: {reason}"),
            Event::Retrying { attempt, cause, blockers, .. } => {
                let by = blockers.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                let by = if by.is_empty() { by } else { format!("; blocked by {by}") };
                format!("attempt {attempt} failed: {cause}{by}")
            }
            Event::WorkerBusy { holder } => format!("another process migrates: {holder}"),
            Event::KeptAside { key, reason, .. } => format!("kept aside: {key} ({reason})"),
            _ => return,
        };
        self.bar.line(&format!("  {} {}: {text}", paint(style::WARN, "wait  "), self.name));
    }
}
