//! What may be done next: a pure function of the plans, the ledger, the leases and the server's clock.

mod back;

use std::collections::BTreeSet;

pub use back::{may_abort, may_undo, next_back, next_undo};

use super::{
    admin::ANONYMOUS,
    state::{self, contradiction},
};
use crate::{
    backend::{Identity, Lease, Ledger, MigrationRow, MigrationState, Retired, StepState},
    compat::{Reason, breaks, renewed, serves, view_schema},
    embed::History,
    error::{Error, Result},
    model::{Delta, Dialect, ObjectName, Schema, migration_of},
    plan::{Phase, Plan, Snapshot, Step, Way},
    waiting::{Evidence, Holder, Queued},
};

/// All that a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// The schema that the plans lead to.
    pub snapshot: &'a Snapshot,
    /// Known migrations that are not done, oldest first.
    pub plans: &'a [Plan],
    /// What has been done.
    pub ledger: &'a Ledger,
    /// Who runs.
    pub leases: &'a [Lease],
    /// How long a heartbeat counts, where it is the evidence.
    pub grace_ms: i64,
    /// How long a version is still waited for after it was last seen, before a contract phase leaves it behind.
    pub soak_ms: i64,
}

/// The next thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision<'a> {
    /// Nothing is left to do.
    Finished,
    /// This step, after these versions have been retired in the same act.
    Run {
        /// The migration.
        plan: &'a Plan,
        /// The step of it.
        step: &'a Step,
        /// Versions that the step breaks and that nobody runs.
        retire: Vec<Retired>,
    },
    /// This step waits for live versions.
    Closed {
        /// The migration.
        plan: &'a Plan,
        /// The step of it.
        step: &'a Step,
        /// Who is alive and would break; never empty.
        holders: Vec<Holder>,
    },
}

/// Whether a step may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// It may, after these versions, none of which is alive, have been retired.
    Open(Vec<Retired>),
    /// Live versions would break.
    Closed(Vec<Holder>),
}

/// The next step, up to and with phase `until`.
///
/// A later migration is not held up by an earlier one that waits, unless they touch the same tables. A contract phase that
/// was undone waits until somebody says that it shall be carried out again.
///
/// # Errors
/// When plans and ledger contradict each other.
pub fn next<'a>(world: &World<'a>, until: Phase) -> Result<Decision<'a>> {
    let current = state::state(world.snapshot, world.plans, world.ledger)?;
    let mut closed = None;
    let mut held = Touched::default();
    for plan in world.plans {
        let left: Vec<&Step> = plan.steps.iter().filter(|s| !is_done(world.ledger, plan, s)).collect();
        let Some(step) = left.first() else { continue };
        let touched = Touched::by(&left);
        if held.overlaps(&touched) || left.iter().any(|step| is_undone(world.ledger, plan, step)) {
            held.add(touched);
            continue;
        }
        if step.phase <= until {
            match gate(world, &current, plan, step)? {
                Gate::Open(retire) => return Ok(Decision::Run { plan, step, retire }),
                Gate::Closed(holders) => {
                    closed.get_or_insert(Decision::Closed { plan, step, holders });
                }
            }
        }
        held.add(touched);
    }
    Ok(closed.unwrap_or(Decision::Finished))
}

fn is_done(ledger: &Ledger, plan: &Plan, step: &Step) -> bool {
    ledger.step_state(&plan.id, &step.id) == StepState::Done
}

/// Whether the step is one of a contract phase and `undo` has taken it back.
fn is_undone(ledger: &Ledger, plan: &Plan, step: &Step) -> bool {
    // One that was aborted as a whole begins anew.
    let running = ledger.migration(&plan.id).is_some_and(|row| row.state == MigrationState::Running);
    running && step.phase == Phase::Contract && ledger.step_state(&plan.id, &step.id) == StepState::Undone
}

/// Which migrations cannot begin before an earlier one has come to its end, and why.
pub fn queued(world: &World<'_>) -> Vec<Queued> {
    let mut queued = Vec::new();
    let mut earlier: Vec<(&Plan, Touched)> = Vec::new();
    for plan in world.plans {
        let left: Vec<&Step> = plan.steps.iter().filter(|s| !is_done(world.ledger, plan, s)).collect();
        let touched = Touched::by(&left);
        if let Some((before, other)) = earlier.iter().find(|(_, other)| other.overlaps(&touched)) {
            queued.push(Queued {
                migration: plan.id.clone(),
                behind: before.id.clone(),
                tables: other.tables.intersection(&touched.tables).map(ToString::to_string).collect(),
            });
        }
        if !left.is_empty() {
            earlier.push((plan, touched));
        }
    }
    queued
}

