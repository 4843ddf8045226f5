//! A replica of a service in a rolling deploy: it carries its migrations itself, serves until it is asked to stop, and says of
//! every statement that failed. It knows of no error that may happen.

use std::{io::Read as _, sync::Arc, time::Duration};

use schemadiff::{Lockstep, embed::Migrations, lockstep::Role};
use sqlx::{
    AssertSqlSafe, Executor as _, Row as _,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};
use tokio::sync::watch;

use super::Lines;

/// What a replica is told.
pub struct Args<'a> {
    pub url: &'a str,
    /// Where its pool connects to: the same, or a pooler.
    pub pool_url: &'a str,
    pub dir: &'a str,
    pub app: &'a str,
    pub schema: &'a str,
    /// The columns beside `id` that this version writes and reads.
    pub columns: Vec<&'a str>,
    /// Whether a job of its own carries migrations out.
    pub waits_only: bool,
}

/// Runs until standard input closes.
pub async fn run(args: Args<'_>) {
    let schema = serde_json::from_str(&std::fs::read_to_string(args.schema).unwrap()).unwrap();
    let started = Lockstep::builder(args.app, Migrations::load(args.dir).unwrap())
        .heartbeat(Duration::from_millis(500))
        .contract_poll(Duration::from_millis(200))
        .wait_deadline(Duration::from_secs(120))
        .database_url(args.url)
        .schema(schema)
        .role(if args.waits_only { Role::WaitOnly } else { Role::Apply })
        .progress(Arc::new(Lines))
        .start()
        .await;
    let lockstep = match started {
        Ok(lockstep) => lockstep,
        Err(error) => {
            println!("failed: start: {}: {error}", error.code());
            std::process::exit(error.exit_code().into());
        }
    };
    let (stop, stopped) = watch::channel(false);
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while std::io::stdin().read(&mut buffer).is_ok_and(|n| n > 0) {}
        stop.send_replace(true);
    });
    let patience = Duration::from_secs(60);
    if args.url.starts_with("sqlite") {
        let options = args.pool_url.parse::<SqliteConnectOptions>().unwrap();
        let options = options.journal_mode(SqliteJournalMode::Wal).busy_timeout(patience);
        let pool = lockstep.guarded(SqlitePoolOptions::new().max_connections(2).acquire_timeout(patience));
        sqlite(pool.connect_with(options).await.unwrap(), &args.columns, stopped).await;
    } else if args.pool_url == args.url {
        let pool = lockstep.guarded(PgPoolOptions::new().max_connections(2).acquire_timeout(patience));
        postgres(pool.connect(args.url).await.unwrap(), &args.columns, stopped).await;
    } else {
        let options = args.pool_url.parse::<PgConnectOptions>().unwrap().extra_float_digits(None);
        let pool = lockstep.guarded(PgPoolOptions::new().max_connections(2).acquire_timeout(patience));
        pooled(pool.connect_with(options).await.unwrap(), &args.columns, stopped).await;
    }
    lockstep.shutdown().await;
    println!("ended");
}

/// Statements of one round: write a row, write it again, read it.
struct Statements {
    insert: String,
    update: String,
    select: String,
}

impl Statements {
    /// With parameters, or with the values in the text.
    fn new(columns: &[&str], id: &str, values: &[&str; 2]) -> Self {
        let each = |value: &str| vec![value; columns.len()].join(", ");
        let set: Vec<String> = columns.iter().map(|column| format!("{column} = {}", values[1])).collect();
        let list = columns.join(", ");
        Self {
            insert: format!("INSERT INTO users (id, {list}) VALUES ({id}, {})", each(values[0])),
            update: format!("UPDATE users SET {} WHERE id = {id}", set.join(", ")),
            select: format!("SELECT id, {list} FROM users WHERE id = {id}"),
        }
    }
}

fn first_id() -> i64 {
    i64::from(std::process::id()) * 1_000_000
}

fn failed(error: &sqlx::Error, sql: &str) {
    println!("failed: {error} in {sql}");
}

macro_rules! prepared {
    ($name:ident, $db:ty) => {
        async fn $name(pool: sqlx::Pool<$db>, columns: &[&str], stopped: watch::Receiver<bool>) {
            println!("ready");
            let statements = Statements::new(columns, "$1", &["$2", "$2"]);
            for id in first_id().. {
                if *stopped.borrow() {
                    break;
                }
                let (first, second) = (format!("User {id}"), format!("User {id} again"));
                for (sql, value) in [(&statements.insert, &first), (&statements.update, &second)] {
                    match sqlx::query(AssertSqlSafe(sql.as_str())).bind(id).bind(value).execute(&pool).await {
                        Ok(done) if done.rows_affected() == 1 => println!("stored {id} {value}"),
                        Ok(done) => println!("failed: {} rows in {sql}", done.rows_affected()),
                        Err(error) => failed(&error, sql),
                    }
                }
                match sqlx::query(AssertSqlSafe(statements.select.as_str())).bind(id).fetch_one(&pool).await {
                    Ok(row)
                        if (1..=columns.len()).all(|at| row.try_get::<String, _>(at).is_ok_and(|v| v == second)) => {}
                    Ok(_) => println!("failed: row {id} is not what was written"),
                    Err(error) => failed(&error, &statements.select),
                }
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
            pool.close().await;
        }
    };
}

prepared!(postgres, sqlx::Postgres);
prepared!(sqlite, sqlx::Sqlite);

/// A pooler in transaction mode keeps no prepared statement between two transactions.
async fn pooled(pool: sqlx::PgPool, columns: &[&str], stopped: watch::Receiver<bool>) {
    println!("ready");
    for id in first_id().. {
        if *stopped.borrow() {
            break;
        }
        let (first, second) = (format!("User {id}"), format!("User {id} again"));
        let quoted = [format!("'{first}'"), format!("'{second}'")];
        let statements = Statements::new(columns, &id.to_string(), &[&quoted[0], &quoted[1]]);
        for (sql, value) in [(&statements.insert, &first), (&statements.update, &second)] {
            match pool.execute(sqlx::raw_sql(AssertSqlSafe(sql.as_str()))).await {
                Ok(done) if done.rows_affected() == 1 => println!("stored {id} {value}"),
                Ok(done) => println!("failed: {} rows in {sql}", done.rows_affected()),
                Err(error) => failed(&error, sql),
            }
        }
        match pool.fetch_one(sqlx::raw_sql(AssertSqlSafe(statements.select.as_str()))).await {
            Ok(row) if (1..=columns.len()).all(|at| row.try_get::<String, _>(at).is_ok_and(|v| v == second)) => {}
            Ok(_) => println!("failed: row {id} is not what was written"),
            Err(error) => failed(&error, &statements.select),
        }
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    pool.close().await;
}
