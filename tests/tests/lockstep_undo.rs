//! What contract has set aside comes back with `undo`, goes for good with `purge`, and is nobody's difference meanwhile.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use cargo_schemadiff::{
    dialect::{Connection, Scope},
    diff::{DiffOptions, Hints, diff},
    planner::{PlanRequest, plan},
};
use schemadiff::{
    Lockstep,
    embed::Migrations,
    lockstep::{
        Event, NoProgress, Progress,
        admin::{ApplyOptions, abort, apply, purge, status, undo},
    },
    model::{Dialect, Schema},
    plan::{Phase, Plan, Strategy},
};
use schemadiff_tests::{
    engine::TestDatabase,
    lockstep::{Recorder, migrations, renderer, users, write},
};
use sqlx::Connection as _;

const BOTH: [Dialect; 2] = [Dialect::Postgres, Dialect::Sqlite];
const HOUR: Duration = Duration::from_secs(3600);
const ONE: &str = "20260101000000_start";
const TWO: &str = "20260102000000_fewer";

/// A column with an index, one that may be NULL, and a table with an index of its own.
const BEFORE: &str = "CREATE TABLE users (id INTEGER PRIMARY KEY NOT NULL, nick TEXT NOT NULL, city TEXT, email TEXT);
    CREATE INDEX users_nick ON users (nick);
    CREATE TABLE tags (id INTEGER PRIMARY KEY NOT NULL, label TEXT NOT NULL);
    CREATE INDEX tags_label ON tags (label)";
const AFTER: &str = "CREATE TABLE users (id INTEGER PRIMARY KEY NOT NULL, email TEXT)";
const ROWS: &str =
    "INSERT INTO users (id, nick, city, email) VALUES (1, 'ann', 'Rome', 'a@x'), (2, 'bob', NULL, 'b@x');
    INSERT INTO tags (id, label) VALUES (7, 'blue'), (8, 'red')";

async fn schema_of(url: &str) -> Schema {
    let mut connection = Connection::open(url).await.unwrap();
    connection.introspect(&Scope::default()).await.unwrap().schema
}

async fn schema(dialect: Dialect, sql: &str) -> Schema {
    let db = TestDatabase::new(dialect);
    db.execute(sql).await;
    schema_of(&db.url).await
}

fn planned(from: &Schema, to: &Schema, dialect: Dialect, id: &str, parent: Option<&str>, window: Duration) -> Plan {
    let drops = ["users.nick", "users.city", "tags"].map(str::to_owned).into();
    let options = DiffOptions { allowed_drops: drops, undo_window: window, ..DiffOptions::default() };
    plan(&PlanRequest {
        current: from,
        desired: to,
        hints: &Hints::default(),
        options: &options,
        ddl: &*renderer(dialect),
        sizes: &BTreeMap::new(),
        id,
        parent,
        strategy: &Strategy::synced("a test"),
    })
    .unwrap()
}

/// A database with the first schema and rows, both schemas, and both plans.
struct Story {
    db: TestDatabase,
    old: Schema,
    new: Schema,
    plans: [Plan; 2],
}

impl Story {
    async fn new(dialect: Dialect, window: Duration) -> Self {
        let (old, new) = (schema(dialect, BEFORE).await, schema(dialect, AFTER).await);
        let one = planned(&Schema::default(), &old, dialect, ONE, None, Duration::ZERO);
        let two = planned(&old, &new, dialect, TWO, Some(ONE), window);
        let db = TestDatabase::new(dialect);
        let story = Self { db, old, new, plans: [one, two] };
        story.apply(&story.first()).await;
        story.db.execute(ROWS).await;
        story
    }

    fn first(&self) -> Migrations {
        migrations(self.db.dialect, &self.plans[..1])
    }

    fn both(&self) -> Migrations {
        migrations(self.db.dialect, &self.plans)
    }

    async fn apply(&self, migrations: &Migrations) -> Vec<String> {
        let options = ApplyOptions { wait: Some(Duration::from_secs(30)), ..ApplyOptions::default() };
        let report = apply(&self.db.url, migrations, &options, Arc::new(NoProgress)).await.unwrap();
        report.steps.into_iter().map(|step| step.step).collect()
    }

    async fn undo(&self) -> Result<Vec<String>, schemadiff::Error> {
        let undone = undo(&self.db.url, &self.both(), None, &ApplyOptions::default(), Arc::new(NoProgress)).await?;
        Ok(undone.steps)
    }

