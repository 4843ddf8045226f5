//! Operations on a table in use: by hand with the statements that come to mind, with reshape, and with schemadiff.
//!
//! Old code runs from before the operation until new code runs beside it, new code from when the tool says that it may, until
//! after the end. What fails, how long the slowest statement took, how long the operation took, and what it wrote.

use std::{
    fmt::Write as _,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use cargo_schemadiff::diff::{DiffOptions, Hints};
use schemadiff::{
    lockstep::{
        NoProgress,
        admin::{ApplyOptions, apply},
    },
    model::{Dialect, Schema},
    plan::{Phase, Plan},
};
use schemadiff_tests::{
    engine::{Major, Postgres},
    lockstep::migrations,
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::{
    measure::{installed, reshape},
    plans::{Change, schema},
};

const DIALECT: Dialect = Dialect::Postgres;
const ONE: &str = "20260101000000_start";
const TWO: &str = "20260102000000_change";
/// Connections of each version.
const CONNECTIONS: usize = 3;

const OWNERS: &str = "CREATE TABLE owners (id bigint PRIMARY KEY);";
const COLUMNS: &str =
    "id bigint PRIMARY KEY, email text NOT NULL, n integer NOT NULL, code text, owner bigint NOT NULL, note text";

/// What a version sends: it reads, changes and inserts by key.
type Statements = [&'static str; 3];
const READ: &str = "SELECT id, email, n, code, owner, note FROM items WHERE id = $1";
const CHANGE: &str = "UPDATE items SET n = n + 1 WHERE id = $1";
const INSERT: &str =
    "INSERT INTO items (id, email, n, code, owner, note) VALUES ($1, 'New@x', 1, 'new ' || $1, 1, 'x')";
const OLD: Statements = [READ, CHANGE, INSERT];

struct Operation {
    name: &'static str,
    /// The columns afterwards, and what comes after the table.
    after: (&'static str, &'static str),
    rename: Option<(&'static str, &'static str)>,
    backfill: Option<(&'static str, &'static str)>,
    drops: Option<&'static str>,
    by_hand: &'static str,
    reshape: &'static str,
    new: Statements,
}

const OPERATIONS: &[Operation] = &[
    Operation {
        name: "add a NOT NULL column, filled from another",
        after: (
            "id bigint PRIMARY KEY, email text NOT NULL, n integer NOT NULL, code text, owner bigint NOT NULL, note text, email_key text NOT NULL",
            "",
        ),
        rename: None,
        backfill: Some(("email_key", "lower(email)")),
        drops: None,
        by_hand: "ALTER TABLE items ADD COLUMN email_key text; UPDATE items SET email_key = lower(email); \
                  ALTER TABLE items ALTER COLUMN email_key SET NOT NULL",
        reshape: "type = \"add_column\"\ntable = \"items\"\nup = \"lower(email)\"\n\
                  [actions.column]\nname = \"email_key\"\ntype = \"text\"\nnullable = false\n",
        new: [
            "SELECT id, email_key FROM items WHERE id = $1",
            CHANGE,
            "INSERT INTO items (id, email, n, code, owner, note, email_key) VALUES ($1, 'New@x', 1, 'new ' || $1, 1, 'x', 'new@x')",
        ],
    },
    Operation {
        name: "rename a column",
        after: (
            "id bigint PRIMARY KEY, email text NOT NULL, n integer NOT NULL, code text, owner bigint NOT NULL, remark text",
            "",
        ),
        rename: Some(("note", "remark")),
        backfill: None,
        drops: None,
        by_hand: "ALTER TABLE items RENAME COLUMN note TO remark",
        reshape: "type = \"alter_column\"\ntable = \"items\"\ncolumn = \"note\"\n[actions.changes]\nname = \"remark\"\n",
        new: [
            "SELECT id, remark FROM items WHERE id = $1",
            CHANGE,
            "INSERT INTO items (id, email, n, code, owner, remark) VALUES ($1, 'New@x', 1, 'new ' || $1, 1, 'x')",
        ],
    },
    Operation {
        name: "integer to bigint, under another name",
        after: (
            "id bigint PRIMARY KEY, email text NOT NULL, total bigint NOT NULL, code text, owner bigint NOT NULL, note text",
            "",
        ),
        rename: Some(("n", "total")),
        backfill: None,
        drops: None,
        by_hand: "ALTER TABLE items ALTER COLUMN n TYPE bigint; ALTER TABLE items RENAME COLUMN n TO total",
        reshape: "type = \"alter_column\"\ntable = \"items\"\ncolumn = \"n\"\nup = \"n\"\ndown = \"n\"\n\
                  [actions.changes]\nname = \"total\"\ntype = \"bigint\"\n",
        new: [
            "SELECT id, total FROM items WHERE id = $1",
            "UPDATE items SET total = total + 1 WHERE id = $1",
            "INSERT INTO items (id, email, total, code, owner, note) VALUES ($1, 'New@x', 1, 'new ' || $1, 1, 'x')",
        ],
    },
    Operation {
        name: "set a column NOT NULL",
        after: (
            "id bigint PRIMARY KEY, email text NOT NULL, n integer NOT NULL, code text NOT NULL, owner bigint NOT NULL, note text",
            "",
        ),
        rename: None,
        backfill: None,
        drops: None,
        by_hand: "ALTER TABLE items ALTER COLUMN code SET NOT NULL",
        reshape: "type = \"alter_column\"\ntable = \"items\"\ncolumn = \"code\"\nup = \"code\"\ndown = \"code\"\n\
                  [actions.changes]\nnullable = false\n",
        new: OLD,
    },
    Operation {
        name: "add a unique index",
        after: (COLUMNS, "CREATE UNIQUE INDEX items_code ON items (code)"),
        rename: None,
        backfill: None,
        drops: None,
        by_hand: "CREATE UNIQUE INDEX items_code ON items (code)",
        reshape: "type = \"add_index\"\ntable = \"items\"\n\
                  [actions.index]\nname = \"items_code\"\ncolumns = [\"code\"]\nunique = true\n",
        new: OLD,
    },
    Operation {
        name: "add a foreign key",
        after: (
            COLUMNS,
            "CREATE INDEX items_owner ON items (owner); \
                          ALTER TABLE items ADD CONSTRAINT items_owner_fkey FOREIGN KEY (owner) REFERENCES owners (id)",
        ),
        rename: None,
        backfill: None,
        drops: None,
        by_hand: "CREATE INDEX items_owner ON items (owner); \
                  ALTER TABLE items ADD CONSTRAINT items_owner_fkey FOREIGN KEY (owner) REFERENCES owners (id)",
        reshape: "type = \"add_index\"\ntable = \"items\"\n[actions.index]\nname = \"items_owner\"\ncolumns = [\"owner\"]\n\
                  [[actions]]\ntype = \"add_foreign_key\"\ntable = \"items\"\n\
                  [actions.foreign_key]\ncolumns = [\"owner\"]\nreferenced_table = \"owners\"\nreferenced_columns = [\"id\"]\n",
        new: OLD,
    },
    Operation {
        name: "add a check",
        after: (COLUMNS, "ALTER TABLE items ADD CONSTRAINT counted CHECK (n >= 0)"),
        rename: None,
        backfill: None,
        drops: None,
        by_hand: "ALTER TABLE items ADD CONSTRAINT counted CHECK (n >= 0)",
        reshape: "type = \"add_check\"\ntable = \"items\"\n[actions.check]\nname = \"counted\"\nexpression = \"n >= 0\"\n",
        new: OLD,
    },
    Operation {
        name: "drop a column",
        after: ("id bigint PRIMARY KEY, email text NOT NULL, n integer NOT NULL, code text, owner bigint NOT NULL", ""),
        rename: None,
        backfill: None,
        drops: Some("items.note"),
        by_hand: "ALTER TABLE items DROP COLUMN note",
        reshape: "type = \"remove_column\"\ntable = \"items\"\ncolumn = \"note\"\n",
        new: [
            "SELECT id, email, n, code, owner FROM items WHERE id = $1",
            CHANGE,
            "INSERT INTO items (id, email, n, code, owner) VALUES ($1, 'New@x', 1, 'new ' || $1, 1)",
        ],
    },
];

/// What reshape is told of the tables that are there: it has to have made them.
const RESHAPE_TABLES: &str = "[[actions]]\ntype = \"create_table\"\nname = \"owners\"\nprimary_key = [\"id\"]\n\
    [[actions.columns]]\nname = \"id\"\ntype = \"bigint\"\n\
    [[actions]]\ntype = \"create_table\"\nname = \"items\"\nprimary_key = [\"id\"]\n\
    [[actions.columns]]\nname = \"id\"\ntype = \"bigint\"\n\
    [[actions.columns]]\nname = \"email\"\ntype = \"text\"\nnullable = false\n\
    [[actions.columns]]\nname = \"n\"\ntype = \"integer\"\nnullable = false\n\
    [[actions.columns]]\nname = \"code\"\ntype = \"text\"\n\
    [[actions.columns]]\nname = \"owner\"\ntype = \"bigint\"\nnullable = false\n\
    [[actions.columns]]\nname = \"note\"\ntype = \"text\"\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    ByHand,
    Reshape,
    Schemadiff,
}

/// What an application has seen.
#[derive(Debug, Default)]
struct Seen {
    statements: u64,
    failed: u64,
    first: Option<String>,
    /// Before the operation began.
    idle: Duration,
    longest: Duration,
}

/// Several connections of one version.
struct Load {
    stop: Arc<AtomicBool>,
    going: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(
        url: &str,
        path: Option<&str>,
        statements: Statements,
        first_key: i64,
        rows: i64,
        seen: &Arc<Mutex<Seen>>,
        busy: &Arc<AtomicBool>,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let worker = |at: usize| {
            let (url, path) = (url.to_owned(), path.map(str::to_owned));
            let (stop, seen, busy) = (Arc::clone(&stop), Arc::clone(seen), Arc::clone(busy));
            let key = first_key + i64::try_from(at).unwrap_or(0) * 10_000_000;
            tokio::spawn(work(url, path, statements, key, rows, stop, seen, busy))
        };
        let going = (0..CONNECTIONS).map(worker).collect();
        Self { stop, going }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.going {
            worker.await.expect("a worker");
        }
    }
}

async fn connected(url: &str, path: Option<&str>) -> PgConnection {
    let mut connection = PgConnection::connect(url).await.expect("a connection");
    if let Some(path) = path {
        connection.execute(AssertSqlSafe(format!("SET search_path TO {path}"))).await.expect("a path");
    }
    connection
}

#[allow(clippy::too_many_arguments, reason = "one worker of a benchmark")]
async fn work(
    url: String,
    path: Option<String>,
    statements: Statements,
    mut new_key: i64,
    rows: i64,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    busy: Arc<AtomicBool>,
) {
    let mut connection = connected(&url, path.as_deref()).await;
    let mut key: i64 = new_key;
    while !stop.load(Ordering::Relaxed) {
        for (turn, statement) in statements.iter().enumerate() {
            key =
                (key.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)).rem_euclid(rows);
            let id = if turn == 2 { new_key } else { key + 1 };
            let (sent, was_busy) = (Instant::now(), busy.load(Ordering::Relaxed));
            let result = sqlx::query(*statement).bind(id).fetch_all(&mut connection).await;
            let took = sent.elapsed();
            {
                let mut seen = seen.lock().expect("no panic");
                seen.statements += 1;
                let slot = if was_busy { &mut seen.longest } else { &mut seen.idle };
                *slot = (*slot).max(took);
                if let Err(error) = &result {
                    seen.failed += 1;
                    seen.first.get_or_insert_with(|| format!("{statement}: {error}"));
                }
            }
            if result.is_err() {
                connection = connected(&url, path.as_deref()).await;
            }
        }
        new_key += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

struct Bench {
    server: Postgres,
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
    rows: i64,
}

/// Beyond what the slowest statement took before, none may take longer beside schemadiff.
const BUDGET: Duration = Duration::from_millis(100);

/// Every operation with every tool that is there, on a table of so many rows. Whether beside schemadiff no statement failed, and
/// none was held up beyond the budget.
pub fn run(rows: u64) -> bool {
    let settings =
        ["fsync=on", "full_page_writes=on", "shared_buffers=512MB", "max_wal_size=8GB", "checkpoint_timeout=30min"];
    let bench = Bench {
        server: Postgres::start_with(Major::V15, &settings),
        runtime: tokio::runtime::Runtime::new().expect("a runtime"),
        folder: tempfile::tempdir().expect("a folder"),
        rows: i64::try_from(rows).expect("a number of rows"),
    };
    let mut tools = vec![Tool::ByHand];
    match installed("reshape") {
        true => tools.push(Tool::Reshape),
        false => println!("reshape is not installed (`cargo install reshape`), and is left out"),
    }
    tools.push(Tool::Schemadiff);
    println!("| operation, {rows} rows | tool | failed statements | slowest before | slowest | time | written |");
    println!("|---|---|---|---|---|---|---|");
    let (start, changes) = bench.plans();
    for tool in &tools {
        bench.prepare(*tool, &start);
    }
    let (mut remarks, mut within) = (String::new(), true);
    for (operation, change) in OPERATIONS.iter().zip(&changes) {
        for tool in &tools {
            let row = bench.runtime.block_on(bench.one(*tool, operation, &start, change));
            let (seen, took, written, error) = row;
            println!(
                "| {} | {tool:?} | {} of {} | {:.0} ms | {:.0} ms | {:.1} s | {:.0} MiB |",
                operation.name,
                seen.failed,
                seen.statements,
                seen.idle.as_secs_f64() * 1000.0,
                seen.longest.as_secs_f64() * 1000.0,
                took.as_secs_f64(),
                written as f64 / 1_048_576.0
            );
            if matches!(tool, Tool::Schemadiff) && (seen.failed > 0 || seen.longest > seen.idle + BUDGET) {
                within = false;
                let _ = writeln!(remarks, "{}: schemadiff is over the budget of {BUDGET:?}", operation.name);
            }
            for text in seen.first.iter().chain(&error) {
                let _ =
                    writeln!(remarks, "{} by {tool:?}: {}", operation.name, text.lines().next().unwrap_or_default());
            }
        }
    }
    println!("\n{remarks}");
    within
}

impl Bench {
    async fn sql(&self, database: &str, sql: &str) {
        let mut connection = PgConnection::connect(&self.server.url(database)).await.expect("a connection");
        connection.execute(AssertSqlSafe(sql)).await.unwrap_or_else(|e| panic!("{e}\nin: {sql}"));
    }

    fn plans(&self) -> (Plan, Vec<Plan>) {
        self.runtime.block_on(async {
            let before = self.schema(COLUMNS, "").await;
            let empty = Schema::default();
            let (hints, options) = (Hints::default(), DiffOptions::default());
            let change = Change {
                from: &empty,
                to: &before,
                hints: &hints,
                options: &options,
                size: ("items", 0),
                id: (ONE, None),
            };
            let start = change.plan();
            let mut changes = Vec::new();
            for operation in OPERATIONS {
                let after = self.schema(operation.after.0, operation.after.1).await;
                let (mut hints, mut options) = (Hints::default(), DiffOptions::default());
                let items = || "items".parse().expect("a name");
                if let Some((from, to)) = operation.rename {
                    hints.renamed_columns.insert((items(), to.to_owned()), from.to_owned());
                }
                if let Some((column, expr)) = operation.backfill {
                    hints.backfills.insert((items(), column.to_owned()), expr.to_owned());
                }
                options.allowed_drops.extend(operation.drops.map(str::to_owned));
                let rows = u64::try_from(self.rows).unwrap_or(0);
                let (size, id) = (("items", rows), (TWO, Some(ONE)));
                let change = Change { from: &before, to: &after, hints: &hints, options: &options, size, id };
                changes.push(change.plan());
            }
            (start, changes)
        })
    }

    async fn schema(&self, columns: &str, rest: &str) -> Schema {
        schema(&self.server, &format!("{OWNERS} CREATE TABLE items ({columns}); {rest}")).await
    }

    fn reshape(&self, url: &str, what: &[&str], migrations: &Path) -> Result<(), String> {
        let mut command = reshape(url, what, (what[0] == "start").then_some(migrations));
        let output = command.output().map_err(|e| e.to_string())?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    /// A database with the tables and rows, as the tool makes them.
    fn prepare(&self, tool: Tool, start: &Plan) {
        let name = format!("base_{tool:?}").to_lowercase();
        self.runtime.block_on(self.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0")));
        let url = self.server.url(&name);
        match tool {
            Tool::ByHand => self.runtime.block_on(self.sql(&name, &format!("{OWNERS} CREATE TABLE items ({COLUMNS})"))),
            Tool::Reshape => {
                let dir = self.folder.path().join("start");
                std::fs::create_dir_all(&dir).expect("a folder");
                std::fs::write(dir.join("1_tables.toml"), RESHAPE_TABLES).expect("a file");
                self.reshape(&url, &["start", "--complete"], &dir).expect("tables");
            }
            Tool::Schemadiff => {
                let all = migrations(DIALECT, std::slice::from_ref(start));
                self.runtime
                    .block_on(apply(&url, &all, &ApplyOptions::default(), Arc::new(NoProgress)))
                    .expect("tables");
            }
        }
        let rows = self.rows;
        self.runtime.block_on(async {
            let fill = format!(
                "INSERT INTO owners SELECT generate_series(1, 1000); INSERT INTO items SELECT i, 'User' || i || '@x', i % 1000, \
                 'code ' || i, i % 1000 + 1, repeat('note ', 8) FROM generate_series(1, {rows}) i"
            );
            self.sql(&name, &fill).await;
            self.sql(&name, "VACUUM ANALYZE items").await;
        });
    }

    /// One operation with one tool: what the application saw, how long it took, what was written, and how the tool failed.
    async fn one(
        &self,
        tool: Tool,
        operation: &Operation,
        start: &Plan,
        change: &Plan,
    ) -> (Seen, Duration, i64, Option<String>) {
        let base = format!("base_{tool:?}").to_lowercase();
        self.sql("postgres", "DROP DATABASE IF EXISTS used WITH (FORCE)").await;
        self.sql("postgres", &format!("CREATE DATABASE used TEMPLATE {base}")).await;
        self.sql("postgres", "CHECKPOINT").await;
        let url = self.server.url("used");
        let dir = self.folder.path().join(slug(operation.name));
        std::fs::create_dir_all(&dir).expect("a folder");
        std::fs::write(dir.join("1_tables.toml"), RESHAPE_TABLES).expect("a file");
        std::fs::write(dir.join("2_change.toml"), format!("[[actions]]\n{}", operation.reshape)).expect("a file");
        let paths = (tool == Tool::Reshape).then_some(("migration_1_tables", "migration_2_change"));

        let (seen, busy) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let old = Load::start(&url, paths.map(|p| p.0), OLD, 100_000_000, self.rows, &seen, &busy);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let written = self.written().await;
        busy.store(true, Ordering::Relaxed);
        let (began, mut failure) = (Instant::now(), None);
        let part = |phase: Phase| {
            let (url, dir) = (url.clone(), dir.clone());
            let plans = [start.clone(), change.clone()];
            async move {
                match (tool, phase) {
                    (Tool::ByHand, Phase::Contract) => Ok(()),
                    (Tool::ByHand, _) => {
                        let mut connection = PgConnection::connect(&url).await.map_err(|e| e.to_string())?;
                        connection.execute(operation.by_hand).await.map(drop).map_err(|e| e.to_string())
                    }
                    (Tool::Reshape, phase) => {
                        let what = if phase == Phase::Contract { "complete" } else { "start" };
                        tokio::task::block_in_place(|| self.reshape(&url, &[what], &dir))
                    }
                    (Tool::Schemadiff, until) => {
                        let options = ApplyOptions { until, ..ApplyOptions::default() };
                        let all = migrations(DIALECT, &plans);
                        let applied = apply(&url, &all, &options, Arc::new(NoProgress)).await;
                        applied.map(drop).map_err(|e| e.to_string())
                    }
                }
            }
        };
        failure = failure.or(part(Phase::Backfill).await.err());
        let mut took = began.elapsed();
        let new = Load::start(&url, paths.map(|p| p.1), operation.new, 200_000_000, self.rows, &seen, &busy);
        tokio::time::sleep(Duration::from_secs(1)).await;
        old.end().await;
        let began = Instant::now();
        failure = failure.or(part(Phase::Contract).await.err());
        took += began.elapsed();
        tokio::time::sleep(Duration::from_secs(1)).await;
        new.end().await;
        let written = self.written().await - written;
        let seen = std::mem::take(&mut *seen.lock().expect("no panic"));
        (seen, took, written, failure)
    }

    /// The end of the write-ahead log.
    async fn written(&self) -> i64 {
        let mut connection = PgConnection::connect(&self.server.url("postgres")).await.expect("a connection");
        let sql = "SELECT CAST(pg_current_wal_insert_lsn() - '0/0' AS bigint)";
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect("a place")
    }
}

fn slug(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}
