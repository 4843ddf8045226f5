//! Rows, and views, that a migration would fail on: named before anything is changed; and where they come later, the step
//! stops, names them, and goes on once they are repaired.

use schemadiff::model::Dialect;
use schemadiff_tests::engine::TestDatabase;

use super::support::Project;

const ENGINES: [Dialect; 2] = [Dialect::Postgres, Dialect::Sqlite];

/// A database at the first of two schemas, with the migration to the second one written.
pub struct Move {
    pub project: Project,
    pub database: TestDatabase,
}

impl Move {
    pub async fn new(dialect: Dialect, before: &str, after: &str, rows: &str) -> Self {
        Self::with(dialect, before, after, rows, &[]).await
    }

    /// The same, with more arguments for the second migration.
    pub async fn with(dialect: Dialect, before: &str, after: &str, rows: &str, more: &[&str]) -> Self {
        let this = Self { project: Project::empty(), database: TestDatabase::new(dialect) };
        let [first, second] = [before, after].map(|sql| (TestDatabase::new(dialect), sql));
        first.0.execute(first.1).await;
        second.0.execute(second.1).await;
        this.project.write("schemadiff.toml", &format!("database-url = \"{}\"\n", this.database.url));
        this.project.run(&["new", "initial", "--from", "empty", "--to", &first.0.url]).expect(0);
        this.project.run(&["apply"]).expect(0);
        this.database.execute(rows).await;
        let drops: &[&str] = if before.contains("gone") { &["--allow-drop", "t.gone"] } else { &[] };
        this.project.run(&[&["new", "second", "--to", &second.0.url], drops, more].concat()).expect(0);
        this
    }

    /// Refused with nothing changed, and the message has all of these words; fine once it is repaired.
    pub async fn found_before(&self, words: &[&str], repair: &str) {
        let facts = "SELECT CAST(count(*) AS text) FROM t";
        let rows = self.database.text(facts).await;
        let run = self.project.run(&["apply"]).expect_error("SD0760");
        for word in words {
            assert!(run.err.contains(word), "{word}: {run:#?}");
        }
        let json = self.project.run(&["status", "--json"]).expect(0).json();
        let steps = json["status"]["migrations"][1]["steps"].as_array().unwrap();
        assert!(steps.iter().all(|step| step["state"] == "pending"), "{json:#}");
        assert_eq!(self.database.text(facts).await, rows);
        self.database.execute(repair).await;
        let run = self.project.run(&["apply"]).expect(0);
        assert!(!run.err.contains("not looked for"), "{run:#?}");
        assert_eq!(self.database.text(facts).await, rows, "no row was lost");
    }
}

const T: &str = "CREATE TABLE p (id bigint NOT NULL PRIMARY KEY); \
    CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, name text, n integer, p_id bigint";

fn table(more: &str) -> String {
    format!("{T}{more})")
}

const ROWS: &str = "INSERT INTO p VALUES (1); \
    INSERT INTO t (id, name, n, p_id) VALUES (11, 'one', 1, 1), (12, 'two', 2, 1), (13, NULL, 3, NULL)";

#[tokio::test]
async fn duplicates_under_a_new_unique_key() {
    for dialect in ENGINES {
        let after = format!("{}; CREATE UNIQUE INDEX t_name ON t (name)", table(""));
        let moved = Move::new(dialect, &table(""), &after, ROWS).await;
        moved.database.execute("INSERT INTO t (id, name, n) VALUES (14, 'one', 4), (15, NULL, 5)").await;
        let words = ["rows of `t` that are equal in (name)", "id = 11 and id = 14 (2 rows)", "nothing was changed"];
        moved.found_before(&words, "UPDATE t SET name = 'four' WHERE id = 14").await;
    }
}

#[tokio::test]
async fn orphans_under_a_new_foreign_key() {
    for dialect in ENGINES {
        let after = table(", CONSTRAINT t_p FOREIGN KEY (p_id) REFERENCES p (id)");
        let moved = Move::new(dialect, &table(""), &after, ROWS).await;
        moved.database.execute("UPDATE t SET p_id = 99 WHERE id = 12").await;
        moved.found_before(&["whose (p_id) is not in `p`", "id = 12"], "INSERT INTO p VALUES (99)").await;
    }
}

#[tokio::test]
async fn rows_that_violate_a_new_check_or_a_label_that_goes() {
    for dialect in ENGINES {
        let labels = |list: &str| table(&format!(", CONSTRAINT named CHECK (name IN ({list}))"));
        let [before, after] = ["'one', 'two', 'three'", "'one', 'two'"].map(labels);
        let moved = Move::new(dialect, &before, &after, ROWS).await;
        moved.database.execute("UPDATE t SET name = 'three' WHERE id = 12").await;
        moved.found_before(&["rows of `t` that violate", "id = 12"], "UPDATE t SET name = 'two'").await;
    }
}

