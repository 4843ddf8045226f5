//! Backfills reach every row once, whatever the key, and never read more than a batch.

use proptest::prelude::*;
use schemadiff::{
    model::ObjectName,
    plan::{Assignment, Backfill, KeyColumn},
};

use super::support::{Base, sqlite};

fn fill(key: &[(&str, &str)]) -> Backfill {
    let key: Vec<_> = key.iter().map(|(n, t)| KeyColumn { name: (*n).into(), ty: (*t).into() }).collect();
    let set = [Assignment { column: "filled".into(), expr: "v || '!'".into(), not_null: false }];
    sqlite().backfill(&ObjectName::new("t"), &key, &set, "filled IS NULL")
}

type Key = Vec<Option<String>>;

/// `Envelope::Batches`, as the executor does it. Returns the number of rows that each batch changed.
async fn carry_out(base: &mut Base, backfill: &Backfill, batch: usize) -> Vec<usize> {
    let size = Some(batch.to_string());
    let Some(upper) = base.connection.query_row(&backfill.upper_sql, &[]).await.unwrap() else {
        return Vec::new();
    };
    let width = upper.len();
    let (mut cursor, mut batches): (Key, Vec<usize>) = (vec![None; width], Vec::new());
    while cursor != upper {
        assert!(batches.len() < 500, "it does not end");
        base.run(&["BEGIN IMMEDIATE"]).await;
        let params = [cursor.clone(), upper.clone(), vec![size.clone()]].concat();
        let found = base.connection.query_row(&backfill.batch_sql, &params).await.unwrap();
        let last = found.unwrap_or_else(|| upper.clone());
        assert!(last.len() == width && last.iter().all(Option::is_some), "{last:?}");
        let waiting = |left: String| left.parse::<usize>().unwrap();
        let before = waiting(base.rows("SELECT count(*) FROM t WHERE filled IS NULL").await);
        base.connection.query_row(&backfill.update_sql, &[cursor, last.clone()].concat()).await.unwrap();
        let after = waiting(base.rows("SELECT count(*) FROM t WHERE filled IS NULL").await);
        base.run(&["COMMIT"]).await;
        batches.push(before - after);
        cursor = last;
    }
    batches
}

async fn remaining(base: &mut Base, backfill: &Backfill) -> String {
    base.connection.query_row(&backfill.remaining_sql, &[]).await.unwrap().unwrap()[0].clone().unwrap()
}

/// The key as the planner gives it: names and types.
type KeyColumns = &'static [(&'static str, &'static str)];

/// Table, key, and values of the key columns.
const TABLES: &[(&str, KeyColumns, &str)] = &[
    (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v, filled)",
        &[("id", "INTEGER")],
        "(-9223372036854775808), (-5), (0), (7), (9007199254740993), (9223372036854775807)",
    ),
    (
        "CREATE TABLE t (id TEXT PRIMARY KEY COLLATE NOCASE, v, filled)",
        &[("id", "TEXT")],
        "(''), ('A'), ('b'), ('C'), ('ü''\"'), ('-1'), ('10'), ('9'), ('t')",
    ),
    (
        "CREATE TABLE t (id BLOB PRIMARY KEY, v, filled) WITHOUT ROWID",
        &[("id", "BLOB")],
        "(x''), (x'00'), (x'00ff'), (x'ff'), ('text'), ('nul' || char(0) || 'x'), ('nul'), (3), (2.5), (-1)",
    ),
    (
        "CREATE TABLE t (id REAL PRIMARY KEY, v, filled)",
        &[("id", "REAL")],
        "(0.1), (0.30000000000000004), (0.3), (-1e300), (1e-300), (5)",
    ),
    ("CREATE TABLE t (id PRIMARY KEY, v, filled)", &[("id", "")], "(1), (1.5), ('a'), ('1'), (x'61'), (-9e999)"),
    (
        "CREATE TABLE t (id NUMERIC PRIMARY KEY, v, filled)",
        &[("id", "NUMERIC")],
        "(1), (1.5), ('a'), ('12abc'), ('tt')",
    ),
    (
        "CREATE TABLE t (a TEXT, id INTEGER, v, filled, PRIMARY KEY (a, id)) WITHOUT ROWID",
        &[("a", "TEXT"), ("id", "INTEGER")],
        "('x', 1), ('x', 2), ('y', -1), ('', 5), ('y', 3), ('z', 0)",
    ),
    ("CREATE TABLE t (id TEXT, v, filled)", &[], "('a'), (NULL), ('b'), ('a'), ('c')"),
];

fn insert(values: &str, key: &[(&str, &str)]) -> String {
    let columns = if key.len() == 2 { "a, id" } else { "id" };
    format!("INSERT INTO t ({columns}) VALUES {values}")
}

#[tokio::test]
async fn every_kind_of_key_is_walked_to_its_end() {
    for (table, key, values) in TABLES {
        for batch in [1, 2, 3, 100] {
            let mut base = Base::with(&[table, &insert(values, key), "UPDATE t SET v = id || typeof(id)"]).await;
            let backfill = fill(key);
            let rows: usize = base.rows("SELECT count(*) FROM t").await.parse().unwrap();
            let batches = carry_out(&mut base, &backfill, batch).await;
            let filled: usize = base.rows("SELECT count(*) FROM t WHERE v IS NOT NULL").await.parse().unwrap();
            assert_eq!(batches.iter().sum::<usize>(), filled, "{table}");
            assert_eq!(batches.len(), rows.div_ceil(batch), "{table}");
            assert_eq!(base.rows("SELECT count(*) FROM t WHERE filled IS NOT v || '!'").await, "0");
            assert_eq!(
                remaining(&mut base, &backfill).await,
                base.rows("SELECT count(*) FROM t WHERE v IS NULL").await
            );
        }
    }
}

