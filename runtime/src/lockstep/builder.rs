//! How a service starts: register, or wait until it is served, or bring the database there.

use std::{collections::BTreeSet, fmt, future::Future, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::watch, task::JoinHandle};

use super::{
    Backfills, Lockstep, Metrics, Pace, Progress, Retry, TracingProgress,
    admin::dialect_of,
    backfill::Rounds,
    background::in_background,
    booting::Booting,
    context::{Context, Stop},
    fence::Fence,
    lease::{self, GRACE, HEARTBEAT},
    metrics::Measured,
    news::News,
    own,
    probe::{Probe, Standing},
    throttle::Load,
    witness::Witness,
};
use crate::{
    backend::{Backend, Identity, random_name},
    embed::{History, INITIAL, Migrations},
    error::{Error, Result},
    model::{Dialect, Fingerprint, Schema, version_name},
    plan::Phase,
};

/// Who carries out the contract phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Contract {
    /// One of the instances, in the background, as soon as the gate opens.
    #[default]
    Automatic,
    /// A person: `cargo schemadiff apply`.
    Manual,
}

/// Whether this instance may carry out steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// The instance that comes first works, the others wait for it.
    #[default]
    Apply,
    /// It only waits until the database serves it: somebody else applies.
    WaitOnly,
}

/// What a start needs to know. Made by [`Lockstep::builder`].
#[derive(Clone)]
pub struct Builder {
    app: String,
    pub(super) migrations: Migrations,
    schema: Option<Schema>,
    url: Option<String>,
    pub(super) contract: Contract,
    pub(super) role: Role,
    pub(super) wait: Duration,
    revision: Option<String>,
    on_standbys: bool,
    grace: Duration,
    soak: Duration,
    heartbeat: Duration,
    contract_poll: Duration,
    pace: Pace,
    backfills: Backfills,
    retry: Retry,
    accepts_stall: bool,
    pub(super) progress: Arc<dyn Progress>,
    metrics: Option<Arc<dyn Metrics>>,
    probe: Probe,
    witness: Witness,
}

impl Builder {
    pub(super) fn new(app: String, migrations: Migrations) -> Self {
        Self {
            app,
            migrations,
            schema: None,
            url: None,
            contract: Contract::default(),
            role: Role::default(),
            wait: Duration::from_secs(10 * 60),
            revision: None,
            on_standbys: false,
            grace: GRACE,
            soak: Duration::ZERO,
            heartbeat: HEARTBEAT,
            contract_poll: Duration::from_secs(2),
            pace: Pace::default(),
            backfills: Backfills::default(),
            retry: Retry::default(),
            accepts_stall: false,
            progress: Arc::new(TracingProgress),
            metrics: None,
            probe: Probe::default(),
            witness: Witness::default(),
        }
    }

    /// The address of the database; on PostgreSQL a direct one, not that of a pooler. Default: `DATABASE_URL`. With
    /// `schema=` it names the schema of a tenant, which is then treated like a database of its own.
    #[must_use]
    pub fn database_url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// The schema that this code uses, instead of what the derived structs that are linked into the program declare.
    #[must_use]
    pub fn schema(mut self, schema: Schema) -> Self {
        self.schema = Some(schema);
        self
    }

    /// Who carries out the contract phase.
    #[must_use]
    pub fn contract(mut self, contract: Contract) -> Self {
        self.contract = contract;
        self
    }

    /// Whether this instance may carry out steps.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// How long [`Builder::start`] waits until the database serves this version. Default: ten minutes.
    #[must_use]
    pub fn wait_deadline(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Revision of the source, for `status`.
    #[must_use]
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = Some(revision.into());
        self
    }

    /// Says that pools with [`Lockstep::hook`] also connect to standbys of the database (PostgreSQL).
    ///
    /// The gate is on the primary and sees no connection to a standby, so this instance counts by its heartbeats, for the grace
    /// time after the last one. A standby lets its connections in as soon as it has replayed this instance's registration, so
    /// that what the registration relied on is there too. Without this, the hook refuses connections to a standby.
    #[must_use]
    pub fn reads_from_standbys(mut self) -> Self {
        self.on_standbys = true;
        self
    }

    /// How long a heartbeat counts as life where nothing better is known. Default: 30 s.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long a version that is gone is still waited for before the contract phase leaves it behind, so that it can be deployed
    /// again. Default: not at all.
    #[must_use]
    pub fn soak(mut self, soak: Duration) -> Self {
        self.soak = soak;
        self
    }

