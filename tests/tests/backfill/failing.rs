//! Backfills that fail on some rows, whatever the error; and that go on once the rows are repaired.

use std::{sync::Arc, time::Duration};

use schemadiff::{
    Error,
    lockstep::{
        NoProgress, Retry,
        admin::{ApplyOptions, ApplyReport, apply, status},
    },
    model::Dialect,
    plan::{Action, Assignment, KeyColumn, Phase, Plan},
};
use schemadiff_tests::{
    engine::TestDatabase,
    lockstep::{Recorder, first, migrations, renderer, second, users},
};
use tokio::sync::watch;

use super::rows::users_of;

const BOTH: [Dialect; 2] = [Dialect::Postgres, Dialect::Sqlite];

/// The two migrations of `users`. As the planner says it for a column that may be NULL: a row waits when the expression has a
/// value for it.
fn plans(dialect: Dialect, expr: &str) -> [Plan; 2] {
    let key =
        [KeyColumn { name: "id".into(), ty: if dialect == Dialect::Sqlite { "INTEGER" } else { "bigint" }.into() }];
    let set = [Assignment { column: "email_key".into(), expr: expr.into(), not_null: false }];
    let mut filling = second(dialect);
    let pending = format!("email_key IS NULL AND ({expr}) IS NOT NULL");
    let mut backfill = renderer(dialect).backfill(&users(), &key, &set, &pending);
    backfill.batch_size = 100;
    filling.steps[1].action = Action::Backfill(backfill);
    filling.checksum = filling.compute_checksum();
    [first(dialect), filling]
}

async fn run(db: &TestDatabase, plans: &[Plan]) -> Result<ApplyReport, Error> {
    // Nobody is in the way for long here.
    let pause = Duration::from_millis(20);
    let retry = Retry { attempts: 12, first_pause: pause, longest_pause: pause, ..Retry::default() };
    let options = ApplyOptions { until: Phase::Backfill, retry, ..ApplyOptions::default() };
    apply(&db.url, &migrations(db.dialect, plans), &options, Arc::new(NoProgress)).await
}

async fn filled(db: &TestDatabase) -> u64 {
    db.text("SELECT CAST(count(*) AS text) FROM users WHERE email_key IS NOT NULL").await.unwrap().parse().unwrap()
}

/// The run names the row, and what comes before it is filled.
async fn assert_named(db: &TestDatabase, plans: &[Plan], row: u64) {
    let error = run(db, plans).await.unwrap_err();
    let Error::BackfillRow { key, .. } = &error else { panic!("{error}") };
    assert_eq!((key.as_str(), filled(db).await), (format!("id = {row}").as_str(), row - 1), "{error}");
    let status = status(&db.url, Some(&migrations(db.dialect, plans))).await.unwrap();
    let told = status.migrations[1].steps[1].last_error.as_deref().unwrap_or_default();
    assert!(told.contains(&format!("id = {row}")), "{told}");
}

#[tokio::test]
async fn the_row_is_named_where_the_question_what_waits_fails_on_it_too() {
    for dialect in BOTH {
        let expr = if dialect == Dialect::Sqlite { "json_extract(fullname, '$')" } else { "(fullname::numeric)::text" };
        let plans = plans(dialect, expr);
        let db = users_of(dialect, &plans, 1500).await;
        db.execute("UPDATE users SET fullname = 'no number' WHERE id = 1234").await;
        assert_named(&db, &plans, 1234).await;
        db.execute("UPDATE users SET fullname = '1234' WHERE id = 1234").await;
        run(&db, &plans).await.unwrap();
        assert_eq!(filled(&db).await, 1500);
    }
}

