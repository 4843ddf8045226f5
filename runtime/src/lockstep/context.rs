//! What the parts of one run share.

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    Backfills, Event, Progress, Retry,
    backfill::Rounds,
    decide::World,
    throttle::{Load, Pace},
    witness::Witness,
};
use crate::{
    backend::{Backend, DbError, ErrorClass, LEDGER_FORMAT, Lease, Ledger, MigrationRow, MigrationState, ledger},
    embed::{Entry, History},
    error::{Error, Result},
    model::{Fingerprint, Schema},
    plan::{Plan, Step},
};

/// Tells a run to stop at the next safe point. Dropping every sender means nothing.
#[derive(Debug, Clone)]
pub(super) struct Stop(Option<watch::Receiver<bool>>);

impl Stop {
    pub(super) fn never() -> Self {
        Self(None)
    }

    pub(super) fn when(receiver: watch::Receiver<bool>) -> Self {
        Self(Some(receiver))
    }

    pub(super) fn receiver(&self) -> Option<watch::Receiver<bool>> {
        self.0.clone()
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.0.as_ref().is_some_and(|r| *r.borrow()) { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Waits, unless told to stop.
    pub(super) async fn sleep(&mut self, pause: Duration) -> Result<()> {
        self.unless(tokio::time::sleep(pause)).await
    }

    /// Does something that may be left half done, unless told to stop.
    pub(super) async fn unless<T>(&mut self, what: impl Future<Output = T>) -> Result<T> {
        self.check()?;
        let Some(receiver) = &mut self.0 else { return Ok(what.await) };
        let told = async {
            if receiver.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await; // nobody is left who could tell
            }
        };
        tokio::select! {
            done = what => Ok(done),
            () = told => Err(Error::Interrupted),
        }
    }
}

/// What does not change during a run.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) app: String,
    /// Whether others may wait while a step goes through a large table.
    pub(super) accepts_stall: bool,
    /// Data that may be lost when a migration is taken back, by name.
    pub(super) may_go: BTreeSet<String>,
    /// Name of this time of holding the work.
    pub(super) token: String,
    pub(super) history: Arc<History>,
    pub(super) progress: Arc<dyn Progress>,
    pub(super) stop: Stop,
    pub(super) retry: Retry,
    pub(super) grace: Duration,
    pub(super) soak: Duration,
    /// What was seen of the heartbeats of others.
    pub(super) witness: Witness,
    /// Connections of this process.
    pub(super) load: Load,
    /// How gentle backfills are.
    pub(super) pace: Pace,
    /// The functions of the application that give values.
    pub(super) backfills: Backfills,
    /// When rows that old code has written may be looked for again.
    pub(super) rounds: Rounds,
}

impl Context {
    pub(super) fn tell(&self, event: &Event<'_>) {
        self.progress.event(event);
    }

    /// Reads the ledger; the plans of migrations that the history does not hold come with it.
    pub(super) async fn ledger<B: Backend>(&self, db: &mut B) -> Result<Option<Ledger>> {
        ledger::read(db, &self.known()).await
    }

    /// The migrations whose plans need not be read.
    pub(super) fn known(&self) -> Vec<&str> {
        self.history.entries().iter().map(|e| e.head.id.as_str()).collect()
    }

    /// Who runs, for a decision.
    pub(super) async fn leases<B: Backend>(&self, db: &mut B) -> Result<Vec<Lease>> {
        let mut leases = db.leases().await.map_err(|e| ledger::explain::<B>("read the leases", e))?;
        // A schema without anything holds no gate, and is none that somebody registered with who named another.
        let nothing = Schema::default();
        let emptied = |l: &&Lease| l.identity.schema == nothing && l.fingerprint != Fingerprint::of(&nothing);
        if let Some(lease) = leases.iter().find(emptied) {
            let cause = format!("the schema of the lease {} is not the one that it registered with", lease.instance);
            return Err(Error::LedgerDamaged { cause });
        }
        self.witness.leases(&mut leases, self.grace);
        Ok(leases)
    }

    /// The ledger as it is when every migration of the history is done and there is no other. Its times are not known.
    pub(super) fn all_done(&self) -> Ledger {
        let done = |entry: &Entry| MigrationRow {
            id: entry.head.id.clone(),
            parent: entry.head.parent.clone(),
            app: self.app.clone(),
            checksum: entry.head.checksum.clone(),
            before: entry.head.before.clone(),
            after: entry.head.after.clone(),
            state: MigrationState::Done,
            started_ms: 0,
            finished_ms: None,
            applied_by: String::new(),
            plan: None,
            steps: Vec::new(),
        };
        let migrations = self.history.entries().iter().map(done).collect();
        Ledger { format: LEDGER_FORMAT, migrations, ..Ledger::default() }
    }

    pub(super) fn world<'a>(&'a self, plans: &'a [Plan], ledger: &'a Ledger, leases: &'a [Lease]) -> World<'a> {
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let (grace_ms, soak_ms) = (ms(self.grace), ms(self.soak));
        World { snapshot: self.history.snapshot(), plans, ledger, leases, grace_ms, soak_ms }
    }
}

/// A failure inside a step's transaction.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: DbError,
    /// The statement of the plan that failed; none when it was one of the ledger's.
    pub(super) statement: Option<String>,
}

impl From<DbError> for Failed {
    fn from(error: DbError) -> Self {
        Self { error, statement: None }
    }
}

impl Failed {
    pub(super) fn at(statement: &str) -> impl FnOnce(DbError) -> Self + '_ {
        move |error| Self { error, statement: Some(statement.to_owned()) }
    }

    /// For people.
    pub(super) fn explain<B: Backend>(self, plan: &Plan, step: &Step) -> Error {
        let Self { error, statement } = self;
        match (error.class, statement) {
            (ErrorClass::Connection, _) => Error::ConnectionLost {
                doing: format!("carry out step {}", step.id),
                code: error.code,
                cause: error.message,
            },
            (_, Some(statement)) => Error::StepFailed {
                migration: plan.id.clone(),
                step: step.id.clone(),
                rows: Box::default(),
                statement: statement.into(),
                code: error.code.into(),
                cause: error.message,
            },
            (_, None) => ledger::explain::<B>("write the ledger", error),
        }
    }
}
