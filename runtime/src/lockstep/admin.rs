//! What the command-line tool does with a database: apply, look, take back.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::sync::watch;

use super::{
    Backfills, Connections, Holder, Progress, Retry, Status,
    backfill::Rounds,
    context::{Context, Stop},
    decide, hooked, retire,
    run::Work,
    status,
    throttle::{Load, Pace},
    to_the_end::{self, Back},
    trouble::open,
    witness::Witness,
};
pub use super::{retire::RetiredInstance, run::StepReport};
use crate::{
    backend::{
        Aside, Backend, DbResult, KeptRow, MigrationState, Pacing, Timeouts, Worker, aside, kept, ledger, pace,
        random_name,
    },
    embed::{History, Migrations},
    error::{Error, Result},
    model::Dialect,
    plan::Phase,
    waiting::Evidence,
};

/// Who applies where nobody has given a name. It is nobody's: two services may both have been applied under it.
pub const ANONYMOUS: &str = "cargo-schemadiff";

/// How [`apply`] works.
#[derive(Debug, Clone)]
pub struct ApplyOptions {
    /// The last phase that is carried out.
    pub until: Phase,
    /// Who applies, for the record: the tool, or the application.
    pub app: String,
    /// How long to wait for another process that migrates and for a closed gate; none is for ever, zero not at all.
    pub wait: Option<Duration>,
    /// Retry ladder.
    pub retry: Retry,
    /// How long a heartbeat counts as life, where it is the evidence.
    pub grace: Duration,
    /// How long a version that is gone is still waited for before a contract phase leaves it behind.
    pub soak: Duration,
    /// How gentle it is.
    pub pace: Pace,
    /// Functions that give values to rows, for backfills that SQL cannot say.
    pub backfills: Backfills,
    /// Whether others may wait while a step goes through a large table, see [`Error::Large`].
    pub accept_stall: bool,
    /// Tables and columns whose data may be lost when a migration is taken back, as [`crate::plan::Loss::name`] has them.
    pub allow_drop: Vec<String>,
    /// Set to true by the caller, the run stops at the next safe point with [`Error::Interrupted`].
    pub stop: Option<watch::Receiver<bool>>,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self {
            until: Phase::Contract,
            app: ANONYMOUS.to_owned(),
            wait: Some(Duration::ZERO),
            retry: Retry::default(),
            grace: super::lease::GRACE,
            soak: Duration::ZERO,
            pace: Pace::default(),
            backfills: Backfills::default(),
            accept_stall: false,
            allow_drop: Vec::new(),
            stop: None,
        }
    }
}

/// What [`apply`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ApplyReport {
    /// Steps carried out, in order.
    pub steps: Vec<StepReport>,
    /// Steps that are left, because a phase was not asked for: migration and step.
    pub left: Vec<(String, String)>,
}

/// The engine behind an address.
///
/// # Errors
/// For an address of no known form.
pub fn dialect_of(url: &str) -> Result<Dialect> {
    match url.split(':').next().unwrap_or_default() {
        "postgres" | "postgresql" => Ok(Dialect::Postgres),
        "sqlite" => Ok(Dialect::Sqlite),
        "mysql" | "mariadb" => Err(Error::EngineMissing { dialect: Dialect::Mysql }),
        _ => Err(Error::Address),
    }
}

/// Calls a generic function for the engine of an address.
macro_rules! by_engine {
    ($url:expr, $call:ident ( $($arg:expr),* )) => {
        match dialect_of($url)? {
            #[cfg(feature = "postgres")]
            Dialect::Postgres => $call::<crate::backend::postgres::Postgres>($url, $($arg),*).await,
            #[cfg(any(feature = "sqlite", feature = "sqlite-unbundled"))]
            Dialect::Sqlite => $call::<crate::backend::sqlite::Sqlite>($url, $($arg),*).await,
            #[allow(unreachable_patterns)]
            dialect => Err(Error::EngineMissing { dialect }),
        }
    };
}

/// Carries the migrations out, up to and with a phase. What is done already is not done again.
///
/// # Errors
/// When a step fails, when live versions hold the gate for longer than the caller waits ([`Error::GateClosed`]), when a phase that
/// was asked for waits for one of an earlier migration that was not ([`Error::Behind`]), and when these migrations and the database's ledger are not one history.
pub async fn apply(
    url: &str,
    migrations: &Migrations,
    options: &ApplyOptions,
    progress: Arc<dyn Progress>,
) -> Result<ApplyReport> {
    by_engine!(url, apply_on(migrations, options, progress))
}

