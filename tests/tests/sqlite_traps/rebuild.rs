//! Rebuilding a table loses nothing.

use cargo_schemadiff::dialect::{Connection, Dependents};
use schemadiff::model::{Check, Column, Identity, IdentityKind, Index, IndexPart, PrimaryKey, Table};

use super::support::{Base, sqlite};

fn loosen(table: &mut Table, column: &str) {
    table.column_mut(column).unwrap().nullable = true;
}

const FAMILY: &[&str] = &[
    "CREATE TABLE parent (id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
    "CREATE TABLE child (id INTEGER PRIMARY KEY, parent_id INTEGER REFERENCES parent (id) ON DELETE CASCADE)",
    "CREATE TABLE cousin (id INTEGER PRIMARY KEY, parent_id INTEGER REFERENCES parent (id) ON DELETE SET NULL)",
    "CREATE TABLE log (what TEXT)",
    "CREATE VIEW names AS SELECT name FROM parent",
    "CREATE TRIGGER on_child AFTER INSERT ON child BEGIN UPDATE parent SET name = name || '!' WHERE id = NEW.parent_id; END",
    "CREATE TRIGGER on_parent AFTER INSERT ON parent BEGIN INSERT INTO log VALUES ('insert ' || NEW.id); END",
    "CREATE TRIGGER \"on\"\"gone\" AFTER DELETE ON parent BEGIN INSERT INTO log VALUES ('delete ' || OLD.id); END",
    "INSERT INTO parent VALUES (1, 'a'), (2, 'b')",
    "INSERT INTO child VALUES (10, 1), (11, 2)",
    "INSERT INTO cousin VALUES (20, 1)",
    "DELETE FROM log",
];

#[tokio::test]
async fn children_keep_their_rows_and_their_parent() {
    let mut base = Base::with(FAMILY).await;
    base.rebuild("parent", &[], |t| loosen(t, "name")).await;
    assert_eq!(base.rows("SELECT id || ':' || parent_id FROM child ORDER BY id").await, "10:1 11:2");
    assert_eq!(base.rows("SELECT parent_id FROM cousin").await, "1");
    for child in ["child", "cousin"] {
        let table = base.table(child).await;
        assert_eq!(table.foreign_keys.values().next().unwrap().ref_table.name, "parent");
    }
    // The references are enforced against the new table.
    assert!(base.try_run(&["INSERT INTO child VALUES (12, 99)"]).await.is_err());
    base.run(&["DELETE FROM parent WHERE id = 2"]).await;
    assert_eq!(base.rows("SELECT id FROM child").await, "10");
}

#[tokio::test]
async fn triggers_and_views_stay_and_do_not_see_the_copy() {
    let mut base = Base::with(FAMILY).await;
    let before = base.read().await.opaque;
    base.rebuild("parent", &[], |t| loosen(t, "name")).await;
    assert_eq!(base.read().await.opaque, before);
    assert_eq!(base.rows("SELECT what FROM log").await, "", "no trigger fired for a copied row");
    base.run(&[
        "INSERT INTO parent VALUES (3, 'c')",
        "INSERT INTO child VALUES (12, 3)",
        "DELETE FROM parent WHERE id = 1",
    ])
    .await;
    assert_eq!(base.rows("SELECT what FROM log").await, "insert 3 delete 1");
    assert_eq!(base.rows("SELECT name FROM names").await, "b! c!");
}

#[tokio::test]
async fn a_broken_view_elsewhere_does_not_stop_it() {
    let mut base = Base::with(FAMILY).await;
    base.run(&["CREATE TABLE gone (a)", "CREATE VIEW broken AS SELECT a FROM gone", "DROP TABLE gone"]).await;
    base.rebuild("parent", &[], |t| loosen(t, "name")).await;
}

#[tokio::test]
async fn what_the_plan_does_not_know_stops_it() {
    for (surprise, message) in [
        ("CREATE INDEX late ON parent (name)", "an index that the plan does not know"),
        ("ALTER TABLE parent ADD COLUMN late TEXT", "a column that the plan does not know"),
    ] {
        let mut base = Base::with(FAMILY).await;
        let before = base.table("parent").await;
        let mut after = before.clone();
        loosen(&mut after, "name");
        let statements = sqlite().rebuild(&before, &after, &[], &Dependents::default());
        base.run(&[surprise]).await;
        let there = base.read().await;
        let error = base.carry_out(&statements).await.unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(base.read().await, there);
        assert_eq!(base.rows("SELECT name FROM parent ORDER BY id").await, "a! b!");
    }
}

