//! What a role, a database or a server sets for its sessions changes nothing about the ledger, the leases and the gate.

use std::{sync::Arc, time::Duration};

use schemadiff::{
    Lockstep,
    lockstep::{
        NoProgress, Role,
        admin::{ApplyOptions, apply, status},
    },
    model::Dialect,
};
use schemadiff_tests::{
    engine::{Postgres, TestDatabase},
    lockstep::{FIRST, first, migrations, new_code, old_code, second, version},
};
use sqlx::{Connection as _, PgConnection, postgres::PgPoolOptions};

const DIALECT: Dialect = Dialect::Postgres;

/// A role with settings of its own, and the address for it.
async fn role(db: &TestDatabase, name: &str, attributes: &str, settings: &[(&str, &str)]) -> String {
    db.execute(&format!("CREATE ROLE {name} LOGIN {attributes}")).await;
    for (setting, value) in settings {
        db.execute(&format!("ALTER ROLE {name} SET {setting} = {value}")).await;
    }
    Postgres::shared().url_as(name, &db.name)
}

async fn drop_role(db: &TestDatabase, name: &str) {
    db.execute(&format!("REASSIGN OWNED BY {name} TO postgres; DROP OWNED BY {name}; DROP ROLE {name}")).await;
}

async fn one(connection: &mut PgConnection, sql: &'static str) -> Result<String, sqlx::Error> {
    sqlx::query_scalar(sql).fetch_one(connection).await
}

/// Retires the version that the test starts.
fn retire() -> String {
    format!(
        "INSERT INTO schemadiff.retired (app, version, migration, step, way, reason, at) \
         VALUES ('shop', '{}', 'm', 's', 'forward', 'a test', clock_timestamp())",
        version(FIRST, &old_code(DIALECT))
    )
}

