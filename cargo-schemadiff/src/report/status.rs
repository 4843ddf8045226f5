//! The status of a database in text.

use std::{collections::BTreeSet, time::Duration};

use schemadiff::{
    backend::StepState,
    lockstep::{Evidence, MigrationStatus, Pacing, Status, StepStatus, VersionStatus, Waiting},
};

use super::{count, duration, paint, style};

/// How fast the running backfill is, from one look to the next.
#[derive(Debug, Clone, Default)]
pub struct Rate {
    /// Step, and the server's clock and the rows when it was seen first.
    since: Option<(String, i64, i64)>,
    rows_per_second: f64,
}

impl Rate {
    /// Takes a look into account.
    pub fn saw(&mut self, status: &Status) {
        let steps =
            status.migrations.iter().flat_map(|m| m.steps.iter().map(move |s| (format!("{}/{}", m.id, s.id), s)));
        let Some((name, step)) = steps.into_iter().find(|(_, s)| s.state == StepState::Running && s.total.is_some())
        else {
            *self = Self::default();
            return;
        };
        match &self.since {
            Some((known, then, rows)) if *known == name => {
                let seconds = (status.now_ms - then) as f64 / 1000.0;
                if seconds > 0.0 {
                    self.rows_per_second = (step.rows - rows) as f64 / seconds;
                }
            }
            _ => *self = Self { since: Some((name, status.now_ms, step.rows)), rows_per_second: 0.0 },
        }
    }

    /// Rows in a second, and the time until so many rows are done.
    fn of(&self, rows: u64) -> Option<(u64, Duration)> {
        let rate = self.rows_per_second;
        (rate >= 1.0).then(|| (rate as u64, Duration::from_secs((rows as f64 / rate) as u64)))
    }
}

/// How many migrations that are done a picture on a terminal shows, which is looked at for what is not.
const DONE: usize = 2;

/// What there is to watch: migrations that were done long ago are only counted.
pub fn render_live(status: &Status, rate: &Rate) -> String {
    let old = status.migrations.iter().take_while(|m| m.state == "done" && !m.rewritten).count().saturating_sub(DONE);
    let mut out = rendered(status, old, rate);
    out.push_str(&paint(style::DIM, "Ctrl-C ends this, and nothing else\n"));
    out
}

/// The whole picture.
pub fn render(status: &Status, rate: &Rate) -> String {
    rendered(status, 0, rate)
}

fn rendered(status: &Status, old: usize, rate: &Rate) -> String {
    let mut out = String::new();
    if !status.ledger {
        out.push_str("no migration has been applied to this database\n");
    }
    let before = (old > 0).then(|| format!("  {} {old} earlier ones\n", paint(style::GOOD, "done   ")));
    let works = status.worker.is_some();
    let shown = status.migrations.iter().skip(old).map(|m| migration(m, status.now_ms, rate, works));
    section(&mut out, "migrations", before.into_iter().chain(shown));
    section(&mut out, "running versions", status.versions.iter().map(|v| version(v, status.now_ms)));
    section(&mut out, "waiting", status.waiting.iter().map(|w| waiting(w, status.now_ms)));
    section(&mut out, "behind another migration", status.queued.iter().map(|q| format!("  {q}\n")));
    let worker = status.worker.iter().map(|w| format!("  {} for {}\n", w.describe(), ago(w.since_ms, status.now_ms)));
    let server = status.server.iter().map(|s| format!("    {}: {} of {}\n", s.phase, count(s.done), count(s.total)));
    let blockers = status.held_up_by.iter().map(|blocker| format!("    waits for {blocker}\n"));
    section(&mut out, "migrating now", worker.chain(server).chain(blockers));
    section(&mut out, "speed of backfills", status.pace.iter().map(|p| pace(p, status)));
    let retired = status
        .retired
        .iter()
        .map(|r| format!("  {} {} since {} ago: {}\n", r.app, r.version, ago(r.at_ms, status.now_ms), r.reason));
    section(&mut out, "refused versions", retired);
    let kept = status.kept.iter().map(|k| {
        let left = match k.until_ms - status.now_ms {
            left @ 1.. => format!("{} more", ago(0, left)),
            _ => "until somebody migrates".to_owned(),
        };
        let later =
            status.migrations.iter().rev().find(|m| m.id > k.migration && !matches!(m.state, "pending" | "aborted"));
        let first = later.map(|m| format!("  once {} has been taken back", m.id)).unwrap_or_default();
        format!("  {} of {}, {left}: {}{first}\n", k.what, k.migration, k.comes_back)
    });
    section(&mut out, "kept, `undo` brings it back", kept);
    let by_hand = status.retired_by_hand.iter().map(|r| {
        let when = ago(r.at_ms, status.now_ms);
        format!("  {}/{} ({}) {when} ago by {}: {}\n", r.app, r.instance, r.version, r.by, r.reason)
    });
    section(&mut out, "retired by hand", by_hand);
    let sessions = status.strangers.sessions.iter().map(ToString::to_string);
    let clients = sessions.chain(status.strangers.statements.iter().map(ToString::to_string));
    // A pooler's sessions are those of services that have leases, and nothing tells which.
    let pooled = status.versions.iter().filter(|v| v.evidence == Evidence::Heartbeat).map(|v| v.app.as_str());
    let pooled: BTreeSet<&str> = if status.strangers.is_empty() { BTreeSet::new() } else { pooled.collect() };
    let pooled = pooled.iter().map(|app| format!("some may be {app}'s, whose sessions are a pooler's"));
    let clients = clients.chain(pooled);
    section(&mut out, "clients without a lease (not waited for)", clients.map(|client| format!("  {client}\n")));
    out
}

