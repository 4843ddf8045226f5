//! Migrations as `diesel_migrations` wants them: one for each step.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ::diesel::{
    backend::Backend,
    connection::BoxableConnection,
    migration::{Migration, MigrationMetadata, MigrationName, MigrationSource, MigrationVersion},
};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::background::Background;
use crate::{
    error::{Error, Result},
    lockstep::{
        Builder, Status, admin,
        stepwise::{Held, Offered, Teller},
    },
    model::{Dialect, hex},
};

/// The longest version that Diesel's table holds.
const LONGEST_VERSION: usize = 50;

/// What Diesel's functions return.
type Answer<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The steps that may be carried out now, for `run_pending_migrations`. Made by [`Builder::migration_source`].
///
/// The ledger is the truth, not Diesel's table: what is done already is not offered, whoever did it, and neither is what live
/// versions hold. That is no error: the builder's `Progress` is told who holds what ([`Event::GateClosed`]), and
/// [`Source::status`] shows it. The steps that are held are offered by a later call, or carried out in the background by a started
/// [`Lockstep`](crate::Lockstep).
///
/// Each step is carried out by schemadiff's executor through connections of its own, with its lock timeouts, retries and
/// records, backfills in batches that resume. So Diesel opens no transaction for any of them, and the whole call must not stand in
/// one. The work is taken with the first step and given back when the list of migrations is dropped.
///
/// [`Event::GateClosed`]: crate::lockstep::Event::GateClosed
#[derive(Clone)]
pub struct Source(Arc<Inner>);

struct Inner {
    builder: Builder,
    dialect: Dialect,
    background: Background,
    told: Mutex<Teller>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("dialect", &self.0.dialect).finish_non_exhaustive()
    }
}

impl Source {
    pub(super) fn new(builder: Builder) -> Result<Self> {
        let url = builder.address()?;
        let dialect = admin::dialect_of(&url)?;
        if dialect == Dialect::Sqlite && (url.contains(":memory:") || url.contains("mode=memory")) {
            return Err(Error::InMemory);
        }
        builder.embedding(&*builder.migrations().history()?, dialect)?;
        Ok(Self(Arc::new(Inner {
            builder,
            dialect,
            background: Background::start()?,
            told: Mutex::new(Teller::new()),
        })))
    }

    /// What has been done, who runs, and what waits for whom.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn status(&self) -> Result<Status> {
        let (url, migrations) = (self.0.builder.address()?, self.0.builder.migrations().clone());
        let soak = self.0.builder.soaks();
        self.0.background.wait(async move { admin::status_soaking(&url, Some(&migrations), soak).await })?
    }

    fn steps(&self) -> Result<Vec<Step>> {
        let builder = self.0.builder.clone();
        let mut outlook = self.0.background.wait(async move { builder.outlook().await })??;
        lock(&self.0.told).tell(&self.0.builder, &outlook);
        let session = Arc::new(Session { source: self.clone(), held: Mutex::new(None), stop: watch::channel(false).0 });
        let mut steps = Vec::new();
        for offered in std::mem::take(&mut outlook.offered) {
            // A version that Diesel has written down although the step is not done: it was taken back, or held at the last moment.
            let version = (1..).map(|time| version(&offered, time)).find(|v| !outlook.recorded.contains(v));
            let version = version.unwrap_or_default();
            steps.push(Step {
                name: Name { version, title: offered.title.clone() },
                offered,
                session: Arc::clone(&session),
            });
        }
        Ok(steps)
    }
}

/// Sorts as the steps do, among themselves and among timestamps; not longer than the table allows.
fn version(step: &Offered, time: u32) -> String {
    let again = if time == 1 { String::new() } else { format!(".{time}") };
    let place = format!(".{:03}{again}", step.position);
    let room = LONGEST_VERSION - place.len();
    if step.migration.len() <= room {
        return format!("{}{place}", step.migration);
    }
    let digest = digest(&step.migration);
    let mut kept = room - digest.len() - 1;
    while !step.migration.is_char_boundary(kept) {
        kept -= 1;
    }
    format!("{}-{digest}{place}", &step.migration[..kept])
}

