//! Fills existing rows: passes over the table, several workers in one pass where that is asked for, and the count at the
//! end. `walk` knows how far it is, `worker` carries the batches out, `compare` looks at what is stored when all is filled.

mod compare;
mod late;
mod rate;
mod search;
mod turn;
mod values;
mod walk;
mod worker;

use std::{
    sync::{
        Arc, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Mutex, task::JoinSet};

use self::{
    compare::Sample,
    rate::Rate,
    turn::Turn,
    values::Values,
    walk::{Cursor, Walk},
    worker::Worker,
};
use super::{
    Event,
    context::{Context, Failed},
    throttle::Throttle,
};
use crate::{
    backend::{Backend, DbError, ErrorClass, TextRow, Timeouts, UserTriggers, aside, ledger},
    error::{Error, Result},
    plan::{Backfill, Plan, Step},
    waiting::Evidence,
};

pub(super) use compare::before_contract;
pub(super) use late::{Rounds, late_rows};
pub(super) use search::failing_row;
pub(super) use walk::{left_of, total_of};

/// Passes over the table: more than one only when rows were locked, or moved behind the cursor, while it went. The last one
/// waits for locked rows.
const PASSES: u32 = 5;

/// For so long the first batch waits until the rows are counted.
const COUNTED_FIRST: Duration = Duration::from_millis(100);

/// How long the second worker's connection may take to open: the others work by what was seen of the load before.
const OPENED: Duration = Duration::from_secs(2);

/// What the workers of one backfill share.
struct Job {
    plan: Plan,
    step: Step,
    backfill: Backfill,
    walk: Mutex<Walk>,
    /// Rows filled by earlier runs, and by this one.
    earlier: u64,
    rows: Arc<AtomicU64>,
    /// Rows that waited in the beginning, when somebody has counted them beside the first batches.
    counted: Arc<OnceLock<u64>>,
    /// Counts them; ends with the job.
    counting: std::sync::Mutex<JoinSet<()>>,
    rate: Rate,
    /// One worker has failed: the others end after their batch.
    failed: AtomicBool,
    /// Where a function of the application gives the values.
    values: Option<Values>,
    /// Triggers of the user's have a say.
    fires: bool,
    /// The trigger that puts back what they make of the rows; none where there are no such.
    restored_by: Option<String>,
    /// Ranges to compare in the end.
    sample: std::sync::Mutex<Sample>,
}

impl Job {
    fn new(ctx: &Context, plan: &Plan, step: &Step, backfill: &Backfill, earlier: u64) -> Result<Self> {
        let values = match &backfill.given {
            Some(given) => Some(Values::new(ctx, plan, step, backfill, given)?),
            None => None,
        };
        Ok(Self {
            plan: plan.clone(),
            step: step.clone(),
            backfill: backfill.clone(),
            walk: Mutex::default(),
            earlier,
            rows: Arc::default(),
            counted: Arc::default(),
            counting: std::sync::Mutex::default(),
            rate: Rate::new(),
            failed: AtomicBool::new(false),
            values,
            fires: true,
            restored_by: backfill.restored_by.clone(),
            sample: std::sync::Mutex::default(),
        })
    }

    fn triggers(&self) -> UserTriggers<'_> {
        UserTriggers { fire: self.fires, restored_by: self.restored_by.as_deref(), quiet: &self.backfill.quiet }
    }

    fn sample(&self) -> MutexGuard<'_, Sample> {
        self.sample.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn explain<B: Backend>(&self, failed: Failed) -> Error {
        let (migration, step) = (self.plan.id.clone(), self.step.id.clone());
        let table = self.backfill.table.to_string();
        match failed.error.class {
            ErrorClass::Full => {
                Error::NoSpace { migration, step, code: failed.error.code, cause: failed.error.message }
            }
            ErrorClass::Missing if failed.statement.is_some() => {
                Error::BackfillTarget { migration, step, table, cause: failed.error.message }
            }
            _ => failed.explain::<B>(&self.plan, &self.step),
        }
    }

    /// What a question that was cut short is about: it was told to stop, or it has failed.
    fn stopped<B: Backend>(&self, ctx: &Context, failed: Failed) -> Error {
        ctx.stop.check().err().unwrap_or_else(|| self.explain::<B>(failed))
    }

    fn tell(&self, ctx: &Context, total: Option<u64>, pace: &str) {
        let rows = self.rows.load(Ordering::Relaxed);
        let (per_second, done) = (self.rate.saw(rows), self.earlier + rows);
        let left_ms = total.and_then(|total| rate::left_ms(total.saturating_sub(done), per_second));
        let (migration, step) = (&self.plan.id, &self.step.id);
        ctx.tell(&Event::Backfill { migration, step, rows: done, total, per_second, left_ms, pace });
    }
}

