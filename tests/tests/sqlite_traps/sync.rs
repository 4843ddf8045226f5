//! Two columns kept in step, whatever statements old and new code write with.

use std::collections::BTreeMap;

use cargo_schemadiff::dialect::{Dependents, SyncSpec};
use proptest::prelude::*;
use schemadiff::model::{ObjectName, Sync};

use super::support::{Base, sqlite};

fn spec(forward: &str, backward: Option<&str>, key: &[&str]) -> SyncSpec {
    let table = ObjectName::new("t");
    SyncSpec {
        name: sqlite().sync_name(&table, "new"),
        table,
        old: backward.map(|_| "old".to_owned()),
        new: "new".into(),
        forward: forward.into(),
        backward: backward.map(Into::into),
        refuses_null: false,
        key: key.iter().map(|k| (*k).into()).collect(),
        columns: ["id", "old", "other", "new"].map(Into::into).into(),
        later: Vec::new(),
        restores: Vec::new(),
        may_fail: false,
        default: None,
    }
}

/// Table layouts that find their rows differently.
const LAYOUTS: &[(&str, &[&str])] = &[
    ("CREATE TABLE t (id INTEGER PRIMARY KEY, old TEXT COLLATE NOCASE, other TEXT, new TEXT)", &["id"]),
    ("CREATE TABLE t (id INTEGER PRIMARY KEY, old TEXT COLLATE NOCASE, other TEXT, new TEXT)", &[]),
    (
        "CREATE TABLE t (id INTEGER, old TEXT COLLATE NOCASE, other TEXT, new TEXT, PRIMARY KEY (id)) WITHOUT ROWID",
        &["id"],
    ),
];

async fn synced(layout: usize, recursive: bool, spec: impl Fn(&[&str]) -> SyncSpec, before: &[&str]) -> Base {
    let (table, key) = LAYOUTS[layout];
    let mut base = Base::with(&[table]).await;
    base.run(before).await;
    base.run(&[if recursive { "PRAGMA recursive_triggers=ON" } else { "PRAGMA recursive_triggers=OFF" }]).await;
    base.connection.run(&sqlite().create_sync(&spec(key))).await.unwrap();
    base
}

const PAIR: &str = "SELECT id || ':' || coalesce(old, 'NULL') || '/' || coalesce(new, 'NULL') FROM t ORDER BY id";

/// Runs the body for all layouts, with recursive triggers off and on.
macro_rules! everywhere {
    ($spec:expr, $before:expr, |$base:ident| $body:block) => {
        for layout in 0..LAYOUTS.len() {
            for recursive in [false, true] {
                let mut $base = synced(layout, recursive, $spec, $before).await;
                $body
            }
        }
    };
}

fn rename(key: &[&str]) -> SyncSpec {
    spec("old", Some("new"), key)
}

/// Forward loses the case.
fn lossy(key: &[&str]) -> SyncSpec {
    spec("lower(old)", Some("new"), key)
}

#[tokio::test]
async fn old_and_new_code_see_each_others_writes() {
    everywhere!(rename, &["INSERT INTO t (id, old) VALUES (1, 'before')"], |base| {
        assert_eq!(base.rows(PAIR).await, "1:before/NULL", "the backfill has not run");
        base.run(&["UPDATE t SET other = 'touched' WHERE id = 1"]).await;
        assert_eq!(base.rows(PAIR).await, "1:before/before");
        base.run(&[
            "DELETE FROM t",
            "INSERT INTO t (id, old) VALUES (1, 'a')",
            "INSERT INTO t (id, new) VALUES (2, 'b')",
        ])
        .await;
        assert_eq!(base.rows(PAIR).await, "1:a/a 2:b/b");
        base.run(&["UPDATE t SET old = 'c' WHERE id = 1", "UPDATE t SET new = 'd' WHERE id = 2"]).await;
        assert_eq!(base.rows(PAIR).await, "1:c/c 2:d/d");
        // A change of case only, in a column that compares without case.
        base.run(&["UPDATE t SET old = 'C' WHERE id = 1", "UPDATE t SET new = 'D' WHERE id = 2"]).await;
        assert_eq!(base.rows(PAIR).await, "1:C/C 2:D/D");
        base.run(&["UPDATE t SET old = NULL WHERE id = 1", "UPDATE t SET new = NULL WHERE id = 2"]).await;
        assert_eq!(base.rows(PAIR).await, "1:NULL/NULL 2:NULL/NULL");
        base.run(&["UPDATE t SET old = 'x', id = 7 WHERE id = 1", "UPDATE t SET new = 'y', id = 8 WHERE id = 2"]).await;
        assert_eq!(base.rows(PAIR).await, "7:x/x 8:y/y");
        // A writer of both: the pair as it was given, or the old side's word.
        base.run(&[
            "INSERT INTO t (id, old, new) VALUES (9, 'same', 'same')",
            "UPDATE t SET old = 'p', new = 'q' WHERE id = 7",
        ])
        .await;
        assert_eq!(base.rows(PAIR).await, "7:p/p 8:y/y 9:same/same");
    });
}

