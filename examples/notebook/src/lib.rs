//! What both versions of the notebook share: lockstep, the pool, the load. A version's models and migrations are in its own
//! binary: in real life the two are two commits of one service.

#![allow(missing_docs, reason = "an example to run and to read, whose fields say what they are")]

mod load;
mod pool;

use std::env;

use diesel::{Connection as _, PgConnection, SqliteConnection, connection::SimpleConnection as _};
use diesel_migrations::MigrationHarness as _;
use schemadiff::{Lockstep, embed::Migrations, lockstep::Builder};

pub use load::{Held, Load, Summary};
pub use pool::Database;

/// The name under which the notebook stands in the ledger.
pub const APP: &str = "notebook";

/// Any failure.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// Does what the first argument says: `migrate`, `serve` or `list`. The address is in `DATABASE_URL`.
///
/// # Errors
/// When the database does not serve this version, or cannot be reached.
pub fn main<L: Load>(migrations: impl FnOnce(&str) -> Migrations) -> Result<()> {
    let url = env::var("DATABASE_URL").map_err(|_| "set DATABASE_URL to postgres://… or sqlite:PATH")?;
    let builder = Lockstep::builder(APP, migrations(&url)).database_url(&url);
    match env::args().nth(1).as_deref() {
        Some("migrate") => migrate(&url, builder),
        Some("serve") => {
            // What an application with Diesel does anyway when it starts, with another source.
            migrate(&url, builder.clone())?;
            // From here on this version is known to be alive, and the database goes on serving it.
            let lockstep = builder.start_blocking()?;
            let database = Database::open(&url, &lockstep)?;
            load::serve::<L>(&database)?;
            drop(database);
            lockstep.shutdown();
            Ok(())
        }
        Some("list") => {
            let lockstep = builder.start_blocking()?;
            let notes = L::list(&Database::open(&url, &lockstep)?)?;
            for note in notes {
                println!("{}", serde_json::to_string(&note)?);
            }
            Ok(())
        }
        _ => Err("say migrate, serve or list".into()),
    }
}

/// Carries out the steps that may be carried out now, and says what is left to whom.
fn migrate(url: &str, builder: Builder) -> Result<()> {
    let source = builder.migration_source()?;
    let ran: Vec<String> = if url.starts_with("sqlite:") {
        let mut connection = SqliteConnection::establish(pool::sqlite_path(url))?;
        connection.batch_execute(pool::PATIENCE)?;
        connection.run_pending_migrations(source.clone())?.iter().map(ToString::to_string).collect()
    } else {
        let mut connection = PgConnection::establish(url)?;
        connection.run_pending_migrations(source.clone())?.iter().map(ToString::to_string).collect()
    };
    for version in ran {
        println!("ran {version}");
    }
    for waiting in source.status()?.waiting {
        let holders: Vec<String> = waiting.holders.iter().map(ToString::to_string).collect();
        println!("{} of {} waits for {}", waiting.title, waiting.migration, holders.join("; "));
    }
    Ok(())
}
