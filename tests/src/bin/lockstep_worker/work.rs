//! An instance that works while everything around it breaks: every row it was told is stored is printed, and so is every
//! statement that failed for another reason than a lost connection.

use std::{sync::Arc, time::Duration};

use schemadiff::{Lockstep, embed::Migrations, lockstep::Ready};
use sqlx::{
    AssertSqlSafe, Pool, Row as _,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::SqlitePoolOptions,
};

use super::Lines;

/// What a start may end with when servers and processes are killed; everything else is a mistake of ours.
const EXPECTED: [&str; 9] = ["SD0550", "SD0553", "SD0555", "SD0650", "SD0651", "SD0755", "SD0850", "SD1050", "SD0852"];

/// Runs until it is killed or refused. `column` is the one beside `id` that this version writes and reads.
pub async fn work(url: &str, dir: &str, schema: &str, column: &str) {
    let schema = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    let options = super::options();
    let started = Lockstep::builder("shop", Migrations::load(dir).unwrap())
        .grace(options.grace)
        .soak(options.soak)
        .pace(options.pace)
        .heartbeat(Duration::from_millis(100))
        .contract_poll(Duration::from_millis(100))
        .wait_deadline(Duration::from_secs(60))
        .database_url(url)
        .schema(schema)
        .progress(Arc::new(Lines))
        .start()
        .await;
    let lockstep = match started {
        Ok(lockstep) => lockstep,
        Err(error) if EXPECTED.contains(&error.code()) => {
            println!("ended {}", error.code());
            return;
        }
        Err(error) => {
            println!("failed to start: {}: {error}", error.code());
            return;
        }
    };
    println!("ready");
    let patience = Duration::from_secs(2);
    if url.starts_with("sqlite") {
        let pool = lockstep.guarded(SqlitePoolOptions::new().max_connections(2).acquire_timeout(patience));
        sqlite(pool.connect_lazy(url).unwrap(), &lockstep, column).await;
        return;
    }
    let pool = lockstep.guarded(PgPoolOptions::new().max_connections(3).acquire_timeout(patience));
    if std::env::var_os("LOCKSTEP_POOLED").is_some() {
        let options = url.parse::<PgConnectOptions>().unwrap().extra_float_digits(None);
        pooled(pool.connect_lazy_with(options), &lockstep, column).await;
    } else {
        postgres(pool.connect_lazy(url).unwrap(), &lockstep, column).await;
    }
}

/// Through a pooler that gives each transaction another session: statements are sent as they are.
async fn pooled(pool: Pool<sqlx::Postgres>, lockstep: &Lockstep, column: &str) {
    let first = i64::from(std::process::id()) * 1_000_000;
    for id in first.. {
        let text = format!("user {id}");
        let insert = format!("INSERT INTO users (id, {column}) VALUES ({id}, '{text}')");
        let stored = said(sqlx::raw_sql(AssertSqlSafe(insert.as_str())).execute(&pool).await, &insert).is_some();
        if stored {
            println!("stored {id}");
        }
        let select = format!("SELECT id, {column} FROM users WHERE id = {id}");
        let row = sqlx::raw_sql(AssertSqlSafe(select.as_str())).fetch_optional(&pool).await;
        if let Some(row) = said(row, &select)
            && stored
        {
            let read = row.map(|row| (row.get::<i64, _>(0), row.get::<Option<String>, _>(1)));
            if read != Some((id, Some(text))) {
                println!("failed: row {id} reads as {read:?}");
            }
        }
        if let Ready::Refused { .. } = lockstep.ready().await {
            println!("ended by a refusal");
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

macro_rules! on {
    ($name:ident, $db:ty) => {
        async fn $name(pool: Pool<$db>, lockstep: &Lockstep, column: &str) {
            let insert = format!("INSERT INTO users (id, {column}) VALUES ($1, $2)");
            let select = format!("SELECT id, {column} FROM users WHERE id = $1");
            let first = i64::from(std::process::id()) * 1_000_000;
            for id in first.. {
                let text = format!("user {id}");
                let query = sqlx::query(AssertSqlSafe(insert.as_str())).bind(id).bind(&text);
                let stored = said(query.execute(&pool).await, &insert).is_some();
                if stored {
                    println!("stored {id}");
                }
                let query = sqlx::query_as::<_, (i64, Option<String>)>(AssertSqlSafe(select.as_str())).bind(id);
                if let Some(read) = said(query.fetch_optional(&pool).await, &select)
                    && stored
                    && read != Some((id, Some(text)))
                {
                    println!("failed: row {id} reads as {read:?}");
                }
                if let Ready::Refused { .. } = lockstep.ready().await {
                    println!("ended by a refusal");
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
}

on!(postgres, sqlx::Postgres);
on!(sqlite, sqlx::Sqlite);

/// What a statement gave; one that failed although the database was there is printed.
fn said<T>(result: Result<T, sqlx::Error>, sql: &str) -> Option<T> {
    let lost = |code: &str| {
        // The server was told to end or is starting (57P0x), the connection broke (08), a file is locked by others (5).
        code.starts_with("57P0") || code.starts_with("08") || code == "5"
    };
    match result {
        Ok(given) => return Some(given),
        Err(sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed) => {
        }
        Err(sqlx::Error::Database(e)) if e.code().is_some_and(|code| lost(&code)) => {}
        Err(error) => println!("failed: {error} in {sql}"),
    }
    None
}
