//! Old and new code side by side: two versions of a service, generated from their schemas, work on the same rows while a
//! plan is carried out step by step. Not one statement may fail, and every row must be what was written.
//!
//! Works for any two schemas and any plan between them, on each engine. The rows belong to pairs of one old and one new
//! connection that take turns, so that the right content of every row is known at any moment: what one version writes
//! the other one reads. Every connection keeps its prepared statements through the whole run.

pub mod case;
pub mod client;
pub mod rows;
pub mod statements;
pub mod steps;
pub mod value;
pub mod world;

mod worker;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cargo_schemadiff::dialect::{Connection, Scope};
use schemadiff::{
    compat::{Reason, renewed, serves, view_schema},
    model::{Fingerprint, ObjectName, Schema, Table, between},
    plan::{PLAN_FORMAT, Phase, Plan},
};
use tokio::{sync::Mutex, task::JoinHandle};

use crate::{engine::TestDatabase, lockstep::Recorder};
use client::Client;
use statements::Statements;
use steps::Execution;
use worker::{Shared, Worker};

pub use worker::{Failure, Values};
pub use world::{Mapping, Version, View, World};

/// What to run.
#[derive(Clone)]
pub struct Scenario {
    /// The schema of the version that is being replaced, in the server's spelling. The database is in that state.
    pub old: Schema,
    /// The schema of the version that replaces it.
    pub new: Schema,
    /// The plan between them.
    pub plan: Plan,
    /// How names and values belong together.
    pub mapping: Mapping,
    /// Values where the generated ones do not do.
    pub values: Option<Values>,
    /// Columns that both versions write in every insert, whatever their default.
    pub always_written: Vec<String>,
    /// Rows per table before the first step.
    pub rows: usize,
    /// Also take the plan back from every point before contract.
    pub abort_everywhere: bool,
    /// After every step the server must show the state that the plan predicts.
    pub compare_with_server: bool,
    /// Whether connections enter through the hook, the old version's as [`PARENT`] of [`APP`] and the new one's as the
    /// plan's. The old version then also sends statements with a star.
    pub hook: bool,
    /// The new version keeps to what the plan's hazards say: no ON CONFLICT on a key that is not there yet (H011), no NULL
    /// where the old version's column takes none (H010).
    pub cautious: bool,
    /// Passes of every worker over its tables after each step.
    pub rounds: u64,
    /// Rows per table that neither version touches; they are compared at the end like all others.
    pub bystanders: usize,
    /// No lock timeout of the executor is longer.
    pub max_stall: Option<Duration>,
    /// Called when the rows are there and the quiet time is over: whoever else shall use the database comes now.
    pub stage: Option<Entrance>,
    /// What the executor tells.
    pub events: Recorder,
}

/// Lets somebody come.
pub type Entrance = Arc<dyn Fn(&Stage) + Send + Sync>;

/// Where a plan is about to be carried out.
#[derive(Debug, Clone, Default)]
pub struct Stage {
    /// Keys of the rows that neither version touches, by the old version's tables; as texts in the order of the key columns.
    pub bystanders: BTreeMap<ObjectName, Vec<Vec<String>>>,
    /// Whether the old version still works.
    pub old_lives: Arc<AtomicBool>,
}

impl Scenario {
    /// With 600 rows a table and without aborts.
    pub fn new(old: Schema, new: Schema, plan: Plan) -> Self {
        Self {
            old,
            new,
            plan,
            mapping: Mapping::default(),
            values: None,
            always_written: Vec::new(),
            rows: 600,
            abort_everywhere: false,
            compare_with_server: false,
            hook: false,
            cautious: false,
            rounds: ROUNDS,
            bystanders: 0,
            max_stall: None,
            stage: None,
            events: Recorder::default(),
        }
    }

    fn version(&self, version: Version) -> &str {
        match version {
            Version::Old => PARENT,
            Version::New => &self.plan.id,
        }
    }

    /// The state as connections of this version see it.
    fn seen_by<'s>(&self, version: Version, state: &'s Schema) -> Cow<'s, Schema> {
        let views = self.hook.then(|| view_schema(APP, self.version(version)));
        state.seen_through(views.as_deref())
    }

    fn serves(&self, version: Version, state: &Schema) -> Result<(), Vec<Reason>> {
        let code = if version == Version::Old { &self.old } else { &self.new };
        serves(self.plan.dialect, &self.seen_by(version, state), code)?;
        let to_come = self.plan.phase(Phase::Contract).flat_map(|step| &step.effects);
        let renewed =
            if version == Version::Old { Vec::new() } else { renewed(self.plan.dialect, state, to_come, code) };
        if renewed.is_empty() { Ok(()) } else { Err(renewed) }
    }
}

