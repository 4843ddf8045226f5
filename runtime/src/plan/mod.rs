//! A migration: ordered steps in three phases, as it is reviewed, stored and carried out.

mod backfill;
mod file;
mod snapshot;

use serde::{Deserialize, Serialize};

use crate::model::{Delta, DeltaError, Dialect, Fingerprint, ObjectName, Schema, apply_all};

pub use backfill::{Assignment, Backfill, Compared, Comparison, Given, KeyColumn};
#[cfg(feature = "postgres")]
pub(crate) use file::dollar_quoted_len;
pub use file::{PLAN_FORMAT, PlanFileError};
pub use snapshot::{SNAPSHOT_FORMAT, Snapshot};

/// The phases, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Additive: every running version keeps working.
    Expand,
    /// Existing rows are filled in small resumable batches.
    Backfill,
    /// What the old version needed is removed, once no old version is left.
    Contract,
}

impl Phase {
    /// The name used in files, output and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expand => "expand",
            Self::Backfill => "backfill",
            Self::Contract => "contract",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// In which direction a step is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// Its statements.
    Forward,
    /// Its undo statements.
    Back,
}

impl Way {
    /// As the ledger writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Back => "back",
        }
    }

    /// The other one.
    pub const fn reversed(self) -> Self {
        match self {
            Self::Forward => Self::Back,
            Self::Back => Self::Forward,
        }
    }
}

/// The ways in which old and new code live side by side while a table changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// New columns beside the old ones, kept in step by triggers. Asks nothing of the code that runs.
    Synced,
    /// The retiring version sees tables through views. Every connection of it must have been opened through the hook.
    Views,
}

impl Overlap {
    /// The name used in files, output and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Views => "views",
        }
    }
}

impl std::fmt::Display for Overlap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The way that a plan takes, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strategy {
    /// The way.
    pub way: Overlap,
    /// What speaks for it, in words.
    pub why: String,
    /// The applications whose retiring version has views.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apps: Vec<String>,
}

impl Strategy {
    /// The way that asks nothing of anybody.
    pub fn synced(why: impl Into<String>) -> Self {
        Self { way: Overlap::Synced, why: why.into(), apps: Vec::new() }
    }
}

/// A migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Version of the file format, [`PLAN_FORMAT`].
    pub format: u32,
    /// Directory name: `<UTC timestamp yyyymmddhhmmss>_<name>`; sorts in the order of creation.
    pub id: String,
    /// The engine it is written for.
    pub dialect: Dialect,
    /// The migration before this one; two plans with one parent are a conflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Fingerprint of the managed schema before the first step.
    pub before: Fingerprint,
    /// Fingerprint of the managed schema after the last step.
    pub after: Fingerprint,
    /// How old and new code live side by side, where the plan has steps for which there are two ways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Objects whose loss was acknowledged by name (`--allow-drop`): `users`, `users.fullname`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_drops: Vec<String>,
    /// What the author of the deployment must know: one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// SHA-256 over the meaning of the steps; white space and comments outside SQL strings do not count.
    pub checksum: String,
    /// The steps in the order in which they run; phases never decrease.
    #[serde(default, rename = "step")]
    pub steps: Vec<Step>,
}

/// How a step is sent to the server. A plan never mixes two kinds in one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Envelope {
    /// One short transaction with a short lock timeout, retried as a whole. The ledger row is written in it.
    Transaction,
    /// One transaction that may take long but blocks no reader and no writer (VALIDATE CONSTRAINT): no lock timeout.
    Long,
    /// Outside a transaction, one statement at a time, no lock timeout (CREATE INDEX CONCURRENTLY); has `done_when`.
    Concurrent,
    /// Keyset batches, each in its own transaction together with its cursor.
    Batches,
    /// SQLite only: `foreign_keys=OFF` and `legacy_alter_table=ON` outside, then one IMMEDIATE transaction that ends
    /// with `foreign_key_check` and holds the ledger row.
    Rebuild,
}

/// What a step does.
#[allow(
    clippy::large_enum_variant,
    reason = "a plan has a handful of steps; a box would be in the way of everyone who reads one"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Statements, exactly as they are sent.
    Sql(Vec<String>),
    /// A backfill.
    Backfill(Backfill),
    /// Statements that a query gives. Only in [`Envelope::Concurrent`].
    Generated(Generated),
}

/// Statements that are known only when the step runs, because they depend on what is there then (the partitions of a table).
///
/// `next_sql` looks at the catalogue alone and returns at most one row: the next statement, and how many milliseconds it may
/// wait for a lock, as text (`0`: as long as it takes). A third column that is `true` says that the locks of the step are taken
/// all at once before the statement. Each is sent in a transaction of its own. No row: the step is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    /// See the type's documentation.
    pub next_sql: String,
}

/// A lock that a step takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Table (or type) it is taken on.
    pub relation: ObjectName,
    /// Mode in the server's words (`AccessExclusive`, `ShareRowExclusive`, `write lock on the file`).
    pub mode: String,
}

/// A danger a reviewer must know of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hazard {
    /// Stable code, for example `H003`.
    pub code: String,
    /// What will happen, in a full sentence.
    pub effect: String,
    /// What to do about it, imperative.
    pub remedy: String,
}

