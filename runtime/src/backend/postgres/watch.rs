//! A second connection that sees what the first one waits for.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, Row as _, postgres::PgConnectOptions};

use tokio::sync::watch;

use super::place::Place;
use crate::{
    backend::{DbError, ErrorClass, Unhooked},
    waiting::Blocker,
};

/// What the second connection calls itself, so that the throttle does not take it for somebody else's.
pub(super) const WATCHER: &str = "schemadiff watcher";

/// A statement may say a password, which is shown to nobody and stands in no ledger.
const COLUMNS: &str = "a.pid::bigint, coalesce(a.usename, '')::text, coalesce(a.application_name, '')::text, \
    coalesce(a.state, '')::text, (extract(epoch FROM clock_timestamp() - a.xact_start) * 1000)::bigint, \
    left(regexp_replace(coalesce(a.query, ''), 'password.*', 'password ...', 'i'), 200)::text";

/// Reads blockers from rows of [`COLUMNS`].
fn blockers(rows: &[sqlx::postgres::PgRow]) -> Vec<Blocker> {
    rows.iter()
        .filter_map(|row| {
            Some(Blocker {
                pid: row.try_get(0).ok()?,
                user: row.try_get(1).ok()?,
                application: row.try_get(2).ok()?,
                state: row.try_get(3).ok()?,
                transaction_ms: row.try_get::<Option<i64>, _>(4).ok()?.and_then(|ms| u64::try_from(ms).ok()),
                query: row.try_get(5).ok()?,
            })
        })
        .collect()
}

/// Transactions that a concurrent index build would wait for.
pub(super) async fn old_transactions(connection: &mut PgConnection) -> Result<Vec<Blocker>, sqlx::Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM pg_stat_activity a WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() \
         AND a.xact_start < clock_timestamp() - interval '5 s' ORDER BY a.xact_start"
    );
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await?;
    Ok(blockers(&rows))
}

/// Sessions that one waits for.
pub(super) async fn blocking(connection: &mut PgConnection, pid: i64) -> Result<Vec<Blocker>, sqlx::Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM pg_stat_activity a WHERE a.pid = ANY (pg_blocking_pids({pid})) ORDER BY a.xact_start"
    );
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await?;
    Ok(blockers(&rows))
}

/// Sessions that look like those of applications (a list of literals) and hold no lock of any version.
pub(super) async fn without_hook(
    connection: &mut PgConnection,
    place: &Place,
    apps: &str,
) -> Result<Vec<Unhooked>, sqlx::Error> {
    // The guard's own session has a lock too; it is known by its name, and so are those of whoever migrates.
    let sql = format!(
        "WITH version AS MATERIALIZED (
             SELECT schemadiff.version_key(l.app, l.version) AS key, bool_or(l.app IN ({apps})) AS ours
             FROM schemadiff.lease l GROUP BY 1),
         hooked AS MATERIALIZED (
             SELECT k.pid, v.ours FROM pg_locks k JOIN version v
                 ON v.key = (CAST(k.classid AS bigint) << 32) | CAST(k.objid AS bigint)
             WHERE k.locktype = 'advisory' AND k.objsubid = 1 AND k.granted AND k.mode = 'ShareLock'
                 AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())),
         alike AS MATERIALIZED (
             SELECT DISTINCT s.usesysid, s.application_name FROM hooked h JOIN pg_stat_activity s ON s.pid = h.pid
             WHERE h.ours AND split_part(s.application_name, ' ', 1) <> 'schemadiff')
         SELECT {COLUMNS}, (extract(epoch FROM clock_timestamp() - a.backend_start) * 1000)::bigint
         FROM pg_stat_activity a
         WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
             AND coalesce(a.backend_type, 'client backend') = 'client backend'
             AND EXISTS (SELECT FROM alike s WHERE s.usesysid = a.usesysid AND s.application_name = a.application_name)
             AND NOT EXISTS (SELECT FROM hooked h WHERE h.pid = a.pid)
         ORDER BY a.pid"
    );
    let rows = sqlx::raw_sql(AssertSqlSafe(&*place.of_ledger(&sql))).fetch_all(connection).await?;
    let age = |row: &sqlx::postgres::PgRow| row.try_get::<i64, _>(6).ok().and_then(|ms| u64::try_from(ms).ok());
    // Whoever may not know the age of another's session sees one that has been there for long.
    let ages = rows.iter().map(|row| age(row).unwrap_or(u64::MAX));
    Ok(blockers(&rows).into_iter().zip(ages).map(|(session, age_ms)| Unhooked { session, age_ms }).collect())
}