/// The application that connections of a run belong to.
pub const APP: &str = "twin";
/// The old version.
pub const PARENT: &str = "20231231000000_before";

/// What happened.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Statements by the old and by the new version.
    pub statements: [u64; 2],
    /// Failures; empty is the requirement.
    pub failures: Vec<Failure>,
    /// Rows compared at the end.
    pub rows_verified: u64,
    /// Steps during which both versions worked.
    pub steps_with_both: Vec<String>,
    /// The slowest statement without any migration.
    pub idle_stall: Duration,
    /// The slowest statement of each step.
    pub stalls: BTreeMap<String, Duration>,
}

impl Report {
    /// The slowest statement during a step in relation to the slowest one of the quiet time before.
    pub fn stall_ratio(&self) -> f64 {
        let worst = self.stalls.values().max().copied().unwrap_or_default();
        worst.as_secs_f64() / self.idle_stall.as_secs_f64().max(1e-6)
    }

    /// Panics with every failure, one a line, when there is one.
    pub fn assert_clean(&self) {
        let lines: Vec<_> = self
            .failures
            .iter()
            .map(|f| format!("{:?} version during `{}`: {}\n    in: {}", f.version, f.during, f.error, f.sql))
            .collect();
        assert!(lines.is_empty(), "{} failures:\n{}", lines.len(), lines.join("\n"));
        assert!(self.rows_verified > 0, "no row was compared");
    }
}

const PAIRS: usize = 3;
/// See [`Scenario::rounds`].
const ROUNDS: u64 = 25;
/// The same on the way to an abort and back, which is gone many times.
const ROUNDS_OF_ABORTS: u64 = 6;

