//! Numbers for whoever draws curves of them: what happens, as counters, gauges and durations.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use super::{Event, Progress};

/// Labels of a number, in a fixed order for each name.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

/// Is told numbers, under the names of [`names`]. Called often and from inside the work: return at once.
///
/// Three methods, so that any exporter fits behind it in a few lines.
pub trait Metrics: Send + Sync {
    /// A counter has grown.
    fn count(&self, name: &'static str, by: u64, labels: Labels<'_>);
    /// A value is so much now.
    fn gauge(&self, name: &'static str, value: f64, labels: Labels<'_>);
    /// Something took so many seconds.
    fn seconds(&self, name: &'static str, seconds: f64, labels: Labels<'_>);
}

/// The names of the numbers. They are part of the interface.
pub mod names {
    /// Counter of steps that were carried out; labels `migration`, `step`, `phase`.
    pub const STEPS: &str = "schemadiff_steps_total";
    /// Duration of a step, waiting for locks included; labels `migration`, `step`, `phase`.
    pub const STEP: &str = "schemadiff_step_seconds";
    /// Counter of steps that were taken back; labels `migration`, `step`.
    pub const UNDONE: &str = "schemadiff_steps_undone_total";
    /// Counter of attempts that did not get their locks; labels `migration`, `step`.
    pub const RETRIES: &str = "schemadiff_step_retries_total";
    /// Gauge of rows that a backfill has filled; labels `migration`, `step`.
    pub const ROWS: &str = "schemadiff_backfill_rows";
    /// Gauge of rows that it has to fill in all; labels `migration`, `step`.
    pub const ROWS_IN_ALL: &str = "schemadiff_backfill_rows_expected";
    /// Gauge of rows that it fills per second; labels `migration`, `step`.
    pub const ROWS_PER_SECOND: &str = "schemadiff_backfill_rows_per_second";
    /// Counter of times that it had to stop for the load; labels `migration`, `step`.
    pub const THROTTLED: &str = "schemadiff_backfill_throttled_total";
    /// Gauge of live instances that hold a step back, 0 when it begins; labels `migration`, `step`.
    pub const HOLDERS: &str = "schemadiff_gate_holders";
    /// Duration from the first look at a closed gate until the step began, as this process saw it; labels `migration`, `step`.
    pub const GATE: &str = "schemadiff_gate_wait_seconds";
    /// Counter of versions that were left behind; labels `app`, `version`.
    pub const RETIRED: &str = "schemadiff_versions_retired_total";
    /// Counter of signs of life; label `result`: `ok`, or `lost` when the lease had to be renewed.
    pub const HEARTBEATS: &str = "schemadiff_heartbeats_total";

    /// All of them.
    pub const ALL: &[&str] = &[
        STEPS,
        STEP,
        UNDONE,
        RETRIES,
        ROWS,
        ROWS_IN_ALL,
        ROWS_PER_SECOND,
        THROTTLED,
        HOLDERS,
        GATE,
        RETIRED,
        HEARTBEATS,
    ];
}

/// Tells both: what happens to the one, numbers of it to the other.
pub(super) struct Measured {
    inner: Arc<dyn Progress>,
    metrics: Arc<dyn Metrics>,
    /// Since when steps wait at the gate.
    waiting: Mutex<BTreeMap<(String, String), Instant>>,
}

impl Measured {
    pub(super) fn new(inner: Arc<dyn Progress>, metrics: Arc<dyn Metrics>) -> Self {
        Self { inner, metrics, waiting: Mutex::default() }
    }

    fn began(&self, migration: &str, step: &str) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = waiting.remove(&(migration.to_owned(), step.to_owned())) {
            let labels = [("migration", migration), ("step", step)];
            self.metrics.seconds(names::GATE, since.elapsed().as_secs_f64(), &labels);
            self.metrics.gauge(names::HOLDERS, 0.0, &labels);
        }
    }

    fn held(&self, migration: &str, step: &str, holders: usize) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry((migration.to_owned(), step.to_owned())).or_insert_with(Instant::now);
        let holders = u32::try_from(holders).unwrap_or(u32::MAX).into();
        self.metrics.gauge(names::HOLDERS, holders, &[("migration", migration), ("step", step)]);
    }

    #[allow(clippy::cast_precision_loss, reason = "a curve of rows needs no more than 52 bits")]
    fn filled(&self, labels: Labels<'_>, rows: u64, total: Option<u64>, per_second: f64) {
        self.metrics.gauge(names::ROWS, rows as f64, labels);
        if let Some(total) = total {
            self.metrics.gauge(names::ROWS_IN_ALL, total as f64, labels);
        }
        self.metrics.gauge(names::ROWS_PER_SECOND, per_second, labels);
    }
}

impl Progress for Measured {
    fn event(&self, event: &Event<'_>) {
        let metrics = &self.metrics;
        match event {
            Event::StepStarted { migration, step, .. } => self.began(migration, step),
            Event::StepFinished { migration, step, phase, elapsed_ms, .. } => {
                let labels = [("migration", *migration), ("step", *step), ("phase", phase.as_str())];
                metrics.count(names::STEPS, 1, &labels);
                metrics.seconds(names::STEP, std::time::Duration::from_millis(*elapsed_ms).as_secs_f64(), &labels);
            }
            Event::StepUndone { migration, step, .. } => {
                metrics.count(names::UNDONE, 1, &[("migration", migration), ("step", step)]);
            }
            Event::Retrying { migration, step, .. } => {
                metrics.count(names::RETRIES, 1, &[("migration", migration), ("step", step)]);
            }
            Event::Backfill { migration, step, rows, total, per_second, .. } => {
                self.filled(&[("migration", migration), ("step", step)], *rows, *total, *per_second);
            }
            Event::Throttled { migration, step, .. } => {
                metrics.count(names::THROTTLED, 1, &[("migration", migration), ("step", step)]);
            }
            Event::GateClosed { migration, step, holders, .. } => self.held(migration, step, holders.len()),
            Event::VersionRetired { app, version, .. } => {
                metrics.count(names::RETIRED, 1, &[("app", app), ("version", version)]);
            }
            Event::SignOfLife { renewed } => {
                let result = if *renewed { "lost" } else { "ok" };
                metrics.count(names::HEARTBEATS, 1, &[("result", result)]);
            }
            _ => {}
        }
        self.inner.event(event);
    }
}
