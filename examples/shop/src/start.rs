//! How a shop process starts: in lockstep with the database, and with the hook on every connection.

use std::time::{Duration, Instant};

use schemadiff::{Lockstep, embed::Migrations, lockstep::Role};
use sqlx::{
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::SqlitePoolOptions,
};

use crate::{APP, Cli, Command, Database, Load, Result, database::sqlite_options, run};

/// Connections of one process.
const CONNECTIONS: u32 = 4;

/// Does what the command line says, with a version's statements and migrations.
///
/// # Errors
/// When the database does not serve this version, or cannot be reached.
pub async fn main<L: Load>(
    cli: Cli,
    version: &str,
    migrations: Migrations,
    open: impl FnOnce(Database) -> L,
) -> Result<()> {
    let start = Instant::now();
    let lockstep = Lockstep::builder(APP, migrations)
        .database_url(&cli.database_url)
        .role(if cli.migrate { Role::Apply } else { Role::WaitOnly })
        .wait_deadline(Duration::from_secs(60))
        .start()
        .await?;
    let database = connect(cli.pool_url.as_ref().unwrap_or(&cli.database_url), &lockstep).await?;
    let load = open(database.clone());
    let result = match cli.command {
        Command::Seed { customers } => load.seed(customers).await,
        Command::Export => load.export().await.and_then(|held| {
            held.iter().try_for_each(|row| {
                println!("{}", serde_json::to_string(row)?);
                Ok(())
            })
        }),
        Command::Serve(args) => run(load, &args, version, start.elapsed()).await,
    };
    database.close().await;
    lockstep.shutdown().await;
    result
}

async fn connect(url: &str, lockstep: &Lockstep) -> Result<Database> {
    let patience = Duration::from_secs(60);
    Ok(if url.starts_with("sqlite:") {
        let options = SqlitePoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(patience);
        Database::Sqlite(lockstep.guarded(options).connect_with(sqlite_options(url)?).await?)
    } else {
        let options = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(patience);
        // PgBouncer refuses a parameter of the session that it cannot give to another client.
        let connection: PgConnectOptions = url.parse()?;
        Database::Postgres(lockstep.guarded(options).connect_with(connection.extra_float_digits(None)).await?)
    })
}