    async fn start(&self, migrations: Migrations, code: &Schema) -> Result<Lockstep, schemadiff::Error> {
        let builder = Lockstep::builder("shop", migrations).database_url(&self.db.url).schema(code.clone());
        builder.contract_poll(Duration::from_millis(50)).wait_deadline(Duration::from_secs(5)).start().await
    }

    /// What the tool would find to do.
    async fn differences(&self, desired: &Schema) -> String {
        let options = DiffOptions {
            allowed_drops: ["users.nick", "users.city", "tags"].map(str::to_owned).into(),
            ..DiffOptions::default()
        };
        let found = diff(&schema_of(&self.db.url).await, desired, &Hints::default(), &options).unwrap();
        if found.is_empty() { String::new() } else { format!("{found:?}") }
    }

    async fn text(&self, sql: &str) -> String {
        self.db.text(sql).await.unwrap_or_default()
    }

    /// Things of schemadiff's own that are left beside the ledger.
    async fn aside(&self) -> String {
        self.text(match self.db.dialect {
            Dialect::Sqlite => {
                "SELECT CAST(count(*) AS text) FROM sqlite_schema WHERE type = 'table' AND name LIKE '%kept\\_2%' ESCAPE '\\'"
            }
            _ => {
                "SELECT CAST((SELECT count(*) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
                 WHERE attname LIKE '%kept\\_2%' ESCAPE '\\' AND NOT attisdropped AND c.relkind = 'r') \
                 + (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE nspname LIKE '%kept\\_2%' ESCAPE '\\' AND relkind = 'r') AS text)"
            }
        })
        .await
    }

    async fn kept(&self) -> Vec<String> {
        let seen = status(&self.db.url, Some(&self.both())).await.unwrap();
        let mut kept: Vec<String> = seen.kept.into_iter().map(|kept| kept.what).collect();
        kept.sort();
        kept
    }
}

const KEPT: [&str; 3] = ["column `users.city`", "column `users.nick`", "table `tags`"];

#[tokio::test]
async fn what_contract_drops_comes_back_and_goes_again() {
    for dialect in BOTH {
        let story = Story::new(dialect, HOUR).await;
        // The old version has run, so that contract leaves it behind.
        story.start(story.first(), &story.old).await.unwrap().shutdown().await;
        story.apply(&story.both()).await;
        assert_eq!(story.kept().await, KEPT, "{dialect}");
        assert_eq!(story.differences(&story.new).await, "", "{dialect}: the second diff is empty");
        assert_eq!(story.aside().await, "3", "{dialect}");
        let refused = story.start(story.first(), &story.old).await.unwrap_err();
        assert_eq!(refused.code(), "SD0650", "{dialect}: {refused}");

        // The new version runs, writes, and keeps running while the contract phase is taken back.
        let new = story.start(story.both(), &story.new).await.unwrap();
        story.db.execute("INSERT INTO users (id, email) VALUES (3, 'c@x'); DELETE FROM users WHERE id = 2").await;
        let undone = story.undo().await.unwrap();
        let mut contract: Vec<_> = story.plans[1].phase(Phase::Contract).map(|s| s.id.clone()).collect();
        contract.reverse();
        assert_eq!(undone, contract, "{dialect}");
        assert_eq!(story.kept().await, Vec::<String>::new(), "{dialect}");
        assert_eq!(story.aside().await, "0", "{dialect}");
        let join = if dialect == Dialect::Sqlite { "group_concat" } else { "string_agg" };
        let rows =
            format!("SELECT {join}(id || nick || coalesce(city, '-'), ' ') FROM (SELECT * FROM users ORDER BY id) u");
        assert_eq!(
            story.text(&rows).await,
            "1annRome 3-",
            "{dialect}: what was there, and the default for a row written since"
        );
        assert_eq!(
            story.text("SELECT CAST(sum(id) AS text) || min(label) || max(label) FROM tags").await,
            "15bluered",
            "{dialect}"
        );

        // Both versions run now, write, and see each other's rows; nobody begins the contract phase by himself.
        let old = story.start(story.first(), &story.old).await.unwrap();
        story.db.execute("INSERT INTO users (id, nick, email) VALUES (4, 'dan', 'd@x')").await;
        story.db.execute("INSERT INTO users (id, email) VALUES (5, 'e@x')").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let again = story.start(story.both(), &story.new).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(
            story.db.try_execute("SELECT nick FROM users").await.is_ok(),
            "{dialect}: a service carried it out again"
        );
        for instance in [old, new, again] {
            instance.shutdown().await;
        }

        // Whoever says so does.
        assert_eq!(story.apply(&story.both()).await.len(), contract.len(), "{dialect}");
        assert_eq!(story.kept().await, KEPT, "{dialect}");
        let options = ApplyOptions::default();
        let gone = purge(&story.db.url, &story.both(), None, &options, Arc::new(NoProgress)).await.unwrap();
        assert_eq!(gone.len(), 3, "{dialect}");
        assert_eq!(story.aside().await, "0", "{dialect}");
        assert_eq!(story.differences(&story.new).await, "", "{dialect}");
        assert_eq!(story.undo().await.unwrap_err().code(), "SD0667", "{dialect}");
        let gone = undo(&story.db.url, &story.both(), Some(TWO), &options, Arc::new(NoProgress)).await.unwrap_err();
        assert_eq!(gone.code(), "SD0666", "{dialect}: {gone}");
        assert!(story.text("SELECT CAST(count(*) AS text) FROM users").await == "4", "{dialect}");
    }
}

