//! The SQL spoken while a migration is carried out: the ledger, locks, leases, and which errors are worth a retry.
//!
//! One [`Backend`] is one connection. The executor is generic over it and knows no engine's name; what differs between
//! engines is in the folders of the same file names.

pub mod aside;
pub mod kept;
pub mod ledger;
pub mod pace;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "sqlite", feature = "sqlite-unbundled"))]
pub mod sqlite;

mod cell;
mod process;
mod records;
mod signals;
mod within;

use std::{collections::BTreeSet, fmt, future::Future, time::Duration};

pub use aside::Aside;
pub use cell::Cell;
pub use process::{Process, random_name};
pub use records::{
    Identity, KeptRow, LEDGER_FORMAT, Lease, Ledger, MigrationRow, MigrationState, Pacing, Retired, RetiredByHand,
    StepRow, StepState, Worker,
};
pub use signals::{Limits, Reading, Signals};
pub use within::Within;
use within::within;

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::{
    error::Result,
    model::{Dialect, ObjectName, hex},
    plan::{Lock, Plan, Way},
    waiting::{Blocker, Evidence, Strangers},
};

/// What a failed statement means for the executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// A lock was not had in time: the transaction is tried again.
    LockTimeout,
    /// Deadlock or serialization failure: the transaction is tried again.
    Deadlock,
    /// The statement timeout: never tried again for a step, halves a batch.
    Cancelled,
    /// A right is missing.
    Forbidden,
    /// A table or schema of the ledger is not there.
    Missing,
    /// The database takes no writes: it is a standby.
    ReadOnly,
    /// The connection is gone.
    Connection,
    /// A value that cannot be computed or stored: a constraint, a division by zero, an exception that a trigger raised.
    Data,
    /// The disk is full.
    Full,
    /// The server gave what was asked for, and it is not what this tool writes.
    Unreadable,
    /// Anything else: a mistake in the plan.
    Other,
}

impl ErrorClass {
    /// Whether the same transaction may succeed when it is tried again.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::LockTimeout | Self::Deadlock)
    }

    /// Whether a statement can have failed because of one of its rows. A function or a trigger may raise what it likes, a
    /// missing table too.
    pub const fn may_be_a_row(self) -> bool {
        matches!(self, Self::Data | Self::Missing | Self::Forbidden | Self::Other)
    }
}

/// A failed statement.
#[derive(Debug, Clone)]
pub struct DbError {
    /// What it means.
    pub class: ErrorClass,
    /// SQLSTATE, or SQLite's extended result code.
    pub code: String,
    /// The server's words.
    pub message: String,
}

impl DbError {
    /// What the ledger holds cannot be understood.
    pub(crate) fn unreadable(what: &str, cause: impl fmt::Display) -> Self {
        Self { class: ErrorClass::Unreadable, code: String::new(), message: format!("{what}: {cause}") }
    }
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code.is_empty() { f.write_str(&self.message) } else { write!(f, "{} ({})", self.message, self.code) }
    }
}

/// Result of one statement.
pub type DbResult<T> = std::result::Result<T, DbError>;

/// A row with every cell as text.
pub type TextRow = Vec<Option<String>>;

/// How long a transaction's statements may wait and run; zero is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For each lock.
    pub lock: Duration,
    /// For each statement.
    pub statement: Duration,
}

impl Timeouts {
    /// For short work on the ledger.
    pub const LEDGER: Self = Self { lock: Duration::from_secs(2), statement: Duration::from_secs(15) };
    /// None at all.
    pub const NONE: Self = Self { lock: Duration::ZERO, statement: Duration::ZERO };
}

/// How a step comes by its locks.
#[derive(Debug, Clone, Copy)]
pub struct Approach<'l> {
    /// What the plan says that the step locks.
    pub locks: &'l [Lock],
    /// Whether it is carried out or taken back: what takes back locks more than what is taken back.
    pub way: Way,
    /// Waits longer, where nobody waits behind it: for those who give way to whoever has patience.
    pub patient: bool,
}

/// What came of [`Backend::register_settled`].
#[derive(Debug)]
pub enum Settled {
    /// The lease is registered.
    Registered,
    /// It is not; what the ledger says, where that was asked on the way.
    Not(Option<String>),
}

