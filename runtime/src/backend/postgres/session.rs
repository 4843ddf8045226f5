//! One connection to PostgreSQL.

use std::time::Duration;

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Row as _, ValueRef as _,
    postgres::{PgArguments, PgConnectOptions},
    query::Query,
};

use tokio::sync::watch;

use super::{
    GATE_KEY, WORK_KEY,
    errors::{self, classify, of_begin},
    leases,
    place::{self, Place},
    schema, settings, strangers,
    tenant::Tenant,
    texts::{plain_texts, texts},
    values,
    watch::{Lost, ServerProcess, Watcher, watched},
};
use crate::{
    backend::{
        Approach, Backend, Cell, DbError, DbResult, ErrorClass, Lease, LedgerSql, Registered, Settled, Signals,
        TextRow, Timeouts, Unhooked, UserTriggers, Within, within,
    },
    error::{Error, Result},
    model::{Dialect, ObjectName},
    plan::Plan,
    waiting::{Blocker, Evidence, Strangers},
};

/// A statement that takes longer than this may be waiting for a lock: somebody looks.
const WATCH_AFTER: Duration = Duration::from_millis(40);

/// A query that takes longer than this may be waiting for an answer that is lost.
const WATCH_QUERIES_AFTER: Duration = Duration::from_secs(5);

/// BEGIN, COMMIT and the like take longer than this only where the network no longer answers. A commit of which that is
/// wrong is found in the ledger by whoever goes on.
const PATIENCE: Duration = Duration::from_secs(180);

/// The oldest server that is supported.
const OLDEST: u32 = 140_000;

/// One connection.
pub struct Postgres {
    connection: PgConnection,
    place: Place,
    /// Server process of this connection, asked for when it is first needed.
    process: Option<ServerProcess>,
    watcher: Watcher,
    stop: Option<watch::Receiver<bool>>,
    /// Whether the session on the server is this connection's own; none as long as nobody has asked.
    own_session: Option<bool>,
    /// Whether the session has been told what role and database may have otherwise.
    settled: bool,
    in_transaction: bool,
    /// An answer has been given up: whatever is asked next would wait for it, too.
    lost: bool,
}

fn milliseconds(duration: Duration) -> u128 {
    duration.as_millis()
}

impl Postgres {
    async fn process(&mut self) -> DbResult<ServerProcess> {
        if let Some(process) = &self.process {
            return Ok(process.clone());
        }
        self.must_be_whole()?;
        let row = sqlx::raw_sql(ServerProcess::SQL).fetch_one(&mut self.connection).await;
        let process = row.and_then(|row| ServerProcess::of(&row)).map_err(|e| classify(&e))?;
        Ok(self.process.insert(process).clone())
    }

    /// The server's version, where it says so.
    pub(super) fn server(&self) -> Option<u32> {
        self.connection.server_version_num()
    }

    /// Whether the session on the server is this client's own, as an expression.
    pub(super) fn own_expression(&self) -> String {
        settings::own_expression(&self.place)
    }

    /// What a session of one's own is told, as an expression: for a statement that finds out whether it is one.
    pub(super) fn session_expression(&self) -> String {
        settings::session_expression(&self.place, self.server())
    }

    /// After a registration, which tells a session of its own its settings.
    pub(super) fn knows_session(&mut self, own: bool) {
        self.own_session = Some(own);
        self.settled = own;
    }

    /// Makes sure of the settings of a statement that stands alone, and returns what has to stand before it in its message.
    async fn settle(&mut self) -> DbResult<String> {
        if self.in_transaction || self.settled {
            return Ok(String::new());
        }
        if self.own_session != Some(true) {
            return Ok(settings::message(&self.place, self.server()));
        }
        self.simple(&settings::session(&self.place, self.server())).await?;
        self.settled = true;
        Ok(String::new())
    }

    /// The server process that the next statement runs in, where it can be known before: behind a pooler, one transaction
    /// has one, and the next statement after it any.
    async fn known_process(&mut self) -> DbResult<Option<ServerProcess>> {
        if self.own_session == Some(true) || self.in_transaction { self.process().await.map(Some) } else { Ok(None) }
    }

