//! Compatibility views of a version: its connections see them, nobody else's do.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cargo_schemadiff::{
    diff::{DiffOptions, Hints},
    planner::{PlanRequest, plan},
};
use schemadiff::{
    Error, Lockstep,
    compat::view_schema,
    embed::Migrations,
    lockstep::{
        Contract, NoProgress,
        admin::{ApplyOptions, abort, apply, connections_of},
    },
    model::Dialect,
    plan::{Overlap, Phase, Plan, Strategy},
};
use schemadiff_tests::{
    engine::TestDatabase,
    lockstep::{FIRST, first, migrations, old_code, renderer, users, users_with},
};
use sqlx::{
    AssertSqlSafe, PgPool, Row as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};

const DIALECT: Dialect = Dialect::Postgres;

/// A running instance of the version with the first migration.
async fn shop(db: &TestDatabase, app: &str) -> Lockstep {
    Lockstep::builder(app, migrations(DIALECT, &[first(DIALECT)]))
        .database_url(&db.url)
        .schema(old_code(DIALECT))
        .contract(Contract::Manual)
        .heartbeat(Duration::from_millis(300))
        .start()
        .await
        .unwrap()
}

async fn applied() -> TestDatabase {
    let db = TestDatabase::new(DIALECT);
    apply(&db.url, &migrations(DIALECT, &[first(DIALECT)]), &ApplyOptions::default(), Arc::new(NoProgress))
        .await
        .unwrap();
    db
}

async fn text(pool: &PgPool, sql: &str) -> String {
    sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(pool).await.unwrap().try_get(0).unwrap()
}

#[tokio::test]
async fn the_hook_puts_the_versions_views_before_the_path_that_the_application_has() {
    let db = applied().await;
    for app in ["shop", "we\"ird Shop's", "x".repeat(80).as_str()] {
        let instance = shop(&db, app).await;
        let own = view_schema(app, FIRST);
        let paths: [&[(&str, &str)]; 3] = [&[], &[("search_path", "app,public")], &[("search_path", "")]];
        for (options, rest) in paths.into_iter().zip([", \"$user\", public", ", app,public", ""]) {
            let connect = db.url.parse::<PgConnectOptions>().unwrap().options(options.iter().copied());
            let pool = PgPoolOptions::new()
                .max_connections(1)
                .after_connect(instance.hook())
                .connect_with(connect)
                .await
                .unwrap();
            let path = text(&pool, "SHOW search_path").await;
            assert!(path.ends_with(rest), "{path}");
            // The views' schema is not there, and costs nothing.
            assert_eq!(text(&pool, "SELECT (SELECT count(*) FROM public.users) || ''").await, "0".to_owned());
            // The server takes the name as it was meant, to the last byte.
            let quoted = format!("\"{}\"", own.replace('"', "\"\""));
            sqlx::raw_sql(AssertSqlSafe(format!("CREATE SCHEMA {quoted}"))).execute(&pool).await.unwrap();
            assert_eq!(text(&pool, "SELECT (current_schemas(false))[1]::text").await, own);
            sqlx::raw_sql(AssertSqlSafe(format!("DROP SCHEMA {quoted}"))).execute(&pool).await.unwrap();
            pool.close().await;
        }
        instance.shutdown().await;
    }
}

const RENAME: &str = "20260102000000_display_name";

/// `users.fullname` becomes `display_name` behind views for the shop.
fn rename() -> Plan {
    let (current, desired) = (old_code(DIALECT), users_with(DIALECT, &["display_name"]));
    let mut hints = Hints::default();
    hints.renamed_columns.insert((users(), "display_name".into()), "fullname".into());
    let strategy = Strategy { way: Overlap::Views, why: "a test".into(), apps: vec!["shop".into()] };
    let (options, sizes, ddl) = (DiffOptions::default(), BTreeMap::new(), renderer(DIALECT));
    plan(&PlanRequest {
        current: &current,
        desired: &desired,
        hints: &hints,
        options: &options,
        ddl: &*ddl,
        sizes: &sizes,
        id: RENAME,
        parent: Some(FIRST),
        strategy: &strategy,
    })
    .unwrap()
}

fn both() -> Migrations {
    migrations(DIALECT, &[first(DIALECT), rename()])
}

async fn expand(db: &TestDatabase) -> Result<(), Error> {
    let options = ApplyOptions { until: Phase::Backfill, wait: Some(Duration::from_secs(20)), ..Default::default() };
    apply(&db.url, &both(), &options, Arc::new(NoProgress)).await.map(drop)
}

