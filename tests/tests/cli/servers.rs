//! Servers that are not there, do not let in, are too old, or give too few rights.

use schemadiff::model::Dialect;
use schemadiff_tests::engine::{Major, Postgres, TestDatabase};

use super::support::{Project, Run, snapshot};

/// Every command that needs the database.
const COMMANDS: [&[&str]; 6] = [
    &["diff", "--to", "empty"],
    &["snapshot"],
    &["status"],
    &["apply"],
    &["abort"],
    &["new", "more", "--to", "file:two.toml"],
];

/// A project with one migration for the engine, written against a server that is there.
fn project(dialect: Dialect) -> Project {
    let project = Project::empty();
    project.write("one.toml", &snapshot(dialect.as_str(), &[("users", &["email"])]));
    project.write("two.toml", &snapshot(dialect.as_str(), &[("users", &["email", "note"])]));
    let database = TestDatabase::new(dialect);
    let args = ["new", "initial", "--from", "empty", "--to", "file:one.toml", "--database-url", &database.url];
    project.run(&args).expect(0);
    project
}

/// Every command against an address. Each must end with exit code 5, keep the password to itself and write nothing.
#[track_caller]
fn each_refused(project: &Project, url: &str, commands: &[&[&str]]) -> Vec<Run> {
    let before = project.files();
    let refused = |args: &&[&str]| {
        let run = project.run(&[args, &["--database-url", url, "-vv"][..]].concat()).expect(5);
        assert!(!run.err.contains("hunter2") && !run.out.contains("hunter2"), "{args:?}: {run:#?}");
        let json = project.run(&[args, &["--database-url", url, "--json"][..]].concat()).expect(5);
        assert!(!json.err.contains("hunter2") && !json.out.contains("hunter2"), "{args:?}: {json:#?}");
        let code = json.json()["error"]["code"].as_str().unwrap().to_owned();
        assert!(run.err.contains(&format!("error[{code}]")) && run.err.contains("help:"), "{args:?}: {run:#?}");
        run
    };
    let runs = commands.iter().map(refused).collect();
    assert_eq!(project.files(), before, "a command that failed has written something");
    runs
}

#[test]
fn there_is_no_server() {
    let project = project(Dialect::Postgres);
    for run in each_refused(&project, "postgres://app:hunter2@127.0.0.1:1/shop", &COMMANDS) {
        assert!(run.err.contains("cannot connect to postgres://app") && run.err.contains("127.0.0.1"), "{run:#?}");
    }
}

#[test]
fn there_is_no_such_database() {
    let project = project(Dialect::Postgres);
    for run in each_refused(&project, &Postgres::shared().url("no_such_database"), &COMMANDS) {
        assert!(run.err.contains("\"no_such_database\" does not exist"), "{run:#?}");
    }
}

#[tokio::test]
async fn the_password_is_wrong() {
    let project = project(Dialect::Postgres);
    let database = TestDatabase::new(Dialect::Postgres);
    let user = format!("guarded_{}", std::process::id());
    let role = "DO $$ BEGIN CREATE ROLE needs_password; EXCEPTION WHEN duplicate_object THEN NULL; END $$";
    database.execute(&format!("{role}; CREATE ROLE {user} LOGIN PASSWORD 'right' IN ROLE needs_password")).await;
    for password in ["hunter2", "hunter2%40%2F%3A", "%68unter2"] {
        let url = Postgres::shared().url_as(&format!("{user}:{password}"), &database.name);
        for run in each_refused(&project, &url, &COMMANDS) {
            assert!(run.err.contains("password authentication failed"), "{run:#?}");
            assert!(!run.err.contains("%40%2F%3A") && !run.err.contains("%68unter2"), "{run:#?}");
        }
    }
    project
        .run(&["status", "--database-url", &Postgres::shared().url_as(&format!("{user}:right"), &database.name)])
        .expect(0);
    database.execute(&format!("DROP ROLE {user}")).await;
}