/// Whether this step may run in this state.
///
/// The contract phase opens as a whole: its first step waits for every version that the last one would not serve, so that
/// a contract that has begun never leaves a version half-served.
///
/// # Errors
/// When the plan does not fit the state.
pub fn gate(world: &World<'_>, current: &Schema, plan: &Plan, step: &Step) -> Result<Gate> {
    let mut after = current.clone();
    step.apply_to(&mut after).map_err(|e| contradiction(&plan.id, step, &e))?;
    if step.phase == Phase::Contract {
        let rest = plan.steps.iter().filter(|s| s.id != step.id && !is_done(world.ledger, plan, s));
        for later in rest {
            later.apply_to(&mut after).map_err(|e| contradiction(&plan.id, later, &e))?;
        }
    }
    let soak_ms = if step.phase == Phase::Contract { world.soak_ms } else { 0 };
    Ok(between(world, soak_ms, current, &after, (&plan.id, &step.id, Way::Forward)))
}

/// Whether taking this step back may run in this state: the gate turned round.
///
/// # Errors
/// When the plan does not fit the state.
pub fn gate_back(world: &World<'_>, current: &Schema, plan: &Plan, step: &Step) -> Result<Gate> {
    let mut after = current.clone();
    // The first step taken back answers for all: an abort, or the undoing of a contract phase, that has begun must be able
    // to end.
    let goes = |s: &&Step| is_done(world.ledger, plan, s) && (step.phase != Phase::Contract || s.phase == step.phase);
    for earlier in plan.steps.iter().rev().filter(goes) {
        earlier.revert_on(&mut after).map_err(|e| contradiction(&plan.id, earlier, &e))?;
    }
    Ok(between(world, 0, current, &after, (&plan.id, &step.id, Way::Back)))
}

/// Whether the step that left a version behind has gone the other way since.
pub fn has_turned(ledger: &Ledger, retired: &Retired) -> bool {
    let turned = StepState::after(retired.way.reversed());
    // The plan may have been written anew since: a step that it no longer has will never go the other way.
    let row = ledger.migration(&retired.migration).filter(|row| row.state == MigrationState::Running);
    let is_gone = row.is_some_and(|row| !row.steps.is_empty() && row.steps.iter().all(|s| s.id != retired.step));
    is_gone || ledger.step_state(&retired.migration, &retired.step) == turned
}

/// Whether a retired version need not be refused any longer: the step that left it behind has gone the other way since,
/// and the database serves again all that its leases declare. Tables that nobody here knows are not looked at: they are
/// another service's, and no step of ours has taken them away.
///
/// # Errors
/// When plans and ledger contradict each other.
pub fn returns(world: &World<'_>, retired: &Retired, declared: &[Schema]) -> Result<bool> {
    if !has_turned(world.ledger, retired) {
        return Ok(false);
    }
    let states = state::possible(world.snapshot, world.plans, world.ledger)?;
    let is_known = |name: &ObjectName| {
        world.snapshot.schema.tables.contains_key(name) || states.iter().any(|s| s.tables.contains_key(name))
    };
    let views = view_schema(&retired.app, &retired.version);
    Ok(declared.iter().map(|code| code.restricted_to(is_known)).all(|code| {
        states.iter().all(|state| serves(world.snapshot.dialect, &state.seen_through(Some(&views)), &code).is_ok())
    }))
}

/// Who would miss something in `after` that it has in `current`.
fn between(
    world: &World<'_>,
    soak_ms: i64,
    current: &Schema,
    after: &Schema,
    (migration, step, way): (&str, &str, Way),
) -> Gate {
    let mut holders = Vec::new();
    let mut retire: Vec<Retired> = Vec::new();
    for lease in world.leases {
        let Identity { app, version, .. } = &lease.identity;
        if world.ledger.retired(app, version).is_some() {
            continue;
        }
        let reasons = news(world.snapshot.dialect, current, after, lease);
        if reasons.is_empty() {
            continue;
        }
        if is_alive(lease, world.grace_ms) {
            holders.push(holder(lease, world, reasons));
        // One from the future is of a clock that was set back since: it is as old as can be, or as young, but no soak time by itself.
        } else if lease.heartbeat_age_ms.max(0) < soak_ms {
            let (_, holder) = holder(lease, world, reasons);
            holders.push((true, Holder { gone_ms: Some(lease.heartbeat_age_ms), ..holder }));
        } else if !retire.iter().any(|r| r.app == *app && r.version == *version) {
            retire.push(Retired {
                app: app.clone(),
                version: version.clone(),
                migration: migration.to_owned(),
                step: step.to_owned(),
                way,
                reason: reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
                at_ms: world.ledger.now_ms,
            });
        }
    }
    if holders.is_empty() { Gate::Open(retire) } else { Gate::Closed(named(holders)) }
}

