//! What happens while a migration is carried out, for people and for machines.

use serde::Serialize;

use crate::waiting::Queued;
use crate::{
    plan::Phase,
    waiting::{Blocker, Holder, Strangers},
};

/// A column in which rows hold another value than its expression gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The column.
    pub column: String,
    /// How many rows, of those that were looked at.
    pub rows: u64,
    /// The keys of some of them.
    pub keys: Vec<String>,
}

/// Something happened.
///
/// `migration` is the id of a migration, `step` the id of a step within it. Names that end in `_ms` are milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
#[non_exhaustive]
#[allow(missing_docs, reason = "migration and step mean the same everywhere and are explained once")]
pub enum Event<'a> {
    /// The ledger was created.
    LedgerCreated,
    /// Another process works; this one waits for it.
    WorkerBusy {
        /// The other process, in words.
        holder: &'a str,
    },
    /// A step begins.
    StepStarted {
        migration: &'a str,
        step: &'a str,
        /// What it does, for people.
        title: &'a str,
        /// The phase it belongs to.
        phase: Phase,
        /// Its place among the steps of its migration, from 1.
        position: usize,
        /// The number of steps of its migration.
        of: usize,
    },
    /// A step's work was there already: a crash came between the work and its record.
    StepFound { migration: &'a str, step: &'a str },
    /// A step is done.
    StepFinished {
        migration: &'a str,
        step: &'a str,
        /// The phase it belongs to.
        phase: Phase,
        /// How long it took, waiting for locks included.
        elapsed_ms: u64,
        /// Rows that a backfill changed in this run; 0 for other steps.
        rows: u64,
    },
    /// A step has been taken back.
    StepUndone {
        migration: &'a str,
        step: &'a str,
        /// How long it took, waiting for locks included.
        elapsed_ms: u64,
    },
    /// Before a migration begins, some kind of rows that a step would fail on could not be looked for: the step itself will
    /// find them.
    NotLookedAt {
        migration: &'a str,
        step: &'a str,
        /// Which rows.
        finds: &'a str,
        /// Why not.
        reason: &'a str,
    },
    /// A step did not get its locks and is tried again after a pause.
    Retrying {
        migration: &'a str,
        step: &'a str,
        /// Which attempt failed, from 1.
        attempt: u32,
        /// The pause until the next one.
        pause_ms: u64,
        /// What the server said.
        cause: &'a str,
        /// The sessions that were in the way, as far as they could be found out.
        blockers: &'a [Blocker],
    },
    /// The connection broke, and another one is made after a pause.
    Reconnecting {
        /// Which attempt it will be, from 1.
        attempt: u32,
        /// The pause before it.
        pause_ms: u64,
        /// What broke.
        cause: &'a str,
    },
    /// How far a statement is that takes long, as the server itself says.
    ServerProgress {
        migration: &'a str,
        step: &'a str,
        /// What the server does at this moment, in its own words.
        phase: &'a str,
        /// How much of it is done; in blocks, rows or sessions.
        done: u64,
        /// Of how much; 0 where that is not known.
        total: u64,
    },
    /// A statement that takes long waits for these sessions at this moment. Nobody waits behind it.
    HeldUp {
        migration: &'a str,
        step: &'a str,
        /// Never empty.
        blockers: &'a [Blocker],
    },
    /// A concurrent index build will wait for these transactions.
    OldTransactions {
        migration: &'a str,
        step: &'a str,
        /// The sessions they are open in; never empty.
        transactions: &'a [Blocker],
    },
    /// The contract phase of a migration begins or waits, and these use the database without a lease: nobody waits for them.
    Strangers {
        migration: &'a str,
        /// Never empty.
        strangers: &'a Strangers,
    },
    /// A later migration waits for an earlier one.
    Queued {
        /// Which, and why.
        queued: &'a Queued,
    },
    /// This instance waits, and another process is at this step.
    UnderWay {
        migration: &'a str,
        step: &'a str,
        /// Its place among the steps of its migration, from 1.
        position: usize,
        /// The number of steps of its migration.
        of: usize,
        /// Rows that a backfill has filled by now.
        rows: u64,
        /// Rows that it has to fill in all, where that is known.
        total: Option<u64>,
    },
    /// A batch of a backfill is done.
    Backfill {
        migration: &'a str,
        step: &'a str,
        /// Rows filled since the backfill began, earlier runs included.
        rows: u64,
        /// Rows that waited when it began, where that is known.
        total: Option<u64>,
        /// Rows filled per second, lately.
        per_second: f64,
        /// Milliseconds that are left at this rate, where that can be said.
        left_ms: Option<u64>,
        /// How fast it may go at this moment, and why.
        pace: &'a str,
    },
    /// A step waits for a program that has a function of the application which this one lacks.
    NeedsApplication {
        migration: &'a str,
        step: &'a str,
        /// The function's name.
        function: &'a str,
    },
    /// A row could not be filled and is kept aside; the others go on.
    KeptAside {
        migration: &'a str,
        step: &'a str,
        /// The row's key.
        key: &'a str,
        /// Why.
        reason: &'a str,
    },
    /// A backfill is about to run triggers that are not schemadiff's, with every batch.
    FiresTriggers {
        migration: &'a str,
        step: &'a str,
        /// The table.
        table: &'a str,
        /// Their names; never empty.
        triggers: &'a [String],
        /// What they make of the rows themselves is put back.
        restored: bool,
    },
    /// What a backfill has left behind was compared with what the expressions give.
    Compared {
        migration: &'a str,
        step: &'a str,
        /// The table.
        table: &'a str,
        /// How many rows were looked at.
        rows: u64,
        /// Columns in which some hold another value: somebody else has chosen it.
        differ: &'a [Difference],
    },
    /// A backfill has to stop for a while, or for another reason than before.
    Throttled {
        migration: &'a str,
        step: &'a str,
        /// Why.
        reason: &'a str,
    },
    /// Live versions hold a step back.
    GateClosed {
        migration: &'a str,
        step: &'a str,
        /// The live versions that the step would break.
        holders: &'a [Holder],
        /// Whether the step is being taken back.
        back: bool,
    },
    /// A version has been left behind: it will be refused from now on.
    VersionRetired {
        migration: &'a str,
        step: &'a str,
        /// The application.
        app: &'a str,
        /// Its version.
        version: &'a str,
    },
    /// A version that an abort left behind is served again: it is not refused any longer.
    VersionReadmitted {
        /// The application.
        app: &'a str,
        /// Its version.
        version: &'a str,
    },
    /// What a contract step had set aside is gone for good.
    Purged {
        migration: &'a str,
        step: &'a str,
        /// In words.
        what: &'a str,
    },
    /// This instance has shown that it lives.
    SignOfLife {
        /// Its lease was lost, with its connection or otherwise, and had to be made anew.
        renewed: bool,
    },
    /// All steps of a migration are done.
    MigrationFinished { migration: &'a str },
    /// A migration has been taken back.
    MigrationAborted { migration: &'a str },
    /// The database does not serve this version yet; somebody else works, or the gate is closed.
    WaitingToBeServed {
        /// What the version lacks in the database, in words.
        reasons: &'a [String],
    },
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
            Event::ServerProgress { .. } => tracing::debug!(target: "schemadiff", ?event, "step"),
            Event::Reconnecting { attempt, cause, .. } => {
                tracing::warn!(target: "schemadiff", attempt, cause, "the connection broke, another one is made");
            }
            Event::SignOfLife { renewed } => tracing::trace!(target: "schemadiff", renewed, "sign of life"),
            Event::Backfill { .. } => tracing::debug!(target: "schemadiff", ?event, "backfill"),
            Event::Retrying { attempt, cause, blockers, step, .. } => {
                tracing::warn!(target: "schemadiff", step, attempt, cause, ?blockers, "step is tried again");
            }
            Event::HeldUp { step, blockers, .. } => {
                tracing::info!(target: "schemadiff", step, ?blockers, "step waits for other sessions");
            }
            Event::GateClosed { migration, step, holders, back } => {
                let holders = holders.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                tracing::info!(target: "schemadiff", migration, step, holders, back, "step waits for live versions");
            }
            Event::Strangers { migration, strangers } => {
                let sessions = strangers.sessions.iter().map(ToString::to_string);
                let clients =
                    sessions.chain(strangers.statements.iter().map(ToString::to_string)).collect::<Vec<_>>().join("; ");
                tracing::warn!(target: "schemadiff", migration, clients, "clients without a lease are not waited for");
            }
            Event::FiresTriggers { step, table, triggers, restored, .. } => {
                tracing::warn!(target: "schemadiff", step, table, ?triggers, restored, "the backfill runs triggers");
            }
            Event::Compared { step, table, rows, differ: [], .. } => {
                tracing::info!(target: "schemadiff", step, table, rows, "what is stored was compared");
            }
            Event::Compared { step, table, rows, differ, .. } => {
                tracing::warn!(target: "schemadiff", step, table, rows, ?differ, "some rows hold other values");
            }
            Event::KeptAside { step, key, reason, .. } => {
                tracing::warn!(target: "schemadiff", step, key, reason, "a row could not be filled and is kept aside");
            }
            Event::Throttled { step, reason, .. } => {
                tracing::warn!(target: "schemadiff", step, reason, "backfill waits");
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
