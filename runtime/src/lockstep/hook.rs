//! What each new connection of a pool asks.

use std::{future::Future, time::Duration};

use super::{
    decide,
    probe::{Probe, Standing},
    retry::jittered,
};
use crate::{
    backend::{Backend, DbError, Entering, Registered, Retired, ledger},
    error::Error,
};

/// A connection that can be registered as one of a version.
pub trait Enter: sqlx::Connection + Send + 'static {
    /// Asks once.
    fn enter(&mut self, who: Entering<'_>) -> impl Future<Output = Result<Registered, sqlx::Error>> + Send;
    /// Sends a sign of life of the instance; false when its lease has ended, when its version is retired, and where the
    /// connection cannot write.
    fn sign_of_life(
        &mut self,
        who: Entering<'_>,
        instance: &str,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;
    /// What it means that it could not be asked.
    fn explain(error: &sqlx::Error) -> Error;
}

fn explained<B: Backend>(error: DbError) -> Error {
    ledger::explain::<B>("register a connection", error)
}

#[cfg(feature = "postgres")]
impl Enter for sqlx::PgConnection {
    async fn enter(&mut self, who: Entering<'_>) -> Result<Registered, sqlx::Error> {
        crate::backend::postgres::enter(self, who).await
    }

    async fn sign_of_life(&mut self, who: Entering<'_>, instance: &str) -> Result<bool, sqlx::Error> {
        crate::backend::postgres::sign_of_life(self, who, instance).await
    }

    fn explain(error: &sqlx::Error) -> Error {
        explained::<crate::backend::postgres::Postgres>(crate::backend::postgres::classify(error))
    }
}

#[cfg(any(feature = "sqlite", feature = "sqlite-unbundled"))]
impl Enter for sqlx::SqliteConnection {
    async fn enter(&mut self, who: Entering<'_>) -> Result<Registered, sqlx::Error> {
        crate::backend::sqlite::enter(self, who).await
    }

    /// A look whether the version is retired waits for nobody, a sign of life might.
    async fn sign_of_life(&mut self, _who: Entering<'_>, _instance: &str) -> Result<bool, sqlx::Error> {
        Ok(false)
    }

    fn explain(error: &sqlx::Error) -> Error {
        explained::<crate::backend::sqlite::Sqlite>(crate::backend::sqlite::classify(error))
    }
}

/// How often a connection asks again while the gate looks at its version.
pub(crate) const ATTEMPTS: u32 = 100;
/// About how long it waits in between.
pub(crate) const PAUSE: Duration = Duration::from_millis(60);

/// For a pool, which knows errors of its driver.
pub(super) async fn enter<C: Enter>(connection: &mut C, who: Entering<'_>, probe: &Probe) -> Result<(), sqlx::Error> {
    let registered = registered(connection, who, probe).await;
    registered.map_err(|error| sqlx::Error::Configuration(Box::new(error)))
}

pub(super) async fn registered<C: Enter>(connection: &mut C, who: Entering<'_>, probe: &Probe) -> Result<(), Error> {
    let mut last = still_busy();
    for _ in 0..ATTEMPTS {
        match connection.enter(who).await {
            Ok(Registered::Yes) => {
                probe.connected(None);
                return Ok(());
            }
            Ok(Registered::Busy | Registered::Changed) => last = still_busy(),
            Ok(Registered::Behind) => last = still_behind(who.app),
            Ok(Registered::OnStandby) => return Err(Error::OnStandby { app: who.app.to_owned() }),
            Ok(Registered::Retired(retired)) => return Err(refused(&retired, probe)),
            Err(error) => {
                let error = C::explain(&error);
                // A right or a ledger that is missing is missed by the next connection as well.
                if !error.may_pass() {
                    probe.connected(Some(error.to_string()));
                }
                return Err(error);
            }
        }
        tokio::time::sleep(jittered(PAUSE)).await;
    }
    Err(last)
}

/// The version is retired: that is final, and the probe says so.
pub(crate) fn refused(retired: &Retired, probe: &Probe) -> Error {
    let error = decide::refusal(retired);
    probe.set(Standing::Final(error.to_string()));
    error
}

/// The standby did not come to know this instance.
pub(crate) fn still_behind(app: &str) -> Error {
    Error::StandbyBehind { app: app.to_owned() }
}

/// The gate did not come to an end with this version.
pub(crate) fn still_busy() -> Error {
    Error::WorkerBusy { holder: "the gate has been looking at this version for seconds".to_owned() }
}
