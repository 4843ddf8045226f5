//! What has been done, who runs, and what waits for whom since when.

use std::time::Duration;

use serde::Serialize;

use super::{
    Holder, Queued,
    decide::{self, Decision, World},
    lease::GRACE,
    state,
};
use crate::{
    backend::{
        Backend, DbResult, KeptRow, Lease, Ledger, MigrationRow, MigrationState, Pacing, Retired, RetiredByHand,
        StepState, Worker, kept, ledger, pace,
    },
    compat::{Reason, serves},
    embed::{History, plan_from_text},
    error::Result,
    model::{Delta, Dialect, Fingerprint, ObjectName, Schema},
    plan::{Phase, Plan, SNAPSHOT_FORMAT, Snapshot},
    waiting::{Blocker, Evidence, Strangers},
};

/// The whole picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Engine.
    pub dialect: Dialect,
    /// Whether there is a ledger.
    pub ledger: bool,
    /// The server's clock, milliseconds since 1970.
    pub now_ms: i64,
    /// Migrations, oldest first, also those that are not applied.
    pub migrations: Vec<MigrationStatus>,
    /// Code versions that are alive, with their instances.
    pub versions: Vec<VersionStatus>,
    /// Versions that are refused.
    pub retired: Vec<Retired>,
    /// Who carries out migrations at this moment.
    pub worker: Option<Worker>,
    /// How far the server is with the statement that the worker has sent, where it says so.
    pub server: Option<ServerProgress>,
    /// Sessions that the worker waits for at this moment.
    pub held_up_by: Vec<Blocker>,
    /// How fast backfills may go, and why; none as long as nobody has filled or asked anything.
    pub pace: Option<Pacing>,
    /// What waits for whom.
    pub waiting: Vec<Waiting>,
    /// Later migrations that wait for an earlier one.
    pub queued: Vec<Queued>,
    /// What contract phases have set aside, and until when it can come back.
    pub kept: Vec<KeptRow>,
    /// Instances that a person retired.
    pub retired_by_hand: Vec<RetiredByHand>,
    /// Labels of enumerated types that migrations have added which were taken back: no server takes them away again.
    #[serde(skip)]
    pub labels_left: Vec<(ObjectName, String)>,
    /// Who uses the database without a lease, while a contract phase is still to come.
    pub strangers: Strangers,
}

/// How far the server is with a long statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerProgress {
    /// What it does, in its own words.
    pub phase: String,
    /// How much of it is done: blocks, rows or sessions, as the phase has it.
    pub done: u64,
    /// Of how much.
    pub total: u64,
}

/// Who works, as far as it can be seen.
struct Work {
    worker: Option<Worker>,
    server: Option<ServerProgress>,
    held_up_by: Vec<Blocker>,
}

impl Work {
    /// A process that was killed leaves its row behind: its lock, its process or its signs of life say whether it works.
    async fn look<B: Backend>(db: &mut B, grace_ms: i64) -> DbResult<Self> {
        let mut seen = Self { worker: None, server: None, held_up_by: Vec::new() };
        let session = db.working_session().await?;
        seen.worker = ledger::worker(db).await?.filter(|worker| match worker.evidence {
            Evidence::Lock => session.is_some(),
            _ => worker.process.runs() != Some(false) && worker.silent_ms <= grace_ms,
        });
        if let (Some(session), Some(_)) = (session, &seen.worker) {
            let found = db.server_progress(session).await?;
            seen.server = found.map(|(phase, done, total)| ServerProgress { phase, done, total });
            seen.held_up_by = db.held_up_by(session).await?;
        }
        Ok(seen)
    }
}