/// A running team of one version.
struct Team {
    rounds: Vec<Arc<AtomicU64>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Team {
    /// A run that ends in a panic must not leave its load behind.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A run.
struct Run<'a> {
    db: &'a TestDatabase,
    scenario: &'a Scenario,
    views: [Arc<View>; 2],
    statements: [Arc<Statements>; 2],
    /// One for each pair, and one for the rows that nobody touches.
    worlds: Vec<Arc<Mutex<World>>>,
    old_lives: Arc<AtomicBool>,
    shared: Arc<Shared>,
    teams: [Option<Team>; 2],
    state: Schema,
    attempts: u32,
    report: Report,
    seed: u64,
    load_rounds: u64,
    /// Looks at the schema after every step.
    observer: Option<Connection>,
}

/// The schema of a database.
pub async fn introspect(url: &str) -> Schema {
    let mut connection = Connection::open(url).await.unwrap_or_else(|e| panic!("{e}"));
    connection.introspect(&Scope::default()).await.unwrap_or_else(|e| panic!("{e}")).schema
}

/// Fills the tables of a schema with rows, as a service with that schema would write them, and as the next one allows.
pub async fn seed(db: &TestDatabase, schema: &Schema, next: &Schema, rows: usize, values: Option<Values>) {
    let plan = Plan {
        format: PLAN_FORMAT,
        id: String::new(),
        dialect: db.dialect,
        parent: None,
        before: Fingerprint::of(schema),
        after: Fingerprint::of(schema),
        strategy: None,
        allowed_drops: Vec::new(),
        notes: Vec::new(),
        checksum: String::new(),
        steps: Vec::new(),
    };
    let scenario = Scenario { values, rows, ..Scenario::new(schema.clone(), next.clone(), plan) };
    Run::new(db, &scenario).await.seed_rows().await;
}

/// Runs a scenario on a database that is in the state of `scenario.old`.
pub async fn run(db: &TestDatabase, scenario: &Scenario) -> Report {
    if scenario.hook {
        steps::create_ledger(db).await;
    }
    let mut run = Run::new(db, scenario).await;
    run.seed_rows().await;
    run.start(Version::Old).await;
    run.quiet_time().await;
    run.set_the_stage().await;
    if scenario.abort_everywhere {
        run.load_rounds = ROUNDS_OF_ABORTS;
        run.aborts().await;
        run.load_rounds = scenario.rounds;
    }
    run.both_from_the_start().await;
    let mut execution = run.execution();
    run.forward(&mut execution, scenario.plan.steps.len()).await;
    execution.finish().await;
    run.stop(Version::Old).await;
    if scenario.serves(Version::New, &run.state).is_ok() {
        run.start(Version::New).await;
        run.load("after the last step").await;
    }
    run.finish(&[Version::New]).await
}

/// Columns of the new version that may be NULL, and not for the old one.
fn never_null_yet(new: &View) -> Vec<String> {
    let of_old =
        |shared: &ObjectName| new.other.tables.values().find(|t| new.mapping.table(Version::Old, &t.name) == *shared);
    let refuses = |shared: &ObjectName, column: &str| {
        let mut columns = of_old(shared).into_iter().flat_map(|t| &t.columns);
        columns.any(|c| !c.nullable && new.mapping.column(Version::Old, shared, &c.name) == column)
    };
    let tables = new.schema.tables.values();
    let columns = tables.flat_map(|t| t.columns.iter().filter(|c| c.nullable && refuses(&t.name, &c.name)));
    columns.map(|c| c.name.clone()).collect()
}

/// Whether the primary key is over other columns than in the old version.
fn has_another_key(new: &View, table: &Table) -> bool {
    let key_of = |version, t: &Table| -> Vec<String> {
        let key = t.primary_key.iter().flat_map(|key| &key.columns);
        key.map(|c| new.mapping.column(version, &table.name, c)).collect()
    };
    let was = new.other.tables.values().find(|t| new.mapping.table(Version::Old, &t.name) == table.name);
    was.is_some_and(|was| key_of(Version::Old, was) != key_of(Version::New, table))
}

impl<'a> Run<'a> {
    async fn new(db: &'a TestDatabase, scenario: &'a Scenario) -> Self {
        let views = View::both(&scenario.old, &scenario.new, &scenario.mapping).map(Arc::new);
        let kept = if scenario.cautious { never_null_yet(&views[Version::New as usize]) } else { Vec::new() };
        let always = [scenario.always_written.clone(), [&scenario.always_written[..], &kept].concat()];
        let mut statements = [(&scenario.old, &always[0]), (&scenario.new, &always[1])]
            .map(|(schema, always)| Statements::of(db.dialect, schema, always));
        for table in &mut statements[Version::New as usize].tables {
            table.never_null.extend(kept.iter().cloned());
            if scenario.cautious && has_another_key(&views[Version::New as usize], &table.table) {
                table.upsert = None;
            }
        }
        let statements = statements.map(Arc::new);
        let uniques = world::uniques(&scenario.mapping, &scenario.old, &scenario.new);
        let worlds = (0..=PAIRS as u64).map(|owner| Arc::new(Mutex::new(World::new(owner, uniques.clone())))).collect();
        Self {
            db,
            scenario,
            views,
            statements,
            worlds,
            old_lives: Arc::default(),
            shared: Arc::default(),
            teams: [None, None],
            state: scenario.old.clone(),
            attempts: 0,
            report: Report::default(),
            seed: 0x9E37_79B9_7F4A_7C15,
            load_rounds: scenario.rounds,
            observer: None,
        }
    }

    async fn worker(&mut self, version: Version, pair: usize) -> Worker {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut client = Client::connect(self.db.dialect, &self.db.url).await.unwrap();
        if self.scenario.hook {
            client.enter(self.scenario.version(version)).await.unwrap();
        }
        Worker {
            stars: self.scenario.hook && version == Version::Old,
            dialect: self.db.dialect,
            client,
            view: Arc::clone(&self.views[version as usize]),
            statements: Arc::clone(&self.statements[version as usize]),
            world: Arc::clone(&self.worlds[pair]),
            shared: Arc::clone(&self.shared),
            values: self.scenario.values.clone(),
            rounds: Arc::default(),
            stop: Arc::default(),
            random: self.seed | 1,
        }
    }

    /// Rows from before the migration, written by the old version.
    async fn seed_rows(&mut self) {
        self.during("seeding");
        for owner in 0..=PAIRS {
            let rows = if owner == PAIRS { self.scenario.bystanders } else { self.scenario.rows / PAIRS };
            let mut worker = self.worker(Version::Old, owner).await;
            let world = Arc::clone(&self.worlds[owner]);
            let mut world = world.lock().await;
            let statements = Arc::clone(&self.statements[0]);
            worker.client.raw("BEGIN").await.unwrap();
            for t in &statements.tables {
                for row in 0..rows {
                    let (statement, columns) = match row % 4 {
                        0 => (&t.insert_required, &t.required),
                        _ => (&t.insert_returning, &t.writable),
                    };
                    worker.insert(t, statement, columns, &mut world).await;
                }
            }
            worker.client.raw("COMMIT").await.unwrap();
        }
        if let Some(first) = self.shared.failures.lock().unwrap().first() {
            panic!("the old version does not run even before the migration: {}\nin: {}", first.error, first.sql);
        }
    }

