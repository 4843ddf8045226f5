//! What schemas are read from, and what a diff between two of them says.

use schemadiff::model::Dialect;
use schemadiff_tests::engine::TestDatabase;

use super::support::{Project, snapshot};

const ENGINES: [Dialect; 2] = [Dialect::Postgres, Dialect::Sqlite];

#[tokio::test]
async fn a_snapshot_of_a_database_is_equal_to_it() {
    for dialect in ENGINES {
        let project = Project::empty();
        let database = TestDatabase::new(dialect);
        database
            .execute(
                "CREATE TABLE orgs (id bigint PRIMARY KEY, name text NOT NULL);
                 CREATE TABLE users (id bigint PRIMARY KEY, email text NOT NULL DEFAULT 'a', org bigint REFERENCES orgs (id),
                                     CHECK (email <> ''));
                 CREATE INDEX users_lower ON users (lower(email)) WHERE org IS NOT NULL;",
            )
            .await;
        // Something that the model cannot hold.
        let (beyond, kind) = match dialect {
            Dialect::Postgres => ("CREATE AGGREGATE beyond (int) (SFUNC = int4pl, STYPE = int);", "aggregate"),
            _ => ("CREATE VIEW beyond AS SELECT id FROM users;", "view"),
        };
        database.execute(beyond).await;
        let run = project.run(&["snapshot", "--from", &database.url, "-o", "s.toml"]).expect(0);
        assert!(run.err.contains("beyond") && run.err.contains("left alone"), "{run:#?}");
        let args = ["diff", "--from", &database.url, "--to", "file:s.toml", "--exit-code"];
        let run = project.run(&args).expect(0);
        assert!(run.out.contains("no differences"), "{run:#?}");
        assert!(
            run.out.contains("beyond") && run.out.contains(kind),
            "what the model cannot hold never hides: {run:#?}"
        );
        let json = project.run(&["diff", "--from", "file:s.toml", "--to", &database.url, "--json"]).expect(0).json();
        assert_eq!(json["equal"], true);
        assert_eq!(json["format"], 1);
        // Adding is a difference, and only then does the exit code say so.
        database.execute("ALTER TABLE users ADD COLUMN note text;").await;
        let args = ["diff", "--from", "file:s.toml", "--to", &database.url];
        let run = project.run(&args).expect(0);
        assert!(run.out.contains("users.note") && run.out.contains("expand"), "{run:#?}");
        project.run(&[&args[..], &["--exit-code"]].concat()).expect(1);
    }
}

/// Two databases do not say what existing rows hold, nor how values become those of another type.
#[tokio::test]
async fn values_of_existing_rows_are_said_on_the_command_line() {
    for dialect in ENGINES {
        let (from, to) = (TestDatabase::new(dialect), TestDatabase::new(dialect));
        let (ok, shall) = match dialect {
            Dialect::Postgres => ("ok boolean NOT NULL", "ok state NOT NULL"),
            _ => ("ok INTEGER NOT NULL", "ok TEXT NOT NULL"),
        };
        from.execute(&format!("CREATE TABLE t (id int PRIMARY KEY, email text NOT NULL, {ok})")).await;
        from.execute("INSERT INTO t VALUES (1, 'A@b', true), (2, 'c@D', false)").await;
        if dialect == Dialect::Postgres {
            to.execute("CREATE TYPE state AS ENUM ('good', 'bad')").await;
        }
        to.execute(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, email text NOT NULL, {shall}, \"Key\" text NOT NULL); CREATE UNIQUE INDEX u ON t (\"Key\")"
        ))
        .await;
        let project = Project::empty();
        project.write("schemadiff.toml", &format!("database-url = \"{}\"\n", from.url));
        let sides = ["--from", &from.url, "--to", &to.url];
        let run = project.run(&[&["new", "keys"], &sides[..]].concat()).expect_error("SD0606");
        assert!(run.err.contains("--backfill 't.Key="), "{run:#?}");
        let run = project.run(&[&["new", "keys", "--backfill", "t.key=lower(email)"], &sides[..]].concat());
        let run = run.expect_error("SD0208");
        assert!(run.err.contains("there is no column `t.key`"), "{run:#?}");
        let run = project.run(&[&["new", "keys", "--backfill", "t.email=lower(email)"], &sides[..]].concat());
        assert!(run.expect_error("SD0208").err.contains("is there with that type"));
        let how = "t.ok = CASE WHEN t.ok THEN 'good' ELSE 'bad' END";
        let said = ["new", "keys", "--backfill", "t.Key=lower(email)", "--backfill", how];
        project.run(&[&said, &sides[..]].concat()).expect(0);
        project.run(&["apply"]).expect(0);
        let rows =
            "SELECT string_agg(\"Key\" || ' ' || CAST(ok AS text), ', ') FROM (SELECT * FROM t ORDER BY id) AS t";
        let rows =
            if dialect == Dialect::Postgres { rows.to_owned() } else { rows.replace("string_agg", "group_concat") };
        assert_eq!(from.text(&rows).await.as_deref(), Some("a@b good, c@d bad"));
        project.run(&[&["diff", "--exit-code"], &sides[..]].concat()).expect(0);
    }
}

