//! `undo` and `purge`, and what plan and `status` say of them; the exit codes that a deploy script goes by.

use schemadiff::model::Dialect;
use schemadiff_tests::engine::TestDatabase;

use super::support::{Project, snapshot};

#[tokio::test]
async fn what_was_dropped_comes_back_within_its_window() {
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        let (project, database) = (Project::empty(), TestDatabase::new(dialect));
        let engine = dialect.as_str();
        project.write("one.toml", &snapshot(engine, &[("users", &["email", "nick"]), ("tags", &["label"])]));
        project.write("two.toml", &snapshot(engine, &[("users", &["email"])]));
        let settings = format!("database-url = \"{}\"\nundo-window = \"7d\"\n", database.url);
        project.write("schemadiff.toml", &settings);
        project.run(&["new", "initial", "--to", "file:one.toml"]).expect(0);
        project.run(&["status", "--exit-code"]).expect(1);
        project.run(&["apply"]).expect(0);
        project.run(&["status", "--exit-code"]).expect(0);
        project.run(&["undo"]).expect_error("SD0667");
        database
            .execute("INSERT INTO users (email, nick) VALUES ('a@x', 'ann'); INSERT INTO tags (label) VALUES ('blue')")
            .await;

        let drops = ["--allow-drop", "users.nick", "--allow-drop", "tags"];
        let run = project.run(&[&["new", "fewer", "--to", "file:two.toml"][..], &drops].concat()).expect(0);
        assert!(run.out.contains("keeps column `users.nick` for 7 days"), "{run:#?}");
        assert!(run.out.contains("rows written meanwhile have NULL in it"), "{run:#?}");
        assert!(run.out.contains("by `cargo schemadiff undo`"), "{run:#?}");
        project.run(&["apply"]).expect(0);
        let run = project.run(&["status"]).expect(0);
        assert!(run.out.contains("table `tags`") && run.out.contains("more: it comes back with its rows"), "{run:#?}");
        let json = project.run(&["status", "--json"]).expect(0).json();
        let kept = json["status"]["kept"].as_array().unwrap();
        assert_eq!(kept.len(), 2);
        assert!(kept.iter().all(|k| k["until_ms"].as_i64() > json["status"]["now_ms"].as_i64()), "{json}");
        // It is nobody's difference.
        project.run(&["diff", "--to", "file:two.toml", "--exit-code"]).expect(0);

        // One document a line, as everywhere where there are events.
        let run = project.run(&["undo", "--json"]).expect(0);
        let lines: Vec<serde_json::Value> = run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines[0]["event"].is_string(), "{run:#?}");
        let json = lines.last().unwrap();
        assert_eq!(json["undone"]["steps"].as_array().unwrap().len(), 2, "{json}");
        assert_eq!(database.text("SELECT nick FROM users").await.as_deref(), Some("ann"));
        assert_eq!(database.text("SELECT label FROM tags").await.as_deref(), Some("blue"));
        project.run(&["diff", "--to", "file:one.toml", "--exit-code"]).expect(0);
        project.run(&["status", "--exit-code"]).expect(1);

        project.run(&["apply"]).expect(0);
        let run = project.run(&["purge"]).expect(0);
        assert!(run.out.contains("column `users.nick` is gone for good"), "{run:#?}");
        assert!(project.run(&["purge"]).expect(0).out.contains("nothing is kept"));
        project.run(&["undo"]).expect_error("SD0667");
        project.run(&["diff", "--to", "file:two.toml", "--exit-code"]).expect(0);
    }
}

#[tokio::test]
async fn a_phase_that_cannot_come_back_as_a_whole_says_of_each_step_why_and_what_is_kept() {
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        let (project, database) = (Project::empty(), TestDatabase::new(dialect));
        let engine = dialect.as_str();
        project.write("one.toml", &snapshot(engine, &[("users", &["email", "nick"]), ("notes", &["body"])]));
        project.write("two.toml", &snapshot(engine, &[("users", &["email"]), ("notes", &["text"])]));
        let settings = format!("database-url = \"{}\"\nundo-window = \"7d\"\n", database.url);
        project.write("schemadiff.toml", &settings);
        project.run(&["new", "initial", "--to", "file:one.toml"]).expect(0);
        project.run(&["apply"]).expect(0);
        database.execute("INSERT INTO users (email, nick) VALUES ('a@x', 'ann')").await;
        let hints = ["--allow-drop", "users.nick", "--rename", "notes.body=notes.text"];
        let run = project.run(&[&["new", "both", "--to", "file:two.toml"][..], &hints].concat()).expect(0);
        assert!(run.out.contains("has no way back, so `undo` does not begin"), "{run:#?}");
        project.run(&["apply"]).expect(0);
        let before = project.run(&["status", "--json"]).expect(0).json();

        let run = project.run(&["undo"]).expect_error("SD0653");
        println!("{}", run.err);
        for words in ["notes", "column `users.nick`", "for 6 days more", "drop what shall be able to come back"] {
            assert!(run.err.contains(words), "{words}: {run:#?}");
        }
        let after = project.run(&["status", "--json"]).expect(0).json();
        assert_eq!(before["status"]["migrations"], after["status"]["migrations"], "nothing was undone");
        assert_eq!(after["status"]["kept"].as_array().unwrap().len(), 1);
    }
}

