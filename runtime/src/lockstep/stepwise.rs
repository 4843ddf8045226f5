//! Migrations carried out one step at a time, each when somebody else's harness calls for it.

use std::{future::Future, pin::Pin, time::Instant};

use tokio::sync::watch;

use super::{
    Builder, Contract, Event, Holder, Role,
    admin::{self, names},
    context::Context,
    decide::{self, Decision},
    run::{Advance, Work},
    trouble::open,
};
use crate::{
    backend::{Backend, Ledger, MigrationRow, MigrationState, StepRow, StepState, ledger},
    error::{Error, Result},
    model::Dialect,
    plan::{Phase, Plan, Step, Way},
};

/// A step that may be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offered {
    /// Migration.
    pub(crate) migration: String,
    /// Step.
    pub(crate) step: String,
    /// Its place among the steps of its migration, from 1.
    pub(crate) position: usize,
    /// What it does, for people.
    pub(crate) title: String,
}

/// What may be done at this moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Outlook {
    /// Steps that are not done and that nothing holds, in the order in which they will be carried out.
    pub(crate) offered: Vec<Offered>,
    /// The first step that live versions hold: migration, step, and who.
    pub(crate) closed: Option<(String, String, Vec<Holder>)>,
    /// The versions that Diesel has written down in this database.
    pub(crate) recorded: Vec<String>,
}

/// A future that can be kept and sent.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The work, held from the first step until it is given back: nobody else carries out anything in between.
pub(crate) trait Held: Send {
    /// Works until this step is done; false when live versions hold it by now.
    fn reach<'a>(&'a mut self, migration: &'a str, step: &'a str) -> Boxed<'a, Result<bool>>;
    /// Lets the next one work.
    fn give_back(self: Box<Self>) -> Boxed<'static, ()>;
}

impl Builder {
    /// The last phase that this process carries out itself; none when it only waits.
    fn last_phase(&self) -> Option<Phase> {
        match (self.role, self.contract) {
            (Role::WaitOnly, _) => None,
            (Role::Apply, Contract::Manual) => Some(Phase::Backfill),
            (Role::Apply, Contract::Automatic) => Some(Phase::Contract),
        }
    }

    /// What may be done now. Changes nothing, and waits for nobody.
    pub(crate) async fn outlook(&self) -> Result<Outlook> {
        let url = self.address()?;
        match admin::dialect_of(&url)? {
            #[cfg(feature = "postgres")]
            Dialect::Postgres => self.outlook_on::<crate::backend::postgres::Postgres>(&url).await,
            #[cfg(any(feature = "sqlite", feature = "sqlite-unbundled"))]
            Dialect::Sqlite => self.outlook_on::<crate::backend::sqlite::Sqlite>(&url).await,
            #[allow(unreachable_patterns)]
            dialect => Err(Error::EngineMissing { dialect }),
        }
    }

    async fn outlook_on<B: Backend>(&self, url: &str) -> Result<Outlook> {
        let Some(until) = self.last_phase() else { return Ok(Outlook::default()) };
        let ctx = self.stepwise_context::<B>(watch::channel(false).1)?;
        let mut db = B::connect(&B::target(url)?).await?;
        let found = look(&mut db, &ctx, until).await;
        db.close().await;
        found
    }

    /// Takes the work, waiting for another process for as long as a start would.
    pub(crate) async fn hold(&self, stop: watch::Receiver<bool>) -> Result<Box<dyn Held>> {
        let url = self.address()?;
        match admin::dialect_of(&url)? {
            #[cfg(feature = "postgres")]
            Dialect::Postgres => self.hold_on::<crate::backend::postgres::Postgres>(&url, stop).await,
            #[cfg(any(feature = "sqlite", feature = "sqlite-unbundled"))]
            Dialect::Sqlite => self.hold_on::<crate::backend::sqlite::Sqlite>(&url, stop).await,
            #[allow(unreachable_patterns)]
            dialect => Err(Error::EngineMissing { dialect }),
        }
    }

    async fn hold_on<B: Backend>(&self, url: &str, stop: watch::Receiver<bool>) -> Result<Box<dyn Held>> {
        let mut ctx = self.stepwise_context::<B>(stop)?;
        let db = open::<B>(url, &mut ctx).await?;
        let deadline = Instant::now().checked_add(self.wait);
        let work = Work::take(db, &mut ctx, deadline).await?;
        Ok(Box::new(Working { work, ctx, until: self.last_phase().unwrap_or(Phase::Expand) }))
    }