/// The old column was NOT NULL before it had to be loosened.
fn strict(key: &[&str]) -> SyncSpec {
    SyncSpec { refuses_null: true, ..rename(key) }
}

#[tokio::test]
async fn nobody_writes_the_null_that_old_code_cannot_read() {
    let start = ["INSERT INTO t (id, old) VALUES (1, 'before')"];
    everywhere!(strict, &start, |base| {
        base.run(&["INSERT INTO t (id, old) VALUES (2, 'a')", "INSERT INTO t (id, new) VALUES (3, 'b')"]).await;
        for statement in [
            "INSERT INTO t (id) VALUES (4)",
            "INSERT INTO t (id, old) VALUES (4, NULL)",
            "INSERT INTO t (id, new) VALUES (4, 'c'), (5, NULL)",
            "INSERT OR IGNORE INTO t (id, old) VALUES (4, NULL)",
            "INSERT OR REPLACE INTO t (id, new) VALUES (3, NULL)",
            "INSERT INTO t (id, old) VALUES (2, 'x') ON CONFLICT (id) DO UPDATE SET old = NULL",
            "UPDATE t SET old = NULL WHERE id = 1",
            "UPDATE t SET old = NULL WHERE id = 2",
            "UPDATE t SET new = NULL WHERE id = 3",
            "UPDATE OR IGNORE t SET new = NULL",
            "UPDATE t SET old = NULL, new = NULL",
        ] {
            let error = base.try_run(&[statement]).await.unwrap_err().to_string();
            assert!(error.contains("NOT NULL constraint failed: t.old"), "{statement}: {error}");
            assert_eq!(base.rows(PAIR).await, "1:before/NULL 2:a/a 3:b/b", "{statement}");
        }
        // Rows that hold a value are nobody's trouble, whoever touches them.
        base.run(&[
            "UPDATE t SET other = 'touched'",
            "INSERT OR IGNORE INTO t (id, old) VALUES (2, NULL)",
            "INSERT INTO t (id, new) VALUES (3, NULL) ON CONFLICT DO NOTHING",
            "UPDATE t SET old = 'c', new = NULL WHERE id = 2",
        ])
        .await;
        assert_eq!(base.rows(PAIR).await, "1:before/before 2:c/c 3:b/b");
    });
}

