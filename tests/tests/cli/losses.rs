//! Data that would be lost without a word: what an abort takes along, and what was written past a trigger.

use schemadiff::model::Dialect;
use schemadiff_tests::engine::TestDatabase;

use super::support::Project;

const ENGINES: [Dialect; 2] = [Dialect::Postgres, Dialect::Sqlite];

/// A database at the first of two schemas, with the migration to the second one written.
async fn moved(dialect: Dialect, before: &str, after: &str, flags: &[&str]) -> (Project, TestDatabase) {
    let (project, database) = (Project::empty(), TestDatabase::new(dialect));
    let [first, second] = [before, after].map(|sql| (TestDatabase::new(dialect), sql));
    first.0.execute(first.1).await;
    second.0.execute(second.1).await;
    project.write("schemadiff.toml", &format!("database-url = \"{}\"\n", database.url));
    project.run(&["new", "initial", "--from", "empty", "--to", &first.0.url]).expect(0);
    project.run(&["apply"]).expect(0);
    project.run(&[&["new", "second", "--to", &second.0.url], flags].concat()).expect(0);
    (project, database)
}

const T: &str = "CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, a text";

#[tokio::test]
async fn an_abort_asks_before_it_takes_data_along() {
    for dialect in ENGINES {
        let after =
            format!("{T}, note text, kind text DEFAULT 'x'); CREATE TABLE orders (id bigint NOT NULL PRIMARY KEY)");
        let (project, database) = moved(dialect, &format!("{T})"), &after, &[]).await;
        project.run(&["apply"]).expect(0);
        let id = std::fs::read_dir(project.path().join("migrations")).unwrap();
        let id = id.map(|e| e.unwrap().file_name().into_string().unwrap()).find(|n| n.ends_with("_second")).unwrap();
        database.execute("INSERT INTO t (id, a, note) VALUES (1, 'a', NULL); INSERT INTO orders (id) VALUES (7)").await;
        let run = project.run(&["abort", &id]).expect_error("SD0668");
        assert!(run.err.contains("orders") && run.err.contains("id = 7") && !run.err.contains("note"), "{run:#?}");

        // Several at once, each by its name, and nothing is taken back before all of them are said.
        database.execute("UPDATE t SET note = 'mine', kind = 'y'").await;
        let run = project.run(&["abort", &id, "--allow-drop", "orders"]).expect_error("SD0668");
        assert!(run.err.contains("t.note") && run.err.contains("t.kind") && !run.err.contains("id = 7"), "{run:#?}");
        assert_eq!(database.text("SELECT CAST(count(*) AS text) FROM orders").await.as_deref(), Some("1"));
        let all = ["abort", &id, "--allow-drop", "orders", "--allow-drop", "t.note", "--allow-drop", "t.kind"];
        project.run(&all).expect(0);

        // Without data there is nothing to ask.
        project.run(&["apply"]).expect(0);
        project.run(&["abort", &id]).expect(0);
    }
}

#[tokio::test]
async fn what_was_written_past_a_trigger_is_found_before_contract() {
    let after = "CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, b text)";
    let (project, database) = moved(Dialect::Postgres, &format!("{T})"), after, &["--rename", "t.a=t.b"]).await;
    database.execute("INSERT INTO t (id, a) SELECT g, 'a' || g FROM generate_series(1, 1000) g").await;
    project.run(&["apply", "--until", "backfill"]).expect(0);
    database.execute("ALTER TABLE t DISABLE TRIGGER ALL").await;
    let run = project.run(&["apply", "--until", "backfill"]).expect_error("SD0745");
    let way = run.err.lines().find_map(|line| line.split_once("ALTER TABLE ")).expect("the way back is said").1;
    let way = format!("ALTER TABLE {}", way.split(',').next().unwrap());

    database.execute("UPDATE t SET a = 'PRECIOUS' WHERE id = 5").await;
    database.execute(&way).await;
    let run = project.run(&["apply"]).expect_error("SD0765");
    assert!(run.err.contains("id = 5"), "{run:#?}");
    assert_eq!(database.text("SELECT a FROM t WHERE id = 5").await.as_deref(), Some("PRECIOUS"));
    database.execute("UPDATE t SET b = 'PRECIOUS' WHERE id = 5").await;
    project.run(&["apply"]).expect(0);
    assert_eq!(database.text("SELECT b FROM t WHERE id = 5").await.as_deref(), Some("PRECIOUS"));
}

