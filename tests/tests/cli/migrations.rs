//! `new`, `check`, `apply`, `status`, `abort` with a real crate, on both engines.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use schemadiff::model::Dialect;
use schemadiff_tests::engine::TestDatabase;

use super::support::{Project, Run, finish, snapshot, workspace};

/// A crate with one table in a directory of its own. Its builds share a target directory and the workspace's versions,
/// so that little is compiled twice.
pub struct Notes {
    pub project: Project,
    pub database: TestDatabase,
}

const FIRST: &str = "#[column(unique)] title: String,";
const SECOND: &str = "#[column(renamed_from = \"title\", unique)] headline: String,
    #[column(backfill = \"lower(notes.title) -- as it is looked for\")] search_key: String,";

impl Notes {
    pub fn new(dialect: Dialect) -> Self {
        let notes = Self { project: Project::empty(), database: TestDatabase::new(dialect) };
        let runtime = workspace().join("runtime");
        // A name of its own: programs of one name would overwrite each other in the shared target directory.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("notes-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
             [dependencies]\nschemadiff = {{ path = \"{}\" }}\n",
            runtime.display()
        );
        notes.project.write("Cargo.toml", &manifest);
        std::fs::copy(workspace().join("Cargo.lock"), notes.project.path().join("Cargo.lock")).unwrap();
        notes.project.write("schemadiff.toml", &format!("database-url = \"{}\"\n", notes.database.url));
        notes.declare(FIRST);
        notes
    }

    pub fn declare(&self, fields: &str) {
        let code = format!(
            "#[derive(schemadiff::Table)]\n#[table(name = \"notes\")]\n#[allow(dead_code)]\nstruct Note {{\n    \
             #[column(primary_key, identity)] id: i64,\n    {fields}\n}}\n\nfn main() {{}}\n"
        );
        self.project.write("src/main.rs", &code);
    }

    pub fn run(&self, args: &[&str]) -> Run {
        let mut command = self.project.command(args);
        command.env("CARGO_TARGET_DIR", workspace().join("target/cli-tests"));
        finish(command)
    }

    pub fn plans(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.project.path().join("migrations")).into_iter().flatten();
        let paths = entries.map(|entry| entry.unwrap().path().join("plan.toml"));
        let mut plans: Vec<PathBuf> = paths.filter(|path| path.exists()).collect();
        plans.sort();
        plans
    }

    async fn count(&self, condition: &str) -> Option<String> {
        self.database.text(&format!("SELECT count(*) || '' FROM notes WHERE {condition}")).await
    }
}

const ENGINES: [Dialect; 2] = [Dialect::Sqlite, Dialect::Postgres];

/// A file that somebody else made spells types in ways that mean the same to SQLite.
#[tokio::test]
async fn a_lock_file_with_other_spellings_of_the_same_types_agrees_with_the_structs() {
    let notes = Notes::new(Dialect::Sqlite);
    let by_hand =
        "CREATE TABLE notes (id integer PRIMARY KEY, title VARCHAR(80) NOT NULL, done BOOLEAN NOT NULL, n INT)";
    notes.database.execute(by_hand).await;
    notes.declare("title: String, done: bool, n: Option<i64>,");
    notes.project.write("migrations/.keep", "");
    notes.run(&["snapshot", "--output", "migrations/schemadiff.lock"]).expect(0);
    assert!(notes.project.read("migrations/schemadiff.lock").contains("BOOLEAN"));
    notes.run(&["check"]).expect(0);
    // What is another type to SQLite is found.
    notes.declare("title: String, done: f64, n: Option<i64>,");
    let run = notes.run(&["check"]).expect(1);
    assert!(run.out.contains("done"), "{run:#?}");
}

