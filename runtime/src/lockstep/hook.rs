//! What each new connection of a pool asks.

use std::{future::Future, time::Duration};

use super::{
    decide,
    probe::{Probe, Standing},
    retry::jittered,
};
use crate::{backend::Registered, error::Error};

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
const ATTEMPTS: u32 = 100;

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
                tokio::time::sleep(jittered(Duration::from_millis(60))).await;
            }
            Registered::Retired(retired) => {
                let error = decide::refusal(&retired);
                probe.set(Standing::Final(error.to_string())).await;
                return Err(sqlx::Error::Configuration(Box::new(error)));
            }
        }
    }
    let holder = "the gate has been looking at this version for seconds".to_owned();
    Err(sqlx::Error::Configuration(Box::new(Error::WorkerBusy { holder })))
}