/// Fills until no row waits. Returns the rows changed in this run.
pub(super) async fn run<B: Backend>(
    db: &mut B,
    ctx: &mut Context,
    plan: &Plan,
    step: &Step,
    backfill: &Backfill,
) -> Result<u64> {
    let (mut cursor, earlier) = stored(db, ctx, plan, step).await?;
    let mut job = Job::new(ctx, plan, step, backfill, earlier)?;
    (job.fires, job.restored_by) = name_triggers(db, ctx, &job).await?;
    let job = Arc::new(job);
    if job.values.is_some() {
        ledger::prepare(db, "aside").await?;
        let forgotten = aside::forget(db, Some((&plan.id, &step.id))).await;
        if forgotten.map_err(|e| job.explain::<B>(e.into()))? > 0 {
            // They lie behind the cursor, and are tried again.
            cursor = cursor.anew();
        }
    }
    if cursor.pass >= PASSES && cursor.is_at_end() {
        // The run that ended there has failed; what kept it from filling some rows may be gone.
        cursor = cursor.anew();
    }
    let mut throttle = Throttle::start(db, ctx);
    ctx.load.is_ours(db).await;
    throttle.ready(&mut ctx.stop).await?;
    loop {
        if cursor.upper.is_empty() {
            let Some(next) = next_pass(db, ctx, &job, &cursor).await? else { break };
            cursor = next;
        }
        *job.walk.lock().await = Walk::from(cursor.clone());
        pass(db, ctx, &job, &throttle, cursor.pass < PASSES).await?;
        cursor = job.walk.lock().await.cursor().clone();
        job.tell(ctx, cursor.total, &throttle.now().reason);
        if let Some(values) = &job.values {
            if values.is_done(db, ctx, &job, &cursor).await? {
                break;
            }
            ctx.stop.sleep(ctx.retry.pause(cursor.pass)).await?;
            cursor = cursor.again();
            continue;
        }
        let remaining = match remaining(db, &job).await {
            Ok(0) => break,
            Ok(remaining) => remaining,
            // Somebody has written meanwhile what the expression fails on: the next pass finds that row and names it.
            Err(failed) if is_for_the_walk(ctx, &failed) && cursor.pass < PASSES => {
                cursor = cursor.again();
                continue;
            }
            Err(failed) => return Err(job.stopped::<B>(ctx, failed)),
        };
        let left = left(db, &job).await.map_err(|e| job.stopped::<B>(ctx, e))?;
        let (migration, step) = (plan.id.clone(), step.id.clone());
        if left.iter().any(|row| row.null) {
            let keys = left.into_iter().filter(|row| row.null).map(|row| row.key).collect();
            let error = Error::BackfillNull { migration, step, table: backfill.table.to_string(), remaining, keys };
            note(db, &job, &error).await;
            return Err(error);
        }
        if cursor.pass >= PASSES {
            let keys = left.into_iter().map(|row| row.key).collect();
            let error = Error::BackfillIncomplete { migration, step, remaining, keys };
            note(db, &job, &error).await;
            return Err(error);
        }
        ctx.stop.sleep(ctx.retry.pause(cursor.pass)).await?;
        cursor = cursor.again();
    }
    compare::run(db, ctx, &job, throttle).await?;
    Ok(job.rows.load(Ordering::Relaxed))
}

/// For `status`; that it cannot be put on record is no further failure.
async fn note<B: Backend>(db: &mut B, job: &Job, error: &Error) {
    if let Err(cause) = ledger::step_failed(db, &job.plan.id, &job.step.id, &error.to_string()).await {
        tracing::debug!(%cause, "a failed backfill could not be put on record");
    }
}

/// They may stamp or copy each row that is filled; whoever looks should know before it is done. The trigger that puts back
/// what they make of the rows is asked for only where there are such: it takes time.
async fn name_triggers<B: Backend>(db: &mut B, ctx: &Context, job: &Job) -> Result<(bool, Option<String>)> {
    let columns: Vec<&str> = job.backfill.set.iter().map(|a| a.column.as_str()).collect();
    let found = db.update_triggers(&job.backfill.table, &columns).await;
    let triggers = found.map_err(|e| job.explain::<B>(e.into()))?;
    if triggers.is_empty() {
        return Ok((false, None));
    }
    let restored_by = job.backfill.restored_by.clone();
    let (migration, step, table) = (&job.plan.id, &job.step.id, job.backfill.table.to_string());
    let restored = restored_by.is_some();
    ctx.tell(&Event::FiresTriggers { migration, step, table: &table, triggers: &triggers, restored });
    Ok((true, restored_by))
}

