//! What a started service holds.

use std::{future::Future, pin::Pin, sync::Arc};

use serde::Serialize;
use sqlx::pool::PoolConnectionMetadata;
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
};

use super::{
    Builder, Status, admin,
    hook::{Enter, enter},
};
use crate::{embed::Migrations, error::Result};

/// What a pool's `after_connect` returns.
pub type HookFuture<'c> = Pin<Box<dyn Future<Output = Result<(), sqlx::Error>> + Send + 'c>>;

/// Why the instance should not serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    None,
    /// The database cannot be reached at the moment.
    Unreachable(String),
    /// The version is retired or not served.
    Final(String),
}

/// Answer to a readiness probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "ready")]
pub enum Ready {
    /// Registered, and served by the database.
    Yes,
    /// The ledger cannot be reached; connections that are open go on.
    Unreachable {
        /// What the last attempt to reach it ended with.
        cause: String,
    },
    /// This version must not run any more: end the process.
    Refused {
        /// The error that says so, in words: retired, or no longer served.
        reason: String,
    },
}

/// A running instance in lockstep with the database. Keep it for as long as the process uses the database; call
/// [`Lockstep::shutdown`] at the end.
pub struct Lockstep {
    pub(super) app: String,
    pub(super) version: String,
    pub(super) url: String,
    pub(super) migrations: Migrations,
    pub(super) stop: watch::Sender<bool>,
    pub(super) refusal: Arc<Mutex<Refusal>>,
    pub(super) tasks: Vec<JoinHandle<()>>,
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

    /// The name of this code version: the id of the newest migration it embeds.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// For `after_connect` of `PgPoolOptions` and `SqlitePoolOptions`: registers each connection as one of this version in
    /// one round trip, and refuses it when the version is retired.
    ///
    /// A pool answers a refused connection with its own time-out and logs the reason; [`Lockstep::ready`] has it too.
    pub fn hook<C: Enter>(
        &self,
    ) -> impl for<'c> Fn(&'c mut C, PoolConnectionMetadata) -> HookFuture<'c> + Clone + Send + Sync + 'static {
        let (app, version): (Arc<str>, Arc<str>) = (self.app.as_str().into(), self.version.as_str().into());
        let refusal = Arc::clone(&self.refusal);
        move |connection: &mut C, _: PoolConnectionMetadata| {
            let (app, version, refusal) = (Arc::clone(&app), Arc::clone(&version), Arc::clone(&refusal));
            Box::pin(async move { enter(connection, &app, &version, &refusal).await })
        }
    }

    /// Whether this instance should take work.
    pub async fn ready(&self) -> Ready {
        match &*self.refusal.lock().await {
            Refusal::None => Ready::Yes,
            Refusal::Unreachable(cause) => Ready::Unreachable { cause: cause.clone() },
            Refusal::Final(reason) => Ready::Refused { reason: reason.clone() },
        }
    }

    /// What has been done, who runs, and what waits for whom.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn status(&self) -> Result<Status> {
        admin::status(&self.url, Some(&self.migrations)).await
    }

    /// Gives the lease back and ends the work in the background. Close the pools first.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        for task in std::mem::take(&mut self.tasks) {
            if let Err(error) = task.await {
                tracing::debug!(%error, "a background task ended otherwise than by itself");
            }
        }
    }
}

impl Drop for Lockstep {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