/// Tells long names apart that begin alike.
fn digest(text: &str) -> String {
    hex(&Sha256::digest(text)[..4])
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here is left half-changed by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<DB: Backend> MigrationSource<DB> for Source {
    fn migrations(&self) -> Answer<Vec<Box<dyn Migration<DB>>>> {
        let steps = self.steps()?;
        Ok(steps.into_iter().map(|step| Box::new(step) as Box<dyn Migration<DB>>).collect())
    }
}

/// The work of one list of migrations.
struct Session {
    source: Source,
    held: Mutex<Option<Box<dyn Held>>>,
    stop: watch::Sender<bool>,
}

impl Session {
    /// Carries the step out if nobody else has; false when it is held by now.
    fn reach(&self, offered: &Offered) -> Result<bool> {
        let inner = &self.source.0;
        let mut held = lock(&self.held);
        let work = match held.take() {
            Some(work) => work,
            None => {
                let (builder, stopped) = (inner.builder.clone(), self.stop.subscribe());
                inner.background.wait(async move { builder.hold(stopped).await })??
            }
        };
        let (migration, step) = (offered.migration.clone(), offered.step.clone());
        let (work, reached) = inner.background.wait(async move {
            let mut work = work;
            let reached = work.reach(&migration, &step).await;
            (work, reached)
        })?;
        *held = Some(work);
        reached
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(work) = lock(&self.held).take()
            && let Err(error) = self.source.0.background.wait(work.give_back())
        {
            tracing::debug!(%error, "the work was not given back; its end shows by itself");
        }
    }
}

struct Step {
    name: Name,
    offered: Offered,
    session: Arc<Session>,
}

impl<DB: Backend> Migration<DB> for Step {
    fn run(&self, connection: &mut dyn BoxableConnection<DB>) -> Answer<()> {
        let dialect = self.session.source.0.dialect;
        let (before, after) = around(dialect);
        connection.batch_execute(&before)?;
        let reached = self.session.reach(&self.offered);
        connection.batch_execute(&after)?;
        reached?;
        // Another instance may have told Diesel of this step meanwhile; the work is this one's, so nobody does now.
        connection.batch_execute(&forget(dialect, &self.name.version))?;
        Ok(())
    }

    fn revert(&self, _: &mut dyn BoxableConnection<DB>) -> Answer<()> {
        Err(Error::NotThroughDiesel { migration: self.offered.migration.clone() }.into())
    }

    fn metadata(&self) -> &dyn MigrationMetadata {
        &OwnTransactions
    }

    fn name(&self) -> &dyn MigrationName {
        &self.name
    }
}

/// What is said on Diesel's connection before and after a step.
fn around(dialect: Dialect) -> (String, String) {
    match dialect {
        #[cfg(feature = "postgres")]
        Dialect::Postgres => {
            use crate::backend::postgres::diesel::{HAS_MIGRATED, MIGRATES};
            (MIGRATES.to_owned(), HAS_MIGRATED.to_owned())
        }
        _ => (String::new(), String::new()),
    }
}

/// Takes a version out of Diesel's table, as the connection finds it.
fn forget(dialect: Dialect, version: &str) -> String {
    format!("DELETE FROM __diesel_schema_migrations WHERE version = {}", crate::backend::literal(dialect, version))
}

/// Statements that cannot stand in a transaction are declared so; the others have one each, on another connection than Diesel's.
struct OwnTransactions;

impl MigrationMetadata for OwnTransactions {
    fn run_in_transaction(&self) -> bool {
        false
    }
}

struct Name {
    version: String,
    title: String,
}

impl MigrationName for Name {
    fn version(&self) -> MigrationVersion<'_> {
        MigrationVersion::from(&self.version)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.version, self.title)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(migration: &str, position: usize) -> Offered {
        Offered { migration: migration.to_owned(), step: String::new(), position, title: String::new() }
    }

    #[test]
    fn versions_sort_as_the_steps_do_and_fit_the_table() {
        let names = [
            version(&step("20260101000000_users", 2), 1),
            version(&step("20260101000000_users", 2), 2),
            version(&step("20260101000000_users", 10), 1),
            version(&step("20260102000000_a_name_that_is_much_longer_than_diesel_has_room_for", 1), 1),
            version(&step("20260102000000_a_name_that_is_much_longer_than_diesel_has_room_for", 12), 1),
        ];
        assert_eq!(names[0], "20260101000000_users.002");
        assert!(names.is_sorted(), "{names:?}");
        assert!(names.iter().all(|name| name.len() <= LONGEST_VERSION), "{names:?}");
        let (one, other) = ("x".repeat(60) + "a", "x".repeat(60) + "b");
        assert_ne!(version(&step(&one, 1), 1), version(&step(&other, 1), 1));
        assert!(version(&step(&"ü".repeat(40), 1), 1).len() <= LONGEST_VERSION);
    }
}