#[tokio::test]
async fn an_undone_contract_phase_can_be_aborted_to_the_start() {
    for dialect in BOTH {
        let story = Story::new(dialect, HOUR).await;
        story.apply(&story.both()).await;
        story.undo().await.unwrap();
        let options = ApplyOptions::default();
        abort(&story.db.url, &story.both(), TWO, &options, Arc::new(NoProgress)).await.unwrap();
        assert_eq!(story.differences(&story.old).await, "", "{dialect}");
        story.apply(&story.both()).await;
        assert_eq!(story.kept().await, KEPT, "{dialect}");
    }
}

#[tokio::test]
async fn when_the_window_is_over_whoever_migrates_next_drops_it() {
    for dialect in BOTH {
        let story = Story::new(dialect, Duration::from_millis(1)).await;
        story.apply(&story.both()).await;
        assert_eq!(story.kept().await, KEPT, "{dialect}");
        tokio::time::sleep(Duration::from_millis(20)).await;
        // The table has got another name meanwhile, the other thing is gone by hand.
        if dialect == Dialect::Postgres {
            story
                .db
                .execute("ALTER TABLE users RENAME TO people; DROP SCHEMA schemadiff_kept_20260102000000 CASCADE")
                .await;
        }
        let told = Recorder::default();
        apply(&story.db.url, &story.both(), &ApplyOptions::default(), told.shared()).await.unwrap();
        assert_eq!(told.of("purged").len(), 3, "{dialect}");
        assert_eq!(story.aside().await, "0", "{dialect}");
        assert_eq!(story.kept().await, Vec::<String>::new(), "{dialect}");
    }
}

