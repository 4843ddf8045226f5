//! Faults on real servers: replicas and migrators are killed and paused, connections break, the server goes down, all at
//! random times. Afterwards nothing is lost, no statement has failed but for a lost connection, and the ledger is true.
//!
//! `SCHEMADIFF_SEEDS=200` runs more schedules, `SCHEMADIFF_SEED=17` replays one.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use schemadiff::{
    Error,
    lockstep::{
        NoProgress,
        admin::{ApplyOptions, ApplyReport, apply, status},
    },
    model::Dialect,
};
use schemadiff_tests::{
    engine::{Major, Postgres, TestDatabase},
    lockstep::{INDEX, first, migrations, new_code, old_code, second, write},
};

/// Rows that are there before anything happens.
const ROWS: u64 = 4000;
/// Faults in one schedule.
const FAULTS: usize = 24;

/// Numbers that a seed gives again (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Old,
    New,
    Migrator,
}

/// A process with what it said.
struct Process {
    kind: Kind,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    paused: bool,
}

impl Process {
    fn start(kind: Kind, db: &TestDatabase, files: &Files) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep_worker"));
        let (dir, schema, column) = match kind {
            Kind::Old => (&files.old, "old.json", "fullname"),
            Kind::New | Kind::Migrator => (&files.new, "new.json", "email_key"),
        };
        match kind {
            Kind::Migrator => command.args(["apply", &db.url]).arg(dir),
            _ => command.args(["work", &db.url]).arg(dir).arg(files.folder.path().join(schema)).arg(column),
        };
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (to, also_to) = (Arc::clone(&lines), Arc::clone(&lines));
        let errors = std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                also_to.lock().unwrap().push(format!("stderr: {line}"));
            }
        });
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                to.lock().unwrap().push(line);
            }
            errors.join().unwrap();
        });
        Self { kind, child, lines, reader: Some(reader), paused: false }
    }

    fn signal(&self, name: &str) {
        // One that has ended by itself takes no signal.
        let _ = Command::new("kill").args([name, &self.child.id().to_string()]).stderr(Stdio::null()).status();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }

    fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

struct Files {
    folder: tempfile::TempDir,
    old: std::path::PathBuf,
    new: std::path::PathBuf,
}

impl Files {
    fn new(dialect: Dialect) -> Self {
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

/// A schedule under way.
struct Schedule<'a> {
    db: &'a TestDatabase,
    files: &'a Files,
    dice: Dice,
    running: Vec<Process>,
    ended: Vec<Process>,
    story: String,
}

impl Schedule<'_> {
    fn start(&mut self, kind: Kind) {
        let process = Process::start(kind, self.db, self.files);
        let _ = write!(self.story, "\n  start {kind:?} {}", process.child.id());
        self.running.push(process);
    }

    fn any(&mut self) -> Option<usize> {
        let many = self.running.len() as u64;
        (many > 0).then(|| usize::try_from(self.dice.roll(many)).unwrap())
    }

    async fn fault(&mut self) {
        let on_server = self.db.dialect == Dialect::Postgres;
        match self.dice.roll(if on_server { 16 } else { 10 }) {
            0 | 1 => self.start(Kind::Old),
            2 | 3 => self.start(Kind::New),
            4..=6 => self.start(Kind::Migrator),
            7..=9 => {
                let Some(at) = self.any() else { return };
                let mut process = self.running.swap_remove(at);
                let _ = write!(self.story, "\n  kill {:?} {}", process.kind, process.child.id());
                process.end();
                self.ended.push(process);
            }
            10..=12 => {
                let Some(at) = self.any() else { return };
                let process = &mut self.running[at];
                process.paused = !process.paused;
                let signal = if process.paused { "-STOP" } else { "-CONT" };
                process.signal(signal);
                let _ = write!(self.story, "\n  {signal} {:?} {}", process.kind, process.child.id());
            }
            13 | 14 => {
                self.story.push_str("\n  break connections");
                let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                           WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND random() < 0.5";
                let _ = self.db.try_execute(sql).await;
            }
            _ => {
                self.story.push_str("\n  crash the server");
                // A backend that dies takes the whole server through recovery.
                if let Ok(pid) = a_backend(&self.db.url).await {
                    let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
                }
            }
        }
    }

    fn said(&self) -> Vec<String> {
        self.ended.iter().flat_map(|p| p.lines.lock().unwrap().clone()).collect()
    }
}

async fn a_backend(url: &str) -> Result<i32, sqlx::Error> {
    use sqlx::Connection as _;
    let mut connection = sqlx::PgConnection::connect(url).await?;
    sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await
}

