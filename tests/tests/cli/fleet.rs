//! Many databases with one command.

use std::fmt::Write as _;

use cargo_schemadiff::dialect::{Connection, Scope};
use schemadiff::{Lockstep, embed::Migrations, model::Dialect};
use schemadiff_tests::engine::TestDatabase;
use serde_json::Value;

use super::support::{Project, Run, snapshot};

/// A project with two migrations, and a list of SQLite files that are not there yet.
fn shards(many: usize) -> Project {
    let project = Project::empty();
    project.write("one.toml", &snapshot("sqlite", &[("users", &["email"])]));
    project.write("two.toml", &snapshot("sqlite", &[("users", &["email", "note"])]));
    project.write("schemadiff.toml", "dialect = \"sqlite\"\n");
    project.run(&["new", "initial", "--from", "empty", "--to", "file:one.toml"]).expect(0);
    project.run(&["new", "note", "--to", "file:two.toml"]).expect(0);
    project.write("fleet.txt", &list(many));
    project
}

fn list(many: usize) -> String {
    (0..many).fold("# one file for each tenant\n".to_owned(), |mut list, n| {
        writeln!(list, "tenant-{n:03} sqlite:{n}.db").unwrap();
        list
    })
}

/// The last line of the output: the events are before it.
fn last(run: &Run) -> Value {
    serde_json::from_str(run.out.lines().last().unwrap()).unwrap()
}

fn states(document: &Value) -> Vec<&str> {
    document["databases"].as_array().unwrap().iter().map(|d| d["state"].as_str().unwrap()).collect()
}

#[test]
fn five_hundred_tenants_are_migrated_and_then_have_nothing_to_do() {
    let project = shards(500);
    let run = project.run(&["apply", "--fleet", "fleet.txt", "--json"]).expect(0);
    let document = last(&run);
    assert_eq!(
        document["summary"],
        serde_json::json!({ "done": 500, "waiting": 0, "failed": 0, "interrupted": 0, "not_begun": 0 })
    );
    let event: Value = serde_json::from_str(run.out.lines().next().unwrap()).unwrap();
    assert!(event["event"].is_string() && event["database"] == "tenant-000", "the canary is the first: {event}");
    let again = last(&project.run(&["apply", "--fleet", "fleet.txt", "--json"]).expect(0));
    let steps = |d: &Value| d["report"]["steps"].as_array().unwrap().len();
    assert!(again["databases"].as_array().unwrap().iter().all(|d| steps(d) == 0));
    let status = project.run(&["status", "--fleet", "fleet.txt"]).expect(0);
    assert!(status.out.ends_with("500 databases: 500 done\n"), "{}", status.out.lines().last().unwrap_or_default());
}

#[test]
fn a_canary_that_fails_keeps_the_others_as_they_are() {
    let project = shards(6);
    project.write("0.db", "this is no database, and long enough for SQLite to look at what its header says it is");
    let run = project.run(&["apply", "--fleet", "fleet.txt", "--keep-going", "--json"]);
    assert_ne!(run.code, Some(0));
    let lines: Vec<Value> = run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let document = &lines[lines.len() - 2];
    assert_eq!(states(document)[..2], ["failed", "not_begun"], "{document}");
    assert_eq!(lines[lines.len() - 1]["error"]["code"], "SD0746");
    assert!(!project.path().join("1.db").exists(), "nothing was begun behind it");

    std::fs::remove_file(project.path().join("0.db")).unwrap();
    project.run(&["apply", "--fleet", "fleet.txt"]).expect(0);
}

/// Each canary is tried where all failures are asked for, but nobody comes after them.
#[test]
fn one_canary_that_fails_is_enough_whatever_becomes_of_the_others() {
    let project = shards(6);
    project.write("0.db", "this is no database, and long enough for SQLite to look at what its header says it is");
    let run = project.run(&["apply", "--fleet", "fleet.txt", "--keep-going", "--canary", "2", "-q", "--json"]);
    let document: Value = serde_json::from_str(run.out.lines().next().unwrap()).unwrap();
    assert_eq!(states(&document)[..4], ["failed", "done", "not_begun", "not_begun"], "{document}");
    assert!(!project.path().join("2.db").exists(), "nothing was begun behind them");
}

