//! What can happen next, with every decision asked of the runtime itself.

use std::{collections::HashMap, fmt, hash::Hash, sync::Mutex};

use schemadiff::{
    backend::Retired,
    compat::{breaks, serves},
    lockstep::{
        Evidence, decide,
        decide::{Boot, Decision, Gate},
        state,
    },
    plan::{Action, Envelope, Phase, Step, Way},
};
use stateright::{Model, Property};

use super::{
    properties,
    story::{DIALECT, Story},
    world::{self, Aim, GRACE, Instance, Mark, Migrator, Records, Row, World},
};

/// Parts of the protocol that a test can leave out, to see that the search notices.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Steps wait for whom the gate names.
    pub gate: bool,
    /// Versions that are left behind are put on record.
    pub fence: bool,
    /// A new connection asks whether its version is retired.
    pub hook: bool,
    /// A registration is valid for the ledger that was read.
    pub epoch: bool,
    /// Also the begin of a step makes a new epoch.
    pub epoch_at_begin: bool,
    /// Work outside a transaction looks first whether it has been done.
    pub probe: bool,
    /// Versions that an abort left behind return when they are served again, not before.
    pub served_again: bool,
    /// A process that was not heard of for long asks the database before it uses a connection that is open.
    pub guard: bool,
}

pub const ALL: Rules = Rules {
    gate: true,
    fence: true,
    hook: true,
    epoch: true,
    epoch_at_begin: true,
    probe: true,
    served_again: true,
    guard: true,
};

/// Answers by question. The functions asked are pure, and parsing plans over and over is what would take the time.
struct Memo<Q, A>(Mutex<HashMap<Q, A>>);

impl<Q: Hash + Eq, A: Clone> Memo<Q, A> {
    fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    fn of(&self, question: Q, answer: impl FnOnce(&Q) -> A) -> A {
        if let Some(known) = self.0.lock().unwrap().get(&question) {
            return known.clone();
        }
        let answer = answer(&question);
        self.0.lock().unwrap().insert(question, answer.clone());
        answer
    }
}

/// What `decide::next` says, versions and steps by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Finished,
    Run(usize),
    Closed(Vec<usize>),
}

/// What `decide::gate` says: whom to retire, or who holds it.
type Answer = Result<Vec<usize>, Vec<usize>>;

pub struct Deployment {
    pub story: Story,
    pub rules: Rules,
    pub evidence: Evidence,
    /// The version of each instance, ascending.
    pub versions: Vec<usize>,
    /// How many plans each migrator knows, ascending.
    pub migrators: Vec<usize>,
    pub aborts: u8,
    pub undos: u8,
    /// Clocks are hours apart.
    pub skewed: bool,
    /// The server may be started anew at any moment.
    pub restarts: bool,
    boots: Memo<(usize, Records), bool>,
    nexts: Memo<(usize, Records, Vec<Instance>), Next>,
    backs: Memo<(usize, Records, Aim), Option<Option<usize>>>,
    gates: Memo<(usize, Records, Vec<Instance>, Way, usize), Answer>,
    returns: Memo<(usize, Records), Vec<usize>>,
    served: Memo<(Vec<bool>, usize), bool>,
    robs: Memo<(Vec<bool>, usize, usize), bool>,
}

impl Deployment {
    pub fn new(evidence: Evidence, versions: &[usize], migrators: &[usize], aborts: u8) -> Self {
        Self::over(Story::of(versions.iter().max().unwrap() + 1), evidence, versions, migrators, aborts)
    }

    pub fn over(story: Story, evidence: Evidence, versions: &[usize], migrators: &[usize], aborts: u8) -> Self {
        Self {
            story,
            rules: ALL,
            evidence,
            versions: versions.to_vec(),
            migrators: migrators.to_vec(),
            aborts,
            undos: 0,
            skewed: false,
            restarts: false,
            boots: Memo::new(),
            nexts: Memo::new(),
            backs: Memo::new(),
            gates: Memo::new(),
            returns: Memo::new(),
            served: Memo::new(),
            robs: Memo::new(),
        }
    }