/// A document a line, one after each change, until somebody ends it.
#[tokio::test]
async fn watching_a_status_shows_each_change() {
    use std::io::{BufRead as _, BufReader};
    for dialect in ENGINES {
        let notes = Notes::new(dialect);
        notes.run(&["new", "initial"]).expect(0);
        notes.run(&["apply", "--until", "expand"]).expect(0);
        let mut command = notes.project.command(&["status", "--watch", "--interval", "20ms", "--json"]);
        let mut watch = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
        let mut next = || serde_json::from_str::<serde_json::Value>(&lines.next().unwrap().unwrap()).unwrap();
        let ids = |document: &serde_json::Value| document["status"]["migrations"].as_array().unwrap().len();
        let first = next();
        assert_eq!((&first["format"], ids(&first)), (&1.into(), 1), "{first}");
        assert_eq!(first["status"]["migrations"][0]["state"], "done", "{first}");
        notes.database.execute("CREATE TABLE of_others (id bigint)").await;
        let (table, at) = match dialect {
            Dialect::Sqlite => ("_schemadiff_retired", "'2026-01-01 00:00:00'"),
            _ => ("schemadiff.retired", "'2026-01-01 00:00:00'"),
        };
        notes
            .database
            .execute(&format!("INSERT INTO {table} VALUES ('a', 'v1', 'm', 's', 'forward', 'gone', {at})"))
            .await;
        let second = next();
        assert_eq!(second["status"]["retired"][0]["version"], "v1", "what is no change is not shown: {second}");
        std::process::Command::new("kill").arg(watch.id().to_string()).status().unwrap();
        assert_eq!(watch.wait().unwrap().code(), Some(0), "it did what it was asked for");
    }
}

#[tokio::test]
async fn from_the_first_struct_to_the_end_of_contract() {
    for dialect in ENGINES {
        let notes = Notes::new(dialect);
        let run = notes.run(&["new", "initial"]).expect(0);
        assert!(run.out.contains("create table `notes`") && run.out.contains("wrote"), "{run:#?}");
        notes.run(&["check"]).expect(0);
        assert!(notes.run(&["new", "again"]).expect(0).out.contains("nothing to write"));
        assert_eq!(notes.plans().len(), 1);

        notes.run(&["apply"]).expect(0);
        notes.run(&["diff", "--exit-code"]).expect(0);
        assert!(notes.run(&["apply"]).expect(0).out.contains("nothing to do"));
        notes.database.execute("INSERT INTO notes (title) VALUES ('One'), ('Two')").await;

        notes.declare(SECOND);
        let run = notes.run(&["check"]).expect(1);
        assert!(run.out.contains("SD0436") && run.out.contains("notes.headline"), "{run:#?}");
        assert!(
            run.out.contains("cannot run with what the migrations make: column `notes.headline` does not exist"),
            "{run:#?}"
        );
        notes.run(&["diff", "--exit-code"]).expect(1);
        let json = notes.run(&["new", "headline", "--json"]).expect(0).json();
        let steps = json["plan"]["step"].as_array().unwrap();
        let phases: Vec<&str> = steps.iter().map(|s| s["phase"].as_str().unwrap()).collect();
        assert!(["expand", "backfill", "contract"].iter().all(|phase| phases.contains(phase)), "{phases:?}");
        notes.run(&["check"]).expect(0);

        notes.run(&["apply", "--until", "backfill"]).expect(0);
        assert_eq!(notes.count("search_key = lower(title)").await.as_deref(), Some("2"));
        let run = notes.run(&["status"]).expect(0);
        assert!(run.out.contains("running") && run.out.contains("contract"), "{run:#?}");
        let json = notes.run(&["status", "--json"]).expect(0).json();
        assert_eq!(json["status"]["migrations"][0]["state"], "done");
        assert_eq!(json["status"]["migrations"][1]["state"], "running");

        // Back to the start, and forward again to the end.
        notes.run(&["abort"]).expect(0);
        assert_eq!(notes.count("title IN ('One', 'Two')").await.as_deref(), Some("2"));
        notes.run(&["abort"]).expect_error("SD0640");
        notes.run(&["apply"]).expect(0);
        assert!(notes.run(&["diff", "--exit-code"]).expect(0).out.contains("no differences"));
        assert_eq!(notes.count("search_key = lower(headline)").await.as_deref(), Some("2"));
        let json = notes.run(&["status", "--json"]).expect(0).json();
        assert_eq!(json["status"]["migrations"][1]["state"], "done");
    }
}

