//! A second connection that sees what the first one waits for.

use std::time::Duration;

use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, Row as _, postgres::PgConnectOptions};

use tokio::sync::watch;

use crate::{backend::Unhooked, waiting::Blocker};

/// What the second connection calls itself, so that the throttle does not take it for somebody else's.
pub(super) const WATCHER: &str = "schemadiff watcher";

const COLUMNS: &str = "a.pid::bigint, coalesce(a.usename, '')::text, coalesce(a.application_name, '')::text, \
    coalesce(a.state, '')::text, (extract(epoch FROM clock_timestamp() - a.xact_start) * 1000)::bigint, \
    left(coalesce(a.query, ''), 200)::text";

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
pub(super) async fn without_hook(connection: &mut PgConnection, apps: &str) -> Result<Vec<Unhooked>, sqlx::Error> {
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
             WHERE h.ours AND s.application_name <> 'schemadiff')
         SELECT {COLUMNS}, (extract(epoch FROM clock_timestamp() - a.backend_start) * 1000)::bigint
         FROM pg_stat_activity a
         WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
             AND coalesce(a.backend_type, 'client backend') = 'client backend'
             AND EXISTS (SELECT FROM alike s WHERE s.usesysid = a.usesysid AND s.application_name = a.application_name)
             AND NOT EXISTS (SELECT FROM hooked h WHERE h.pid = a.pid)
         ORDER BY a.pid"
    );
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await?;
    let age = |row: &sqlx::postgres::PgRow| row.try_get::<i64, _>(6).ok().and_then(|ms| u64::try_from(ms).ok());
    // Whoever may not know the age of another's session sees one that has been there for long.
    let ages = rows.iter().map(|row| age(row).unwrap_or(u64::MAX));
    Ok(blockers(&rows).into_iter().zip(ages).map(|(session, age_ms)| Unhooked { session, age_ms }).collect())
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

    /// Looks again and again at what `pid` waits for, until somebody says stop, or at once when somebody has.
    pub(super) async fn watch_until(&mut self, pid: i32, stop: Option<&mut watch::Receiver<bool>>) {
        let told = async {
            let heard = match stop {
                Some(stop) => stop.wait_for(|stop| *stop).await.is_ok(),
                None => false,
            };
            if !heard {
                std::future::pending().await
            }
        };
        tokio::select! {
            () = self.watch(pid) => {}
            () = told => {}
        }
    }

    /// Ends the statement that `pid` runs.
    pub(super) async fn cancel(&mut self, pid: i32) {
        let cancelled = async {
            let connection = self.connection().await?;
            sqlx::raw_sql(AssertSqlSafe(format!("SELECT pg_cancel_backend({pid})"))).execute(connection).await
        };
        if let Err(error) = cancelled.await {
            tracing::debug!(%error, "a statement could not be cancelled, it goes on to its end");
            self.connection = None;
        }
    }

    async fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        match &mut self.connection {
            Some(connection) => Ok(connection),
            none => Ok(none.insert(self.options.connect().await?)),
        }
    }

    /// Looks again and again at what `pid` waits for; never returns. Dropping it is the way to end it.
    async fn watch(&mut self, pid: i32) {
        let mut pause = Duration::from_millis(50);
        loop {
            match self.look(pid).await {
                Ok(found) if !found.is_empty() => self.seen = found,
                Ok(_) => {}
                // Without a second connection the step still runs, only nobody can be named.
                Err(error) => {
                    tracing::debug!(%error, "cannot look at what blocks a step");
                    self.connection = None;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(Duration::from_secs(1));
        }
    }

    async fn look(&mut self, pid: i32) -> Result<Vec<Blocker>, sqlx::Error> {
        blocking(self.connection().await?, pid.into()).await
    }
}
