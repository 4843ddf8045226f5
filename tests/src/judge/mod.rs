//! Independent judges of SQL: found, or got where they are not there.

pub mod eugene;
mod squawk;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

pub use squawk::{Finding, squawk};

use crate::engine::{engines_folder, run};

/// A folder beside the engines, made once whoever asks first.
fn kept(name: &str, make: impl FnOnce(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let engines = engines_folder();
    fs::create_dir_all(&engines).map_err(|e| e.to_string())?;
    let lock = File::create(engines.join(format!(".{name}-lock"))).map_err(|e| e.to_string())?;
    lock.lock().map_err(|e| e.to_string())?;
    let folder = engines.join(name);
    if !folder.exists() {
        let unfinished = engines.join(format!("{name}.unfinished"));
        let _ = fs::remove_dir_all(&unfinished);
        fs::create_dir_all(&unfinished).map_err(|e| e.to_string())?;
        make(&unfinished)?;
        fs::rename(&unfinished, &folder).map_err(|e| e.to_string())?;
    }
    Ok(folder)
}

/// Downloads a Python package and unpacks it.
fn wheel(package: &str, version: &str, into: &Path) -> Result<(), String> {
    let wanted = format!("{package}=={version}");
    let python = |args: &[&str]| run(Command::new("python3").args(args).current_dir(into));
    python(&["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", &wanted])?;
    let files = fs::read_dir(into).map_err(|e| e.to_string())?;
    let wheel =
        files.filter_map(Result::ok).map(|file| file.path()).find(|p| p.extension().is_some_and(|e| e == "whl"));
    let wheel = wheel.ok_or("pip downloaded no wheel")?;
    python(&["-m", "zipfile", "-e", &wheel.to_string_lossy(), "."]).map(drop)
}
