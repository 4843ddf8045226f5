//! One step, in the envelope that the plan asks for.

use std::time::{Duration, Instant};

use tracing::Instrument as _;

use super::{
    Event, Holder, backfill,
    context::{Context, Failed},
    gate::{self, Change, Pass},
    look, lost,
    retry::{Retry, jittered},
};
use crate::{
    backend::{Approach, Backend, ErrorClass, StepState, Timeouts, kept, ledger},
    error::{Error, Result},
    plan::{Action, Envelope, Plan, Step, Way},
};

/// What became of a step.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// It is on record; so many rows were changed by it.
    Done { rows: u64 },
    /// Live versions hold it.
    Closed(Vec<Holder>),
}

/// What became of one attempt.
enum Attempt {
    Done,
    Busy,
    Closed(Vec<Holder>),
}

/// How much of the step one transaction is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Gate, statements and record.
    Whole,
    /// Gate, and the record that it has begun.
    Begin,
    /// Gate, what takes the step back, and the record that the proof is left to do.
    TakeBack,
    /// Statements and record, the gate has been asked before.
    Work,
    /// The record that it is done.
    End,
}

/// Carries a step out. Afterwards it is on record as done or undone, or nothing of it is there.
pub(super) async fn step<B: Backend>(
    db: &mut B,
    ctx: &mut Context,
    plan: &Plan,
    step: &Step,
    way: Way,
) -> Result<Outcome> {
    match carry_out(db, ctx, plan, step, way).await {
        Err(error) if way == Way::Forward => Err(look::explain(db, step, error).await),
        outcome => outcome,
    }
}

async fn carry_out<B: Backend>(db: &mut B, ctx: &mut Context, plan: &Plan, step: &Step, way: Way) -> Result<Outcome> {
    if let (Action::Backfill(backfill), Way::Forward) = (&step.action, way) {
        return match transaction(db, ctx, plan, step, way, Part::Begin).await? {
            Outcome::Done { .. } => {
                let span = tracing::info_span!(target: "schemadiff", "backfill", table = %backfill.table);
                let rows = backfill::run(db, ctx, plan, step, backfill).instrument(span).await?;
                transaction(db, ctx, plan, step, way, Part::End).await?;
                Ok(Outcome::Done { rows })
            }
            closed => Ok(closed),
        };
    }
    if way == Way::Back && !step.undo_proof.is_empty() {
        return back_and_proven(db, ctx, plan, step).await;
    }
    match step.envelope {
        Envelope::Rebuild => {
            let target = db.connected_to().clone();
            let mut own = B::connect_for_rebuild(&target).await?;
            if let Some(stop) = ctx.stop.receiver() {
                own.stop_when(stop).await;
            }
            let outcome = transaction(&mut own, ctx, plan, step, way, Part::Whole).await;
            own.close().await;
            outcome
        }
        // A proof is taken back by making the constraint again without it: that is short, and locks the table.
        Envelope::Long if B::SESSION_LOCKS && way == Way::Forward => {
            match transaction(db, ctx, plan, step, way, Part::Begin).await? {
                Outcome::Done { .. } => {
                    let _onlooker = Onlooker::start(db, ctx, plan, step).await;
                    transaction(db, ctx, plan, step, way, Part::Work).await
                }
                closed => Ok(closed),
            }
        }
        Envelope::Concurrent if B::SESSION_LOCKS => match transaction(db, ctx, plan, step, way, Part::Begin).await? {
            Outcome::Done { .. } => {
                concurrently(db, ctx, plan, step, way).await?;
                transaction(db, ctx, plan, step, way, Part::End).await
            }
            closed => Ok(closed),
        },
        _ => transaction(db, ctx, plan, step, way, Part::Whole).await,
    }
}

