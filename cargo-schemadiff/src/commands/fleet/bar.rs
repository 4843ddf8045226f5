//! What a person sees while a fleet is worked on.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use schemadiff::lockstep::{Event, Progress};

use crate::{
    Error, Kind,
    report::{
        Report, paint,
        progress::{NOW_AND_THEN, Tone, filled, told},
        style,
    },
};

/// How far the fleet is, and a line for each database that is done.
pub(super) struct Bar {
    report: Report,
    bar: ProgressBar,
    /// What the backfills that run are at, by the names of their databases.
    filling: Mutex<BTreeMap<String, Filling>>,
}

/// A backfill under way.
struct Filling {
    text: String,
    /// When a line about it was written, where there is no terminal.
    told: Instant,
}

/// Databases whose backfills the bar has room for.
const SHOWN: usize = 3;

impl Bar {
    pub fn new(report: Report, databases: usize) -> Self {
        let target = if report.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(u64::try_from(databases).ok(), target);
        if let Ok(style) = ProgressStyle::with_template("  [{bar:30}] {pos}/{len} databases, {elapsed}{msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { report, bar, filling: Mutex::default() }
    }

    fn line(&self, text: &str) {
        self.bar.suspend(|| self.report.note(text));
    }

    pub fn done(&self, name: &str, what: &str, took: &str) {
        self.bar.inc(1);
        // With hundreds of them only those with something to tell are of interest.
        if what != "nothing to do" || self.report.verbose > 0 {
            self.line(&format!("  {} {name}: {what} {}", paint(style::GOOD, "done  "), paint(style::DIM, took)));
        }
    }

    /// How far the backfill of one database is; none when it has come to its end.
    fn filling(&self, name: &str, text: Option<String>) {
        let mut all = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        match text {
            Some(text) => {
                let own =
                    all.entry(name.to_owned()).or_insert_with(|| Filling { text: String::new(), told: Instant::now() });
                own.text = text;
                if self.bar.is_hidden() && own.told.elapsed() >= NOW_AND_THEN {
                    own.told = Instant::now();
                    self.line(&format!("  filled  {name}: {}", own.text));
                }
            }
            None if all.remove(name).is_some() => {}
            None => return,
        }
        let shown = all.iter().take(SHOWN).map(|(name, of)| format!("\n  {name}: {}", of.text)).collect::<String>();
        let more = all.len().saturating_sub(SHOWN);
        self.bar.set_message(if more > 0 { format!("{shown}\n  and {more} more") } else { shown });
    }

    pub fn failed(&self, name: &str, error: &Error) {
        self.bar.inc(1);
        let line = match error.kind {
            Kind::Interrupted => format!("  {} {name}: what was done is recorded", paint(style::WARN, "stopped")),
            Kind::Waiting => format!("  {} {name}: {error}", paint(style::WARN, "waits ")),
            _ => format!("  {} {name}: {error}", paint(style::BAD, "failed")),
        };
        self.line(&line);
    }

    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// What happens on one database, with its name.
pub(super) struct Named {
    name: String,
    bar: Arc<Bar>,
    /// The last closed gate that was told: again and again it is no news.
    gate: Mutex<String>,
}

impl Named {
    pub fn new(name: String, bar: Arc<Bar>) -> Self {
        Self { name, bar, gate: Mutex::default() }
    }
}

impl Progress for Named {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Backfill { rows, total, per_second, left_ms, pace, .. } => {
                let far = filled(*rows, *total, *per_second, *left_ms);
                return self.bar.filling(&self.name, Some(format!("{far}; {pace}")));
            }
            Event::StepFinished { .. } => self.bar.filling(&self.name, None),
            _ => {}
        }
        let lines = told(event);
        if let (Event::GateClosed { .. }, [(_, text)]) = (event, &lines[..]) {
            let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
            if *gate == *text {
                return;
            }
            text.clone_into(&mut gate);
        }
        for (tone, text) in lines {
            let word = match tone {
                Tone::Wait => "wait  ",
                Tone::Note => "note  ",
                // What is said of each of hundreds is no news either.
                Tone::Plain => continue,
            };
            self.bar.line(&format!("  {} {}: {text}", paint(style::WARN, word), self.name));
        }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.bar.filling(&self.name, None);
    }
}