#[tokio::test]
async fn it_ends_although_rows_come_and_counts_what_is_left() {
    let mut base = Base::with(&["CREATE TABLE t (id INTEGER PRIMARY KEY, v, filled)"]).await;
    let backfill = fill(&[("id", "INTEGER")]);
    assert_eq!(carry_out(&mut base, &backfill, 10).await, Vec::<usize>::new(), "an empty table");
    base.run(&["INSERT INTO t VALUES (1, 'a', NULL), (2, 'b', 'kept'), (3, 'c', NULL)"]).await;
    let upper = base.connection.query_row(&backfill.upper_sql, &[]).await.unwrap().unwrap();
    assert_eq!(upper, [Some("3".to_owned())], "an integer key is its digits");
    base.run(&["INSERT INTO t VALUES (4, 'late', NULL)"]).await;
    let params = |size: &str| [None, upper[0].clone(), Some(size.to_owned())];
    let found = base.connection.query_row(&backfill.batch_sql, &params("2")).await.unwrap();
    assert_eq!(found, Some(vec![Some("2".into())]));
    assert_eq!(base.connection.query_row(&backfill.batch_sql, &params("100")).await.unwrap(), None, "fewer are left");
    carry_out(&mut base, &backfill, 2).await;
    assert_eq!(base.rows("SELECT filled FROM t ORDER BY id").await, "a! kept c! late!");
    base.run(&["INSERT INTO t VALUES (5, 'x', NULL)"]).await;
    assert_eq!(remaining(&mut base, &backfill).await, "1");
}

#[tokio::test]
async fn a_batch_is_found_through_the_key() {
    for (table, key, _) in TABLES {
        let mut base = Base::with(&[table]).await;
        let backfill = fill(key);
        for sql in [&backfill.upper_sql, &backfill.batch_sql, &backfill.update_sql] {
            let explained = explain(&mut base, sql).await;
            let table_is_read = |line: &&String| line.starts_with("SCAN t") || line.starts_with("SEARCH t");
            let reads: Vec<_> = explained.iter().filter(table_is_read).collect();
            let through_key = |line: &&String| match sql != &backfill.upper_sql {
                true => line.starts_with("SEARCH"),
                false => !explained.iter().any(|other| other.contains("TEMP B-TREE")),
            };
            assert!(reads.len() == 1 && reads.iter().all(through_key), "{table}\n{sql}\n{explained:#?}");
        }
    }
}

async fn explain(base: &mut Base, sql: &str) -> Vec<String> {
    use sqlx::{Connection as _, Row as _};
    let mut connection = sqlx::SqliteConnection::connect(&base.url).await.unwrap();
    let explained = format!("EXPLAIN QUERY PLAN {sql}");
    let rows = sqlx::query(sqlx::AssertSqlSafe(explained)).fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>("detail")).collect()
}

#[tokio::test]
async fn a_backfill_beside_a_sync_leaves_the_old_column_alone() {
    use cargo_schemadiff::dialect::SyncSpec;
    let mut base = Base::with(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, filled TEXT)",
        "INSERT INTO t (id, v) VALUES (1, 'One'), (2, 'Two')",
    ])
    .await;
    let table = ObjectName::new("t");
    let spec = SyncSpec {
        name: sqlite().sync_name(&table, "filled"),
        table,
        old: Some("v".into()),
        new: "filled".into(),
        forward: "v || '!'".into(),
        backward: Some("rtrim(filled, '!')".into()),
        refuses_null: false,
        key: vec!["id".into()],
        columns: ["id", "v", "filled"].map(Into::into).into(),
        later: Vec::new(),
        restores: Vec::new(),
        may_fail: false,
        default: None,
    };
    base.connection.run(&sqlite().create_sync(&spec)).await.unwrap();
    carry_out(&mut base, &fill(&[("id", "INTEGER")]), 1).await;
    assert_eq!(base.rows("SELECT v || '/' || filled FROM t ORDER BY id").await, "One/One! Two/Two!");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    #[test]
    fn random_keys_are_all_reached(
        keys in prop::collection::btree_set(("[ -~]{0,3}", any::<i64>()), 1..20),
        batch in 1..7_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (left, batches) = runtime.block_on(async {
            let mut base = Base::with(&[TABLES[6].0]).await;
            for (a, id) in &keys {
                let a = sqlite().literal(a);
                base.run(&[&format!("INSERT INTO t VALUES ({a}, {id}, 'v', NULL)")]).await;
            }
            let backfill = fill(TABLES[6].1);
            let batches = carry_out(&mut base, &backfill, batch).await;
            (remaining(&mut base, &backfill).await, batches)
        });
        prop_assert_eq!(left, "0");
        prop_assert_eq!(batches.len(), keys.len().div_ceil(batch));
    }
}