/// Takes a step back in a short transaction, and proves in a long one what that has put back unproven. Between the two the step
/// is on record as running: whoever goes on, in whatever direction, finds what is there.
async fn back_and_proven<B: Backend>(db: &mut B, ctx: &mut Context, plan: &Plan, step: &Step) -> Result<Outcome> {
    let unproven = ledger::is_unproven(db, &plan.id, &step.id).await;
    let unproven = unproven.map_err(|e| ledger::explain::<B>("read how far a step is taken back", e))?;
    if !unproven {
        look::before_back(db, ctx, plan, step).await?;
    }
    let part = if unproven { Part::Begin } else { Part::TakeBack };
    match transaction(db, ctx, plan, step, Way::Back, part).await? {
        Outcome::Done { .. } => {
            let _onlooker = Onlooker::start(db, ctx, plan, step).await;
            transaction(db, ctx, plan, step, Way::Back, Part::Work).await
        }
        closed => Ok(closed),
    }
}

/// Says how far the server is with a statement that takes long and whom it waits for, seen through a connection of its own; ends with this value.
struct Onlooker(Option<tokio::task::JoinHandle<()>>);

impl Drop for Onlooker {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Between two looks; what is shorter needs none.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Onlooker {
    async fn start<B: Backend>(db: &mut B, ctx: &Context, plan: &Plan, step: &Step) -> Self {
        let Ok(Some(session)) = db.session().await else { return Self(None) };
        let (target, ctx) = (db.connected_to().clone(), ctx.clone());
        let (migration, step) = (plan.id.clone(), step.id.clone());
        Self(Some(tokio::spawn(async move {
            let mut own: Option<B> = None;
            let mut told = Vec::new();
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let mut db = match own.take() {
                    Some(db) => db,
                    None => match B::connect(&target).await {
                        Ok(db) => db,
                        Err(_) => continue,
                    },
                };
                // Without it the step still runs, only nobody sees how far it is.
                let Ok(seen) = db.server_progress(session).await else { continue };
                let Ok(blockers) = db.held_up_by(session).await else { continue };
                own = Some(db);
                let (migration, step) = (&migration, &step);
                if let Some((phase, done, total)) = &seen {
                    let (done, total) = (*done, *total);
                    ctx.tell(&Event::ServerProgress { migration, step, phase, done, total });
                }
                let sessions: Vec<_> = blockers.iter().map(|b| (b.pid, b.query.clone())).collect();
                if !blockers.is_empty() && sessions != told {
                    ctx.tell(&Event::HeldUp { migration, step, blockers: &blockers });
                    told = sessions;
                }
            }
        })))
    }
}

/// One transaction with the retry ladder around it.
async fn transaction<B: Backend>(
    db: &mut B,
    ctx: &mut Context,
    plan: &Plan,
    step: &Step,
    way: Way,
    part: Part,
) -> Result<Outcome> {
    let began = Instant::now();
    let mut attempt = 1;
    loop {
        ctx.stop.check()?;
        let timeouts = match part {
            Part::Whole | Part::TakeBack => {
                let (lock, statement) = short_timeouts(step);
                Timeouts { lock: ctx.retry.lock_timeout(lock, attempt), statement }
            }
            Part::Work => Timeouts::NONE,
            Part::Begin | Part::End => Timeouts::LEDGER,
        };
        let attempted = Try { timeouts, patient: Retry::is_patient(attempt), changes: Vec::new() };
        match attempt_once(db, ctx, plan, step, (way, part), attempted).await {
            Ok(Attempt::Done) => return Ok(Outcome::Done { rows: 0 }),
            Ok(Attempt::Closed(holders)) => return Ok(Outcome::Closed(holders)),
            Ok(Attempt::Busy) if began.elapsed() < ctx.retry.budget => {
                ctx.stop.sleep(jittered(Duration::from_millis(150))).await?;
            }
            Ok(Attempt::Busy) => {
                return Err(lock_not_had(db, plan, step, attempt));
            }
            Err(Problem::Statement(failed)) if failed.error.class.is_transient() => {
                if !ctx.retry.allows(attempt, began.elapsed()) {
                    let error = lock_not_had(db, plan, step, attempt);
                    note(db, plan, step, &error.to_string()).await;
                    return Err(error);
                }
                again(db, ctx, plan, step, attempt, &failed).await?;
                attempt += 1;
            }
            Err(Problem::Statement(failed)) => {
                was_stopped(ctx, &failed)?;
                note(db, plan, step, &failed.error.to_string()).await;
                return Err(failed.explain::<B>(plan, step));
            }
            Err(Problem::Other(error)) => return Err(error),
        }
    }
}

