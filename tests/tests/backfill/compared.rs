//! What a backfill leaves behind: rows that are as they were but for the new columns, and values that are what they should be.

use std::collections::BTreeMap;

use cargo_schemadiff::{
    dialect::{Connection, Scope},
    diff::{DiffOptions, Hints},
    planner::{PlanRequest, plan},
};
use schemadiff::{
    Error,
    lockstep::{
        Compare, Pace,
        admin::{ApplyOptions, ApplyReport, apply},
    },
    model::{Dialect, Schema},
    plan::{Phase, Plan, Strategy},
};
use schemadiff_tests::{
    engine::TestDatabase,
    lockstep::{Recorder, migrations, renderer, users},
};

const BOTH: [Dialect; 2] = [Dialect::Postgres, Dialect::Sqlite];
/// Few enough to be one batch: the sample is then all of them.
const ROWS: u32 = 600;
const ONE: &str = "20260101000000_users";
const TWO: &str = "20260102000000_names";

const BEFORE: &str =
    "CREATE TABLE users (id INTEGER PRIMARY KEY NOT NULL, fullname TEXT NOT NULL, email TEXT NOT NULL, touched TEXT)";
const AFTER: &str = "CREATE TABLE users (id INTEGER PRIMARY KEY NOT NULL, display_name TEXT NOT NULL, email TEXT NOT NULL, \
                     touched TEXT, email_key TEXT NOT NULL)";

async fn introspected(url: &str) -> Schema {
    let mut connection = Connection::open(url).await.unwrap();
    connection.introspect(&Scope::default()).await.unwrap().schema
}

async fn schema(dialect: Dialect, sql: &str) -> Schema {
    let db = TestDatabase::new(dialect);
    db.execute(sql).await;
    introspected(&db.url).await
}

/// The table, made by a first migration, and a second one that renames a column and fills another one.
pub async fn plans(dialect: Dialect) -> [Plan; 2] {
    let (before, after) = (schema(dialect, BEFORE).await, schema(dialect, AFTER).await);
    let (options, sizes, ddl) = (DiffOptions::default(), BTreeMap::new(), renderer(dialect));
    let planned = |from: &Schema, to: &Schema, hints: &Hints, id: &str, parent: Option<&str>| {
        plan(&PlanRequest {
            current: from,
            desired: to,
            hints,
            options: &options,
            ddl: &*ddl,
            sizes: &sizes,
            id,
            parent,
            strategy: &Strategy::synced("a test"),
        })
        .unwrap()
    };
    let mut hints = Hints::default();
    hints.renamed_columns.insert((users(), "display_name".into()), "fullname".into());
    hints.backfills.insert((users(), "email_key".into()), "lower(email)".into());
    let first = planned(&Schema::default(), &before, &Hints::default(), ONE, None);
    [first, planned(&before, &after, &hints, TWO, Some(ONE))]
}

/// A database with rows, in which the columns are there and no row is filled.
pub async fn expanded(dialect: Dialect, plans: &[Plan]) -> TestDatabase {
    let db = TestDatabase::new(dialect);
    run(&db, &plans[..1], Phase::Contract, Compare::Off).await.0.unwrap();
    db.execute(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
         INSERT INTO users (id, fullname, email) SELECT i, 'user ' || i, 'User' || i || '@x' FROM n"
    ))
    .await;
    run(&db, plans, Phase::Expand, Compare::Off).await.0.unwrap();
    db
}

pub async fn run(
    db: &TestDatabase,
    plans: &[Plan],
    until: Phase,
    compare: Compare,
) -> (Result<ApplyReport, Error>, Recorder) {
    let recorder = Recorder::default();
    let options = ApplyOptions { until, pace: Pace { compare, ..Pace::default() }, ..ApplyOptions::default() };
    (apply(&db.url, &migrations(db.dialect, plans), &options, recorder.shared()).await, recorder)
}

/// Writes past the triggers, as somebody does who switches them off for a while.
async fn past_the_triggers(db: &TestDatabase, sql: &str) {
    match db.dialect {
        Dialect::Sqlite => {
            let named =
                |column: &str| format!("SELECT group_concat({column}, ';') FROM sqlite_schema WHERE type = 'trigger'");
            let made = db.text(&named("sql")).await.unwrap();
            db.execute(&db.text(&named("'DROP TRIGGER ' || name")).await.unwrap()).await;
            db.execute(sql).await;
            db.execute(&made).await;
        }
        _ => {
            db.execute(&format!(
                "BEGIN; ALTER TABLE users DISABLE TRIGGER USER; {sql}; ALTER TABLE users ENABLE TRIGGER USER; COMMIT"
            ))
            .await;
        }
    }
}

