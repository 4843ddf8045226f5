//! One schedule of faults, and what must be true after it.

use std::{collections::BTreeSet, fmt::Write as _, process::Command, sync::Arc, time::Duration};

use schemadiff::{
    Error,
    lockstep::{
        NoProgress, Pace,
        admin::{ApplyOptions, ApplyReport, apply, status},
    },
    model::Dialect,
};
use schemadiff_tests::{
    engine::{Major, PgBouncer, Postgres, TestDatabase},
    lockstep::{INDEX, first, migrations, second},
};

use super::{
    GRACE_MS, ROWS,
    process::{Files, Kind, Process},
    proxy::Proxy,
};

/// Faults in one schedule.
const FAULTS: usize = 12;

/// What may happen to the server.
pub enum Server {
    /// SQLite has none.
    None,
    /// Others use it, too.
    Stays(u16),
    /// The same, behind a pooler: signs of life are all that shows who lives.
    Pooled(Arc<PgBouncer>),
    /// It goes down and comes up again.
    Crashes(u16),
    /// Its standby takes over in the middle.
    IsReplaced(Box<Postgres>),
}

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

    fn ms(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.roll(most - least))
    }
}

/// A schedule under way.
struct Schedule {
    db: TestDatabase,
    server: Server,
    proxy: Option<Proxy>,
    /// For the processes: through the proxy.
    url: String,
    files: Files,
    dice: Dice,
    running: Vec<Process>,
    ended: Vec<Process>,
    story: String,
}

impl Schedule {
    fn tell(&mut self, text: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.story, "\n  {text}");
    }

    fn start(&mut self, kind: Kind) {
        let pooled = matches!(self.server, Server::Pooled(_));
        let process = Process::start(kind, &self.url, &self.files, pooled);
        self.tell(&format!("start {kind:?} {}", process.child.id()));
        self.running.push(process);
    }

    fn any(&mut self) -> Option<usize> {
        let many = self.running.len() as u64;
        (many > 0).then(|| usize::try_from(self.dice.roll(many)).unwrap())
    }

    async fn fault(&mut self) {
        let sides = match self.server {
            Server::None => 13,
            Server::Stays(_) | Server::Pooled(_) | Server::IsReplaced(_) => 18,
            Server::Crashes(_) => 20,
        };
        match self.dice.roll(sides) {
            0 | 1 => self.start(Kind::Old),
            2 | 3 => self.start(Kind::New),
            4..=6 => self.start(Kind::Migrator),
            7..=9 => {
                let Some(at) = self.any() else { return };
                let mut process = self.running.swap_remove(at);
                self.tell(&format!("kill {:?} {}", process.kind, process.child.id()));
                process.end();
                self.ended.push(process);
            }
            10..=12 => {
                let Some(at) = self.any() else { return };
                let process = &mut self.running[at];
                process.paused = !process.paused;
                process.disturbed = true;
                let signal = if process.paused { "-STOP" } else { "-CONT" };
                process.signal(signal);
                let text = format!("{signal} {:?} {}", process.kind, process.child.id());
                self.tell(&text);
                // Longer than any lease, now and then.
                if self.dice.roll(3) == 0 {
                    self.tell("long after");
                    tokio::time::sleep(Duration::from_millis(GRACE_MS + 100)).await;
                }
            }
            13 => {
                self.tell("end half of the sessions");
                self.disturb_all();
                let sql = format!(
                    "SELECT pg_terminate_backend(pid) FROM (SELECT pid, row_number() OVER (ORDER BY backend_start, pid) AS n \
                     FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database() \
                     AND backend_type = 'client backend') AS sessions WHERE n % 2 = {}",
                    self.dice.roll(2)
                );
                let _ = self.db.try_execute(&sql).await;
            }
            side @ 14..=17 => self.network(side).await,
            _ => {
                self.tell("crash the server");
                self.disturb_all();
                // A backend that dies takes the whole server through recovery.
                if let Ok(pid) = a_backend(&self.db.url).await {
                    let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
                }
            }
        }
    }

    fn disturb_all(&mut self) {
        self.running.iter_mut().for_each(|process| process.disturbed = true);
    }

    async fn network(&mut self, side: u64) {
        self.disturb_all();
        let time = self.dice.ms(5, 80);
        self.tell(["cut connections", "nothing comes through", "answers are lost"][(side % 3) as usize]);
        let Some(proxy) = &self.proxy else { return };
        match side % 3 {
            0 => proxy.cut(),
            1 => proxy.stall(time).await,
            _ => proxy.swallow(time).await,
        }
    }

    /// The primary is gone from one moment to the next, and its standby becomes the server.
    async fn replace(&mut self) {
        let Server::IsReplaced(primary) = &self.server else { return };
        self.running.iter_mut().for_each(|process| process.disturbed = true);
        let standby = primary.standby(Major::V15);
        // What is acknowledged from now on is on both.
        for sql in ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"] {
            self.db.execute(sql).await;
        }
        tokio::time::sleep(self.dice.ms(50, 300)).await;
        self.tell("a standby takes over");
        let Server::IsReplaced(primary) = std::mem::replace(&mut self.server, Server::None) else { return };
        drop(primary);
        self.db.is_now_on(&standby);
        let promoted = self.db.text("SELECT CAST(pg_promote(true, 60) AS text)").await;
        assert_eq!(promoted.as_deref(), Some("true"));
        if let Some(proxy) = &self.proxy {
            proxy.lead_to(standby.port());
        }
        self.server = Server::IsReplaced(Box::new(standby));
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

