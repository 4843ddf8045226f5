//! The code in docs/deploying.md is compiled: each block stands here as it is written there.
#![allow(dead_code, non_snake_case, reason = "what is compiled is what counts")]

use std::time::Duration;

use schemadiff::{
    Lockstep,
    embed::Migrations,
    lockstep::{Builder, Probe, Role},
};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::support::workspace;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

async fn rolling(MIGRATIONS: &Migrations, url: String, serve_probes: impl Fn(Probe)) -> Result<()> {
    let probe = schemadiff::lockstep::Probe::default();
    serve_probes(probe.clone());
    let lockstep = schemadiff::Lockstep::builder("shop", MIGRATIONS.clone())
        .database_url(&url)
        .revision(option_env!("GIT_REVISION").unwrap_or("unknown"))
        .wait_deadline(Duration::from_secs(3600))
        .probe(&probe)
        .start()
        .await?;
    let pool = lockstep.guarded(PgPoolOptions::new()).connect(&url).await?;
    pool.close().await;
    println!("{} {}", probe.ready().await.is_ready(), probe.ready().await.is_live());
    lockstep.shutdown().await;
    Ok(())
}

fn with_a_job(MIGRATIONS: &Migrations) -> Builder {
    Lockstep::builder("shop", MIGRATIONS.clone()).role(Role::WaitOnly)
}

async fn pooled(MIGRATIONS: &Migrations, direct_url: String, pooled_url: String) -> Result<()> {
    let lockstep = Lockstep::builder("shop", MIGRATIONS.clone()).database_url(&direct_url).start().await?;
    let options = pooled_url.parse::<PgConnectOptions>()?.extra_float_digits(None);
    let pool = lockstep.guarded(PgPoolOptions::new()).connect_with(options).await?;
    pool.close().await;
    Ok(())
}

async fn beside_standbys(MIGRATIONS: &Migrations, primary_url: String, standby_url: String) -> Result<()> {
    let lockstep =
        Lockstep::builder("shop", MIGRATIONS.clone()).database_url(&primary_url).reads_from_standbys().start().await?;
    let writes = lockstep.guarded(PgPoolOptions::new()).connect(&primary_url).await?;
    let reads = lockstep.guarded(PgPoolOptions::new()).connect(&standby_url).await?;
    drop((writes, reads));
    Ok(())
}

#[test]
fn every_block_of_rust_is_compiled() {
    let document = workspace().join("docs/deploying.md");
    let missing = schemadiff_tests::document::blocks_missing_in(&document, include_str!("deploying_code.rs"));
    assert!(missing.is_empty(), "not compiled anywhere: {missing:#?}");
}
