//! The golden cases: `tests/golden/<case>/`, see `tests/tests/plan_golden.rs`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use schemadiff::model::Dialect;

/// The folders of all cases, or of the one that `SCHEMADIFF_CASE` names.
pub fn cases() -> Vec<PathBuf> {
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

/// The case's name.
pub fn name_of(case: &Path) -> String {
    case.file_name().unwrap().to_string_lossy().into_owned()
}