/// Old code on some databases of a fleet is no failure: what may be done before contract is done on all.
#[tokio::test]
async fn a_closed_gate_stops_nobody_and_is_no_failure() {
    let (project, databases) = (Project::empty(), [(); 3].map(|()| TestDatabase::new(Dialect::Postgres)));
    project.write("one.toml", &snapshot("postgres", &[("users", &["email", "nick"])]));
    project.write("two.toml", &snapshot("postgres", &[("users", &["email", "note"])]));
    project.write("schemadiff.toml", &format!("database-url = \"{}\"\n", databases[0].url));
    let list = databases.iter().enumerate().map(|(n, database)| format!("t{n} {}\n", database.url));
    project.write("fleet.txt", &list.collect::<String>());
    project.run(&["new", "initial", "--from", "empty", "--to", "file:one.toml"]).expect(0);
    project.run(&["apply", "--fleet", "fleet.txt"]).expect(0);
    let known = Migrations::load(project.path().join("migrations")).unwrap();
    let mut connection = Connection::open(&databases[0].url).await.unwrap();
    let schema = connection.introspect(&Scope::default()).await.unwrap().schema;
    let mut old = Vec::new();
    // The canary is one of them.
    for database in &databases[..2] {
        let service = Lockstep::builder("shop", known.clone()).database_url(&database.url).schema(schema.clone());
        old.push(service.start().await.unwrap());
    }
    project.run(&["new", "fewer", "--to", "file:two.toml", "--allow-drop", "users.nick"]).expect(0);

    let run = project.run(&["apply", "--fleet", "fleet.txt", "-q", "--json"]).expect(8);
    let document: Value = serde_json::from_str(run.out.lines().next().unwrap()).unwrap();
    assert_eq!(states(&document), ["waiting", "waiting", "done"], "{document}");
    for database in &databases {
        database.execute("INSERT INTO users (note) VALUES ('expanded')").await;
    }
    let run = project.run(&["apply", "--fleet", "fleet.txt"]).expect_error("SD0855");
    assert!(run.err.contains("1 of 3 databases are done, 2 wait for old code to go"), "{run:#?}");
    for service in old {
        service.shutdown().await;
    }
    project.run(&["apply", "--fleet", "fleet.txt"]).expect(0);
}

#[test]
fn a_failure_stops_what_is_not_begun_or_is_collected_and_a_second_run_goes_on() {
    let project = shards(30);
    project.write("7.db", "this is no database, and long enough for SQLite to look at what its header says it is");
    let run = project.run(&["apply", "--fleet", "fleet.txt", "--parallel", "1", "-q", "--json"]);
    assert_ne!(run.code, Some(0));
    let document: Value = serde_json::from_str(run.out.lines().next().unwrap()).unwrap();
    let found = states(&document);
    assert_eq!((found[6], found[7], found[8]), ("done", "failed", "not_begun"), "{found:?}");

    let run = project.run(&["apply", "--fleet", "fleet.txt", "--parallel", "4", "--keep-going", "-q", "--json"]);
    let document: Value = serde_json::from_str(run.out.lines().next().unwrap()).unwrap();
    assert_eq!(
        document["summary"],
        serde_json::json!({ "done": 29, "waiting": 0, "failed": 1, "interrupted": 0, "not_begun": 0 })
    );
    let status = project.run(&["status", "--fleet", "fleet.txt", "--json"]).expect_error("SD0513");
    let document: Value = serde_json::from_str(status.out.lines().next().unwrap()).unwrap();
    assert_eq!((states(&document)[7], states(&document)[8]), ("unreachable", "done"));
    std::fs::remove_file(project.path().join("7.db")).unwrap();
    let run = last(&project.run(&["apply", "--fleet", "fleet.txt", "-q", "--json"]).expect(0));
    let worked = run["databases"].as_array().unwrap().iter().filter(|d| d["report"]["steps"] != serde_json::json!([]));
    assert_eq!(worked.map(|d| d["name"].as_str().unwrap()).collect::<Vec<_>>(), ["tenant-007"], "only what was left");
}