/// Whether every migration has been carried out, found out with one question.
///
/// # Errors
/// When the database cannot be read, and when these migrations and its ledger are not one history.
pub async fn is_settled(url: &str, migrations: &Migrations) -> Result<bool> {
    by_engine!(url, is_settled_on(migrations))
}

async fn is_settled_on<B: Backend>(url: &str, migrations: &Migrations) -> Result<bool> {
    let history = history_for::<B>(migrations)?;
    let known: Vec<&str> = history.entries().iter().map(|e| e.head.id.as_str()).collect();
    let mut db = B::connect(&B::target(url)?).await?;
    let ledger = ledger::read(&mut db, &known).await;
    db.close().await;
    let Some(ledger) = ledger? else { return Ok(false) };
    Ok(history.entries().iter().all(|entry| {
        let row = ledger.migration(&entry.head.id);
        row.is_some_and(|row| row.state == MigrationState::Done && row.checksum == entry.head.checksum)
    }))
}

/// What has been done, who runs, and what waits for whom. Works on a database without a ledger.
///
/// # Errors
/// When the database cannot be read.
pub async fn status(url: &str, migrations: Option<&Migrations>) -> Result<Status> {
    status_soaking(url, migrations, Duration::ZERO).await
}

/// The same where contract phases wait for versions that are gone until the soak time is over: each migrates with its own, and what
/// waits for whom depends on it.
///
/// # Errors
/// When the database cannot be read.
pub async fn status_soaking(url: &str, migrations: Option<&Migrations>, soak: Duration) -> Result<Status> {
    by_engine!(url, status_on(migrations, soak))
}

/// Whether the connections of the code that runs now, and whose newest migration this is, see its compatibility views. Nothing is known of a database
/// without a ledger.
///
/// # Errors
/// When the database cannot be read.
pub async fn connections_of(url: &str, migration: &str) -> Result<Connections> {
    by_engine!(url, connections_on(migration))
}

/// Takes a migration back whose contract phase has not begun.
///
/// # Errors
/// When live versions need what it added ([`Error::GateClosed`]), and when it is too late.
pub async fn abort(
    url: &str,
    migrations: &Migrations,
    id: &str,
    options: &ApplyOptions,
    progress: Arc<dyn Progress>,
) -> Result<()> {
    by_engine!(url, abort_on(migrations, id, options, progress))
}

/// What [`undo`] did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Undone {
    /// The migration.
    pub migration: String,
    /// The contract steps that were taken back, in order.
    pub steps: Vec<String>,
}

/// Takes the contract phase of a migration back that set aside what it would have dropped: the old version can run again,
/// beside the new one. Services leave it so; [`apply`] carries the contract phase out again. Without an id it is the newest
/// of these migrations of which something is kept.
///
/// # Errors
/// When live versions would break ([`Error::GateClosed`]), when a step of it has no way back, when what it had set aside is
/// gone ([`Error::Purged`]), and when another migration follows it.
pub async fn undo(
    url: &str,
    migrations: &Migrations,
    id: Option<&str>,
    options: &ApplyOptions,
    progress: Arc<dyn Progress>,
) -> Result<Undone> {
    by_engine!(url, undo_on(migrations, id, options, progress))
}

/// Drops for good what contract phases have set aside, of one migration or of all, whether their time is over or not.
///
/// # Errors
/// When the server refuses, and when another process works.
pub async fn purge(
    url: &str,
    migrations: &Migrations,
    id: Option<&str>,
    options: &ApplyOptions,
    progress: Arc<dyn Progress>,
) -> Result<Vec<KeptRow>> {
    by_engine!(url, purge_on(migrations, id, options, progress))
}

/// An instance as `APP/INSTANCE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Application.
    pub app: String,
    /// Instance.
    pub instance: String,
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.rsplit_once('/') {
            Some((app, instance)) if !app.is_empty() && !instance.is_empty() => {
                Ok(Self { app: app.to_owned(), instance: instance.to_owned() })
            }
            _ => Err("write APP/INSTANCE, as `cargo schemadiff status` shows them".to_owned()),
        }
    }
}