    /// The server process of a session of one's own, where it is known already.
    fn process_if_own(&self) -> Option<ServerProcess> {
        self.process.clone().filter(|_| self.own_session == Some(true))
    }

    async fn simple(&mut self, sql: &str) -> DbResult<()> {
        self.must_be_whole()?;
        let sql = self.place.of_ledger(sql);
        let running = sqlx::raw_sql(AssertSqlSafe(&*sql)).execute(&mut self.connection);
        match tokio::time::timeout(PATIENCE, running).await {
            Ok(done) => done.map_err(|e| classify(&e)).map(drop),
            Err(_) => Err(self.given_up()),
        }
    }

    fn must_be_whole(&self) -> DbResult<()> {
        if self.lost { Err(Lost.into()) } else { Ok(()) }
    }

    fn given_up(&mut self) -> DbError {
        self.lost = true;
        Lost.into()
    }

    /// What was watched, or that it was given up.
    fn heard<T>(&mut self, answer: Result<Result<T, sqlx::Error>, Lost>) -> DbResult<T> {
        match answer {
            Ok(done) => done.map_err(|e| classify(&e)),
            Err(Lost) => Err(self.given_up()),
        }
    }

    /// A statement with parameters is more than one message, and a pooler may send the second one to another session, unless
    /// all are in one transaction. True when one had to be begun.
    async fn begin_for_parameters(&mut self) -> DbResult<bool> {
        if self.own_session == Some(true) {
            self.settle().await?;
        }
        if self.in_transaction || self.own_session == Some(true) {
            return Ok(false);
        }
        let local = settings::local(&self.place, self.server());
        let begun = self.simple(&format!("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {local}")).await;
        begun.map(|()| true).map_err(of_begin)
    }

    async fn end_for_parameters<T>(&mut self, begun: bool, result: DbResult<T>) -> DbResult<T> {
        match (begun, result) {
            (true, Ok(value)) => self.commit().await.map(|()| value),
            (true, Err(error)) => {
                self.rollback().await;
                Err(error)
            }
            (false, result) => result,
        }
    }

    async fn begin_with(&mut self, timeouts: Timeouts, settings: &str) -> DbResult<()> {
        let local = if self.settled { String::new() } else { settings::local(&self.place, self.server()) };
        let sql = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {local}SET LOCAL lock_timeout = {}; \
             SET LOCAL statement_timeout = {}{settings}; {}",
            milliseconds(timeouts.lock),
            milliseconds(timeouts.statement),
            settings::AWAKE
        );
        if self.own_session != Some(true) {
            self.process = None;
        }
        self.simple(&sql).await.map_err(of_begin)?;
        self.in_transaction = true;
        Ok(())
    }

    /// Whether the server lets this client keep its session. A pooler's sessions are none of a client's own.
    async fn ask_for_session(&mut self) -> DbResult<()> {
        if self.own_session.is_none() {
            let own = self.is_true(&format!("SELECT {}", self.own_expression())).await?;
            // What names its schema by the path of the session would be about another one.
            if !own && self.place.tenant.is_some() {
                let message =
                    "a tenant's schema is migrated in a session of one's own: give a direct address, not a pooler's"
                        .to_owned();
                return Err(DbError { class: ErrorClass::Other, code: String::new(), message });
            }
            self.own_session = Some(own);
            self.settled = false;
        }
        Ok(())
    }
}

/// Kept as a prepared statement, which saves a round trip each time, where the session is this client's own: behind a pooler its
/// name would belong to the session of somebody else.
fn bound<'q>(sql: &'q str, params: &[Option<&str>], own: bool) -> Query<'q, sqlx::Postgres, PgArguments> {
    let query = sqlx::query(AssertSqlSafe(sql)).persistent(own);
    params.iter().fold(query, |query, param| query.bind(param.map(ToOwned::to_owned)))
}

