//! One process works at a time: taking the work, going step by step, giving it back.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use tracing::{Instrument as _, Span};

use super::{
    Event, Holder, Queued, backfill,
    beat::Beat,
    context::Context,
    decide::{self, Decision},
    execute::{self, Outcome},
    kept, look,
    news::News,
    retry::jittered,
    taking::{Busy, take_lock},
    trouble::Trouble,
};
use crate::{
    backend::{Backend, DbResult, KeptRow, Ledger, MigrationRow, MigrationState, StepState, Timeouts, ledger},
    error::{Error, Result},
    plan::{Action, Backfill, Phase, Plan, Step, Way},
};

/// Does it again with another connection for as long as it is the connection that fails, and enough has not been tried.
macro_rules! persevere {
    ($work:expr, $what:expr) => {{
        let mut trouble = Trouble::none();
        loop {
            trouble.begin();
            match $what.await {
                Err(error) if error.is_connection() => $work.reconnect(error, &mut trouble).await?,
                other => break other,
            }
        }
    }};
}

/// How long a connection that may be broken is given to release what it holds.
const FAREWELL: Duration = Duration::from_secs(2);

/// A connection that holds the work of this database.
pub(super) struct Work<B: Backend> {
    db: B,
    ctx: Context,
    told: Told,
    /// The migration whose step ran last.
    span: Option<(String, Span)>,
    /// Signs of life, where the row is all that others see of this process.
    _beat: Beat,
}

/// What need not be said or done again by a process that lays its work down for a while.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Migrations before whose contract phase clients without a lease have been looked for.
    strangers: BTreeSet<String>,
    /// Migrations of which it was said that they wait for an earlier one.
    queued: BTreeSet<String>,
    /// Migrations whose columns were found in step before their contract phase.
    compared: BTreeSet<String>,
    /// Whether what was kept for long enough has been looked for.
    purged: bool,
}

/// How far a run came.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Advance {
    /// Nothing is left to do in the phases asked for.
    Finished,
    /// The step that was asked for is done.
    Reached,
    /// The next step waits for live versions.
    Closed { migration: String, step: String, holders: Vec<Holder> },
    /// The next step waits for a program that has a function which this one lacks.
    Elsewhere { migration: String, step: String, table: String, function: String },
}

impl Advance {
    /// What whoever does not wait says of it, on that way; none when nothing is left.
    pub(super) fn into_error(self, way: Way) -> Option<Error> {
        match self {
            Self::Finished | Self::Reached => None,
            Self::Closed { migration, step, holders } => {
                Some(Error::GateClosed { migration, step, holders, back: way == Way::Back })
            }
            Self::Elsewhere { migration, step, table, function } => {
                Some(Error::NeedsApplication { migration, step, table, function })
            }
        }
    }
}

/// What an advance leaves.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Steps that are not done: migration and step.
    pub(super) steps: Vec<(String, String)>,
    /// Migrations with steps of the phases that were asked for, which wait for an earlier one.
    pub(super) behind: Vec<Queued>,
}

/// A step that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StepReport {
    /// Migration.
    pub migration: String,
    /// Step.
    pub step: String,
    /// Phase.
    pub phase: Phase,
    /// Rows a backfill changed in this run.
    pub rows: u64,
    /// How long it took, waiting for locks included.
    pub elapsed_ms: u64,
}

/// Replicas take the work for a moment to see whether a gate has opened; that is no reason to send anybody away.
const A_LOOK: Duration = Duration::from_secs(3);

/// How often the work is given back, at most.
const GIVING_BACK: u32 = 10;

impl<B: Backend> Work<B> {
    /// Tries to take the work once. `Err` of the inner result is the connection back, and who works.
    pub(super) async fn try_take(mut db: B, ctx: &Context) -> Result<Result<Self, (B, Busy)>> {
        match take_lock(&mut db, ctx).await {
            Ok(None) => {}
            Ok(Some(holder)) => return Ok(Err((db, holder))),
            // Whoever works holds its row, or the file, in a long transaction.
            Err(e) if e.class.is_transient() => {
                return Ok(Err((db, "another process writes to the database".to_owned().into())));
            }
            Err(e) => return Err(ledger::explain::<B>("take the work", e)),
        }
        if let Some(stop) = ctx.stop.receiver() {
            db.stop_when(stop).await;
        }
        let beat = Beat::start(&db, ctx);
        Ok(Ok(Self { db, ctx: ctx.clone(), told: Told::default(), span: None, _beat: beat }))
    }