/// Whoever makes a trigger need not tell anybody: it stays as it is, and one that has gone stays away.
#[tokio::test]
async fn triggers_that_came_or_went_after_the_plan_are_as_they_are() {
    let mut base = Base::with(FAMILY).await;
    let before = base.table("parent").await;
    let mut after = before.clone();
    loosen(&mut after, "name");
    let statements = sqlite().rebuild(&before, &after, &[], &Dependents::default());
    base.run(&[
        "DROP TRIGGER on_parent",
        "CREATE TRIGGER late AFTER INSERT ON Parent BEGIN INSERT INTO log VALUES ('late' || new.id); END",
    ])
    .await;
    let there = base.read().await.opaque;
    base.carry_out(&statements).await.unwrap();
    assert_eq!(base.read().await.opaque, there);
    base.run(&["INSERT INTO parent VALUES (3, 'c')"]).await;
    assert_eq!(base.rows("SELECT what FROM log").await, "late3");
}

#[tokio::test]
async fn a_row_that_does_not_fit_takes_everything_back() {
    let mut base = Base::with(FAMILY).await;
    base.run(&[
        "CREATE TABLE strictly (id INTEGER PRIMARY KEY, a TEXT)",
        "INSERT INTO strictly VALUES (1, 'x'), (2, NULL)",
    ])
    .await;
    let before = base.table("strictly").await;
    let mut after = before.clone();
    after.column_mut("a").unwrap().nullable = false;
    let statements = sqlite().rebuild(&before, &after, &[], &Dependents::default());
    let error = base.carry_out(&statements).await.unwrap_err();
    assert!(error.to_string().contains("NOT NULL constraint failed"), "{error}");
    assert_eq!(base.table("strictly").await, before);
    assert_eq!(base.rows("SELECT count(*) FROM sqlite_master WHERE name LIKE '%schemadiff%'").await, "0");
    assert_eq!(base.rows("SELECT count(*) FROM sqlite_temp_master").await, "0");
    // With a value for the row it works, and can be done again.
    base.rebuild("strictly", &[("a", "coalesce(a, 'none')")], |t| *t = after).await;
    assert_eq!(base.rows("SELECT a FROM strictly ORDER BY id").await, "x none");
    base.rebuild("strictly", &[], |t| loosen(t, "a")).await;
}

#[tokio::test]
async fn a_number_that_was_given_out_is_never_given_out_again() {
    let mut base = Base::with(&[
        "CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT NOT NULL)",
        "CREATE TABLE emptied (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT NOT NULL)",
        "CREATE TABLE plain (id INTEGER PRIMARY KEY, a TEXT NOT NULL)",
        "INSERT INTO counted VALUES (7, 'a'), (100, 'b')",
        "DELETE FROM counted WHERE id = 100",
        "INSERT INTO emptied VALUES (50, 'a')",
        "DELETE FROM emptied",
        "INSERT INTO plain VALUES (9, 'a')",
    ])
    .await;
    for table in ["counted", "emptied"] {
        base.rebuild(table, &[], |t| loosen(t, "a")).await;
    }
    base.run(&["INSERT INTO counted (a) VALUES ('c')", "INSERT INTO emptied (a) VALUES ('c')"]).await;
    assert_eq!(base.rows("SELECT id FROM counted").await, "7 101");
    assert_eq!(base.rows("SELECT id FROM emptied").await, "51");
    assert_eq!(
        base.rows("SELECT name || '=' || seq FROM sqlite_sequence ORDER BY name").await,
        "counted=101 emptied=51"
    );
    // A table that becomes counted starts at its highest row; one that is no longer counted leaves no trace.
    let kind = |kind| {
        move |t: &mut Table| {
            t.column_mut("id").unwrap().identity = Some(Identity { kind, sequence: None, options: None });
        }
    };
    base.rebuild("plain", &[], kind(IdentityKind::Autoincrement)).await;
    base.rebuild("counted", &[], kind(IdentityKind::ByDefault)).await;
    assert_eq!(base.rows("SELECT name || '=' || seq FROM sqlite_sequence ORDER BY name").await, "emptied=51 plain=9");
}

#[tokio::test]
async fn rowids_stay() {
    let mut base = Base::with(&[
        "CREATE TABLE t (a TEXT NOT NULL)",
        "CREATE TABLE shadowed (rowid TEXT NOT NULL, a TEXT NOT NULL)",
        "INSERT INTO t (rowid, a) VALUES (5, 'x'), (9, 'y'), (-3, 'z')",
        "INSERT INTO shadowed (_rowid_, rowid, a) VALUES (4, 'named', 'x')",
    ])
    .await;
    base.rebuild("t", &[], |t| loosen(t, "a")).await;
    assert_eq!(base.rows("SELECT rowid || a FROM t ORDER BY rowid").await, "-3z 5x 9y");
    base.rebuild("shadowed", &[], |t| loosen(t, "a")).await;
    assert_eq!(base.rows("SELECT _rowid_ || rowid || a FROM shadowed").await, "4namedx");
}