/// A migration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MigrationStatus {
    /// Id.
    pub id: String,
    /// `pending`, `running`, `done`, `aborted`.
    pub state: &'static str,
    /// Whether it is among the migrations that the caller has.
    pub known: bool,
    /// Whether the one that the caller has is another than the one that was applied.
    pub rewritten: bool,
    /// Who applied it.
    pub app: Option<String>,
    /// Database user and host.
    pub applied_by: Option<String>,
    /// When it was begun.
    pub started_ms: Option<i64>,
    /// When it was done or taken back.
    pub finished_ms: Option<i64>,
    /// Its steps; none when it is done.
    pub steps: Vec<StepStatus>,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepStatus {
    /// Id.
    pub id: String,
    /// In plain words; the id where the plan is not known.
    pub title: String,
    /// Phase.
    pub phase: Phase,
    /// State.
    pub state: StepState,
    /// Rows that a backfill has changed.
    pub rows: i64,
    /// Rows that waited when the backfill began.
    pub total: Option<u64>,
    /// Milliseconds until a running backfill is done, at the rate that it had on average since it was begun; none while nobody works at it.
    pub eta_ms: Option<i64>,
    /// When it was begun.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub finished_ms: Option<i64>,
    /// How often it was tried.
    pub attempts: i64,
    /// Why it failed last, or who was in the way.
    pub last_error: Option<String>,
}

/// A code version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VersionStatus {
    /// Application.
    pub app: String,
    /// Version.
    pub version: String,
    /// The newest migration it embeds.
    pub migration: String,
    /// How many migrations it embeds.
    pub ordinal: i64,
    /// Fingerprint of its schema.
    pub fingerprint: Fingerprint,
    /// What proves that it lives.
    pub evidence: Evidence,
    /// Open connections of it, where they are the evidence.
    pub connections: i64,
    /// What the database lacks for it; empty when it is served, or when the state is not known.
    pub reasons: Vec<Reason>,
    /// Its instances.
    pub instances: Vec<InstanceStatus>,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InstanceStatus {
    /// Name.
    pub instance: String,
    /// Host.
    pub host: String,
    /// Process id.
    pub pid: i64,
    /// Revision of the source.
    pub revision: Option<String>,
    /// Since when.
    pub since_ms: i64,
    /// Age of its last heartbeat.
    pub heartbeat_age_ms: i64,
}

/// A step that waits for live versions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Waiting {
    /// Migration.
    pub migration: String,
    /// Step.
    pub step: String,
    /// In plain words.
    pub title: String,
    /// Since when: the end of the step before.
    pub since_ms: Option<i64>,
    /// Who holds it.
    pub holders: Vec<Holder>,
}