    /// Takes the work, waiting for another process until `deadline`, and for one of which nothing is heard until it is sure that
    /// it works no more. Whoever does not want to wait waits for [`A_LOOK`] all the same.
    pub(super) async fn take(mut db: B, ctx: &mut Context, deadline: Option<Instant>) -> Result<Self> {
        let (target, mut watched, mut trouble) = (db.connected_to().clone(), None, Trouble::none());
        let (began, deadline) = (Instant::now(), deadline.map(|at| at.max(Instant::now() + A_LOOK)));
        let mut news = News::default();
        loop {
            ctx.stop.check()?;
            trouble.begin();
            let Busy { holder, suspected } = match Self::try_take(db, ctx).await {
                Ok(Ok(work)) => return Ok(work),
                Ok(Err((back, busy))) => {
                    db = back;
                    busy
                }
                Err(error) => {
                    db = trouble.connect(&target, ctx, error).await?;
                    continue;
                }
            };
            let until = suspected.then(|| *watched.get_or_insert_with(Instant::now) + ctx.grace + ctx.grace / 2);
            if deadline.is_some_and(|at| Instant::now() >= until.map_or(at, |until| at.max(until))) {
                db.close().await;
                return Err(Error::WorkerBusy { holder });
            }
            if began.elapsed() > A_LOOK / 2 && news.is_new(&holder) {
                ctx.tell(&Event::WorkerBusy { holder: &holder });
            }
            ctx.stop.sleep(jittered(Duration::from_millis(200))).await?;
        }
    }

    /// Gives the work back and closes the connection.
    pub(super) async fn give_back(self) {
        self.lay_down().await.0.close().await;
    }