#[tokio::test]
async fn all_trappings_survive() {
    let mut base = Base::with(&[
        "CREATE TABLE \"tri\"\"cky\" (id INTEGER PRIMARY KEY AUTOINCREMENT, \
         boss INTEGER REFERENCES \"tri\"\"cky\" (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED, \
         email TEXT NOT NULL COLLATE NOCASE UNIQUE, n REAL DEFAULT 1.5 CHECK (\"tri\"\"cky\".n > 0), \
         twice REAL AS (n * 2), low TEXT AS (lower(email)) STORED, note TEXT) STRICT",
        "CREATE INDEX part ON \"tri\"\"cky\" (n DESC) WHERE note IS NOT NULL",
        "CREATE UNIQUE INDEX expr ON \"tri\"\"cky\" (substr(email, 1, 5), note COLLATE NOCASE)",
        "CREATE TABLE wr (a TEXT, b BLOB, c TEXT NOT NULL, PRIMARY KEY (b, a)) WITHOUT ROWID",
        "INSERT INTO \"tri\"\"cky\" (id, boss, email, n, note) VALUES (1, NULL, 'One@x', 1, NULL), (2, 1, 'two@x', 2, 'n')",
        "INSERT INTO wr VALUES ('a', x'00ff', 'c')",
    ])
    .await;
    base.rebuild("tri\"cky", &[], |t| loosen(t, "email")).await;
    base.rebuild("wr", &[], |t| loosen(t, "c")).await;
    let rows =
        "SELECT id || coalesce(boss, '-') || email || n || twice || low || coalesce(note, '-') FROM \"tri\"\"cky\"";
    assert_eq!(base.rows(rows).await, "1-One@x1.02.0one@x- 21two@x2.04.0two@xn");
    assert_eq!(base.rows("SELECT a || hex(b) || c FROM wr").await, "a00FFc");
    let duplicate = base.try_run(&["INSERT INTO \"tri\"\"cky\" (email) VALUES ('ONE@X')"]).await.unwrap_err();
    assert!(duplicate.to_string().contains("UNIQUE constraint failed"), "{duplicate}");
    // The reference to the table itself is to the new one: the cascade works.
    base.run(&["DELETE FROM \"tri\"\"cky\" WHERE id = 1"]).await;
    assert_eq!(base.rows("SELECT count(*) FROM \"tri\"\"cky\"").await, "0");
}

#[tokio::test]
async fn every_stored_value_is_the_same_afterwards() {
    let mut base = Base::with(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, i INTEGER NOT NULL, x TEXT NOT NULL, n NUMERIC NOT NULL, b NOT NULL)",
        "INSERT INTO t VALUES (1, 'abc', 12, '1e400', 'text'), (2, 9223372036854775807, '', 0.1, 1), \
         (3, x'00', x'6100', 'x', x''), (-9223372036854775808, 1.5, 'ü' || char(0) || 'z', -0.0, 2.5)",
    ])
    .await;
    let dump = "SELECT quote(id) || quote(i) || hex(x) || typeof(x) || quote(n) || quote(b) FROM t ORDER BY id";
    let before = base.rows(dump).await;
    base.rebuild("t", &[], |t| loosen(t, "b")).await;
    assert_eq!(base.rows(dump).await, before);
}

