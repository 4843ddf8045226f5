//! What only PostgreSQL has, and what a migration would fail on or spoil there: named before anything is changed.

use schemadiff::model::Dialect;
use schemadiff_tests::engine::TestDatabase;

use super::{bad_rows::Move, support::Project};

async fn moved(before: &str, after: &str, rows: &str) -> Move {
    Move::new(Dialect::Postgres, before, after, rows).await
}

#[tokio::test]
async fn a_part_of_a_key_that_has_to_match_in_full() {
    let p = "CREATE TABLE p (x int, y int, UNIQUE (x, y)); CREATE TABLE t (id int PRIMARY KEY, x int, y int";
    let after = format!("{p}, CONSTRAINT t_p FOREIGN KEY (x, y) REFERENCES p (x, y) MATCH FULL)");
    let moved =
        moved(&format!("{p})"), &after, "INSERT INTO p VALUES (1, 1); INSERT INTO t VALUES (7, 1, 1), (33, 1, NULL)")
            .await;
    moved.found_before(&["have a part of it", "id = 33"], "UPDATE t SET x = NULL WHERE id = 33").await;
}

#[tokio::test]
async fn duplicates_under_a_key_of_a_partitioned_table() {
    let t = "CREATE TABLE t (id int, d date NOT NULL";
    let parts =
        "PARTITION BY RANGE (d); CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2020-01-01') TO ('2030-01-01')";
    let rows = "INSERT INTO t VALUES (1, '2021-01-01'), (2, '2021-01-01'), (2, '2021-01-01')";
    for key in ["CONSTRAINT t_u UNIQUE (id, d)", "PRIMARY KEY (id, d)"] {
        let moved = moved(&format!("{t}) {parts}"), &format!("{t}, {key}) {parts}"), rows).await;
        // A row without a key is found by its place, and by the partition that this is in.
        let words = ["equal in (id, d)", "t_1 ctid = (0,2)"];
        moved.found_before(&words, "UPDATE t SET id = 3 WHERE ctid = '(0,3)'").await;
    }
}

#[tokio::test]
async fn rows_that_do_not_belong_into_the_partition_that_their_table_becomes() {
    for (by, first, bound) in [
        ("RANGE (id)", "FROM (0) TO (10)", "FROM (10) TO (20)"),
        ("LIST (id)", "IN (1, 2)", "IN (10, 11, NULL)"),
        ("HASH (id)", "WITH (modulus 2, remainder 0)", "WITH (modulus 2, remainder 1)"),
        ("RANGE (id, n)", "FROM (0, 0) TO (10, 0)", "FROM (10, 0) TO (20, 0)"),
    ] {
        let p = format!(
            "CREATE TABLE p (id int, n int) PARTITION BY {by}; CREATE TABLE p_1 PARTITION OF p FOR VALUES {first};"
        );
        let before = format!("{p} CREATE TABLE t (id int, n int)");
        let after = format!("{p} CREATE TABLE t PARTITION OF p FOR VALUES {bound}");
        // Ten rows in a row are in both halves of any hash.
        let moved = moved(&before, &after, "INSERT INTO t SELECT i, 0 FROM generate_series(1, 11) i").await;
        let run = moved.project.run(&["apply"]).expect_error("SD0760");
        assert!(
            run.err.contains("do not belong into that partition of `p`") && run.err.contains("ctid = "),
            "{run:#?}"
        );
        let left =
            moved.database.text("SELECT count(*)::text FROM pg_constraint WHERE conname LIKE 'schemadiff%'").await;
        assert_eq!(left.as_deref(), Some("0"), "nothing keeps old code from writing");
    }
}

