//! What a migration has no business with stays as it is: triggers that nobody told it of, the places of columns.

use schemadiff::model::Dialect;
use schemadiff_tests::engine::TestDatabase;

use super::support::Project;

/// A database, and what it is to become.
struct Change {
    project: Project,
    from: TestDatabase,
    to: TestDatabase,
}

impl Change {
    async fn new(dialect: Dialect, before: &str, after: &str) -> Self {
        let (from, to) = (TestDatabase::new(dialect), TestDatabase::new(dialect));
        from.execute(before).await;
        to.execute(after).await;
        Self { project: Project::empty(), from, to }
    }

    /// Writes a migration from there to here and carries it out phase by phase.
    fn carry_out(&self, from: &str, more: &[&str]) {
        let new = ["new", "change", "--from", from, "--to", &self.to.url, "--database-url", &self.from.url];
        self.project.run(&[&new, more].concat()).expect(0);
        for until in ["expand", "backfill", "contract"] {
            self.project.run(&["apply", "--until", until, "--database-url", &self.from.url]).expect(0);
        }
    }
}

/// From the lock file nothing is known of it, and whoever made it told nobody.
#[tokio::test]
async fn a_trigger_that_no_plan_knows_outlives_a_rebuild() {
    let table = |default: &str| format!("CREATE TABLE n (id INTEGER PRIMARY KEY, a TEXT NOT NULL DEFAULT {default})");
    let change = Change::new(Dialect::Sqlite, "", &table("'x'")).await;
    change.carry_out("empty", &[]);
    let trigger = "CREATE TRIGGER seen AFTER INSERT ON n BEGIN INSERT INTO log VALUES (new.a || ';'); END";
    change.from.execute(&format!("CREATE TABLE log (a); {trigger}")).await;
    change.to.execute(&format!("DROP TABLE n; {}", table("'y'"))).await;
    change.carry_out("lock", &[]);
    let kept = change.from.text("SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = 'seen'").await;
    assert_eq!(kept.as_deref(), Some(trigger));
    change.from.execute("INSERT INTO n DEFAULT VALUES").await;
    assert_eq!(change.from.text("SELECT a FROM log").await.as_deref(), Some("y;"));
}

/// A full text index beside its table is what SQLite's manual says to do, and its triggers cannot run where it is not.
#[tokio::test]
async fn triggers_into_a_virtual_table_are_no_obstacle() {
    let search = "CREATE VIRTUAL TABLE f USING fts5(a);
        CREATE TRIGGER into_f AFTER INSERT ON n BEGIN INSERT INTO f VALUES (new.a); END;
        CREATE TRIGGER over_f AFTER UPDATE ON n BEGIN INSERT INTO f VALUES (new.a); END;";
    let table = |columns: &str| format!("CREATE TABLE n (id INTEGER PRIMARY KEY, a TEXT, {columns}); {search}");
    let change = Change::new(Dialect::Sqlite, &table("c TEXT"), &table("d TEXT, e INTEGER CHECK (e > 0)")).await;
    change.from.execute("INSERT INTO n (a, c) VALUES ('one', 'kept')").await;
    change.carry_out(&change.from.url, &["--rename", "n.c=n.d"]);
    change.from.execute("INSERT INTO n (a, d, e) VALUES ('two', 'new', 1)").await;
    let rows = "SELECT group_concat(a || '-' || d || '-' || coalesce(e, 0), ' ') FROM n";
    assert_eq!(change.from.text(rows).await.as_deref(), Some("one-kept-0 two-new-1"));
    let found = "SELECT group_concat(a, ' ') FROM f WHERE f MATCH 'one OR two'";
    assert_eq!(change.from.text(found).await.as_deref(), Some("one two"), "once for each row that was written");
}

/// A connection that keeps `SELECT *` prepared goes by the places, and nothing tells it that they have changed.
#[tokio::test]
async fn columns_keep_their_places_over_a_rebuild() {
    let table = |columns: &str| format!("CREATE TABLE c (id INTEGER PRIMARY KEY, {columns})");
    let change = Change::new(
        Dialect::Sqlite,
        &table("email TEXT NOT NULL"),
        &table("name TEXT NOT NULL DEFAULT 'N', email TEXT NOT NULL"),
    )
    .await;
    let places = "SELECT group_concat(name, ' ') FROM pragma_table_info('c')";
    change.carry_out(&change.from.url, &[]);
    assert_eq!(change.from.text(places).await.as_deref(), Some("id email name"));
    change.to.execute(&format!("DROP TABLE c; {}", table("name TEXT NOT NULL DEFAULT 'M', email TEXT NOT NULL"))).await;
    change.carry_out("lock", &[]);
    assert_eq!(change.from.text(places).await.as_deref(), Some("id email name"));
    // A column that is given another name where it stands keeps its place too.
    let keyed = |default: &str| {
        format!("CREATE TABLE c (uid INTEGER PRIMARY KEY, name TEXT DEFAULT {default}, email TEXT NOT NULL)")
    };
    change.to.execute(&format!("DROP TABLE c; {}", keyed("'M'"))).await;
    change.carry_out("lock", &["--rename", "c.id=c.uid"]);
    change.to.execute(&format!("DROP TABLE c; {}", keyed("'M' CHECK (length(name) < 9)"))).await;
    change.carry_out("lock", &[]);
    assert_eq!(change.from.text(places).await.as_deref(), Some("uid email name"));
    let default = "SELECT dflt_value FROM pragma_table_info('c') WHERE name = 'name'";
    assert_eq!(change.from.text(default).await.as_deref(), Some("'M'"));
}