#[test]
fn the_server_is_too_old() {
    let server = Postgres::start(Major::V13);
    let project = project(Dialect::Postgres);
    for run in each_refused(&project, &server.url("postgres"), &COMMANDS) {
        assert!(run.err.contains("too old") && run.err.contains("13") && run.err.contains("14 or newer"), "{run:#?}");
    }
}

#[tokio::test]
async fn the_ledger_may_not_be_made() {
    let project_of_postgres = project(Dialect::Postgres);
    let database = TestDatabase::new(Dialect::Postgres);
    let user = format!("no_ledger_{}", std::process::id());
    database.execute(&format!("CREATE ROLE {user} LOGIN")).await;
    let url = Postgres::shared().url_as(&user, &database.name);
    let run = project_of_postgres.run(&["apply", "--database-url", &url]).expect_error("SD0552");
    assert!(run.err.contains(&format!("GRANT CREATE ON DATABASE {} TO {user}", database.name)), "{run:#?}");
    let nothing = "SELECT count(*) || '' FROM pg_namespace WHERE nspname = 'schemadiff'";
    assert_eq!(database.text(nothing).await.as_deref(), Some("0"), "nothing half-made");
    // The way out that the message names is one.
    database
        .execute(&format!("CREATE SCHEMA schemadiff AUTHORIZATION {user}; GRANT CREATE ON SCHEMA public TO {user}"))
        .await;
    project_of_postgres.run(&["apply", "--database-url", &url]).expect(0);
    database.execute(&format!("DROP OWNED BY {user}; DROP ROLE {user}")).await;

    let project_of_sqlite = project(Dialect::Sqlite);
    let database = TestDatabase::new(Dialect::Sqlite);
    let url = format!("{}?mode=ro", database.url);
    let run = project_of_sqlite.run(&["apply", "--database-url", &url]).expect_error("SD0552");
    assert!(run.err.contains("right to write the database file"), "{run:#?}");
}

#[test]
fn a_scratch_database_of_sqlite_needs_no_directory() {
    let project = project(Dialect::Sqlite);
    let before = project.files();
    let mut command = project.command(&["new", "more", "--to", "file:two.toml"]);
    command.env("TMPDIR", "/no/such/directory");
    super::support::finish(command).expect(0);
    assert_ne!(project.files(), before);
}

#[test]
fn a_new_sqlite_database_needs_no_other_tool() {
    let project = project(Dialect::Sqlite);
    // What only looks does not make a file: a mistyped path must not become a database.
    for args in [&["status"][..], &["diff", "--to", "file:one.toml"], &["abort"]] {
        let run = project.run(&[args, &["--database-url", "sqlite:fresh.db"]].concat()).expect(5);
        assert!(run.err.contains("cargo schemadiff apply"), "{run:#?}");
    }
    assert!(!project.path().join("fresh.db").exists());
    let run = project.run(&["apply", "--database-url", "sqlite:fresh.db"]).expect(0);
    assert!(run.out.contains("made a new database: sqlite:fresh.db"), "{run:#?}");
    project.run(&["diff", "--database-url", "sqlite:fresh.db", "--to", "file:one.toml", "--exit-code"]).expect(0);
    assert!(!project.run(&["apply", "--database-url", "sqlite:fresh.db"]).expect(0).out.contains("made"));
    project.run(&["apply", "--database-url", "sqlite:no/such/directory/fresh.db"]).expect_error("SD0549");
    project.run(&["apply", "--database-url", "sqlite:other.db?mode=ro"]).expect(5);
    assert!(!project.path().join("other.db").exists());
    // Migrations that cannot be read are told first.
    project.write("migrations/schemadiff.lock", "nonsense");
    project.run(&["apply", "--database-url", "sqlite:another.db"]).expect(4);
    assert!(!project.path().join("another.db").exists());
}
