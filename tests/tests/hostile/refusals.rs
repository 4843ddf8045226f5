//! Where an operation cannot go on, it stops with the name of whoever is in the way, and goes on when that is gone.

use std::{sync::Arc, time::Duration};

use schemadiff::{
    embed::Migrations,
    error::Error,
    lockstep::{
        NoProgress, Retry,
        admin::{self, ApplyOptions, ApplyReport},
    },
    model::between,
    plan::{SNAPSHOT_FORMAT, Snapshot},
};
use schemadiff_tests::{
    engine::{Postgres, TestDatabase},
    twin::{self, Scenario, introspect},
};

use crate::{cases, neighbours::connect};

async fn apply(db: &TestDatabase, scenario: &Scenario) -> Result<ApplyReport, Error> {
    let mut plan = scenario.plan.clone();
    plan.parent = None;
    plan.checksum = plan.compute_checksum();
    let lock = Snapshot {
        format: SNAPSHOT_FORMAT,
        dialect: plan.dialect,
        head: Some(plan.id.clone()),
        sources: Default::default(),
        schema: scenario.new.clone(),
    };
    let migrations = Migrations::from_plans(&lock, &[plan]).unwrap();
    let retry = Retry { attempts: 6, first_pause: Duration::from_millis(20), ..Retry::default() };
    let options = ApplyOptions { retry, ..ApplyOptions::default() };
    admin::apply(&db.url, &migrations, &options, Arc::new(NoProgress)).await
}

async fn prepared(operation: &str) -> (TestDatabase, Scenario) {
    let db = Postgres::shared().database();
    let operation = cases::all().into_iter().find(|op| op.name == operation).unwrap();
    let scenario = operation.case.scenario(&db).await;
    twin::seed(&db, &scenario.old, &scenario.new, 60, scenario.values.clone()).await;
    (db, scenario)
}

#[tokio::test]
async fn one_that_never_leaves_is_named_and_nothing_is_half_done() {
    let (db, scenario) = prepared("add_foreign_key").await;
    let mut sitter = connect(&db.url, "the one that stays").await;
    let sql = "BEGIN; LOCK TABLE orgs IN ROW EXCLUSIVE MODE";
    sqlx::raw_sql(sql).execute(&mut sitter).await.unwrap();
    let error = apply(&db, &scenario).await.unwrap_err();
    assert!(error.to_string().contains("the one that stays"), "{error}");
    assert!(matches!(error, Error::LockNotHad { .. }), "{error:?}");
    sqlx::raw_sql("COMMIT").execute(&mut sitter).await.unwrap();
    apply(&db, &scenario).await.unwrap();
    assert_eq!(between(&introspect(&db.url).await, &scenario.new), []);
}

/// Objects that came after the plan was made, over the column that it drops: how they are made, dropped, and called.
const DEPENDENTS: [(&str, &str, &str); 7] = [
    ("CREATE VIEW over_nick AS SELECT nick FROM users", "DROP VIEW over_nick", "over_nick"),
    (
        "CREATE MATERIALIZED VIEW stored_nick AS SELECT nick FROM users",
        "DROP MATERIALIZED VIEW stored_nick",
        "stored_nick",
    ),
    (
        "CREATE FUNCTION some_nick() RETURNS text BEGIN ATOMIC SELECT nick FROM users LIMIT 1; END",
        "DROP FUNCTION some_nick()",
        "some_nick",
    ),
    ("CREATE POLICY own_nick ON users USING (nick = current_user)", "DROP POLICY own_nick ON users", "own_nick"),
    (
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$; \
         CREATE TRIGGER on_nick BEFORE UPDATE ON users FOR EACH ROW WHEN (OLD.nick <> NEW.nick) EXECUTE FUNCTION nothing()",
        "DROP TRIGGER on_nick ON users",
        "on_nick",
    ),
    (
        "ALTER TABLE users ADD COLUMN shout text GENERATED ALWAYS AS (upper(nick)) STORED",
        "ALTER TABLE users DROP COLUMN shout",
        "shout",
    ),
    (
        "CREATE RULE see_nick AS ON UPDATE TO users WHERE NEW.nick = 'x' DO INSTEAD NOTHING",
        "DROP RULE see_nick ON users",
        "see_nick",
    ),
];

#[tokio::test]
async fn what_depends_on_a_column_that_goes_is_named() {
    for (made, dropped, name) in DEPENDENTS {
        let (db, scenario) = prepared("drop_column").await;
        db.execute(made).await;
        let error = apply(&db, &scenario).await.expect_err(name);
        let text = format!("{error} {}", error.help().join(" "));
        assert!(text.contains(name), "{name} is not named: {text}");
        let state = introspect(&db.url).await;
        let served = schemadiff::compat::serves(scenario.plan.dialect, &state, &scenario.old);
        assert_eq!(served, Ok(()), "with {name} the old version");
        db.execute(dropped).await;
        apply(&db, &scenario).await.unwrap_or_else(|e| panic!("without {name}: {e}"));
    }
}
