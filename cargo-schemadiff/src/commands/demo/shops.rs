//! The two versions of the shop: built with cargo, run as processes, listened to.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
};

use crate::{Error, Kind, Result, project::cargo_command};

const PACKAGE: &str = "shop";

/// Where the shop's programs and migrations are.
#[derive(Debug, Clone)]
pub struct Shop {
    /// `shop-v1` and `shop-v2`.
    programs: PathBuf,
    /// `examples/shop`.
    pub source: PathBuf,
}

impl Shop {
    /// Finds the example in the repository and builds it, or takes what is in `--shop DIR`.
    ///
    /// # Errors
    /// [`Kind::Project`] when there is neither, no cargo, or the build fails.
    pub async fn prepare(given: Option<&Path>, release: bool) -> Result<Self> {
        if let Some(dir) = given {
            let shop = Self { programs: dir.to_path_buf(), source: dir.to_path_buf() };
            return match [1, 2].iter().find(|version| !shop.program(**version).is_file()) {
                None => Ok(shop),
                Some(version) => Err(Error::new(
                    Kind::Project,
                    "SD0345",
                    format!("{} does not exist", shop.program(*version).display()),
                )
                .help("--shop DIR names a directory with shop-v1, shop-v2, and the directories v1 and v2 of examples/shop")),
            };
        }
        let source = find_source()?;
        let programs = build(&source, release).await?;
        Ok(Self { programs, source })
    }

    /// The program of a version.
    pub fn program(&self, version: u32) -> PathBuf {
        self.programs.join(format!("{PACKAGE}-v{version}{}", std::env::consts::EXE_SUFFIX))
    }

    /// The migrations directory of a version.
    pub fn migrations(&self, version: u32, dialect: schemadiff::model::Dialect) -> PathBuf {
        self.source.join(format!("v{version}")).join("migrations").join(dialect.as_str())
    }

    /// Fills the empty shop.
    ///
    /// # Errors
    /// When the program fails.
    pub async fn seed(&self, url: &str, customers: u64) -> Result<()> {
        self.run(1, url, &["seed", "--customers", &customers.to_string()]).await.map(drop)
    }

    /// Everything that the shop holds, as version 2 reads it.
    ///
    /// # Errors
    /// When the program fails.
    pub async fn export(&self, url: &str) -> Result<String> {
        self.run(2, url, &["export"]).await
    }

    async fn run(&self, version: u32, url: &str, args: &[&str]) -> Result<String> {
        let mut command = Command::new(self.program(version));
        // In the environment: arguments are there for everybody to read.
        command.env("DATABASE_URL", url).args(args).stdin(Stdio::null()).kill_on_drop(true);
        let what = format!("shop-v{version}");
        let output = command.output().await.map_err(|e| failed(&what, e))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(failed(&format!("{what} {}", args[0]), String::from_utf8_lossy(&output.stderr).trim()))
        }
    }

    /// Starts one process of a version and waits until it serves.
    ///
    /// # Errors
    /// When it does not start, or ends before it serves.
    pub async fn serve(&self, version: u32, name: &str, url: &str, journals: &Path) -> Result<Process> {
        let journal = journals.join(format!("{name}.jsonl"));
        let mut command = Command::new(self.program(version));
        command.env("DATABASE_URL", url).args(["serve", "--name", name, "--journal"]).arg(&journal);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let child = command.spawn().map_err(|e| failed(name, e))?;
        Process::listen(child, name, version, journal).await
    }
}

fn failed(what: &str, cause: impl std::fmt::Display) -> Error {
    Error::new(Kind::Apply, "SD0740", format!("{what} failed")).cause(cause)
}

fn find_source() -> Result<PathBuf> {
    let start = std::env::current_dir().unwrap_or_default();
    let found = start.ancestors().map(|dir| dir.join("examples/shop")).find(|dir| dir.join("Cargo.toml").is_file());
    found.ok_or_else(|| {
        Error::new(Kind::Project, "SD0346", "the demo's shop is not here")
            .cause("the demo runs two real programs, built from examples/shop of the schemadiff repository")
            .help("run `cargo schemadiff demo` inside a clone of the repository")
            .help("or pass --shop DIR with shop-v1, shop-v2, and the directories v1 and v2 of examples/shop")
    })
}

