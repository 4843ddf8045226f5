//! The world around the decisions: what is there, what is on record, and who runs.

use schemadiff::{
    backend::{
        Identity, LEDGER_FORMAT, Lease, Ledger, MigrationRow, MigrationState, Process, Retired, StepRow, StepState,
    },
    lockstep::Evidence,
    model::{Fingerprint, Schema},
    plan::{Phase, Way},
};

use super::story::{At, Story};

pub const APP: &str = "shop";
pub const GRACE: i64 = 30_000;
/// How long ago the last heartbeat of whoever cannot send one was.
const LONG_AGO: i64 = GRACE * 9;

/// An instance of some version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Instance {
    /// It never ran.
    Never,
    /// It has read the ledger, may start by what it read, and has not registered yet. An earlier one may have left a lease.
    Booting { lease: bool },
    /// Registered and connected.
    On,
    /// Stopped, its connections are open. Where these are the evidence it may stay so for longer than any lease.
    Paused,
    /// Stopped for longer than the grace time while somebody watched, where heartbeats are the evidence: given up. Its
    /// connections are open, and nothing comes through them before it goes on.
    Silent,
    /// The server was started anew, and it has not connected again yet.
    Severed,
    /// It lives, its connections are gone, and it will connect again.
    Cut,
    /// It died without a word; the lease is still there.
    Crashed,
    /// It said good-bye.
    Ended,
}

impl Instance {
    pub fn connected(self) -> bool {
        matches!(self, Self::On | Self::Paused)
    }

    /// Whether others have to count with it, although the server may not see it at this moment.
    pub fn counts(self) -> bool {
        self.connected() || self == Self::Severed
    }

    pub fn has_lease(self) -> bool {
        !matches!(self, Self::Never | Self::Booting { lease: false })
    }
}

/// A process that carries migrations out. Only one of them holds the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Migrator {
    Away,
    /// Holds the work and has nothing decided.
    Holding(Aim),
    /// The gate has not been asked yet.
    Decided(Aim, usize),
    /// The begin is on record, the work is not done.
    Begun(Aim, usize),
    /// The work is done, the end is not on record.
    Worked(Aim, usize),
}

/// What it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aim {
    Apply,
    /// Its newest migration is to be taken back.
    Abort,
    /// The contract phase of its newest migration is.
    Undo,
}

impl Aim {
    pub fn way(self) -> Way {
        match self {
            Self::Apply => Way::Forward,
            Self::Abort | Self::Undo => Way::Back,
        }
    }
}

/// A migration's row in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Row {
    Absent,
    Running,
    Done,
    Aborted,
}

/// A step's row in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    Pending,
    Running,
    Done,
    Undone,
}

/// What the ledger says. Its epoch is not in it: whoever read before it moved on is told to read again, see
/// [`World::moved_on`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Records {
    pub rows: Vec<Row>,
    /// Of all steps, in order.
    pub marks: Vec<Mark>,
    /// Versions that are left behind: by which step, and which way it went.
    pub retired: Vec<Option<(Way, usize)>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub records: Records,
    /// Steps whose effect is there in truth.
    pub there: Vec<bool>,
    pub instances: Vec<Instance>,
    pub migrators: Vec<Migrator>,
    /// How often an operator may still abort.
    pub aborts: u8,
    /// How often one may still undo a contract phase.
    pub undos: u8,
    /// Some step was carried out on top of itself.
    pub doubled: bool,
    /// Some step began that takes something away from a version that ran.
    pub robbed: bool,
}

impl World {
    /// The first plan is done, nobody runs.
    pub fn new(story: &Story, instances: usize, migrators: usize, (aborts, undos): (u8, u8)) -> Self {
        let old = |at: At| at.plan == 0;
        let all = || story.steps().map(|(at, _)| at);
        let rows = (0..story.plans.len()).map(|plan| if plan == 0 { Row::Done } else { Row::Absent });
        let records = Records {
            rows: rows.collect(),
            marks: all().map(|at| if old(at) { Mark::Done } else { Mark::Pending }).collect(),
            retired: vec![None; story.codes.len()],
        };
        Self {
            records,
            there: all().map(old).collect(),
            instances: vec![Instance::Never; instances],
            migrators: vec![Migrator::Away; migrators],
            aborts,
            undos,
            doubled: false,
            robbed: false,
        }
    }

    /// The ledger's epoch has grown: registrations that rest on an earlier reading are refused.
    pub fn moved_on(&mut self) {
        for instance in &mut self.instances {
            match instance {
                Instance::Booting { lease: true } => *instance = Instance::Crashed,
                Instance::Booting { lease: false } => *instance = Instance::Never,
                _ => {}
            }
        }
    }

    /// What code meets in truth.
    pub fn schema(&self, story: &Story) -> Schema {
        let mut schema = Schema::default();
        for ((_, step), _) in story.steps().zip(&self.there).filter(|(_, there)| **there) {
            step.apply_to(&mut schema).unwrap();
        }
        schema
    }

    /// No migrator holds the work.
    pub fn nobody_works(&self) -> bool {
        self.migrators.iter().all(|m| *m == Migrator::Away)
    }