    pub fn with(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    pub fn with_undos(self, undos: u8) -> Self {
        Self { undos, ..self }
    }

    pub fn skewed(self) -> Self {
        Self { skewed: true, ..self }
    }

    pub fn with_restarts(self) -> Self {
        Self { restarts: true, ..self }
    }

    fn number(&self, version: &str) -> usize {
        (0..self.story.codes.len()).position(|v| self.story.name(v) == version).unwrap()
    }

    fn position(&self, plan: &str, step: &str) -> usize {
        self.story.steps().position(|(at, s)| self.story.plans[at.plan].id == plan && s.id == step).unwrap()
    }

    /// Calls with what somebody reads who knows the first so many plans.
    fn asked<A>(
        &self,
        known: usize,
        records: &Records,
        instances: &[Instance],
        ask: impl FnOnce(&decide::World<'_>) -> A,
    ) -> A {
        let history = self.story.history(known);
        let ledger = world::ledger(&self.story, records, known);
        decide::same_history(history, &ledger, world::APP).unwrap();
        let plans = decide::pending(history, &ledger).unwrap();
        let leases = world::leases(&self.story, self.evidence, &self.versions, instances, self.skewed);
        let snapshot = history.snapshot();
        ask(&decide::World { snapshot, plans: &plans, ledger: &ledger, leases: &leases, grace_ms: GRACE, soak_ms: 0 })
    }

    /// Whether the version registers by what it reads: at once, or beside steps that wait.
    pub fn boots(&self, version: usize, records: &Records) -> bool {
        self.boots.of((version, records.clone()), |_| {
            self.asked(self.story.embeds[version], records, &[], |world| {
                match decide::boot(world, &world::identity(&self.story, version)).unwrap() {
                    Boot::Start => true,
                    Boot::Work { reasons, .. } => reasons.is_empty(),
                    Boot::Refused(_) => false,
                }
            })
        })
    }

    pub fn next(&self, known: usize, records: &Records, instances: &[Instance]) -> Next {
        self.nexts.of((known, records.clone(), instances.to_vec()), |_| {
            self.asked(known, records, instances, |world| match decide::next(world, Phase::Contract).unwrap() {
                Decision::Finished => Next::Finished,
                Decision::Run { plan, step, .. } => Next::Run(self.position(&plan.id, &step.id)),
                Decision::Closed { holders, .. } => {
                    Next::Closed(holders.iter().map(|h| self.number(&h.version)).collect())
                }
            })
        })
    }

    /// The step that an abort of the newest known plan, or the undoing of its contract phase, takes back next; the outer none
    /// when it must not go on.
    fn next_back(&self, known: usize, records: &Records, aim: Aim) -> Option<Option<usize>> {
        self.backs.of((known, records.clone(), aim), |_| {
            let plan = &self.story.plans[known - 1];
            self.asked(known, records, &[], |world| {
                let step = match aim {
                    Aim::Undo => decide::next_undo(plan, world.ledger, &[]).ok()?,
                    Aim::Apply | Aim::Abort => decide::next_back(plan, world.ledger).ok()?,
                };
                Some(step.map(|step| self.position(&plan.id, &step.id)))
            })
        })
    }

    fn gate(&self, known: usize, world: &World, way: Way, step: usize) -> Answer {
        let question = (known, world.records.clone(), world.instances.clone(), way, step);
        self.gates.of(question, |_| {
            let (at, _) = self.story.steps().nth(step).unwrap();
            let (plan, step) = (&self.story.plans[at.plan], self.story.step(at));
            self.asked(known, &world.records, &world.instances, |world| {
                let current = state::state(world.snapshot, world.plans, world.ledger).unwrap();
                let gate = match way {
                    Way::Forward => decide::gate(world, &current, plan, step).unwrap(),
                    Way::Back => decide::gate_back(world, &current, plan, step).unwrap(),
                };
                match gate {
                    Gate::Open(retire) => Ok(retire.iter().map(|r| self.number(&r.version)).collect()),
                    Gate::Closed(holders) => Err(holders.iter().map(|h| self.number(&h.version)).collect()),
                }
            })
        })
    }

    /// Versions that need not be refused any longer.
    fn returns(&self, known: usize, records: &Records) -> Vec<usize> {
        self.returns.of((known, records.clone()), |_| {
            let returns = |(version, retired): &(usize, Retired)| {
                let declared = [self.story.codes[*version].clone()];
                self.asked(known, records, &[], |world| decide::returns(world, retired, &declared).unwrap())
            };
            world::retired(&self.story, records).filter(returns).map(|(version, _)| version).collect()
        })
    }

    /// Whether code of the version runs against what is there in truth.
    pub fn is_served(&self, world: &World, version: usize) -> bool {
        let question = (world.there.clone(), version);
        self.served.of(question, |_| serves(DIALECT, &world.schema(&self.story), &self.story.codes[version]).is_ok())
    }

    /// Whether the effect of a step would take something away from the version while it runs.
    fn robs(&self, world: &World, version: usize, step: usize) -> bool {
        self.robs.of((world.there.clone(), version, step), |_| {
            let mut after = world.clone();
            after.there[step] = !after.there[step];
            !breaks(DIALECT, &world.schema(&self.story), &after.schema(&self.story), &self.story.codes[version])
                .is_empty()
        })
    }

    /// The transaction that asks the gate. `None` when nothing changes and the work is given back.
    fn pass(&self, world: &mut World, m: usize, aim: Aim, step: usize) -> Option<Migrator> {
        let way = aim.way();
        let (from, ended) = (world.records.marks[step], if way == Way::Forward { Mark::Done } else { Mark::Undone });
        if from == ended {
            return Some(Migrator::Holding(aim));
        }
        let (at, of) = self.story.steps().nth(step).unwrap();
        if way == Way::Forward && matches!(world.records.rows[at.plan], Row::Absent | Row::Aborted) {
            world.records.rows[at.plan] = Row::Running;
        }
        match self.gate(self.migrators[m], world, way, step) {
            Ok(retire) if self.rules.fence => {
                let left = |v: &usize| retire.iter().any(|r| self.story.name(*r) == self.story.name(*v));
                (0..self.story.codes.len()).filter(left).for_each(|v| world.records.retired[v] = Some((way, step)));
            }
            Err(_) if self.rules.gate => return None,
            _ => {}
        }
        let running = world.instances.iter().zip(&self.versions).filter(|(i, _)| i.connected());
        // What is there already, after a crash before its record, takes nothing away any more.
        let new = world.there[step] != (way == Way::Forward);
        world.robbed |= new && running.into_iter().any(|(_, v)| self.robs(world, *v, step));
        let filling = batches(of) && way == Way::Forward;
        let apart = match of.envelope {
            Envelope::Long => way == Way::Forward,
            Envelope::Concurrent => true,
            _ => false,
        };
        let apart = apart && self.evidence != Evidence::Process;
        if filling || apart {
            world.records.marks[step] = Mark::Running;
            if self.rules.epoch && self.rules.epoch_at_begin {
                world.moved_on();
            }
            return Some(Migrator::Begun(aim, step));
        }
        if batches(of) {
            // There is no statement that empties what a backfill filled.
            world.there[step] = false;
        } else {
            Self::work(world, way, step);
        }
        self.end(world, m, way, step);
        Some(Migrator::Holding(aim))
    }

    fn work(world: &mut World, way: Way, step: usize) {
        let wanted = way == Way::Forward;
        world.doubled |= world.there[step] == wanted;
        world.there[step] = wanted;
    }

    /// The record of a step's end.
    fn end(&self, world: &mut World, m: usize, way: Way, step: usize) {
        let (at, _) = self.story.steps().nth(step).unwrap();
        let records = &mut world.records;
        records.marks[step] = if way == Way::Forward { Mark::Done } else { Mark::Undone };
        let mut all = self.story.steps().zip(&records.marks).filter(|((other, _), _)| other.plan == at.plan);
        if all.all(|(_, mark)| *mark == Mark::Done) {
            records.rows[at.plan] = Row::Done;
        } else if way == Way::Back && records.rows[at.plan] == Row::Done {
            records.rows[at.plan] = Row::Running;
        }
        let returns = if self.rules.served_again {
            self.returns(self.migrators[m], &world.records)
        } else {
            let turned = |gone: &Option<(Way, usize)>| gone.is_some_and(|(gone, _)| gone != way);
            (0..self.story.codes.len()).filter(|v| turned(&world.records.retired[*v])).collect()
        };
        returns.into_iter().for_each(|version| world.records.retired[version] = None);
        if self.rules.epoch {
            world.moved_on();
        }
    }

    /// What the migrator does next.
    fn moved(&self, world: &mut World, m: usize) -> Option<Migrator> {
        let known = self.migrators[m];
        Some(match world.migrators[m] {
            Migrator::Away => return None,
            Migrator::Holding(Aim::Apply) => match self.next(known, &world.records, &world.instances) {
                Next::Run(step) => Migrator::Decided(Aim::Apply, step),
                Next::Finished | Next::Closed(_) => Migrator::Away,
            },
            Migrator::Holding(aim) => match self.next_back(known, &world.records, aim) {
                Some(Some(step)) => Migrator::Decided(aim, step),
                Some(None) if aim == Aim::Abort => {
                    world.records.rows[known - 1] = Row::Aborted;
                    Migrator::Away
                }
                Some(None) | None => Migrator::Away,
            },
            Migrator::Decided(aim, step) => {
                let mut passed = world.clone();
                match self.pass(&mut passed, m, aim, step) {
                    Some(next) => {
                        *world = passed;
                        next
                    }
                    None => Migrator::Away,
                }
            }
            Migrator::Begun(aim, step) => {
                let (way, (_, of)) = (aim.way(), self.story.steps().nth(step).unwrap());
                // Batches and probes find what is there; a long step is one transaction with its record.
                let looks =
                    of.envelope == Envelope::Batches || (of.envelope == Envelope::Concurrent && self.rules.probe);
                if !(looks && world.there[step] == (way == Way::Forward)) {
                    Self::work(world, way, step);
                }
                if of.envelope == Envelope::Long {
                    self.end(world, m, way, step);
                    Migrator::Holding(aim)
                } else {
                    Migrator::Worked(aim, step)
                }
            }
            Migrator::Worked(aim, step) => {
                self.end(world, m, aim.way(), step);
                Migrator::Holding(aim)
            }
        })
    }

    /// Instances of one version are alike, and so are migrators with one history.
    fn ordered(&self, mut world: World) -> World {
        for alike in self.versions.chunk_by(PartialEq::eq).scan(0, spans) {
            world.instances[alike].sort_unstable();
        }
        for alike in self.migrators.chunk_by(PartialEq::eq).scan(0, spans) {
            world.migrators[alike].sort_unstable();
        }
        world
    }
}

fn batches(step: &Step) -> bool {
    matches!(step.action, Action::Backfill(_))
}

fn spans(from: &mut usize, chunk: &[usize]) -> Option<std::ops::Range<usize>> {
    let span = *from..*from + chunk.len();
    *from = span.end;
    Some(span)
}

/// Something happens, to an instance or a migrator.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// It reads the ledger and may start.
    Boot(usize),
    Register(usize),
    Pause(usize),
    Resume(usize),
    /// The grace time ends while it is silent and somebody watches.
    Outlast(usize),
    /// The server is started anew: nobody is connected, and whoever carried migrations out has lost the work.
    Restart,
    /// Its connections break.
    Cut(usize),
    /// A new connection of its pool asks the hook.
    Enter(usize),
    Crash(usize),
    Shutdown(usize),
    /// A migrator takes the work.
    Take(usize, Aim),
    /// Somebody says that what was undone shall be carried out again.
    Redo,
    /// It does one act.
    Move(usize),
    /// It is killed, or loses its connection and with it the work.
    Kill(usize),
}

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, who) = match self {
            Self::Boot(i) => ("boots", i),
            Self::Register(i) => ("registers", i),
            Self::Pause(i) => ("is paused", i),
            Self::Resume(i) => ("goes on", i),
            Self::Outlast(i) => ("is given up", i),
            Self::Cut(i) => ("loses its connections", i),
            Self::Enter(i) => ("connects again", i),
            Self::Crash(i) => ("crashes", i),
            Self::Shutdown(i) => ("shuts down", i),
            Self::Take(m, Aim::Apply) => ("takes the work", m),
            Self::Take(m, Aim::Abort) => ("takes the work to abort", m),
            Self::Take(m, Aim::Undo) => ("takes the work to undo", m),
            Self::Redo => return f.write_str("somebody wants the contract phase again"),
            Self::Restart => return f.write_str("the server is started anew"),
            Self::Move(m) => ("acts", m),
            Self::Kill(m) => ("is killed", m),
        };
        let kind = if matches!(self, Self::Take(..) | Self::Move(_) | Self::Kill(_)) { "migrator" } else { "instance" };
        write!(f, "{kind} {who} {what}")
    }
}

