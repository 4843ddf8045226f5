//! The errors of the runtime. Each has a stable code in the numbering of the command-line tool (`SD`, two digits of the
//! exit code, two digits of its own, from 50 upwards) and says what to do.

mod code;
mod help;
mod words;

use crate::{
    compat::Reason,
    model::Dialect,
    waiting::{Blocker, Holder, Queued},
};
use words::{by, done_or_undone, found, holders_text, kept_aside, list, listed, losses_listed, still_kept, such_as};

/// Result of everything that talks to a database.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something was not done.
///
/// The fields that come up again and again mean the same everywhere:
///
/// - `id` and `migration` are the id of a migration, `step` is the id of a step within it;
/// - `app` and `version` are the application and the version that wanted to run;
/// - `cause` is what went wrong underneath, in the words of the system, the server or the parser;
/// - `code` is the error code that the engine gave (an SQLSTATE, or SQLite's extended result code), empty without one;
/// - `problem` completes a sentence that begins with the migration's id;
/// - `reasons` are what the version lacks in the database, `holders` the live versions that a step would break, and
///   `blockers` the sessions whose locks are in the way, as far as they could be found out.
#[derive(thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields that recur mean the same everywhere and are explained once")]
pub enum Error {
    /// The directory, its lock file or a plan cannot be read.
    #[error("cannot read {path}: {cause}")]
    Unreadable {
        /// The file or directory.
        path: String,
        cause: String,
    },
    /// A plan is cut off or is no plan.
    #[error("migration {id} cannot be read, it is cut off or was edited into something else: {cause}")]
    PlanMalformed { id: String, cause: String },
    /// A plan or the lock file is of a newer format.
    #[error("{what} has format {found}, this version reads up to {newest}")]
    FormatTooNew {
        /// Which file: a migration by its id, or the lock file.
        what: String,
        /// The format number in it.
        found: u32,
        /// The newest format number that this version reads.
        newest: u32,
    },
    /// A plan was edited.
    #[error("the steps of migration {id} are not the ones its checksum was made for: it was edited by hand")]
    PlanEdited { id: String },
    /// Two migrations follow the same one.
    #[error("two migrations follow {parent}: {first} and {second}")]
    TwoChildren {
        /// The id of the migration that both follow, or "the empty schema".
        parent: String,
        /// The one whose id sorts first.
        first: String,
        /// The other one.
        second: String,
    },
    /// A migration's directory has another name than its plan.
    #[error("migration {id} is in a directory named {directory}")]
    OtherDirectory { id: String, directory: String },
    /// A migration's parent is not there.
    #[error("migration {id} follows {parent}, which is not there")]
    ParentMissing { id: String, parent: String },
    /// A migration does not begin where its parent ends.
    #[error("migration {id} does not begin at the schema that {parent} leads to")]
    BrokenChain { id: String, parent: String },
    /// The lock file belongs to another set of migrations.
    #[error("schemadiff.lock ends with {head}, the migrations end with {newest}")]
    LockHead {
        /// The id of the migration that the lock file ends with, or "no migration".
        head: String,
        /// The id of the newest migration that is there, or "no migration".
        newest: String,
    },
    /// The lock file is not what the newest migration leads to.
    #[error("schemadiff.lock holds another schema than {newest} leads to")]
    LockEdited {
        /// The id of the newest migration.
        newest: String,
    },
    /// The lock file cannot be used.
    #[error("schemadiff.lock cannot be read: {cause}")]
    LockMalformed { cause: String },
    /// The migrations are for another engine.
    #[error("the migrations are written for {plans}, the database is {database}")]
    OtherDialect {
        /// The engine that the migrations are written for.
        plans: Dialect,
        /// The engine of the database, or of the lock file that stands for it.
        database: Dialect,
    },
    /// The database applied another version of a migration.
    #[error("migration {id} was changed after it had been applied to this database")]
    HistoryRewritten { id: String },
    /// A program with tables and without migrations.
    #[error("{app} carries no migrations, but its structs declare tables: {tables}")]
    NoMigrations {
        app: String,
        /// Their names.
        tables: String,
    },
    /// The database went another way.
    #[error("this database applied {applied} after {parent}, these migrations continue with {ours}")]
    HistoryForked {
        /// The id of the last migration that both have, or "the empty schema".
        parent: String,
        /// The id of the migration that the database applied after it.
        applied: String,
        /// The id of the one that follows it here.
        ours: String,
    },

