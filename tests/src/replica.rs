//! Replicas of a service as processes, for tests of deployments: `lockstep_worker replica`.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use schemadiff::{model::Schema, plan::Snapshot};

/// A version of the service: its migrations, and the columns of `users` that it writes and reads.
#[derive(Debug, Clone)]
pub struct Release {
    /// Application.
    pub app: String,
    /// Directory with its migrations and its lock file.
    pub dir: std::path::PathBuf,
    /// Columns beside `id`.
    pub columns: Vec<String>,
    /// Whether it carries its migrations out itself.
    pub applies: bool,
    /// What its structs declare, where that is not what its lock file says.
    pub declares: Option<Schema>,
}

/// A running replica.
pub struct Replica {
    child: Child,
    stdin: Option<ChildStdin>,
    heard: Arc<(Mutex<Heard>, Condvar)>,
    reader: std::thread::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Heard {
    ready: bool,
    closed: bool,
    stored: BTreeMap<i64, String>,
    failed: Vec<String>,
    ended: bool,
}

/// What a replica has done in its life.
#[derive(Debug, Default)]
pub struct Life {
    /// Last acknowledged value by id.
    pub stored: BTreeMap<i64, String>,
    /// Statements that failed and reads that were wrong.
    pub failed: Vec<String>,
}

impl Release {
    /// Starts a replica of it; it is not ready yet. `worker` is the program `lockstep_worker`.
    pub fn spawn(&self, worker: &str, url: &str, pool_url: &str) -> Replica {
        // A file of its own for each: others are reading theirs.
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let schema = self.dir.join(format!("schema-{}.json", STARTED.fetch_add(1, Ordering::Relaxed)));
        let declared = self.declares.clone().unwrap_or_else(|| self.lock());
        std::fs::write(&schema, serde_json::to_string(&declared).unwrap()).unwrap();
        let mut command = Command::new(worker);
        command.args(["replica", url, pool_url]).arg(&self.dir).arg(&self.app).arg(&schema);
        command.arg(if self.applies { "apply" } else { "wait" }).args(&self.columns);
        Replica::of(command)
    }

    /// The schema in its lock file.
    pub fn lock(&self) -> Schema {
        let lock = std::fs::read_to_string(self.dir.join("schemadiff.lock")).unwrap();
        toml::from_str::<Snapshot>(&lock).unwrap().schema
    }
}

impl Replica {
    fn of(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let heard = Arc::new((Mutex::new(Heard::default()), Condvar::new()));
        let to = Arc::clone(&heard);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                to.0.lock().unwrap().hear(&line);
                to.1.notify_all();
            }
            to.0.lock().unwrap().closed = true;
            to.1.notify_all();
        });
        Self { child, stdin, heard, reader }
    }

    /// Waits until it serves.
    pub fn wait_until_ready(self) -> Self {
        let heard = self.heard.0.lock().unwrap();
        let waiting = |heard: &mut Heard| !heard.ready && !heard.closed;
        let (heard, _) = self.heard.1.wait_timeout_while(heard, Duration::from_secs(120), waiting).unwrap();
        assert!(heard.ready, "it does not get ready: {:?}", heard.failed);
        drop(heard);
        self
    }

    /// Waits for its end; whether it could not start.
    pub fn is_refused(mut self) -> bool {
        let refused = !self.child.wait().unwrap().success();
        self.reader.join().unwrap();
        refused && !self.heard.0.lock().unwrap().ready
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop and waits for its end.
    pub fn stop(mut self) -> Life {
        drop(self.stdin.take());
        assert!(self.child.wait().unwrap().success());
        self.reader.join().unwrap();
        let mut heard = self.heard.0.lock().unwrap();
        assert!(heard.ended, "it ended without a word: {:?}", heard.failed);
        Life { stored: std::mem::take(&mut heard.stored), failed: std::mem::take(&mut heard.failed) }
    }
}

impl Heard {
    fn hear(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("stored", rest)) => {
                let (id, value) = rest.split_once(' ').unwrap();
                self.stored.insert(id.parse().unwrap(), value.to_owned());
            }
            Some(("failed:", what)) => self.failed.push(what.to_owned()),
            _ if line == "ready" => self.ready = true,
            _ if line == "ended" => self.ended = true,
            _ => {} // an event
        }
    }
}