impl Backend for Postgres {
    type Target = Place;
    const DIALECT: Dialect = Dialect::Postgres;
    const SESSION_LOCKS: bool = true;
    const SIZE: &str = "SELECT CAST(pg_catalog.pg_database_size(pg_catalog.current_database()) AS text)";
    const SQL: LedgerSql = LedgerSql {
        prefix: "schemadiff.",
        now: "clock_timestamp()",
        epoch_ms: "CAST(extract(epoch FROM {}) * 1000 AS bigint)",
        object: "json_build_object",
        array: "coalesce(json_agg(j), CAST('[]' AS json))",
        json: "{}",
        empty: "CAST('[]' AS json)",
        texts: "(SELECT k FROM json_array_elements_text(CAST({} AS json)) AS k)",
        server: Some(leases::SERVER),
        user: "current_user",
        rights: "as the owner of the schema schemadiff, GRANT USAGE, CREATE ON SCHEMA schemadiff, \
                 GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA schemadiff \
                 and GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA schemadiff to this user",
        signals: "GRANT pg_signal_backend TO this user, or have it done by the role whose sessions they are",
    };

    fn target(url: &str) -> Result<Place> {
        let (url, tenant) = Tenant::of_address(url)?;
        let options: PgConnectOptions = url.parse().map_err(|_| Error::Address)?;
        // One more parameter that PgBouncer refuses unless it is told to ignore it; nothing here reads a float.
        let options = options.extra_float_digits(None);
        let named = options.get_application_name().is_some_and(|name| settings::code(name).is_none());
        let options = if named { options } else { options.application_name(&settings::name_with_code()) };
        Ok(Place { options, tenant })
    }

    async fn connect(place: &Place) -> Result<Self> {
        let target = &place.options;
        let address = || {
            let database = target.get_database().unwrap_or_else(|| target.get_username());
            // A password with a `/` that is not encoded ends the host: what follows is the rest of it.
            let database = if database.contains('@') { "…" } else { database };
            format!("postgres://{}@{}:{}/{database}", target.get_username(), target.get_host(), target.get_port())
        };
        let refused = |e| errors::refused(address(), &e);
        let connection = target.connect().await.map_err(refused)?;
        // A server that does not say what it is may still be one that is new enough.
        if let Some(found) = connection.server_version_num().filter(|version| *version < OLDEST) {
            return Err(Error::ServerTooOld { address: address(), found: found / 10_000, oldest: OLDEST / 10_000 });
        }
        let mut this = Self {
            connection,
            place: place.clone(),
            process: None,
            watcher: Watcher::new(target),
            stop: None,
            own_session: None,
            settled: false,
            in_transaction: false,
            lost: false,
        };
        this.place = place::known(&mut this.connection, place).await?;
        Ok(this)
    }

    async fn connect_for_rebuild(target: &Place) -> Result<Self> {
        Self::connect(target).await
    }

    fn connected_to(&self) -> &Place {
        &self.place
    }

    fn tenant_ledger(target: &Place) -> Option<String> {
        target.tenant.as_ref().map(Tenant::ledger)
    }

    fn shared_by(&self, plan: &Plan) -> Option<String> {
        self.place.tenant.as_ref().and_then(|_| place::shared_by(plan))
    }

    fn placed(&self, plan: Plan) -> Plan {
        self.place.plan(plan)
    }

    fn literal(text: &str) -> String {
        let quoted = text.replace('\'', "''");
        if quoted.contains('\\') { format!(" E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
    }

    fn cell(ty: &str, text: Option<String>) -> Cell {
        text.map_or(Cell::Null, |text| values::cell(ty, text))
    }

    fn value(ty: &str, given: serde_json::Value) -> std::result::Result<serde_json::Value, String> {
        values::value(ty, given)
    }

    async fn stop_when(&mut self, stop: watch::Receiver<bool>) {
        self.stop = Some(stop);
    }

    async fn close(self) {
        if self.lost {
            return; // a good-bye would wait as well
        }
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "closing a connection failed");
        }
    }

    async fn begin(&mut self, timeouts: Timeouts) -> DbResult<()> {
        self.begin_with(timeouts, "").await
    }

