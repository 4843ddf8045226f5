//! eugene, which carries statements out and looks at what the server did: found, or built where it is not there, which takes
//! about eight minutes.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::engine::run;

const VERSION: &str = "0.8.3";
/// Its build reads C headers with it.
const LIBCLANG: &str = "18.1.1";

/// Something that it has found.
#[derive(Debug, serde::Deserialize)]
pub struct Hint {
    /// The rule: `E1`, ...
    pub id: String,
    /// What it says.
    pub help: String,
    /// The statement.
    #[serde(skip)]
    pub sql: String,
}

#[derive(serde::Deserialize)]
struct Trace {
    statements: Vec<Statement>,
}

#[derive(serde::Deserialize)]
struct Statement {
    sql: String,
    triggered_rules: Vec<Hint>,
}

/// Carries out a file as one transaction of the database on a local server, and says what it found.
///
/// # Errors
/// Its words, when a statement fails or it cannot read one.
pub fn trace(port: u16, database: &str, file: &Path) -> Result<Vec<Hint>, String> {
    let output = Command::new(program())
        .args(["trace", "--disable-temporary", "-H", "127.0.0.1", "-p", &port.to_string(), "-U", "postgres"])
        .args(["-d", database, "-c", "-f", "json", "-a", "--sort-mode", "none"])
        .arg(file)
        // It will not begin without one; the server asks for none.
        .env("PGPASS", "none")
        .output()
        .map_err(|e| e.to_string())?;
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    let trace: Trace = serde_json::from_slice(&output.stdout).map_err(|e| format!("{e}: {}", said()))?;
    if !output.status.success() {
        return Err(said());
    }
    let hints = trace.statements.into_iter().flat_map(|statement| {
        let sql = statement.sql;
        statement.triggered_rules.into_iter().map(move |hint| Hint { sql: sql.clone(), ..hint })
    });
    Ok(hints.collect())
}

fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("SCHEMADIFF_EUGENE") {
        return named.into();
    }
    let folder = super::kept(&format!("eugene-{VERSION}"), build).unwrap_or_else(|why| {
        panic!(
            "this needs eugene {VERSION} and could not build it ({why}).\n\
             Install it (`cargo install eugene --version {VERSION}`) and name the program in SCHEMADIFF_EUGENE."
        )
    });
    folder.join("bin/eugene")
}

fn build(into: &Path) -> Result<(), String> {
    let clang = super::kept(&format!("libclang-{LIBCLANG}"), |folder| super::wheel("libclang", LIBCLANG, folder))?;
    let headers = Command::new("gcc").arg("-print-file-name=include").output().map_err(|e| e.to_string())?;
    let headers = String::from_utf8_lossy(&headers.stdout).trim().to_owned();
    let install = ["install", "eugene", "--version", VERSION, "--locked", "--root"];
    run(Command::new("cargo")
        .args(install)
        .arg(into)
        .env("LIBCLANG_PATH", clang.join("clang/native"))
        .env("BINDGEN_EXTRA_CLANG_ARGS", format!("-I{headers}")))
    .map(drop)
}
