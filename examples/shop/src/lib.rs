//! What all versions of the shop share: the command line, the connection, the load and its exact bookkeeping.
//!
//! A version's models, statements and migrations are in its own binary (`src/bin/shop-v1` to `src/bin/shop-v3`): in real
//! life they are commits of one service.

#![allow(missing_docs, reason = "an example to run and to read, whose fields say what they are")]

mod database;
mod journal;
mod load;
mod seed;
mod start;
mod stats;

use std::time::Duration;

use clap::{Parser, Subcommand};

pub use database::{Database, Error, Result};
pub use journal::{Entry, Expected, Journal};
pub use load::{ARTICLES, Held, Load, NewOrder, ON_HAND, run};
pub use seed::seed;
pub use start::main;
pub use stats::{Counters, Event, Stats};

/// The name under which the shop stands in the ledger.
pub const APP: &str = "shop";

/// A shop process.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// Database address
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// Address for the service's own connections, where they go through a pooler
    #[arg(long, env = "POOL_URL", hide_env_values = true)]
    pub pool_url: Option<String>,
    /// Carry migrations out in this process, instead of waiting for a pipeline that does
    #[arg(long, env = "MIGRATE")]
    pub migrate: bool,
    #[command(subcommand)]
    pub command: Command,
}

/// What a process does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fill an empty shop with customers and stock
    Seed {
        /// Customers
        #[arg(long)]
        customers: u64,
    },
    /// Print everything that the shop holds, one JSON object a line
    Export,
    /// Serve until standard input closes or SIGTERM arrives; one JSON object a line on standard output
    Serve(ServeArgs),
}

/// `serve`.
#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    /// Name of this process, unique among those that run
    #[arg(long)]
    pub name: String,
    /// File to note every acknowledged write in
    #[arg(long)]
    pub journal: std::path::PathBuf,
    /// Concurrent clients
    #[arg(long, default_value_t = 2)]
    pub clients: u32,
    /// Pause between two operations of a client, in milliseconds
    #[arg(long, default_value_t = 3)]
    pub pause_ms: u64,
}

impl ServeArgs {
    /// Pause between two operations of a client.
    pub const fn pause(&self) -> Duration {
        Duration::from_millis(self.pause_ms)
    }
}