#[tokio::test]
async fn values_that_a_rule_of_a_domain_refuses() {
    let with = |rule: &str| format!("CREATE DOMAIN d AS int{rule}; CREATE TABLE t (id int PRIMARY KEY, a d)");
    let rows = "INSERT INTO t VALUES (1, 5), (12, -1), (13, NULL)";
    let rule = moved(&with(""), &with(" CHECK (VALUE > 0)"), rows).await;
    rule.found_before(&["whose `a` violates", "id = 12"], "UPDATE t SET a = 1 WHERE id = 12").await;
    let null = moved(&with(""), &with(" NOT NULL"), rows).await;
    null.found_before(&["with NULL in `a`", "id = 13"], "UPDATE t SET a = 1 WHERE id = 13").await;
}

#[tokio::test]
async fn values_that_cannot_become_another_type_are_named_by_their_keys() {
    for (from, to, good, bad) in [
        ("text", "date", "'2024-01-01'", "'yesterday, or so'"),
        ("text", "jsonb", "'{}'", "'{'"),
        ("text", "int", "'7'", "'99999999999'"),
        ("int[]", "smallint[]", "'{1}'", "'{70000}'"),
        ("text[]", "varchar(3)[]", "'{abc}'", "'{abc,abcd}'"),
        ("bit varying", "bit varying(4)", "B'1010'", "B'10100'"),
    ] {
        let with = |ty: &str| format!("CREATE TABLE t (id int PRIMARY KEY, a {ty})");
        let rows = format!("INSERT INTO t VALUES (1, {good}), (12, {bad})");
        let moved = moved(&with(from), &with(to), &rows).await;
        moved.found_before(&["cannot become", "id = 12"], &format!("UPDATE t SET a = {good}")).await;
    }
}

/// A partition has its columns from its parent.
#[tokio::test]
async fn rows_of_a_partition_that_a_check_of_its_own_refuses() {
    let with = |check: &str| {
        format!(
            "CREATE TABLE p (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
             CREATE TABLE t PARTITION OF p FOR VALUES FROM (0) TO (99); {check}"
        )
    };
    let after = with("ALTER TABLE t ADD CONSTRAINT t_n CHECK (n > 0)");
    let moved = moved(&with(""), &after, "INSERT INTO p VALUES (1, 1), (12, -1)").await;
    moved.found_before(&["violate `n > 0`", "id = 12"], "UPDATE t SET n = 1").await;
}

/// Two values that differ may be one in another type. Where the column is converted in place, its keys and checks stay.
#[tokio::test]
async fn values_that_become_equal_or_wrong_when_they_are_converted() {
    let with = |ty: &str, more: &str| format!("CREATE TABLE t (id int PRIMARY KEY, a {ty}{more})");
    let rows = "INSERT INTO t VALUES (1, 1.5), (12, 0.124), (13, 0.121)";
    for more in [" UNIQUE", ", CONSTRAINT t_a EXCLUDE (id WITH =), UNIQUE (a, id)"] {
        let moved = moved(&with("numeric(6,3)", more), &with("numeric(5,2)", more), rows).await;
        if more == " UNIQUE" {
            moved.found_before(&["equal in (a)", "id = 12"], "UPDATE t SET a = 7 WHERE id = 12").await;
        } else {
            moved.project.run(&["apply"]).expect(0);
        }
    }
    let checked = |ty| with(ty, " CHECK (a <> 0.12)");
    let check = moved(&checked("numeric(6,3)"), &checked("numeric(5,2)"), rows).await;
    check.found_before(&["violate", "id = 12", "id = 13"], "UPDATE t SET a = 7 WHERE id > 1").await;
    let key = |ty: &str| format!("CREATE TABLE t (id {ty} PRIMARY KEY, a int)");
    let moved = moved(&key("text"), &key("int"), "INSERT INTO t VALUES ('1', 1), ('01', 2)").await;
    moved.found_before(&["equal in (id)", "id = 01 and id = 1"], "UPDATE t SET id = '2' WHERE id = '01'").await;
}

