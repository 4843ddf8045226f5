//! What a started service holds.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use sqlx::pool::{PoolConnectionMetadata, PoolOptions};
use tokio::{sync::watch, task::JoinHandle};

use super::{
    Builder, Status, admin,
    fence::{self, Fence},
    hook::{Enter, enter, registered},
    probe::{Probe, Ready, Standing},
};
use crate::{backend::Entering, embed::Migrations, error::Result, model::migration_of};

/// What a pool's `after_connect` returns.
pub type HookFuture<'c> = Pin<Box<dyn Future<Output = Result<(), sqlx::Error>> + Send + 'c>>;

/// What a pool's `before_acquire` returns.
pub type FenceFuture<'c> = Pin<Box<dyn Future<Output = Result<bool, sqlx::Error>> + Send + 'c>>;

/// A running instance in lockstep with the database. Keep it for as long as the process uses the database; call
/// [`Lockstep::shutdown`] at the end.
pub struct Lockstep {
    pub(super) app: String,
    pub(super) version: String,
    pub(super) instance: Arc<str>,
    /// Some of its connections go to standbys.
    pub(super) on_standbys: bool,
    /// The schema of a tenant's ledger.
    pub(super) ledger: Option<Arc<str>>,
    pub(super) url: String,
    pub(super) migrations: Migrations,
    /// How long its own contract phases wait for a version that is gone.
    pub(super) soak: Duration,
    pub(super) stop: watch::Sender<bool>,
    pub(super) probe: Probe,
    pub(super) fence: Fence,
    pub(super) tasks: Vec<JoinHandle<()>>,
}

/// What the connections of an instance say of it.
#[derive(Debug, Clone)]
pub(crate) struct Me {
    app: Arc<str>,
    version: Arc<str>,
    pub(crate) instance: Arc<str>,
    on_standbys: bool,
    ledger: Option<Arc<str>>,
}

impl Me {
    pub(crate) fn who(&self) -> Entering<'_> {
        let on_standbys = self.on_standbys.then_some(&*self.instance);
        Entering { app: &self.app, version: &self.version, on_standbys, ledger: self.ledger.as_deref() }
    }
}

impl std::fmt::Debug for Lockstep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lockstep").field("app", &self.app).field("version", &self.version).finish_non_exhaustive()
    }
}

impl Lockstep {
    /// Begins with the application's name and its migrations.
    pub fn builder(app: impl Into<String>, migrations: Migrations) -> Builder {
        Builder::new(app.into(), migrations)
    }

    /// The name of this code version: the newest migration it embeds, and the fingerprint of the schema it declares.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The id of the newest migration that this code embeds.
    pub fn migration(&self) -> &str {
        migration_of(&self.version)
    }

    /// A pool's options with [`Lockstep::hook`] and [`Lockstep::fence`].
    ///
    /// ```no_run
    /// # async fn example(lockstep: schemadiff::Lockstep, url: &str) -> Result<(), sqlx::Error> {
    /// let pool = lockstep.guarded(sqlx::postgres::PgPoolOptions::new().max_connections(10)).connect(url).await?;
    /// # Ok(()) }
    /// ```
    pub fn guarded<DB>(&self, options: PoolOptions<DB>) -> PoolOptions<DB>
    where
        DB: sqlx::Database,
        DB::Connection: Enter,
    {
        options.after_connect(self.hook()).before_acquire(self.fence())
    }

    /// For `after_connect` of `PgPoolOptions` and `SqlitePoolOptions`: registers each connection as one of this version in
    /// one round trip, and refuses it when the version is retired.
    ///
    /// A connection to a standby is let in when [`Builder::reads_from_standbys`] has said that there are such.
    ///
    /// A pool answers a refused connection with its own time-out and logs the reason; [`Lockstep::ready`] has it too.
    pub fn hook<C: Enter>(
        &self,
    ) -> impl for<'c> Fn(&'c mut C, PoolConnectionMetadata) -> HookFuture<'c> + Clone + Send + Sync + 'static {
        let (me, probe) = (self.me(), self.probe.clone());
        move |connection: &mut C, _: PoolConnectionMetadata| {
            let (me, probe) = (me.clone(), probe.clone());
            Box::pin(async move { enter(connection, me.who(), &probe).await })
        }
    }

    /// Registers a connection that no pool opened as one of this version; the error says why it must not be used.
    ///
    /// # Errors
    /// When the version is retired ([`crate::Error::Retired`]), when the role lacks a right, and when the connection is broken.
    pub async fn enter<C: Enter>(&self, connection: &mut C) -> Result<()> {
        registered(connection, self.me().who(), &self.probe).await
    }

    /// For `before_acquire` of `PgPoolOptions` and `SqlitePoolOptions`: refuses a connection that is open already, when this
    /// process was stopped or cut off for so long that its version was retired meanwhile. Needed where heartbeats are what
    /// proves that an instance lives: behind a pooler, with standbys, and on SQLite between containers. It asks the database
    /// nothing as long as the heartbeats go through.
    pub fn fence<C: Enter>(
        &self,
    ) -> impl for<'c> Fn(&'c mut C, PoolConnectionMetadata) -> FenceFuture<'c> + Clone + Send + Sync + 'static {
        let (me, probe, fence) = (self.me(), self.probe.clone(), self.fence.clone());
        move |connection: &mut C, _: PoolConnectionMetadata| {
            let (me, probe, fence) = (me.clone(), probe.clone(), fence.clone());
            Box::pin(async move { fence::pass(connection, &fence, (me.who(), &me.instance), &probe).await })
        }
    }

    pub(crate) fn me(&self) -> Me {
        Me {
            app: self.app.as_str().into(),
            version: self.version.as_str().into(),
            instance: Arc::clone(&self.instance),
            on_standbys: self.on_standbys,
            ledger: self.ledger.clone(),
        }
    }

    /// What asks whether connections may still be used.
    #[cfg(feature = "diesel-r2d2")]
    pub(crate) fn its_fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Whether this instance should take work.
    pub async fn ready(&self) -> Ready {
        self.probe.ready().await
    }

    /// For the endpoints that an orchestrator asks.
    pub fn probe(&self) -> Probe {
        self.probe.clone()
    }

    /// What has been done, who runs, and what waits for whom.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn status(&self) -> Result<Status> {
        admin::status_soaking(&self.url, Some(&self.migrations), self.soak).await
    }

    /// Gives the lease back and ends the work in the background. Close the pools first.
    pub async fn shutdown(mut self) {
        self.ending().await;
    }

    /// Tells everything to end; the future waits until it has.
    pub(crate) fn ending(&mut self) -> impl Future<Output = ()> + Send + 'static {
        self.stop.send_replace(true);
        let (probe, tasks) = (self.probe.clone(), std::mem::take(&mut self.tasks));
        async move {
            probe.set(Standing::Stopping);
            for task in tasks {
                if let Err(error) = task.await {
                    tracing::debug!(%error, "a background task ended otherwise than by itself");
                }
            }
        }
    }

    /// For how long versions that are gone are waited for.
    #[cfg(feature = "diesel")]
    pub(crate) fn soaks(&self) -> Duration {
        self.soak
    }

    /// Where it is connected to, and what it carries.
    #[cfg(feature = "diesel")]
    pub(crate) fn carries(&self) -> (&str, &str, &Migrations) {
        (&self.app, &self.url, &self.migrations)
    }
}

impl Drop for Lockstep {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