#[tokio::test]
async fn null_in_a_column_that_may_no_longer_hold_it() {
    for dialect in ENGINES {
        let after = table("").replace("name text", "name text NOT NULL");
        let moved = Move::new(dialect, &table(""), &after, ROWS).await;
        moved.found_before(&["with NULL in `name`", "id = 13"], "UPDATE t SET name = '' WHERE name IS NULL").await;
    }
}

#[tokio::test]
async fn values_that_a_type_change_cannot_convert() {
    let change = |dialect, to: &'static str| async move {
        let after = table("").replace("name text", &format!("name {to}"));
        Move::new(dialect, &table(""), &after, ROWS).await
    };
    for dialect in ENGINES {
        let moved = change(dialect, "integer").await;
        moved.database.execute("UPDATE t SET name = '7' WHERE id = 11").await;
        moved.found_before(&["`name` cannot become", "id = 12"], "UPDATE t SET name = '8' WHERE id = 12").await;
    }
    // Never cut off.
    let moved = change(Dialect::Postgres, "varchar(3)").await;
    moved.database.execute("UPDATE t SET name = 'long' WHERE id = 12").await;
    moved
        .found_before(&["cannot become character varying(3)", "id = 12"], "UPDATE t SET name = 'x' WHERE id = 12")
        .await;
    // Where only the server can tell, in its words.
    let moved = change(Dialect::Postgres, "date").await;
    let words = ["cannot become date", "invalid input syntax for type date: \"one\""];
    moved.found_before(&words, "UPDATE t SET name = '2024-01-01' WHERE name IS NOT NULL").await;
}

#[tokio::test]
async fn views_over_what_goes_or_changes() {
    for (after, finds) in
        [(table(""), "views that use `t.gone`: v"), (table(", gone integer"), "views that use `t.gone`: v")]
    {
        let moved = Move::new(Dialect::Postgres, &table(", gone text"), &after, ROWS).await;
        moved.database.execute("CREATE VIEW v AS SELECT id, gone FROM t; CREATE VIEW other AS SELECT id FROM t").await;
        moved.found_before(&[finds], "DROP VIEW v").await;
    }
}

#[tokio::test]
async fn what_comes_later_stops_the_step_and_leaves_both_versions_working() {
    for dialect in ENGINES {
        let after = format!("{}; CREATE UNIQUE INDEX t_name ON t (name)", table(""));
        // A column that comes in expand: the migration has begun when the rows come.
        let after = after.replace("n integer", "n integer, touched integer");
        let more = Move::new(dialect, &table(""), &after, ROWS).await;
        more.project.run(&["apply", "--until", "backfill"]).expect(0);
        more.database.execute("INSERT INTO t (id, name) VALUES (14, 'one')").await;
        let run = more.project.run(&["apply"]).expect_error("SD0750");
        assert!(run.err.contains("id = 11 and id = 14 (2 rows)"), "{run:#?}");
        // Statements of the old and of the new version, as if nothing had happened.
        more.database.execute("INSERT INTO t (id, name) VALUES (15, 'one')").await;
        more.database.execute("INSERT INTO t (id, name, touched) VALUES (16, 'one', 1)").await;
        let run = more.project.run(&["apply"]).expect_error("SD0750");
        assert!(run.err.contains("(4 rows)"), "{run:#?}");
        more.database.execute("DELETE FROM t WHERE id > 13").await;
        more.project.run(&["apply"]).expect(0);
    }
}

/// What goes partition by partition and stops half-way leaves what the next attempt takes up: it is no change that somebody else has made.
#[tokio::test]
async fn a_step_that_stopped_between_two_partitions_goes_on() {
    const PARTS: &str = "PARTITION BY RANGE (d); \
         CREATE TABLE t23 PARTITION OF t FOR VALUES FROM ('2023-01-01') TO ('2024-01-01'); \
         CREATE TABLE t24 PARTITION OF t FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')";
    // What no question before can find: it fails for whoever builds an index, and nobody else.
    const KEY: &str = "CREATE FUNCTION k(e INT) RETURNS INT LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN \
         IF e = 99 AND current_query() ~* '^create .*index' THEN RAISE 'not that one'; END IF; RETURN e; END $$";
    let this = Move::new(
        Dialect::Postgres,
        &format!(
            "{KEY}; CREATE TABLE t (id INT, e INT, d DATE, PRIMARY KEY (id, d)) {PARTS}; CREATE TABLE o (id INT, d DATE)"
        ),
        &format!(
            "{KEY}; CREATE TABLE t (id INT, e INT, d DATE, PRIMARY KEY (id, d)) {PARTS}; CREATE UNIQUE INDEX t_k ON t (k(e), d); \
             CREATE TABLE o (id INT, d DATE)"
        ),
        "INSERT INTO t VALUES (1, 1, '2024-02-02'), (2, 99, '2024-02-02')",
    )
    .await;
    let run = this.project.run(&["apply"]).expect_error("SD0750");
    assert!(run.err.contains("goes on where it stopped"), "{run:#?}");
    let half = "SELECT CAST(count(*) AS text) FROM pg_index WHERE indrelid = 't23'::regclass AND NOT indisprimary AND indisvalid";
    assert_eq!(this.database.text(half).await.as_deref(), Some("1"), "the first partition has it");
    // What somebody else changes meanwhile is found all the same.
    this.database.execute("ALTER TABLE o ADD COLUMN extra INT").await;
    this.project.run(&["apply"]).expect_error("SD0745");
    this.database.execute("ALTER TABLE o DROP COLUMN extra; DELETE FROM t WHERE id = 2").await;
    this.project.run(&["apply"]).expect(0);
    this.project.run(&["diff", "--from", &this.database.url, "--to", "lock", "--exit-code"]).expect(0);
}