fn pace(p: &Pacing, status: &Status) -> String {
    let mut out = String::new();
    let by = p.by.as_ref().map(|who| format!(" by {who}")).unwrap_or_default();
    let since = p.asked_ms.map(|at| format!(" {} ago", ago(at, status.now_ms))).unwrap_or_default();
    if p.paused {
        out.push_str(&format!("  {}{since}{by}\n", paint(style::WARN, "paused")));
    } else if let Some(speed) = p.speed {
        out.push_str(&format!("  {:.0} % speed, asked for{since}{by}\n", speed * 100.0));
    }
    // Of a backfill that has ended nobody wants to know why it was slow.
    let fills = |m: &MigrationStatus| m.steps.iter().any(|s| s.state == StepState::Running);
    if let (Some(reason), true) = (&p.reason, status.worker.is_some() && status.migrations.iter().any(fills)) {
        out.push_str(&format!("  {reason}\n"));
    }
    out
}

fn section(out: &mut String, title: &str, parts: impl Iterator<Item = String>) {
    let text: String = parts.collect();
    if !text.is_empty() {
        out.push_str(&format!("{}\n{text}", paint(style::HEADING, title)));
    }
}

fn ago(then_ms: i64, now_ms: i64) -> String {
    duration(Duration::from_millis(u64::try_from(now_ms.saturating_sub(then_ms)).unwrap_or(0)))
}

fn migration(m: &MigrationStatus, now_ms: i64, rate: &Rate, works: bool) -> String {
    let state = match m.state {
        "done" => paint(style::GOOD, "done   "),
        "running" => paint(style::WARN, "running"),
        "aborted" => paint(style::DIM, "aborted"),
        other => paint(style::ACCENT, format!("{other:<7}")),
    };
    let mut out = format!("  {state} {}", m.id);
    match (m.started_ms, m.finished_ms) {
        (Some(_), Some(end)) => out.push_str(&format!(", {} ago", ago(end, now_ms))),
        (Some(start), None) => out.push_str(&format!(", begun {} ago", ago(start, now_ms))),
        (None, _) => {}
    }
    if let Some(by) = &m.applied_by {
        out.push_str(&paint(style::DIM, format!(" by {by}")));
    }
    if !m.known && m.state != "pending" {
        out.push_str(&paint(style::DIM, " (not among the migrations here)"));
    }
    if m.rewritten {
        out.push_str(&paint(style::BAD, " (the file here is another than the one that was applied)"));
    }
    out.push('\n');
    if m.state == "running" {
        m.steps.iter().for_each(|s| out.push_str(&step(s, rate, works)));
    }
    out
}

fn step(s: &StepStatus, rate: &Rate, works: bool) -> String {
    let mark = match s.state {
        StepState::Done => paint(style::GOOD, "done   "),
        StepState::Running if works => paint(style::WARN, "running"),
        StepState::Running if s.last_error.is_some() => paint(style::BAD, "failed "),
        // The next run goes on where it stopped.
        StepState::Running => paint(style::WARN, "stopped"),
        StepState::Undone => paint(style::DIM, "undone "),
        StepState::Pending => paint(style::DIM, "pending"),
    };
    let mut out = format!("    {mark} {:<8} {}", s.phase.as_str(), s.title);
    if s.rows > 0 {
        let rows = count(u64::try_from(s.rows).unwrap_or(0));
        match s.total {
            Some(total) if s.state != StepState::Done => {
                out.push_str(&format!(", {rows} of {} rows", count(total)));
                let left = total.saturating_sub(u64::try_from(s.rows).unwrap_or(0));
                if let Some((in_a_second, time)) = rate.of(left) {
                    out.push_str(&format!(", {} rows/s, {} left", count(in_a_second), duration(time)));
                } else if let Some(eta) = s.eta_ms.and_then(|eta| u64::try_from(eta).ok()) {
                    let time = duration(Duration::from_millis(eta));
                    out.push_str(&format!(", {time} left at its rate so far"));
                }
            }
            _ => out.push_str(&format!(", {rows} rows")),
        }
    }
    out.push('\n');
    if let Some(error) = &s.last_error {
        out.push_str(&format!("            {}\n", paint(style::BAD, error)));
    }
    out
}

fn version(v: &VersionStatus, now_ms: i64) -> String {
    let evidence = match v.evidence {
        Evidence::Lock => format!("{} connections", v.connections),
        Evidence::Heartbeat => "known by heartbeats alone: a pooler stands before the database".to_owned(),
        Evidence::Standby => "known by heartbeats: it also reads from standbys".to_owned(),
        Evidence::Process => "known by its process".to_owned(),
    };
    let name = paint(style::ACCENT, format!("{} {}", v.app, v.version));
    let mut out = format!("  {name} {}\n", paint(style::DIM, format!("({evidence})")));
    for i in &v.instances {
        let revision = i.revision.as_ref().map(|r| format!(", revision {r}")).unwrap_or_default();
        let since = ago(i.since_ms, now_ms);
        out.push_str(&format!("    {} pid {} on {} for {since}{revision}\n", i.instance, i.pid, i.host));
    }
    for reason in &v.reasons {
        out.push_str(&format!("    {} {reason}\n", paint(style::BAD, "not served:")));
    }
    out
}

fn waiting(w: &Waiting, now_ms: i64) -> String {
    let since = w.since_ms.map(|since| format!(" for {}", ago(since, now_ms))).unwrap_or_default();
    let mut out = format!("  {} of {} waits{since} for\n", w.title, w.migration);
    for holder in &w.holders {
        out.push_str(&format!("    {}\n", paint(style::WARN, holder)));
        holder.reasons.iter().for_each(|reason| out.push_str(&format!("      afterwards {reason}\n")));
    }
    out
}
