//! Rows that cannot be filled, rows that are locked or move, tables without a key.

use std::{sync::Arc, time::Duration};

use schemadiff::{
    Error,
    lockstep::{
        NoProgress, Pace,
        admin::{ApplyOptions, ApplyReport, apply},
    },
    model::Dialect,
    plan::{Action, Assignment, KeyColumn, Phase, Plan},
};
use schemadiff_tests::{
    engine::TestDatabase,
    lockstep::{Recorder, first, migrations, renderer, second, users},
};
use sqlx::{Connection as _, Executor as _};
use tokio::sync::watch;

const BOTH: [Dialect; 2] = [Dialect::Postgres, Dialect::Sqlite];

/// The two migrations of `users`, with another expression and perhaps another key for `email_key`.
pub fn plans(dialect: Dialect, key: &[(&str, &str)], expr: &str, not_null: bool) -> [Plan; 2] {
    let key: Vec<_> = key.iter().map(|(n, ty)| KeyColumn { name: (*n).into(), ty: (*ty).into() }).collect();
    let set = [Assignment { column: "email_key".into(), expr: expr.into(), not_null }];
    let mut filling = second(dialect);
    let mut backfill = renderer(dialect).backfill(&users(), &key, &set, "email_key IS NULL");
    backfill.batch_size = 100;
    filling.steps[1].action = Action::Backfill(backfill);
    filling.checksum = filling.compute_checksum();
    [first(dialect), filling]
}

pub fn by_id(dialect: Dialect) -> &'static [(&'static str, &'static str)] {
    if dialect == Dialect::Sqlite { &[("id", "INTEGER")] } else { &[("id", "bigint")] }
}

/// An expression that fails on rows whose name is no number.
fn number(dialect: Dialect) -> &'static str {
    if dialect == Dialect::Sqlite { "json_extract(fullname, '$')" } else { "(fullname::numeric)::text" }
}

async fn run(db: &TestDatabase, plans: &[Plan], options: ApplyOptions) -> Result<ApplyReport, Error> {
    apply(&db.url, &migrations(db.dialect, plans), &options, Arc::new(NoProgress)).await
}

/// Until the rows are filled, and no further.
fn filling() -> ApplyOptions {
    ApplyOptions { until: Phase::Backfill, ..ApplyOptions::default() }
}

/// A database with the first migration, and users whose names are numbers.
pub async fn users_of(dialect: Dialect, plans: &[Plan], rows: u32) -> TestDatabase {
    users_in(TestDatabase::new(dialect), plans, rows).await
}

/// The same in a database that was made already.
pub async fn users_in(db: TestDatabase, plans: &[Plan], rows: u32) -> TestDatabase {
    run(&db, &plans[..1], ApplyOptions::default()).await.unwrap();
    db.execute(&match db.dialect {
        Dialect::Sqlite => format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
             INSERT INTO users (id, fullname) SELECT i, CAST(i AS TEXT) FROM n"
        ),
        _ => format!("INSERT INTO users (id, fullname) SELECT i, i::text FROM generate_series(1, {rows}) i"),
    })
    .await;
    db
}

async fn count(db: &TestDatabase, condition: &str) -> u64 {
    let sql = format!("SELECT CAST(count(*) AS text) FROM users WHERE {condition}");
    db.text(&sql).await.unwrap().parse().unwrap()
}

fn rows(report: &ApplyReport) -> u64 {
    report.steps.iter().map(|step| step.rows).sum()
}