#[tokio::test]
async fn every_conflict_policy_keeps_them_in_step() {
    let unique = ["CREATE UNIQUE INDEX u_old ON t (old)", "CREATE UNIQUE INDEX u_new ON t (new)"];
    for (side, policies) in [("old", ["old", "new"]), ("new", ["new", "old"])] {
        everywhere!(strict, &unique, |base| {
            let [a, _] = policies;
            let start = [format!("INSERT INTO t (id, {side}) VALUES (1, 'a'), (2, 'b')")];
            for (statement, expected) in [
                (format!("INSERT OR IGNORE INTO t (id, {a}) VALUES (3, 'a'), (4, 'c')"), "1:a/a 2:b/b 4:c/c"),
                (format!("INSERT OR REPLACE INTO t (id, {a}) VALUES (2, 'x')"), "1:a/a 2:x/x"),
                (format!("REPLACE INTO t (id, {a}) VALUES (5, 'b')"), "1:a/a 5:b/b"),
                (
                    format!(
                        "INSERT INTO t (id, {a}) VALUES (2, 'u') ON CONFLICT (id) DO UPDATE SET {a} = excluded.{a}"
                    ),
                    "1:a/a 2:u/u",
                ),
                (
                    format!("INSERT INTO t (id, {a}) VALUES (9, 'b') ON CONFLICT ({a}) DO UPDATE SET {a} = 'v'"),
                    "1:a/a 2:v/v",
                ),
                (format!("INSERT INTO t (id, {a}) VALUES (2, 'u') ON CONFLICT DO NOTHING"), "1:a/a 2:b/b"),
                (format!("UPDATE OR IGNORE t SET {a} = 'a' WHERE id = 2"), "1:a/a 2:b/b"),
                (format!("UPDATE OR IGNORE t SET {a} = 'z'"), "1:z/z 2:b/b"),
                (format!("UPDATE OR REPLACE t SET {a} = 'a' WHERE id = 2"), "2:a/a"),
                ("UPDATE OR REPLACE t SET id = 2 WHERE id = 1".to_owned(), "2:a/a"),
                (format!("UPDATE t SET {a} = {a} || '+'"), "1:a+/a+ 2:b+/b+"),
            ] {
                base.connection.run(&["DELETE FROM t".to_owned()]).await.unwrap();
                base.connection.run(&start).await.unwrap();
                base.run(&[&statement]).await;
                assert_eq!(base.rows(PAIR).await, expected, "{statement}");
            }
            for policy in ["ABORT", "FAIL", "ROLLBACK"] {
                let statement = format!("UPDATE OR {policy} t SET {a} = 'b+' WHERE id = 1");
                assert!(base.try_run(&[&statement]).await.is_err(), "{statement}");
                assert_eq!(base.rows(PAIR).await, "1:a+/a+ 2:b+/b+");
            }
        });
    }
}

#[tokio::test]
async fn a_lossy_conversion_never_writes_back_what_it_lost() {
    everywhere!(lossy, &["INSERT INTO t (id, old) VALUES (1, 'MiXed')"], |base| {
        // The backfill writes the new column: that is no write by new code.
        base.run(&["UPDATE t SET new = lower(old) WHERE new IS NULL"]).await;
        assert_eq!(base.rows(PAIR).await, "1:MiXed/mixed");
        base.run(&["UPDATE t SET other = 'touched'"]).await;
        assert_eq!(base.rows(PAIR).await, "1:MiXed/mixed");
        // What new code writes stays as it wrote it.
        base.run(&["INSERT INTO t (id, new) VALUES (2, 'KePt')", "UPDATE t SET new = 'ToO' WHERE id = 1"]).await;
        assert_eq!(base.rows(PAIR).await, "1:ToO/ToO 2:KePt/KePt");
        base.run(&["UPDATE t SET other = 'again'", "UPDATE t SET old = 'OLD' WHERE id = 2"]).await;
        assert_eq!(base.rows(PAIR).await, "1:ToO/ToO 2:OLD/old");
    });
}

#[tokio::test]
async fn a_derived_column_follows_the_row() {
    let derived = |key: &[&str]| spec("lower(old) || coalesce(other, '')", None, key);
    everywhere!(derived, &["INSERT INTO t (id, old) VALUES (1, 'A')"], |base| {
        base.run(&[
            "INSERT INTO t (id, old, other) VALUES (2, 'B', '!')",
            "INSERT INTO t (id, old, new) VALUES (3, 'C', 'own')",
        ])
        .await;
        assert_eq!(base.rows(PAIR).await, "1:A/NULL 2:B/b! 3:C/own");
        base.run(&["UPDATE t SET other = '?'"]).await;
        // What new code chose is no derived value, and stays, as on PostgreSQL.
        assert_eq!(base.rows(PAIR).await, "1:A/a? 2:B/b? 3:C/own");
        base.run(&["UPDATE t SET new = 'given' WHERE id = 1", "UPDATE t SET old = 'X', new = 'both' WHERE id = 2"])
            .await;
        assert_eq!(base.rows(PAIR).await, "1:A/given 2:X/both 3:C/own");
    });
    // A value of its own for each row is given once.
    let random = |key: &[&str]| spec("hex(randomblob(8))", None, key);
    everywhere!(random, &[], |base| {
        base.run(&["INSERT INTO t (id, old) VALUES (1, 'a'), (2, 'b')"]).await;
        let given = base.rows("SELECT new FROM t ORDER BY id").await;
        assert_eq!(given.len(), 33);
        base.run(&["UPDATE t SET old = 'c', other = 'd'"]).await;
        assert_eq!(base.rows("SELECT new FROM t ORDER BY id").await, given);
    });
}