/// Retires an instance that is dead while its lease or its sessions still hold a contract phase, and writes the reason down. It
/// counts as dead when it has shown no sign of life for `grace`.
///
/// # Errors
/// When there is no such instance ([`Error::NoSuchInstance`]), when it is alive ([`Error::InstanceAlive`]), and when the
/// server fails or refuses to end its sessions.
pub async fn retire(url: &str, target: &Target, reason: &str, grace: Duration) -> Result<RetiredInstance> {
    by_engine!(url, retire_on(target, reason, grace))
}

async fn retire_on<B: Backend>(url: &str, target: &Target, reason: &str, grace: Duration) -> Result<RetiredInstance> {
    let mut db = B::connect(&B::target(url)?).await?;
    let user = std::env::var("USER").or_else(|_| std::env::var("USERNAME")).unwrap_or_else(|_| "somebody".to_owned());
    let by = format!("{user} on {}", crate::backend::Process::current().host);
    let grace_ms = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
    // Nothing is written into a ledger that is newer than this.
    ledger::read(&mut db, &[]).await?;
    let result = retire::retire(&mut db, target, reason, &by, grace_ms).await;
    db.close().await;
    result
}

/// What the operator says to backfills, from another terminal than theirs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wish {
    /// Stop before the next batch, until somebody resumes. It holds for backfills that begin later, too.
    Pause,
    /// Go on at the speed that was wished for before.
    Resume,
    /// Work in this share of the time, above 0 and up to 1; none leaves it to the throttle.
    Speed(Option<f64>),
}

/// Writes a wish down. Whoever fills sees it within half a second; returns what holds from now on.
///
/// # Errors
/// When there is no ledger yet ([`Error::NothingToPace`]), and when the database cannot be written.
pub async fn wish(url: &str, wish: Wish, by: &str) -> Result<Pacing> {
    by_engine!(url, wish_on(wish, by))
}

async fn wish_on<B: Backend>(url: &str, wish: Wish, by: &str) -> Result<Pacing> {
    let mut db = B::connect(&B::target(url)?).await?;
    let result = write_wish(&mut db, wish, by).await;
    db.close().await;
    result
}

async fn write_wish<B: Backend>(db: &mut B, wish: Wish, by: &str) -> Result<Pacing> {
    let failed = |e| ledger::explain::<B>("write down the speed of backfills", e);
    if ledger::read(db, &[]).await?.is_none() {
        return Err(Error::NothingToPace);
    }
    ledger::prepare(db, "pace").await?;
    let now = pace::read(db).await.map_err(failed)?;
    let (paused, speed) = match wish {
        Wish::Pause => (true, now.speed),
        Wish::Resume => (false, now.speed),
        Wish::Speed(speed) => (now.paused, speed),
    };
    pace::wish(db, paused, speed, by).await.map_err(failed)?;
    pace::read(db).await.map_err(failed)
}

/// The rows that backfills have kept aside, by key, with the reasons.
///
/// # Errors
/// When the database cannot be read.
pub async fn failed_rows(url: &str) -> Result<Vec<Aside>> {
    by_engine!(url, failed_rows_on())
}

async fn failed_rows_on<B: Backend>(url: &str) -> Result<Vec<Aside>> {
    let mut db = B::connect(&B::target(url)?).await?;
    let rows = aside::read(&mut db, None).await;
    db.close().await;
    rows.map_err(|e| ledger::explain::<B>("read the rows that are kept aside", e))
}

/// Has the rows tried again that backfills have kept aside; how many they are. A program that waits with the function tries
/// them in its next round, others when the step is carried out again.
///
/// # Errors
/// When the database cannot be written.
pub async fn retry_failed_rows(url: &str) -> Result<u64> {
    by_engine!(url, retry_failed_rows_on())
}

async fn retry_failed_rows_on<B: Backend>(url: &str) -> Result<u64> {
    let mut db = B::connect(&B::target(url)?).await?;
    // It may be of a newer format, and not this version's to write to.
    let count = match ledger::read(&mut db, &[]).await {
        Ok(Some(_)) => {
            let forgotten = forget_failed_rows(&mut db).await;
            db.release_work_lock().await;
            let failed = |e| ledger::explain::<B>("forget the rows that are kept aside", e);
            forgotten.map_err(failed).and_then(|count| {
                count.ok_or_else(|| Error::WorkerBusy { holder: "a process that fills rows at this moment".to_owned() })
            })
        }
        Ok(None) => Ok(0),
        Err(error) => Err(error),
    };
    db.close().await;
    count
}