#[tokio::test]
async fn a_database_that_drifted_is_not_touched() {
    for dialect in ENGINES {
        let project = Project::empty();
        let database = TestDatabase::new(dialect);
        project.write("one.toml", &snapshot(dialect.as_str(), &[("users", &["email"])]));
        project.write("two.toml", &snapshot(dialect.as_str(), &[("users", &["email", "note"])]));
        project.write("schemadiff.toml", &format!("database-url = \"{}\"\n", database.url));
        project.run(&["new", "initial", "--to", "file:one.toml"]).expect(0);
        project.run(&["apply"]).expect(0);
        project.run(&["new", "note", "--to", "file:two.toml"]).expect(0);
        database.execute("ALTER TABLE users ADD COLUMN by_hand text").await;
        let run = project.run(&["apply"]).expect_error("SD0745");
        assert!(run.err.contains("users.by_hand"), "{run:#?}");
        assert_eq!(project.run(&["apply", "--json"]).expect(7).json()["error"]["code"], "SD0745");
        // A table of somebody else is no drift.
        database.execute("ALTER TABLE users DROP COLUMN by_hand").await;
        database.execute("CREATE TABLE somebody_elses (id bigint)").await;
        project.run(&["apply"]).expect(0);
    }
}

#[tokio::test]
async fn what_happened_to_the_files_is_said_before_a_database_is_touched() {
    let project = Project::empty();
    let database = TestDatabase::new(Dialect::Sqlite);
    project.write("one.toml", &snapshot("sqlite", &[("users", &["email"])]));
    project.write("two.toml", &snapshot("sqlite", &[("users", &["email", "note"])]));
    project.write("three.toml", &snapshot("sqlite", &[("users", &["email", "body"])]));
    project.write("schemadiff.toml", &format!("database-url = \"{}\"\n", database.url));
    project.run(&["apply"]).expect_error("SD0438");
    project.run(&["new", "initial", "--to", "file:one.toml"]).expect(0);
    let plans = || {
        let entries = std::fs::read_dir(project.path().join("migrations")).unwrap();
        let mut dirs: Vec<_> = entries.map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
        dirs.sort();
        dirs
    };
    let first = plans()[0].join("plan.toml");
    let text = std::fs::read_to_string(&first).unwrap();

    std::fs::write(
        &first,
        text.replace("\\\"email\\\" TEXT", "\\\"email\\\" BLOB").replace("\"email\" TEXT", "\"email\" BLOB"),
    )
    .unwrap();
    project.run(&["apply"]).expect_error("SD0423");
    std::fs::write(&first, &text[..text.len() / 2]).unwrap();
    let run = project.run(&["apply"]).expect(4);
    assert!(run.err.contains("SD0421") || run.err.contains("SD0423"), "{run:#?}");
    project.run(&["new", "more", "--to", "file:two.toml"]).expect(4);
    std::fs::write(&first, text.replacen("format = 1", "format = 7", 1)).unwrap();
    project.run(&["apply"]).expect_error("SD0422");
    std::fs::write(&first, &text).unwrap();

    // Two branches, one parent.
    let lock = project.read("migrations/schemadiff.lock");
    project.run(&["new", "note", "--to", "file:two.toml"]).expect(0);
    let theirs = plans()[1].clone();
    let aside = project.path().join("aside");
    std::fs::rename(&theirs, &aside).unwrap();
    project.write("migrations/schemadiff.lock", &lock);
    project.run(&["new", "body", "--to", "file:three.toml"]).expect(0);
    std::fs::rename(&aside, &theirs).unwrap();
    let run = project.run(&["apply"]).expect_error("SD0425");
    assert!(run.err.contains("note") && run.err.contains("body"), "{run:#?}");
    let json = project.run(&["check", "--json"]).expect(1).json();
    assert_eq!(json["findings"][0]["code"], "SD0425");
    // A migration whose plan is gone is told from a lock file that is another's.
    std::fs::rename(plans()[1].join("plan.toml"), project.path().join("plan.toml")).unwrap();
    let run = project.run(&["apply"]).expect_error("SD0420");
    assert!(run.err.contains("plan.toml"), "{run:#?}");
    // Not even the ledger was made, whatever was wrong.
    let made = "SELECT count(*) || '' FROM sqlite_schema";
    assert_eq!(database.text(made).await.as_deref(), Some("0"));
}