/// Which words must be quoted is the server's matter: what the plan predicted is compared without such quotes.
#[tokio::test]
async fn a_column_gets_a_reserved_word_for_a_name() {
    let table = |column: &str| format!("CREATE TABLE t (id bigint PRIMARY KEY, {column} text NOT NULL)");
    for word in ["where", "user", "json"] {
        let change = Change::new(Dialect::Postgres, &table("a"), &table(&format!("\"{word}\""))).await;
        change.from.execute("INSERT INTO t VALUES (1, 'kept')").await;
        change.carry_out(&change.from.url, &["--rename", &format!("t.a=t.{word}")]);
        assert_eq!(change.from.text(&format!("SELECT \"{word}\" FROM t")).await.as_deref(), Some("kept"));
    }
}

/// What the model does not hold is no reason to say that two databases are the same, and no table is taken for gone for it.
#[tokio::test]
async fn what_differs_beyond_the_model_is_said() {
    let t = "CREATE TABLE t (id int PRIMARY KEY, a text); CREATE INDEX t_a ON t (a); INSERT INTO t VALUES (1, 'x')";
    let cases = [
        (
            "CREATE AGGREGATE c (int) (SFUNC = int4pl, STYPE = int)",
            "CREATE AGGREGATE c (int) (SFUNC = int4larger, STYPE = int)",
            "aggregate public.c(integer) differs: integer int4pl",
        ),
        (
            "SELECT 1",
            "CREATE AGGREGATE agg (int) (SFUNC = int4pl, STYPE = int)",
            "aggregate public.agg(integer) is on the second side",
        ),
        ("SELECT 1", "ALTER TABLE t CLUSTER ON t_a", "order of CLUSTER public.t is on the second side"),
        (
            "ALTER TABLE t SET (toast.autovacuum_enabled = false)",
            "SELECT 1",
            "TOAST options public.t is on the first side",
        ),
        ("SELECT 1", "CREATE UNLOGGED SEQUENCE s", "unlogged sequence public.s is on the second side"),
        ("SELECT 1", "ALTER TABLE t FORCE ROW LEVEL SECURITY", "not in force public.t is on the second side"),
    ];
    for (before, after, said) in cases {
        // Before 15 there is no unlogged sequence.
        if after.contains("UNLOGGED") && schemadiff_tests::engine::Major::under_test().number() < 15 {
            continue;
        }
        let sequence = if after.contains("UNLOGGED") { "; CREATE SEQUENCE s" } else { "" };
        let change =
            Change::new(Dialect::Postgres, &format!("{t}; {before}{sequence}"), &format!("{t}; {after}")).await;
        let sides = ["--from", &change.from.url, "--to", &change.to.url];
        let run = change.project.run(&[&["diff", "--exit-code"], &sides[..]].concat()).expect(1);
        assert!(run.out.contains(said) && run.out.contains("some beyond it"), "{said}: {run:#?}");
        let run =
            change.project.run(&[&["new", "x", "--database-url", &change.from.url], &sides[..]].concat()).expect(0);
        assert!(run.out.contains(said) && run.out.contains("nothing to write"), "{said}: {run:#?}");
        change.project.run(&["diff", "--exit-code", "--from", &change.from.url, "--to", &change.from.url]).expect(0);
    }
    let child = "; CREATE TABLE child (x int) INHERITS (t)";
    for (before, after) in [("", child), (child, "")] {
        let change = Change::new(Dialect::Postgres, &format!("{t}{before}"), &format!("{t}{after}")).await;
        let sides = ["--from", &change.from.url, "--to", &change.to.url, "--allow-drop", "t"];
        let run = change.project.run(&[&["diff"], &sides[..]].concat()).expect_error("SD0676");
        assert!(run.err.contains("`public.t`") && run.err.contains("inherited table"), "{run:#?}");
    }
    let with = |own: &str| {
        format!(
            "CREATE TABLE p (id int, n int) PARTITION BY RANGE (n); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9){own}"
        )
    };
    let own = with("; ALTER TABLE p1 ALTER id SET DEFAULT 5");
    for (before, after, verb) in [(&with(""), &own, "get"), (&own, &with(""), "lose")] {
        let change = Change::new(Dialect::Postgres, before, after).await;
        let run = change.project.run(&["diff", "--from", &change.from.url, "--to", &change.to.url]);
        let run = run.expect_error("SD0677");
        assert!(run.err.contains("`p1.id`") && run.err.contains(verb), "{run:#?}");
    }
}

/// Types, collations, operators and text search configurations that no plan makes are copied to where a plan is proven.
#[tokio::test]
async fn what_no_plan_makes_is_there_for_the_proof() {
    let with = |more: &str| {
        format!(
            "CREATE TYPE money_range AS RANGE (SUBTYPE = numeric); CREATE TYPE pair AS (a int, b text);
             CREATE COLLATION \"any Case\" (PROVIDER = icu, LOCALE = 'und-u-ks-level2', DETERMINISTIC = false);
             CREATE COLLATION plain (LC_COLLATE = 'C', LC_CTYPE = 'C');
             CREATE TEXT SEARCH CONFIGURATION ours (COPY = pg_catalog.english);
             CREATE FUNCTION more_than(int, int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > $2';
             CREATE OPERATOR >>> (FUNCTION = more_than, LEFTARG = int, RIGHTARG = int);
             CREATE TABLE t (id int PRIMARY KEY, price money_range, p pair, name text COLLATE \"any Case\", code text COLLATE plain, body text,
                 words tsvector GENERATED ALWAYS AS (to_tsvector('ours', body)) STORED{more});
             CREATE INDEX t_body ON t (body) WHERE id >>> 5"
        )
    };
    let change = Change::new(Dialect::Postgres, &with(""), &with(", note text")).await;
    change.carry_out(&change.from.url, &[]);
    change.project.run(&["diff", "--exit-code", "--from", &change.from.url, "--to", &change.to.url]).expect(0);
}