    /// The structs of this program are no schema.
    #[error("the structs of this program declare no schema: {cause}")]
    OwnSchema { cause: String },
    /// A program that would count as one that uses nothing, so that nobody would wait for it.
    #[error("no struct of {app} declares a table, while its migrations make tables")]
    NothingDeclared { app: String },
    /// No address was given.
    #[error("no database is named")]
    NoAddress,
    /// The address is of no known form.
    #[error("the database address is of no known form")]
    Address,
    /// A migration is about more than a tenant's schema.
    #[error("migration {migration} cannot be carried out for a tenant: it is about {what}, which tenants share")]
    NotForTenant {
        migration: String,
        /// Table, schema or extension.
        what: String,
    },
    /// The tenant's schema is not there.
    #[error("there is no schema {schema:?} in the database of the address")]
    NoTenant {
        /// As the address names it.
        schema: String,
    },
    /// The address names a schema that can be no tenant's.
    #[error("the address names the schema {schema:?}, which can be no tenant's: {problem}")]
    TenantSchema {
        /// As it was named.
        schema: String,
        problem: String,
    },
    /// The engine's driver was not compiled in.
    #[error("this program was built without support for {dialect}")]
    EngineMissing {
        /// The engine of the address; the feature that it needs has the same name.
        dialect: Dialect,
    },
    /// No connection.
    #[error("cannot connect to {address}: {cause}")]
    Connect {
        /// Where to, without the password.
        address: String,
        cause: String,
        /// Whether the server is there and says that it is being started, ended or recovered.
        not_yet: bool,
    },
    /// A server that is not supported.
    #[error("the server of {address} is too old: it is version {found}, schemadiff needs {oldest} or newer")]
    ServerTooOld {
        /// Where it is, without the password.
        address: String,
        /// Its major version.
        found: u32,
        /// The oldest one that will do.
        oldest: u32,
    },
    /// A ledger of a newer schemadiff.
    #[error("the ledger in this database has format {found}, this version knows up to {newest}")]
    LedgerTooNew {
        /// The format number of the ledger.
        found: i64,
        /// The newest format number that this version knows.
        newest: i64,
    },
    /// A right is missing.
    #[error("no right to {action}: {cause}")]
    Forbidden {
        /// What was to be done; an infinitive.
        action: String,
        cause: String,
        /// What gives the right: the GRANT statements, or what to change about the file.
        grant: String,
    },
    /// The address leads to a standby.
    #[error("the database takes no writes, it is a standby: it was to {doing}: {cause}")]
    ReadOnly {
        /// What it was to do; an infinitive.
        doing: String,
        cause: String,
    },
    /// The connection broke, and did not come back in time.
    #[error("the connection to the database broke: it was to {doing}: {cause}")]
    ConnectionLost {
        /// What it was to do; an infinitive.
        doing: String,
        code: String,
        cause: String,
    },
    /// The server failed.
    #[error("the database failed to {doing}: {cause}")]
    Database {
        /// What it was to do; an infinitive.
        doing: String,
        code: String,
        cause: String,
    },