/// Lock and statement timeout of a step that is one transaction. What a long step does to take itself back is short.
fn short_timeouts(step: &Step) -> (Duration, Duration) {
    let (lock, statement) = match step.envelope {
        Envelope::Long => (200, 5_000),
        _ => (step.lock_timeout_ms, step.statement_timeout_ms),
    };
    (Duration::from_millis(lock), Duration::from_millis(statement))
}

/// A statement that was cancelled because somebody said so has not failed.
fn was_stopped(ctx: &Context, failed: &Failed) -> Result<()> {
    if failed.error.class == ErrorClass::Cancelled { ctx.stop.check() } else { Ok(()) }
}

fn lock_not_had<B: Backend>(db: &mut B, plan: &Plan, step: &Step, attempts: u32) -> Error {
    let (migration, step) = (plan.id.clone(), step.id.clone());
    Error::LockNotHad { migration, step, attempts, blockers: db.take_blockers() }
}

/// Says who is in the way, and waits.
async fn again<B: Backend>(
    db: &mut B,
    ctx: &mut Context,
    plan: &Plan,
    step: &Step,
    attempt: u32,
    failed: &Failed,
) -> Result<()> {
    let blockers = db.take_blockers();
    let pause = ctx.retry.pause(attempt);
    let cause = failed.error.to_string();
    ctx.tell(&Event::Retrying {
        migration: &plan.id,
        step: &step.id,
        attempt,
        pause_ms: u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
        cause: &cause,
        blockers: &blockers,
    });
    let who = blockers.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    note(db, plan, step, if who.is_empty() { &cause } else { &who }).await;
    ctx.stop.sleep(pause).await
}

/// Puts a failure on record for `status`; that it cannot be is no further failure.
async fn note<B: Backend>(db: &mut B, plan: &Plan, step: &Step, error: &str) {
    if let Err(cause) = ledger::step_failed(db, &plan.id, &step.id, error).await {
        tracing::debug!(%cause, "a failed attempt could not be put on record");
    }
}

enum Problem {
    Statement(Failed),
    Other(Error),
}

impl From<Failed> for Problem {
    fn from(failed: Failed) -> Self {
        Self::Statement(failed)
    }
}

/// One attempt at a transaction.
struct Try {
    timeouts: Timeouts,
    /// Whether it waits for a moment in which the locks are free, see [`Approach`].
    patient: bool,
    /// What it makes of versions, to be told when it is committed.
    changes: Vec<Change>,
}

async fn attempt_once<B: Backend>(
    db: &mut B,
    ctx: &Context,
    plan: &Plan,
    step: &Step,
    (way, part): (Way, Part),
    mut attempted: Try,
) -> Result<Attempt, Problem> {
    db.begin(attempted.timeouts).await.map_err(Failed::from)?;
    let within = within(db, ctx, plan, step, (way, part), &mut attempted).await;
    match within {
        Ok(Attempt::Done) => {
            db.commit().await.map_err(Failed::from)?;
            attempted.changes.iter().for_each(|change| change.tell(ctx, plan, step));
            Ok(Attempt::Done)
        }
        other => {
            db.rollback().await;
            other
        }
    }
}