async fn build(source: &Path, release: bool) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::from(cargo_command(Path::new(&cargo)));
    command.args(["build", "--quiet", "--bins", "--message-format=json-render-diagnostics", "--manifest-path"]);
    command.arg(source.join("Cargo.toml")).stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    if release {
        command.arg("--release");
    }
    let output = command.output().await.map_err(|e| {
        Error::new(Kind::Project, "SD0347", "the demo's shop cannot be built")
            .cause(format!("{} does not start: {e}", cargo.display()))
            .help("install Rust from https://rustup.rs, or pass --shop DIR with what another machine has built")
    })?;
    let executables = cargo_metadata::Message::parse_stream(output.stdout.as_slice()).filter_map(|message| {
        let Ok(cargo_metadata::Message::CompilerArtifact(artifact)) = message else { return None };
        artifact.executable.filter(|_| artifact.target.name.starts_with(PACKAGE))
    });
    let dir = executables.last().and_then(|path| path.parent().map(|dir| dir.as_std_path().to_path_buf()));
    match dir {
        Some(dir) if output.status.success() => Ok(dir),
        _ => Err(Error::new(Kind::Project, "SD0347", "the demo's shop cannot be built")
            .cause("the compiler's messages are above")),
    }
}

/// Counters that a process reports; `examples/shop` says what they mean.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Counters {
    pub statements: u64,
    pub failed: u64,
    pub wrong_reads: u64,
    pub max_stall_ms: u64,
    pub recent_stall_ms: u64,
    pub errors: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    Ready {},
    Tick(Counters),
    End(Counters),
}

/// What is known of a process.
#[derive(Debug, Clone, Default)]
struct Heard {
    ready: bool,
    ended_well: bool,
    counters: Counters,
    stall_since_asked: u64,
}

/// A running shop process.
pub struct Process {
    /// Name.
    pub name: String,
    /// Version of the shop.
    pub version: u32,
    /// Where it notes what it wrote.
    pub journal: PathBuf,
    child: Child,
    heard: Arc<Mutex<Heard>>,
    listener: JoinHandle<()>,
    stderr: JoinHandle<String>,
}

/// How long a process may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(120);

impl Process {
    async fn listen(mut child: Child, name: &str, version: u32, journal: PathBuf) -> Result<Self> {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (said, mut news) = watch::channel(());
        let Some((stdout, mut stderr)) = child.stdout.take().zip(child.stderr.take()) else {
            return Err(failed(name, "its output is not connected"));
        };
        let listener = tokio::spawn({
            let heard = heard.clone();
            async move {
                let mut lines = BufReader::new(stdout).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    if let Ok(event) = serde_json::from_str(&line) {
                        note(&heard, event);
                        said.send_replace(());
                    }
                }
            }
        });
        let stderr = tokio::spawn(async move {
            let mut text = String::new();
            // What cannot be read any more was not said.
            let _ = stderr.read_to_string(&mut text).await;
            text
        });
        let process = Self { name: name.to_owned(), version, journal, child, heard, listener, stderr };
        let ready = async { while !process.lock().ready && news.changed().await.is_ok() {} };
        let in_time = tokio::time::timeout(PATIENCE, ready).await.is_ok();
        if process.lock().ready {
            return Ok(process);
        }
        let name = process.name.clone();
        if in_time {
            Err(failed(&name, process.last_words().await))
        } else {
            Err(failed(&name, "it does not get ready"))
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The longest stall since the last time somebody asked.
    pub fn stall(&self) -> u64 {
        std::mem::take(&mut self.lock().stall_since_asked)
    }

    async fn last_words(self) -> String {
        let text = self.stderr.await.unwrap_or_default();
        if text.trim().is_empty() { "it ended without a word".to_owned() } else { text.trim().to_owned() }
    }

    /// Ends it in order and returns its final counters.
    ///
    /// # Errors
    /// When it does not end, or not in order.
    pub async fn stop(mut self) -> Result<Counters> {
        // The end of its standard input tells it to stop.
        drop(self.child.stdin.take());
        let name = self.name.clone();
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(_)) => {}
            Ok(Err(e)) => return Err(failed(&name, e)),
            Err(_) => return Err(failed(&name, "it does not end")),
        }
        // The pipe is closed now: what is left in it is read, then the task ends.
        let _ = (&mut self.listener).await;
        let heard = self.lock().clone();
        if heard.ended_well { Ok(heard.counters) } else { Err(failed(&name, self.last_words().await)) }
    }
}

fn note(heard: &Mutex<Heard>, event: Event) {
    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    let counters = match event {
        Event::Ready {} => {
            heard.ready = true;
            return;
        }
        Event::Tick(counters) => counters,
        Event::End(counters) => {
            heard.ended_well = true;
            counters
        }
    };
    heard.stall_since_asked = heard.stall_since_asked.max(counters.recent_stall_ms);
    heard.counters = counters;
}
