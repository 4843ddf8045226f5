//! What each new connection of a pool asks.

use std::{future::Future, time::Duration};

use super::{
    decide,
    probe::{Probe, Standing},
    retry::jittered,
};
use crate::{
    backend::{Registered, Retired},
    error::Error,
};

/// A connection that can be registered as one of a version.
pub trait Enter: sqlx::Connection + Send + 'static {
    /// Asks once.
    fn enter(&mut self, app: &str, version: &str) -> impl Future<Output = Result<Registered, sqlx::Error>> + Send;
}

#[cfg(feature = "postgres")]
impl Enter for sqlx::PgConnection {
    async fn enter(&mut self, app: &str, version: &str) -> Result<Registered, sqlx::Error> {
        crate::backend::postgres::enter(self, app, version).await
    }
}

#[cfg(any(feature = "sqlite", feature = "sqlite-unbundled"))]
impl Enter for sqlx::SqliteConnection {
    async fn enter(&mut self, app: &str, version: &str) -> Result<Registered, sqlx::Error> {
        crate::backend::sqlite::enter(self, app, version).await
    }
}

/// How often a connection asks again while the gate looks at its version.
pub(crate) const ATTEMPTS: u32 = 100;
/// About how long it waits in between.
pub(crate) const PAUSE: Duration = Duration::from_millis(60);

pub(super) async fn enter<C: Enter>(
    connection: &mut C,
    app: &str,
    version: &str,
    probe: &Probe,
) -> Result<(), sqlx::Error> {
    for _ in 0..ATTEMPTS {
        match connection.enter(app, version).await? {
            Registered::Yes => return Ok(()),
            Registered::Busy | Registered::Changed => {
                tokio::time::sleep(jittered(PAUSE)).await;
            }
            Registered::Retired(retired) => {
                return Err(sqlx::Error::Configuration(Box::new(refused(&retired, probe))));
            }
        }
    }
    Err(sqlx::Error::Configuration(Box::new(still_busy())))
}

/// The version is retired: that is final, and the probe says so.
pub(crate) fn refused(retired: &Retired, probe: &Probe) -> Error {
    let error = decide::refusal(retired);
    probe.set(Standing::Final(error.to_string()));
    error
}

/// The gate did not come to an end with this version.
pub(crate) fn still_busy() -> Error {
    Error::WorkerBusy { holder: "the gate has been looking at this version for seconds".to_owned() }
}