#[tokio::test]
async fn a_process_killed_while_it_takes_back_or_drops_leaves_a_true_ledger() {
    for dialect in BOTH {
        let story = Story::new(dialect, HOUR).await;
        let files = tempfile::tempdir().unwrap();
        write(files.path(), dialect, &story.plans);
        let worker = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep_worker"));
            command.args([args[0], &story.db.url]).arg(files.path()).args(&args[1..]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        for round in 0..4_u64 {
            story.apply(&story.both()).await;
            assert_eq!(story.kept().await, KEPT, "{dialect}");
            // Between two steps, then at any time.
            assert!(!worker(&["die-undo", "step_undone"]).status().unwrap().success());
            assert_eq!(story.kept().await.len().to_string(), story.aside().await, "{dialect}");
            let mut child = worker(&["undo"]).spawn().unwrap();
            tokio::time::sleep(Duration::from_millis(4 + 9 * round)).await;
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(story.kept().await.len().to_string(), story.aside().await, "{dialect}, round {round}");
            // It goes on where it was.
            let rest = undo(&story.db.url, &story.both(), Some(TWO), &patient(), Arc::new(NoProgress)).await;
            assert!(rest.as_ref().map_or_else(|e| e.code() == "SD0654", |_| true), "{rest:?}");
            assert_eq!(story.differences(&expanded(&story)).await, "", "{dialect}, round {round}");
        }
        story.apply(&story.both()).await;
        assert!(!worker(&["die-purge", "purged"]).status().unwrap().success());
        assert_eq!(story.kept().await.len().to_string(), story.aside().await, "{dialect}");
        assert_eq!(story.kept().await.len(), 2, "{dialect}");
        purge(&story.db.url, &story.both(), None, &patient(), Arc::new(NoProgress)).await.unwrap();
        assert_eq!(story.aside().await, "0", "{dialect}");
        assert_eq!(story.differences(&story.new).await, "", "{dialect}");
        assert_eq!(story.text("SELECT min(email) || max(email) FROM users").await, "a@xb@x", "{dialect}");
    }
}

/// An instance under load, as a process; killed when it is dropped.
struct Instance {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Instance {
    fn start(db: &TestDatabase, dir: &Path, schema: &Path, column: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lockstep_worker"))
            .args(["work", &db.url])
            .arg(dir)
            .arg(schema)
            .arg(column)
            // The version that is gone may be deployed again.
            .env("LOCKSTEP_SOAK_MS", "3600000")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (out, to) = (BufReader::new(child.stdout.take().unwrap()), Arc::clone(&lines));
        std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(|line| to.lock().unwrap().push(line)));
        Self { child, lines }
    }

    fn stored(&self) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.starts_with("stored")).count()
    }

    /// Waits until it has stored so many rows more.
    async fn stores(&self, more: usize) {
        let before = self.stored();
        while self.stored() < before + more {
            let lines = self.lines.lock().unwrap().clone();
            assert!(!lines.iter().any(|line| line.starts_with("failed") || line.starts_with("ended")), "{lines:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn failures(&self) -> Vec<String> {
        self.lines.lock().unwrap().iter().filter(|line| line.starts_with("failed")).cloned().collect()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_previous_version_is_deployed_again_before_contract_without_any_change() {
    for dialect in BOTH {
        let old = schema(dialect, "CREATE TABLE users (id BIGINT PRIMARY KEY NOT NULL, nick TEXT)").await;
        let new = schema(dialect, "CREATE TABLE users (id BIGINT PRIMARY KEY NOT NULL, handle TEXT)").await;
        let one = planned(&Schema::default(), &old, dialect, ONE, None, Duration::ZERO);
        let mut hints = Hints::default();
        hints.renamed_columns.insert((users(), "handle".into()), "nick".into());
        let two = plan(&PlanRequest {
            current: &old,
            desired: &new,
            hints: &hints,
            options: &DiffOptions::default(),
            ddl: &*renderer(dialect),
            sizes: &BTreeMap::new(),
            id: TWO,
            parent: Some(ONE),
            strategy: &Strategy::synced("a test"),
        })
        .unwrap();
        let files = tempfile::tempdir().unwrap();
        let (dir_old, dir_new) = (files.path().join("old"), files.path().join("new"));
        write(&dir_old, dialect, std::slice::from_ref(&one));
        write(&dir_new, dialect, &[one.clone(), two]);
        let file = |name: &str, schema: &Schema| {
            std::fs::write(files.path().join(name), serde_json::to_string(schema).unwrap()).unwrap();
            files.path().join(name)
        };
        let (code_old, code_new) = (file("old.json", &old), file("new.json", &new));
        let db = TestDatabase::new(dialect);
        apply(&db.url, &migrations(dialect, &[one]), &patient(), Arc::new(NoProgress)).await.unwrap();

        let before = Instance::start(&db, &dir_old, &code_old, "nick");
        before.stores(20).await;
        let bad = Instance::start(&db, &dir_new, &code_new, "handle");
        bad.stores(20).await;
        before.stores(5).await;
        let failures = before.failures();
        drop(before);
        bad.stores(20).await;

        let epoch = if dialect == Dialect::Sqlite { "_schemadiff_meta" } else { "schemadiff.meta" };
        let epoch = format!("SELECT CAST(epoch AS text) FROM {epoch}");
        let then = db.text(&epoch).await;
        let again = Instance::start(&db, &dir_old, &code_old, "nick");
        again.stores(20).await;
        bad.stores(5).await;
        let failures = [failures, bad.failures()].concat();
        drop(bad);
        again.stores(20).await;
        assert_eq!([failures, again.failures()].concat(), Vec::<String>::new(), "{dialect}");
        assert_eq!(db.text(&epoch).await, then, "{dialect}: no step was carried out or taken back");
        drop(again);
        let apart = "SELECT CAST(count(*) AS text) FROM users WHERE nick IS NULL OR handle IS NULL \
                     OR nick <> handle OR nick <> 'user ' || id";
        assert_eq!(db.text(apart).await.as_deref(), Some("0"), "{dialect}: each version sees what the other wrote");
    }
}

fn patient() -> ApplyOptions {
    ApplyOptions { wait: Some(Duration::from_secs(60)), ..ApplyOptions::default() }
}

/// The schema before the contract phase.
fn expanded(story: &Story) -> Schema {
    let mut schema = story.old.clone();
    for step in story.plans[1].steps.iter().filter(|s| s.phase != Phase::Contract) {
        step.apply_to(&mut schema).unwrap();
    }
    schema
}

const SLOW: &str = "CREATE FUNCTION slow(n int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS \
    $$ BEGIN PERFORM pg_sleep(0.01); RETURN n > 0; END $$;";
const CHECKED: &str = "CREATE TABLE users (id int PRIMARY KEY, n int NOT NULL, CONSTRAINT n CHECK (slow(n)))";
const UNCHECKED: &str = "CREATE TABLE users (id int PRIMARY KEY, n int NOT NULL)";

/// A database in which a check was dropped whose look at all rows takes three seconds, and the migrations that did it.
async fn unchecked() -> (TestDatabase, Migrations) {
    let dialect = Dialect::Postgres;
    let old = schema(dialect, &format!("{SLOW} {CHECKED}")).await;
    let new = schema(dialect, &format!("{SLOW} {UNCHECKED}")).await;
    let one = planned(&Schema::default(), &old, dialect, ONE, None, Duration::ZERO);
    let plans = [one, planned(&old, &new, dialect, TWO, Some(ONE), Duration::ZERO)];
    let db = TestDatabase::new(dialect);
    let all = migrations(dialect, &plans);
    apply(&db.url, &migrations(dialect, &plans[..1]), &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
    db.execute("INSERT INTO users SELECT i, i FROM generate_series(1, 300) i").await;
    apply(&db.url, &all, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
    (db, all)
}

/// Whether the check is there and proven.
async fn proven(db: &TestDatabase) -> Option<String> {
    db.text("SELECT convalidated::text FROM pg_constraint WHERE conrelid = 'users'::regclass AND conname = 'n'").await
}

#[tokio::test]
async fn a_check_comes_back_without_a_lock_that_lasts_as_long_as_the_look_at_all_rows() {
    let (db, all) = unchecked().await;
    let (done, watched) = tokio::sync::watch::channel(false);
    let url = db.url.clone();
    let writer = tokio::spawn(async move {
        let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
        let mut longest = Duration::ZERO;
        while !*watched.borrow() {
            let began = Instant::now();
            sqlx::query("UPDATE users SET n = n + 1 WHERE id = 7").execute(&mut connection).await.unwrap();
            longest = longest.max(began.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        longest
    });
    let began = Instant::now();
    abort(&db.url, &all, TWO, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
    let took = began.elapsed();
    done.send_replace(true);
    let longest = writer.await.unwrap();
    assert_eq!(proven(&db).await.as_deref(), Some("true"));
    assert!(longest < took / 3, "a writer waited for {longest:?} of the {took:?} that the abort took");
}

#[tokio::test]
async fn what_was_taken_back_and_not_proven_goes_on_in_either_direction() {
    for forward in [false, true] {
        let (db, all) = unchecked().await;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let (url, known) = (db.url.clone(), all.clone());
        let going = tokio::spawn(async move {
            let options = ApplyOptions { stop: Some(stopped), ..ApplyOptions::default() };
            abort(&url, &known, TWO, &options, Arc::new(NoProgress)).await
        });
        let mut other = sqlx::PgConnection::connect(&db.url).await.unwrap();
        let proving = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
                       AND query LIKE '%VALIDATE CONSTRAINT%' AND pid <> pg_backend_pid()";
        while sqlx::query_scalar::<_, i64>(proving).fetch_one(&mut other).await.unwrap() == 0 {
            assert!(!going.is_finished(), "it did not come to the proof");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.send_replace(true);
        going.await.unwrap().unwrap_err();
        assert_eq!(proven(&db).await.as_deref(), Some("false"), "it counts for new writes");
        if forward {
            apply(&db.url, &all, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
            assert_eq!(proven(&db).await, None);
        }
        abort(&db.url, &all, TWO, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
        assert_eq!(proven(&db).await.as_deref(), Some("true"), "forward: {forward}");
    }
}

#[tokio::test]
async fn rows_that_the_old_check_forbids_are_named_before_anything_is_taken_back() {
    let (db, all) = unchecked().await;
    db.execute("INSERT INTO users VALUES (-1, -1)").await;
    let error = abort(&db.url, &all, TWO, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap_err();
    assert!(error.to_string().contains("id = -1"), "{error}");
    assert_eq!(proven(&db).await, None, "as it was");
    db.execute("UPDATE users SET n = 1 WHERE id = -1").await;
    abort(&db.url, &all, TWO, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
    assert_eq!(proven(&db).await.as_deref(), Some("true"));
}

/// Ends every connection of schemadiff's own whenever one of these events is told.
struct Breaks {
    db: Arc<TestDatabase>,
    kinds: [&'static str; 2],
    told: Recorder,
}

impl Progress for Breaks {
    fn event(&self, event: &Event<'_>) {
        self.told.event(event);
        let kind = serde_json::to_value(event).unwrap()["event"].as_str().unwrap().to_owned();
        if !self.kinds.contains(&kind.as_str()) {
            return;
        }
        const END: &str = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
            WHERE application_name LIKE 'schemadiff%' AND datname = current_database()";
        let db = Arc::clone(&self.db);
        let end = move || tokio::runtime::Runtime::new().unwrap().block_on(db.execute(END));
        std::thread::spawn(end).join().unwrap();
    }
}

#[tokio::test]
async fn the_way_back_goes_on_with_another_connection_when_one_breaks() {
    let story = Story::new(Dialect::Postgres, HOUR).await;
    let (both, db) = (story.both(), Arc::new(story.db));
    let breaks = |kinds| Arc::new(Breaks { db: Arc::clone(&db), kinds, told: Recorder::default() });
    let options = ApplyOptions::default();
    apply(&db.url, &both, &options, Arc::new(NoProgress)).await.unwrap();

    let progress = breaks(["step_undone", "step_undone"]);
    let undone = undo(&db.url, &both, None, &options, progress.clone()).await.unwrap();
    assert_eq!(undone.steps.len(), progress.told.of("step_undone").len(), "{undone:?}");
    assert!(progress.told.of("reconnecting").len() >= undone.steps.len(), "{undone:?}");
    assert_eq!(db.text("SELECT string_agg(nick, ' ' ORDER BY id) FROM users").await.as_deref(), Some("ann bob"));

    apply(&db.url, &both, &options, Arc::new(NoProgress)).await.unwrap();
    let progress = breaks(["purged", "purged"]);
    let purged = purge(&db.url, &both, None, &options, progress.clone()).await.unwrap();
    assert_eq!((purged.len(), progress.told.of("purged").len()), (3, 3), "{purged:?}");
    assert!(progress.told.of("reconnecting").len() >= 2, "nothing is asked after the last one");
}

#[tokio::test]
async fn an_abort_goes_on_with_another_connection_when_one_breaks() {
    use schemadiff_tests::lockstep::{first, second};
    let db = Arc::new(TestDatabase::new(Dialect::Postgres));
    let both = migrations(db.dialect, &[first(db.dialect), second(db.dialect)]);
    let until = ApplyOptions { until: Phase::Backfill, ..ApplyOptions::default() };
    apply(&db.url, &both, &until, Arc::new(NoProgress)).await.unwrap();
    let progress = Breaks { db: Arc::clone(&db), kinds: ["step_undone", "ledger_created"], told: Recorder::default() };
    let progress = Arc::new(progress);
    let id = second(db.dialect).id;
    abort(&db.url, &both, &id, &ApplyOptions::default(), progress.clone()).await.unwrap();
    assert!(progress.told.of("reconnecting").len() >= 3, "{:?}", progress.told.of("reconnecting"));
    assert_eq!(progress.told.of("migration_aborted").len(), 1);
    let seen = status(&db.url, Some(&both)).await.unwrap();
    assert_eq!(seen.migrations[1].state, "aborted");
}