/// What this lease's code would newly miss. What it misses already is not this step's doing: the tables of another service
/// that these migrations do not know.
fn news(dialect: Dialect, current: &Schema, after: &Schema, lease: &Lease) -> Vec<Reason> {
    let views = lease.views();
    let views = views.as_deref();
    breaks(dialect, &current.seen_through(views), &after.seen_through(views), &lease.identity.schema)
}

/// Whether the instance, or any connection of its version, is alive.
pub fn is_alive(lease: &Lease, grace_ms: i64) -> bool {
    let fresh = is_fresh(lease, grace_ms);
    match lease.evidence {
        // Its locks die with its connections, whatever the clock says. Those that died with the server prove nothing: its
        // process needs a moment to connect again.
        Evidence::Lock => lease.version_connected || (!lease.same_server && fresh),
        // Other connections of its version may not go through a pooler, or go to the primary: theirs prove life as everybody's.
        Evidence::Heartbeat | Evidence::Standby => fresh || lease.version_connected,
        Evidence::Process => !lease.ended && lease.process_runs.unwrap_or(fresh),
    }
}

/// Whether the instance itself has shown life lately, whatever its connections say: a machine that died without a word leaves
/// them open.
///
/// A heartbeat of the future was written before the server's clock was set back: whoever lives has sent another one since.
pub fn shows_life(lease: &Lease, grace_ms: i64) -> bool {
    let said = !lease.ended && (-SKEW_MS..=lease.patience(grace_ms)).contains(&lease.silent_ms);
    said || (lease.evidence == Evidence::Process && !lease.ended && lease.process_runs == Some(true))
}

/// Two looks at one clock may differ by so much.
const SKEW_MS: i64 = 1_000;

fn is_fresh(lease: &Lease, grace_ms: i64) -> bool {
    !lease.ended && lease.silent_ms <= lease.patience(grace_ms)
}

/// Whether this very instance is alive, as opposed to another one of its version.
pub fn instance_is_alive(lease: &Lease, grace_ms: i64) -> bool {
    match lease.evidence {
        Evidence::Lock if lease.same_server => lease.keeper_connected && !lease.ended,
        Evidence::Lock => (lease.keeper_connected && !lease.ended) || is_fresh(lease, grace_ms),
        Evidence::Heartbeat | Evidence::Standby => is_fresh(lease, grace_ms),
        Evidence::Process => is_alive(lease, grace_ms),
    }
}

fn holder(lease: &Lease, world: &World<'_>, reasons: Vec<Reason>) -> (bool, Holder) {
    let itself = instance_is_alive(lease, world.grace_ms);
    let holder = Holder {
        app: lease.identity.app.clone(),
        version: lease.identity.version.clone(),
        instance: lease.instance.clone(),
        host: lease.process.host.clone(),
        pid: lease.process.pid,
        since_ms: lease.started_ms,
        for_ms: world.ledger.now_ms - lease.started_ms,
        evidence: lease.evidence,
        connections: lease.connections,
        suspected: !lease.ended
            && !lease.version_connected
            && lease.process_runs.is_none()
            && (lease.heartbeat_age_ms > lease.patience(world.grace_ms) || !lease.same_server),
        grace_ms: lease.patience(world.grace_ms),
        gone_ms: None,
        reasons,
    };
    (itself, holder)
}

/// Names the instances that are alive themselves; a version of which only connections are left is named once.
fn named(found: Vec<(bool, Holder)>) -> Vec<Holder> {
    let versions: BTreeSet<(String, String)> =
        found.iter().filter(|(itself, _)| *itself).map(|(_, h)| (h.app.clone(), h.version.clone())).collect();
    let mut holders: Vec<Holder> = Vec::new();
    for (itself, mut holder) in found {
        if !itself {
            let known = versions.contains(&(holder.app.clone(), holder.version.clone()))
                || holders.iter().any(|h| h.app == holder.app && h.version == holder.version);
            if known {
                continue;
            }
            holder.instance.clear();
        }
        holders.push(holder);
    }
    holders
}

