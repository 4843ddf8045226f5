//! What happens while a migration is carried out, for people and for machines.

use serde::Serialize;

use crate::{
    plan::Phase,
    waiting::{Blocker, Holder},
};

/// Something happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
#[non_exhaustive]
pub enum Event<'a> {
    /// The ledger was created.
    LedgerCreated,
    /// Another process works; this one waits for it.
    WorkerBusy { holder: &'a str },
    /// A step begins.
    StepStarted { migration: &'a str, step: &'a str, title: &'a str, phase: Phase, position: usize, of: usize },
    /// A step's work was there already: a crash came between the work and its record.
    StepFound { migration: &'a str, step: &'a str },
    /// A step is done.
    StepFinished { migration: &'a str, step: &'a str, phase: Phase, elapsed_ms: u64, rows: u64 },
    /// A step has been taken back.
    StepUndone { migration: &'a str, step: &'a str, elapsed_ms: u64 },
    /// A step did not get its locks and is tried again after a pause.
    Retrying { migration: &'a str, step: &'a str, attempt: u32, pause_ms: u64, cause: &'a str, blockers: &'a [Blocker] },
    /// A concurrent index build will wait for these transactions.
    OldTransactions { migration: &'a str, step: &'a str, transactions: &'a [Blocker] },
    /// A batch is done. `total` is the number of rows that waited when it began, when it is known; `rows` have been
    /// filled since then, `per_second` in this run.
    Backfill { migration: &'a str, step: &'a str, rows: u64, total: Option<u64>, per_second: f64 },
    /// Live versions hold a step back.
    GateClosed { migration: &'a str, step: &'a str, holders: &'a [Holder] },
    /// A version has been left behind: it will be refused from now on.
    VersionRetired { migration: &'a str, step: &'a str, app: &'a str, version: &'a str },
    /// All steps of a migration are done.
    MigrationFinished { migration: &'a str },
    /// A migration has been taken back.
    MigrationAborted { migration: &'a str },
    /// The database does not serve this version yet; somebody else works, or the gate is closed.
    WaitingToBeServed { reasons: &'a [String] },
}

/// Is told what happens. Called often and from inside the work: return at once.
pub trait Progress: Send + Sync {
    /// Something happened.
    fn event(&self, event: &Event<'_>);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn event(&self, _event: &Event<'_>) {}
}

/// Tells `tracing`, target `schemadiff`.
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingProgress;

impl Progress for TracingProgress {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Backfill { .. } => tracing::debug!(target: "schemadiff", ?event, "backfill"),
            Event::Retrying { attempt, cause, blockers, step, .. } => {
                tracing::warn!(target: "schemadiff", step, attempt, cause, ?blockers, "step is tried again");
            }
            Event::GateClosed { migration, step, holders } => {
                let holders = holders.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                tracing::info!(target: "schemadiff", migration, step, holders, "step waits for live versions");
            }
            Event::StepStarted { migration, step, title, .. } => {
                tracing::info!(target: "schemadiff", migration, step, title, "step begins");
            }
            Event::StepFinished { migration, step, elapsed_ms, rows, .. } => {
                tracing::info!(target: "schemadiff", migration, step, elapsed_ms, rows, "step is done");
            }
            other => tracing::info!(target: "schemadiff", event = ?other),
        }
    }
}