/// The server knows that they mean the same; `check` asks none.
#[tokio::test]
async fn the_same_in_other_words_is_noted_in_the_lock_file() {
    for dialect in ENGINES {
        let notes = Notes::new(dialect);
        let words = |default: &str, check: &str| {
            format!("#[column(default = \"{default}\", check = \"{check}\")] kind: String,")
        };
        notes.declare(&words("'new'", "kind in ('new', 'old')"));
        notes.run(&["new", "initial"]).expect(0);
        notes.run(&["apply"]).expect(0);
        notes.declare(&words("lower('NEW')", "kind in ('new', 'old')"));
        notes.run(&["check"]).expect(1);
        notes.declare(&words("'new'", "kind IN ('new','old')"));
        notes.run(&["new", "dry", "--dry-run"]).expect(0);
        let before = notes.project.read("migrations/schemadiff.lock");
        let is_red = notes.run(&["check"]).code == Some(1);
        assert_eq!(is_red, dialect == Dialect::Postgres, "SQLite's expressions are read without a server");
        let json = notes.run(&["new", "words", "--json"]).expect(0).json();
        assert!(json["lock"].is_string() && json["written"].is_null(), "{json}");
        assert_ne!(notes.project.read("migrations/schemadiff.lock"), before);
        notes.run(&["check"]).expect(0);
        notes.run(&["apply"]).expect(0);
        assert_eq!(notes.plans().len(), 1);
    }
}

/// A migration appears whole, then the lock file that names it.
#[test]
fn a_new_that_was_killed_is_told_from_an_edit() {
    let notes = Notes::new(Dialect::Sqlite);
    notes.run(&["new", "initial"]).expect(0);
    // Before the rename: a hidden directory, which nobody takes for a migration.
    let plan =
        notes.project.read(&format!("{}", notes.plans()[0].strip_prefix(notes.project.path()).unwrap().display()));
    notes.project.write("migrations/.new-abc/plan.toml", &plan);
    notes.run(&["check"]).expect(0);
    notes.run(&["apply"]).expect(0);
    notes.run(&["status"]).expect(0);
    // After it, before the lock file.
    let lock = notes.project.read("migrations/schemadiff.lock");
    notes.declare(SECOND);
    notes.run(&["new", "more"]).expect(0);
    notes.project.write("migrations/schemadiff.lock", &lock);
    for command in ["new", "apply"] {
        let args: &[&str] = if command == "new" { &["new", "again"] } else { &["apply"] };
        let run = notes.run(args).expect_error("SD0430");
        assert!(run.err.contains("was cut off, delete") && run.err.contains("_more"), "{run:#?}");
    }
    std::fs::remove_dir_all(notes.plans().last().unwrap().parent().unwrap()).unwrap();
    notes.run(&["new", "again"]).expect(0);
    notes.run(&["check"]).expect(0);
}