async fn pool(db: &TestDatabase, options: PgPoolOptions) -> PgPool {
    options.max_connections(1).connect(&db.url).await.unwrap()
}

async fn fullname(pool: &PgPool) -> Result<String, sqlx::Error> {
    sqlx::query("SELECT * FROM users").fetch_one(pool).await.and_then(|row| row.try_get("fullname"))
}

#[tokio::test]
async fn a_rename_waits_for_no_old_version_that_sees_views_and_is_taken_back_under_it() {
    let db = applied().await;
    db.execute("INSERT INTO users VALUES (1, 'Ada')").await;
    let instance = shop(&db, "shop").await;
    let old = pool(&db, PgPoolOptions::new().after_connect(instance.hook())).await;
    assert_eq!(fullname(&old).await.unwrap(), "Ada");
    let found = connections_of(&db.url, FIRST).await.unwrap();
    assert_eq!((found.apps, found.against), (vec!["shop".to_owned()], vec![]));

    expand(&db).await.unwrap();
    assert_eq!(fullname(&old).await.unwrap(), "Ada", "a statement that was prepared before");
    assert_eq!(db.text("SELECT display_name FROM users").await.as_deref(), Some("Ada"));
    abort(&db.url, &both(), RENAME, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
    assert_eq!(fullname(&old).await.unwrap(), "Ada", "taken back");
    assert_eq!(db.text("SELECT fullname FROM users").await.as_deref(), Some("Ada"));

    expand(&db).await.unwrap();
    assert_eq!(fullname(&old).await.unwrap(), "Ada");
    let closed = apply(&db.url, &both(), &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap_err();
    assert!(matches!(closed, Error::GateClosed { .. }), "the view is needed: {closed}");
    old.close().await;
    instance.shutdown().await;
    let patient = ApplyOptions { wait: Some(Duration::from_secs(20)), ..Default::default() };
    apply(&db.url, &both(), &patient, Arc::new(NoProgress)).await.unwrap();
    let schemas = "SELECT count(*) || '' FROM pg_namespace WHERE nspname LIKE 'schemadiff\\_%'";
    assert_eq!(db.text(schemas).await.as_deref(), Some("0"), "the schema goes with its last view");
}

#[tokio::test]
async fn nothing_is_begun_while_a_connection_of_the_old_version_has_no_views() {
    let db = applied().await;
    let instance = shop(&db, "shop").await;
    let hooked = pool(&db, PgPoolOptions::new().after_connect(instance.hook())).await;
    let bare = pool(&db, PgPoolOptions::new()).await;
    // A session of somebody else is no connection of the application.
    let report = db.url.parse::<PgConnectOptions>().unwrap().application_name("report");
    let report = PgPoolOptions::new().max_connections(1).connect_with(report).await.unwrap();
    let pid = text(&bare, "SELECT pg_backend_pid()::text").await;
    let columns = "SELECT string_agg(attname, ' ') FROM pg_attribute WHERE attrelid = 'users'::regclass AND attnum > 0";

    let error = expand(&db).await.unwrap_err();
    let Error::NotBehindViews { against, .. } = &error else { panic!("{error}") };
    assert!(against.len() == 1 && against[0].contains(&format!("session {pid} ")), "{against:?}");
    assert!(error.help().iter().any(|help| help.contains("--strategy synced")));
    assert!(!connections_of(&db.url, FIRST).await.unwrap().against.is_empty());
    bare.close().await;

    // Another application with the same migrations, for which the plan has no views.
    let other = shop(&db, "worker").await;
    let error = expand(&db).await.unwrap_err();
    assert!(error.to_string().contains("worker runs"), "{error}");
    other.shutdown().await;

    // One that goes through a pooler from now on.
    db.execute("UPDATE schemadiff.lease SET evidence = 'heartbeat' WHERE app = 'shop'").await;
    let error = expand(&db).await.unwrap_err();
    assert!(matches!(error, Error::NotBehindViews { .. } | Error::GateClosed { .. }), "{error}");
    db.execute("UPDATE schemadiff.lease SET evidence = 'lock' WHERE app = 'shop'").await;

    assert_eq!(db.text(columns).await.as_deref(), Some("id fullname"), "nothing was begun");
    expand(&db).await.unwrap();
    assert_eq!(db.text(columns).await.as_deref(), Some("id display_name"));
    drop((hooked, report));
    instance.shutdown().await;
}
