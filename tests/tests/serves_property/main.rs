//! The predicate agrees with a real server: for generated pairs of a database's state and a code schema, the statements
//! of that code succeed exactly when `serves` says that it is served.
//!
//! `SCHEMADIFF_PAIRS=20000` runs more pairs, `SCHEMADIFF_SEED=2` other ones; a failure shows the smallest pair found.

mod pairs;
mod trial;

use std::cell::RefCell;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use schemadiff::model::Dialect;
use schemadiff_tests::engine::Postgres;

use pairs::pair;
use trial::{Count, Trial};

fn setting(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// Runs pairs against one connection; what each leaves behind is rolled back.
fn agrees(dialect: Dialect, url: &str, default_pairs: u32) {
    let cases = setting("SCHEMADIFF_PAIRS", default_pairs);
    let mut seed = [7_u8; 32];
    seed[..4].copy_from_slice(&setting("SCHEMADIFF_SEED", 1).to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let trial = RefCell::new(runtime.block_on(Trial::connect(dialect, url)));
    let result =
        runner.run(&pair(dialect), |pair| runtime.block_on(trial.borrow_mut().run(&pair)).map_err(TestCaseError::fail));
    let Count { served, refused } = trial.borrow().count;
    println!("{dialect}: {cases} pairs, {served} served, {refused} not");
    if let Err(failure) = result {
        panic!("{failure}");
    }
    // A generator that makes only one kind of pairs would prove nothing.
    assert!(served * 10 > cases && refused * 10 > cases, "{served} served and {refused} refused of {cases}");
}

#[test]
fn on_sqlite() {
    agrees(Dialect::Sqlite, "sqlite::memory:", 4000);
}

#[test]
fn on_postgres() {
    let database = Postgres::shared().database();
    agrees(Dialect::Postgres, &database.url, 2000);
}