/// The names of the tables that the contract phases still to come touch.
pub fn contract_tables(plans: &[Plan], ledger: &Ledger) -> Vec<String> {
    let left = plans.iter().flat_map(|plan| plan.phase(Phase::Contract).map(move |step| (plan, step)));
    let left = left.filter(|(plan, step)| !is_done(ledger, plan, step));
    let tables: BTreeSet<String> =
        left.flat_map(|(_, step)| &step.effects).filter_map(|delta| Some(delta.table()?.name.clone())).collect();
    tables.into_iter().collect()
}

/// Tables that steps touch.
#[derive(Debug, Default)]
struct Touched {
    tables: BTreeSet<ObjectName>,
    everything: bool,
}

impl Touched {
    fn by(steps: &[&Step]) -> Self {
        let mut touched = Self::default();
        for step in steps {
            // What says nothing of its effect may touch anything, and so may what is about no single table.
            touched.everything |= step.effects.is_empty();
            for delta in &step.effects {
                match delta {
                    Delta::CompatView { before, after, .. } => {
                        touched.tables.extend([before, after].into_iter().flatten().map(|view| view.table.clone()));
                    }
                    _ => match delta.table() {
                        Some(table) => drop(touched.tables.insert(table.clone())),
                        None => touched.everything = true,
                    },
                }
            }
            touched.tables.extend(step.locks.iter().map(|lock| lock.relation.clone()));
        }
        touched
    }

    fn is_empty(&self) -> bool {
        self.tables.is_empty() && !self.everything
    }

    fn overlaps(&self, other: &Self) -> bool {
        if self.is_empty() || other.is_empty() {
            return false;
        }
        self.everything || other.everything || !self.tables.is_disjoint(&other.tables)
    }

    fn add(&mut self, other: Self) {
        self.everything |= other.everything;
        self.tables.extend(other.tables);
    }
}

/// What a version that wants to start has to do.
#[derive(Debug)]
pub enum Boot {
    /// The database serves it, and there is nothing to expand or to fill.
    Start,
    /// Steps are waiting.
    Work {
        /// The last phase that has to be carried out before the version can start.
        until: Phase,
        /// Why the database does not serve it yet; empty when it does already.
        reasons: Vec<Reason>,
    },
    /// It must not run.
    Refused(Error),
}

/// Whether a version can start.
///
/// # Errors
/// When plans and ledger contradict each other.
pub fn boot(world: &World<'_>, me: &Identity) -> Result<Boot> {
    if let Some(retired) = world.ledger.retired(&me.app, &me.version) {
        return Ok(Boot::Refused(refusal(retired)));
    }
    let mut reasons = Vec::new();
    for state in state::possible(world.snapshot, world.plans, world.ledger)? {
        reasons.extend(
            serves(world.snapshot.dialect, &state.seen_through(Some(&me.views())), &me.schema)
                .err()
                .unwrap_or_default(),
        );
    }
    for state in state::possible(world.snapshot, world.plans, world.ledger)? {
        let contract = world.plans.iter().flat_map(|plan| plan.phase(Phase::Contract));
        let to_come = contract.flat_map(|step| &step.effects);
        reasons.extend(renewed(world.snapshot.dialect, &state, to_come, &me.schema));
    }
    reasons.sort();
    reasons.dedup();
    let pending = |phase: Phase| {
        world.plans.iter().any(|p| p.steps.iter().any(|s| s.phase <= phase && !is_done(world.ledger, p, s)))
    };
    Ok(if pending(Phase::Backfill) {
        Boot::Work { until: Phase::Backfill, reasons }
    } else if reasons.is_empty() {
        Boot::Start
    } else if pending(Phase::Contract) {
        // A change without overlap: this version starts when the old one is gone and the contract is done.
        Boot::Work { until: Phase::Contract, reasons }
    } else if is_shared(world.ledger) && reasons.iter().all(|reason| is_of_others(world, reason)) {
        // What another service's migrations make may be on its way. There is nothing to do but to wait.
        Boot::Work { until: Phase::Contract, reasons }
    } else {
        Boot::Refused(Error::NotServed { app: me.app.clone(), version: me.version.clone(), reasons })
    })
}

/// Whether another service has migrations here: a chain of its own from the empty schema, which this program does not carry.
fn is_shared(ledger: &Ledger) -> bool {
    let is_theirs = |row: &MigrationRow| row.parent.is_none() && row.plan.is_some();
    ledger.migrations.iter().any(|row| is_theirs(row) && row.state != MigrationState::Aborted)
}