#[tokio::test]
async fn a_row_that_cannot_be_filled_is_named_and_the_rest_goes_on_after_its_repair() {
    for dialect in BOTH {
        let plans = plans(dialect, by_id(dialect), number(dialect), false);
        let db = users_of(dialect, &plans, 5000).await;
        db.execute("UPDATE users SET fullname = 'no number' WHERE id = 3141").await;

        let error = run(&db, &plans, filling()).await.unwrap_err();
        let Error::BackfillRow { key, table, .. } = &error else { panic!("{error}") };
        assert_eq!((key.as_str(), table.as_str()), ("id = 3141", "users"), "{error}");
        assert_eq!((error.code(), count(&db, "email_key IS NOT NULL").await), ("SD0756", 3140), "those before it");
        db.execute("INSERT INTO users (id, fullname) VALUES (9999, '1')").await;
        let again = run(&db, &plans, filling()).await.unwrap_err();
        assert_eq!(again.to_string(), error.to_string(), "nothing is lost by trying");
        let status = schemadiff::lockstep::admin::status(&db.url, Some(&migrations(dialect, &plans))).await.unwrap();
        let step = &status.migrations[1].steps[1];
        assert!(step.last_error.as_ref().is_some_and(|e| e.contains("id = 3141")), "{step:?}");

        db.execute("UPDATE users SET fullname = '3141' WHERE id = 3141").await;
        let report = run(&db, &plans, filling()).await.unwrap();
        assert_eq!(rows(&report), 5001 - 3140, "what was filled is not filled again");
        assert_eq!(count(&db, "email_key = fullname").await, 5001);
    }
}

#[tokio::test]
async fn null_for_a_column_that_is_to_be_not_null_names_the_rows() {
    for dialect in BOTH {
        let plans = plans(dialect, by_id(dialect), "nullif(nullif(fullname, '7'), '1200')", true);
        let db = users_of(dialect, &plans, 1500).await;
        let error = run(&db, &plans, filling()).await.unwrap_err();
        let Error::BackfillNull { remaining, keys, .. } = &error else { panic!("{error}") };
        let mut keys = keys.clone();
        keys.sort();
        assert_eq!((*remaining, keys), (2, vec!["id = 1200".to_owned(), "id = 7".to_owned()]), "{error}");
        assert_eq!((error.code(), count(&db, "email_key IS NOT NULL").await), ("SD0757", 1498));

        db.execute("UPDATE users SET fullname = 'x' WHERE id IN (7, 1200)").await;
        assert_eq!(rows(&run(&db, &plans, filling()).await.unwrap()), 2);
    }
}

#[tokio::test]
async fn a_table_that_is_dropped_meanwhile_is_said_to_be_gone() {
    for dialect in BOTH {
        let plans = plans(dialect, by_id(dialect), "fullname", false);
        let db = users_of(dialect, &plans, 60_000).await;
        let recorder = Recorder::default();
        let (url, all, progress) = (db.url.clone(), migrations(dialect, &plans), recorder.shared());
        let going = tokio::spawn(async move { apply(&url, &all, &filling(), progress).await });
        while recorder.of("backfill").len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        db.execute("ALTER TABLE users RENAME TO elsewhere").await;
        let error = going.await.unwrap().unwrap_err();
        assert_eq!(error.code(), "SD0758", "{error}");
        db.execute("ALTER TABLE elsewhere RENAME TO users").await;
        run(&db, &plans, filling()).await.unwrap();
        assert_eq!(count(&db, "email_key = fullname").await, 60_000);
    }
}

#[tokio::test]
async fn a_full_disk_stops_it_and_room_lets_it_go_on() {
    let dialect = Dialect::Postgres;
    let plans = plans(dialect, by_id(dialect), "fullname", false);
    let db = users_of(dialect, &plans, 3000).await;
    // The server's own code; whether the disk or a trigger says so is the same to whoever sends the statement.
    db.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.id > 1000 THEN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END IF; \
         RETURN NEW; END $$; \
         CREATE TRIGGER full_disk BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION full_disk()",
    )
    .await;
    let error = run(&db, &plans, filling()).await.unwrap_err();
    assert_eq!(error.code(), "SD0759", "{error}");
    let filled = count(&db, "email_key IS NOT NULL").await;
    assert!((1..=1000).contains(&filled), "{filled}");
    db.execute("DROP TRIGGER full_disk ON users").await;
    assert_eq!(rows(&run(&db, &plans, filling()).await.unwrap()), 3000 - filled);
}