/// To the end, however often the server goes down on the way.
async fn to_the_end(db: &TestDatabase) -> Result<ApplyReport, Error> {
    let plans = [first(db.dialect), second(db.dialect)];
    let patient = ApplyOptions { wait: Some(Duration::from_secs(90)), ..ApplyOptions::default() };
    let mut attempts = 0;
    loop {
        match apply(&db.url, &migrations(db.dialect, &plans), &patient, Arc::new(NoProgress)).await {
            Err(Error::Connect { .. } | Error::Database { .. } | Error::LostWork) if attempts < 50 => {
                attempts += 1;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            other => return other,
        }
    }
}

async fn run(db: &TestDatabase, seed: u64) -> Result<String, String> {
    let dialect = db.dialect;
    let files = Files::new(dialect);
    let options = ApplyOptions::default();
    apply(&db.url, &migrations(dialect, &[first(dialect)]), &options, Arc::new(NoProgress)).await.unwrap();
    let rows = match dialect {
        Dialect::Sqlite => format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
             INSERT INTO users (id, fullname) SELECT i, 'User ' || i FROM n"
        ),
        _ => format!("INSERT INTO users (id, fullname) SELECT i, 'User ' || i FROM generate_series(1, {ROWS}) i"),
    };
    db.execute(&rows).await;
    let (dice, story) = (Dice(seed), String::new());
    let mut schedule = Schedule { db, files: &files, dice, running: Vec::new(), ended: Vec::new(), story };
    schedule.start(Kind::Old);
    schedule.start(Kind::Old);
    for _ in 0..FAULTS {
        tokio::time::sleep(Duration::from_millis(20 + schedule.dice.roll(180))).await;
        schedule.fault().await;
    }
    // Whoever was paused goes on and finds out what has happened; then the deployment comes to its end.
    schedule.running.iter().for_each(|process| process.signal("-CONT"));
    tokio::time::sleep(Duration::from_millis(500)).await;
    for mut process in std::mem::take(&mut schedule.running) {
        if process.kind == Kind::Old || !process.runs() {
            process.end();
        }
        schedule.ended.push(process);
    }
    let finished = to_the_end(db).await;
    schedule.ended.iter_mut().for_each(Process::end);
    let story = schedule.story.clone();
    finished.map_err(|e| format!("{e} ({}){story}", e.code()))?;
    judge(db, &schedule.said()).await.map_err(|e| format!("{e}{story}"))
}

async fn judge(db: &TestDatabase, said: &[String]) -> Result<String, String> {
    let failed: Vec<_> = said
        .iter()
        .filter(|line| line.starts_with("failed") || line.contains("panicked"))
        .chain(said.iter().filter(|line| line.starts_with("stderr: SD07") && !line.contains("SD0755")))
        .collect();
    if !failed.is_empty() {
        return Err(format!("{failed:#?}"));
    }
    let stored: BTreeSet<i64> = said.iter().filter_map(|l| l.strip_prefix("stored ")?.parse().ok()).collect();
    let ids = db.text(&format!("SELECT {} FROM users", all_ids(db.dialect))).await.unwrap_or_default();
    let there: BTreeSet<i64> = ids.split(',').filter_map(|id| id.parse().ok()).collect();
    let lost: Vec<_> = stored.difference(&there).collect();
    if !lost.is_empty() {
        return Err(format!("{} rows of {} are lost, for example {:?}", lost.len(), stored.len(), lost[0]));
    }
    let filled = format!("SELECT CAST(count(*) AS text) FROM users WHERE id <= {ROWS} AND email_key = 'user ' || id");
    let filled = db.text(&filled).await;
    if filled != Some(ROWS.to_string()) {
        return Err(format!("{filled:?} of {ROWS} rows are filled"));
    }
    // The ledger is true: what it calls done is there, and nothing is left to do.
    if db.try_execute("SELECT fullname FROM users").await.is_ok() {
        return Err("the old column is still there".to_owned());
    }
    let index = match db.dialect {
        Dialect::Sqlite => format!("SELECT name FROM sqlite_schema WHERE name = '{INDEX}'"),
        _ => format!("SELECT indisvalid::text FROM pg_index WHERE indexrelid = '{INDEX}'::regclass"),
    };
    if !matches!(db.text(&index).await.as_deref(), Some("true" | INDEX)) {
        return Err("the index is not there".to_owned());
    }
    let report = to_the_end(db).await.map_err(|e| e.to_string())?;
    let seen = status(&db.url, None).await.map_err(|e| e.to_string())?;
    if !report.steps.is_empty() || !report.left.is_empty() || seen.migrations.iter().any(|m| m.state != "done") {
        return Err(format!("{report:?} {:?}", seen.migrations));
    }
    Ok(format!("{} rows stored under way", stored.len()))
}

fn all_ids(dialect: Dialect) -> &'static str {
    if dialect == Dialect::Sqlite { "group_concat(id)" } else { "string_agg(id::text, ',')" }
}

async fn schedules(dialect: Dialect, default: u64, new: impl Fn() -> TestDatabase) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("SCHEMADIFF_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("SCHEMADIFF_SEEDS").unwrap_or(default)).collect(),
    };
    for seed in seeds {
        let db = new();
        match run(&db, seed).await {
            Ok(told) => println!("{dialect}, seed {seed}: {told}"),
            Err(error) => panic!("{dialect}: SCHEMADIFF_SEED={seed} fails: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_on_postgres() {
    // A server of its own: it is brought down again and again. What it has said is stored must be, as in production.
    let server = Postgres::start_with(Major::V15, &["synchronous_commit=on"]);
    schedules(Dialect::Postgres, 4, || server.database()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_on_sqlite() {
    schedules(Dialect::Sqlite, 3, || TestDatabase::new(Dialect::Sqlite)).await;
}
