//! Sync triggers where rows come from elsewhere: sessions in the role of a replica, and subscribers of a publication.

use std::time::{Duration, Instant};

use cargo_schemadiff::dialect::{Ddl as _, SyncSpec, postgres::Postgres as Renderer};
use schemadiff::model::ObjectName;
use schemadiff_tests::engine::{Major, Postgres, TestDatabase};

const DDL: Renderer = Renderer::new(150_000);

fn sync(old: &str, new: &str, forward: &str, backward: &str) -> SyncSpec {
    let table = ObjectName::new("t");
    SyncSpec {
        name: DDL.sync_name(&table, new),
        table,
        old: Some(old.into()),
        new: new.into(),
        forward: forward.into(),
        backward: Some(backward.into()),
        refuses_null: false,
        key: vec!["id".into()],
        columns: ["id", "name", "label", "qty", "big"].map(Into::into).to_vec(),
        later: Vec::new(),
        restores: Vec::new(),
        may_fail: false,
        default: None,
    }
}

/// `name` becomes `label`; `qty` becomes `big`, and cannot hold everything that `big` can.
fn triggers() -> Vec<String> {
    let renamed = sync("name", "label", "name", "label");
    let wider = sync("qty", "big", "qty::bigint", "least(big, 2147483647)::int");
    [DDL.create_sync(&renamed), DDL.create_sync(&wider)].concat()
}

async fn has_triggers(db: &TestDatabase) {
    db.has_ledger_schema().await;
    for sql in triggers() {
        db.execute(&sql).await;
    }
}

const OLD: &str = "CREATE TABLE t (id int PRIMARY KEY, name text, qty int)";
const BOTH: &str = "ALTER TABLE t ADD COLUMN label text, ADD COLUMN big bigint";
const ROWS: &str = "SELECT coalesce(string_agg(concat_ws('|', id, name, label, qty, big), ' ' ORDER BY id), '') FROM t";

#[tokio::test]
async fn what_a_session_in_the_role_of_a_replica_writes_is_kept_in_step() {
    for table in [OLD, "CREATE TABLE t (id int PRIMARY KEY, name text, qty int) PARTITION BY RANGE (id)"] {
        let db = Postgres::shared().database();
        db.execute(table).await;
        let partitioned = table != OLD;
        if partitioned {
            db.execute("CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (1) TO (10)").await;
        }
        db.execute(BOTH).await;
        has_triggers(&db).await;
        if partitioned {
            // One that is made later, and one that is attached.
            db.execute("CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20)").await;
            db.execute("CREATE TABLE t_3 (LIKE t); ALTER TABLE t ATTACH PARTITION t_3 FOR VALUES FROM (20) TO (30)")
                .await;
        }
        for id in [1, 11, 21] {
            db.execute(&format!(
                "SET session_replication_role = replica; INSERT INTO t (id, name, qty) VALUES ({id}, 'Ada', 7)"
            ))
            .await;
            let row = format!("{ROWS} WHERE id = {id}");
            assert_eq!(db.text(&row).await.unwrap(), format!("{id}|Ada|Ada|7|7"), "{table}");
            db.execute(&format!(
                "SET session_replication_role = replica; UPDATE t SET label = 'Bo', big = 8 WHERE id = {id}"
            ))
            .await;
            assert_eq!(db.text(&row).await.unwrap(), format!("{id}|Bo|Bo|8|8"), "{table}");
        }
    }
}

/// Waits until the subscriber holds what it shall.
async fn comes_to(db: &TestDatabase, rows: &str) {
    let since = Instant::now();
    loop {
        let found = db.text(ROWS).await.unwrap();
        if found == rows {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(30), "{found} and not {rows}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_subscriber_has_both_columns_whichever_its_publisher_sends() {
    let from = Postgres::start_with(Major::V15, &["wal_level=logical"]);
    let to = Postgres::start(Major::V15);
    let (publisher, subscriber) = (from.database(), to.database());
    publisher.execute(OLD).await;
    publisher.execute("INSERT INTO t VALUES (1, 'Ada', 1)").await;
    publisher.execute("CREATE PUBLICATION p FOR TABLE t").await;
    subscriber.execute(OLD).await;
    // The subscriber goes first, as it must where a column is added.
    subscriber.execute(BOTH).await;
    has_triggers(&subscriber).await;
    let port = from.port();
    subscriber
        .execute(&format!(
            "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port={port} user=postgres dbname={}' PUBLICATION p",
            publisher.name
        ))
        .await;
    comes_to(&subscriber, "1|Ada|Ada|1|1").await;
    publisher.execute("INSERT INTO t VALUES (2, 'Bo', 2)").await;
    publisher.execute("UPDATE t SET name = 'Cy', qty = 3 WHERE id = 1").await;
    comes_to(&subscriber, "1|Cy|Cy|3|3 2|Bo|Bo|2|2").await;

    // Then the publisher: new code writes there what the old column cannot hold.
    publisher.execute(BOTH).await;
    has_triggers(&publisher).await;
    publisher.execute("UPDATE t SET big = 5000000000, label = 'Di' WHERE id = 1").await;
    publisher.execute("INSERT INTO t (id, label, big) VALUES (3, 'Ed', 6000000000)").await;
    let all = "1|Di|Di|2147483647|5000000000 2|Bo|Bo|2|2 3|Ed|Ed|2147483647|6000000000";
    let on_publisher = publisher.text(ROWS).await.unwrap();
    assert_eq!(on_publisher, all.replace("2|Bo|Bo|2|2", "2|Bo|2"), "the publisher has not filled its second row");
    comes_to(&subscriber, all).await;
    // Old code again, on a row that both have.
    publisher.execute("UPDATE t SET qty = 4 WHERE id = 1").await;
    comes_to(&subscriber, &all.replace("2147483647|5000000000 ", "4|4 ")).await;

    // At last the publisher has no old column any more.
    for new in ["label", "big"] {
        for sql in DDL.drop_sync(&ObjectName::new("t"), &DDL.sync_name(&ObjectName::new("t"), new)) {
            publisher.execute(&sql).await;
        }
    }
    publisher.execute("ALTER TABLE t DROP COLUMN name, DROP COLUMN qty").await;
    publisher.execute("UPDATE t SET label = 'Flo', big = 9 WHERE id = 3").await;
    publisher.execute("INSERT INTO t (id, label, big) VALUES (4, 'Gus', 10)").await;
    comes_to(&subscriber, "1|Di|Di|4|4 2|Bo|Bo|2|2 3|Flo|Flo|9|9 4|Gus|Gus|10|10").await;
    subscriber.execute("DROP SUBSCRIPTION s").await;
}