/// Without the index by which subscribers know a row, the server changes no row of a table that is published.
#[tokio::test]
async fn an_index_that_is_the_replica_identity_is_named_before_it_goes() {
    let this = Move::new(
        Dialect::Postgres,
        "CREATE TABLE t (id INT NOT NULL, v INT NOT NULL); CREATE UNIQUE INDEX ri ON t (v)",
        "CREATE TABLE t (id INT NOT NULL, v INT NOT NULL); CREATE UNIQUE INDEX ri ON t (v) INCLUDE (id)",
        "INSERT INTO t VALUES (1, 1); ALTER TABLE t REPLICA IDENTITY USING INDEX ri",
    )
    .await;
    this.found_before(&["REPLICA IDENTITY of `t`", ": ri"], "ALTER TABLE t REPLICA IDENTITY FULL").await;
}

#[tokio::test]
async fn an_added_label_stays_behind_an_abort_and_rows_with_it_hold_one() {
    let (table, labels) = ("CREATE TABLE t (id bigint PRIMARY KEY, m mood, all_m mood[]", "CREATE TYPE mood AS ENUM");
    let before = format!("{labels} ('fine', 'well'); {table}, gone text)");
    let after = format!("{labels} ('bad', 'fine', 'well', 'best'); {table}, note text)");
    let moved =
        Move::new(Dialect::Postgres, &before, &after, "INSERT INTO t (id, m, all_m) VALUES (11, 'fine', '{well}')")
            .await;
    let seen = async || moved.database.text("SELECT enum_range(NULL::mood)::text").await;
    moved.project.run(&["apply", "--until", "backfill"]).expect(0);
    for (change, repair, word) in [
        ("UPDATE t SET m = 'bad'", "UPDATE t SET m = 'fine'", "whose `m` holds 'bad'"),
        ("UPDATE t SET all_m = '{well,best}'", "UPDATE t SET all_m = '{well}'", "whose `all_m` holds 'best'"),
    ] {
        moved.database.execute(change).await;
        let run = moved.project.run(&["abort"]).expect_error("SD0760");
        assert!(run.err.contains(word) && run.err.contains("id = 11"), "{run:#?}");
        assert_eq!(
            moved.database.text("SELECT count(note)::text FROM t").await.as_deref(),
            Some("0"),
            "nothing is undone"
        );
        moved.database.execute(repair).await;
    }
    moved.project.run(&["abort"]).expect(0);
    assert_eq!(seen().await.as_deref(), Some("{bad,fine,well,best}"));
    let columns = "SELECT count(*)::text FROM information_schema.columns WHERE table_name = 't'";
    assert_eq!(moved.database.text(columns).await.as_deref(), Some("4"));

    // It is no drift, and the migration can come again; a label that no migration adds is drift.
    moved.database.execute("ALTER TYPE mood ADD VALUE 'odd'").await;
    moved.project.run(&["apply"]).expect_error("SD0745");
    moved.database.execute("ALTER TABLE t ALTER m TYPE text, ALTER all_m TYPE text[]; DROP TYPE mood").await;
    moved.database.execute(&format!("{labels} ('bad', 'fine', 'well', 'best')")).await;
    moved
        .database
        .execute("ALTER TABLE t ALTER m TYPE mood USING m::mood, ALTER all_m TYPE mood[] USING all_m::mood[]")
        .await;
    moved.project.run(&["apply"]).expect(0);
    assert_eq!(seen().await.as_deref(), Some("{bad,fine,well,best}"));
}

#[tokio::test]
async fn values_that_an_expression_does_not_give() {
    for dialect in ENGINES {
        let after = format!("{T}, key text GENERATED ALWAYS AS (lower(name)) STORED)");
        let moved = Move::new(dialect, &table(", key text"), &after, ROWS).await;
        moved.database.execute("UPDATE t SET key = lower(name); UPDATE t SET key = 'own' WHERE id = 12").await;
        let words = ["whose `key` is not what", "and would be lost", "id = 12"];
        moved.found_before(&words, "UPDATE t SET key = lower(name) WHERE id = 12").await;
    }
}