async fn within<B: Backend>(
    db: &mut B,
    ctx: &Context,
    plan: &Plan,
    step: &Step,
    (way, part): (Way, Part),
    attempted: &mut Try,
) -> Result<Attempt, Problem> {
    if matches!(part, Part::Whole | Part::Begin | Part::TakeBack) {
        let pass = gate::pass(db, ctx, plan, step, way, &mut attempted.changes).await;
        match pass.map_err(Problem::Other)? {
            Pass::Open => {}
            Pass::Busy => return Ok(Attempt::Busy),
            Pass::Closed(holders) => return Ok(Attempt::Closed(holders)),
            Pass::Already => return Ok(Attempt::Done),
            Pass::Lost => return Err(Problem::Other(Error::LostWork)),
        }
    } else if !ledger::still_working(db, &ctx.token).await.map_err(Failed::from)? {
        return Err(Problem::Other(Error::LostWork));
    }
    if way == Way::Back {
        // From here on it is not what the ledger says of a migration that is done.
        ledger::reopen_migration(db, &plan.id).await.map_err(Failed::from)?;
    }
    if part == Part::Begin {
        ledger::step_running(db, &plan.id, step).await.map_err(Failed::from)?;
        return Ok(Attempt::Done);
    }
    let is_gone = way == Way::Back && Box::pin(lost::lost_its_tables(db, step)).await.map_err(Failed::from)?;
    if matches!(part, Part::Whole | Part::TakeBack) && !is_gone {
        let approach = Approach { locks: &step.locks, way, patient: attempted.patient };
        db.approach(&approach, attempted.timeouts).await.map_err(Failed::from)?;
    }
    if is_gone && matches!(part, Part::Whole | Part::TakeBack) && B::SESSION_LOCKS {
        Box::pin(lost::what_is_left(db, step)).await?;
    }
    if part != Part::End && !is_gone {
        let broken_before = db.broken().await.map_err(Failed::from)?;
        let is_rebuild = step.envelope == Envelope::Rebuild;
        let hanging = if is_rebuild { db.hanging().await.map_err(Failed::from)? } else { Vec::new() };
        for sql in statements(step, way, part) {
            // What begins after a stop is not cancelled by it.
            ctx.stop.check().map_err(Problem::Other)?;
            db.execute(sql).await.map_err(Failed::at(sql))?;
        }
        if is_rebuild {
            db.restore(&hanging).await.map_err(Failed::from)?;
            no_orphans(db, plan, step).await?;
        }
        let objects: Vec<String> =
            db.broken().await.map_err(Failed::from)?.difference(&broken_before).cloned().collect();
        if !objects.is_empty() {
            let (migration, step) = (plan.id.clone(), step.id.clone());
            return Err(Problem::Other(Error::WouldBreak { migration, step, objects }));
        }
    }
    if part == Part::TakeBack {
        ledger::step_unproven(db, &plan.id, step).await.map_err(Failed::from)?;
        return Ok(Attempt::Done);
    }
    if !step.keeps.is_empty() {
        let recorded = match way {
            Way::Forward => kept::keep(db, &plan.id, &step.id, &step.keeps).await,
            Way::Back => kept::end(db, &plan.id, &step.id, None).await,
        };
        recorded.map_err(Failed::from)?;
    }
    ledger::step_ended(db, &plan.id, &step.id, StepState::after(way)).await.map_err(Failed::from)?;
    let along = plan.taken_back_with(step).skip(1).filter(|_| way == Way::Back);
    for earlier in along {
        ledger::step_ended(db, &plan.id, &earlier.id, StepState::Undone).await.map_err(Failed::from)?;
    }
    if way == Way::Forward {
        ledger::settle_migration(db, &plan.id).await.map_err(Failed::from)?;
    }
    gate::readmit(db, ctx, &mut attempted.changes).await.map_err(Problem::Other)?;
    Ok(Attempt::Done)
}

fn statements(step: &Step, way: Way, part: Part) -> &[String] {
    match (way, &step.action) {
        (Way::Back, _) if part == Part::Work => &step.undo_proof,
        (Way::Back, _) => &step.undo,
        (Way::Forward, Action::Sql(statements)) => statements,
        (Way::Forward, Action::Backfill(_) | Action::Generated(_)) => &[],
    }
}

