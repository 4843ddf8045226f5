//! Triggers of the user's on a table that is filled.

use schemadiff_tests::{
    engine::Postgres,
    twin::{self, Scenario},
};

use crate::cases;

/// A backfill touches the rows that wait for a value, and each of them once: what a trigger of the user's does to a row, it
/// does no oftener than that.
async fn touches_no_more_than_it_fills(operation: &str, most: &str) {
    let db = Postgres::shared().database();
    let operation = cases::all().into_iter().find(|op| op.name == operation).unwrap();
    let mut scenario = Scenario { bystanders: 40, ..operation.case.scenario(&db).await };
    operation.stamped(&mut scenario);
    let keys = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let noted = std::sync::Arc::clone(&keys);
    scenario.stage = Some(std::sync::Arc::new(move |stage: &twin::Stage| {
        let users = &stage.bystanders[&"users".parse().unwrap()];
        *noted.lock().unwrap() = users.iter().map(|key| key.join("")).collect::<Vec<_>>().join(", ");
    }));
    let report = twin::run(&db, &scenario).await;
    operation.case.judge(&db, &scenario, &report).await;
    let keys = keys.lock().unwrap().clone();
    let wrong = format!("SELECT string_agg(u::text, '; ') FROM users u WHERE id IN ({keys}) AND touched > {most}",);
    assert_eq!(db.text(&wrong).await, None, "rows that nobody wrote were touched too often");
    assert_eq!(scenario.events.of("fires_triggers").len(), 1, "the trigger is named");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_column_is_filled_once() {
    touches_no_more_than_it_fills("add_column_beside_a_trigger", "1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_a_value_is_not_touched() {
    touches_no_more_than_it_fills("set_not_null_beside_a_trigger", "(nick = 'none')::integer").await;
}
