//! Check and fence as one act against registration, inside the transaction of the step.

use super::{
    Event, Holder,
    context::Context,
    decide::{self, Gate},
    hooked::{self, Hooked},
    state,
};
use crate::{
    backend::{Backend, Lease, Ledger, MigrationState, StepState, ledger},
    embed::INITIAL,
    error::{Error, Result},
    plan::{Plan, Step, Way},
};

/// What the gate said inside the transaction.
pub(super) enum Pass {
    /// The step may run; whom it leaves behind is on record when the transaction commits.
    Open,
    /// The gate is held by a registration or by a connection that enters: try again in a moment.
    Busy,
    /// Live versions would break.
    Closed(Vec<Holder>),
    /// Somebody has done it.
    Already,
    /// This process is no longer the one that works.
    Lost,
}

/// What a step makes of a version.
pub(super) enum Change {
    /// It is left behind: application and version.
    Retired(String, String),
    /// It is refused no longer.
    Readmitted(String, String),
}

impl Change {
    /// Once it is committed.
    pub(super) fn tell(&self, ctx: &Context, plan: &Plan, step: &Step) {
        ctx.tell(&match self {
            Self::Retired(app, version) => Event::VersionRetired { migration: &plan.id, step: &step.id, app, version },
            Self::Readmitted(app, version) => Event::VersionReadmitted { app, version },
        });
    }
}

/// Asks within an open transaction. Everything is read again: what was decided before may be old.
pub(super) async fn pass<B: Backend>(
    db: &mut B,
    ctx: &Context,
    plan: &Plan,
    step: &Step,
    way: Way,
    changes: &mut Vec<Change>,
) -> Result<Pass> {
    let failed = |e| ledger::explain::<B>("ask the gate", e);
    if !db.try_gate().await.map_err(failed)? {
        return Ok(Pass::Busy);
    }
    if !ledger::still_working(db, &ctx.token).await.map_err(failed)? {
        return Ok(Pass::Lost);
    }
    let Some(now) = ctx.ledger(db).await? else { return Ok(Pass::Lost) };
    if now.step_state(&plan.id, &step.id) == StepState::after(way) {
        return Ok(Pass::Already);
    }
    if way == Way::Forward {
        begin(db, ctx, &now, plan).await?;
    }
    let leases = ctx.leases(db).await?;
    let plans = decide::pending(&ctx.history, &now)?;
    let world = ctx.world(&plans, &now, &leases);
    let current = state::state(world.snapshot, world.plans, world.ledger)?;
    let gate = match way {
        Way::Forward => decide::gate(&world, &current, plan, step)?,
        Way::Back => decide::gate_back(&world, &current, plan, step)?,
    };
    let retire = match gate {
        Gate::Open(retire) => retire,
        Gate::Closed(holders) => return Ok(Pass::Closed(holders)),
    };
    if way == Way::Forward && !everybody_has_views(db, plan, step, &world).await? {
        return Ok(Pass::Busy);
    }
    for version in &retire {
        if !db.claim_version(&version.app, &version.version).await.map_err(failed)? {
            return Ok(Pass::Busy);
        }
        let is_of = |l: &&Lease| l.identity.app == version.app && l.identity.version == version.version && !l.ended;
        for lease in leases.iter().filter(is_of) {
            if !ledger::end_silent(db, lease).await.map_err(failed)? {
                return Ok(Pass::Busy); // it has just shown life
            }
        }
        ledger::retire(db, version).await.map_err(failed)?;
        changes.push(Change::Retired(version.app.clone(), version.version.clone()));
    }
    Ok(Pass::Open)
}

/// Whether the plan's views do what the plan counts on; false when that is not settled yet.
async fn everybody_has_views<B: Backend>(
    db: &mut B,
    plan: &Plan,
    step: &Step,
    world: &decide::World<'_>,
) -> Result<bool> {
    let Some(strategy) = hooked::counts_on_views(plan, step) else { return Ok(true) };
    let retiring = plan.parent.as_deref().unwrap_or(INITIAL);
    let found = hooked::look(db, &strategy.apps, retiring, world.leases, world.grace_ms).await;
    match found.map_err(|e| ledger::explain::<B>("look at the sessions of the old version", e))? {
        Hooked::All => Ok(true),
        Hooked::NotYet => Ok(false),
        Hooked::NotAll(against) => {
            let (migration, step) = (plan.id.clone(), step.id.clone());
            Err(Error::NotBehindViews { migration, step, against })
        }
    }
}

/// Within the transaction that records a step's end: versions that an earlier step left behind and that the database serves
/// again are not refused any longer. No epoch and no lock is needed: whoever registers asks the database anew.
pub(super) async fn readmit<B: Backend>(db: &mut B, ctx: &Context, changes: &mut Vec<Change>) -> Result<()> {
    let failed = |e| ledger::explain::<B>("look at the retired versions", e);
    let Some(now) = ctx.ledger(db).await? else { return Ok(()) };
    if now.retired.is_empty() {
        return Ok(());
    }
    let plans = decide::pending(&ctx.history, &now)?;
    // Each asks the database, which holds others up meanwhile.
    for retired in now.retired.iter().filter(|retired| decide::has_turned(&now, retired)) {
        let declared = ledger::schemas_of(db, &retired.app, &retired.version).await.map_err(failed)?;
        if decide::returns(&ctx.world(&plans, &now, &[]), retired, &declared)? {
            ledger::readmit(db, &retired.app, &retired.version).await.map_err(failed)?;
            changes.push(Change::Readmitted(retired.app.clone(), retired.version.clone()));
        }
    }
    Ok(())
}

/// Puts the migration on record, and those before it of which no step has been carried out yet: nothing but contract is left of them,
/// and a history with a gap would be none.
async fn begin<B: Backend>(db: &mut B, ctx: &Context, now: &Ledger, plan: &Plan) -> Result<()> {
    let entries = ctx.history.entries();
    let unknown = || Error::Contradiction { cause: format!("migration {} is not one of ours", plan.id) };
    let last = entries.iter().position(|e| e.head.id == plan.id).ok_or_else(unknown)?;
    for (ordinal, entry) in entries[..=last].iter().enumerate() {
        let row = now.migration(&entry.head.id);
        if row.is_none_or(|row| row.state == MigrationState::Aborted) {
            let failed = |e| ledger::explain::<B>("record the migration", e);
            let plan = entry.plan()?;
            ledger::begin_migration(db, &plan, entry.text(), &ctx.app, ordinal + 1).await.map_err(failed)?;
            if plan.steps.is_empty() {
                ledger::settle_migration(db, &plan.id).await.map_err(failed)?;
            }
        }
    }
    Ok(())
}
