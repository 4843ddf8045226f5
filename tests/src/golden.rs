//! The golden cases: `tests/golden/<case>/`, see `tests/tests/plan_golden.rs`.

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use schemadiff::model::Dialect;

use crate::engine::Major;

/// The folders of all cases, or of the one that `SCHEMADIFF_CASE` names.
fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut cases: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    cases.sort();
    match std::env::var("SCHEMADIFF_CASE") {
        Ok(one) => cases.into_iter().filter(|p| p.ends_with(&one)).collect(),
        Err(_) => cases,
    }
}

/// A file of a case: the engine's own (`before.postgres.sql`), or the one for all (`before.sql`).
pub fn text_of(case: &Path, stem: &str, dialect: Dialect, extension: &str) -> Option<String> {
    let own = case.join(format!("{stem}.{dialect}.{extension}"));
    fs::read_to_string(own).or_else(|_| fs::read_to_string(case.join(format!("{stem}.{extension}")))).ok()
}

/// The golden plan of a case. On PostgreSQL, `postgres.plan.toml` is that of 15 and of every other version without one of its
/// own: `postgres14.plan.toml` is for 14, `postgres17.plan.toml` for 17 and all later ones.
pub fn plan_file(case: &Path, dialect: Dialect, major: Major) -> PathBuf {
    let own = |number: u32| case.join(format!("{dialect}{number}.plan.toml"));
    let candidates: Vec<u32> = match (dialect, major.number()) {
        (Dialect::Postgres, number) if number < BASE => vec![number],
        (Dialect::Postgres, number) => (BASE + 1..=number).rev().collect(),
        _ => Vec::new(),
    };
    let found = candidates.into_iter().map(own).find(|file| file.exists());
    found.unwrap_or_else(|| case.join(format!("{dialect}.plan.toml")))
}

/// Writes the golden plan of a case anew. A version has a file of its own where its plan differs from what it would share.
pub fn bless(case: &Path, dialect: Dialect, major: Major, text: &str) {
    let shared = case.join(format!("{dialect}.plan.toml"));
    if dialect != Dialect::Postgres || major.number() == BASE {
        return fs::write(shared, text).unwrap();
    }
    let own = case.join(format!("{dialect}{}.plan.toml", major.number()));
    let _ = fs::remove_file(&own);
    if fs::read_to_string(plan_file(case, dialect, major)).ok().as_deref() != Some(text) {
        fs::write(own, text).unwrap();
    }
}

/// The version whose plans all others share.
const BASE: u32 = 15;

/// The case's name.
pub fn name_of(case: &Path) -> String {
    case.file_name().unwrap().to_string_lossy().into_owned()
}

/// Cases that are worked on at the same time: most of a case is waiting for a server.
const AT_ONCE: usize = 4;

/// Works on every case, several at a time, and returns what became of each in their order.
pub fn each_case<R: Send, F: Future<Output = R>>(work: impl Fn(PathBuf) -> F + Sync) -> Vec<R> {
    let waiting: Mutex<VecDeque<_>> = Mutex::new(cases().into_iter().enumerate().collect());
    let done = Mutex::new(Vec::new());
    let next = || waiting.lock().unwrap().pop_front();
    std::thread::scope(|threads| {
        for _ in 0..AT_ONCE {
            threads.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                while let Some((at, case)) = next() {
                    let result = runtime.block_on(work(case));
                    done.lock().unwrap().push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