#[tokio::test]
async fn a_key_that_holds_null_is_found_row_by_row() {
    let mut base = Base::with(&[
        "CREATE TABLE t (id TEXT PRIMARY KEY, old TEXT, other TEXT, new TEXT)",
        "PRAGMA recursive_triggers=ON",
    ])
    .await;
    base.connection.run(&sqlite().create_sync(&rename(&["id"]))).await.unwrap();
    base.run(&[
        "INSERT INTO t (old) VALUES ('a')",
        "INSERT INTO t (new) VALUES ('b')",
        "UPDATE t SET old = 'c' WHERE old = 'a'",
    ])
    .await;
    assert_eq!(base.rows("SELECT old || new FROM t ORDER BY 1").await, "bb cc");
}

#[tokio::test]
async fn introspection_knows_the_triggers_and_a_rebuild_keeps_them() {
    let mut base = synced(0, false, rename, &[]).await;
    let spec = rename(&["id"]);
    let table = base.table("t").await;
    let expected = Sync { fills: vec!["old".into(), "new".into()], ..Sync::default() };
    assert_eq!(table.syncs, BTreeMap::from([(spec.name.clone(), expected)]));
    assert_eq!(base.read().await.opaque, []);

    let mut after = table.clone();
    after.column_mut("other").unwrap().default = Some("'x'".into());
    let lost = sqlite().rebuild(&table, &after, &[], &Dependents::default());
    assert!(base.carry_out(&lost).await.is_err());
    let dependents = Dependents { syncs: vec![spec.clone()] };
    let statements = sqlite().rebuild(&table, &after, &[], &dependents);
    base.carry_out(&statements).await.unwrap();
    assert_eq!(base.table("t").await, after);
    base.run(&["INSERT INTO t (id, old) VALUES (1, 'a')"]).await;
    assert_eq!(base.rows(PAIR).await, "1:a/a");

    base.connection.run(&sqlite().drop_sync(&spec.table, &spec.name)).await.unwrap();
    assert!(base.table("t").await.syncs.is_empty());

    // Names that end a comment, a string or an identifier.
    base.run(&["CREATE TABLE \"o\"\"d\" (id INTEGER PRIMARY KEY, \"a*/'\"\"b\" TEXT, \"new '*/\" TEXT)"]).await;
    let odd = ObjectName::new("o\"d");
    let spec = SyncSpec {
        name: sqlite().sync_name(&odd, "new '*/"),
        table: odd,
        old: Some("a*/'\"b".into()),
        new: "new '*/".into(),
        forward: "\"a*/'\"\"b\"".into(),
        backward: Some("\"new '*/\"".into()),
        refuses_null: false,
        key: vec!["id".into()],
        columns: ["id", "a*/'\"b", "new '*/"].map(Into::into).into(),
        later: Vec::new(),
        restores: Vec::new(),
        may_fail: false,
        default: None,
    };
    base.connection.run(&sqlite().create_sync(&spec)).await.unwrap();
    assert_eq!(base.table("o\"d").await.syncs[&spec.name].fills, ["a*/'\"b", "new '*/"]);
    base.run(&["INSERT INTO \"o\"\"d\" (\"new '*/\") VALUES ('v')"]).await;
    assert_eq!(base.rows("SELECT \"a*/'\"\"b\" FROM \"o\"\"d\"").await, "v");
}

/// One statement of one code version.
#[derive(Debug, Clone)]
struct Write {
    new_code: bool,
    verb: usize,
    id: u8,
    value: String,
    target: u8,
}

const VERBS: usize = 9;

