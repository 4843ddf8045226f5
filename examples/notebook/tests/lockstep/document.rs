//! The code in docs/diesel.md is compiled: each block stands here or in version 2 as it is written there.
#![allow(dead_code, reason = "what is compiled is what counts")]

use diesel::{
    PgConnection,
    r2d2::{ConnectionManager, Pool},
};
use diesel_migrations::MigrationHarness as _;
use schemadiff::{Lockstep, embed::Migrations};
use schemadiff_tests::program::workspace;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn direct(connection: &mut PgConnection, migrations: Migrations, url: String) -> Result<()> {
    let builder = Lockstep::builder("notebook", migrations).database_url(&url);
    let source = builder.clone().migration_source()?;
    connection.run_pending_migrations(source.clone())?;

    let lockstep = builder.start_blocking()?;
    let hook = lockstep.customizer(&url)?;
    let pool =
        Pool::builder().connection_customizer(Box::new(hook)).build(ConnectionManager::<PgConnection>::new(&url))?;
    drop(pool);
    Ok(())
}

fn pooled(migrations: Migrations, direct_url: String, pooled_url: String) -> Result<()> {
    let lockstep = Lockstep::builder("notebook", migrations).database_url(&direct_url).start_blocking()?;
    let hook = lockstep.customizer(&pooled_url)?;
    let pool = Pool::builder()
        .connection_customizer(Box::new(hook))
        .build(ConnectionManager::<PgConnection>::new(&pooled_url))?;
    drop(pool);
    Ok(())
}

#[test]
fn every_block_of_rust_is_compiled() {
    let compiled = [include_str!("document.rs"), include_str!("../../src/bin/notebook-v2/main.rs")].concat();
    let missing = schemadiff_tests::document::blocks_missing_in(&workspace().join("docs/diesel.md"), &compiled);
    assert!(missing.is_empty(), "not compiled anywhere: {missing:#?}");
}