/// How long the watcher itself waits for an answer.
const LOOK: Duration = Duration::from_secs(10);
/// How long after the end of a statement its answer may be on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(10);
/// After so long without any word from the server, its network is dead. A server ends the sessions of such a client after two
/// minutes, see the keep-alives in `settings`.
const SILENT: Duration = Duration::from_secs(150);

/// One process of one server. The number alone may be somebody else's by now, or on the server that has taken over.
#[derive(Debug, Clone)]
pub(super) struct ServerProcess {
    pub(super) pid: i32,
    /// When it began, in seconds.
    began: String,
}

impl ServerProcess {
    /// What a session asks for its own.
    pub(super) const SQL: &str = "SELECT pg_catalog.pg_backend_pid(), (SELECT CAST(extract(epoch FROM a.backend_start) AS text) \
        FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a)";

    /// Out of the answer.
    pub(super) fn of(row: &sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self { pid: row.try_get(0)?, began: row.try_get::<Option<String>, _>(1)?.unwrap_or_default() })
    }

    /// A condition on `pg_stat_activity a`.
    fn is(&self) -> String {
        format!("a.pid = {} AND CAST(extract(epoch FROM a.backend_start) AS text) = '{}'", self.pid, self.began)
    }

    /// Calls a function with its number, if it is still there.
    fn told(&self, function: &str) -> String {
        format!("SELECT {function}(a.pid) FROM pg_stat_activity a WHERE {}", self.is())
    }
}

/// How long a statement runs at least before it is stopped.
const AT_LEAST: Duration = Duration::from_millis(40);

/// The answer of a statement does not come any more.
#[derive(Debug)]
pub(super) struct Lost;

impl From<Lost> for DbError {
    fn from(_: Lost) -> Self {
        let message = "the server's answer did not arrive: the network lost the connection without a word".to_owned();
        Self { class: ErrorClass::Connection, code: String::new(), message }
    }
}

/// Runs a statement. When it takes longer than `after`, somebody looks what it waits for, cancels it when told to stop (what
/// begins after that clears up, and runs to its end), and gives it up when its answer cannot come any more.
pub(super) async fn watched<F: Future>(
    running: F,
    process: Option<ServerProcess>,
    watcher: &mut Watcher,
    (stop, after): (Option<&mut watch::Receiver<bool>>, Duration),
) -> Result<F::Output, Lost> {
    watcher.seen.clear();
    let mut stop = stop.filter(|stop| !*stop.borrow());
    tokio::pin!(running);
    let Some(process) = process else { return Ok(running.await) };
    // What is done in no time is not worth stopping.
    if let Ok(result) = tokio::time::timeout(AT_LEAST.min(after), &mut running).await {
        return Ok(result);
    }
    let told = tokio::select! {
        result = &mut running => return Ok(result),
        () = tokio::time::sleep(after.saturating_sub(AT_LEAST)) => None,
        () = told(stop.as_deref_mut()) => Some(Told::Stop),
    };
    let told = match told {
        Some(told) => told,
        None => tokio::select! {
            result = &mut running => return Ok(result),
            told = watcher.watch_until(&process, stop) => told,
        },
    };
    if told == Told::Stop {
        watcher.cancel(&process).await;
        tokio::select! {
            result = &mut running => return Ok(result),
            _ = watcher.watch_until(&process, None) => {}
        }
    }
    watcher.end(&process).await;
    Err(Lost)
}

/// Why nobody watches any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Somebody said stop.
    Stop,
    /// No answer will come.
    Lost,
}

