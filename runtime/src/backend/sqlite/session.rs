//! One connection to a SQLite file.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteRow},
};

use tokio::sync::watch;

use super::{broken, errors::classify, hanging, leases, schema, triggers::has_a_say, values};
use crate::{
    backend::{
        Backend, Cell, DbError, DbResult, ErrorClass, Lease, LedgerSql, Registered, Retired, Settled, TextRow,
        Timeouts, Unhooked, UserTriggers, Within, within,
    },
    error::{Error, Result},
    model::{Dialect, ObjectName},
    waiting::{Blocker, Evidence, Strangers},
};

/// Longest wait for the file's write lock where the step sets none.
const BUSY: Duration = Duration::from_secs(5);

/// Instructions of SQLite's machine between two looks at whether a statement shall be cancelled: some microseconds.
const STEPS_BETWEEN: i32 = 10_000;

/// One connection.
pub struct Sqlite {
    connection: SqliteConnection,
    options: SqliteConnectOptions,
    /// Opened for rebuilds: pragmas are put back when it is closed.
    for_rebuild: bool,
    stop: Option<watch::Receiver<bool>>,
    /// A statement runs that may be cancelled.
    may_cancel: Arc<AtomicBool>,
    /// No trigger fires for the transaction that runs.
    without_triggers: bool,
}

fn texts(row: &SqliteRow) -> DbResult<TextRow> {
    (0..row.len())
        .map(|at| {
            // Key columns may be of any type; what the ledger's own queries return is text already.
            row.try_get_unchecked::<Option<String>, _>(at).map_err(|e| DbError {
                class: ErrorClass::Other,
                code: String::new(),
                message: format!("column {} is no text: {e}", at + 1),
            })
        })
        .collect()
}

impl Sqlite {
    async fn open(options: &SqliteConnectOptions, for_rebuild: bool) -> Result<Self> {
        let address = || format!("sqlite:{}", options.get_filename().display());
        let refused = |cause: String| Error::Connect { address: address(), cause, not_yet: false };
        let connection = options.connect().await.map_err(|e| refused(e.to_string()))?;
        Ok(Self {
            connection,
            options: options.clone(),
            for_rebuild,
            stop: None,
            may_cancel: Arc::default(),
            without_triggers: false,
        })
    }

    /// Why the version is retired, if it is.
    pub(super) async fn retired(&mut self, app: &str, version: &str) -> DbResult<Option<Retired>> {
        let rows = self.rows(super::RETIRED, &[Some(app), Some(version)]).await?;
        let text = rows.into_iter().next().and_then(|mut row| row.pop().flatten());
        text.map(|text| {
            serde_json::from_str(&text).map_err(|e| DbError {
                class: ErrorClass::Other,
                code: String::new(),
                message: format!("a retired version cannot be read: {e}"),
            })
        })
        .transpose()
    }

    async fn busy_timeout(&mut self, wait: Duration) -> DbResult<()> {
        let wait = if wait.is_zero() { BUSY } else { wait };
        self.raw(&format!("PRAGMA busy_timeout = {}", wait.as_millis())).await.map(drop)
    }

    /// Before the transaction ends: no statement after it may do without triggers.
    async fn with_triggers(&mut self) -> DbResult<()> {
        if self.without_triggers {
            super::triggers::fire(&mut self.connection, true).await?;
            self.without_triggers = false;
        }
        Ok(())
    }

    async fn raw(&mut self, sql: &str) -> DbResult<u64> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await.map_err(|e| classify(&e))?;
        Ok(done.rows_affected())
    }
}

impl Backend for Sqlite {
    type Target = SqliteConnectOptions;
    const DIALECT: Dialect = Dialect::Sqlite;
    const SESSION_LOCKS: bool = false;
    const SIZE: &str = "SELECT CAST(p.page_count * s.page_size AS TEXT) FROM pragma_page_count p, pragma_page_size s";
    const SQL: LedgerSql = LedgerSql {
        prefix: "_schemadiff_",
        now: "strftime('%Y-%m-%d %H:%M:%f', 'now')",
        epoch_ms: "CAST(round((julianday({}) - 2440587.5) * 86400000) AS INTEGER)",
        object: "json_object",
        array: "json_group_array(json(j))",
        json: "json({})",
        empty: "json('[]')",
        texts: "(SELECT k.value FROM json_each({}) k)",
        server: None,
        user: "'a process'",
        rights: "give this process the right to write the database file and its directory, and leave `mode=ro` out of its address",
        signals: "none is needed",
    };