#[tokio::test]
async fn a_query_names_the_databases_and_a_migration_is_taken_back_on_all() {
    let (project, databases) = (Project::empty(), [(); 12].map(|()| TestDatabase::new(Dialect::Postgres)));
    project.write("one.toml", &snapshot("postgres", &[("users", &["email"])]));
    project.write("two.toml", &snapshot("postgres", &[("users", &["email", "note"])]));
    project.write("schemadiff.toml", &format!("database-url = \"{}\"\n", databases[0].url));
    project.run(&["new", "initial", "--from", "empty", "--to", "file:one.toml"]).expect(0);
    databases[0].execute("CREATE SCHEMA control; CREATE TABLE control.tenants (name text, url text)").await;
    for (n, database) in databases.iter().enumerate() {
        databases[0].execute(&format!("INSERT INTO control.tenants VALUES ('t{n}', '{}')", database.url)).await;
    }
    let query = ["--fleet-query", "SELECT name, url FROM control.tenants ORDER BY url = current_database(), name"];
    project.run(&[&["apply"], &query[..]].concat()).expect(0);
    let run = project.run(&["new", "note", "--to", "file:two.toml"]).expect(0);
    let id = std::fs::read_dir(project.path().join("migrations")).unwrap();
    let mut ids: Vec<_> = id.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    ids.retain(|id| id.ends_with("_note"));
    assert_eq!(ids.len(), 1, "{run:?}");
    project.run(&[&["apply", "--until", "expand"], &query[..]].concat()).expect(0);
    for database in &databases {
        assert!(database.text("SELECT note FROM users UNION ALL SELECT 'there'").await.is_some());
    }
    project.run(&[&["abort"], &query[..]].concat()).expect_error("SD0231");
    let run = project.run(&[&["abort", &ids[0], "--json", "-q"], &query[..]].concat()).expect(0);
    assert!(last(&run)["databases"].as_array().unwrap().iter().all(|d| d["aborted"] == true), "{run:?}");
    for database in &databases {
        assert!(database.try_execute("SELECT note FROM users").await.is_err());
    }
}

#[tokio::test]
async fn a_check_names_the_databases_that_somebody_has_changed() {
    let project = shards(5);
    let check = ["check", "--fleet", "fleet.txt"];
    project.run(&["apply", "--fleet", "fleet.txt"]).expect(0);
    let run = project.run(&check).expect(0);
    assert!(run.out.contains("5 of 5 databases are what their migrations made them"), "{run:#?}");

    let url = format!("sqlite:{}", project.path().join("3.db").display());
    let mut changed = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url).await.unwrap();
    sqlx::Executor::execute(&mut changed, "ALTER TABLE users ADD COLUMN by_hand text").await.unwrap();
    sqlx::Connection::close(changed).await.unwrap();
    let run = project.run(&[&check[..], &["--json"]].concat()).expect(1);
    let document = run.json();
    assert_eq!(states(&document), ["agrees", "agrees", "agrees", "drifted", "agrees"], "{document:#}");
    assert!(document["databases"][3].to_string().contains("by_hand"), "{document:#}");
    let run = project.run(&check).expect(1);
    assert!(run.out.contains("tenant-003") && run.out.contains("4 of 5 databases"), "{run:#?}");

    project.write("1.db", "this is no database, and long enough for SQLite to look at what its header says it is");
    let run = project.run(&check).expect_error("SD0513");
    assert!(run.out.contains("tenant-001") && run.out.contains("tenant-003"), "{run:#?}");
}

#[test]
fn a_list_with_a_mistake_is_refused_as_a_whole_and_shows_no_password() {
    let project = shards(1);
    for list in ["", "a postgres://app:hunter2@h/x\nb postgres://other:hunter2@h/x\n", "nonsense hunter2\n"] {
        project.write("fleet.txt", list);
        let run = project.run(&["apply", "--fleet", "fleet.txt", "-vv"]).expect_error("SD0230");
        assert!(!run.err.contains("hunter2"), "{run:#?}");
    }
    project.write("fleet.txt", "a postgres://app:hunter2@h/x?options=-c%20search_path%3Dt1\n");
    let run = project.run(&["apply", "--fleet", "fleet.txt"]).expect_error("SD0230");
    assert!(run.err.contains("search_path"), "{run:#?}");
    project.run(&["apply", "--fleet", "no-such-file.txt"]).expect_error("SD0230");
}