#[test]
fn what_new_refuses_leaves_no_file() {
    let notes = Notes::new(Dialect::Sqlite);
    notes.run(&["new", "../escape"]).expect_error("SD0213");
    notes.run(&["new", "initial"]).expect(0);
    let lock = notes.project.read("migrations/schemadiff.lock");
    let refused = [
        ("body: String, #[column(unique)] title: String,", "SD0606"),
        ("", "SD0602"),
        ("headline: String,", "SD0601"),
        ("title: Nonsense,", "SD0304"),
        (&SECOND.replace("lower(notes.title)", "lower(headline)"), "SD0614"),
    ];
    for (fields, code) in refused {
        notes.declare(fields);
        notes.run(&["new", "refused"]).expect_error(code);
    }
    notes.project.write("src/main.rs", "fn main() {}\n");
    notes.run(&["new", "refused"]).expect_error("SD0305");
    assert_eq!(notes.plans().len(), 1);
    assert_eq!(notes.project.read("migrations/schemadiff.lock"), lock);
    notes.declare("");
    let run = notes.run(&["new", "dropped", "--allow-drop", "notes.title"]).expect(0);
    assert!(run.out.contains("data is lost"), "{run:#?}");
    assert!(std::fs::read_to_string(&notes.plans()[1]).unwrap().contains("notes.title"), "the drop is on record");
}

#[test]
fn a_plan_for_postgres_needs_a_server_and_says_so() {
    let project = Project::empty();
    project.write("one.toml", &snapshot("postgres", &[("users", &["email"])]));
    let args = ["new", "initial", "--from", "empty", "--to", "file:one.toml"];
    project.run(&args).expect_error("SD0216");
    let database = TestDatabase::new(Dialect::Postgres);
    project.run(&[&args[..], &["--database-url", &database.url]].concat()).expect(0);
}

#[tokio::test]
async fn whoever_may_not_make_a_scratch_database_is_told_which_right_is_missing() {
    let project = Project::empty();
    project.write("one.toml", &snapshot("postgres", &[("users", &["email"])]));
    let database = TestDatabase::new(Dialect::Postgres);
    let role = format!("no_rights_{}", std::process::id());
    database.execute(&format!("CREATE ROLE {role} LOGIN")).await;
    let url = database.url.replace("postgres://postgres@", &format!("postgres://{role}@"));
    let args = ["new", "initial", "--from", "empty", "--to", "file:one.toml", "--database-url", &url];
    let run = project.run(&args).expect_error("SD0507");
    assert!(run.err.contains("CREATEDB"), "{run:#?}");
    assert!(!project.path().join("migrations").exists());
    database.execute(&format!("DROP ROLE {role}")).await;
}

#[test]
fn names_of_every_kind_go_there_and_back() {
    let long = "x".repeat(60);
    let names = ["with space", "select", "quo\"te", "tick'; DROP TABLE users; --", "Ümläut", &long];
    for (dialect, name) in ENGINES.into_iter().flat_map(|dialect| names.map(|name| (dialect, name))) {
        let project = Project::empty();
        let text = snapshot(dialect.as_str(), &[("users", &["email"])]);
        let quoted = name.replace('"', "\\\"");
        project.write("one.toml", &text.replace("name = \"email\"", &format!("name = \"{quoted}\"")));
        let database = TestDatabase::new(dialect);
        project.write("schemadiff.toml", &format!("database-url = \"{}\"\n", database.url));
        project.run(&["new", "initial", "--from", "empty", "--to", "file:one.toml"]).expect(0);
        project.run(&["apply"]).expect(0);
        project.run(&["diff", "--to", "file:one.toml", "--exit-code"]).expect(0);
    }
}

/// The structs say nothing of the database schema itself: it is made where it is not there.
#[tokio::test]
async fn a_table_moves_to_a_schema_that_only_the_new_structs_know() {
    for is_there in [false, true] {
        let notes = Notes::new(Dialect::Postgres);
        notes.run(&["new", "initial"]).expect(0);
        notes.run(&["apply"]).expect(0);
        if is_there {
            notes.database.execute("CREATE SCHEMA wh").await;
        }
        let code = notes.project.read("src/main.rs");
        let moved = "#[table(name = \"notes\", schema = \"wh\", renamed_from = \"public.notes\")]";
        notes.project.write("src/main.rs", &code.replace("#[table(name = \"notes\")]", moved));
        notes.run(&["new", "moved"]).expect(0);
        notes.run(&["apply"]).expect(0);
        notes.run(&["diff", "--exit-code"]).expect(0);
        assert_eq!(notes.database.text("SELECT count(*) || '' FROM wh.notes").await.as_deref(), Some("0"));
    }
}

