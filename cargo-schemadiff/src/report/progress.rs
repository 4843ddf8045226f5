//! Progress on standard error: bars on a terminal, lines elsewhere.

use std::{
    io::Write,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use schemadiff::{
    lockstep::{Difference, Event, Holder, Progress},
    plan::Phase,
};

use super::{Report, count, duration, paint, style};

/// Who holds a step, on the way forward or back.
fn held(step: &str, holders: &[Holder], back: bool) -> String {
    let who = holders.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    match back {
        true => format!("{step} cannot be taken back yet: held by {who}"),
        false => format!("the {} phase is held by {who}", Phase::Contract),
    }
}

/// A spinner for something without a known end; hidden when standard error is no terminal.
pub fn spinner(what: &str, visible: bool) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, target(visible));
    // The templates are constants, and a wrong one would only lose the bar's looks.
    if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    if visible {
        bar.enable_steady_tick(Duration::from_millis(120));
    }
    bar
}

fn rows(what: &str, visible: bool) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, target(visible));
    let template = "  {msg} [{bar:30}] {human_pos}/{human_len} rows, {per_sec}, {eta} left{prefix}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(what.to_owned());
    bar
}

fn target(visible: bool) -> ProgressDrawTarget {
    // indicatif hides it by itself when standard error is no terminal.
    if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}

/// Between two lines about a backfill or a long statement, where there are no bars.
pub const NOW_AND_THEN: Duration = Duration::from_secs(30);
/// Between two events of the same kind about one backfill.
const NOT_MORE_OFTEN: Duration = Duration::from_secs(1);

/// Tells a program what the executor does: one JSON object a line on standard output.
pub struct Lines {
    report: Report,
    /// The database's name, where there are several.
    database: Option<String>,
    /// When the last batch or progress of the server was told.
    last: Mutex<Option<Instant>>,
}

impl Lines {
    /// For one database, or for the one of that name.
    pub fn new(report: Report, database: Option<String>) -> Self {
        Self { report, database, last: Mutex::default() }
    }
}

impl Progress for Lines {
    fn event(&self, event: &Event<'_>) {
        if let Event::Backfill { rows, total, .. } = event {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let is_last = total.is_some_and(|total| *rows >= total);
            if !is_last && last.is_some_and(|at| at.elapsed() < NOT_MORE_OFTEN) {
                return;
            }
            *last = Some(Instant::now());
        }
        let Ok(mut document) = serde_json::to_value(event) else { return };
        document["format"] = super::JSON_FORMAT.into();
        if let Some(database) = &self.database {
            document["database"] = database.as_str().into();
        }
        // A closed standard output shows when the result is written.
        let _ = self.report.json_line(&document);
    }
}

/// Tells a person what the executor does.
#[derive(Debug, Default)]
pub struct Terminal {
    quiet: bool,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    title: String,
    bar: Option<ProgressBar>,
    filling: bool,
    /// When the last line about a backfill or a long statement was written, where there are no bars.
    last: Option<Instant>,
    /// The last closed gate that was told, so that it is told once.
    gate: String,
}

