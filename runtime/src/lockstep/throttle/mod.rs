//! Slows a backfill down: a task on a connection of its own looks at the load and at what the operator wishes, and says how
//! fast the workers may go. What it does not know stops them.

mod decide;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinHandle};

use self::decide::{Memory, Probe, Verdict};
use super::context::{Context, Stop};
use crate::{
    backend::{Backend, DbResult, Limits, Reading, Timeouts, pace},
    error::Result,
};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(250);
/// A look that is older than this says nothing any more.
const STALE: Duration = Duration::from_secs(3);
/// Between two looks at the size of the database.
const SIZED_EVERY: Duration = Duration::from_secs(2);
/// How often the reason is written down although it is the same.
const NOTED_EVERY: Duration = Duration::from_secs(5);

/// How gentle a migration is.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    /// The longest that a statement of an application may wait for the migration. Lock timeouts, the time of a batch and the
    /// waiting for others inside of it follow from it. None is 200 ms where it counts, and the plan's own lock timeouts.
    pub max_stall: Option<Duration>,
    /// Connections that fill at the same time, on engines with more than one writer. None is one, and a second one as long as nobody
    /// else is at work.
    pub parallel: Option<u32>,
    /// Pause after a batch, as a multiple of what the throttle says; 0 for a database that nobody else uses.
    pub pause: f64,
    /// Rows that a backfill keeps aside because the application gives them no value, before it stops.
    pub failed_rows: u64,
    /// How much of what a backfill leaves behind is compared with what it should be.
    pub compare: Compare,
    /// Above what a backfill waits.
    pub limits: Limits,
}

/// How much is compared when a backfill has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compare {
    /// Nothing: what is stored is right whatever the expressions give.
    Off,
    /// Some ranges of the key, chosen by chance among those that were filled since the process began.
    #[default]
    Sample,
    /// Every row of the table. It is read once more.
    Full,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            max_stall: None,
            parallel: None,
            pause: 1.0,
            failed_rows: 100,
            compare: Compare::default(),
            limits: Limits::default(),
        }
    }
}

/// What was said last, and when.
#[derive(Debug, Clone)]
struct Said {
    verdict: Verdict,
    at: Instant,
    /// Why nobody has looked since.
    trouble: Option<String>,
}

/// What this process knows of the load on the server, from one backfill and one connection to the next: a standby that vanished in between
/// is still missed.
#[derive(Debug, Clone, Default)]
pub(super) struct Load {
    /// Sessions of this process: they are not "others".
    ours: Arc<Mutex<Vec<i64>>>,
    known: Arc<tokio::sync::Mutex<Known>>,
}

/// What holds for as long as the process does.
#[derive(Debug, Default)]
struct Known {
    memory: Memory,
    /// What the probe statement took when no backfill had begun.
    idle: Option<Duration>,
}

impl Load {
    /// The session is one of this process.
    pub async fn is_ours<B: Backend>(&self, db: &mut B) -> Option<i64> {
        let session = db.session().await.ok().flatten()?;
        self.ours.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        Some(session)
    }

    /// Nobody looks at the load until it is dropped.
    pub async fn unseen(&self) -> impl Drop {
        Arc::clone(&self.known).lock_owned().await
    }

    /// It was closed: the server may give its number to somebody else.
    pub fn is_gone(&self, session: Option<i64>) {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner).retain(|ours| Some(*ours) != session);
    }

    fn sessions(&self) -> Vec<i64> {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The workers' end.
#[derive(Clone)]
pub(super) struct Throttle {
    said: watch::Receiver<Option<Said>>,
    _task: Arc<Task>,
}

/// Ends the task when the last worker is gone.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Throttle {
    /// Starts to look.
    pub fn start<B: Backend>(db: &B, ctx: &Context) -> Self {
        let (say, said) = watch::channel(None);
        let (target, limits, load) = (db.connected_to().clone(), ctx.pace.limits.clone(), ctx.load.clone());
        let task = tokio::spawn(async move { watch_load::<B>(target, limits, load, say).await });
        Self { said, _task: Arc::new(Task(task)) }
    }

    /// What holds at this moment.
    pub fn now(&self) -> Verdict {
        match &*self.said.borrow() {
            Some(said) if said.at.elapsed() < STALE => said.verdict.clone(),
            Some(said) => {
                let why = said.trouble.as_ref().map_or_else(|| "the server does not answer".into(), Clone::clone);
                let reason = format!("the load on the server has not been seen for {:.0?}: {why}", said.at.elapsed());
                Verdict::stop(reason)
            }
            None => Verdict::stop("the load on the server has not been seen yet"),
        }
    }

    /// Waits for the first look.
    pub async fn ready(&mut self, stop: &mut Stop) -> Result<()> {
        let began = Instant::now();
        while self.said.borrow().is_none() && began.elapsed() < STALE {
            stop.sleep(Duration::from_millis(5)).await?;
        }
        Ok(())
    }
}