/// A foreign key comes back for new writes first and is then proven: rows that it would refuse are looked for before, and what an
/// abort leaves that was cut short in between is no drift.
#[tokio::test]
async fn a_foreign_key_that_was_dropped_comes_back_proven_or_not_at_all() {
    const PARENT: &str = "CREATE TABLE p (id INT PRIMARY KEY);";
    let dialect = Dialect::Postgres;
    let (project, database, desired) = (Project::empty(), TestDatabase::new(dialect), TestDatabase::new(dialect));
    database
        .execute(&format!(
            "{PARENT} CREATE TABLE c (id INT PRIMARY KEY, a INT CONSTRAINT cf REFERENCES p); CREATE INDEX ci ON c (a)"
        ))
        .await;
    desired.execute(&format!("{PARENT} CREATE TABLE c (id INT PRIMARY KEY, a INT)")).await;
    project.write("schemadiff.toml", &format!("database-url = \"{}\"\n", database.url));
    project.run(&["new", "less", "--from", &database.url, "--to", &desired.url]).expect(0);
    project.run(&["apply", "--until", "backfill"]).expect(0);
    database.execute("INSERT INTO c VALUES (1, 77)").await;
    let run = project.run(&["abort"]).expect_error("SD0760");
    assert!(run.err.contains("whose (a) is not in `p`: id = 1"), "{run:#?}");
    let key = "SELECT convalidated::text FROM pg_constraint WHERE conname = 'cf'";
    assert_eq!(database.text(key).await, None, "nothing was taken back");
    database.execute("DELETE FROM c").await;
    let half = "ALTER TABLE c ADD CONSTRAINT cf FOREIGN KEY (a) REFERENCES p NOT VALID; \
                UPDATE schemadiff.step SET state = 'running' WHERE id LIKE '01%'";
    database.execute(half).await;
    project.run(&["apply", "--until", "backfill"]).expect(0);
    assert_eq!(database.text(key).await, None);
    project.run(&["abort"]).expect(0);
    assert_eq!(database.text(key).await.as_deref(), Some("true"));
}

/// Two tables of which one is dropped with a way back, with `more` beside them before it is.
async fn dropping_tags(more: &str) -> (Project, TestDatabase) {
    let (project, database) = (Project::empty(), TestDatabase::new(Dialect::Sqlite));
    project.write("one.toml", &snapshot("sqlite", &[("users", &["email"]), ("tags", &["label"])]));
    project.write("two.toml", &snapshot("sqlite", &[("users", &["email"])]));
    project.write("schemadiff.toml", &format!("database-url = \"{}\"\nundo-window = \"7d\"\n", database.url));
    project.run(&["new", "initial", "--to", "file:one.toml"]).expect(0);
    project.run(&["apply"]).expect(0);
    database.execute(more).await;
    project.run(&["new", "fewer", "--to", "file:two.toml", "--allow-drop", "tags"]).expect(0);
    (project, database)
}

#[tokio::test]
async fn a_table_whose_own_trigger_names_it_is_set_aside_and_comes_back_with_it() {
    let shout =
        "CREATE TRIGGER shout AFTER INSERT ON tags BEGIN UPDATE tags SET label = upper(label) WHERE id = new.id; END";
    let (project, database) = dropping_tags(&format!("{shout}; CREATE VIEW broken AS SELECT * FROM nowhere")).await;
    project.run(&["apply"]).expect(0);
    database.execute("DROP VIEW broken").await;
    // Also for whoever changes another table meanwhile, with statements that look at all triggers.
    database
        .execute("ALTER TABLE users RENAME COLUMN email TO mail; ALTER TABLE users RENAME COLUMN mail TO email")
        .await;
    database.execute("CREATE VIEW broken AS SELECT * FROM nowhere").await;
    project.run(&["undo"]).expect(0);
    database.execute("INSERT INTO tags (label) VALUES ('blue')").await;
    assert_eq!(database.text("SELECT label FROM tags").await.as_deref(), Some("BLUE"));
    project.run(&["apply"]).expect(0);
    project.run(&["purge"]).expect(0);
    let left = "SELECT CAST(count(*) AS TEXT) FROM sqlite_schema WHERE name = 'shout' OR tbl_name GLOB '*kept_2*'";
    assert_eq!(database.text(left).await.as_deref(), Some("0"));
}

#[tokio::test]
async fn what_uses_a_table_keeps_it_from_being_set_aside() {
    for (more, what) in [
        ("CREATE VIEW labels AS SELECT label FROM tags", "view `labels`"),
        (
            "CREATE TRIGGER tagged AFTER INSERT ON users BEGIN INSERT INTO tags (label) VALUES (new.email); END",
            "trigger `tagged`",
        ),
        ("CREATE TABLE other (tag INTEGER REFERENCES tags (id))", "table `other`"),
    ] {
        let (project, database) = dropping_tags(more).await;
        let run = project.run(&["apply"]).expect_error("SD0767");
        assert!(run.err.contains(what), "{what}: {run:#?}");
        assert_eq!(database.text("SELECT CAST(count(*) AS TEXT) FROM tags").await.as_deref(), Some("0"));
    }
}
