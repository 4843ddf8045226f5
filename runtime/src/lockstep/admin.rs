//! What the command-line tool does with a database: apply, look, take back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::sync::watch;

pub use super::run::StepReport;
use super::{
    Event, Holder, Progress, Retry, Status,
    context::{Context, Stop},
    decide,
    retry::{jittered, random_name},
    run::{Advance, Work},
    status,
};
use crate::{
    backend::Backend,
    embed::{History, Migrations},
    error::{Error, Result},
    model::Dialect,
    plan::Phase,
};

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
    /// Pause after a batch of a backfill, as a multiple of the default; 0 for a database that nobody else uses.
    pub pause: f64,
    /// Connections that fill at the same time, on engines with more than one writer.
    pub parallel: u32,
    /// Set to true by the caller, the run stops at the next safe point with [`Error::Interrupted`].
    pub stop: Option<watch::Receiver<bool>>,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self {
            until: Phase::Contract,
            app: "cargo-schemadiff".to_owned(),
            wait: Some(Duration::ZERO),
            retry: Retry::default(),
            grace: super::lease::GRACE,
            pause: 1.0,
            parallel: 1,
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
/// When a step fails, when live versions hold the gate for longer than the caller waits ([`Error::GateClosed`]), and when
/// these migrations and the database's ledger are not one history.
pub async fn apply(
    url: &str,
    migrations: &Migrations,
    options: &ApplyOptions,
    progress: Arc<dyn Progress>,
) -> Result<ApplyReport> {
    by_engine!(url, apply_on(migrations, options, progress))
}

/// What has been done, who runs, and what waits for whom. Works on a database without a ledger.
///
/// # Errors
/// When the database cannot be read.
pub async fn status(url: &str, migrations: Option<&Migrations>) -> Result<Status> {
    by_engine!(url, status_on(migrations))
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

fn context(history: Arc<History>, options: &ApplyOptions, progress: Arc<dyn Progress>) -> Context {
    Context {
        app: options.app.clone(),
        token: random_name(),
        history,
        progress,
        stop: options.stop.clone().map_or_else(Stop::never, Stop::when),
        retry: options.retry,
        grace: options.grace,
        pause: options.pause,
        parallel: options.parallel,
    }
}

/// The migrations, if they are for this engine. An empty set is for every engine.
fn history_for<B: Backend>(migrations: &Migrations) -> Result<Arc<History>> {
    let history = migrations.history()?;
    let plans = history.snapshot().dialect;
    if plans != B::DIALECT {
        return Err(Error::OtherDialect { plans, database: B::DIALECT });
    }
    Ok(history)
}

/// Connects and makes sure that there is a ledger of the same history.
async fn open<B: Backend>(url: &str, ctx: &Context) -> Result<B> {
    let mut db = B::connect(&B::target(url)?).await?;
    let ledger = match ctx.ledger(&mut db).await? {
        Some(ledger) => ledger,
        None => {
            db.create_ledger().await?;
            ctx.tell(&Event::LedgerCreated);
            ctx.ledger(&mut db).await?.unwrap_or_default()
        }
    };
    decide::same_history(&ctx.history, &ledger, &ctx.app)?;
    Ok(db)
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
    let db = open::<B>(url, &ctx).await?;
    let mut work = Work::take(db, &mut ctx, deadline).await?;
    let mut report = ApplyReport::default();
    let result = to_the_end(&mut work, &mut ctx, options.until, deadline, &mut report).await;
    work.give_back().await;
    result.map(|()| report)
}

async fn to_the_end<B: Backend>(
    work: &mut Work<B>,
    ctx: &mut Context,
    until: Phase,
    deadline: Option<Instant>,
    report: &mut ApplyReport,
) -> Result<()> {
    let mut told = Vec::new();
    loop {
        match work.advance(until, &mut report.steps).await? {
            Advance::Finished => {
                report.left = work.left().await?;
                return Ok(());
            }
            Advance::Closed { migration, step, holders } => {
                if names(&holders) != told {
                    ctx.tell(&Event::GateClosed { migration: &migration, step: &step, holders: &holders });
                    told = names(&holders);
                }
                if deadline.is_some_and(|at| Instant::now() >= at) {
                    return Err(Error::GateClosed { migration, step, holders });
                }
                ctx.stop.sleep(jittered(Duration::from_millis(500))).await?;
            }
        }
    }
}

/// Who they are, without what changes from look to look.
pub(super) fn names(holders: &[Holder]) -> Vec<(String, String, String)> {
    holders.iter().map(|h| (h.app.clone(), h.version.clone(), h.instance.clone())).collect()
}

async fn status_on<B: Backend>(url: &str, migrations: Option<&Migrations>) -> Result<Status> {
    let history = migrations.map(|m| history_for::<B>(m)).transpose()?;
    let mut db = B::connect(&B::target(url)?).await?;
    let status = status::read(&mut db, history.as_deref()).await;
    db.close().await;
    status
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
    let mut db = open::<B>(url, &ctx).await?;
    // What cannot be taken back is said at once, not after waiting for somebody who works.
    let ledger = ctx.ledger(&mut db).await?.unwrap_or_default();
    decide::may_abort(&plan, &ledger)?;
    let mut work = Work::take(db, &mut ctx, deadline).await?;
    let result = work.abort(&plan).await;
    work.give_back().await;
    match result? {
        None | Some(Advance::Finished) => Ok(()),
        Some(Advance::Closed { migration, step, holders }) => Err(Error::GateClosed { migration, step, holders }),
    }
}