/// They lie behind the cursors of their steps, which begin anew. That comes first: of what is still kept aside, the next run knows.
/// None while somebody works, who would write his cursor over it.
async fn forget_failed_rows<B: Backend>(db: &mut B) -> DbResult<Option<u64>> {
    db.begin(Timeouts::LEDGER).await?;
    let within = async {
        if !db.try_work_lock().await? {
            return Ok(None);
        }
        // Where no lock shows it: whether its process runs, or was heard of lately where that cannot be seen from here.
        let heard_of = |worker: &Worker| {
            u128::try_from(worker.heartbeat_age_ms).is_ok_and(|age| age <= super::lease::GRACE.as_millis())
        };
        let works = |worker: Worker| {
            worker.evidence != Evidence::Lock && worker.process.runs().unwrap_or_else(|| heard_of(&worker))
        };
        match ledger::worker(db).await?.is_some_and(works) {
            true => Ok(None),
            false => rewound(db).await.map(Some),
        }
    };
    let forgotten = within.await;
    match forgotten {
        Ok(Some(_)) => db.commit().await?,
        _ => db.rollback().await,
    }
    forgotten
}

async fn rewound<B: Backend>(db: &mut B) -> DbResult<u64> {
    let rows = aside::read(db, None).await?;
    let steps: BTreeSet<(&str, &str)> = rows.iter().map(|row| (row.migration.as_str(), row.step.as_str())).collect();
    for (migration, step) in &steps {
        ledger::rewind(db, migration, step).await?;
    }
    if rows.is_empty() { Ok(0) } else { aside::forget(db, None).await }
}

fn context(history: Arc<History>, options: &ApplyOptions, progress: Arc<dyn Progress>) -> Context {
    Context {
        app: options.app.clone(),
        token: random_name(),
        accepts_stall: options.accept_stall,
        may_go: options.allow_drop.iter().cloned().collect(),
        history,
        progress,
        stop: options.stop.clone().map_or_else(Stop::never, Stop::when),
        retry: Retry { max_stall: options.pace.max_stall.or(options.retry.max_stall), ..options.retry },
        grace: options.grace,
        soak: options.soak,
        witness: Witness::default(),
        pace: options.pace.clone(),
        backfills: options.backfills.clone(),
        load: Load::default(),
        rounds: Rounds::default(),
    }
}

/// The migrations, if they are for this engine. An empty set is for every engine.
pub(super) fn history_for<B: Backend>(migrations: &Migrations) -> Result<Arc<History>> {
    let history = migrations.history()?;
    let plans = history.snapshot().dialect;
    if plans != B::DIALECT {
        return Err(Error::OtherDialect { plans, database: B::DIALECT });
    }
    Ok(history)
}

async fn apply_on<B: Backend>(
    url: &str,
    migrations: &Migrations,
    options: &ApplyOptions,
    progress: Arc<dyn Progress>,
) -> Result<ApplyReport> {
    let history = history_for::<B>(migrations)?;
    let mut ctx = context(history, options, progress);
    let deadline = options.wait.and_then(|wait| Instant::now().checked_add(wait));
    let db = open::<B>(url, &mut ctx).await?;
    let mut work = Work::take(db, &mut ctx, deadline).await?;
    // Somebody who asks for the contract phase wants also what was undone before.
    let redone = if options.until == Phase::Contract { work.redo().await } else { Ok(()) };
    if let Err(error) = redone {
        work.give_back().await;
        return Err(error);
    }
    Box::pin(to_the_end::run(work, &mut ctx, options.until, deadline)).await
}

/// Who they are, without what changes from look to look.
pub(super) fn names(holders: &[Holder]) -> Vec<(String, String, String)> {
    holders.iter().map(|h| (h.app.clone(), h.version.clone(), h.instance.clone())).collect()
}