/// A unique constraint and an index that structs no longer have are dropped, whatever they were called before.
#[tokio::test]
async fn what_the_structs_no_longer_have_is_dropped_after_a_rename_too() {
    let indexed = |attributes: &str, fields: &str| {
        format!(
            "title: String, e: i64, {fields} }}\n\n#[derive(schemadiff::Table)]\n#[table(name = \"t\", {attributes})]\n\
             #[allow(dead_code)]\nstruct T {{\n    #[column(primary_key)] id: i64, s: String, e: i64, {fields}"
        )
    };
    for dialect in ENGINES {
        let notes = Notes::new(dialect);
        let versions = [
            indexed(
                "unique(columns(s), name = \"uq_old\"), index(columns(e), name = \"ix_old\"), index(columns(id, e))",
                "",
            ),
            indexed(
                "unique(columns(s), name = \"uq_new\"), index(columns(e), name = \"ix_new\"), index(columns(id, e))",
                "x: Option<i64>,",
            ),
            indexed("index(columns(id, e))", "x: Option<i64>,"),
        ];
        for (at, version) in versions.iter().enumerate() {
            notes.declare(version);
            notes.run(&["new", &format!("v{at}")]).expect(0);
            notes.run(&["apply"]).expect(0);
            notes.run(&["check"]).expect(0);
            notes.run(&["diff", "--exit-code"]).expect(0);
        }
        assert_eq!(notes.plans().len(), 3, "{dialect}");
        notes.database.execute("INSERT INTO t (id, s, e) VALUES (1, 'a', 1), (2, 'a', 1)").await;
    }
}

/// Where the type of a column changes, an unchanged default, check and condition are spelled anew.
#[tokio::test]
async fn unchanged_texts_over_a_column_of_another_type_are_spelled_anew() {
    let chrono = "#[column(ty = \"date\", check = \"at > '2020-01-01'\")] at: String,";
    let later = chrono.replace("\"date\"", "\"timestamptz\"");
    let text = "#[column(default = \"'new'\", check = \"st <> 'old'\")] st: String,";
    let table = |st: &str, at: &str, more: &str| {
        format!(
            "title: String }}\n\n{more}\n#[derive(schemadiff::Table)]\n#[table(name = \"t\", index(columns(id), where = \"st = 'old'\"))]\n\
             #[allow(dead_code)]\nstruct T {{\n    #[column(primary_key)] id: i64, {at} {st}"
        )
    };
    let st = "#[derive(schemadiff::ColumnType)]\n#[column_type(name = \"st\", rename_all = \"snake_case\")]\n\
              #[allow(dead_code)]\nenum St { New, Old }";
    let notes = Notes::new(Dialect::Postgres);
    for (name, fields) in [
        ("first", table(text, chrono, "")),
        ("second", table(text, &later, "")),
        ("third", table(&text.replace("String", "St"), &later, st)),
    ] {
        notes.declare(&fields);
        notes.run(&["new", name]).expect(0);
        notes.run(&["apply"]).expect(0);
        notes.run(&["check"]).expect(0);
        notes.run(&["diff", "--exit-code"]).expect(0);
        if name == "second" {
            let check = "SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint WHERE conname = 't_at_check'";
            let said = notes.database.text(check).await.unwrap();
            assert!(said.contains("timestamp with time zone") && !said.contains("date"), "{said}");
        }
    }
    let default = "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 't'::regclass";
    assert_eq!(notes.database.text(default).await.as_deref(), Some("'new'::st"));
}