/// Until somebody says stop.
async fn told(stop: Option<&mut watch::Receiver<bool>>) {
    let heard = match stop {
        Some(stop) => stop.wait_for(|stop| *stop).await.is_ok(),
        None => false,
    };
    if !heard {
        std::future::pending().await
    }
}

/// The watcher of one session.
pub(super) struct Watcher {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    /// What was seen last.
    pub(super) seen: Vec<Blocker>,
}

impl Watcher {
    pub(super) fn new(options: &PgConnectOptions) -> Self {
        Self { options: options.clone().application_name(WATCHER), connection: None, seen: Vec::new() }
    }

    /// Looks again and again at what `process` waits for, until somebody says stop, or at once when somebody has, or until no
    /// answer can come any more.
    async fn watch_until(&mut self, process: &ServerProcess, stop: Option<&mut watch::Receiver<bool>>) -> Told {
        tokio::select! {
            () = self.watch(process) => Told::Lost,
            () = told(stop) => Told::Stop,
        }
    }

    /// Ends the session of `process`, whose client has given up: its locks and its transaction must not stay.
    async fn end(&mut self, process: &ServerProcess) {
        let ended = async {
            let connection = self.connection().await?;
            sqlx::raw_sql(AssertSqlSafe(process.told("pg_terminate_backend"))).execute(connection).await
        };
        if !matches!(tokio::time::timeout(LOOK, ended).await, Ok(Ok(_))) {
            tracing::debug!("a session could not be ended, the server does it when its keep-alives get no answer");
            self.connection = None;
        }
    }

    /// Ends the statement that `process` runs.
    async fn cancel(&mut self, process: &ServerProcess) {
        let cancelled = async {
            let connection = self.connection().await?;
            sqlx::raw_sql(AssertSqlSafe(process.told("pg_cancel_backend"))).execute(connection).await
        };
        match tokio::time::timeout(LOOK, cancelled).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => tracing::debug!(%error, "a statement could not be cancelled, it goes on to its end"),
            Err(_) => tracing::debug!("a statement could not be cancelled, the server does not answer"),
        }
        self.connection = None;
    }

    async fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        match &mut self.connection {
            Some(connection) => Ok(connection),
            none => Ok(none.insert(self.options.connect().await?)),
        }
    }

    /// Looks again and again at what `process` waits for; returns when its answer cannot come any more.
    async fn watch(&mut self, process: &ServerProcess) {
        let mut pause = Duration::from_millis(50);
        let (mut heard, mut at_work) = (Instant::now(), Instant::now());
        loop {
            match tokio::time::timeout(LOOK, self.look(process)).await {
                Ok(Ok((found, works))) => {
                    heard = Instant::now();
                    if works {
                        at_work = heard;
                    } else if at_work.elapsed() > ON_ITS_WAY {
                        return;
                    }
                    if !found.is_empty() {
                        self.seen = found;
                    }
                }
                // Without a second connection the step still runs, only nobody can be named.
                Ok(Err(error)) => {
                    tracing::debug!(%error, "cannot look at what blocks a step");
                    self.connection = None;
                    // Whoever says no is there. What it says of the other session is not known.
                    if error.as_database_error().is_some() {
                        (heard, at_work) = (Instant::now(), Instant::now());
                    }
                }
                Err(_) => self.connection = None,
            }
            if heard.elapsed() > SILENT {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(Duration::from_secs(1));
        }
    }

    /// Who blocks `process`, and whether it is still at work, as far as that can be seen.
    async fn look(&mut self, process: &ServerProcess) -> Result<(Vec<Blocker>, bool), sqlx::Error> {
        let connection = self.connection().await?;
        let sql = format!(
            "SELECT {COLUMNS}, {is}, coalesce(a.state NOT LIKE 'idle%', true) FROM pg_stat_activity a \
             WHERE a.pid = ANY (pg_blocking_pids({})) OR {is} ORDER BY a.xact_start",
            process.pid,
            is = process.is()
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await?;
        let (itself, others): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| row.try_get::<bool, _>(6).unwrap_or(false));
        let works = itself.iter().any(|row| row.try_get::<bool, _>(7).unwrap_or(true));
        Ok((blockers(&others), works))
    }
}