    fn stepwise_context<B: Backend>(&self, stop: watch::Receiver<bool>) -> Result<Context> {
        let history = admin::history_for::<B>(&self.migrations)?;
        Ok(self.context(history, stop))
    }
}

/// What the gate would say of every step that is left, if each one before it were done.
async fn look<B: Backend>(db: &mut B, ctx: &Context, until: Phase) -> Result<Outlook> {
    // Before the ledger: what another instance writes down in between must not look like a step that was taken back.
    let recorded = db.recorded_by_diesel().await.map_err(|e| ledger::explain::<B>("read Diesel's table", e))?;
    let mut imagined = ctx.ledger(db).await?.unwrap_or_default();
    decide::same_history(&ctx.history, &imagined, &ctx.app)?;
    let plans = decide::pending(&ctx.history, &imagined)?;
    if plans.is_empty() {
        return Ok(Outlook::default());
    }
    let leases = if imagined.format == 0 { Vec::new() } else { ctx.leases(db).await? };
    let mut outlook = Outlook { recorded, ..Outlook::default() };
    loop {
        let (migration, id) = match decide::next(&ctx.world(&plans, &imagined, &leases), until)? {
            Decision::Finished => return Ok(outlook),
            Decision::Closed { plan, step, holders } => {
                outlook.closed = Some((plan.id.clone(), step.id.clone(), holders));
                return Ok(outlook);
            }
            Decision::Run { plan, step, .. } => (plan.id.clone(), step.id.clone()),
        };
        // The decision borrows what is about to change.
        let Some(plan) = plans.iter().find(|plan| plan.id == migration) else { return Ok(outlook) };
        let Some(step) = plan.steps.iter().find(|step| step.id == id) else { return Ok(outlook) };
        let position = plan.steps.iter().position(|s| s.id == step.id).unwrap_or_default() + 1;
        outlook.offered.push(Offered {
            migration: plan.id.clone(),
            step: step.id.clone(),
            position,
            title: step.title.clone(),
        });
        imagine_done(&mut imagined, plan, step);
    }
}

fn imagine_done(ledger: &mut Ledger, plan: &Plan, step: &Step) {
    let at = ledger.migrations.iter().position(|row| row.id == plan.id).unwrap_or_else(|| {
        ledger.migrations.push(MigrationRow {
            id: plan.id.clone(),
            parent: plan.parent.clone(),
            app: String::new(),
            checksum: plan.checksum.clone(),
            before: plan.before.clone(),
            after: plan.after.clone(),
            state: MigrationState::Running,
            started_ms: 0,
            finished_ms: None,
            applied_by: String::new(),
            plan: None,
            steps: Vec::new(),
        });
        ledger.migrations.len() - 1
    });
    let row = &mut ledger.migrations[at];
    row.state = MigrationState::Running;
    row.steps.retain(|known| known.id != step.id);
    row.steps.push(StepRow {
        id: step.id.clone(),
        phase: step.phase,
        state: StepState::Done,
        cursor: None,
        rows_done: 0,
        started_ms: None,
        finished_ms: None,
        attempts: 0,
        last_error: None,
    });
}

struct Working<B: Backend> {
    work: Work<B>,
    ctx: Context,
    until: Phase,
}

impl<B: Backend> Held for Working<B> {
    fn reach<'a>(&'a mut self, migration: &'a str, step: &'a str) -> Boxed<'a, Result<bool>> {
        Box::pin(async move {
            match self.work.advance_to(self.until, Some((migration, step)), &mut Vec::new()).await? {
                Advance::Reached => Ok(true),
                Advance::Finished => Ok(false),
                Advance::Closed { migration, step, holders } => {
                    self.ctx.tell(&Event::GateClosed {
                        migration: &migration,
                        step: &step,
                        holders: &holders,
                        back: false,
                    });
                    Ok(false)
                }
                elsewhere @ Advance::Elsewhere { .. } => elsewhere.into_error(Way::Forward).map_or(Ok(false), Err),
            }
        })
    }

    fn give_back(self: Box<Self>) -> Boxed<'static, ()> {
        Box::pin(self.work.give_back())
    }
}

/// Says who holds the next step, unless that was said before.
pub(crate) struct Teller(Vec<(String, String, String)>);

impl Teller {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn tell(&mut self, builder: &Builder, outlook: &Outlook) {
        let Some((migration, step, holders)) = &outlook.closed else {
            self.0.clear();
            return;
        };
        if names(holders) != self.0 {
            self.0 = names(holders);
            builder.progress.event(&Event::GateClosed { migration, step, holders, back: false });
        }
    }
}