#[tokio::test]
async fn a_table_that_has_grown_since_the_plan_was_written_is_not_locked_for_long() {
    for dialect in [Dialect::Postgres] {
        let (project, database) = (Project::empty(), TestDatabase::new(dialect));
        let other = TestDatabase::new(dialect);
        let table = |ty: &str, rest: &str| format!("CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, n {ty}{rest})");
        database.execute(&table("integer", "")).await;
        database.execute("INSERT INTO t VALUES (1, 1), (2, 2); ANALYZE").await;
        other.execute(&table("text", ", CHECK (length(n) > 0)")).await;
        project.write("schemadiff.toml", &format!("database-url = \"{}\"\n", database.url));
        project.run(&["new", "one", "--from", &database.url, "--to", &other.url]).expect(0);
        database
            .execute(
                "INSERT INTO t WITH RECURSIVE g (n) AS (SELECT 3 UNION ALL SELECT n + 1 FROM g WHERE n < 150000) \
                 SELECT n, n FROM g",
            )
            .await;
        let run = project.run(&["apply"]).expect_error("SD0768");
        assert!(run.err.contains("`t` is large") && run.err.contains("--accept-stall"), "{run:#?}");
        let kept = database.text("SELECT CAST(n AS text) FROM t WHERE id = 2").await;
        assert_eq!(kept.as_deref(), Some("2"));
        project.run(&["apply", "--accept-stall"]).expect(0);
    }
}

#[tokio::test]
async fn how_large_tables_are_where_a_plan_leads_says_nothing() {
    let (project, database, other) =
        (Project::empty(), TestDatabase::new(Dialect::Postgres), TestDatabase::new(Dialect::Postgres));
    let table = |ty: &str| format!("CREATE TABLE t (id bigint PRIMARY KEY, n {ty}); ANALYZE");
    database.execute(&table("integer")).await;
    other.execute(&table("bigint")).await;
    project.write("schemadiff.toml", &format!("database-url = \"{}\"\n", database.url));
    project.run(&["new", "one", "--from", "empty", "--to", &database.url]).expect(0);
    let json = project.run(&["new", "two", "--to", &other.url, "--json"]).expect(0).json();
    let steps: Vec<&str> =
        json["plan"]["step"].as_array().unwrap().iter().map(|step| step["title"].as_str().unwrap()).collect();
    // Kept in step and filled, as for a large one; not written anew under a lock.
    assert!(steps.iter().any(|title| title.starts_with("fill")), "{steps:?}");
}

#[tokio::test]
async fn a_migration_whose_table_was_dropped_meanwhile_can_be_taken_back() {
    for dialect in ENGINES {
        let after = "CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, b text); CREATE INDEX t_b ON t (b)";
        let (project, database) = moved(dialect, &format!("{T})"), after, &["--rename", "t.a=t.b"]).await;
        database.execute("INSERT INTO t (id, a) VALUES (1, 'a')").await;
        project.run(&["apply", "--until", "backfill"]).expect(0);
        database.execute("DROP TABLE t").await;
        project.run(&["abort"]).expect(0);
        let json = project.run(&["status", "--json"]).expect(0).json();
        assert_eq!(json["status"]["migrations"][1]["state"], "aborted");
        // The table is made again as it was, and the migration comes again.
        database.execute(&format!("{T})")).await;
        project.run(&["apply"]).expect(0);
        assert_eq!(database.text("SELECT CAST(count(b) AS text) FROM t").await.as_deref(), Some("0"));
    }
}