    /// This version was retired.
    #[error("{app} {version} is retired in this database since step {step} of migration {migration} was {}: {reason}", done_or_undone(*taken_back))]
    Retired {
        app: String,
        version: String,
        migration: String,
        step: String,
        /// Whether that step was taken back by an abort, not carried out.
        taken_back: bool,
        /// What the version lacks since then, in words.
        reason: String,
    },
    /// The database does not serve this code and nothing that is known would change that.
    #[error("the database does not serve {app} {version}: {}", list(reasons))]
    NotServed { app: String, version: String, reasons: Vec<Reason> },
    /// A plan counts on compatibility views that some connection of the old version does not see.
    #[error(
        "step {step} of migration {migration} was not begun: it counts on views for the old version, and not every connection of it has them: {}",
        against.join("; ")
    )]
    NotBehindViews {
        migration: String,
        step: String,
        /// Who has none, in words.
        against: Vec<String>,
    },
    /// The hook was asked for a connection to a standby, and nobody had said that there would be such.
    #[error(
        "a connection of {app} goes to a standby, where the gate on the primary cannot see it: it was not let in, because its version could be left behind while it lives"
    )]
    OnStandby { app: String },
    /// A standby does not know the instance yet.
    #[error(
        "a connection of {app} was not let in: the standby that it goes to has not replayed the registration of this instance yet"
    )]
    StandbyBehind { app: String },
    /// Abort after contract has begun.
    #[error("migration {id} cannot be taken back: its contract phase has begun with step {step}")]
    AbortAfterContract {
        id: String,
        /// The id of the contract step that has begun.
        step: String,
    },
    /// A step that loses data when it is taken back.
    #[error("migration {id} cannot be taken back: no way back has {}{}", steps.join(", "), still_kept(kept))]
    NotUndoable {
        id: String,
        /// The ids of all steps that have none.
        steps: Vec<String>,
        /// What its other steps have set aside, in words.
        kept: Vec<String>,
    },
    /// What would come back has been dropped for good.
    #[error(
        "the contract phase of migration {id} cannot be taken back: what step {step} had set aside is gone for good"
    )]
    Purged { id: String, step: String },
    /// Nothing is kept that could come back.
    #[error("nothing is kept in this database that could come back")]
    NothingKept,
    /// Nothing to abort.
    #[error("migration {id} {problem}")]
    NothingToAbort { id: String, problem: String },
    /// No lease of that name.
    #[error("there is no lease of {app}/{instance}")]
    NoSuchInstance {
        app: String,
        /// The name that was given.
        instance: String,
    },
    /// Only the dead can be retired.
    #[error("{app}/{instance} is alive: it runs as process {pid} on {host} and gave a sign of life {seconds} s ago")]
    InstanceAlive {
        app: String,
        /// Its name.
        instance: String,
        /// Where it runs.
        host: String,
        /// Its process there.
        pid: i64,
        /// Age of its last heartbeat.
        seconds: i64,
    },
    /// Pause, resume or speed without a ledger.
    #[error("no migration has been applied to this database: there is nothing to pause, resume or slow down")]
    NothingToPace,
    /// The database is not where the plan begins.
    #[error("migration {id} begins at schema {expected}, this database is at {found}")]
    WrongStart {
        id: String,
        /// The fingerprint of the schema that the migrations count on, shortened.
        expected: String,
        /// The fingerprint of the schema that the database is at, shortened.
        found: String,
    },

    /// Rows are there that a step would fail on, or taking one back.
    #[error("migration {id} stays as it is, because a step would fail on what is there: {}", listed(rows))]
    BadRows { id: String, rows: Box<[BadRows]> },
    /// A statement failed.
    #[error("step {step} of migration {migration} failed: {cause}{}", found(rows))]
    StepFailed {
        migration: String,
        step: String,
        /// The rows that it failed on, as far as they could be found.
        rows: Box<[BadRows]>,
        /// The SQL of the statement.
        statement: Box<str>,
        code: Box<str>,
        cause: String,
    },
    /// The locks could not be had.
    #[error("step {step} of migration {migration} did not get its locks in {attempts} attempts{}", by(blockers))]
    LockNotHad {
        migration: String,
        step: String,
        /// How often it was tried.
        attempts: u32,
        blockers: Vec<Blocker>,
    },
    /// Rows stayed unfilled.
    #[error("step {step} of migration {migration} ended with {remaining} rows not filled{}", such_as(keys))]
    BackfillIncomplete {
        migration: String,
        step: String,
        /// The number of rows that are still to be filled.
        remaining: u64,
        /// The keys of some of them.
        keys: Vec<String>,
    },
    /// One row cannot be filled.
    #[error("step {step} of migration {migration} cannot fill the row of {table} with {key}: {cause}")]
    BackfillRow {
        migration: String,
        step: String,
        /// The table.
        table: String,
        /// The row's key.
        key: String,
        cause: String,
    },
    /// The expression gives NULL for a column that is to become NOT NULL.
    #[error(
        "step {step} of migration {migration} gives NULL to a column of {table} that is to be NOT NULL{}",
        such_as(keys)
    )]
    BackfillNull {
        migration: String,
        step: String,
        /// The table.
        table: String,
        /// The number of rows that are still to be filled.
        remaining: u64,
        /// The keys of some of them.
        keys: Vec<String>,
    },
    /// What the engine does not look into would fail from now on; the step was taken back.
    #[error(
        "step {step} of migration {migration} would break what uses the table, so nothing of it was done: {}",
        objects.join("; ")
    )]
    WouldBreak { migration: String, step: String, objects: Vec<String> },
    /// Somebody has taken a migration back while this process waited at its gate.
    #[error("migration {migration} was taken back with `abort` while this process waited for its contract phase")]
    AbortedMeanwhile { migration: String },
    /// Two columns that triggers keep in step hold values of which neither is what the other says.
    #[error(
        "{column} is not in step with the column it replaces in {differ} of {rows} rows that step {step} of \
         migration {migration} compared{}",
        such_as(keys)
    )]
    NotInStep {
        migration: String,
        step: String,
        /// Table and column.
        column: String,
        /// Rows that differ.
        differ: u64,
        /// Rows that were looked at.
        rows: u64,
        /// The keys of some that differ.
        keys: Vec<String>,
    },
    /// Only the application can give the values.
    #[error(
        "step {step} of migration {migration} waits for the application: its function `{function}` gives the values of {table}"
    )]
    NeedsApplication {
        migration: String,
        step: String,
        /// The table.
        table: String,
        /// The function's name.
        function: String,
    },
    /// Rows were kept aside.
    #[error("step {step} of migration {migration} could not fill {kept} rows of {table}{}", kept_aside(rows))]
    BackfillAside {
        migration: String,
        step: String,
        /// The table.
        table: String,
        /// How many rows are kept aside.
        kept: usize,
        /// Whether they were too many, so that it did not go on.
        too_many: bool,
        /// The keys of some of them, each with the reason.
        rows: Box<[(String, String)]>,
    },
    /// What is to be filled is gone.
    #[error(
        "step {step} of migration {migration} finds no longer what it fills, {table} was changed or dropped: {cause}"
    )]
    BackfillTarget {
        migration: String,
        step: String,
        /// The table.
        table: String,
        cause: String,
    },
    /// The disk is full.
    #[error("step {step} of migration {migration} stopped because the database has no space left: {cause}")]
    NoSpace { migration: String, step: String, code: String, cause: String },
    /// The server took the statement but its work is not there.
    #[error("step {step} of migration {migration} ran, but its result is not there")]
    NotDone { migration: String, step: String },
    /// A step goes through a table while everybody waits, and the table is not small.
    #[error(
        "step {step} of migration {migration} was not begun, everybody would wait while it goes through a table: {}",
        listed(rows)
    )]
    Large {
        migration: String,
        step: String,
        /// Which, and how large.
        rows: Box<[BadRows]>,
    },
    /// Taking it back would lose data, and nobody has said that it may go.
    #[error("migration {id} was not taken back, because data would be lost with it\n{}", losses_listed(losses))]
    WouldLose {
        id: String,
        /// What, by the name under which it is acknowledged, and some of the rows, or why they could not be read.
        losses: Box<[BadRows]>,
    },
    /// Something that is not the step's own has the name that it needs.
    #[error("step {step} of migration {migration} was not begun, the name it needs belongs to something else: {what}")]
    NameTaken {
        migration: String,
        step: String,
        /// What has the name.
        what: String,
    },
    /// A rebuild left rows without their parents.
    #[error(
        "step {step} of migration {migration} would leave {violations} rows without the row they refer to{}",
        found(rows)
    )]
    ForeignKeys {
        migration: String,
        step: String,
        /// Some of them, as far as they could be found.
        rows: Box<[BadRows]>,
        /// The number of rows whose parent row is missing.
        violations: u64,
    },
    /// What was set aside cannot be dropped.
    #[error("{what}, which was set aside, cannot be dropped: {cause}")]
    NotPurged { what: String, code: String, cause: String },
    /// Somebody else took over.
    #[error("another process has taken over the migrations of this database")]
    LostWork,

    /// The gate stayed closed.
    #[error("step {step} of migration {migration} waits for {}", holders_text(holders))]
    GateClosed {
        migration: String,
        step: String,
        holders: Vec<Holder>,
        /// It is to be taken back.
        back: bool,
    },
    /// What was asked for waits for the contract phase of an earlier migration, which was not.
    #[error("{}", queued.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Behind { queued: Vec<Queued> },
    /// Another process migrates and the deadline passed.
    #[error("another process is migrating this database: {holder}")]
    WorkerBusy {
        /// The process, in words.
        holder: String,
    },
    /// The state did not come to serve this version before the deadline.
    #[error("the database did not come to serve {app} {version} in time: {}", list(reasons))]
    NotServedInTime { app: String, version: String, reasons: Vec<Reason> },

    /// The ledger holds what no version of this tool has written.
    #[error("the ledger cannot be understood: {cause}")]
    LedgerDamaged { cause: String },
    /// A plan does not fit the schema it was made for.
    #[error("the ledger and the plans contradict each other: {cause}")]
    Contradiction { cause: String },

    /// The database lives in the memory of one connection.
    #[error("a database in memory belongs to one connection, and migrations are carried out through another")]
    InMemory,
    /// Diesel was asked to revert a step.
    #[error("migration {migration} is not taken back step by step through Diesel")]
    NotThroughDiesel { migration: String },
    /// The thread that works for callers without an async runtime.
    #[error("the thread that carries out migrations cannot go on: {cause}")]
    Thread { cause: String },

    /// Stopped on request.
    #[error("stopped on request; what was done is recorded, and the next run goes on from there")]
    Interrupted,
}