impl Write {
    fn sql(&self) -> String {
        let Self { id, value, target, .. } = self;
        let c = if self.new_code { "new" } else { "old" };
        match self.verb {
            0 => format!("INSERT OR IGNORE INTO t (id, {c}) VALUES ({id}, '{value}')"),
            1 => format!("INSERT OR REPLACE INTO t (id, {c}) VALUES ({id}, '{value}')"),
            2 => format!(
                "INSERT INTO t (id, {c}) VALUES ({id}, '{value}') ON CONFLICT (id) DO UPDATE SET {c} = excluded.{c}"
            ),
            3 => format!("UPDATE t SET {c} = '{value}' WHERE id = {id}"),
            4 => format!("UPDATE OR IGNORE t SET {c} = '{value}', id = {target} WHERE id = {id}"),
            5 => format!("UPDATE OR REPLACE t SET id = {target} WHERE id = {id}"),
            6 => format!("UPDATE t SET other = '{value}' WHERE id <= {id}"),
            7 => format!("UPDATE t SET {c} = {c} WHERE id = {id}"),
            _ => format!("DELETE FROM t WHERE id = {id}"),
        }
    }

    /// The pair after this side has written its value.
    fn pair(&self) -> (String, String) {
        match self.new_code {
            true => (self.value.clone(), self.value.clone()),
            false => (self.value.clone(), self.value.to_lowercase()),
        }
    }

    /// The same over a row that is there. New code that writes exactly what the old value converts to has changed nothing
    /// that old code could see.
    fn over(&self, there: &(String, String)) -> (String, String) {
        match self.new_code && there.0.to_lowercase() == self.value {
            true => (there.0.clone(), self.value.clone()),
            false => self.pair(),
        }
    }

    /// What the statement does, when there is no trigger to think of.
    fn apply(&self, rows: &mut BTreeMap<u8, (String, String)>) {
        let unchanged = |pair: &(String, String)| {
            if self.new_code { pair.1 == self.value } else { pair.0 == self.value }
        };
        match self.verb {
            0 => drop(rows.entry(self.id).or_insert_with(|| self.pair())),
            1 => drop(rows.insert(self.id, self.pair())),
            2 | 3 => match rows.get(&self.id).cloned() {
                Some(there) if unchanged(&there) => {}
                Some(there) => drop(rows.insert(self.id, self.over(&there))),
                None if self.verb == 2 => drop(rows.insert(self.id, self.pair())),
                None => {}
            },
            4 => {
                let free = self.target == self.id || !rows.contains_key(&self.target);
                if let (true, Some(pair)) = (free, rows.get(&self.id).cloned()) {
                    rows.remove(&self.id);
                    rows.insert(self.target, if unchanged(&pair) { pair } else { self.over(&pair) });
                }
            }
            5 => {
                if let Some(pair) = rows.remove(&self.id) {
                    rows.insert(self.target, pair);
                }
            }
            6 | 7 => {}
            _ => drop(rows.remove(&self.id)),
        }
    }
}

fn write() -> impl Strategy<Value = Write> {
    (any::<bool>(), 0..VERBS, 0..4_u8, "[aAbB]{1,2}", 0..4_u8).prop_map(|(new_code, verb, id, value, target)| Write {
        new_code,
        verb,
        id,
        value,
        target,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_history_leaves_what_the_last_writer_wrote(
        layout in 0..LAYOUTS.len(),
        recursive in any::<bool>(),
        writes in prop::collection::vec(write(), 1..25),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (found, expected) = runtime.block_on(async {
            let mut base = synced(layout, recursive, lossy, &[]).await;
            let mut rows = BTreeMap::new();
            let (mut found, mut expected) = (Vec::new(), Vec::new());
            for write in &writes {
                base.connection.run(&[write.sql()]).await.unwrap();
                write.apply(&mut rows);
                found.push((write.sql(), base.rows(PAIR).await));
                let pairs: Vec<_> = rows.iter().map(|(id, (old, new))| format!("{id}:{old}/{new}")).collect();
                expected.push((write.sql(), pairs.join(" ")));
            }
            (found, expected)
        });
        prop_assert_eq!(found, expected);
    }
}