/// After so long without a heartbeat no clock is to blame.
const A_DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Reads everything.
pub(super) async fn read<B: Backend>(db: &mut B, history: Option<&History>, soak: Duration) -> Result<Status> {
    let known: Vec<&str> = history.iter().flat_map(|h| h.entries()).map(|e| e.head.id.as_str()).collect();
    let found = ledger::read(db, &known).await?;
    let ledger_exists = found.is_some();
    let ledger = found.unwrap_or_default();
    let failed = |e| ledger::explain::<B>("read the ledger", e);
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let (grace_ms, soak_ms) = (ms(GRACE), ms(soak));
    let (mut leases, work) = if ledger_exists {
        (db.leases().await.map_err(failed)?, Work::look(db, grace_ms).await.map_err(failed)?)
    } else {
        (Vec::new(), Work { worker: None, server: None, held_up_by: Vec::new() })
    };
    // Whoever carries a step out watches for the grace time before silence counts; a look cannot, and clocks differ where each
    // process writes its own. So of one that nobody can see it is not said that it is gone.
    let unseen = |l: &&mut Lease| l.process_runs.is_none() && !l.ended && l.heartbeat_age_ms.abs() < A_DAY_MS;
    if !B::SESSION_LOCKS {
        leases.iter_mut().filter(unseen).for_each(|lease| lease.silent_ms = 0);
    }
    let pace = if ledger_exists { Some(pace::read(db).await.map_err(failed)?) } else { None };
    let chains = match history {
        Some(history) => {
            vec![Chain { snapshot: history.snapshot().clone(), plans: decide::pending(history, &ledger)? }]
        }
        None => Chain::all_of(&ledger, B::DIALECT),
    };
    let mut view = View::default();
    for chain in &chains {
        // Plans that the reader takes from the ledger are known, not newer.
        let ledger = if history.is_some() { ledger.clone() } else { chain.known_in(&ledger) };
        let world = chain.world(&ledger, &leases, (grace_ms, soak_ms));
        view.waiting.extend(waiting(&world)?);
        view.queued.extend(decide::queued(&world));
        // Each sees the tables of the others.
        if view.state.is_none() {
            view.state = Some(state::state(&chain.snapshot, &chain.plans, &ledger)?);
        }
    }
    let plans: Vec<Plan> = chains.into_iter().flat_map(|chain| chain.plans).collect();
    let retired_by_hand = if ledger_exists { ledger::retired_by_hand(db).await.map_err(failed)? } else { Vec::new() };
    let kept = if ledger_exists { kept::all(db).await.map_err(failed)? } else { Vec::new() };
    let tables = decide::contract_tables(&plans, &ledger);
    let strangers = match tables.is_empty() || !ledger_exists {
        true => Strangers::default(),
        false => db.strangers(&tables).await.map_err(failed)?,
    };
    // What nobody works at has no end in sight.
    let works = work.worker.is_some() && pace.as_ref().is_none_or(|pace| !pace.paused);
    Ok(Status {
        dialect: B::DIALECT,
        ledger: ledger_exists,
        now_ms: ledger.now_ms,
        migrations: migrations(&ledger, history, &plans, works),
        versions: versions(B::DIALECT, &leases, view.state.as_ref(), grace_ms),
        retired: ledger.retired.clone(),
        worker: work.worker,
        server: work.server,
        held_up_by: work.held_up_by,
        pace: pace.filter(|pace| *pace != Pacing::default()),
        waiting: view.waiting,
        queued: view.queued,
        kept,
        retired_by_hand,
        labels_left: labels_left(&ledger),
        strangers,
    })
}

/// Of migrations that the reader has not, or has no longer.
fn labels_left(ledger: &Ledger) -> Vec<(ObjectName, String)> {
    let aborted = ledger.migrations.iter().filter(|row| row.state == MigrationState::Aborted);
    let plans = aborted.filter_map(|row| plan_from_text(&row.id, row.plan.as_deref()?).ok());
    let deltas = plans.flat_map(|plan| plan.steps).flat_map(|step| step.effects);
    let added = deltas.filter_map(|delta| match delta {
        Delta::Enum { name, before: Some(before), after: Some(after) } => {
            let new = after.values.into_iter().filter(|label| !before.values.contains(label)).collect::<Vec<_>>();
            Some(new.into_iter().map(move |label| (name.clone(), label)))
        }
        _ => None,
    });
    added.flatten().collect()
}

/// What waits, as the migrations say that are known.
#[derive(Default)]
struct View {
    state: Option<Schema>,
    waiting: Vec<Waiting>,
    queued: Vec<Queued>,
}

/// Migrations that follow each other, from the empty schema or from the files that the reader has.
struct Chain {
    snapshot: Snapshot,
    plans: Vec<Plan>,
}

impl Chain {
    /// Without the files: the plans stand in the ledger, and from the empty schema on they say what the schema is. Each service on
    /// the database has a chain of its own; one that began with tables that were there says too little.
    fn all_of(ledger: &Ledger, dialect: Dialect) -> Vec<Self> {
        let first = ledger.migrations.iter().filter(|row| row.parent.is_none() && row.state != MigrationState::Aborted);
        first.filter_map(|first| Self::from(first, ledger, dialect)).collect()
    }