impl Error {
    /// Whether it is about the connection, and another one may do better.
    pub(crate) fn is_connection(&self) -> bool {
        matches!(self, Self::ConnectionLost { .. } | Self::Connect { .. })
    }

    /// Whether waiting may mend it: another connection, or another moment. The codes are those of PostgreSQL for a lock that is
    /// not had, a statement that was cancelled for it and a server that starts or stops, and SQLite's for a file in use.
    pub(crate) fn may_pass(&self) -> bool {
        let passing = |code: &str| {
            matches!(code, "55P03" | "40P01" | "40001" | "57P01" | "57P02" | "57P03" | "53300")
                || (code.len() < 5 && code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6)))
        };
        self.is_connection() || matches!(self, Self::Database { code, .. } if passing(code))
    }

    /// The exit code that the command-line tool ends with: the first two digits of [`Error::code`], 130 for 13.
    pub fn exit_code(&self) -> u8 {
        match self.code().as_bytes() {
            [b'S', b'D', b'1', b'3', ..] => 130,
            [b'S', b'D', b'1', b'0', ..] => 10,
            [b'S', b'D', b'0', digit, ..] => digit - b'0',
            _ => 9,
        }
    }
}

/// Rows that a step fails on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BadRows {
    /// The step.
    pub step: String,
    /// What is wrong with them, as [`crate::plan::Probe::finds`] says it.
    pub finds: String,
    /// Some of them, each told by its key; or what the server said of a value.
    pub rows: Vec<String>,
}

/// What a program prints whose `main` returns it: its words with its code, and what to do.
impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {self}", self.code())?;
        self.help().iter().try_for_each(|help| write!(f, "\n  help: {help}"))
    }
}