/// About a table that is not where these migrations lead.
fn is_of_others(world: &World<'_>, reason: &Reason) -> bool {
    reason.table().is_some_and(|table| !world.snapshot.schema.tables.contains_key(table))
}

/// The error that a retired version gets.
pub fn refusal(retired: &Retired) -> Error {
    Error::Retired {
        app: retired.app.clone(),
        version: retired.version.clone(),
        migration: retired.migration.clone(),
        step: retired.step.clone(),
        taken_back: retired.way == Way::Back,
        reason: retired.reason.clone(),
    }
}

/// Whether these migrations and this ledger are one history.
///
/// # Errors
/// When a migration was changed after it was applied, the database went another way, or instances of that name belong to another chain.
pub fn same_history(history: &History, ledger: &Ledger, app: &str) -> Result<()> {
    let mut missing = None;
    for entry in history.entries() {
        let head = &entry.head;
        let Some(row) = ledger.migration(&head.id) else {
            missing = missing.or(Some(head));
            continue;
        };
        if row.state == MigrationState::Aborted {
            continue;
        }
        if row.checksum != head.checksum || row.parent != head.parent {
            return Err(Error::HistoryRewritten { id: head.id.clone() });
        }
        if let Some(gap) = missing {
            let (expected, found) = (gap.after.short().to_owned(), row.after.short().to_owned());
            return Err(Error::WrongStart { id: gap.id.clone(), expected, found });
        }
        if row.after != head.after {
            let (expected, found) = (head.after.short().to_owned(), row.after.short().to_owned());
            return Err(Error::WrongStart { id: head.id.clone(), expected, found });
        }
    }
    for row in ledger.migrations.iter().filter(|r| r.plan.is_some() && r.state != MigrationState::Aborted) {
        let ours = history.entries().iter().find(|e| e.head.parent == row.parent);
        // A second chain from the empty schema is another service's, unless it calls itself by our name.
        if let Some(ours) = ours
            && (row.parent.is_some() || (row.app == app && app != ANONYMOUS))
        {
            return Err(Error::HistoryForked {
                parent: row.parent.clone().unwrap_or_else(|| "the empty schema".to_owned()),
                applied: row.id.clone(),
                ours: ours.head.id.clone(),
            });
        }
    }
    same_name(history, ledger, app)
}

fn is_foreign(history: &History, row: &MigrationRow) -> bool {
    row.state != MigrationState::Aborted && history.entry(&row.id).is_none()
}

/// Makes sure that no other code has run under this name: its instances say to which chain they belong, also where the tool has
/// carried it out under the name of a package, or of nobody.
///
/// # Errors
/// When instances of that name belong to another chain.
fn same_name(history: &History, ledger: &Ledger, app: &str) -> Result<()> {
    let Some(ours) = history.entries().first() else { return Ok(()) };
    for registered in ledger.registered.iter().filter(|registered| registered.app == app) {
        let mut first = ledger.migration(migration_of(&registered.version));
        // No longer than all of them: a circle cannot come from us, and must not hang us.
        for _ in 0..ledger.migrations.len() {
            let before = first.and_then(|row| row.parent.as_deref()).and_then(|parent| ledger.migration(parent));
            first = before.or(first);
        }
        if let Some(first) = first.filter(|row| row.parent.is_none() && is_foreign(history, row)) {
            return Err(Error::HistoryForked {
                parent: "the empty schema".to_owned(),
                applied: first.id.clone(),
                ours: ours.head.id.clone(),
            });
        }
    }
    Ok(())
}

/// The known migrations that are not done, parsed.
///
/// # Errors
/// When one of them is damaged, or the ledger has lost steps of it.
pub fn pending(history: &History, ledger: &Ledger) -> Result<Vec<Plan>> {
    let left = history.entries().iter().map(|entry| (entry, ledger.migration(&entry.head.id)));
    left.filter(|(_, row)| row.is_none_or(|row| row.state != MigrationState::Done))
        .map(|(entry, row)| {
            let plan = entry.plan()?;
            // One that was written anew is said by `same_history`.
            let begun = row.filter(|row| row.state == MigrationState::Running && row.checksum == plan.checksum);
            match begun.and_then(|row| plan.steps.iter().find(|step| row.steps.iter().all(|s| s.id != step.id))) {
                Some(step) => Err(Error::LedgerDamaged {
                    cause: format!("{} has begun, and the row of its step {} is gone", plan.id, step.id),
                }),
                None => Ok(plan),
            }
        })
        .collect()
}