    fn from(first: &MigrationRow, ledger: &Ledger, dialect: Dialect) -> Option<Self> {
        let (mut schema, mut plans, mut row) = (Schema::default(), Vec::<Plan>::new(), Some(first));
        while let Some(now) = row {
            let plan = plan_from_text(&now.id, now.plan.as_deref()?).ok()?;
            plan.steps.iter().try_for_each(|step| step.apply_to(&mut schema)).ok()?;
            plans.push(plan);
            row = ledger.migrations.iter().find(|next| {
                next.parent.as_deref() == Some(&now.id)
                    && next.state != MigrationState::Aborted
                    && !plans.iter().any(|p| p.id == next.id)
            });
        }
        let head = plans.last().map(|plan| plan.id.clone());
        Some(Self {
            snapshot: Snapshot { format: SNAPSHOT_FORMAT, dialect, head, sources: Default::default(), schema },
            plans,
        })
    }

    /// The ledger of whoever has these plans and no others.
    fn known_in(&self, ledger: &Ledger) -> Ledger {
        let mut ledger = ledger.clone();
        for row in &mut ledger.migrations {
            if self.plans.iter().any(|plan| plan.id == row.id) {
                row.plan = None;
            }
        }
        ledger
    }

    fn world<'w>(&'w self, ledger: &'w Ledger, leases: &'w [Lease], (grace_ms, soak_ms): (i64, i64)) -> World<'w> {
        World { snapshot: &self.snapshot, plans: &self.plans, ledger, leases, grace_ms, soak_ms }
    }
}

fn waiting(world: &World<'_>) -> Result<Vec<Waiting>> {
    let Decision::Closed { plan, step, holders } = decide::next(world, Phase::Contract)? else {
        return Ok(Vec::new());
    };
    let row = world.ledger.migration(&plan.id);
    let since_ms = row.and_then(|row| row.steps.iter().filter_map(|s| s.finished_ms).max());
    let (migration, step_id, title) = (plan.id.clone(), step.id.clone(), step.title.clone());
    Ok(vec![Waiting { migration, step: step_id, title, since_ms, holders }])
}

fn migrations(ledger: &Ledger, history: Option<&History>, plans: &[Plan], works: bool) -> Vec<MigrationStatus> {
    let mut ids: Vec<String> = history.iter().flat_map(|h| h.entries()).map(|e| e.head.id.clone()).collect();
    for row in &ledger.migrations {
        if !ids.contains(&row.id) {
            ids.push(row.id.clone());
        }
    }
    ids.sort();
    ids.iter().map(|id| migration(id, ledger, history, (plans, works))).collect()
}

fn migration(id: &str, ledger: &Ledger, history: Option<&History>, (plans, works): (&[Plan], bool)) -> MigrationStatus {
    let (row, entry) = (ledger.migration(id), history.and_then(|h| h.entry(id)));
    let plan = plans.iter().find(|p| p.id == id);
    let title = |step: &str| {
        plan.and_then(|p| p.steps.iter().find(|s| s.id == step)).map_or_else(|| step.to_owned(), |s| s.title.clone())
    };
    let steps = match (row, plan) {
        (Some(row), _) => row
            .steps
            .iter()
            .map(|s| StepStatus {
                id: s.id.clone(),
                title: title(&s.id),
                phase: s.phase,
                state: s.state,
                rows: s.rows_done,
                total: s.cursor.as_deref().and_then(super::backfill::total_of),
                eta_ms: eta_ms(s).filter(|_| works),
                started_ms: s.started_ms,
                finished_ms: s.finished_ms,
                attempts: s.attempts,
                last_error: s.last_error.clone(),
            })
            .collect(),
        (None, Some(plan)) => plan.steps.iter().map(not_begun).collect(),
        (None, None) => Vec::new(),
    };
    MigrationStatus {
        id: id.to_owned(),
        state: match row.map(|r| r.state) {
            None => "pending",
            Some(MigrationState::Running) => "running",
            Some(MigrationState::Done) => "done",
            Some(MigrationState::Aborted) => "aborted",
        },
        known: entry.is_some(),
        rewritten: row
            .zip(entry)
            .is_some_and(|(row, entry)| row.state != MigrationState::Aborted && row.checksum != entry.head.checksum),
        app: row.map(|r| r.app.clone()),
        applied_by: row.map(|r| r.applied_by.clone()),
        started_ms: row.map(|r| r.started_ms),
        finished_ms: row.and_then(|r| r.finished_ms),
        steps,
    }
}