async fn no_orphans<B: Backend>(db: &mut B, plan: &Plan, step: &Step) -> Result<(), Problem> {
    let mut tables: Vec<String> = step.effects.iter().filter_map(|d| d.table()).map(|t| t.name.clone()).collect();
    tables.sort();
    tables.dedup();
    let violations = db.foreign_key_violations(&tables).await.map_err(Failed::from)?;
    if violations == 0 {
        return Ok(());
    }
    let (migration, step) = (plan.id.clone(), step.id.clone());
    Err(Problem::Other(Error::ForeignKeys { migration, step, rows: Box::default(), violations }))
}

/// Statements outside a transaction. The probe comes first: a crash may have come between the work and its record.
async fn concurrently<B: Backend>(db: &mut B, ctx: &mut Context, plan: &Plan, step: &Step, way: Way) -> Result<()> {
    let mut began = Instant::now();
    let mut attempt = 1;
    loop {
        ctx.stop.check()?;
        let mut moved = false;
        let ran = run_outside(db, ctx, plan, step, way, &mut moved).await;
        if moved {
            // The budget is for getting nowhere.
            (began, attempt) = (Instant::now(), 1);
        }
        match ran {
            Ok(Ran::Whole) => return Ok(()),
            Ok(Ran::NotWhole) if ctx.stop.check().is_err() => {}
            Ok(Ran::NotWhole) => return Err(Error::NotDone { migration: plan.id.clone(), step: step.id.clone() }),
            Ok(Ran::NotBegun { what }) => {
                let error = Error::NameTaken { migration: plan.id.clone(), step: step.id.clone(), what };
                note(db, plan, step, &error.to_string()).await;
                return Err(error);
            }
            Err(failed) => {
                clean_up(db, step).await;
                was_stopped(ctx, &failed)?;
                note(db, plan, step, &failed.error.to_string()).await;
                if !failed.error.class.is_transient() {
                    return Err(failed.explain::<B>(plan, step));
                }
                if !ctx.retry.allows(attempt, began.elapsed()) {
                    return Err(lock_not_had(db, plan, step, attempt));
                }
                again(db, ctx, plan, step, attempt, &failed).await?;
                attempt += 1;
            }
        }
    }
}

/// What became of statements outside a transaction.
enum Ran {
    /// The work is there.
    Whole,
    /// They ran, or were stopped, and the work is not there.
    NotWhole,
    /// None was sent, because this stands in the way.
    NotBegun { what: String },
}

async fn run_outside<B: Backend>(
    db: &mut B,
    ctx: &Context,
    plan: &Plan,
    step: &Step,
    way: Way,
    moved: &mut bool,
) -> Result<Ran, Failed> {
    // No lock timeout: it would leave an invalid index behind each time. Queueing here blocks no reader and no writer.
    db.session_timeouts(Timeouts::NONE).await?;
    let wanted = way == Way::Forward;
    // What was taken back half-way is not there and not gone: the statements that take it back fit any state.
    let generated = match &step.action {
        Action::Generated(generated) => Some(generated),
        Action::Sql(_) | Action::Backfill(_) => None,
    };
    if let Some(probe) = step.done_when.as_ref().filter(|_| generated.is_none() || wanted) {
        if db.is_true(probe).await.map_err(Failed::at(probe))? == wanted {
            if way == Way::Back {
                clear(db, step).await?;
            }
            ctx.tell(&Event::StepFound { migration: &plan.id, step: &step.id });
            return Ok(Ran::Whole);
        }
        if let Some(what) = in_the_way(db, step).await? {
            return Ok(Ran::NotBegun { what });
        }
        if way == Way::Forward {
            clear(db, step).await?;
        }
    }
    let transactions = db.old_transactions().await?;
    if !transactions.is_empty() {
        ctx.tell(&Event::OldTransactions { migration: &plan.id, step: &step.id, transactions: &transactions });
    }
    let _onlooker = Onlooker::start(db, ctx, plan, step).await;
    for sql in statements(step, way, Part::Whole) {
        if ctx.stop.check().is_err() {
            return Ok(Ran::NotWhole);
        }
        db.execute(sql).await.map_err(Failed::at(sql))?;
    }
    if let Some(generated) = generated.filter(|_| wanted) {
        one_by_one(db, ctx, step, &generated.next_sql, moved).await?;
    }
    let whole = match &step.done_when {
        Some(probe) => db.is_true(probe).await.map_err(Failed::at(probe))? == wanted,
        None => true,
    };
    Ok(if whole { Ran::Whole } else { Ran::NotWhole })
}