/// One way along the key, by as many workers as were asked for. Every one of them takes the next range when it has done
/// one, so that none ends early because its part of the table was a small one.
async fn pass<B: Backend>(
    db: &mut B,
    ctx: &mut Context,
    job: &Arc<Job>,
    throttle: &Throttle,
    may_skip: bool,
) -> Result<()> {
    let mut others = JoinSet::new();
    // One writer at a time is all that a file takes.
    let asked = if B::SESSION_LOCKS { ctx.pace.parallel } else { Some(1) };
    // What a function of the application does meanwhile is not known here: it is called by as many as were asked for.
    let helpers = match asked {
        Some(workers) => vec![Turn::Always; workers.saturating_sub(1) as usize],
        // Triggers of the user's may lock one and the same row for either. Behind a pooler sessions are nobody's own: neither would
        // the workers know theirs from those of others.
        None if job.values.is_some() || job.fires || db.evidence() != Evidence::Lock => Vec::new(),
        None => vec![Turn::Alone],
    };
    for turn in helpers {
        let (target, ctx, job, throttle) = (db.connected_to().clone(), ctx.clone(), Arc::clone(job), throttle.clone());
        others.spawn(help::<B>(target, ctx, job, throttle, may_skip, turn));
    }
    let mut result = Worker::new(db, ctx, job, throttle.clone(), may_skip).run(Turn::Always).await;
    while let Some(other) = others.join_next().await {
        let other = other.unwrap_or_else(|e| Err(Error::Contradiction { cause: format!("a worker ended early: {e}") }));
        result = result.and(other);
    }
    result
}

/// Works on a connection of its own, which is open only while it is its turn.
async fn help<B: Backend>(
    target: B::Target,
    mut ctx: Context,
    job: Arc<Job>,
    throttle: Throttle,
    may_skip: bool,
    turn: Turn,
) -> Result<()> {
    while turn.comes(&mut ctx, &job, &throttle).await? {
        // Fewer do as well: the server may have no connection left.
        let (mut own, session) = match opened::<B>(&target, &ctx, turn).await {
            Ok(opened) => opened,
            Err(error) => {
                tracing::warn!(target: "schemadiff", error, "one worker less fills the rows");
                return Ok(());
            }
        };
        let result = Worker::new(&mut own, &mut ctx, &job, throttle.clone(), may_skip).run(turn).await;
        own.close().await;
        ctx.load.is_gone(session);
        result?;
        if turn == Turn::Always {
            break;
        }
    }
    Ok(())
}

/// A connection of a worker's own, known as one of this process before anybody looks at the load: the one that nobody asked for is not
/// to be taken for somebody else.
async fn opened<B: Backend>(target: &B::Target, ctx: &Context, turn: Turn) -> Result<(B, Option<i64>), String> {
    let open = async {
        let mut own = B::connect(target).await.map_err(|error| error.to_string())?;
        // Settles that it is a session of its own, too.
        own.session_timeouts(Timeouts::NONE).await.map_err(|error| error.to_string())?;
        let session = ctx.load.is_ours(&mut own).await;
        Ok((own, session))
    };
    if turn == Turn::Always {
        return open.await;
    }
    let _nobody_looks = ctx.load.unseen().await;
    tokio::time::timeout(OPENED, open).await.unwrap_or_else(|_| Err("the server does not answer".to_owned()))
}

async fn stored<B: Backend>(db: &mut B, ctx: &Context, plan: &Plan, step: &Step) -> Result<(Cursor, u64)> {
    let ledger = ctx.ledger(db).await?;
    let row = ledger.as_ref().and_then(|l| l.step(&plan.id, &step.id));
    let rows = row.and_then(|row| u64::try_from(row.rows_done).ok()).unwrap_or_default();
    // A cursor of another form is from a version that kept it otherwise: filling is idempotent, begin again.
    let cursor = row.and_then(|row| Cursor::from_text(row.cursor.as_deref()?)).unwrap_or_default();
    Ok((cursor, rows))
}

/// Takes the upper bound, once for each pass, so that inserts cannot outrun it: the trigger that fills them is there. None
/// when the table is empty.
async fn next_pass<B: Backend>(db: &mut B, ctx: &Context, job: &Job, before: &Cursor) -> Result<Option<Cursor>> {
    let total = match before.total {
        Some(total) => Some(total),
        None => first_count(db, ctx, job).await?,
    };
    let rows = ask(db, &job.backfill.upper_sql).await.map_err(|e| job.stopped::<B>(ctx, e))?;
    let Some(upper) = rows.into_iter().next().filter(|row| row.iter().any(Option::is_some)) else {
        return Ok(None);
    };
    let per_second = before.per_second;
    let cursor = Cursor { upper, last: None, pass: before.pass + 1, total, missed: 0, per_second };
    let text = cursor.to_text();
    let (plan, step) = (&job.plan.id, &job.step.id);
    let kept = ledger::batch(db, &ctx.token, plan, step, &text, 0).await;
    if kept.map_err(|e| job.explain::<B>(e.into()))? { Ok(Some(cursor)) } else { Err(Error::LostWork) }
}