fn eta_ms(step: &crate::backend::StepRow) -> Option<i64> {
    let done = u64::try_from(step.rows_done).ok().filter(|_| step.state == StepState::Running)?;
    super::backfill::left_of(step.cursor.as_deref()?, done).and_then(|ms| i64::try_from(ms).ok())
}

fn not_begun(step: &crate::plan::Step) -> StepStatus {
    StepStatus {
        id: step.id.clone(),
        title: step.title.clone(),
        phase: step.phase,
        state: StepState::Pending,
        rows: 0,
        total: None,
        eta_ms: None,
        started_ms: None,
        finished_ms: None,
        attempts: 0,
        last_error: None,
    }
}

fn versions(dialect: Dialect, leases: &[Lease], state: Option<&Schema>, grace_ms: i64) -> Vec<VersionStatus> {
    let mut versions: Vec<VersionStatus> = Vec::new();
    for lease in leases.iter().filter(|l| decide::is_alive(l, grace_ms)) {
        let identity = &lease.identity;
        let same = |v: &VersionStatus| {
            v.app == identity.app && v.version == identity.version && v.fingerprint == lease.fingerprint
        };
        let at = versions.iter().position(same).unwrap_or_else(|| {
            versions.push(VersionStatus {
                app: identity.app.clone(),
                version: identity.version.clone(),
                migration: identity.migration().to_owned(),
                ordinal: identity.ordinal,
                fingerprint: lease.fingerprint.clone(),
                evidence: lease.evidence,
                connections: lease.connections,
                reasons: state
                    .map(|s| s.seen_through(lease.views().as_deref()))
                    .and_then(|s| serves(dialect, &s, &identity.schema).err())
                    .unwrap_or_default(),
                instances: Vec::new(),
            });
            versions.len() - 1
        });
        if decide::instance_is_alive(lease, grace_ms) {
            // Not that of one that is gone and whose version others keep alive; the weakest of those that are there.
            let others = versions[at].instances.is_empty().then_some(lease.evidence);
            versions[at].evidence = others.unwrap_or(versions[at].evidence).max(lease.evidence);
            versions[at].instances.push(InstanceStatus {
                instance: lease.instance.clone(),
                host: lease.process.host.clone(),
                pid: lease.process.pid,
                revision: lease.revision.clone(),
                since_ms: lease.started_ms,
                heartbeat_age_ms: lease.heartbeat_age_ms,
            });
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::StepRow;

    #[test]
    fn what_is_left_takes_as_long_as_the_rate_of_late_says() {
        let at_rate = |state, rows_done, total: Option<u64>, per_second: Option<u32>| StepRow {
            id: "02-backfill".to_owned(),
            phase: Phase::Backfill,
            state,
            cursor: Some(
                serde_json::json!({ "upper": [], "last": null, "pass": 1, "total": total, "per_second": per_second })
                    .to_string(),
            ),
            rows_done,
            started_ms: Some(1_000),
            finished_ms: None,
            attempts: 1,
            last_error: None,
        };
        let step = |state, rows_done, total| at_rate(state, rows_done, total, Some(50));
        let at = eta_ms;
        assert_eq!(at(&step(StepState::Running, 100, Some(400))), Some(6_000));
        assert_eq!(at(&step(StepState::Running, 400, Some(400))), Some(0));
        // Rows that came meanwhile are filled by writers; more than were counted is no time at all.
        assert_eq!(at(&step(StepState::Running, 401, Some(400))), None);
        assert_eq!(at(&at_rate(StepState::Running, 0, Some(400), None)), None, "nothing is known of its rate");
        assert_eq!(at(&step(StepState::Done, 100, Some(400))), None);
        assert_eq!(at(&step(StepState::Running, 100, None)), None);
    }
}