#[tokio::test]
async fn rows_that_are_filled_stay_as_they_were_whatever_triggers_of_the_user_make_of_them() {
    for dialect in BOTH {
        let plans = plans(dialect).await;
        let db = expanded(dialect, &plans).await;
        let touch = match dialect {
            Dialect::Sqlite => {
                "CREATE TRIGGER zzz_touch AFTER UPDATE ON users BEGIN \
                 UPDATE users SET touched = 'touched', email = email || '!' WHERE id = NEW.id; END"
            }
            _ => {
                "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 NEW.touched := 'touched'; NEW.email := NEW.email || '!'; RETURN NEW; END $$; \
                 CREATE TRIGGER touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch()"
            }
        };
        db.execute(touch).await;
        let (filled, recorder) = run(&db, &plans, Phase::Backfill, Compare::Full).await;
        filled.unwrap();
        let told = recorder.of("fires_triggers");
        assert!(told.iter().all(|told| told["restored"] == true), "{told:?}");
        assert_eq!(told.len(), usize::from(dialect == Dialect::Postgres), "SQLite's batches do without triggers");
        let untouched = "SELECT CAST(count(*) AS text) FROM users WHERE touched IS NULL \
                         AND email = 'User' || id || '@x' AND display_name = fullname AND email_key = lower(email)";
        assert_eq!(db.text(untouched).await, Some(ROWS.to_string()));
        db.execute("UPDATE users SET fullname = 'Ada' WHERE id = 1").await;
        let touched = "SELECT touched || display_name FROM users WHERE id = 1";
        assert_eq!(db.text(touched).await, Some("touchedAda".to_owned()), "an application's own update");
    }
}

#[tokio::test]
async fn a_row_that_is_not_in_step_stops_the_step_and_is_named() {
    for dialect in BOTH {
        let plans = plans(dialect).await;
        for compare in [Compare::Sample, Compare::Full] {
            let db = expanded(dialect, &plans).await;
            past_the_triggers(
                &db,
                "UPDATE users SET display_name = 'somebody else', email_key = lower(email) WHERE id = 17",
            )
            .await;
            let error = run(&db, &plans, Phase::Backfill, compare).await.0.unwrap_err();
            let Error::NotInStep { column, differ, rows, keys, .. } = &error else { panic!("{error}") };
            assert_eq!((column.as_str(), *differ, *rows), ("users.display_name", 1, u64::from(ROWS)), "{compare:?}");
            assert_eq!(keys, &["id = 17"]);
            assert_eq!(
                (error.code(), db.text("SELECT fullname FROM users WHERE id = 17").await.as_deref()),
                ("SD0765", Some("user 17"))
            );
            // It does not get past that by being tried again.
            let again = run(&db, &plans, Phase::Backfill, compare).await.0.unwrap_err();
            assert_eq!(again.code(), "SD0765", "{again}");
            // Whoever writes the old column brings both into step.
            db.execute("UPDATE users SET fullname = 'Ada' WHERE id = 17").await;
            run(&db, &plans, Phase::Contract, compare).await.0.unwrap();
            assert_eq!(db.text("SELECT display_name FROM users WHERE id = 17").await.as_deref(), Some("Ada"));
        }
        let db = expanded(dialect, &plans).await;
        past_the_triggers(
            &db,
            "UPDATE users SET display_name = 'somebody else', email_key = lower(email) WHERE id = 17",
        )
        .await;
        run(&db, &plans, Phase::Backfill, Compare::Off).await.0.unwrap();
    }
}

#[tokio::test]
async fn a_value_that_somebody_has_chosen_is_told_of_and_kept() {
    for dialect in BOTH {
        let plans = plans(dialect).await;
        let db = expanded(dialect, &plans).await;
        db.execute("UPDATE users SET email_key = 'chosen' WHERE id IN (5, 599)").await;
        let (filled, recorder) = run(&db, &plans, Phase::Backfill, Compare::Full).await;
        filled.unwrap();
        let told = recorder.of("compared");
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0]["rows"], ROWS);
        // One name for each range that is looked at.
        let differ = serde_json::json!([{ "column": "email_key", "rows": 2, "keys": ["id = 5"] }]);
        assert_eq!(told[0]["differ"], differ);
        assert_eq!(db.text("SELECT email_key FROM users WHERE id = 5").await.as_deref(), Some("chosen"));
    }
}