    async fn begin_batch(&mut self, timeouts: Timeouts, triggers: UserTriggers<'_>) -> DbResult<()> {
        // A plan that does not know the bounds of its range would read everything up to the upper one.
        let settings = "; SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = off; \
                        SET LOCAL jit = off; SET LOCAL synchronous_commit = off";
        // Where no trigger puts back what others make of the rest of a row, each still does so for its own column.
        let filling = triggers.restored_by.or(triggers.fire.then_some("-"));
        let filling = filling.map(|name| format!("; SET LOCAL schemadiff.filling = {}", Self::literal(name)));
        let mut settings = format!("{settings}{}", filling.unwrap_or_default());
        for trigger in triggers.quiet.iter().filter(|_| !triggers.fire) {
            let setting = Self::literal(&format!("schemadiff.{trigger}"));
            settings.push_str(&format!("; SELECT pg_catalog.set_config({setting}, 'quiet', true)"));
        }
        self.begin_with(timeouts, &settings).await
    }

    async fn approach(&mut self, approach: &Approach<'_>, timeouts: Timeouts) -> DbResult<()> {
        super::locks::take(self, approach, timeouts).await
    }

    async fn commit(&mut self) -> DbResult<()> {
        let done = self.simple("COMMIT").await;
        match &done {
            // It may have failed before it had begun, and then the transaction is still there.
            Err(error) if error.class != ErrorClass::Connection => self.rollback().await,
            _ => self.in_transaction = false,
        }
        done
    }