#[tokio::test]
async fn a_row_that_is_locked_for_long_holds_up_only_itself() {
    let dialect = Dialect::Postgres;
    let plans = plans(dialect, by_id(dialect), "fullname", false);
    let db = users_of(dialect, &plans, 4000).await;
    run(&db, &plans, ApplyOptions { until: Phase::Expand, ..ApplyOptions::default() }).await.unwrap();
    let mut other = sqlx::PgConnection::connect(&db.url).await.unwrap();
    other.execute("BEGIN; SELECT * FROM users WHERE id = 2000 FOR UPDATE").await.unwrap();

    let (url, all) = (db.url.clone(), migrations(dialect, &plans));
    let going = tokio::spawn(async move { apply(&url, &all, &filling(), Arc::new(NoProgress)).await });
    while count(&db, "email_key IS NOT NULL").await < 3999 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!going.is_finished(), "one row is left");
    // A transaction that holds one row and then wants one of a batch is not chosen as the victim of a deadlock.
    other.execute("UPDATE users SET fullname = 'mine' WHERE id IN (2000, 1, 3999); COMMIT").await.unwrap();
    assert_eq!(rows(&going.await.unwrap().unwrap()), 4000);
    assert_eq!(count(&db, "email_key IS NULL").await, 0);
}

#[tokio::test]
async fn triggers_that_filling_runs_are_named_and_others_stay_quiet() {
    // SQLite's batches do without any.
    for dialect in BOTH {
        let plans = plans(dialect, by_id(dialect), "fullname", false);
        let db = users_of(dialect, &plans, 500).await;
        db.execute("CREATE TABLE seen (what text)").await;
        let events = [("stamp", "UPDATE"), ("renamed", "UPDATE OF fullname"), ("gone", "DELETE")];
        for (name, event) in events {
            db.execute(&match dialect {
                Dialect::Sqlite => {
                    format!(
                        "CREATE TRIGGER {name} AFTER {event} ON users BEGIN INSERT INTO seen VALUES ('{name}'); END"
                    )
                }
                _ => format!(
                    "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                     INSERT INTO seen VALUES ('{name}'); RETURN NULL; END $$; \
                     CREATE TRIGGER {name} AFTER {event} ON users FOR EACH ROW EXECUTE FUNCTION {name}()"
                ),
            })
            .await;
        }
        let recorder = Recorder::default();
        apply(&db.url, &migrations(dialect, &plans), &filling(), recorder.shared()).await.unwrap();
        let told = recorder.of("fires_triggers");
        let ran = "SELECT DISTINCT what || CAST(count(*) AS text) FROM seen GROUP BY what";
        let ran = db.text(ran).await;
        if dialect == Dialect::Sqlite {
            assert_eq!((told.as_slice(), ran), ([].as_slice(), None));
        } else {
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!((&told[0]["table"], &told[0]["triggers"]), (&"users".into(), &serde_json::json!(["stamp"])));
            assert_eq!(ran.as_deref(), Some("stamp500"), "once for each row, and no other one");
        }
        db.execute("UPDATE users SET fullname = 'Ada' WHERE id = 1").await;
        let after = "SELECT CAST(count(*) AS text) FROM seen WHERE what = 'renamed'";
        assert_eq!(db.text(after).await.as_deref(), Some("1"), "an application's own update");
    }
}

#[tokio::test]
async fn a_table_without_a_key_is_filled_while_its_rows_move() {
    let dialect = Dialect::Postgres;
    let plans = plans(dialect, &[], "fullname", false);
    let db = users_of(dialect, &plans, 30_000).await;
    db.execute("ALTER TABLE users DROP CONSTRAINT users_pkey").await;
    run(&db, &plans, ApplyOptions { until: Phase::Expand, ..ApplyOptions::default() }).await.unwrap();
    let (done, watched) = watch::channel(false);
    let url = db.url.clone();
    let mover = tokio::spawn(async move {
        let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
        let mut at = 0;
        while !*watched.borrow() {
            let (from, to) = (29_999 - at % 29_000, 29_999 - at % 29_000 + 200);
            // Each update puts the row into another place, before the cursor or behind it.
            let sql = format!(
                "UPDATE users SET fullname = fullname || '!' WHERE id BETWEEN {from} AND {to}; \
                 INSERT INTO users (id, fullname, email_key) VALUES ({at} + 100000, 'new', 'given')"
            );
            connection.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
            at += 173;
        }
    });
    let report = run(&db, &plans, filling()).await.unwrap();
    done.send_replace(true);
    mover.await.unwrap();
    assert_eq!(rows(&report), 30_000, "each once");
    assert_eq!(count(&db, "email_key IS NULL").await, 0);
    assert_eq!(count(&db, "fullname = 'new' AND email_key <> 'given'").await, 0);
}

