//! The executor of the product, one step at a time: it works in a thread of its own and waits after every step until the
//! director lets it go on.

use std::{
    sync::{Arc, Mutex, mpsc as std_mpsc},
    time::Duration,
};

use schemadiff::{
    embed::Migrations,
    lockstep::{
        Event, NoProgress, Pace, Progress, Retry,
        admin::{self, ApplyOptions},
    },
    model::{Fingerprint, Schema},
    plan::{Plan, SNAPSHOT_FORMAT, Snapshot},
};
use tokio::sync::{mpsc, watch};

use super::Scenario;
use crate::{engine::TestDatabase, lockstep::Recorder};

/// Makes an empty ledger, which connections need to enter.
pub async fn create_ledger(db: &TestDatabase) {
    let lock = Snapshot {
        format: SNAPSHOT_FORMAT,
        dialect: db.dialect,
        head: None,
        sources: Default::default(),
        schema: Schema::default(),
    };
    let none = Migrations::from_plans(&lock, &[]).unwrap();
    admin::apply(&db.url, &none, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
}

/// A plan under way.
pub struct Execution {
    url: String,
    plan: Plan,
    lock: Snapshot,
    max_stall: Option<Duration>,
    events: Recorder,
    running: Option<Running>,
}

struct Running {
    /// Names of finished steps; an error ends the run.
    done: mpsc::UnboundedReceiver<Result<String, String>>,
    go_on: std_mpsc::Sender<()>,
    stop: watch::Sender<bool>,
    thread: std::thread::JoinHandle<()>,
}

#[derive(Clone, Copy)]
enum Way {
    Forward,
    Back,
}

impl Execution {
    /// Of a scenario's plan. The id must be new to the database's ledger.
    pub fn new(url: &str, id: &str, scenario: &Scenario) -> Self {
        // A scenario may be about a part of what the plan was made for.
        let (before, after) = (Fingerprint::of(&scenario.old), Fingerprint::of(&scenario.new));
        let mut plan = Plan { id: id.to_owned(), parent: None, before, after, ..scenario.plan.clone() };
        plan.checksum = plan.compute_checksum();
        let head = Some(plan.id.clone());
        let schema = scenario.new.clone();
        let lock =
            Snapshot { format: SNAPSHOT_FORMAT, dialect: plan.dialect, head, sources: Default::default(), schema };
        let (max_stall, events) = (scenario.max_stall, scenario.events.clone());
        Self { url: url.to_owned(), plan, lock, max_stall, events, running: None }
    }

    /// Carries out the next step.
    pub async fn forward(&mut self) -> Result<String, String> {
        self.next(Way::Forward).await
    }

    /// Takes the last step back.
    pub async fn back(&mut self) -> Result<String, String> {
        self.next(Way::Back).await
    }

    async fn next(&mut self, way: Way) -> Result<String, String> {
        match &self.running {
            Some(running) => drop(running.go_on.send(())),
            None => self.running = Some(self.start(way)),
        }
        let running = self.running.as_mut().ok_or("nothing runs")?;
        running.done.recv().await.unwrap_or_else(|| Err("the executor ended without a further step".to_owned()))
    }

    /// Interrupts the executor between two steps.
    pub async fn interrupt(&mut self) {
        if let Some(running) = &self.running {
            let _ = running.stop.send(true);
        }
        self.finish().await;
    }

    /// Lets the executor come to its end after the last step.
    pub async fn finish(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = running.go_on.send(());
            // Waiting here would stop the load on this thread, in the middle of its transactions.
            tokio::task::spawn_blocking(|| running.thread.join()).await.unwrap().unwrap();
        }
    }

    fn start(&self, way: Way) -> Running {
        let (done_tx, done) = mpsc::unbounded_channel();
        let (go_on, go_on_rx) = std_mpsc::channel();
        let (stop, stop_rx) = watch::channel(false);
        let (tell, events) = (done_tx.clone(), self.events.clone());
        let pauses = Arc::new(Pauses { done: tell, go_on: Mutex::new(go_on_rx), events });
        let (url, plan, lock, max_stall) = (self.url.clone(), self.plan.clone(), self.lock.clone(), self.max_stall);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let result = runtime.block_on(work(&url, &plan, &lock, (way, max_stall), stop_rx, pauses));
            if let Err(error) = result {
                let _ = done_tx.send(Err(error));
            }
        });
        Running { done, go_on, stop, thread }
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = running.stop.send(true);
            // Without a sender the executor does not wait any more.
            drop(running.go_on);
            let _ = running.thread.join();
        }
    }
}

async fn work(
    url: &str,
    plan: &Plan,
    lock: &Snapshot,
    (way, max_stall): (Way, Option<Duration>),
    stop: watch::Receiver<bool>,
    progress: Arc<Pauses>,
) -> Result<(), String> {
    let migrations = Migrations::from_plans(lock, std::slice::from_ref(plan)).map_err(|e| e.to_string())?;
    // Two writers that hold rows of two tables most of the time leave few moments: waiting for one is no failure.
    let pause = Duration::from_millis(20);
    let retry = Retry { first_pause: pause, longest_pause: pause * 10, attempts: 1_000, max_stall, ..Retry::default() };
    let pace = Pace { max_stall, ..Pace::default() };
    // What the new version wrote goes with it.
    let allow_drop = plan.steps.iter().flat_map(|step| &step.undo_loses).map(|loss| loss.name.clone()).collect();
    let wait = Some(Duration::from_secs(20));
    let options = ApplyOptions { retry, pace, stop: Some(stop), wait, allow_drop, ..Default::default() };
    match way {
        Way::Forward => admin::apply(url, &migrations, &options, progress).await.map(drop),
        Way::Back => admin::abort(url, &migrations, &plan.id, &options, progress).await,
    }
    .map_err(|e| format!("{e:?}: {e}"))
}

/// Holds the executor after each step.
struct Pauses {
    done: mpsc::UnboundedSender<Result<String, String>>,
    go_on: Mutex<std_mpsc::Receiver<()>>,
    events: Recorder,
}

impl Progress for Pauses {
    fn event(&self, event: &Event<'_>) {
        self.events.event(event);
        if let Event::StepFinished { step, .. } | Event::StepUndone { step, .. } = event {
            let _ = self.done.send(Ok((*step).to_owned()));
            let _ = self.go_on.lock().unwrap().recv();
        }
    }
}