    fn target(url: &str) -> Result<SqliteConnectOptions> {
        url.parse().map_err(|_| Error::Address)
    }

    async fn connect(target: &SqliteConnectOptions) -> Result<Self> {
        Self::open(target, false).await
    }

    async fn connect_for_rebuild(target: &SqliteConnectOptions) -> Result<Self> {
        // Inside a transaction the pragma does nothing and says nothing, and the rebuild would empty referring tables.
        let mut db = Self::open(&target.clone().foreign_keys(false), true).await?;
        let setting = db.is_true("PRAGMA foreign_keys").await.and_then(|on| if on { Err(stays_on()) } else { Ok(()) });
        let legacy = match setting {
            Ok(()) => db.raw("PRAGMA legacy_alter_table = ON").await.map(drop),
            Err(e) => Err(e),
        };
        match legacy {
            Ok(()) => Ok(db),
            Err(e) => {
                let doing = "prepare a connection for a rebuild".to_owned();
                Err(Error::Database { doing, code: e.code, cause: e.message })
            }
        }
    }

    fn connected_to(&self) -> &SqliteConnectOptions {
        &self.options
    }

    fn literal(text: &str) -> String {
        format!("'{}'", text.replace('\'', "''"))
    }

    fn cell(ty: &str, text: Option<String>) -> Cell {
        text.map_or(Cell::Null, |text| values::cell(ty, &text))
    }

    fn value(ty: &str, given: serde_json::Value) -> std::result::Result<serde_json::Value, String> {
        values::value(ty, given)
    }

    async fn stop_when(&mut self, stop: watch::Receiver<bool>) {
        let (told, may_cancel) = (stop.clone(), Arc::clone(&self.may_cancel));
        match self.connection.lock_handle().await {
            Ok(mut handle) => {
                handle.set_progress_handler(STEPS_BETWEEN, move || {
                    !(may_cancel.load(Ordering::Relaxed) && *told.borrow())
                });
                self.stop = Some(stop);
            }
            Err(error) => tracing::debug!(%error, "statements here end by themselves only"),
        }
    }

