//! The rows of the ledger, as both engines give them.

use serde::{Deserialize, Serialize};

use super::Process;
use crate::{
    compat::view_schema,
    model::{Fingerprint, Schema, migration_of},
    plan::{Phase, Way},
    waiting::Evidence,
};

/// The format of the ledger this version writes, and the newest it understands.
pub const LEDGER_FORMAT: i64 = 1;

/// What the ledger says, read in one query.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// [`LEDGER_FORMAT`] of the writer.
    pub format: i64,
    /// Grows with every step that is begun, done or undone: a registration is valid for one epoch.
    pub epoch: i64,
    /// The server's clock, milliseconds since 1970.
    pub now_ms: i64,
    /// Migrations in the order of their application.
    pub migrations: Vec<MigrationRow>,
    /// Retired versions.
    pub retired: Vec<Retired>,
    /// The versions of which instances are registered that gave a sign of life within a day.
    pub registered: Vec<Registration>,
}

/// A version of an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Application.
    pub app: String,
    /// Version.
    pub version: String,
}

/// State of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MigrationState {
    /// Some steps are done.
    Running,
    /// All steps are done.
    Done,
    /// Taken back; it may be applied again.
    Aborted,
}

impl MigrationState {
    /// As the ledger spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Aborted => "aborted",
        }
    }
}

/// A migration in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationRow {
    /// Id.
    pub id: String,
    /// The migration before it in its chain.
    pub parent: Option<String>,
    /// Who applied it.
    pub app: String,
    /// Checksum of the plan that was applied.
    pub checksum: String,
    /// Schema before.
    pub before: Fingerprint,
    /// Schema after.
    pub after: Fingerprint,
    /// State.
    pub state: MigrationState,
    /// When the first step began.
    pub started_ms: i64,
    /// When the last step ended.
    pub finished_ms: Option<i64>,
    /// Database user and host that began it.
    pub applied_by: String,
    /// The text of `plan.toml`; only of migrations that the reader does not know.
    pub plan: Option<String>,
    /// Its steps; left out when it is done.
    pub steps: Vec<StepRow>,
}

/// State of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Not begun.
    Pending,
    /// Begun: its effect may or may not be there.
    Running,
    /// Done.
    Done,
    /// Was done and has been taken back.
    Undone,
}

impl StepState {
    /// The state of a step that has gone this way.
    pub const fn after(way: Way) -> Self {
        match way {
            Way::Forward => Self::Done,
            Way::Back => Self::Undone,
        }
    }

    /// As the ledger writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Undone => "undone",
        }
    }
}

/// A step in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRow {
    /// Id within the plan.
    pub id: String,
    /// Phase.
    pub phase: Phase,
    /// State.
    pub state: StepState,
    /// Where a backfill stands, as JSON.
    pub cursor: Option<String>,
    /// Rows a backfill has changed.
    pub rows_done: i64,
    /// When it was begun.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub finished_ms: Option<i64>,
    /// How often it was tried.
    pub attempts: i64,
    /// The server's words when it failed last.
    pub last_error: Option<String>,
}

impl Ledger {
    /// The row of a migration.
    pub fn migration(&self, id: &str) -> Option<&MigrationRow> {
        self.migrations.iter().find(|m| m.id == id)
    }

    /// The row of a step; none when nothing is known, or when the whole migration is done.
    pub fn step(&self, migration: &str, step: &str) -> Option<&StepRow> {
        self.migration(migration)?.steps.iter().find(|s| s.id == step)
    }

    /// The state of a step.
    pub fn step_state(&self, migration: &str, step: &str) -> StepState {
        match self.migration(migration) {
            None => StepState::Pending,
            Some(row) if row.state == MigrationState::Done => StepState::Done,
            Some(_) => self.step(migration, step).map_or(StepState::Pending, |s| s.state),
        }
    }

    /// Whether and why a version is retired.
    pub fn retired(&self, app: &str, version: &str) -> Option<&Retired> {
        self.retired.iter().find(|r| r.app == app && r.version == version)
    }
}

/// A version that must not run any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// Application.
    pub app: String,
    /// Version.
    pub version: String,
    /// The migration that left it behind.
    pub migration: String,
    /// The step that did.
    pub step: String,
    /// Whether that step was carried out, or taken back by an abort.
    pub way: Way,
    /// In words.
    pub reason: String,
    /// When.
    pub at_ms: i64,
}

/// An instance that a person retired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetiredByHand {
    /// Application.
    pub app: String,
    /// Version.
    pub version: String,
    /// Instance.
    pub instance: String,
    /// Why, in their words.
    pub reason: String,
    /// Who: the user and host of the operating system.
    pub by: String,
    /// When.
    pub at_ms: i64,
}

/// Which code an instance runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Application.
    pub app: String,
    /// Name of its version, made of the newest migration it embeds and the fingerprint of `schema`: see
    /// [`version_name`](crate::model::version_name).
    pub version: String,
    /// How many migrations it embeds.
    pub ordinal: i64,
    /// The schema its structs declare.
    pub schema: Schema,
}