impl Terminal {
    /// Says nothing when quiet.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, now: Mutex::default() }
    }

    fn started(&self, now: &mut Now, title: &str) {
        now.clear();
        title.clone_into(&mut now.title);
        now.bar = Some(spinner(title, !self.quiet));
    }

    /// Where there is no terminal, a line now and then has to do.
    fn now_and_then(&self, now: &mut Now, text: impl FnOnce() -> String) {
        let is_time = now.last.is_none_or(|at| at.elapsed() >= NOW_AND_THEN);
        if !self.quiet && is_time && now.bar.as_ref().is_none_or(ProgressBar::is_hidden) {
            let text = format!("  {}", text());
            self.line(now, &text);
            now.last = Some(Instant::now());
        }
    }

    fn fills(&self, now: &mut Now, far: &Filled<'_>) {
        let Filled { done, total, per_second, left_ms, pace } = *far;
        if !now.filling {
            now.bar.take().inspect(ProgressBar::finish_and_clear);
            let bar = rows(&now.title, !self.quiet);
            // What earlier runs have filled says nothing about the speed of this one.
            bar.set_position(done);
            bar.reset_eta();
            (now.bar, now.filling, now.last) = (Some(bar), true, Some(Instant::now()));
        }
        self.now_and_then(now, || format!("filled   {}; {pace}", filled(done, total, per_second, left_ms)));
        if let Some(bar) = &now.bar {
            if let Some(total) = total {
                bar.set_length(total.max(done));
            }
            bar.set_position(done);
            bar.set_prefix(format!("; {pace}"));
        }
    }

    fn line(&self, now: &Now, text: &str) {
        if self.quiet {
            return;
        }
        let write = || {
            // A closed standard error leaves nobody to tell.
            let _ = writeln!(anstream::stderr(), "{text}");
        };
        match &now.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

/// How far a backfill is.
struct Filled<'f> {
    done: u64,
    total: Option<u64>,
    per_second: f64,
    left_ms: Option<u64>,
    pace: &'f str,
}

impl Now {
    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.filling = false;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.now.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// How a line about an event begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Something is waited for.
    Wait,
    /// Nothing is waited for, but somebody should know.
    Note,
    /// A fact.
    Plain,
}

impl Tone {
    fn line(self, text: &str) -> String {
        match self {
            Self::Wait => format!("  {} {text}", paint(style::WARN, "wait")),
            Self::Note => format!("  {} {text}", paint(style::WARN, "note")),
            Self::Plain => format!("  {text}"),
        }
    }
}

/// What there is to say of an event, but for the progress of steps and migrations: one line, or several of a kind.
pub fn told(event: &Event<'_>) -> Vec<(Tone, String)> {
    let joined =
        |who: &[schemadiff::lockstep::Blocker]| who.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let one = match event {
        Event::LedgerCreated => (Tone::Plain, "the ledger was created".to_owned()),
        Event::Reconnecting { attempt, cause, .. } => {
            (Tone::Wait, format!("{cause}; connecting again, attempt {attempt}"))
        }
        Event::FiresTriggers { table, triggers, restored, .. } => {
            let names = triggers.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let back = match restored {
                true => "; what they change in these rows is put back, what they write elsewhere stays",
                false => "",
            };
            (Tone::Note, format!("filling runs triggers of {table} for rows that exist: {names}{back}"))
        }
        Event::Compared { table, rows, differ, .. } => {
            let each = differ.iter().map(|Difference { column, rows: others, keys }| {
                let text = format!(
                    "{others} of {rows} rows of {table} that were compared hold another `{column}` than its expression \
                     gives, such as {}",
                    keys.join("; ")
                );
                (Tone::Note, text)
            });
            return each.collect();
        }
        Event::KeptAside { key, reason, .. } => (Tone::Note, format!("kept aside: {key} ({reason})")),
        Event::Throttled { reason, .. } => (Tone::Wait, format!("the backfill waits: {reason}")),
        Event::StepFound { step, .. } => (Tone::Plain, format!("step {step} was done already")),
        Event::Retrying { attempt, cause, blockers, .. } => {
            let by = if blockers.is_empty() { String::new() } else { format!("; blocked by {}", joined(blockers)) };
            (Tone::Wait, format!("attempt {attempt} did not get its locks: {cause}{by}"))
        }
        Event::NotLookedAt { step, finds, reason, .. } => {
            (Tone::Wait, format!("not looked for before: {finds} ({reason}); {step} will find them"))
        }
        Event::OldTransactions { transactions, .. } => {
            (Tone::Wait, format!("the index build waits for older transactions: {}", joined(transactions)))
        }
        Event::HeldUp { blockers, .. } => (Tone::Wait, format!("waits for {}", joined(blockers))),
        Event::GateClosed { holders, back, step, .. } => (Tone::Wait, held(step, holders, *back)),
        Event::Strangers { strangers, .. } => {
            let sessions = strangers.sessions.iter().map(ToString::to_string);
            let clients = sessions.chain(strangers.statements.iter().map(ToString::to_string));
            return clients.map(|client| (Tone::Note, format!("not waited for, it has no lease: {client}"))).collect();
        }
        Event::Queued { queued } => (Tone::Wait, queued.to_string()),
        Event::WorkerBusy { holder } => (Tone::Wait, format!("another process migrates: {holder}")),
        Event::VersionRetired { app, version, .. } => {
            (Tone::Plain, format!("{app} {version} is left behind and will be refused from now on"))
        }
        Event::Purged { what, .. } => (Tone::Plain, format!("{what} is gone for good")),
        Event::VersionReadmitted { app, version } => {
            (Tone::Plain, format!("{app} {version} is served again and will not be refused any longer"))
        }
        Event::WaitingToBeServed { reasons } => (Tone::Wait, reasons.join("; ")),
        // Progress; and events that a newer runtime adds have nothing to say here yet.
        _ => return Vec::new(),
    };
    vec![one]
}

