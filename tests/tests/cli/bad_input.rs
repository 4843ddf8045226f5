//! Whatever a user gets wrong: a clear error, a stable code, the right exit code, and nothing lost.

use schemadiff_tests::engine::{Postgres, Sqlite};

use super::support::{Project, snapshot};

#[test]
fn the_command_line() {
    let project = Project::empty();
    for args in [
        &["diff", "--from", "nonsense"][..],
        &["diff", "--no-such-option"],
        &["no-such-command"],
        &["apply", "--wait", "soon"],
        &["new"],
        &["diff", "--rename", "users.fullname"],
        &["demo", "--rows", "0"],
    ] {
        project.run(args).expect_error("SD0201");
    }
    project.run(&["--help"]).expect(0);
    project.run(&["schemadiff", "apply", "--help"]).expect(0);
    project.run(&["--version"]).expect(0);
}

#[test]
fn no_database_is_named() {
    let project = Project::empty();
    for args in [&["diff"][..], &["status"], &["apply"], &["snapshot"]] {
        project.run(args).expect_error("SD0210");
    }
    project.write(".env", "DATABASE_URL=nonsense\n");
    let run = project.run(&["status"]).expect_error("SD0202");
    assert!(run.err.contains("DATABASE_URL in .env"), "{run:#?}");
}

#[test]
fn the_settings_are_wrong() {
    let project = Project::empty();
    project.write("schemadiff.toml", "database-url = \"postgres://app:hunter2@db/shop\nx = 1\n");
    let run = project.run(&["status"]).expect_error("SD0211");
    assert!(!run.err.contains("hunter2"), "{run:#?}");
    project.write("schemadiff.toml", "databse-url = \"sqlite:x.db\"\n");
    let run = project.run(&["status"]).expect_error("SD0211");
    assert!(run.err.contains("databse-url"), "{run:#?}");
    project.write("schemadiff.toml", "");
    project.write(".env", "DATABASE_URL='postgres://app:hunter2@db/shop\n");
    let run = project.run(&["status"]).expect_error("SD0212");
    assert!(!run.err.contains("hunter2"), "{run:#?}");
}

#[test]
fn the_address_is_wrong() {
    let project = Project::empty();
    project.run(&["status", "--database-url", "http://x"]).expect(2);
    project.run(&["diff", "--to", "empty", "--database-url", "mysql://x"]).expect_error("SD0203");
    let run = project.run(&["diff", "--to", "empty", "--from", "sqlite:no/such/file.db"]).expect(5);
    assert!(run.err.contains("no/such/file.db"), "{run:#?}");
}

#[test]
fn there_is_no_server() {
    let project = Project::empty();
    let url = "postgres://app:hunter2@127.0.0.1:1/shop";
    let run = project.run(&["diff", "--to", "empty", "--from", url]).expect_error("SD0501");
    assert!(!run.err.contains("hunter2") && run.err.contains("127.0.0.1"), "{run:#?}");
    let run = project.run(&["status", "--database-url", url]).expect(5);
    assert!(!run.err.contains("hunter2") && run.err.contains("127.0.0.1"), "{run:#?}");
}

#[test]
fn the_password_is_wrong() {
    let project = Project::empty();
    let database = Postgres::shared().database();
    let url = database.url.replace("postgres://postgres@", "postgres://nobody_of_that_name:hunter2@");
    let run = project.run(&["diff", "--to", "empty", "--from", &url]).expect(5);
    assert!(run.err.contains("nobody_of_that_name") && !run.err.contains("hunter2"), "{run:#?}");
    let run = project.run(&["diff", "--to", "empty", "--from", &url, "--json", "-vv"]).expect(5);
    assert!(!run.err.contains("hunter2") && !run.out.contains("hunter2"), "{run:#?}");
    assert_eq!(run.json()["error"]["exit_code"], 5);
}

#[test]
fn a_snapshot_is_missing_damaged_or_newer() {
    let project = Project::empty();
    project.run(&["diff", "--from", "file:none.toml", "--to", "empty"]).expect_error("SD0431");
    let text = snapshot("sqlite", &[("users", &["email"])]);
    project.write("cut.toml", &text[..text.len() / 2]);
    project.run(&["diff", "--from", "file:cut.toml", "--to", "empty"]).expect_error("SD0432");
    project.write("newer.toml", &text.replace("format = 1", "format = 2"));
    project.run(&["diff", "--from", "file:newer.toml", "--to", "empty"]).expect_error("SD0422");
}

#[test]
fn there_is_no_crate() {
    let project = Project::empty();
    project.write("schemadiff.toml", "dialect = \"sqlite\"\n");
    let run = project.run(&["check"]).expect_error("SD0301");
    assert!(run.err.contains("artifact:"), "{run:#?}");
    project.run(&["diff", "--from", "empty", "--to", "artifact:none"]).expect_error("SD0306");
    project.write("text", "no program at all");
    project.run(&["diff", "--from", "empty", "--to", "artifact:text"]).expect_error("SD0306");
}

#[test]
fn the_engine_is_not_known_or_not_one() {
    let project = Project::empty();
    project.run(&["diff", "--from", "empty", "--to", "empty"]).expect_error("SD0214");
    project.write("pg.toml", &snapshot("postgres", &[]));
    project.write("lite.toml", &snapshot("sqlite", &[]));
    project.run(&["diff", "--from", "file:pg.toml", "--to", "file:lite.toml"]).expect_error("SD0215");
}