/// What has the name that the step needs and is not the step's own.
async fn in_the_way<B: Backend>(db: &mut B, step: &Step) -> Result<Option<String>, Failed> {
    let Some(query) = &step.stopped_by else { return Ok(None) };
    let rows = db.rows(query, &[]).await.map_err(Failed::at(query))?;
    Ok(rows.into_iter().next().map(|row| row.into_iter().flatten().collect::<Vec<_>>().join(", ")))
}

/// Clears away what an attempt has left.
async fn clear<B: Backend>(db: &mut B, step: &Step) -> Result<(), Failed> {
    let Some(query) = &step.clean_up else { return Ok(()) };
    let rows = db.rows(query, &[]).await.map_err(Failed::at(query))?;
    for sql in rows.iter().flatten().flatten() {
        db.execute(sql).await.map_err(Failed::at(sql))?;
    }
    Ok(())
}

/// Runs what the query gives until it gives nothing; `moved` says whether a statement was carried out. A statement that comes
/// twice in a row does not do what it should: the probe then says that the step is not done.
async fn one_by_one<B: Backend>(
    db: &mut B,
    ctx: &Context,
    step: &Step,
    next: &str,
    moved: &mut bool,
) -> Result<(), Failed> {
    let mut last = String::new();
    while ctx.stop.check().is_ok() {
        let rows = db.rows(next, &[]).await.map_err(Failed::at(next))?;
        let mut values = rows.into_iter().flatten();
        let Some(sql) = values.next().flatten().filter(|sql| *sql != last) else { return Ok(()) };
        let wait = values.next().flatten().and_then(|wait| wait.parse().ok()).unwrap_or_default();
        let lock = ctx.retry.lock_timeout(Duration::from_millis(wait), 1);
        let timeouts = Timeouts { lock, ..Timeouts::NONE };
        db.session_timeouts(timeouts).await?;
        if values.next().flatten().as_deref() == Some("true") {
            locked_at_once(db, step, &sql, timeouts).await?;
        } else {
            db.execute(&sql).await.map_err(Failed::at(&sql))?;
        }
        (*moved, last) = (true, sql);
    }
    Ok(())
}

/// Runs a statement in a transaction that has the step's locks before it begins.
async fn locked_at_once<B: Backend>(db: &mut B, step: &Step, sql: &str, timeouts: Timeouts) -> Result<(), Failed> {
    db.begin(timeouts).await?;
    let within = async {
        db.approach(&Approach { locks: &step.locks, way: Way::Forward, patient: false }, timeouts).await?;
        db.execute(sql).await.map_err(Failed::at(sql))?;
        Ok::<_, Failed>(db.commit().await?)
    };
    let done = within.await;
    if done.is_err() {
        db.rollback().await;
    }
    done
}

/// Removes what a failed attempt left, so that nothing half-done stays behind.
async fn clean_up<B: Backend>(db: &mut B, step: &Step) {
    match clear(db, step).await {
        Ok(()) => {}
        // The next attempt begins with the same statement.
        Err(e) if e.error.class == ErrorClass::Connection => {}
        Err(failed) => {
            let error = failed.error;
            tracing::warn!(target: "schemadiff", step = step.id, %error, "what a failed attempt left stays");
        }
    }
}