    /// A time-out that runs off when its statement has just ended is the error of the next one, whatever that is (measured: a count
    /// that took as long as it was given, in two of four runs). So one that is not carried out is sent again.
    async fn rollback(&mut self) {
        self.in_transaction = false;
        for _ in 0..3 {
            match self.simple("ROLLBACK").await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "rolling back failed"),
            }
            if self.must_be_whole().is_err() {
                return;
            }
        }
    }

    async fn session_timeouts(&mut self, timeouts: Timeouts) -> DbResult<()> {
        self.ask_for_session().await?;
        if self.own_session == Some(false) {
            return Ok(()); // they would stay with whoever gets the session next
        }
        self.settle().await?;
        let sql = format!(
            "SET lock_timeout = {}; SET statement_timeout = {}",
            milliseconds(timeouts.lock),
            milliseconds(timeouts.statement)
        );
        self.simple(&sql).await
    }

    async fn execute(&mut self, sql: &str) -> DbResult<u64> {
        if self.own_session == Some(true) {
            self.settle().await?; // in a message of its own: some statements must stand alone
        }
        let process = self.known_process().await?;
        self.must_be_whole()?;
        let sql = self.place.of_ledger(sql);
        let Self { connection, watcher, stop, .. } = self;
        let running = sqlx::raw_sql(AssertSqlSafe(&*sql)).execute(connection);
        let result = watched(running, process, watcher, (stop.as_mut(), WATCH_AFTER)).await;
        self.heard(result).map(|done| done.rows_affected())
    }

    async fn run(&mut self, sql: &str, params: &[Option<&str>]) -> DbResult<u64> {
        let begun = self.begin_for_parameters().await?;
        let process = if self.own_session == Some(true) { Some(self.process().await?) } else { None };
        self.must_be_whole()?;
        let sql = self.place.of_ledger(sql);
        let Self { connection, watcher, stop, .. } = self;
        let running = bound(&sql, params, process.is_some()).execute(connection);
        let done = watched(running, process, watcher, (stop.as_mut(), WATCH_AFTER)).await;
        let done = self.heard(done).map(|done| done.rows_affected());
        self.end_for_parameters(begun, done).await
    }

    async fn rows(&mut self, sql: &str, params: &[Option<&str>]) -> DbResult<Vec<TextRow>> {
        self.rows_within(sql, params, usize::MAX).await.map(|within| within.rows)
    }

    async fn rows_within(&mut self, sql: &str, params: &[Option<&str>], most: usize) -> DbResult<Within> {
        if params.is_empty() {
            let sql = self.settle().await? + &self.place.of_ledger(sql);
            let process = self.process_if_own();
            self.must_be_whole()?;
            let Self { connection, watcher, stop, .. } = self;
            let running = within(sqlx::raw_sql(AssertSqlSafe(sql)).fetch(connection), plain_texts, most);
            let rows = watched(running, process, watcher, (stop.as_mut(), WATCH_QUERIES_AFTER)).await;
            return self.heard(rows)?;
        }
        let begun = self.begin_for_parameters().await?;
        let (own, process) = (self.own_session == Some(true), self.process_if_own());
        self.must_be_whole()?;
        let sql = self.place.of_ledger(sql);
        let Self { connection, watcher, stop, .. } = self;
        let running = within(bound(&sql, params, own).fetch(connection), texts, most);
        let rows = watched(running, process, watcher, (stop.as_mut(), WATCH_QUERIES_AFTER)).await;
        let rows = self.heard(rows).and_then(|rows| rows);
        self.end_for_parameters(begun, rows).await
    }

    async fn is_true(&mut self, sql: &str) -> DbResult<bool> {
        // The simple protocol sends every type as text.
        let sql = self.settle().await? + &self.place.of_ledger(sql);
        let process = self.process_if_own();
        self.must_be_whole()?;
        let Self { connection, watcher, .. } = self;
        let running = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_optional(connection);
        let row = watched(running, process, watcher, (None, WATCH_QUERIES_AFTER)).await;
        let row = self.heard(row)?;
        let Some(row) = row else { return Ok(false) };
        let cell = row.try_get_raw(0).map_err(|e| classify(&e))?;
        Ok(!cell.is_null() && matches!(cell.as_str(), Ok("t" | "true" | "1")))
    }

    async fn session(&mut self) -> DbResult<Option<i64>> {
        self.process().await.map(|process| Some(process.pid.into()))
    }

    async fn signals(&mut self, own: &[i64]) -> DbResult<Signals> {
        super::signals::read(self, own).await
    }

    async fn server_progress(&mut self, session: i64) -> DbResult<Option<(String, u64, u64)>> {
        super::work::server_progress(self, session).await
    }

    async fn working_session(&mut self) -> DbResult<Option<i64>> {
        super::work::session(self).await
    }

    async fn end_idle_worker(&mut self, idle: Duration) -> DbResult<bool> {
        super::work::end_idle(self, idle).await
    }

    async fn update_triggers(&mut self, table: &ObjectName, columns: &[&str]) -> DbResult<Vec<String>> {
        // 16 in `tgtype` is UPDATE; a trigger with a list of columns runs when one of them is assigned to. One of a partition runs
        // for its rows, whatever table the statement names.
        let sql = "SELECT DISTINCT CAST(g.tgname AS text) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                   JOIN pg_trigger g ON g.tgrelid = c.oid OR g.tgrelid IN (SELECT p.relid FROM pg_partition_tree(c.oid) p) \
                   WHERE c.relname = $1 AND n.nspname = $2 AND NOT g.tgisinternal AND g.tgtype & 16 <> 0 \
                   AND g.tgenabled IN ('O', 'A') AND NOT starts_with(CAST(g.tgname AS text), 'zz_schemadiff_') \
                   AND (CAST(g.tgattr AS text) = '' OR EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = g.tgrelid \
                       AND a.attnum = ANY (CAST(g.tgattr AS int2[])) \
                       AND CAST(a.attname AS text) IN (SELECT json_array_elements_text(CAST($3 AS json))))) \
                   ORDER BY 1";
        let columns = serde_json::to_string(columns).unwrap_or_else(|_| "[]".to_owned());
        let schema = self.place.schema_of(table).to_owned();
        let rows = self.rows(sql, &[Some(&table.name), Some(&schema), Some(&columns)]).await?;
        Ok(rows.into_iter().flatten().flatten().collect())
    }

    async fn is_there(&mut self, table: &ObjectName) -> DbResult<bool> {
        let sql = "SELECT CAST(c.relname AS text) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE c.relname = $1 AND n.nspname = $2 AND c.relkind IN ('r', 'p', 'v')";
        let schema = self.place.schema_of(table).to_owned();
        Ok(!self.rows(sql, &[Some(&table.name), Some(&schema)]).await?.is_empty())
    }

    async fn look(&mut self, sql: &str, limit: Duration) -> DbResult<Vec<TextRow>> {
        self.begin(Timeouts { lock: Duration::from_secs(1), statement: limit }).await?;
        let rows = self.rows(sql, &[]).await;
        self.rollback().await;
        rows
    }

    fn is_about_rows(error: &DbError) -> bool {
        // Class 22 is a value that cannot be what it shall be, class 23 a constraint that a row violates.
        error.code.starts_with("22") || error.code.starts_with("23")
    }

    fn take_blockers(&mut self) -> Vec<Blocker> {
        std::mem::take(&mut self.watcher.seen)
    }

    async fn held_up_by(&mut self, session: i64) -> DbResult<Vec<Blocker>> {
        super::watch::blocking(&mut self.connection, session).await.map_err(|e| classify(&e))
    }

    async fn old_transactions(&mut self) -> DbResult<Vec<Blocker>> {
        super::watch::old_transactions(&mut self.connection).await.map_err(|e| classify(&e))
    }

    async fn strangers(&mut self, tables: &[String]) -> DbResult<Strangers> {
        strangers::find(self, tables).await
    }

    async fn end_sessions(&mut self, lease: &Lease, grace_ms: i64) -> DbResult<(i64, i64)> {
        leases::end_sessions(self, lease, grace_ms).await
    }

    async fn sessions_without_hook(&mut self, apps: &[String]) -> DbResult<Vec<Unhooked>> {
        let names: Vec<String> = apps.iter().map(|app| Self::literal(app)).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        super::watch::without_hook(&mut self.connection, &self.place, &names.join(", ")).await.map_err(|e| classify(&e))
    }

    #[cfg(feature = "diesel")]
    async fn recorded_by_diesel(&mut self) -> DbResult<Vec<String>> {
        super::diesel::recorded(self).await
    }

    async fn foreign_key_violations(&mut self, _tables: &[String]) -> DbResult<u64> {
        Ok(0)
    }

    async fn create_ledger(&mut self) -> Result<()> {
        schema::create(self).await
    }

    fn evidence(&self) -> Evidence {
        if self.own_session == Some(false) { Evidence::Heartbeat } else { Evidence::Lock }
    }

    async fn try_work_lock(&mut self) -> DbResult<bool> {
        self.ask_for_session().await?;
        let function = match self.evidence() {
            Evidence::Lock => "pg_try_advisory_lock",
            Evidence::Heartbeat | Evidence::Standby | Evidence::Process => "pg_try_advisory_xact_lock",
        };
        self.is_true(&format!("SELECT {function}({})", self.place.key(WORK_KEY))).await
    }

    async fn release_work_lock(&mut self) {
        if self.evidence() != Evidence::Lock {
            return;
        }
        if let Err(error) = self.is_true(&format!("SELECT pg_advisory_unlock({})", self.place.key(WORK_KEY))).await {
            tracing::debug!(%error, "giving back the lock of the worker failed, the server does it with the connection");
        }
    }

    async fn try_gate(&mut self) -> DbResult<bool> {
        self.is_true(&format!("SELECT pg_try_advisory_xact_lock({})", self.place.key(GATE_KEY))).await
    }

    async fn claim_version(&mut self, app: &str, version: &str) -> DbResult<bool> {
        let sql = "SELECT CAST(pg_try_advisory_xact_lock(schemadiff.version_key($1, $2)) AS text)";
        let rows = self.rows(sql, &[Some(app), Some(version)]).await?;
        Ok(rows.first().and_then(|row| row.first()).is_some_and(|cell| cell.as_deref() == Some("true")))
    }

    async fn leases(&mut self) -> DbResult<Vec<Lease>> {
        leases::read(self).await
    }

    async fn register_settled(&mut self, lease: &Lease, known: &str, ledger: &str) -> DbResult<Settled> {
        leases::register_settled(self, lease, known, ledger).await
    }

    async fn register(&mut self, lease: &Lease, epoch: i64) -> DbResult<Registered> {
        leases::register(self, lease, epoch).await
    }

    async fn leave(&mut self, lease: &Lease) -> DbResult<()> {
        leases::end(self, lease).await
    }
}
