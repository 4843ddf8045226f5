//! Operations among hostile neighbours: others use the same tables in ways that hold a migration up, while old and new code
//! work. Every operation ends right; not one statement fails, the neighbours' included; and who held it up is named.
//!
//! Each neighbour meets a few operations that it is dangerous for. `SCHEMADIFF_HOSTILE=all` lets each meet all of them.

mod cases;
mod neighbours;
mod refusals;
mod replicas;
mod triggers;

use std::time::{Duration, Instant};

use cases::Operation;
use neighbours::{Guests, Habit};
use schemadiff_tests::{
    engine::{Major, Postgres},
    lockstep::Recorder,
    twin::{self, Scenario, case::Case},
};

/// How long applications may be held up.
const BUDGET: Duration = Duration::from_millis(100);

/// Who comes, and what the place is like.
#[derive(Clone, Copy)]
struct Hostility {
    habits: &'static [Habit],
    /// Objects beside those of the operation, before and after it.
    beside: &'static str,
    /// Statements for the database before the schema is made; `{db}` is its name.
    place: &'static str,
    /// A part of the name by which a session that held a step up was called, where one must have been.
    held_up_by: Option<&'static str>,
    /// How often the operations meet it until it has been in the way: more than once only where that is by chance.
    rounds: u32,
    /// Rows of each table.
    rows: usize,
    budget: Option<Duration>,
}

const NOBODY: Hostility =
    Hostility { habits: &[], beside: "", place: "", held_up_by: None, rounds: 1, rows: 300, budget: Some(BUDGET) };

/// Lets the operations meet them, a few at a time; again where it is by chance that somebody is in their way, and nobody was.
async fn meet(server: &'static Postgres, hostility: Hostility, chosen: &[&str]) {
    let everything = std::env::var("SCHEMADIFF_HOSTILE").is_ok_and(|v| v == "all");
    let operations: Vec<_> = cases::all().into_iter().filter(|op| everything || chosen.contains(&op.name)).collect();
    assert!(operations.len() >= chosen.len(), "there is no such operation among {chosen:?}");
    for _ in 0..hostility.rounds {
        let mut running = tokio::task::JoinSet::new();
        let mut held_up = 0;
        for operation in operations.clone() {
            if running.len() >= 3 {
                held_up += running.join_next().await.unwrap().unwrap();
            }
            running.spawn(one(server, hostility, operation));
        }
        while let Some(done) = running.join_next().await {
            held_up += done.unwrap();
        }
        if hostility.held_up_by.is_none() || held_up > 0 {
            return;
        }
    }
    panic!("nothing was held up by {}, in {} rounds", hostility.held_up_by.unwrap_or_default(), hostility.rounds);
}

/// How many times somebody who held a step up was named.
async fn one(server: &'static Postgres, hostility: Hostility, operation: Operation) -> usize {
    let db = server.database();
    if !hostility.place.is_empty() {
        db.execute(&hostility.place.replace("{db}", &db.name)).await;
    }
    let guests = Guests::default();
    let operation = Operation {
        case: Case {
            old: [hostility.beside, &operation.case.old].concat(),
            new: [hostility.beside, &operation.case.new].concat(),
            ..operation.case
        },
        ..operation
    };
    let mut scenario = Scenario {
        bystanders: 24,
        rows: hostility.rows,
        max_stall: hostility.budget,
        stage: (!hostility.habits.is_empty()).then(|| guests.invite(&db.url, hostility.habits)),
        ..operation.case.scenario(&db).await
    };
    operation.stamped(&mut scenario);
    let began = Instant::now();
    let report = twin::run(&db, &scenario).await;
    if !hostility.habits.is_empty() {
        guests.leave().await;
    }
    operation.case.judge(&db, &scenario, &report).await;
    let named = named(&scenario.events);
    let of_interest = named.iter().filter(|who| hostility.held_up_by.is_some_and(|name| who.contains(name))).count();
    let worst = report.stalls.values().max().copied().unwrap_or_default();
    println!(
        "{}: {:.1?}, {} statements, {} failed, held up {} times, longest stall {worst:.0?}, {:.1} times the idle one ({:.0?})",
        operation.name,
        began.elapsed(),
        report.statements.iter().sum::<u64>(),
        report.failures.len(),
        named.len(),
        report.stall_ratio(),
        report.idle_stall,
    );
    of_interest
}