async fn status_on<B: Backend>(url: &str, migrations: Option<&Migrations>, soak: Duration) -> Result<Status> {
    let history = migrations.map(|m| history_for::<B>(m)).transpose()?;
    let mut db = B::connect(&B::target(url)?).await?;
    let status = status::read(&mut db, history.as_deref(), soak).await;
    db.close().await;
    status
}

async fn connections_on<B: Backend>(url: &str, version: &str) -> Result<Connections> {
    let mut db = B::connect(&B::target(url)?).await?;
    let grace_ms = i64::try_from(super::lease::GRACE.as_millis()).unwrap_or(i64::MAX);
    let found = async {
        if ledger::read(&mut db, &[]).await?.is_none() {
            return Ok(Connections::default());
        }
        let failed = |e| ledger::explain::<B>("look at the sessions of the old version", e);
        let leases = db.leases().await.map_err(failed)?;
        hooked::connections(&mut db, version, &leases, grace_ms).await.map_err(failed)
    }
    .await;
    db.close().await;
    found
}

async fn abort_on<B: Backend>(
    url: &str,
    migrations: &Migrations,
    id: &str,
    options: &ApplyOptions,
    progress: Arc<dyn Progress>,
) -> Result<()> {
    let history = history_for::<B>(migrations)?;
    let nothing = |problem: &str| Error::NothingToAbort { id: id.to_owned(), problem: problem.to_owned() };
    let plan = history.entry(id).ok_or_else(|| nothing("is not among these migrations"))?.plan()?;
    let mut ctx = context(Arc::clone(&history), options, progress);
    let deadline = options.wait.and_then(|wait| Instant::now().checked_add(wait));
    let mut db = open::<B>(url, &mut ctx).await?;
    // What cannot be taken back is said at once, not after waiting for somebody who works.
    let ledger = ctx.ledger(&mut db).await?.unwrap_or_default();
    decide::may_abort(&plan, &ledger)?;
    let work = Work::take(db, &mut ctx, deadline).await?;
    Box::pin(to_the_end::back(work, &mut ctx, (&plan, Back::Abort), deadline)).await.map(drop)
}

async fn undo_on<B: Backend>(
    url: &str,
    migrations: &Migrations,
    id: Option<&str>,
    options: &ApplyOptions,
    progress: Arc<dyn Progress>,
) -> Result<Undone> {
    let history = history_for::<B>(migrations)?;
    let mut ctx = context(Arc::clone(&history), options, progress);
    let deadline = options.wait.and_then(|wait| Instant::now().checked_add(wait));
    let mut db = open::<B>(url, &mut ctx).await?;
    let all = kept::all(&mut db).await.map_err(|e| ledger::explain::<B>("read what is kept", e))?;
    // Another service's may be newer.
    let newest = all.iter().map(|row| row.migration.as_str()).filter(|id| history.entry(id).is_some()).max();
    let id = id.or(newest).ok_or(Error::NothingKept)?;
    let nothing = || Error::NothingToAbort { id: id.to_owned(), problem: "is not among these migrations".to_owned() };
    let plan = history.entry(id).ok_or_else(nothing)?.plan()?;
    // What cannot come back is said at once, not after waiting for somebody who works.
    let ledger = ctx.ledger(&mut db).await?.unwrap_or_default();
    decide::may_undo(&plan, &ledger, &all)?;
    let work = Work::take(db, &mut ctx, deadline).await?;
    let steps = Box::pin(to_the_end::back(work, &mut ctx, (&plan, Back::Undo), deadline)).await?;
    Ok(Undone { migration: plan.id, steps })
}

async fn purge_on<B: Backend>(
    url: &str,
    migrations: &Migrations,
    id: Option<&str>,
    options: &ApplyOptions,
    progress: Arc<dyn Progress>,
) -> Result<Vec<KeptRow>> {
    let history = history_for::<B>(migrations)?;
    if let Some(id) = id.filter(|id| history.entry(id).is_none()) {
        return Err(Error::NothingToAbort { id: id.to_owned(), problem: "is not among these migrations".to_owned() });
    }
    let mut ctx = context(history, options, progress);
    let deadline = options.wait.and_then(|wait| Instant::now().checked_add(wait));
    let db = open::<B>(url, &mut ctx).await?;
    let mut work = Work::take(db, &mut ctx, deadline).await?;
    let result = work.purge(id).await;
    work.give_back().await;
    result
}