    fn during(&self, what: &str) {
        what.clone_into(&mut self.shared.during.lock().unwrap());
    }

    async fn set_the_stage(&self) {
        let Some(stage) = &self.scenario.stage else { return };
        let world = self.worlds[PAIRS].lock().await;
        let view = &self.views[Version::Old as usize];
        let keys_of = |table: &Table| -> Vec<Vec<String>> {
            let shared = view.mapping.table(Version::Old, &table.name);
            let key = table.primary_key.iter().flat_map(|key| &key.columns);
            let key: Vec<_> = key.map(|c| view.mapping.column(Version::Old, &shared, c)).collect();
            let of_row = |row: &world::Row| key.iter().map(|c| row.get(c).and_then(world::Cell::known)).collect();
            world.rows(&shared).filter_map(|(_, row)| of_row(row)).collect()
        };
        let bystanders = self.scenario.old.tables.values().map(|t| (t.name.clone(), keys_of(t))).collect();
        stage(&Stage { bystanders, old_lives: Arc::clone(&self.old_lives) });
    }

    async fn start(&mut self, version: Version) {
        if self.teams[version as usize].is_some() {
            return;
        }
        if version == Version::Old {
            self.old_lives.store(true, Ordering::Relaxed);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let mut team = Team { rounds: Vec::new(), stop: Arc::clone(&stop), tasks: Vec::new() };
        for pair in 0..PAIRS {
            let mut worker = self.worker(version, pair).await;
            worker.stop = Arc::clone(&stop);
            team.rounds.push(Arc::clone(&worker.rounds));
            team.tasks.push(tokio::spawn(worker.run()));
        }
        self.teams[version as usize] = Some(team);
    }

    async fn stop(&mut self, version: Version) {
        if version == Version::Old {
            self.old_lives.store(false, Ordering::Relaxed);
        }
        if let Some(mut team) = self.teams[version as usize].take() {
            team.stop.store(true, Ordering::Relaxed);
            for task in std::mem::take(&mut team.tasks) {
                task.await.unwrap();
            }
        }
    }

    /// Lets every running worker pass over its tables some times.
    async fn load(&mut self, what: &str) {
        self.during(what);
        let rounds: Vec<_> = self.teams.iter().flatten().flat_map(|t| t.rounds.clone()).collect();
        let goals: Vec<_> = rounds.iter().map(|r| r.load(Ordering::Relaxed) + self.load_rounds).collect();
        let deadline = Instant::now() + Duration::from_secs(60);
        while rounds.iter().zip(&goals).any(|(r, goal)| r.load(Ordering::Relaxed) < *goal) {
            assert!(
                Instant::now() < deadline,
                "a worker hangs {what}: {:?}",
                self.shared.failures.lock().unwrap().first()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn take_slowest(&self) -> Duration {
        std::mem::take(&mut *self.shared.slowest.lock().unwrap())
    }

    /// The slowest statement while nothing else happens.
    async fn quiet_time(&mut self) {
        // The first pass prepares statements and fills caches.
        self.load("before the first step").await;
        self.take_slowest();
        self.load("before the first step").await;
        self.load("before the first step").await;
        self.report.idle_stall = self.take_slowest();
    }

    /// A plan that only removes things serves the new version before its first step.
    async fn both_from_the_start(&mut self) {
        if self.scenario.serves(Version::New, &self.state).is_ok() {
            self.start(Version::New).await;
            self.report.steps_with_both.push("the start".into());
            self.load("before the first step, both versions").await;
        }
    }

    /// A run of the plan under an id of its own: one that was taken back stays in the ledger.
    fn execution(&mut self) -> Execution {
        self.attempts += 1;
        let id = format!("202401010000{:02}_twin", self.attempts);
        Execution::new(&self.db.url, &id, self.scenario)
    }

    /// Carries out the steps from the start to `until`, starting and stopping versions as the state allows.
    async fn forward(&mut self, execution: &mut Execution, until: usize) {
        for step in &self.scenario.plan.steps[..until] {
            if step.phase == Phase::Contract {
                self.stop(Version::Old).await;
            }
            let mut after = self.state.clone();
            step.apply_to(&mut after).unwrap_or_else(|e| panic!("step {}: {e}", step.id));
            if step.phase != Phase::Contract
                && let Err(reasons) = self.scenario.serves(Version::Old, &after)
            {
                panic!("step {} is {} and does not serve the old version: {reasons:?}", step.id, step.phase);
            }
            if self.scenario.serves(Version::New, &after).is_err() {
                self.stop(Version::New).await;
            }
            self.during(&step.id);
            self.take_slowest();
            let done = execution.forward().await.unwrap_or_else(|e| panic!("step {}: {e}", step.id));
            assert_eq!(done, step.id);
            self.state = after;
            self.compare_with_server(&format!("after step {}", step.id)).await;
            if self.scenario.serves(Version::New, &self.state).is_ok() {
                self.start(Version::New).await;
            }
            if self.teams.iter().all(Option::is_some) {
                self.report.steps_with_both.push(step.id.clone());
            }
            self.load(&format!("after {}", step.id)).await;
            let stall = self.take_slowest();
            let worst = self.report.stalls.entry(step.id.clone()).or_default();
            *worst = stall.max(*worst);
        }
    }

    async fn compare_with_server(&mut self, when: &str) {
        if !self.scenario.compare_with_server {
            return;
        }
        let mut predicted = self.state.clone();
        for sync in predicted.tables.values_mut().flat_map(|t| t.syncs.values_mut()) {
            *sync = sync.structure();
        }
        let observer = match &mut self.observer {
            Some(observer) => observer,
            none => none.insert(Connection::open(&self.db.url).await.unwrap_or_else(|e| panic!("{e}"))),
        };
        let found = observer.introspect(&Scope::default()).await;
        let mut found = found.unwrap_or_else(|e| panic!("{when}: {e}")).schema;
        cargo_schemadiff::prove::without_labels_to_come(&mut found, &predicted, &self.scenario.new);
        assert_eq!(between(&predicted, &found), [], "{when} the server is not as the plan predicts");
    }

    /// From every point before contract: there, and back to the start.
    async fn aborts(&mut self) {
        let steps = &self.scenario.plan.steps;
        // What cannot be taken back on an engine the plan says.
        let last = steps.iter().take_while(|s| s.phase != Phase::Contract && s.undoable).count();
        for point in 1..=last {
            let mut execution = self.execution();
            self.forward(&mut execution, point).await;
            execution.interrupt().await;
            self.stop(Version::New).await;
            let mut taken: Vec<&str> = Vec::new();
            for step in steps[..point].iter().rev() {
                if taken.contains(&step.id.as_str()) {
                    continue;
                }
                self.during(&format!("taking back {}", step.id));
                let undone = execution.back().await.unwrap_or_else(|e| panic!("taking back {}: {e}", step.id));
                assert_eq!(undone, step.id);
                for step in self.scenario.plan.taken_back_with(step) {
                    step.revert_on(&mut self.state).unwrap_or_else(|e| panic!("step {}: {e}", step.id));
                    taken.push(&step.id);
                }
                self.compare_with_server(&format!("after taking back step {}", step.id)).await;
                self.load(&format!("after taking back {}", step.id)).await;
            }
            execution.finish().await;
            let left = between(&self.scenario.old, &self.state);
            assert_eq!(left, [], "taking back {point} steps does not lead to the start");
            self.forget_the_new_version().await;
        }
    }

    /// What only the new version could see went away with its columns.
    async fn forget_the_new_version(&self) {
        for world in &self.worlds {
            let mut world = world.lock().await;
            for table in self.scenario.old.tables.keys() {
                let shared = self.views[0].mapping.table(Version::Old, table);
                world.change(&shared, |row| self.views[0].forget_the_other(table, row));
            }
            let of_old: Vec<_> =
                self.scenario.old.tables.keys().map(|t| self.views[0].mapping.table(Version::Old, t)).collect();
            world.keep(&of_old);
        }
    }

    /// Ends the load, compares every row as the given versions see it, and reports.
    async fn finish(mut self, versions: &[Version]) -> Report {
        self.stop(Version::Old).await;
        self.stop(Version::New).await;
        self.during("comparing all rows");
        for version in versions {
            let mut worker = self.worker(*version, 0).await;
            let mut worlds = Vec::new();
            for world in &self.worlds {
                worlds.push(Arc::clone(world).lock_owned().await);
            }
            self.report.rows_verified += worker.verify(&mut worlds).await;
        }
        self.report.statements = [0, 1].map(|v| self.shared.statements[v].load(Ordering::Relaxed));
        self.report.failures = self.shared.failures.lock().unwrap().clone();
        self.report
    }
}