/// Between two databases the plan is for the first: how many rows there are is what it has.
#[tokio::test]
async fn the_rows_are_those_of_the_first_database() {
    let project = Project::empty();
    let (from, to) = (TestDatabase::new(Dialect::Postgres), TestDatabase::new(Dialect::Postgres));
    let rows = "CREATE TABLE t (id INT PRIMARY KEY, a INT); INSERT INTO t SELECT i, i FROM generate_series(1, 20000) i";
    // Nobody has counted them yet; that they were written is known a moment later.
    from.execute(rows).await;
    let written = "SELECT CAST(pg_stat_get_live_tuples('t'::regclass) AS text)";
    while from.text(written).await.as_deref() != Some("20000") {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    to.execute("CREATE TABLE t (id INT PRIMARY KEY, a TEXT); ANALYZE t").await;
    for (from, to, large) in [(&from, &to, true), (&to, &from, false)] {
        let json = project.run(&["diff", "--from", &from.url, "--to", &to.url, "--json"]).expect(0).json();
        assert_eq!(json["sizes"]["t"]["rows"].as_u64().unwrap() > 10_000, large, "{json}");
        let plan = project.run(&["diff", "--from", &from.url, "--to", &to.url]).expect(0);
        assert_eq!(plan.out.contains("expand"), large, "a large table gets a column beside the old one: {plan:#?}");
    }
}

#[tokio::test]
async fn the_address_comes_from_everywhere_it_may() {
    let project = Project::empty();
    let database = TestDatabase::new(Dialect::Sqlite);
    database.execute("CREATE TABLE users (id INTEGER PRIMARY KEY)").await;
    let seen = |run: super::support::Run| assert!(run.expect(0).out.contains("users"));
    let mut command = project.command(&["snapshot"]);
    command.env("DATABASE_URL", &database.url);
    seen(super::support::finish(command));
    project.write(".env", &format!("DATABASE_URL={}\n", database.url));
    seen(project.run(&["snapshot"]));
    std::fs::remove_file(project.path().join(".env")).unwrap();
    project.write("schemadiff.toml", &format!("database-url = \"{}\"\n", database.url));
    seen(project.run(&["snapshot"]));
    // The option wins over all of them.
    project.run(&["snapshot", "--database-url", "sqlite:nowhere/none.db"]).expect(5);
}

#[test]
fn colour_is_for_terminals_or_for_those_who_ask() {
    let project = Project::empty();
    project.write("one.toml", &snapshot("sqlite", &[("users", &["email"])]));
    let args = ["diff", "--from", "empty", "--to", "file:one.toml"];
    assert!(!project.run(&args).expect(0).out.contains('\u{1b}'));
    assert!(project.run(&[&args[..], &["--color", "always"]].concat()).expect(0).out.contains('\u{1b}'));
    let mut command = project.command(&args);
    command.env("CLICOLOR_FORCE", "1");
    assert!(super::support::finish(command).expect(0).out.contains('\u{1b}'));
}

#[test]
fn without_cargo_everything_runs_that_reads_no_crate() {
    let project = Project::empty();
    project.write("one.toml", &snapshot("sqlite", &[("users", &["email"])]));
    let without_cargo = |args: &[&str]| {
        let mut command = project.command(args);
        command.env("PATH", "/nowhere").env_remove("CARGO");
        super::support::finish(command)
    };
    without_cargo(&["diff", "--from", "empty", "--to", "file:one.toml", "--exit-code"]).expect(1);
    without_cargo(&["snapshot", "--from", "file:one.toml"]).expect(0);
    let artifact = format!("artifact:{}", super::support::program().display());
    without_cargo(&["diff", "--from", "empty", "--to", &artifact]).expect_error("SD0305");
}