#[test]
fn a_drop_is_not_acknowledged_and_a_rename_not_said() {
    let project = Project::empty();
    project.write("two.toml", &snapshot("sqlite", &[("users", &["email", "name"])]));
    project.write("one.toml", &snapshot("sqlite", &[("users", &["email"])]));
    project.write("other.toml", &snapshot("sqlite", &[("users", &["email", "display_name"])]));
    let diff = |to: &str, more: &[&str]| {
        let mut args = vec!["diff", "--from", "file:two.toml", "--to", to, "--exit-code"];
        args.extend(more);
        project.run(&args)
    };
    let run = diff("file:one.toml", &[]).expect_error("SD0602");
    assert!(run.err.contains("--allow-drop users.name") && run.out.contains("users.name"), "{run:#?}");
    diff("file:one.toml", &["--allow-drop", "users.name"]).expect(1);
    let run = diff("file:other.toml", &[]).expect_error("SD0601");
    assert!(run.err.contains("--rename users.name=users.display_name"), "{run:#?}");
    assert!(run.err.contains("--allow-drop users.name"), "{run:#?}");
    let run = diff("file:other.toml", &["--rename", "users.name=users.display_name"]).expect(1);
    assert!(run.out.contains("rename"), "{run:#?}");
    for nonsense in ["users.nothing=users.nowhere", "users.typo=users.display_name", "orders.name=users.display_name"] {
        diff("file:other.toml", &["--rename", nonsense]).expect_error("SD0206");
    }
}

/// One document, whatever is in it.
#[test]
fn what_is_refused_is_in_the_document() {
    let project = Project::empty();
    project.write("two.toml", &snapshot("sqlite", &[("users", &["email", "name"])]));
    project.write("one.toml", &snapshot("sqlite", &[("users", &["email"])]));
    let run = project.run(&["diff", "--from", "file:two.toml", "--to", "file:one.toml", "--json"]);
    let run = run.expect_error("SD0602");
    assert_eq!(run.json()["refused"]["code"], "SD0602");
    let run = project.run(&["snapshot", "--from", "file:two.toml", "-o", "copy.toml", "--json"]).expect(0);
    assert_eq!(run.json()["written"], "copy.toml");
}

#[test]
fn an_address_in_the_wrong_place_is_shown_without_its_password() {
    let project = Project::empty();
    for args in [
        &["diff", "postgres://app:hunter2@db/shop"][..],
        &["diff", "--from", "psql://app:hunter2@db/shop"],
        &["diff", "--from", "host=db password=hunter2"],
        &["postgres://app:hunter2@db/shop"],
        &["diff", "--databaseurl=postgres://app:hunter2@db/shop"],
        &["status", "--database-url", "postgres://app:12/hunter2@db/shop"],
    ] {
        for json in [&[][..], &["--json"]] {
            let run = project.run(&[args, json].concat());
            assert!(run.code.is_some_and(|code| code > 1), "{run:#?}");
            assert!(!format!("{}{}", run.err, run.out).contains("hunter2"), "{args:?}: {run:#?}");
        }
    }
}

#[test]
fn migrations_for_another_engine_leave_no_file() {
    let project = Project::empty();
    let database = Postgres::shared().database();
    project.write("one.toml", &snapshot("postgres", &[("users", &["email"])]));
    let new = ["new", "first", "--from", "empty", "--to", "file:one.toml", "--database-url", &database.url];
    project.run(&new).expect(0);
    project.run(&["apply", "--database-url", "sqlite:app.db"]).expect_error("SD0458");
    assert!(!project.path().join("app.db").exists());

    let lite = Project::empty();
    lite.write("one.toml", &snapshot("sqlite", &[("users", &["email"])]));
    lite.write("two.toml", &snapshot("sqlite", &[("users", &["email", "name"])]));
    lite.run(&["new", "second", "--from", "file:one.toml", "--to", "file:two.toml"]).expect(0);
    lite.run(&["apply", "--database-url", "sqlite:mistyped.db"]).expect_error("SD0550");
    assert!(!lite.path().join("mistyped.db").exists(), "they begin at a schema, which a new file does not have");
}

#[test]
fn a_database_that_is_no_database() {
    let project = Project::empty();
    project.write("text.db", &"this is not a database\n".repeat(100));
    project.run(&["diff", "--to", "empty", "--from", "sqlite:text.db"]).expect_error("SD0546");
    let run = project.run(&["status", "--database-url", "sqlite:text.db"]).expect_error("SD0553");
    assert!(run.err.contains("check the path") && !run.err.contains("server"), "{run:#?}");
    let database = Sqlite::file();
    project.run(&["diff", "--to", "empty", "--from", &database.url]).expect(0);
}

/// Its own words for it, and no page of SQL beside them.
#[tokio::test]
async fn a_file_that_another_process_writes_to() {
    use sqlx::Connection as _;
    let (project, database) = (Project::empty(), Sqlite::file());
    project.write("one.toml", &snapshot("sqlite", &[("users", &["email"])]));
    project.run(&["new", "first", "--from", "empty", "--to", "file:one.toml"]).expect(0);
    project.run(&["apply", "--database-url", &database.url]).expect(0);
    let mut other = sqlx::SqliteConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
    let run = project.run(&["status", "--database-url", &database.url]).expect(5);
    assert!(run.err.contains("another process") && !run.err.contains("SELECT"), "{run:#?}");
}

#[test]
fn a_database_that_is_not_on_the_server() {
    let (project, database) = (Project::empty(), Postgres::shared().database());
    let url = database.url.replace(&database.name, "nowhere_at_all");
    let run = project.run(&["status", "--database-url", &url]).expect_error("SD0550");
    assert!(run.err.contains("nowhere_at_all") && !run.err.contains("at line"), "{run:#?}");
}