#[tokio::test]
async fn shapes_change_as_asked() {
    let mut base = Base::with(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE, b INTEGER, gone TEXT)",
        "INSERT INTO t VALUES (1, '10', 1, 'x'), (2, '20', NULL, 'y')",
    ])
    .await;
    base.rebuild("t", &[("a", "CAST(a AS INTEGER)"), ("c", "b + 1")], |t| {
        t.columns.retain(|c| c.name != "gone");
        t.column_mut("a").unwrap().ty = "INTEGER".into();
        t.columns.push(Column { nullable: true, ..Column::new("c", "INTEGER") });
        t.columns.push(Column { default: Some("'d'".into()), ..Column::new("d", "TEXT") });
        t.checks
            .insert("big".into(), Check { expr: "a >= 10".into(), not_valid: false, no_inherit: false, comment: None });
        // The UNIQUE constraint becomes an index, which is the form that can be changed later.
        let (_, mut index) = t.indexes.pop_first().unwrap();
        index.constraint = false;
        t.indexes.insert("t_a_key".into(), index);
    })
    .await;
    let rows = "SELECT typeof(a) || a || coalesce(b, '-') || coalesce(c, '-') || d FROM t ORDER BY id";
    assert_eq!(base.rows(rows).await, "integer1012d integer20--d");
    // Another primary key, rowids given up and taken up again.
    base.rebuild("t", &[], |t| {
        t.column_mut("id").unwrap().identity = None;
        t.primary_key = Some(PrimaryKey::over(None, vec!["a".into()]));
        t.column_mut("a").unwrap().nullable = false;
        t.options.without_rowid = true;
    })
    .await;
    base.rebuild("t", &[], |t| {
        t.options.without_rowid = false;
        t.column_mut("a").unwrap().identity =
            Some(Identity { kind: IdentityKind::ByDefault, sequence: None, options: None });
        let part = IndexPart { column: Some("id".into()), ..IndexPart::default() };
        t.indexes.insert("t_id_key".into(), Index { parts: vec![part], unique: true, ..Index::default() });
    })
    .await;
    assert_eq!(base.rows("SELECT rowid FROM t ORDER BY 1").await, "10 20");
}

#[tokio::test]
async fn other_connections_go_on_with_their_statements() {
    let mut base = Base::with(FAMILY).await;
    let mut other = Connection::open(&base.url).await.unwrap();
    let read = "SELECT name FROM parent WHERE id = ?1";
    let one = [Some("1".to_owned())];
    assert_eq!(other.query_row(read, &one).await.unwrap(), Some(vec![Some("a!".into())]));
    base.rebuild("parent", &[], |t| loosen(t, "name")).await;
    assert_eq!(other.query_row(read, &one).await.unwrap(), Some(vec![Some("a!".into())]));
    other.run(&["INSERT INTO parent VALUES (5, NULL)".to_owned()]).await.unwrap();
}

#[tokio::test]
async fn a_writer_that_dies_in_the_middle_leaves_the_old_table() {
    let mut base = Base::with(FAMILY).await;
    let before = base.read().await;
    let table = base.table("parent").await;
    let statements = sqlite().rebuild(&table, &table, &[], &Dependents::default());
    for cut in 0..=statements.len() {
        let mut dying = Connection::open(&base.url).await.unwrap();
        let start = ["PRAGMA foreign_keys=OFF", "PRAGMA legacy_alter_table=ON", "BEGIN IMMEDIATE"].map(str::to_owned);
        dying.run(&start).await.unwrap();
        dying.run(&statements[..cut]).await.unwrap();
        drop(dying);
        assert_eq!(base.read().await, before, "after statement {cut}");
        assert_eq!(base.rows("SELECT count(*) FROM child").await, "2");
    }
}

#[tokio::test]
async fn columns_are_added_natively_exactly_where_sqlite_can() {
    let mut base = Base::with(&[
        "CREATE TABLE p (id INTEGER PRIMARY KEY)",
        "CREATE TABLE t (id INTEGER PRIMARY KEY)",
        "INSERT INTO p VALUES (1)",
        "INSERT INTO t VALUES (1)",
    ])
    .await;
    let table = schemadiff::model::ObjectName::new("t");
    let defaults = [
        None,
        Some("1"),
        Some("-1.5"),
        Some("'x'"),
        Some("x'00'"),
        Some("TRUE"),
        Some("CURRENT_TIMESTAMP"),
        Some("datetime('now')"),
        Some("1 + 1"),
        Some("random()"),
    ];
    let mut number = 0;
    for default in defaults {
        for nullable in [true, false] {
            number += 1;
            let column =
                Column { nullable, default: default.map(Into::into), ..Column::new(format!("c{number}"), "TEXT") };
            let added = base.connection.run(&sqlite().add_column(&table, &column)).await;
            assert_eq!(added.is_ok(), sqlite().can_add_column(&column, false), "{column:?}: {added:?}");
            assert!(!sqlite().can_add_column(&column, true) || default.is_none());
        }
    }
    for stored in [true, false] {
        number += 1;
        let generated = Some(schemadiff::model::Generated { expr: "id + 1".into(), stored });
        let column = Column { nullable: true, generated, ..Column::new(format!("c{number}"), "TEXT") };
        let added = base.connection.run(&sqlite().add_column(&table, &column)).await;
        assert_eq!(added.is_ok(), sqlite().can_add_column(&column, false), "{column:?}: {added:?}");
    }
}
