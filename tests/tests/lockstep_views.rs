//! Compatibility views of a version: its connections see them, nobody else's do.

use std::{sync::Arc, time::Duration};

use schemadiff::{
    Lockstep,
    compat::view_schema,
    lockstep::{
        Contract, NoProgress,
        admin::{ApplyOptions, apply},
    },
    model::Dialect,
};
use schemadiff_tests::{
    engine::TestDatabase,
    lockstep::{FIRST, first, migrations, old_code},
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