    /// Gives the work back: whoever waits for others must not keep it from somebody who has something to do.
    pub(super) async fn lay_down(mut self) -> (B, Told) {
        // A file that others write to may take its time; as long as the row is there, others take this process to be at work.
        for left in (0..GIVING_BACK).rev() {
            match ledger::clear_worker(&mut self.db, &self.ctx.token).await {
                Err(error) if error.class.is_transient() && left > 0 => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "the worker's row stays; it counts for nothing without its signs of life");
                    break;
                }
                Ok(_) => break,
            }
        }
        self.db.release_work_lock().await;
        (self.db, self.told)
    }

    /// Takes up what was laid down.
    pub(super) fn taken_up(self, told: Told) -> Self {
        Self { told, ..self }
    }

    /// Step by step up to and with phase `until`, as far as the gate lets it. When the connection breaks, because the server
    /// restarts or for whatever reason, it goes on with another one, where the ledger says.
    pub(super) async fn advance(&mut self, until: Phase, done: &mut Vec<StepReport>) -> Result<Advance> {
        if !std::mem::replace(&mut self.told.purged, true) {
            persevere!(self, kept::purge_expired(&mut self.db, &mut self.ctx))?;
        }
        self.advance_to(until, None, done).await
    }

    /// The same, and no further than the step of that migration.
    pub(super) async fn advance_to(
        &mut self,
        until: Phase,
        goal: Option<(&str, &str)>,
        done: &mut Vec<StepReport>,
    ) -> Result<Advance> {
        persevere!(self, self.go_on(until, goal, done))
    }

    /// Takes the work again with a connection of its own; the one that broke may keep its lock for a while. Where it was another
    /// one that broke, one of a backfill's other workers, this one still has the lock, and nobody but itself could release it.
    async fn reconnect(&mut self, mut error: Error, trouble: &mut Trouble) -> Result<()> {
        let target = self.db.connected_to().clone();
        loop {
            if tokio::time::timeout(FAREWELL, self.db.release_work_lock()).await.is_err() {
                tracing::debug!(target: "schemadiff", "a connection that broke does not answer");
            }
            let db = trouble.connect::<B>(&target, &mut self.ctx, error).await?;
            error = match Self::try_take(db, &self.ctx).await {
                Ok(Ok(fresh)) => {
                    (self.db, self._beat) = (fresh.db, fresh._beat);
                    return Ok(());
                }
                Ok(Err((db, busy))) => {
                    db.close().await;
                    Error::WorkerBusy { holder: busy.holder }
                }
                Err(error) => error,
            };
        }
    }

    async fn go_on(&mut self, until: Phase, goal: Option<(&str, &str)>, done: &mut Vec<StepReport>) -> Result<Advance> {
        let mut shut: Option<(String, Vec<Holder>)> = None;
        loop {
            self.ctx.stop.check()?;
            let Some(now) = self.ctx.ledger(&mut self.db).await? else { return Err(Error::LostWork) };
            decide::same_history(&self.ctx.history, &now, &self.ctx.app)?;
            if goal.is_some_and(|(migration, step)| now.step_state(migration, step) == StepState::Done) {
                return Ok(Advance::Reached);
            }
            let plans = decide::pending(&self.ctx.history, &now)?;
            let plans: Vec<Plan> = plans.into_iter().map(|plan| self.db.placed(plan)).collect();
            let leases = self.ctx.leases(&mut self.db).await?;
            let world = self.ctx.world(&plans, &now, &leases);
            let next = decide::next(&world, until)?;
            if let Decision::Run { plan, step, .. } | Decision::Closed { plan, step, .. } = &next
                && step.phase == Phase::Contract
                && self.told.strangers.insert(plan.id.clone())
            {
                let (id, tables) = (plan.id.clone(), decide::contract_tables(std::slice::from_ref(plan), &now));
                strangers(&mut self.db, &self.ctx, &id, &tables).await;
            }
            let (plan, step) = match next {
                Decision::Finished => return Ok(Advance::Finished),
                Decision::Closed { plan, step, holders } => {
                    for queued in decide::queued(&world) {
                        if self.told.queued.insert(queued.migration.clone()) {
                            self.ctx.tell(&Event::Queued { queued: &queued });
                        }
                    }
                    let (plan, step) = (plan.clone(), step.id.clone());
                    self.fill_late_rows(&plan, &now).await?;
                    return Ok(Advance::Closed { migration: plan.id, step, holders });
                }
                Decision::Run { plan, step, .. } => (plan.clone(), step.clone()),
            };
            if let Action::Backfill(Backfill { given: Some(given), table, .. }) = &step.action
                && self.ctx.backfills.get(&given.by).is_none()
            {
                let (table, function) = (table.to_string(), given.by.clone());
                return Ok(Advance::Elsewhere { migration: plan.id, step: step.id, table, function });
            }
            if let Some(what) = self.db.shared_by(&plan) {
                return Err(Error::NotForTenant { migration: plan.id, what });
            }
            if look::is_untouched(&plan, &now) {
                look::before(&mut self.db, &self.ctx, &plan).await?;
            }
            let begun =
                |step: &Step| matches!(now.step_state(&plan.id, &step.id), StepState::Done | StepState::Running);
            let in_contract = step.phase == Phase::Contract;
            let begins = in_contract && !plan.phase(Phase::Contract).any(begun);
            // On the heap, as all that is seldom: a future holds the largest of its parts, and a test's thread has 2 MiB.
            if begins || !in_contract {
                Box::pin(look::small_enough(&mut self.db, &self.ctx, &plan, &step)).await?;
            }
            if begins && !self.told.compared.contains(&plan.id) {
                Box::pin(backfill::before_contract(&mut self.db, &mut self.ctx, &plan)).await?;
                self.told.compared.insert(plan.id.clone());
            }
            match self.one(&plan, &step, done).await? {
                Outcome::Done { .. } => shut = None,
                // Somebody registered between the decision and the gate. Decided again it is closed, or open.
                Outcome::Closed(holders) if shut.as_ref().is_none_or(|(s, _)| *s != step.id) => {
                    shut = Some((step.id.clone(), holders));
                }
                Outcome::Closed(holders) => {
                    return Ok(Advance::Closed { migration: plan.id, step: step.id, holders });
                }
            }
        }
    }

    /// Old code that is waited for writes rows without the values that functions of the application give: they get them while
    /// it is waited for, so that little is left when it has gone.
    async fn fill_late_rows(&mut self, plan: &Plan, now: &Ledger) -> Result<()> {
        for step in plan.phase(Phase::Backfill).filter(|s| now.step_state(&plan.id, &s.id) == StepState::Done) {
            if let Action::Backfill(backfill) = &step.action {
                backfill::late_rows(&mut self.db, &mut self.ctx, plan, step, backfill).await?;
            }
        }
        Ok(())
    }

    /// One span for each migration, which holds one for each of its steps.
    fn step_span(&mut self, plan: &Plan, step: &Step, way: Way) -> Span {
        let parent = match &self.span {
            Some((id, span)) if *id == plan.id => span.clone(),
            _ => {
                let span = tracing::info_span!(target: "schemadiff", "migration", id = plan.id, app = self.ctx.app);
                self.span = Some((plan.id.clone(), span.clone()));
                span
            }
        };
        tracing::info_span!(
            target: "schemadiff", parent: &parent, "step",
            id = step.id, phase = step.phase.as_str(), way = way.as_str()
        )
    }

    async fn one(&mut self, plan: &Plan, step: &Step, done: &mut Vec<StepReport>) -> Result<Outcome> {
        let began = Instant::now();
        let position = plan.steps.iter().position(|s| s.id == step.id).unwrap_or_default() + 1;
        self.ctx.tell(&Event::StepStarted {
            migration: &plan.id,
            step: &step.id,
            title: &step.title,
            phase: step.phase,
            position,
            of: plan.steps.len(),
        });
        if !step.keeps.is_empty() {
            ledger::prepare(&mut self.db, "kept").await?;
        }
        let span = self.step_span(plan, step, Way::Forward);
        let outcome = execute::step(&mut self.db, &mut self.ctx, plan, step, Way::Forward).instrument(span).await?;
        if let Outcome::Done { rows } = outcome {
            let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let (migration, id) = (plan.id.as_str(), step.id.as_str());
            self.ctx.tell(&Event::StepFinished { migration, step: id, phase: step.phase, elapsed_ms, rows });
            let (migration, step_id) = (plan.id.clone(), step.id.clone());
            done.push(StepReport { migration, step: step_id, phase: step.phase, rows, elapsed_ms });
            if position == plan.steps.len() {
                self.ctx.tell(&Event::MigrationFinished { migration: &plan.id });
            }
        }
        Ok(outcome)
    }

    /// Whether a migration has been taken back.
    pub(super) async fn is_aborted(&mut self, migration: &str) -> Result<bool> {
        let now = persevere!(self, self.ctx.ledger(&mut self.db))?.unwrap_or_default();
        Ok(now.migration(migration).is_some_and(|row| row.state == MigrationState::Aborted))
    }

    /// What is left, and which of it was asked for and waits for an earlier migration.
    pub(super) async fn left(&mut self, until: Phase) -> Result<Left> {
        let Some(now) = persevere!(self, self.ctx.ledger(&mut self.db))? else { return Ok(Left::default()) };
        let plans = decide::pending(&self.ctx.history, &now)?;
        let steps = plans.iter().flat_map(|plan| plan.steps.iter().map(move |step| (plan, step)));
        let steps: Vec<_> =
            steps.filter(|(plan, step)| now.step_state(&plan.id, &step.id) != StepState::Done).collect();
        let asked = |id: &str| steps.iter().any(|(plan, step)| plan.id == id && step.phase <= until);
        let mut behind = decide::queued(&self.ctx.world(&plans, &now, &[]));
        behind.retain(|queued| asked(&queued.migration));
        Ok(Left { steps: steps.iter().map(|(plan, step)| (plan.id.clone(), step.id.clone())).collect(), behind })
    }

    /// Takes the steps of a migration back, newest first. Whether it may be taken back is asked while the work is held, so
    /// that no later migration begins in between.
    pub(super) async fn abort(&mut self, plan: &Plan) -> Result<Option<Advance>> {
        let (mut again, mut asked) = (false, false);
        let plan = &self.db.placed(plan.clone());
        persevere!(self, self.go_back(plan, &mut again, &mut asked))
    }

    async fn go_back(&mut self, plan: &Plan, again: &mut bool, asked: &mut bool) -> Result<Option<Advance>> {
        loop {
            self.ctx.stop.check()?;
            let Some(now) = self.ctx.ledger(&mut self.db).await? else { return Err(Error::LostWork) };
            let aborted = |row: &MigrationRow| row.state == MigrationState::Aborted;
            let is_again = std::mem::replace(again, true);
            // The connection broke before it said that this was recorded.
            if is_again && now.migration(&plan.id).is_some_and(aborted) {
                break;
            }
            decide::may_abort(plan, &now)?;
            if !*asked {
                Box::pin(look::for_losses(&mut self.db, &self.ctx, plan, &now)).await?;
                Box::pin(look::before_abort(&mut self.db, &self.ctx, plan, &now)).await?;
                *asked = true;
            }
            let Some(step) = decide::next_back(plan, &now)? else {
                self.record_abort(plan).await?;
                break;
            };
            let began = Instant::now();
            let span = self.step_span(plan, step, Way::Back);
            match execute::step(&mut self.db, &mut self.ctx, plan, step, Way::Back).instrument(span).await? {
                Outcome::Closed(holders) => {
                    return Ok(Some(Advance::Closed { migration: plan.id.clone(), step: step.id.clone(), holders }));
                }
                Outcome::Done { .. } => {
                    let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                    self.ctx.tell(&Event::StepUndone { migration: &plan.id, step: &step.id, elapsed_ms });
                }
            }
        }
        self.ctx.tell(&Event::MigrationAborted { migration: &plan.id });
        Ok(None)
    }

    /// Takes the contract phase of a migration back, newest step first, and notes the steps. Returns who would break.
    pub(super) async fn undo(&mut self, plan: &Plan, undone: &mut Vec<String>) -> Result<Option<Advance>> {
        let mut asked = false;
        let plan = &self.db.placed(plan.clone());
        persevere!(self, self.go_behind(plan, &mut asked, undone))
    }

    async fn go_behind(&mut self, plan: &Plan, asked: &mut bool, undone: &mut Vec<String>) -> Result<Option<Advance>> {
        loop {
            self.ctx.stop.check()?;
            let Some(now) = self.ctx.ledger(&mut self.db).await? else { return Err(Error::LostWork) };
            let kept = kept::read(&mut self.db).await?;
            if !std::mem::replace(asked, true) {
                decide::may_undo(plan, &now, &kept)?;
            }
            let Some(step) = decide::next_undo(plan, &now, &kept)? else { return Ok(None) };
            let (migration, step_id) = (plan.id.clone(), step.id.clone());
            let began = Instant::now();
            let span = self.step_span(plan, step, Way::Back);
            match execute::step(&mut self.db, &mut self.ctx, plan, step, Way::Back).instrument(span).await? {
                Outcome::Closed(holders) => {
                    return Ok(Some(Advance::Closed { migration, step: step_id, holders }));
                }
                Outcome::Done { .. } => {
                    let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                    self.ctx.tell(&Event::StepUndone { migration: &plan.id, step: &step.id, elapsed_ms });
                    undone.push(step_id);
                }
            }
        }
    }

    /// Lets contract phases that were undone be carried out again.
    pub(super) async fn redo(&mut self) -> Result<()> {
        let explain = |e| ledger::explain::<B>("carry out again what was undone", e);
        persevere!(self, async { ledger::redo(&mut self.db).await.map(drop).map_err(explain) })
    }

    /// Drops for good what is kept, of one migration or of all, and returns it.
    pub(super) async fn purge(&mut self, migration: Option<&str>) -> Result<Vec<KeptRow>> {
        let mut rows = persevere!(self, kept::read(&mut self.db))?;
        rows.retain(|row| migration.is_none_or(|id| row.migration == id));
        for row in &rows {
            let mut again = false;
            persevere!(self, self.purge_one(row, &mut again))?;
        }
        Ok(rows)
    }

    async fn purge_one(&mut self, row: &KeptRow, again: &mut bool) -> Result<()> {
        // The connection may have broken before it said that this was done.
        let same = |k: &KeptRow| (&k.migration, &k.step, k.position) == (&row.migration, &row.step, row.position);
        if std::mem::replace(again, true) && !kept::read(&mut self.db).await?.iter().any(same) {
            return Ok(());
        }
        kept::purge(&mut self.db, &mut self.ctx, row).await
    }
}