    async fn close(mut self) {
        if self.for_rebuild {
            for pragma in ["PRAGMA legacy_alter_table = OFF", "PRAGMA foreign_keys = ON"] {
                if let Err(error) = self.raw(pragma).await {
                    tracing::debug!(%error, pragma, "putting a setting back failed, it goes with the connection");
                }
            }
        }
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "closing a connection failed");
        }
    }

    async fn begin(&mut self, timeouts: Timeouts) -> DbResult<()> {
        self.busy_timeout(timeouts.lock).await?;
        self.raw("BEGIN IMMEDIATE").await.map(drop)
    }

    async fn begin_batch(&mut self, timeouts: Timeouts, triggers: UserTriggers<'_>) -> DbResult<()> {
        self.begin(timeouts).await?;
        if triggers.fire {
            return Ok(());
        }
        match super::triggers::fire(&mut self.connection, false).await {
            Ok(()) => self.without_triggers = true,
            Err(e) => {
                self.rollback().await;
                return Err(e);
            }
        }
        Ok(())
    }

    async fn commit(&mut self) -> DbResult<()> {
        self.with_triggers().await?;
        self.raw("COMMIT").await.map(drop)
    }

    async fn rollback(&mut self) {
        if let Err(error) = self.with_triggers().await {
            tracing::debug!(?error, "triggers stay off, the connection is lost");
        }
        if let Err(error) = self.raw("ROLLBACK").await {
            tracing::debug!(%error, "rolling back failed");
        }
    }

    async fn session_timeouts(&mut self, timeouts: Timeouts) -> DbResult<()> {
        self.busy_timeout(timeouts.lock).await
    }

    async fn execute(&mut self, sql: &str) -> DbResult<u64> {
        let may_cancel = self.stop.as_ref().is_some_and(|stop| !*stop.borrow());
        self.may_cancel.store(may_cancel, Ordering::Relaxed);
        let done = self.raw(sql).await;
        self.may_cancel.store(false, Ordering::Relaxed);
        done
    }

    async fn run(&mut self, sql: &str, params: &[Option<&str>]) -> DbResult<u64> {
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for param in params {
            query = query.bind(param.map(ToOwned::to_owned));
        }
        let done = query.execute(&mut self.connection).await.map_err(|e| classify(&e))?;
        Ok(done.rows_affected())
    }

    async fn rows(&mut self, sql: &str, params: &[Option<&str>]) -> DbResult<Vec<TextRow>> {
        self.rows_within(sql, params, usize::MAX).await.map(|within| within.rows)
    }

    async fn rows_within(&mut self, sql: &str, params: &[Option<&str>], most: usize) -> DbResult<Within> {
        let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(!params.is_empty());
        for param in params {
            query = query.bind(param.map(ToOwned::to_owned));
        }
        within(query.fetch(&mut self.connection), texts, most).await.map_err(|e| classify(&e))?
    }

    async fn is_true(&mut self, sql: &str) -> DbResult<bool> {
        let row =
            sqlx::raw_sql(AssertSqlSafe(sql)).fetch_optional(&mut self.connection).await.map_err(|e| classify(&e))?;
        let Some(row) = row else { return Ok(false) };
        Ok(row.try_get_unchecked::<Option<i64>, _>(0).map_err(|e| classify(&e))?.is_some_and(|value| value != 0))
    }

    async fn update_triggers(&mut self, table: &ObjectName, columns: &[&str]) -> DbResult<Vec<String>> {
        let sql = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND lower(tbl_name) = lower($1) \
                   AND substr(name, 1, 12) <> '_schemadiff_' ORDER BY name";
        let rows = self.rows(sql, &[Some(&table.name)]).await?;
        let named = rows.into_iter().filter_map(|row| {
            let [Some(name), Some(sql)] = row.as_slice() else { return None };
            has_a_say(sql, columns).then(|| name.clone())
        });
        Ok(named.collect())
    }

    async fn is_there(&mut self, table: &ObjectName) -> DbResult<bool> {
        let sql = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND lower(name) = lower($1)";
        Ok(!self.rows(sql, &[Some(&table.name)]).await?.is_empty())
    }

    async fn look(&mut self, sql: &str, limit: Duration) -> DbResult<Vec<TextRow>> {
        let (end, told) = (Instant::now() + limit, self.stop.clone());
        if let Ok(mut handle) = self.connection.lock_handle().await {
            let stopped = move || told.as_ref().is_some_and(|stop| *stop.borrow());
            handle.set_progress_handler(STEPS_BETWEEN, move || Instant::now() < end && !stopped());
        }
        let rows = self.rows(sql, &[]).await;
        match self.stop.clone() {
            Some(stop) => self.stop_when(stop).await,
            None => {
                if let Ok(mut handle) = self.connection.lock_handle().await {
                    handle.remove_progress_handler();
                }
            }
        }
        rows
    }

    fn is_about_rows(error: &DbError) -> bool {
        // SQLITE_CONSTRAINT and SQLITE_MISMATCH, by the low byte of an extended code; what a function says of a value bears the
        // same code as a name that does not exist.
        error.code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 19 | 20))
            || ["malformed JSON", "integer overflow", "JSON path"].iter().any(|words| error.message.contains(words))
    }

    fn take_blockers(&mut self) -> Vec<Blocker> {
        Vec::new()
    }

    async fn old_transactions(&mut self) -> DbResult<Vec<Blocker>> {
        Ok(Vec::new())
    }

    async fn strangers(&mut self, _tables: &[String]) -> DbResult<Strangers> {
        Ok(Strangers::default()) // a file knows nobody who has it open
    }

    async fn end_sessions(&mut self, _lease: &Lease, _grace_ms: i64) -> DbResult<(i64, i64)> {
        Ok((0, 0)) // a process that is gone has none
    }

    async fn sessions_without_hook(&mut self, _apps: &[String]) -> DbResult<Vec<Unhooked>> {
        Ok(Vec::new())
    }

    #[cfg(feature = "diesel")]
    async fn recorded_by_diesel(&mut self) -> DbResult<Vec<String>> {
        super::diesel::recorded(self).await
    }

    async fn foreign_key_violations(&mut self, tables: &[String]) -> DbResult<u64> {
        let mut checked = tables.to_vec();
        for table in tables {
            let children = "SELECT m.name FROM sqlite_schema m, pragma_foreign_key_list(m.name) f \
                            WHERE m.type = 'table' AND m.sql NOT LIKE 'CREATE VIRTUAL%' \
                            AND lower(f.\"table\") = lower($1)";
            checked.extend(self.rows(children, &[Some(table)]).await?.into_iter().flatten().flatten());
        }
        checked.sort();
        checked.dedup();
        let mut violations = 0;
        for table in checked {
            // A table that the step has dropped has nothing to check, and the check of a missing table is an error.
            let there = "SELECT name FROM sqlite_schema WHERE type = 'table' AND lower(name) = lower($1)";
            if self.rows(there, &[Some(&table)]).await?.is_empty() {
                continue;
            }
            let sql = "SELECT CAST(count(*) AS TEXT) FROM pragma_foreign_key_check($1)";
            let rows = self.rows(sql, &[Some(&table)]).await?;
            let count = rows.first().and_then(|row| row.first()).and_then(|cell| cell.as_deref()?.parse::<u64>().ok());
            violations += count.unwrap_or_default();
        }
        Ok(violations)
    }

    async fn hanging(&mut self) -> DbResult<Vec<[String; 3]>> {
        let rows = self.rows(hanging::TRIGGERS, &[]).await?;
        Ok(hanging::read(rows.first().and_then(|row| row.first()?.as_deref())))
    }

    async fn restore(&mut self, hanging: &[[String; 3]]) -> DbResult<()> {
        for [name, table, definition] in hanging {
            let rows = self.rows(hanging::IS_GONE, &[Some(name), Some(table)]).await?;
            if rows.first().and_then(|row| row.first()?.as_deref()) == Some("1") {
                self.execute(definition).await?;
            }
        }
        Ok(())
    }

    async fn broken(&mut self) -> DbResult<BTreeSet<String>> {
        broken::find(self).await
    }

    async fn create_ledger(&mut self) -> Result<()> {
        schema::create(self).await
    }

    fn evidence(&self) -> Evidence {
        Evidence::Process
    }

    async fn try_work_lock(&mut self) -> DbResult<bool> {
        Ok(true)
    }

    async fn release_work_lock(&mut self) {}

    async fn try_gate(&mut self) -> DbResult<bool> {
        // The write transaction is the gate: registration needs one too.
        Ok(true)
    }

    async fn claim_version(&mut self, _app: &str, _version: &str) -> DbResult<bool> {
        Ok(true)
    }

    async fn leases(&mut self) -> DbResult<Vec<Lease>> {
        leases::read(self).await
    }

    async fn register_settled(&mut self, lease: &Lease, known: &str, _ledger: &str) -> DbResult<Settled> {
        leases::register_settled(self, lease, known).await
    }

    async fn register(&mut self, lease: &Lease, epoch: i64) -> DbResult<Registered> {
        leases::register(self, lease, epoch).await
    }

    async fn leave(&mut self, lease: &Lease) -> DbResult<()> {
        leases::end(self, lease).await
    }
}

fn stays_on() -> DbError {
    DbError {
        class: ErrorClass::Other,
        code: String::new(),
        message: "foreign_keys cannot be turned off here, so a table cannot be rebuilt without losing rows".to_owned(),
    }
}