/// The server cannot be asked about a type that is not there yet.
#[tokio::test]
async fn values_that_are_no_label_of_a_type_to_come() {
    let of = |ty: &str, makes: &str| format!("{makes}CREATE TABLE t (id int PRIMARY KEY, a {ty}, b {ty}[])");
    let rows = "INSERT INTO t VALUES (1, 'new', '{new,done}'), (12, 'lost', NULL), (13, NULL, '{new,lost}')";
    let moved = moved(&of("text", ""), &of("state", "CREATE TYPE state AS ENUM ('new', 'it''s', 'done');"), rows).await;
    let words = ["whose `a` cannot become state", "id = 12", "whose `b` cannot become state[]", "id = 13"];
    moved.found_before(&words, "UPDATE t SET a = 'done', b = '{\"it''s\"}' WHERE id > 1").await;
}

/// What triggers make of rows that are only being filled is put back. One that fires after ours, in the order of the names, could
/// not be, and would get in the way of what is kept in step.
#[tokio::test]
async fn filling_is_no_change_to_triggers_of_others() {
    let with = |name: &str, columns: &str| {
        format!(
            "CREATE TABLE t (id int PRIMARY KEY, version int NOT NULL DEFAULT 1, {columns});
             CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.version := OLD.version + 1; RETURN NEW; END $$;
             CREATE TRIGGER \"{name}\" BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()"
        )
    };
    let rows = "INSERT INTO t (id, version) VALUES (1, 10)";
    for wider in ["a text, b text NOT NULL DEFAULT gen_random_uuid()::text", "a text, b uuid DEFAULT gen_random_uuid()"]
    {
        let late = moved(&with("übersion", "a text"), &with("übersion", wider), rows).await;
        let run = late.project.run(&["apply"]).expect_error("SD0760");
        assert!(run.err.contains("übersion") && run.err.contains("fire after schemadiff's own"), "{run:#?}");

        let early = moved(&with("version", "a text"), &with("version", wider), rows).await;
        early.project.run(&["apply"]).expect(0);
        let row = early.database.text("SELECT version || ' ' || (b IS NOT NULL) FROM t").await;
        assert_eq!(row.as_deref(), Some("10 true"), "{wider}");
        early.database.execute("UPDATE t SET a = 'x'").await;
        assert_eq!(early.database.text("SELECT version::text FROM t").await.as_deref(), Some("11"));
    }
}

/// Its function follows the rename, and what it makes of the new column must not go back into the old one.
#[tokio::test]
async fn a_trigger_that_counts_in_the_column_that_is_renamed() {
    let with = |column: &str| {
        format!(
            "CREATE TABLE t (id int PRIMARY KEY, {column} int NOT NULL DEFAULT 0, b text);
             CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.{column} := NEW.{column} + 1; RETURN NEW; END $$;
             CREATE TRIGGER tg BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()"
        )
    };
    let (first, second) = (TestDatabase::new(Dialect::Postgres), TestDatabase::new(Dialect::Postgres));
    first.execute(&with("rev")).await;
    second.execute(&with("revision")).await;
    first.execute("INSERT INTO t VALUES (1, 10, 'x'), (2, 20, 'y')").await;
    let project = Project::empty();
    project.write("schemadiff.toml", &format!("database-url = \"{}\"\n", first.url));
    let sides = ["--from", &first.url, "--to", &second.url, "--rename", "t.rev=t.revision"];
    project.run(&[&["new", "renamed"], &sides[..]].concat()).expect(0);
    project.run(&["apply", "--until", "backfill"]).expect(0);
    let both = "SELECT string_agg(rev || ' ' || revision, ', ' ORDER BY id) FROM t";
    assert_eq!(first.text(both).await.as_deref(), Some("10 10, 20 20"));
    first.execute("UPDATE t SET b = 'z' WHERE id = 1").await;
    project.run(&["apply"]).expect(0);
    let counted = first.text("SELECT string_agg(revision::text, ', ' ORDER BY id) FROM t").await;
    assert_eq!(counted.as_deref(), Some("11, 20"), "a write counts, a filling does not");
}