impl<B: Backend> Work<B> {
    /// In a transaction that another process's work waits for, and only while this process is the one that works.
    async fn record_abort(&mut self, plan: &Plan) -> Result<()> {
        let failed = |e| ledger::explain::<B>("record the abort", e);
        let began = Instant::now();
        let mut attempt = 1;
        loop {
            match self.try_record_abort(plan).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Error::LostWork),
                Err(e) if e.class.is_transient() && self.ctx.retry.allows(attempt, began.elapsed()) => {
                    self.ctx.stop.sleep(self.ctx.retry.pause(attempt)).await?;
                    attempt += 1;
                }
                Err(e) => return Err(failed(e)),
            }
        }
    }

    async fn try_record_abort(&mut self, plan: &Plan) -> DbResult<bool> {
        self.db.begin(Timeouts::LEDGER).await?;
        let within = async {
            let mine = ledger::still_working(&mut self.db, &self.ctx.token).await?;
            if mine {
                ledger::migration_aborted(&mut self.db, &plan.id).await?;
            }
            Ok(mine)
        };
        match within.await {
            Ok(true) => self.db.commit().await.map(|()| true),
            other => {
                self.db.rollback().await;
                other
            }
        }
    }
}

/// Says who uses the database without a lease, before the contract phase of a migration. Nobody waits for them, so that it
/// cannot be found out stops nothing.
async fn strangers<B: Backend>(db: &mut B, ctx: &Context, migration: &str, tables: &[String]) {
    match db.strangers(tables).await {
        Ok(strangers) if strangers.is_empty() => {}
        Ok(strangers) => ctx.tell(&Event::Strangers { migration, strangers: &strangers }),
        Err(error) => tracing::debug!(%error, "cannot look for clients without a lease"),
    }
}