impl Lease {
    /// For how long nothing may be heard of it before it counts as dead, in milliseconds: what whoever looks grants everybody, or its
    /// own wish where that is longer. Its fence counts on that.
    #[must_use]
    pub fn patience(&self, grace_ms: i64) -> i64 {
        grace_ms.max(self.grace_ms)
    }
}

impl Identity {
    /// Id of the newest migration it embeds.
    pub fn migration(&self) -> &str {
        migration_of(&self.version)
    }

    /// The database schema that this code's connections look into first, where they have a session of their own.
    pub fn views(&self) -> String {
        view_schema(&self.app, &self.version)
    }
}

/// One running instance, or one that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Unique name of the instance.
    pub instance: String,
    /// Which code it runs.
    #[serde(flatten)]
    pub identity: Identity,
    /// Fingerprint of its schema.
    pub fingerprint: Fingerprint,
    /// Process.
    pub process: Process,
    /// Revision of the source, when the build knows it.
    pub revision: Option<String>,
    /// What proves its life.
    pub evidence: Evidence,
    /// When it registered.
    pub started_ms: i64,
    /// Age of the last heartbeat by the server's clock.
    pub heartbeat_age_ms: i64,
    /// The last heartbeat, as the ledger writes it: another one is another text.
    pub beat: String,
    /// For how long no heartbeat has come, as far as the reader knows: what the database says, and where death follows from
    /// it, what the reader itself has seen.
    #[serde(skip)]
    pub silent_ms: i64,
    /// How long its heartbeat counts, as it says itself.
    pub grace_ms: i64,
    /// The server that it registered with has not been started anew since, and it is the same one: its sessions could not
    /// end without it.
    pub same_server: bool,
    /// It said good-bye.
    pub ended: bool,
    /// A connection of its version is open ([`Evidence::Lock`]).
    pub version_connected: bool,
    /// Its own keeper connection is open ([`Evidence::Lock`]).
    pub keeper_connected: bool,
    /// Connections of its version.
    pub connections: i64,
    /// Its process runs ([`Evidence::Process`] on the same machine).
    pub process_runs: Option<bool>,
}

/// Something that a contract step has set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptRow {
    /// The migration.
    pub migration: String,
    /// Its contract step.
    pub step: String,
    /// Its place among what the step keeps.
    pub position: i64,
    /// In words.
    pub what: String,
    /// What it is like when it comes back, in words.
    pub comes_back: String,
    /// Statements that drop it for good.
    #[serde(skip)]
    pub purge: Vec<String>,
    /// Since when it is kept.
    pub since_ms: i64,
    /// Until when.
    pub until_ms: i64,
    /// The server's clock when this was read.
    #[serde(skip)]
    pub now_ms: i64,
}

impl KeptRow {
    /// For messages: what it is, which step has set it aside, and how long it stays.
    pub fn left(&self) -> String {
        let hours = (self.until_ms - self.now_ms).max(0) / 3_600_000;
        let left = if hours < 48 { format!("{hours} hours") } else { format!("{} days", hours / 24) };
        format!("{} (step {}, for {left} more)", self.what, self.step)
    }

    /// Whether its time is over.
    pub const fn is_over(&self) -> bool {
        self.now_ms >= self.until_ms
    }
}

/// What the operator wishes of the speed of backfills, and what the one that runs says of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pacing {
    /// Nothing is filled until somebody says `resume`.
    pub paused: bool,
    /// Share of the time in which a worker works, above 0 and up to 1; none leaves it to the throttle.
    pub speed: Option<f64>,
    /// Who asked for it.
    pub by: Option<String>,
    /// When it was asked for.
    pub asked_ms: Option<i64>,
    /// Why the backfill that runs, or the one that ran last, goes as fast as it does.
    pub reason: Option<String>,
    /// Milliseconds since the reason was written down.
    pub reason_age_ms: Option<i64>,
}

/// Who carries out migrations at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Unique for each time of holding.
    pub token: String,
    /// Application, or the tool's name.
    pub app: String,
    /// Process.
    pub process: Process,
    /// What proves that it works: a lock of its session, or its signs of life.
    pub evidence: Evidence,
    /// Since when.
    pub since_ms: i64,
    /// Age of its last sign of life.
    pub heartbeat_age_ms: i64,
    /// The last sign of life, as the ledger writes it.
    #[serde(default, skip_serializing)]
    pub beat: String,
    /// As [`Lease::silent_ms`].
    #[serde(skip)]
    pub silent_ms: i64,
}

impl Lease {
    /// The database schema that this code's connections look into first. None behind a pooler: its sessions are lent to one
    /// client after the other, so that no client can have a `search_path` of its own. None where some go to a standby: whether
    /// they look there cannot be seen from the primary.
    pub fn views(&self) -> Option<String> {
        match self.evidence {
            Evidence::Lock | Evidence::Process => Some(self.identity.views()),
            Evidence::Heartbeat | Evidence::Standby => None,
        }
    }
}

impl Worker {
    /// For messages.
    pub fn describe(&self) -> String {
        format!("{} (pid {} on {})", self.app, self.process.pid, self.process.host)
    }
}