    /// How often a heartbeat is sent. Default: 10 s.
    #[must_use]
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.heartbeat = every;
        self
    }

    /// How often a closed gate is asked again. Default: 2 s.
    #[must_use]
    pub fn contract_poll(mut self, every: Duration) -> Self {
        self.contract_poll = every;
        self
    }

    /// Pause after a batch of a backfill, as a multiple of the default; 0 for a database that nobody else uses.
    #[must_use]
    pub fn backfill_pause(mut self, times: f64) -> Self {
        self.pace.pause = times;
        self
    }

    /// How gentle migrations are: the longest stall, and above what a backfill waits.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        self.retry.max_stall = pace.max_stall;
        self.pace = pace;
        self
    }

    /// A function that gives rows their values, for `#[column(backfill_with = "name(column, ..)")]`: see
    /// [`Backfills::with`].
    #[must_use]
    pub fn backfill<Old, New, E>(
        mut self,
        name: impl Into<String>,
        function: impl Fn(Old) -> std::result::Result<New, E> + Send + Sync + 'static,
    ) -> Self
    where
        Old: DeserializeOwned + 'static,
        New: Serialize + 'static,
        E: fmt::Display + 'static,
    {
        self.backfills = self.backfills.with(name, function);
        self
    }

    /// The same with an asynchronous function: see [`Backfills::with_async`].
    #[must_use]
    pub fn backfill_async<Old, New, E, F>(
        mut self,
        name: impl Into<String>,
        function: impl Fn(Old) -> F + Send + Sync + 'static,
    ) -> Self
    where
        Old: DeserializeOwned + Send + 'static,
        New: Serialize + 'static,
        E: fmt::Display + 'static,
        F: Future<Output = std::result::Result<New, E>> + Send + 'static,
    {
        self.backfills = self.backfills.with_async(name, function);
        self
    }

    /// Whether all who use a table may wait while a step goes through it, although it is large ([`Error::Large`]). Without it such a step is left to a person.
    #[must_use]
    pub const fn accept_stall(mut self, accept: bool) -> Self {
        self.accepts_stall = accept;
        self
    }

    /// The retry ladder for locks.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        let max_stall = retry.max_stall.or(self.pace.max_stall);
        self.retry = Retry { max_stall, ..retry };
        self
    }

    /// Who is told what happens. Default: `tracing`.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Who is told numbers, beside what happens. Default: nobody.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<dyn Metrics>) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Where the answers to an orchestrator's probes come from, while the start waits and afterwards.
    #[must_use]
    pub fn probe(mut self, probe: &Probe) -> Self {
        self.probe = probe.clone();
        self
    }

    /// Starts: afterwards the database serves this version, and nothing takes that away while the guard lives.
    ///
    /// # Errors
    /// When this version is retired or not served and will not be, when a step fails, and when the deadline passes.
    pub async fn start(self) -> Result<Lockstep> {
        let probe = self.probe.clone();
        let started = self.start_somewhere().await;
        match &started {
            Ok(_) => probe.set(Standing::Serving),
            Err(error) => probe.set(Standing::Final(error.to_string())),
        }
        started
    }

    async fn start_somewhere(self) -> Result<Lockstep> {
        let url = self.address()?;
        match dialect_of(&url)? {
            #[cfg(feature = "postgres")]
            Dialect::Postgres => self.start_on::<crate::backend::postgres::Postgres>(url).await,
            #[cfg(any(feature = "sqlite", feature = "sqlite-unbundled"))]
            Dialect::Sqlite => self.start_on::<crate::backend::sqlite::Sqlite>(url).await,
            #[allow(unreachable_patterns)]
            dialect => Err(Error::EngineMissing { dialect }),
        }
    }

    /// The address that was given, or that of the environment.
    pub(crate) fn address(&self) -> Result<String> {
        address(self.url.clone(), std::env::var("DATABASE_URL").ok())
    }

    /// The migrations.
    #[cfg(feature = "diesel")]
    pub(crate) fn migrations(&self) -> &Migrations {
        &self.migrations
    }

    /// What the parts of one run share.
    pub(super) fn context(&self, history: Arc<History>, stop: watch::Receiver<bool>) -> Context {
        Context {
            app: self.app.clone(),
            may_go: Default::default(),
            accepts_stall: self.accepts_stall,
            token: random_name(),
            history,
            progress: match &self.metrics {
                Some(metrics) => Arc::new(Measured::new(Arc::clone(&self.progress), Arc::clone(metrics))),
                None => Arc::clone(&self.progress),
            },
            stop: Stop::when(stop),
            retry: self.retry,
            grace: self.grace,
            soak: self.soak,
            witness: self.witness.clone(),
            pace: self.pace.clone(),
            backfills: self.backfills.clone(),
            load: Load::default(),
            rounds: Rounds::default(),
        }
    }

    /// For how long versions that are gone are waited for.
    #[cfg(feature = "diesel")]
    pub(crate) fn soaks(&self) -> Duration {
        self.soak
    }

    /// Who it is, when it has the migrations that its tables need.
    pub(crate) fn embedding(&self, history: &History, dialect: Dialect) -> Result<(Identity, Fingerprint)> {
        let (identity, fingerprint) = self.identity(history, dialect)?;
        if history.entries().is_empty() && !identity.schema.tables.is_empty() {
            let tables: Vec<String> = identity.schema.tables.keys().map(ToString::to_string).collect();
            return Err(Error::NoMigrations { app: self.app.clone(), tables: tables.join(", ") });
        }
        Ok((identity, fingerprint))
    }

    /// What this code is, and the fingerprint of what it declares.
    fn identity(&self, history: &History, dialect: Dialect) -> Result<(Identity, Fingerprint)> {
        let declared = match &self.schema {
            Some(schema) => schema.clone(),
            None => {
                let declared = own::declared(dialect)?;
                if declared.tables.is_empty() && !history.snapshot().schema.tables.is_empty() {
                    return Err(Error::NothingDeclared { app: self.app.clone() });
                }
                declared
            }
        };
        let schema = own::spelled(declared, history.snapshot());
        let fingerprint = Fingerprint::of(&schema);
        let identity = Identity {
            app: self.app.clone(),
            version: version_name(history.newest().unwrap_or(INITIAL), &fingerprint),
            ordinal: i64::try_from(history.entries().len()).unwrap_or(i64::MAX),
            schema,
        };
        Ok((identity, fingerprint))
    }

    async fn start_on<B: Backend>(self, url: String) -> Result<Lockstep> {
        let target = B::target(&url)?;
        // The migrations are read while the server makes a session.
        let migrations = self.migrations.clone();
        let reading = tokio::task::spawn_blocking(move || migrations.history());
        let (connected, history) = tokio::join!(B::connect(&target), reading);
        let history = match history {
            Ok(history) => history?,
            Err(panic) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
            Err(_runtime_ends) => return Err(Error::Interrupted),
        };
        let plans = history.snapshot().dialect;
        if plans != B::DIALECT {
            return Err(Error::OtherDialect { plans, database: B::DIALECT });
        }
        let (identity, fingerprint) = self.embedding(&history, B::DIALECT)?;
        let ledger = B::tenant_ledger(&target).map(Into::into);
        let (stop, stopped) = watch::channel(false);
        let ctx = self.context(history, stopped.clone());
        let lease = lease::mine::<B>(identity, fingerprint, self.revision.clone(), self.on_standbys, self.grace);
        let mut boot = Booting {
            target: &target,
            ctx: ctx.clone(),
            role: self.role,
            contract: self.contract,
            lease: &lease,
            told: Vec::new(),
            busy: News::default(),
            under_way: News::default(),
            waits: News::default(),
            begun: BTreeSet::new(),
            probe: &self.probe,
        };
        let (keeper, unfinished) = boot.until_registered(connected, self.wait).await?;

        let version = lease.identity.version.clone();
        let instance: Arc<str> = lease.instance.as_str().into();
        if self.heartbeat > self.grace / 2 {
            tracing::warn!(
                target: "schemadiff", heartbeat = ?self.heartbeat, grace = ?self.grace,
                "one heartbeat that is lost is enough for this instance to be given up: send them more often"
            );
        }
        let fence = Fence::new(self.grace);
        let known = (self.probe.clone(), fence.clone());
        let keep = lease::keep(keeper, ctx.clone(), lease, self.heartbeat, stopped, known);
        let mut tasks: Vec<JoinHandle<()>> = vec![tokio::spawn(keep)];
        if self.role == Role::Apply && unfinished {
            let until = if self.contract == Contract::Automatic { Phase::Contract } else { Phase::Backfill };
            tasks.push(tokio::spawn(in_background::<B>(target, ctx, until, self.contract_poll)));
        }
        let Self { app, on_standbys, migrations, probe, soak, .. } = self;
        Ok(Lockstep { app, version, instance, on_standbys, ledger, url, migrations, soak, stop, probe, fence, tasks })
    }
}

/// The address that was given, or that of the environment. An empty one is none.
fn address(given: Option<String>, environment: Option<String>) -> Result<String> {
    given.or_else(|| environment.filter(|url| !url.is_empty())).ok_or(Error::NoAddress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_missing_is_told_from_one_that_is_wrong() {
        let given = |text: &str| Some(text.to_owned());
        assert_eq!(address(given("sqlite:a.db"), given("sqlite:b.db")).unwrap(), "sqlite:a.db");
        assert_eq!(address(None, given("sqlite:b.db")).unwrap(), "sqlite:b.db");
        for nothing in [None, given("")] {
            assert_eq!(address(None, nothing).unwrap_err().code(), "SD0259");
        }
    }
}