/// A migration with nothing but a contract phase holds up none that touches other tables, and is not passed over.
#[tokio::test]
async fn a_later_migration_goes_on_while_a_contract_phase_alone_waits() {
    for dialect in ENGINES {
        let project = Project::empty();
        let database = TestDatabase::new(dialect);
        let tables = [[("t", &["gone"][..]), ("w", &[])], [("t", &[]), ("w", &[])], [("t", &[]), ("w", &["note"])]];
        for (name, tables) in ["one", "two", "three"].iter().zip(tables) {
            project.write(&format!("{name}.toml"), &snapshot(dialect.as_str(), &tables));
        }
        project.write("schemadiff.toml", &format!("database-url = \"{}\"\n", database.url));
        project.run(&["new", "one", "--to", "file:one.toml"]).expect(0);
        project.run(&["apply"]).expect(0);
        project.run(&["new", "two", "--to", "file:two.toml", "--allow-drop", "t.gone"]).expect(0);
        project.run(&["new", "three", "--to", "file:three.toml"]).expect(0);
        for _ in 0..2 {
            project.run(&["apply", "--until", "backfill"]).expect(0);
            let json = project.run(&["status", "--json"]).expect(0).json();
            let states: Vec<_> =
                json["status"]["migrations"].as_array().unwrap().iter().map(|m| m["state"].as_str().unwrap()).collect();
            assert_eq!(states, ["done", "running", "done"]);
        }
        project.run(&["abort"]).expect_error("SD0654");
        project.run(&["apply"]).expect(0);
        project.run(&["diff", "--to", "file:three.toml", "--exit-code"]).expect(0);
        project.run(&["apply"]).expect(0);
    }
}

/// The file is another one than was applied: that is no change of the database.
#[tokio::test]
async fn a_migration_that_was_written_anew_is_told_from_a_database_that_drifted() {
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        let (project, database) = (Project::empty(), TestDatabase::new(dialect));
        let engine = dialect.as_str();
        project.write("one.toml", &snapshot(engine, &[("users", &["email"])]));
        project.write("schemadiff.toml", &format!("database-url = \"{}\"\n", database.url));
        project.run(&["new", "initial", "--from", "empty", "--to", "file:one.toml"]).expect(0);
        project.run(&["apply"]).expect(0);
        let id = plans(&project)[0].file_name().unwrap().to_string_lossy().into_owned();
        std::fs::remove_dir_all(project.path().join("migrations")).unwrap();
        project.write("one.toml", &snapshot(engine, &[("users", &["email", "other"])]));
        project.run(&["new", "initial", "--from", "empty", "--to", "file:one.toml"]).expect(0);
        let anew = plans(&project)[0].clone();
        let (renamed, plan) = (anew.with_file_name(&id), anew.file_name().unwrap().to_string_lossy().into_owned());
        std::fs::rename(&anew, &renamed).unwrap();
        for file in [renamed.join("plan.toml"), project.path().join("migrations/schemadiff.lock")] {
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, text.replace(&plan, &id)).unwrap();
        }
        project.run(&["apply"]).expect_error("SD0459");
    }
}

#[test]
fn a_directory_that_is_named_and_is_not_there_is_no_sign_that_all_is_done() {
    let project = Project::empty();
    project.write("one.toml", &snapshot("sqlite", &[("users", &["email"])]));
    project.write("schemadiff.toml", "database-url = \"sqlite:app.db\"\n");
    project.run(&["new", "initial", "--to", "file:one.toml"]).expect(0);
    project.run(&["apply"]).expect(0);
    project.run(&["status", "--exit-code", "--dir", "nowhere"]).expect_error("SD0438");
    project.run(&["purge", "nonsense"]).expect_error("SD0654");
    // Without files, and without anybody having said where they are, the ledger speaks for itself.
    std::fs::remove_dir_all(project.path().join("migrations")).unwrap();
    project.run(&["status", "--exit-code"]).expect(0);
}

fn plans(project: &Project) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(project.path().join("migrations")).unwrap();
    let mut dirs: Vec<_> = entries.map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    dirs.sort();
    dirs
}