/// How many rows wait, for those who look at the progress. A large table is counted beside the first batches; where there is one
/// writer at a time a reader may be in its way.
async fn first_count<B: Backend>(db: &mut B, ctx: &Context, job: &Job) -> Result<Option<u64>> {
    let sql = &job.backfill.remaining_sql;
    let counted = match B::SESSION_LOCKS {
        true => db.look(sql, COUNTED_FIRST).await.map_err(Failed::at(sql)).and_then(|rows| number_of(sql, &rows)),
        false => remaining(db, job).await,
    };
    match counted {
        Ok(waiting) => Ok(Some(job.earlier + job.rows.load(Ordering::Relaxed) + waiting)),
        Err(failed) if B::SESSION_LOCKS && failed.error.class == ErrorClass::Cancelled && ctx.stop.check().is_ok() => {
            count_beside(db, ctx, job);
            Ok(None)
        }
        // Where an expression fails on a row, the walk finds that row and names it.
        Err(failed) if is_for_the_walk(ctx, &failed) => Ok(None),
        Err(failed) => Err(job.stopped::<B>(ctx, failed)),
    }
}

fn count_beside<B: Backend>(db: &B, ctx: &Context, job: &Job) {
    let (target, load, sql) = (db.connected_to().clone(), ctx.load.clone(), job.backfill.remaining_sql.clone());
    let (earlier, rows, counted) = (job.earlier, Arc::clone(&job.rows), Arc::clone(&job.counted));
    let counting = async move {
        let Ok(mut own) = B::connect(&target).await else { return };
        load.is_ours(&mut own).await;
        // Those that are filled by now are not among those that wait.
        let filled = earlier + rows.load(Ordering::Relaxed);
        match ask(&mut own, &sql).await.and_then(|answer| number_of(&sql, &answer)) {
            Ok(waiting) => drop(counted.set(filled + waiting)),
            Err(failed) => tracing::debug!(error = %failed.error, "the rows that wait could not be counted"),
        }
        own.close().await;
    };
    job.counting.lock().unwrap_or_else(PoisonError::into_inner).spawn(counting);
}

/// Whether a question over the whole table can have failed because of one row: a function or a trigger may raise any error, that a
/// statement was cancelled or a lock not had too.
fn is_for_the_walk(ctx: &Context, failed: &Failed) -> bool {
    let class = failed.error.class;
    ctx.stop.check().is_ok() && (class.may_be_a_row() || class.is_transient() || class == ErrorClass::Cancelled)
}

/// A query over the whole table: it reads a snapshot and is in nobody's way.
async fn ask<B: Backend>(db: &mut B, sql: &str) -> Result<Vec<TextRow>, Failed> {
    db.session_timeouts(Timeouts::NONE).await?;
    db.rows(sql, &[]).await.map_err(Failed::at(sql))
}

async fn remaining<B: Backend>(db: &mut B, job: &Job) -> Result<u64, Failed> {
    let sql = &job.backfill.remaining_sql;
    number_of(sql, &ask(db, sql).await?)
}

fn number_of(sql: &str, rows: &[TextRow]) -> Result<u64, Failed> {
    let count = rows.first().and_then(|row| row.first()).and_then(|cell| cell.as_deref()?.parse().ok());
    let no_number = || {
        let message = "`remaining_sql` gives no number".to_owned();
        Failed::at(sql)(DbError { class: ErrorClass::Unreadable, code: String::new(), message })
    };
    count.ok_or_else(no_number)
}

/// A row that still waits.
struct Left {
    key: String,
    /// An expression gives NULL for a column that is to become NOT NULL.
    null: bool,
}

async fn left<B: Backend>(db: &mut B, job: &Job) -> Result<Vec<Left>, Failed> {
    let rows = ask(db, &job.backfill.left_sql).await?;
    Ok(rows
        .into_iter()
        .map(|mut row| {
            let null = row.pop().flatten().is_some_and(|cell| matches!(cell.as_str(), "true" | "1"));
            Left { key: name_of(&job.backfill, &row), null }
        })
        .collect())
}

/// A row's key, for people.
fn name_of(backfill: &Backfill, key: &[Option<String>]) -> String {
    let parts = backfill.key.iter().zip(key);
    let parts: Vec<_> =
        parts.map(|(column, value)| format!("{} = {}", column.name, value.as_deref().unwrap_or("NULL"))).collect();
    parts.join(", ")
}