impl Model for Deployment {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.story, self.versions.len(), self.migrators.len(), (self.aborts, self.undos))]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        let locks = self.evidence == Evidence::Lock;
        for (i, instance) in world.instances.iter().enumerate() {
            match instance {
                Instance::Never | Instance::Crashed | Instance::Ended => acts.push(Act::Boot(i)),
                Instance::Booting { .. } => acts.extend([Act::Register(i), Act::Crash(i)]),
                Instance::On => acts.extend([Act::Pause(i), Act::Crash(i), Act::Shutdown(i)]),
                Instance::Paused => {
                    acts.extend([Act::Resume(i), Act::Crash(i)]);
                    if self.evidence == Evidence::Heartbeat {
                        acts.push(Act::Outlast(i));
                    }
                }
                Instance::Silent => acts.extend([Act::Resume(i), Act::Crash(i)]),
                Instance::Severed => acts.extend([Act::Enter(i), Act::Crash(i), Act::Outlast(i)]),
                Instance::Cut => acts.extend([Act::Boot(i), Act::Enter(i), Act::Crash(i)]),
            }
            if locks && instance.connected() {
                acts.push(Act::Cut(i));
            }
        }
        if self.restarts && (!world.nobody_works() || world.instances.iter().any(|i| i.connected())) {
            acts.push(Act::Restart);
        }
        let free = world.nobody_works();
        for (m, migrator) in world.migrators.iter().enumerate() {
            if *migrator != Migrator::Away {
                acts.extend([Act::Move(m), Act::Kill(m)]);
            } else if free {
                acts.push(Act::Take(m, Aim::Apply));
                if world.aborts > 0 {
                    acts.push(Act::Take(m, Aim::Abort));
                }
                if world.undos > 0 {
                    acts.push(Act::Take(m, Aim::Undo));
                }
            }
        }
        if free && (0..self.story.plans.len()).any(|plan| world.is_held(&self.story, plan)) {
            acts.push(Act::Redo);
        }
    }

    fn next_state(&self, last: &World, act: Act) -> Option<World> {
        let mut world = last.clone();
        let retired = |i: usize| self.rules.hook && last.records.retired[self.versions[i]].is_some();
        match act {
            Act::Boot(i) => {
                if !self.boots(self.versions[i], &world.records) {
                    return None;
                }
                world.instances[i] = Instance::Booting { lease: world.instances[i].has_lease() };
            }
            Act::Register(i) | Act::Enter(i) => {
                world.instances[i] = if retired(i) { Instance::Crashed } else { Instance::On };
            }
            Act::Pause(i) => world.instances[i] = Instance::Paused,
            Act::Resume(i) => {
                let asks = self.rules.guard && world.instances[i] == Instance::Silent;
                world.instances[i] = if asks && retired(i) { Instance::Crashed } else { Instance::On };
            }
            Act::Outlast(i) => {
                let connected = world.instances[i] == Instance::Paused;
                world.instances[i] = if connected { Instance::Silent } else { Instance::Cut };
            }
            Act::Restart => {
                for instance in world.instances.iter_mut().filter(|i| i.connected()) {
                    *instance = Instance::Severed;
                }
                world.migrators.fill(Migrator::Away);
            }
            Act::Cut(i) => world.instances[i] = Instance::Cut,
            Act::Crash(i) => {
                let lease = world.instances[i].has_lease();
                world.instances[i] = if lease { Instance::Crashed } else { Instance::Never };
            }
            Act::Shutdown(i) => world.instances[i] = Instance::Ended,
            Act::Take(m, aim) => {
                let newest = self.migrators[m] - 1;
                let later = world.records.rows.iter().skip(newest + 1).any(|r| matches!(r, Row::Running | Row::Done));
                match aim {
                    Aim::Apply => {}
                    Aim::Abort => {
                        let running = world.records.rows[newest] == Row::Running;
                        if !running || self.next_back(newest + 1, &world.records, aim).is_none() {
                            return None;
                        }
                        world.aborts -= 1;
                    }
                    Aim::Undo => {
                        if later || !matches!(self.next_back(newest + 1, &world.records, aim), Some(Some(_))) {
                            return None;
                        }
                        world.undos -= 1;
                    }
                }
                world.migrators[m] = Migrator::Holding(aim);
            }
            Act::Redo => {
                for plan in (0..self.story.plans.len()).filter(|plan| last.is_held(&self.story, *plan)) {
                    for (at, _) in self.story.steps().filter(|(at, of)| at.plan == plan && of.phase == Phase::Contract)
                    {
                        let mark = &mut world.records.marks[self.story.position(at)];
                        if *mark == Mark::Undone {
                            *mark = Mark::Pending;
                        }
                    }
                }
            }
            Act::Move(m) => world.migrators[m] = self.moved(&mut world, m)?,
            Act::Kill(m) => world.migrators[m] = Migrator::Away,
        }
        Some(self.ordered(world))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