#[tokio::test]
async fn a_retirement_is_seen_whatever_the_isolation_level() {
    let db = TestDatabase::new(DIALECT);
    let all = migrations(DIALECT, &[first(DIALECT)]);
    apply(&db.url, &all, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
    for (name, level) in [("repeatable", "'repeatable read'"), ("serial", "'serializable'")] {
        let url = role(&db, name, "SUPERUSER", &[("default_transaction_isolation", level)]).await;

        // A transaction whose snapshot is older than the retirement is not believed.
        let mut old = PgConnection::connect(&url).await.unwrap();
        let mut begun = old.begin().await.unwrap();
        one(&mut begun, "SELECT 'a snapshot'").await.unwrap();
        db.execute(&retire()).await;
        let answer = one(&mut begun, "SELECT schemadiff.enter('shop', '20260101000000_users')").await;
        assert!(answer.as_ref().is_err_and(|e| e.to_string().contains("read committed")), "{level}: {answer:?}");
        begun.rollback().await.unwrap();
        db.execute("DELETE FROM schemadiff.retired").await;

        // A registration that has to wait sees what was committed while it waited.
        let mut retiring = PgConnection::connect(&db.url).await.unwrap();
        let mut retiring = retiring.begin().await.unwrap();
        sqlx::raw_sql("LOCK TABLE schemadiff.retired IN ACCESS EXCLUSIVE MODE").execute(&mut *retiring).await.unwrap();
        let start = Lockstep::builder("shop", all.clone()).database_url(&url).schema(old_code(DIALECT)).start();
        let start = tokio::spawn(start);
        let waits =
            "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = 'schemadiff.retired'::regclass";
        while one(&mut retiring, waits).await.unwrap() == "0" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sqlx::raw_sql(sqlx::AssertSqlSafe(retire())).execute(&mut *retiring).await.unwrap();
        retiring.commit().await.unwrap();
        let refused = start.await.unwrap().unwrap_err();
        assert_eq!(refused.code(), "SD0650", "{level}: {refused}");
        db.execute("DELETE FROM schemadiff.retired").await;

        // So does the hook of a pool.
        let started = Lockstep::builder("shop", all.clone()).database_url(&url).schema(old_code(DIALECT)).start();
        let started = started.await.unwrap();
        let pool = PgPoolOptions::new().after_connect(started.hook()).connect(&url).await.unwrap();
        pool.close().await;
        started.shutdown().await;
        drop(old);
        drop_role(&db, name).await;
    }
}

/// Everything that a role can have set against us.
const HOSTILE: &[(&str, &str)] = &[
    ("default_transaction_isolation", "'serializable'"),
    ("default_transaction_read_only", "on"),
    ("default_transaction_deferrable", "on"),
    ("search_path", "trap, pg_catalog"),
    ("statement_timeout", "'2s'"),
    ("lock_timeout", "'1ms'"),
    ("idle_in_transaction_session_timeout", "'200ms'"),
    ("idle_session_timeout", "'300ms'"),
    ("standard_conforming_strings", "off"),
    ("escape_string_warning", "off"),
    ("session_replication_role", "replica"),
    ("timezone", "'America/St_Johns'"),
    ("datestyle", "'SQL, DMY'"),
    ("intervalstyle", "sql_standard"),
    ("bytea_output", "escape"),
    ("client_encoding", "'LATIN1'"),
    ("extra_float_digits", "'-15'"),
    ("quote_all_identifiers", "on"),
    ("row_security", "on"),
    ("synchronous_commit", "off"),
    ("enable_indexscan", "off"),
];

const TRAP: &str = "CREATE SCHEMA trap;
    CREATE TABLE trap.users (id int); CREATE TABLE trap.pg_locks (pid int);
    CREATE FUNCTION trap.lower(text) RETURNS text LANGUAGE sql AS 'SELECT ''trapped''';
    CREATE FUNCTION trap.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT to_timestamp(0)';
    CREATE FUNCTION trap.current_setting(text) RETURNS text LANGUAGE sql AS 'SELECT ''trapped''';
    CREATE FUNCTION trap.pg_try_advisory_xact_lock(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION trap.pg_try_advisory_xact_lock_shared(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true'";

#[tokio::test]
async fn a_deployment_goes_through_under_any_setting_of_the_role() {
    let db = TestDatabase::new(DIALECT);
    db.execute(TRAP).await;
    let url = role(&db, "hostile", "SUPERUSER", HOSTILE).await;
    let (one_plan, two_plans) = (vec![first(DIALECT)], vec![first(DIALECT), second(DIALECT)]);
    let (one_plan, two_plans) = (migrations(DIALECT, &one_plan), migrations(DIALECT, &two_plans));
    apply(&url, &one_plan, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
    db.execute("INSERT INTO public.users (id, fullname) SELECT i, 'User ' || i FROM generate_series(1, 3000) i").await;

    let old = Lockstep::builder("shop", one_plan.clone()).database_url(&url).schema(old_code(DIALECT));
    let old = old.heartbeat(Duration::from_millis(500)).start().await.unwrap();
    // A connection of the pool keeps the settings of its role, but for the views.
    let pool = PgPoolOptions::new().after_connect(old.hook()).max_connections(1).connect(&url).await.unwrap();
    let path: String = sqlx::query_scalar("SHOW search_path").fetch_one(&pool).await.unwrap();
    assert!(path.ends_with(", trap, pg_catalog"), "{path}");
    pool.close().await;

    // The old version holds the contract, however long its lease is idle between two signs of life.
    let keeper = "SELECT session_pid || ' ' || session_start FROM schemadiff.lease";
    let before = db.text(keeper).await;
    let held = apply(&url, &two_plans, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap_err();
    assert_eq!(held.code(), "SD0850", "{held}");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(db.text(keeper).await, before, "the session that keeps the lease was ended");
    let beat = "SELECT CAST(heartbeat_at > started_at AND heartbeat_at > now() - interval '1 day' AS text) \
                FROM schemadiff.lease";
    assert_eq!(db.text(beat).await.as_deref(), Some("true"));
    let left_behind = old.version().to_owned();
    old.shutdown().await;

    apply(&url, &two_plans, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
    let filled = "SELECT count(*)::text FROM public.users WHERE email_key = 'user ' || id";
    assert_eq!(db.text(filled).await.as_deref(), Some("3000"));
    let seen = status(&url, Some(&two_plans)).await.unwrap();
    assert!(seen.migrations.iter().all(|m| m.state == "done"), "{:?}", seen.migrations);
    assert_eq!(seen.retired.len(), 1);
    assert!(seen.retired[0].version == left_behind && seen.retired[0].at_ms > 1_700_000_000_000);
    let new = Lockstep::builder("shop", two_plans).database_url(&url).schema(new_code(DIALECT)).role(Role::WaitOnly);
    new.start().await.unwrap().shutdown().await;
    drop_role(&db, "hostile").await;
}

#[tokio::test]
async fn a_backfill_under_a_policy_is_refused_and_not_done_in_part() {
    let db = TestDatabase::new(DIALECT);
    let url = role(&db, "tenant", "", &[]).await;
    db.execute(&format!("GRANT CREATE ON DATABASE {} TO tenant; GRANT ALL ON SCHEMA public TO tenant", db.name)).await;
    let two_plans = migrations(DIALECT, &[first(DIALECT), second(DIALECT)]);
    let one_plan = migrations(DIALECT, &[first(DIALECT)]);
    apply(&url, &one_plan, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
    db.execute(
        "INSERT INTO users (id, fullname) SELECT i, 'User ' || i FROM generate_series(1, 100) i; \
         ALTER TABLE users ENABLE ROW LEVEL SECURITY; ALTER TABLE users FORCE ROW LEVEL SECURITY; \
         CREATE POLICY first_half ON users USING (id < 50)",
    )
    .await;
    let refused = apply(&url, &two_plans, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap_err();
    assert!(refused.to_string().contains("row-level security"), "{refused}");
    let done = "SELECT CAST(count(*) FILTER (WHERE state = 'done') AS text) FROM schemadiff.step \
                WHERE migration LIKE '%email_key' AND phase <> 'expand'";
    assert_eq!(db.text(done).await.as_deref(), Some("0"));
    db.execute("ALTER ROLE tenant BYPASSRLS").await;
    apply(&url, &two_plans, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
    let filled = db.text("SELECT count(*)::text FROM users WHERE email_key IS NOT NULL").await;
    assert_eq!(filled.as_deref(), Some("100"));
    drop_role(&db, "tenant").await;
}
