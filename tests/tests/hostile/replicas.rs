//! A standby that is read, and a logical subscriber.

use std::time::{Duration, Instant};

use schemadiff::model::Schema;
use schemadiff_tests::{
    engine::{Major, Postgres, TestDatabase},
    twin::{self, Scenario},
};

use crate::{BUDGET, Hostility, NOBODY, cases, meet, neighbours};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_read() {
    static PRIMARY: std::sync::LazyLock<Postgres> = std::sync::LazyLock::new(|| Postgres::start(Major::under_test()));
    let standby = PRIMARY.standby(Major::under_test());
    neighbours::STANDBY.store(standby.port().into(), std::sync::atomic::Ordering::Relaxed);
    let read = Hostility { habits: &[neighbours::reads_on_the_standby], ..NOBODY };
    meet(&PRIMARY, read, &["add_not_null_column", "rename_column", "add_index", "rename_parent_table"]).await;
}

/// A subscriber that takes whatever comes: every column of both versions, and no constraint but the key.
fn warehouse(old: &Schema, new: &Schema) -> String {
    let mut sql = String::new();
    for table in old.tables.values() {
        let of_new = new.tables.get(&table.name).into_iter().flat_map(|t| &t.columns);
        let mut columns: Vec<String> = Vec::new();
        for column in table.columns.iter().chain(of_new) {
            let text = format!("{} {}", column.name, if column.name == "id" { "bigint PRIMARY KEY" } else { "text" });
            if !columns.contains(&text) {
                columns.push(text);
            }
        }
        sql.push_str(&format!("CREATE TABLE {} ({});", table.name, columns.join(", ")));
    }
    sql
}

async fn rows(db: &TestDatabase, new: &Schema) -> String {
    let mut all = String::new();
    for table in new.tables.values() {
        let columns = table.columns.iter().map(|c| format!("{}::text", c.name)).collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT md5(string_agg(ROW({columns})::text, ';' ORDER BY id)) FROM {}", table.name);
        all.push_str(&format!("{} {:?}; ", table.name, db.text(&sql).await));
    }
    all
}

/// Every row arrives as the new version has it, and no update is refused because the table has lost what tells its rows apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logical_subscriber() {
    let server = Postgres::start_with(Major::under_test(), &["wal_level=logical"]);
    for name in ["add_not_null_column", "rename_column", "replace_primary_key", "drop_column"] {
        let operation = cases::all().into_iter().find(|op| op.name == name).unwrap();
        let (publisher, subscriber) = (server.database(), server.database());
        let scenario =
            Scenario { bystanders: 24, max_stall: Some(BUDGET), ..operation.case.scenario(&publisher).await };
        subscriber.execute(&warehouse(&scenario.old, &scenario.new)).await;
        let slot = &publisher.name;
        publisher.execute("CREATE PUBLICATION all_of_it FOR TABLE users, orgs").await;
        publisher.execute(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")).await;
        let subscribe = format!(
            "CREATE SUBSCRIPTION {slot} CONNECTION '{}' PUBLICATION all_of_it WITH (create_slot = false, slot_name = {slot})",
            publisher.url
        );
        subscriber.execute(&subscribe).await;
        let report = twin::run(&publisher, &scenario).await;
        operation.case.judge(&publisher, &scenario, &report).await;
        let (there, deadline) = (rows(&publisher, &scenario.new).await, Instant::now() + Duration::from_secs(30));
        while rows(&subscriber, &scenario.new).await != there {
            assert!(Instant::now() < deadline, "{name}: the subscriber has other rows");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        // The subscriber's database cannot go while it listens.
        subscriber.execute(&format!("DROP SUBSCRIPTION {slot}")).await;
    }
}