#[test]
fn the_exit_code_of_a_status_is_that_of_the_whole_fleet() {
    let project = shards(3);
    project.write("first.txt", "\u{feff}tenant-000 sqlite:0.db\n");
    project.run(&["apply", "--fleet", "first.txt"]).expect(0);
    project.run(&["apply", "--fleet", "fleet.txt", "--until", "expand"]).expect(0);
    project.run(&["status", "--fleet", "fleet.txt", "--exit-code"]).expect(0);
    project.write("three.toml", &snapshot("sqlite", &[("users", &["email"])]));
    project.run(&["new", "third", "--to", "file:three.toml", "--allow-drop", "users.note"]).expect(0);
    let run = project.run(&["status", "--fleet", "fleet.txt", "--exit-code"]).expect(1);
    assert!(run.out.ends_with("3 databases: 3 pending\n"), "{run:#?}");
    project.run(&["apply", "--fleet", "first.txt"]).expect(0);
    project.run(&["status", "--fleet", "first.txt", "--exit-code"]).expect(0);
    project.run(&["status", "--fleet", "fleet.txt", "--exit-code"]).expect(1);
    project.run(&["status", "--fleet", "fleet.txt"]).expect(0);
}

#[test]
fn a_fleet_is_paused_and_resumed_at_once() {
    let project = shards(3);
    project.run(&["apply", "--fleet", "fleet.txt"]).expect(0);
    let run = last(&project.run(&["pause", "--fleet", "fleet.txt", "--json"]).expect(0));
    assert!(run["databases"].as_array().unwrap().iter().all(|d| d["pace"]["paused"] == true), "{run}");
    let json = project.run(&["status", "--database-url", "sqlite:1.db", "--json"]).expect(0).json();
    assert_eq!(json["status"]["pace"]["paused"], true);
    project.run(&["speed", "50%", "--fleet", "fleet.txt"]).expect(0);
    let run = last(&project.run(&["resume", "--fleet", "fleet.txt", "--json"]).expect(0));
    let all = run["databases"].as_array().unwrap();
    assert!(all.iter().all(|d| d["pace"]["paused"] == false && d["pace"]["speed"] == 0.5), "{run}");
}

#[test]
fn every_failure_is_told_at_the_end() {
    let project = shards(6);
    for n in [2, 4] {
        project.write(
            &format!("{n}.db"),
            "this is no database, and long enough for SQLite to look at what its header says",
        );
    }
    let run = project.run(&["apply", "--fleet", "fleet.txt", "--keep-going", "-q"]);
    assert!(run.err.contains("tenant-002") && run.err.contains("tenant-004"), "{run:#?}");
    assert!(run.err.contains("4 of 6 databases are done, 2 failed"), "{run:#?}");
}