/// Looks again and again; ends with the workers.
async fn watch_load<B: Backend>(target: B::Target, limits: Limits, load: Load, say: watch::Sender<Option<Said>>) {
    let (mut connection, mut noted): (Option<B>, Option<(String, Instant)>) = (None, None);
    loop {
        match look::<B>(&mut connection, &target, &limits, &load).await {
            Ok(verdict) => {
                let old =
                    noted.as_ref().is_none_or(|(reason, at)| *reason != verdict.reason || at.elapsed() > NOTED_EVERY);
                if let (true, Some(db)) = (old, connection.as_mut()) {
                    match pace::note(db, &verdict.reason).await {
                        Ok(()) => noted = Some((verdict.reason.clone(), Instant::now())),
                        Err(error) => {
                            tracing::debug!(%error, "the reason for the present speed could not be put on record")
                        }
                    }
                }
                say.send_replace(Some(Said { verdict, at: Instant::now(), trouble: None }));
            }
            // What was said before holds until it is too old.
            Err(cause) => {
                connection = None;
                let first = say.borrow().is_none();
                if first {
                    let reason = format!("the load on the server cannot be seen: {cause}");
                    let verdict = Verdict::stop(reason);
                    say.send_replace(Some(Said { verdict, at: Instant::now(), trouble: None }));
                }
                tracing::debug!(cause, "the load on the server cannot be seen");
                say.send_modify(|said| said.iter_mut().for_each(|said| said.trouble = Some(cause.clone())));
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn look<B: Backend>(
    connection: &mut Option<B>,
    target: &B::Target,
    limits: &Limits,
    load: &Load,
) -> Result<Verdict, String> {
    let db = match connection {
        Some(db) => db,
        none => {
            let mut db = B::connect(target).await.map_err(|e| e.to_string())?;
            let timeouts = Timeouts { lock: Duration::from_secs(1), statement: STALE };
            db.session_timeouts(timeouts).await.map_err(|e| e.to_string())?;
            none.insert(db)
        }
    };
    let mut known = load.known.lock().await;
    let (own, Known { memory, idle }) = (load.sessions(), &mut *known);
    let seen = async {
        let wish = pace::read(db).await?;
        let mut signals = db.signals(&own).await?;
        if limits.database_size.is_some() {
            let (at, size) = match memory.size {
                Some(known) if known.0.elapsed() < SIZED_EVERY => known,
                _ => (Instant::now(), db.database_size().await?),
            };
            memory.size = Some((at, size));
            signals.database_size = Reading::Value(size);
        }
        let probe = match limits.probe_ratio {
            Some(_) => Some(probe(db, limits, idle).await?),
            None => None,
        };
        DbResult::Ok((wish, signals, probe))
    };
    let (wish, signals, probe) = seen.await.map_err(|e| e.to_string())?;
    Ok(memory.decide(limits, &signals, probe, &wish, Instant::now()))
}

/// How long the probe statement may take.
const PROBE: Duration = Duration::from_secs(30);

/// The first looks come before the first batch: they are the idle value.
async fn probe<B: Backend>(db: &mut B, limits: &Limits, idle: &mut Option<Duration>) -> DbResult<Probe> {
    let sql =
        limits.probe.clone().unwrap_or_else(|| format!("SELECT CAST(format AS text) FROM {}", B::SQL.table("meta")));
    let times = if idle.is_none() { 9 } else { 3 };
    let mut took = Vec::with_capacity(times);
    for _ in 0..times {
        let began = Instant::now();
        // Where the server has such, in a transaction that is rolled back: it is there to be measured.
        db.look(&sql, PROBE).await?;
        took.push(began.elapsed());
    }
    took.sort();
    let middle = took[times / 2];
    Ok(Probe { idle: *idle.get_or_insert(middle), now: middle })
}