/// What became of an attempt to register a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// The lease is in the ledger and counts.
    Yes,
    /// The gate is held at this moment: try again.
    Busy,
    /// The state changed since the ledger was read: read it again.
    Changed,
    /// The version is retired.
    Retired(Retired),
    /// The connection goes to a standby that has not replayed the lease of its instance yet: try again.
    Behind,
    /// The connection goes to a standby, and the instance has not said that it uses such.
    OnStandby,
}

/// Who opens a connection.
#[derive(Debug, Clone, Copy)]
pub struct Entering<'e> {
    /// Application.
    pub app: &'e str,
    /// Version.
    pub version: &'e str,
    /// Its instance, where it has said that some of its connections go to standbys.
    pub on_standbys: Option<&'e str>,
    /// The schema of the ledger, where it is that of a tenant.
    pub ledger: Option<&'e str>,
}

/// What stands in the ledger for the migrations on record, so that one look tells whether they are the ones that a reader
/// knows, however many: the SHA-256 of the format and a line for each row, in the order of the ids' bytes.
pub fn digest<'r>(rows: impl Iterator<Item = Recorded<'r>>) -> String {
    let mut lines: Vec<String> = rows
        .map(|Recorded { id, parent, checksum, after, state }| {
            format!("{id} {} {checksum} {after} {state}", parent.unwrap_or("-"))
        })
        .collect();
    lines.sort_unstable();
    hex(&Sha256::digest(format!("{LEDGER_FORMAT}\n{}", lines.join("\n"))))
}

/// What of a migration's row goes into the [`digest`].
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'r> {
    /// Id.
    pub id: &'r str,
    /// The migration before it.
    pub parent: Option<&'r str>,
    /// Checksum of its plan.
    pub checksum: &'r str,
    /// Fingerprint of the schema after it.
    pub after: &'r str,
    /// State, as the ledger spells it.
    pub state: &'r str,
}

impl<'r> From<&'r MigrationRow> for Recorded<'r> {
    fn from(row: &'r MigrationRow) -> Self {
        Self {
            id: &row.id,
            parent: row.parent.as_deref(),
            checksum: &row.checksum,
            after: row.after.as_str(),
            state: row.state.as_str(),
        }
    }
}

/// A text literal of the engine.
#[cfg(feature = "diesel")]
pub(crate) fn literal(dialect: Dialect, text: &str) -> String {
    match dialect {
        #[cfg(feature = "postgres")]
        Dialect::Postgres => postgres::Postgres::literal(text),
        #[cfg(any(feature = "sqlite", feature = "sqlite-unbundled"))]
        Dialect::Sqlite => sqlite::Sqlite::literal(text),
        #[allow(unreachable_patterns)]
        _ => format!("'{}'", text.replace('\'', "''")),
    }
}

/// What differs between engines in the SQL that both speak on the ledger. `{}` stands for the argument.
#[derive(Debug, Clone, Copy)]
pub struct LedgerSql {
    /// What stands before a ledger table's name.
    pub prefix: &'static str,
    /// The server's clock.
    pub now: &'static str,
    /// A time as milliseconds since 1970.
    pub epoch_ms: &'static str,
    /// Name of the function that builds a JSON object from keys and values.
    pub object: &'static str,
    /// Gathers the column `j` into a JSON array.
    pub array: &'static str,
    /// Marks an expression as JSON, not text.
    pub json: &'static str,
    /// The empty JSON array.
    pub empty: &'static str,
    /// A subquery of the texts in a JSON array.
    pub texts: &'static str,
    /// What tells one life of a server from the next one, where a server's end ends the sessions of its clients.
    pub server: Option<&'static str>,
    /// The name of the connected user.
    pub user: &'static str,
    /// What to do about a missing right on the ledger.
    pub rights: &'static str,
    /// What to do about a missing right to end the sessions of others.
    pub signals: &'static str,
}

impl LedgerSql {
    /// A ledger table's name.
    pub fn table(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A time column as milliseconds.
    pub fn ms(&self, column: &str) -> String {
        self.epoch_ms.replace("{}", column)
    }

    /// An expression that is JSON.
    pub fn json(&self, expr: &str) -> String {
        self.json.replace("{}", expr)
    }
}

/// What becomes of the user's triggers while rows are filled.
#[derive(Debug, Clone, Copy, Default)]
pub struct UserTriggers<'a> {
    /// Some have a say. Where there are none, and a session can do without triggers, none fires.
    pub fire: bool,
    /// The trigger that puts back what they make of the rows.
    pub restored_by: Option<&'a str>,
    /// Triggers of the plan's own that need not look at the rows, as long as no trigger of the user's has a say.
    pub quiet: &'a [String],
}