impl Progress for Terminal {
    fn event(&self, event: &Event<'_>) {
        let now = &mut *self.now.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::StepStarted { title, .. } => self.started(now, title),
            Event::Backfill { rows, total, pace, per_second, left_ms, .. } => {
                let (done, total, per_second, left_ms) = (*rows, *total, *per_second, *left_ms);
                self.fills(now, &Filled { done, total, per_second, left_ms, pace });
            }
            Event::ServerProgress { phase, done, total, .. } => {
                let share = |total: u64| (*done * 100).checked_div(total).map(|percent| format!(", {percent} %"));
                let text = format!("{phase}{}", share(*total).unwrap_or_default());
                if let Some(bar) = &now.bar {
                    bar.set_message(format!("{}: {text}", now.title));
                }
                self.now_and_then(now, || format!("building {text}"));
            }
            Event::StepFinished { phase, elapsed_ms, rows, .. } => {
                now.clear();
                let took = duration(Duration::from_millis(*elapsed_ms));
                let rows = if *rows > 0 { format!(", {} rows", count(*rows)) } else { String::new() };
                let done = paint(style::GOOD, format!("{:<8}", phase.as_str()));
                let facts = paint(style::DIM, format!("{took}{rows}"));
                self.line(now, &format!("  {done} {} {facts}", now.title));
            }
            Event::StepUndone { step, elapsed_ms, .. } => {
                now.clear();
                let took = duration(Duration::from_millis(*elapsed_ms));
                self.line(now, &format!("  {} {step} {}", paint(style::WARN, "undone  "), paint(style::DIM, took)));
            }
            Event::MigrationFinished { migration } => {
                now.clear();
                self.line(now, &format!("  {} {migration}", paint(style::GOOD, "done    ")));
            }
            Event::MigrationAborted { migration } => {
                now.clear();
                self.line(now, &format!("  {} {migration}", paint(style::WARN, "aborted ")));
            }
            other => {
                if let (Event::Throttled { reason, .. }, Some(bar)) = (other, &now.bar) {
                    bar.set_prefix(format!("; {reason}"));
                }
                let lines = told(other);
                if let (Event::GateClosed { .. }, [(_, text)]) = (other, &lines[..]) {
                    if now.gate == *text {
                        return;
                    }
                    text.clone_into(&mut now.gate);
                }
                lines.into_iter().for_each(|(tone, text)| self.line(now, &tone.line(&text)));
            }
        }
    }
}

/// How far a backfill is, in words.
pub fn filled(done: u64, total: Option<u64>, per_second: f64, left_ms: Option<u64>) -> String {
    let of = total.map(|total| format!(" of {}", count(total.max(done)))).unwrap_or_default();
    let left = left_ms.map(|ms| format!(", {} left", duration(Duration::from_millis(ms)))).unwrap_or_default();
    format!("{}{of} rows, {per_second:.0} rows/s{left}", count(done))
}
