//! squawk, which reads statements: found, or downloaded where it is not there.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// Its rules change from version to version.
const VERSION: &str = "2.70.0";

/// Something that it has found.
#[derive(Debug, serde::Deserialize)]
pub struct Finding {
    /// The file, as it was named.
    pub file: PathBuf,
    /// Line, from zero.
    pub line: usize,
    /// The rule.
    pub rule_name: String,
    /// What it says.
    pub message: String,
}

/// Judges every file of a folder. Rules of taste are left out, and those about clients that need not hear of it yet are asked for.
pub fn squawk(folder: &Path) -> Vec<Finding> {
    let output = Command::new(program())
        .current_dir(folder)
        .args(["--pg-version=15.0", "--assume-in-transaction", "--reporter", "json"])
        .arg("--exclude=prefer-text-field,prefer-bigint-over-int,prefer-bigint-over-smallint,prefer-timestamp-tz,prefer-identity")
        .arg("--include=ban-add-enum-value,ban-drop-trigger,ban-set-default,ban-drop-index")
        .arg("*.sql")
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("squawk says no JSON: {e}\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("SCHEMADIFF_SQUAWK") {
        return named.into();
    }
    let folder = super::kept(&format!("squawk-{VERSION}"), |folder| super::wheel("squawk-cli", VERSION, folder));
    let program = folder.unwrap_or_else(|why| {
        panic!(
            "this test needs squawk {VERSION} and could not get it ({why}).\n\
             Install it (`pip install squawk-cli=={VERSION}`) and name the program in SCHEMADIFF_SQUAWK."
        )
    });
    let program = program.join(format!("squawk_cli-{VERSION}.data/scripts/squawk"));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}