fn patient() -> ApplyOptions {
    ApplyOptions {
        wait: Some(Duration::from_secs(90)),
        grace: Duration::from_millis(GRACE_MS),
        pace: Pace { pause: 0.0, ..Pace::default() },
        ..ApplyOptions::default()
    }
}

/// To the end, however often the server goes down on the way.
async fn to_the_end(db: &TestDatabase) -> Result<ApplyReport, Error> {
    let plans = [first(db.dialect), second(db.dialect)];
    let mut attempts = 0;
    loop {
        match apply(&db.url, &migrations(db.dialect, &plans), &patient(), Arc::new(NoProgress)).await {
            // A process that is still there may take over from one that came too late with its sign of life.
            Err(Error::Connect { .. } | Error::LostWork) if attempts < 50 => {
                attempts += 1;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            other => return other,
        }
    }
}

/// Runs one schedule. The error tells what is wrong, and the story that led there.
pub async fn run(db: TestDatabase, server: Server, seed: u64) -> Result<String, String> {
    let dialect = db.dialect;
    apply(&db.url, &migrations(dialect, &[first(dialect)]), &patient(), Arc::new(NoProgress)).await.unwrap();
    let rows = match dialect {
        Dialect::Sqlite => format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
             INSERT INTO users (id, fullname) SELECT i, 'User ' || i FROM n"
        ),
        _ => format!("INSERT INTO users (id, fullname) SELECT i, 'User ' || i FROM generate_series(1, {ROWS}) i"),
    };
    db.execute(&rows).await;
    let port = match &server {
        Server::None => None,
        Server::Stays(port) | Server::Crashes(port) => Some(*port),
        Server::Pooled(pooler) => Some(pooler.port()),
        Server::IsReplaced(primary) => Some(primary.port()),
    };
    let proxy = match port {
        Some(port) => Some(Proxy::new(port).await),
        None => None,
    };
    let url = match &proxy {
        Some(proxy) => format!("postgres://postgres@127.0.0.1:{}/{}?sslmode=disable", proxy.port, db.name),
        None => db.url.clone(),
    };
    let (files, story) = (Files::new(dialect), String::new());
    let (running, ended) = (Vec::new(), Vec::new());
    let mut schedule = Schedule { db, server, proxy, url, files, dice: Dice(seed), running, ended, story };
    schedule.start(Kind::Old);
    schedule.start(Kind::Old);
    let replaced_at = usize::try_from(schedule.dice.roll(FAULTS as u64)).unwrap();
    for at in 0..FAULTS {
        if at == replaced_at {
            schedule.replace().await;
        }
        tokio::time::sleep(schedule.dice.ms(5, 60)).await;
        schedule.fault().await;
    }
    // Whoever was paused goes on and finds out what has happened; then the deployment comes to its end.
    schedule.running.iter().for_each(|process| process.signal("-CONT"));
    tokio::time::sleep(Duration::from_millis(150)).await;
    for mut process in std::mem::take(&mut schedule.running) {
        if process.kind == Kind::Old || !process.runs() {
            process.end();
        }
        schedule.ended.push(process);
    }
    let finished = to_the_end(&schedule.db).await;
    schedule.ended.iter_mut().for_each(Process::end);
    let story = schedule.story.clone();
    finished.map_err(|e| format!("{e} ({}){story}", e.code()))?;
    if let Some(refused) = schedule.ended.iter().find(|process| process.is_refused_alive()) {
        return Err(format!("{:?} {} was alive and is refused{story}", refused.kind, refused.child.id()));
    }
    judge(&schedule.db, &schedule.said()).await.map_err(|e| format!("{e}{story}"))
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
    let there: Vec<i64> = ids.split(',').filter_map(|id| id.parse().ok()).collect();
    let once: BTreeSet<i64> = there.iter().copied().collect();
    if once.len() != there.len() {
        return Err(format!("{} rows are there twice", there.len() - once.len()));
    }
    let lost: Vec<_> = stored.difference(&once).collect();
    if !lost.is_empty() {
        return Err(format!("{} rows of {} are lost, for example {:?}", lost.len(), stored.len(), lost[0]));
    }
    let filled = format!("SELECT CAST(count(*) AS text) FROM users WHERE id <= {ROWS} AND email_key = 'user ' || id");
    let filled = db.text(&filled).await;
    if filled != Some(ROWS.to_string()) {
        return Err(format!("{filled:?} of {ROWS} rows are filled"));
    }
    // Whoever wrote a row, in whichever version, wrote its number. This plan has no trigger for rows that old code writes after
    // the backfill: they have none.
    let wrong = "SELECT CAST(count(*) AS text) FROM users WHERE email_key <> 'user ' || id";
    let wrong = db.text(wrong).await;
    if wrong.as_deref() != Some("0") {
        return Err(format!("{wrong:?} rows hold something else than was written"));
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