/// A session that was not opened through the hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unhooked {
    /// The session.
    pub session: Blocker,
    /// How long it has been there, in milliseconds.
    pub age_ms: u64,
}

/// One connection to a database at deploy time.
///
/// Ledger operations that both engines can say in the same SQL are functions of [`ledger`].
pub trait Backend: Sized + Send + Sync + 'static {
    /// Where to connect to.
    type Target: Clone + Send + Sync + fmt::Debug + 'static;
    /// Engine.
    const DIALECT: Dialect;
    /// See [`LedgerSql`].
    const SQL: LedgerSql;
    /// A query for the bytes that the database takes on disk, as text.
    const SIZE: &str;
    /// Whether the engine has locks that live and die with a connection; where not, rows with a process and a heartbeat
    /// stand in.
    const SESSION_LOCKS: bool;

    /// Parses an address.
    ///
    /// # Errors
    /// For an address that is not one.
    fn target(url: &str) -> Result<Self::Target>;
    /// Connects.
    fn connect(target: &Self::Target) -> impl Future<Output = Result<Self>> + Send;
    /// Connects for [`crate::plan::Envelope::Rebuild`]; the same as [`Backend::connect`] where there is no such thing.
    fn connect_for_rebuild(target: &Self::Target) -> impl Future<Output = Result<Self>> + Send;
    /// Where this one is connected to.
    fn connected_to(&self) -> &Self::Target;
    /// The schema of the ledger, where it is that of a tenant and not the database's own.
    fn tenant_ledger(target: &Self::Target) -> Option<String> {
        let _ = target;
        None
    }
    /// What a plan is about that no tenant has for itself, in words; none where it may be carried out.
    fn shared_by(&self, plan: &Plan) -> Option<String> {
        let _ = plan;
        None
    }
    /// The plan with the statements as they are sent here: they are written for a database's own schema, and a tenant has another.
    fn placed(&self, plan: Plan) -> Plan {
        plan
    }
    /// A text literal.
    fn literal(text: &str) -> String;
    /// A value that was read for a function of the application, by its column's type.
    fn cell(ty: &str, text: Option<String>) -> Cell;
    /// What a function gave for a column of this type, as the plan's statement takes it.
    ///
    /// # Errors
    /// In words, when it cannot be a value of that type.
    fn value(ty: &str, given: serde_json::Value) -> std::result::Result<serde_json::Value, String>;
    /// From now on, a statement that runs when `stop` becomes true is cancelled ([`ErrorClass::Cancelled`]). What is begun
    /// afterwards is not: something has to be tidied up.
    fn stop_when(&mut self, stop: watch::Receiver<bool>) -> impl Future<Output = ()> + Send;
    /// Says good-bye.
    fn close(self) -> impl Future<Output = ()> + Send;

    /// Begins a transaction that will write.
    fn begin(&mut self, timeouts: Timeouts) -> impl Future<Output = DbResult<()>> + Send;
    /// Begins the transaction of one batch of a backfill. It is read by its key whatever the statistics say, and where a
    /// commit can be quick and be lost in a crash, it is: the cursor is lost with it.
    fn begin_batch(
        &mut self,
        timeouts: Timeouts,
        triggers: UserTriggers<'_>,
    ) -> impl Future<Output = DbResult<()>> + Send {
        let _ = triggers;
        self.begin(timeouts)
    }
    /// Takes the locks of a step, in the transaction that was begun for it with these timeouts: all of them before the first
    /// statement, and within the one time for which others may be kept waiting.
    fn approach(&mut self, approach: &Approach<'_>, timeouts: Timeouts) -> impl Future<Output = DbResult<()>> + Send {
        let _ = (approach, timeouts);
        async { Ok(()) }
    }
    /// Commits.
    fn commit(&mut self) -> impl Future<Output = DbResult<()>> + Send;
    /// Rolls back; an error here is the connection's and shows with the next statement.
    fn rollback(&mut self) -> impl Future<Output = ()> + Send;
    /// Sets the session's timeouts, for statements outside a transaction.
    fn session_timeouts(&mut self, timeouts: Timeouts) -> impl Future<Output = DbResult<()>> + Send;
    /// Runs one statement exactly as it is; returns the rows changed.
    fn execute(&mut self, sql: &str) -> impl Future<Output = DbResult<u64>> + Send;
    /// Runs one statement with text parameters; returns the rows changed.
    fn run(&mut self, sql: &str, params: &[Option<&str>]) -> impl Future<Output = DbResult<u64>> + Send;
    /// Runs one query with text parameters; without any, in one round trip.
    fn rows(&mut self, sql: &str, params: &[Option<&str>]) -> impl Future<Output = DbResult<Vec<TextRow>>> + Send;
    /// The same until the rows hold more than `most` bytes; the row that does so is the last one.
    fn rows_within(
        &mut self,
        sql: &str,
        params: &[Option<&str>],
        most: usize,
    ) -> impl Future<Output = DbResult<Within>> + Send;
    /// Runs one query in a transaction of its own that waits for no lock longer than a second and is given up
    /// ([`ErrorClass::Cancelled`]) after `limit`.
    fn look(&mut self, sql: &str, limit: Duration) -> impl Future<Output = DbResult<Vec<TextRow>>> + Send;
    /// Whether the error is about a value or a row that the statement met, not about the statement.
    fn is_about_rows(error: &DbError) -> bool;
    /// Runs a query without parameters for one boolean.
    fn is_true(&mut self, sql: &str) -> impl Future<Output = DbResult<bool>> + Send;

    /// The number of this connection's session on the server, where it has one of its own.
    fn session(&mut self) -> impl Future<Output = DbResult<Option<i64>>> + Send {
        async { Ok(None) }
    }
    /// The load on the server, but for the sessions in `own`.
    fn signals(&mut self, own: &[i64]) -> impl Future<Output = DbResult<Signals>> + Send {
        let _ = own;
        async { Ok(Signals::default()) }
    }
    /// Bytes that the database takes on disk.
    fn database_size(&mut self) -> impl Future<Output = DbResult<u64>> + Send {
        async {
            let rows = self.rows(Self::SIZE, &[]).await?;
            let size = rows.into_iter().flatten().flatten().next().and_then(|text| text.parse().ok());
            Ok(size.unwrap_or_default())
        }
    }
    /// The session that holds the work, where that is a lock that others can see.
    fn working_session(&mut self) -> impl Future<Output = DbResult<Option<i64>>> + Send {
        async { Ok(None) }
    }
    /// Ends the session that holds the work by a lock, if it has been sending nothing for that long: its process is stopped, and
    /// would hold the lock for ever. True when it did.
    fn end_idle_worker(&mut self, idle: Duration) -> impl Future<Output = DbResult<bool>> + Send {
        let _ = idle;
        async { Ok(false) }
    }
    /// How far the server says that a long statement of another session is: its phase, how much of it is done, and of how
    /// much. None when it says nothing.
    fn server_progress(&mut self, session: i64) -> impl Future<Output = DbResult<Option<(String, u64, u64)>>> + Send {
        let _ = session;
        async { Ok(None) }
    }
    /// The user's triggers that run when a batch changes these columns of the table, by name; where a batch can do without
    /// triggers, those that have something to say of these columns.
    fn update_triggers(
        &mut self,
        table: &ObjectName,
        columns: &[&str],
    ) -> impl Future<Output = DbResult<Vec<String>>> + Send;
    /// What would go with a table that is rebuilt although the plan says nothing of it: name, table and definition.
    fn hanging(&mut self) -> impl Future<Output = DbResult<Vec<[String; 3]>>> + Send {
        async { Ok(Vec::new()) }
    }
    /// Makes again what is gone of it while its table is there.
    fn restore(&mut self, _hanging: &[[String; 3]]) -> impl Future<Output = DbResult<()>> + Send {
        async { Ok(()) }
    }
    /// Views and triggers that cannot be used as they are, in words, where the engine does not keep them from becoming so.
    fn broken(&mut self) -> impl Future<Output = DbResult<BTreeSet<String>>> + Send {
        async { Ok(BTreeSet::new()) }
    }
    /// The sessions that the last lock timeout waited for, seen while it waited.
    fn take_blockers(&mut self) -> Vec<Blocker>;
    /// The sessions that another session waits for at this moment.
    fn held_up_by(&mut self, session: i64) -> impl Future<Output = DbResult<Vec<Blocker>>> + Send {
        let _ = session;
        async { Ok(Vec::new()) }
    }
    /// Transactions old enough to hold up a concurrent index build.
    fn old_transactions(&mut self) -> impl Future<Output = DbResult<Vec<Blocker>>> + Send;
    /// Clients without a lease that use the database, and those that have used these tables. Empty where the engine does not
    /// know its clients.
    fn strangers(&mut self, tables: &[String]) -> impl Future<Output = DbResult<Strangers>> + Send;
    /// Ends the sessions that a dead instance left open on the server; all of its version's, unless another instance of the
    /// version has shown life within the grace time. How many were ended, and how many were left.
    fn end_sessions(&mut self, lease: &Lease, grace_ms: i64) -> impl Future<Output = DbResult<(i64, i64)>> + Send;
    /// Sessions that cannot be told from those of these applications that came through the hook (same user, same
    /// application name), and did not. None where the engine has no sessions.
    fn sessions_without_hook(&mut self, apps: &[String]) -> impl Future<Output = DbResult<Vec<Unhooked>>> + Send;
    /// The versions in Diesel's table of migrations, wherever it is; none where there is no such table.
    #[cfg(feature = "diesel")]
    fn recorded_by_diesel(&mut self) -> impl Future<Output = DbResult<Vec<String>>> + Send;
    /// Whether there is a table of that name.
    fn is_there(&mut self, table: &ObjectName) -> impl Future<Output = DbResult<bool>> + Send;
    /// Rows whose parents are missing in these tables and the tables that refer to them; 0 where the engine enforces it.
    fn foreign_key_violations(&mut self, tables: &[String]) -> impl Future<Output = DbResult<u64>> + Send;

    /// Creates the ledger unless it is there; safe against others who do the same at the same time.
    fn create_ledger(&mut self) -> impl Future<Output = Result<()>> + Send;
    /// Whether this connection has a session of its own on the server, so that locks can live and die with it. A pooler that
    /// lends sessions for one transaction each takes that away. Known from [`Backend::try_work_lock`] and
    /// [`Backend::register`] on.
    fn evidence(&self) -> Evidence;
    /// Inside a transaction: takes the lock for the one process that works, without waiting; where there are no locks of a
    /// session, only against those who have such. The worker row is the ledger's business.
    fn try_work_lock(&mut self) -> impl Future<Output = DbResult<bool>> + Send;
    /// Gives it back.
    fn release_work_lock(&mut self) -> impl Future<Output = ()> + Send;
    /// Inside a transaction: closes the gate against registrations until its end, without waiting.
    fn try_gate(&mut self) -> impl Future<Output = DbResult<bool>> + Send;
    /// Inside a transaction: makes sure that no connection of the version exists and none can enter before the
    /// transaction's end. True where connections are no evidence.
    fn claim_version(&mut self, app: &str, version: &str) -> impl Future<Output = DbResult<bool>> + Send;
    /// All leases with what the server knows of their lives.
    fn leases(&mut self) -> impl Future<Output = DbResult<Vec<Lease>>> + Send;
    /// Registers a lease on this connection, in one act against the gate and in one round trip, where the ledger says just
    /// this (see [`digest`]), the version is not retired and the session is the client's own. Otherwise nothing happens,
    /// and [`Backend::register`] is the way.
    ///
    /// A backend may ask `ledger` on the way, the query of the whole ledger.
    fn register_settled(
        &mut self,
        lease: &Lease,
        known: &str,
        ledger: &str,
    ) -> impl Future<Output = DbResult<Settled>> + Send;
    /// Registers a lease on this connection, in one act against the gate, unless the ledger's epoch is another one.
    fn register(&mut self, lease: &Lease, epoch: i64) -> impl Future<Output = DbResult<Registered>> + Send;
    /// Ends a lease that was registered on this connection and gives back what was locked for it, in one round trip.
    fn leave(&mut self, lease: &Lease) -> impl Future<Output = DbResult<()>> + Send;
}