#[tokio::test]
async fn the_row_of_a_table_without_a_key_is_named_by_its_place() {
    let dialect = Dialect::Postgres;
    let plans = plans(dialect, &[], number(dialect), false);
    let db = users_of(dialect, &plans, 3000).await;
    db.execute("UPDATE users SET fullname = 'no number' WHERE id = 2222").await;
    let error = run(&db, &plans, filling()).await.unwrap_err();
    let Error::BackfillRow { key, .. } = &error else { panic!("{error}") };
    let place = key.strip_prefix("ctid = ").unwrap();
    assert_eq!(db.text(&format!("SELECT id::text FROM users WHERE ctid = '{place}'")).await.as_deref(), Some("2222"));
    db.execute("UPDATE users SET fullname = '2222' WHERE id = 2222").await;
    run(&db, &plans, filling()).await.unwrap();
    assert_eq!(count(&db, "email_key = fullname").await, 3000);
}

#[tokio::test]
async fn several_workers_fill_each_row_once_and_go_on_after_a_stop() {
    for dialect in BOTH {
        let plans = plans(dialect, by_id(dialect), "fullname", false);
        let db = users_of(dialect, &plans, 40_000).await;
        let (stop, stopped) = watch::channel(false);
        let options =
            ApplyOptions { pace: Pace { parallel: Some(4), ..Pace::default() }, stop: Some(stopped), ..filling() };
        let recorder = Recorder::default();
        let (url, all, progress) = (db.url.clone(), migrations(dialect, &plans), recorder.shared());
        let going = tokio::spawn(async move { apply(&url, &all, &options, progress).await });
        while recorder.of("backfill").len() < 6 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stop.send_replace(true);
        assert_eq!(going.await.unwrap().unwrap_err().code(), "SD1350");
        let filled = count(&db, "email_key IS NOT NULL").await;
        assert!(filled > 0 && filled < 40_000, "{filled}");
        let report =
            run(&db, &plans, ApplyOptions { pace: Pace { parallel: Some(4), ..Pace::default() }, ..filling() })
                .await
                .unwrap();
        assert_eq!(rows(&report), 40_000 - filled);
        assert_eq!(count(&db, "email_key = fullname").await, 40_000);
        let on_record = if dialect == Dialect::Sqlite { "_schemadiff_step" } else { "schemadiff.step" };
        let sql = format!("SELECT CAST(rows_done AS text) FROM {on_record} WHERE id LIKE '02-%'");
        assert_eq!(db.text(&sql).await.as_deref(), Some("40000"), "the batches' own transactions count them");
    }
}

#[tokio::test]
async fn a_row_that_fails_stops_all_workers() {
    let dialect = Dialect::Postgres;
    let plans = plans(dialect, by_id(dialect), number(dialect), false);
    let db = users_of(dialect, &plans, 20_000).await;
    db.execute("UPDATE users SET fullname = 'no number' WHERE id = 700").await;
    let error = run(&db, &plans, ApplyOptions { pace: Pace { parallel: Some(3), ..Pace::default() }, ..filling() })
        .await
        .unwrap_err();
    assert!(matches!(&error, Error::BackfillRow { key, .. } if key == "id = 700"), "{error}");
    db.execute("UPDATE users SET fullname = '700' WHERE id = 700").await;
    run(&db, &plans, ApplyOptions { pace: Pace { parallel: Some(3), ..Pace::default() }, ..filling() }).await.unwrap();
    assert_eq!(count(&db, "email_key = fullname").await, 20_000);
}