/// Codes that say nothing of rows, that say that the statement is wrong, that somebody else has a say who has none, or that the
/// connection is broken, which it is not.
#[tokio::test]
async fn the_row_is_named_whatever_the_error_says() {
    let dialect = Dialect::Postgres;
    let plans = plans(dialect, "public.named(fullname)");
    let others = ["57014", "40001", "40P01", "08006"];
    for code in ["54000", "42601", "42P01", "42883", "42501", "XX123", "ZZZZZ"].into_iter().chain(others) {
        let db = users_of(dialect, &plans, 700).await;
        db.execute(&format!(
            "CREATE FUNCTION public.named(name text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN \
             IF name = 'odd' THEN RAISE EXCEPTION 'odd one' USING ERRCODE = '{code}'; END IF; RETURN name; END $$; \
             UPDATE users SET fullname = 'odd' WHERE id = 321"
        ))
        .await;
        assert_named(&db, &plans, 321).await;
        db.execute("UPDATE users SET fullname = '321' WHERE id = 321").await;
        run(&db, &plans).await.unwrap();
        assert_eq!(filled(&db).await, 700, "{code}");
    }
}

#[tokio::test]
async fn what_the_statement_itself_lacks_is_no_row_s_fault() {
    let dialect = Dialect::Postgres;
    let plans = plans(dialect, "public.absent(fullname)");
    let db = users_of(dialect, &plans, 10).await;
    let error = run(&db, &plans).await.unwrap_err();
    assert_eq!(error.code(), "SD0758", "{error}");
    assert!(error.to_string().contains("absent"), "{error}");
}

/// A trigger takes the value away again, so that no pass ends with all rows filled.
#[tokio::test]
async fn a_backfill_that_has_given_up_begins_anew_when_it_is_run_again() {
    for dialect in BOTH {
        let plans = plans(dialect, "fullname");
        let db = users_of(dialect, &plans, 300).await;
        db.execute(match dialect {
            Dialect::Sqlite => {
                "CREATE TRIGGER undone AFTER UPDATE ON users WHEN NEW.id IN (7, 250) AND NEW.email_key IS NOT NULL \
                 BEGIN UPDATE users SET email_key = NULL WHERE id = NEW.id; END"
            }
            _ => {
                "CREATE FUNCTION undone() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF NEW.id IN (7, 250) THEN NEW.email_key := NULL; END IF; RETURN NEW; END $$; \
                 CREATE TRIGGER undone BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION undone()"
            }
        })
        .await;
        for _ in 0..2 {
            let error = run(&db, &plans).await.unwrap_err();
            let Error::BackfillIncomplete { remaining, .. } = &error else { panic!("{error}") };
            assert_eq!((error.code(), *remaining, filled(&db).await), ("SD0752", 2, 298), "{error}");
        }
        db.execute(if dialect == Dialect::Sqlite { "DROP TRIGGER undone" } else { "DROP TRIGGER undone ON users" })
            .await;
        run(&db, &plans).await.unwrap();
        assert_eq!(filled(&db).await, 300);
    }
}

/// Rows are counted before the first batch, which takes long where there are many.
#[tokio::test]
async fn whoever_is_told_to_stop_while_rows_are_counted_stops() {
    let dialect = Dialect::Postgres;
    let plans = plans(dialect, "fullname || pg_sleep(0.5)::text");
    let db = users_of(dialect, &plans, 200).await;
    let (tell, told) = watch::channel(false);
    let options = ApplyOptions { until: Phase::Backfill, stop: Some(told), ..ApplyOptions::default() };
    let (url, all, recorder) = (db.url.clone(), migrations(dialect, &plans), Recorder::default());
    let progress = recorder.shared();
    let going = tokio::spawn(async move { apply(&url, &all, &options, progress).await });
    while db
        .text(
            "SELECT pid::text FROM pg_stat_activity WHERE query LIKE '%count(*)%pg_sleep%' AND pid <> pg_backend_pid()",
        )
        .await
        .is_none()
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tell.send_replace(true);
    let error = tokio::time::timeout(Duration::from_secs(20), going).await.expect("it goes on counting").unwrap();
    assert!(matches!(error, Err(Error::Interrupted)), "{error:?}");
    assert_eq!(filled(&db).await, 0);
}