/// A question to the rows that a step would fail on. It is asked before the migration changes anything, in a read that is
/// given up after some seconds, and again when the step has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Which rows it finds, as the end of a sentence: "rows of `users` with NULL in `email`".
    pub finds: String,
    /// Returns a few of them, one text each that tells the row by its key. It names tables and columns as they are before
    /// the migration. An error about a value is an answer too.
    pub sql: String,
}

/// Data that is gone when a step is taken back: rows of a table that it made, values of a column that nothing else holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// As it is acknowledged: `orders`, `users.note`.
    pub name: String,
    /// Which rows lose it, as the end of a sentence.
    pub finds: String,
    /// Returns a few of them, as [`Probe::sql`] does, while the step is done.
    pub sql: String,
}

/// Something that a contract step sets aside instead of dropping it, so that `undo` can bring it back for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// In words: "column `users.nick`".
    pub what: String,
    /// What it is like when it comes back, in words.
    pub comes_back: String,
    /// How long it is kept after the step, in milliseconds. Nothing drops it at the moment when that is over, but whoever
    /// migrates next.
    pub for_ms: u64,
    /// Statements that drop it for good. They do nothing when it is gone.
    pub purge: Vec<String>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Stable within the plan: `<two digits>-<what>`, for example `03-add-column-users-email_key`.
    pub id: String,
    /// Phase; assigned with the `serves` predicate.
    pub phase: Phase,
    /// What it does, in plain words.
    pub title: String,
    /// The change that caused it, in plain words.
    pub cause: String,
    /// How it is sent.
    pub envelope: Envelope,
    /// Statements or backfill.
    pub action: Action,
    /// Locks, strongest per relation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<Lock>,
    /// Whether a table is rewritten.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rewrites: bool,
    /// Whether a table is read as a whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scans: bool,
    /// Whether indexes that are there are built anew while the table is locked, although the table itself is not rewritten.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rebuilds_indexes: bool,
    /// Dangers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hazards: Vec<Hazard>,
    /// Questions to the rows that the step would fail on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
    /// Questions to tables that the step reads or writes as a whole while others wait. An answer is that one is large; then the step is
    /// not carried out, unless somebody says that others may wait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only_while_small: Vec<Probe>,
    /// Lock timeout in milliseconds; 0 is none.
    pub lock_timeout_ms: u64,
    /// Statement timeout in milliseconds; 0 is none.
    pub statement_timeout_ms: u64,
    /// A query that returns one boolean (0/1 on SQLite): is the step's work there, whole and valid? Required for `Concurrent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_when: Option<String>,
    /// A query for the statement that clears away what a crash may have left (an INVALID index) before the step is tried
    /// again; no row when nothing is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean_up: Option<String>,
    /// A query for what stands in the step's way and is not the step's own, in words. While it gives a row, nothing is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<String>,
    /// Statements that take the step back, in order, in the step's envelope. Empty with `undoable = false` when data is lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undo: Vec<String>,
    /// What proves again what `undo` puts back unproven: sent after it in a transaction of its own, which may take long and
    /// blocks no reader and no writer, as in [`Envelope::Long`]. Only in [`Envelope::Transaction`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undo_proof: Vec<String>,
    /// Ids of earlier steps that are taken back along with this one: what takes this one back takes away what they made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undo_takes: Vec<String>,
    /// What is lost with it. Nothing is taken back where there is such data and nobody has said that it may go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undo_loses: Vec<Loss>,
    /// Rows that `undo_proof` would fail on. They are looked for before anything is taken back, and it is not where there are
    /// such.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undo_probes: Vec<Probe>,
    /// Whether `abort`, or `undo` for a step of the contract phase, can take the step back.
    pub undoable: bool,
    /// What it sets aside instead of dropping it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keeps: Vec<Kept>,
    /// What it does to the schema. Kept as JSON text in the file, for a file that people can read.
    #[serde(default, with = "file::deltas_as_json", skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<Delta>,
}

impl Step {
    /// The schema after this step.
    ///
    /// # Errors
    /// When the schema is not the one the step was planned for.
    pub fn apply_to(&self, schema: &mut Schema) -> Result<(), DeltaError> {
        apply_all(&self.effects, schema)
    }

    /// The schema before this step, from the one after it.
    ///
    /// # Errors
    /// When the schema is not the one that the step leads to.
    pub fn revert_on(&self, schema: &mut Schema) -> Result<(), DeltaError> {
        let back: Vec<Delta> = self.effects.iter().rev().map(|delta| delta.clone().inverted()).collect();
        apply_all(&back, schema)
    }
}

impl Plan {
    /// The step, and the earlier ones that are taken back along with it: the last one first.
    pub fn taken_back_with<'p>(&'p self, step: &'p Step) -> impl Iterator<Item = &'p Step> {
        let along = self.steps.iter().rev().filter(|earlier| step.undo_takes.contains(&earlier.id));
        std::iter::once(step).chain(along)
    }

    /// The steps of one phase.
    pub fn phase(&self, phase: Phase) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(move |s| s.phase == phase)
    }
}
