//! Version 3 of the shop.

mod models;
mod store;

use clap::Parser;
use schemadiff::embed::Migrations;
use shop::{Cli, Result};

use store::Store;

/// The migrations of this version: a service for one engine has one directory.
fn migrations(url: &str) -> Migrations {
    if url.starts_with("sqlite:") {
        schemadiff::embed!("v3/migrations/sqlite")
    } else {
        schemadiff::embed!("v3/migrations/postgres")
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let migrations = migrations(&cli.database_url);
    shop::main(cli, "v3", migrations, |database| Store { database }).await
}
