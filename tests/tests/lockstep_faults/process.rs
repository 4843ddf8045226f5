//! Replicas and migrators as processes of their own.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use schemadiff::model::Dialect;
use schemadiff_tests::lockstep::{first, new_code, old_code, second, write};

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Old,
    New,
    Migrator,
}

/// A process with what it said.
pub struct Process {
    pub kind: Kind,
    pub child: Child,
    pub lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    pub paused: bool,
    /// Something has happened to it, or to its connections, after which others may have taken it for dead.
    pub disturbed: bool,
}

impl Process {
    pub fn start(kind: Kind, url: &str, files: &Files, pooled: bool) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep_worker"));
        let (dir, schema, column) = match kind {
            Kind::Old => (&files.old, "old.json", "fullname"),
            Kind::New | Kind::Migrator => (&files.new, "new.json", "email_key"),
        };
        match kind {
            Kind::Migrator => command.args(["apply", url]).arg(dir),
            _ => command.args(["work", url]).arg(dir).arg(files.folder.path().join(schema)).arg(column),
        };
        // Pauses are longer than any lease, and a batch is followed by the next.
        command.env("LOCKSTEP_GRACE_MS", super::GRACE_MS.to_string()).env("LOCKSTEP_PAUSE", "0");
        if pooled {
            command.env("LOCKSTEP_POOLED", "1");
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let readers = vec![read(out, "", Arc::clone(&lines)), read(err, "stderr: ", Arc::clone(&lines))];
        Self { kind, child, lines, readers, paused: false, disturbed: false }
    }

    pub fn signal(&self, name: &str) {
        // One that has ended by itself takes no signal.
        let _ = Command::new("kill").args([name, &self.child.id().to_string()]).stderr(Stdio::null()).status();
    }

    pub fn end(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
    }

    /// Whether it was told that its version is left behind, although it had begun to work and nothing had happened to it.
    pub fn is_refused_alive(&self) -> bool {
        let lines = self.lines.lock().unwrap();
        let refused = |line: &String| line == "ended by a refusal" || line == "ended SD0650" || line == "ended SD0651";
        let began = lines.iter().any(|line| line == "ready");
        // Nothing ever leaves the new version behind.
        lines.iter().any(refused) && !self.disturbed && (began || self.kind == Kind::New)
    }

    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn read(
    from: impl std::io::Read + Send + 'static,
    prefix: &'static str,
    to: Arc<Mutex<Vec<String>>>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            to.lock().unwrap().push(format!("{prefix}{line}"));
        }
    })
}

/// The migrations and schemas of both versions.
pub struct Files {
    pub folder: tempfile::TempDir,
    old: PathBuf,
    new: PathBuf,
}

impl Files {
    pub fn new(dialect: Dialect) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        write(&old, dialect, &[first(dialect)]);
        write(&new, dialect, &[first(dialect), second(dialect)]);
        for (name, code) in [("old.json", old_code(dialect)), ("new.json", new_code(dialect))] {
            std::fs::write(folder.path().join(name), serde_json::to_string(&code).unwrap()).unwrap();
        }
        Self { folder, old, new }
    }
}