/// Everybody who was named as the one that is waited for.
fn named(events: &Recorder) -> Vec<String> {
    let list = |kind, field| {
        let events: Vec<serde_json::Value> = events.of(kind);
        let sessions = events.iter().flat_map(|e| e[field].as_array().cloned().unwrap_or_default());
        sessions.map(|who| format!("{} {}", who["application"], who["query"])).collect::<Vec<_>>()
    };
    [list("retrying", "blockers"), list("held_up", "blockers"), list("old_transactions", "transactions")].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_sits_in_a_transaction() {
    let sitter = Hostility { habits: &[neighbours::sits_in_a_transaction], held_up_by: Some("the sitter"), ..NOBODY };
    meet(Postgres::shared(), sitter, &["rename_column", "add_foreign_key", "add_index", "change_type_behind_views"])
        .await;
}

/// No lock timeout, no budget: only what is built in bounds how long applications wait. Their statements end after a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_whose_statements_end_after_a_second() {
    let hurried = Hostility {
        habits: &[neighbours::sits_in_a_transaction],
        place: "ALTER ROLE postgres IN DATABASE {db} SET statement_timeout = '1s'",
        held_up_by: Some("the sitter"),
        budget: None,
        ..NOBODY
    };
    meet(Postgres::shared(), hurried, &["add_not_null_column", "rename_table"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_sits_on_rows() {
    let sitter = Hostility { habits: &[neighbours::sits_on_rows], ..NOBODY };
    meet(Postgres::shared(), sitter, &["add_not_null_column", "rename_column"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_keeps_its_snapshot() {
    let reader = Hostility { habits: &[neighbours::keeps_a_snapshot], held_up_by: Some("the reader"), ..NOBODY };
    meet(Postgres::shared(), reader, &["add_index", "replace_index", "rename_column", "drop_column"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn autovacuum_on_the_table() {
    static SERVER: std::sync::LazyLock<Postgres> = std::sync::LazyLock::new(|| {
        let settings = [
            "autovacuum=on",
            "autovacuum_naptime=1",
            "autovacuum_max_workers=8",
            "autovacuum_vacuum_threshold=1",
            "autovacuum_vacuum_scale_factor=0",
            "autovacuum_analyze_threshold=1",
            "autovacuum_analyze_scale_factor=0",
            // A page at a time, with a rest after it.
            "autovacuum_vacuum_cost_delay=60ms",
            "autovacuum_vacuum_cost_limit=1",
        ];
        Postgres::start_with(Major::under_test(), &settings)
    });
    let vacuum = Hostility {
        place: "ALTER ROLE postgres IN DATABASE {db} SET statement_timeout = '1s'",
        held_up_by: Some("autovacuum"),
        rounds: 6,
        rows: 900,
        ..NOBODY
    };
    // When its turn comes is the server's to say: it need not meet each of them.
    meet(&SERVER, vacuum, &["add_not_null_column", "add_index", "drop_column"]).await;
}

const TRAPS: &str = "CREATE SCHEMA traps; \
    CREATE FUNCTION traps.lower(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'trapped'::text $$; \
    CREATE FUNCTION traps.coalesced(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'trapped'::text $$; \
    CREATE FUNCTION traps.never(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT false $$; \
    CREATE FUNCTION traps.never(integer, integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT false $$; \
    CREATE OPERATOR traps.= (LEFTARG = text, RIGHTARG = text, FUNCTION = traps.never); \
    CREATE OPERATOR traps.= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = traps.never); \
    CREATE OPERATOR traps.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = traps.never); \
    CREATE VIEW traps.pg_class AS SELECT 1 AS oid WHERE false; \
    CREATE VIEW traps.pg_index AS SELECT 1 AS indexrelid WHERE false; ";

/// Everything that a statement of ours could mean otherwise, means something else in the path that role and database have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_path_full_of_traps() {
    let traps = Hostility {
        beside: TRAPS,
        place: "ALTER ROLE postgres IN DATABASE {db} SET search_path = public, traps, pg_catalog",
        ..NOBODY
    };
    let operations = [
        "add_not_null_column",
        "rename_column",
        "set_not_null",
        "add_unique",
        "add_check",
        "change_type",
        "rename_column_behind_views",
    ];
    meet(Postgres::shared(), traps, &operations).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_indexes_left_from_before() {
    let leftover = Hostility { habits: &[neighbours::left_invalid_indexes], ..NOBODY };
    let operation = cases::all().into_iter().find(|op| op.name == "add_index").unwrap();
    one(Postgres::shared(), leftover, operation).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_lock_in_no_order() {
    let careless = Hostility {
        habits: &[neighbours::writes_parents_first, neighbours::writes_children_first],
        budget: None,
        ..NOBODY
    };
    meet(
        Postgres::shared(),
        careless,
        &["add_foreign_key", "add_not_null_column", "rename_parent_table", "everything_at_once", "drop_tables"],
    )
    .await;
}