    /// Whether a contract phase was undone and nobody has said that it shall be carried out again.
    pub fn is_held(&self, story: &Story, plan: usize) -> bool {
        let mut steps = story.steps().zip(&self.records.marks);
        self.records.rows[plan] == Row::Running
            && steps.any(|((at, of), m)| at.plan == plan && of.phase == Phase::Contract && *m == Mark::Undone)
    }

    pub fn all_done(&self) -> bool {
        self.records.marks.iter().all(|mark| *mark == Mark::Done)
    }
}

/// The ledger as somebody reads it who knows the first so many plans.
pub fn ledger(story: &Story, records: &Records, known: usize) -> Ledger {
    let migrations = story.plans.iter().enumerate().filter(|(at, _)| records.rows[*at] != Row::Absent);
    let migrations = migrations.map(|(at, plan)| {
        let steps = plan.steps.iter().enumerate().map(|(n, step)| StepRow {
            id: step.id.clone(),
            phase: step.phase,
            state: match records.marks[story.position(At { plan: at, step: n })] {
                Mark::Pending => StepState::Pending,
                Mark::Running => StepState::Running,
                Mark::Done => StepState::Done,
                Mark::Undone => StepState::Undone,
            },
            cursor: None,
            rows_done: 0,
            started_ms: None,
            finished_ms: None,
            attempts: 0,
            last_error: None,
        });
        let state = match records.rows[at] {
            Row::Done => MigrationState::Done,
            Row::Aborted => MigrationState::Aborted,
            Row::Absent | Row::Running => MigrationState::Running,
        };
        // The steps of a known migration that is done are left out when the ledger is read.
        let steps = if state == MigrationState::Done && at < known { Vec::new() } else { steps.collect() };
        MigrationRow {
            id: plan.id.clone(),
            parent: plan.parent.clone(),
            app: APP.to_owned(),
            checksum: plan.checksum.clone(),
            before: plan.before.clone(),
            after: plan.after.clone(),
            state,
            started_ms: 0,
            finished_ms: None,
            applied_by: "a model".to_owned(),
            plan: (at >= known).then(|| story.texts[at].clone()),
            steps,
        }
    });
    let (migrations, retired) = (migrations.collect(), retired(story, records).map(|(_, retired)| retired).collect());
    Ledger { format: LEDGER_FORMAT, epoch: 1, now_ms: 1_000_000, migrations, retired, registered: Vec::new() }
}

/// Versions that are left behind, as the ledger has them.
pub fn retired(story: &Story, records: &Records) -> impl Iterator<Item = (usize, Retired)> {
    let gone = records.retired.iter().enumerate().filter_map(|(version, gone)| Some((version, (*gone)?)));
    gone.map(|(version, (way, step))| {
        let (at, step) = story.steps().nth(step).unwrap();
        let (migration, step) = (story.plans[at.plan].id.clone(), step.id.clone());
        let (app, of) = (APP.to_owned(), story.name(version));
        (version, Retired { app, version: of, migration, step, way, reason: String::new(), at_ms: 0 })
    })
}

pub fn identity(story: &Story, version: usize) -> Identity {
    Identity {
        app: APP.to_owned(),
        version: story.name(version),
        ordinal: i64::try_from(story.embeds[version]).unwrap(),
        schema: story.codes[version].clone(),
    }
}

/// The leases as the server shows them to the gate. `versions` says what each instance runs; `skewed`: whoever wrote down
/// the times has clocks that are hours apart.
pub fn leases(
    story: &Story,
    evidence: Evidence,
    versions: &[usize],
    instances: &[Instance],
    skewed: bool,
) -> Vec<Lease> {
    // A pooler's connections to the server belong to nobody.
    let seen = |instance: &Instance| evidence != Evidence::Heartbeat && instance.connected();
    let connections = |version: usize| {
        let of = |v: usize| v == version || story.name(v) == story.name(version);
        instances.iter().zip(versions).filter(|(i, v)| seen(i) && of(**v)).count()
    };
    let silent = |instance: Instance| match evidence {
        Evidence::Heartbeat => !instance.counts(),
        _ => !matches!(instance, Instance::On | Instance::Severed),
    };
    let rows = instances.iter().zip(versions).enumerate().filter(|(_, (instance, _))| instance.has_lease());
    rows.map(|(at, (instance, version))| Lease {
        instance: format!("instance-{at}"),
        fingerprint: Fingerprint::of(&story.codes[*version]),
        identity: identity(story, *version),
        process: Process { host: "web".to_owned(), pid: 7, machine: String::new(), started: String::new() },
        revision: None,
        evidence,
        started_ms: 0,
        heartbeat_age_ms: match (*instance == Instance::On, skewed) {
            (true, false) | (false, true) => 0,
            (true, true) => LONG_AGO * 40,
            (false, false) => LONG_AGO,
        },
        beat: String::new(),
        silent_ms: if silent(*instance) { LONG_AGO } else { 0 },
        grace_ms: 0,
        same_server: *instance != Instance::Severed,
        ended: *instance == Instance::Ended,
        version_connected: connections(*version) > 0,
        keeper_connected: seen(instance),
        connections: i64::try_from(connections(*version)).unwrap(),
        process_runs: (evidence == Evidence::Process).then_some(instance.connected()),
    })
    .collect()
}