/// Every tenant has a schema of one database. What contract sets aside for one is not what it sets aside for another.
#[tokio::test]
async fn a_schema_for_each_tenant_is_migrated_like_a_database_for_each() {
    const TENANTS: usize = 20;
    let (project, database) = (Project::empty(), TestDatabase::new(Dialect::Postgres));
    project.write("one.toml", &snapshot("postgres", &[("users", &["email", "nick"]), ("tags", &["label"])]));
    project.write("two.toml", &snapshot("postgres", &[("users", &["email", "note"])]));
    project.write("schemadiff.toml", &format!("database-url = \"{}\"\nundo-window = \"1h\"\n", database.url));
    let tenants: Vec<String> = (0..TENANTS).map(|n| format!("t{n}")).collect();
    let separator = if database.url.contains('?') { '&' } else { '?' };
    let list = tenants.iter().fold(String::new(), |mut list, schema| {
        writeln!(list, "{schema} {}{separator}schema={schema}", database.url).unwrap();
        list
    });
    project.write("fleet.txt", &list);
    project.run(&["new", "initial", "--from", "empty", "--to", "file:one.toml"]).expect(0);
    let missing = project.run(&["apply", "--fleet", "fleet.txt"]).expect(5);
    assert!(missing.err.contains("SD0559") && missing.err.contains("CREATE SCHEMA"), "{missing:#?}");
    for schema in &tenants {
        database.execute(&format!("CREATE SCHEMA {schema}")).await;
    }
    project.run(&["apply", "--fleet", "fleet.txt", "--parallel", "6"]).expect(0);
    for schema in &tenants {
        let rows = format!(
            "INSERT INTO {schema}.users (nick) VALUES ('{schema}'); INSERT INTO {schema}.tags (label) VALUES ('{schema}')"
        );
        database.execute(&rows).await;
    }
    let drops = ["--allow-drop", "tags", "--allow-drop", "users.nick"];
    project.run(&[&["new", "fewer", "--to", "file:two.toml"], &drops[..]].concat()).expect(0);
    let document = last(&project.run(&["apply", "--fleet", "fleet.txt", "--parallel", "6", "--json"]).expect(0));
    assert_eq!(document["summary"]["done"], TENANTS, "{document}");
    let status = project.run(&["status", "--fleet", "fleet.txt"]).expect(0);
    assert!(status.out.ends_with(&format!("{TENANTS} databases: {TENANTS} done\n")), "{status:#?}");
    let check = project.run(&["check", "--fleet", "fleet.txt"]).expect(0);
    assert!(check.out.contains(&format!("{TENANTS} of {TENANTS} databases are what their migrations")), "{check:#?}");

    // One comes back with what was its own; another one lets it go for good.
    let of = |schema: &str| format!("{}{separator}schema={schema}", database.url);
    project.run(&["undo", "--database-url", &of("t3")]).expect(0);
    assert_eq!(database.text("SELECT label FROM t3.tags").await.as_deref(), Some("t3"));
    assert_eq!(database.text("SELECT nick FROM t3.users").await.as_deref(), Some("t3"));
    project.run(&["purge", "--database-url", &of("t4")]).expect(0);
    project.run(&["undo", "--database-url", &of("t5")]).expect(0);
    assert_eq!(database.text("SELECT label FROM t5.tags").await.as_deref(), Some("t5"));
    project.run(&["undo", "--database-url", &of("t4")]).expect_error("SD0667");
    // And all at once: those that have nothing to give back are left as they are.
    let fewer = std::fs::read_dir(project.path().join("migrations")).unwrap();
    let mut fewer = fewer.map(|e| e.unwrap().file_name().into_string().unwrap());
    let fewer = fewer.find(|id| id.ends_with("_fewer")).unwrap();
    project.run(&["undo", "--fleet", "fleet.txt"]).expect_error("SD0231");
    let document = last(&project.run(&["undo", &fewer, "--fleet", "fleet.txt", "--json"]).expect(0));
    let undone = document["databases"].as_array().unwrap().iter().filter(|d| d["undone"] == true).count();
    assert_eq!((undone, &document["summary"]["done"]), (TENANTS - 3, &TENANTS.into()), "{document}");
    for schema in ["t0", "t19"] {
        assert_eq!(database.text(&format!("SELECT nick FROM {schema}.users")).await.as_deref(), Some(schema));
    }
    project.run(&["apply", "--fleet", "fleet.txt", "--parallel", "6"]).expect(0);
    let document = last(&project.run(&["purge", "--fleet", "fleet.txt", "--json"]).expect(0));
    let purged = document["databases"].as_array().unwrap().iter().map(|d| d["purged"].as_array().unwrap().len());
    assert_eq!(purged.sum::<usize>(), 2 * (TENANTS - 1), "{document}");
    project.run(&["undo", "--database-url", &of("t0")]).expect_error("SD0667");
    database.execute("ALTER TABLE t7.users ADD COLUMN by_hand text").await;
    let check = project.run(&["check", "--fleet", "fleet.txt"]).expect(1);
    assert!(check.out.contains("t7") && check.out.contains("by_hand"), "{check:#?}");
    assert!(database.try_execute("SELECT * FROM public.users").await.is_err(), "nothing is made beside the tenants");
}
