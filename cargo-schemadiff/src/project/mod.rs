//! The `crate` and `artifact:PATH` sides: build what is asked for, and read the tables out of what was built.

mod artifact;
mod build;
mod select;

use std::path::PathBuf;

use schemadiff::artifact::{LowerError, TableDecl};

use crate::{Error, Kind};

pub use artifact::read_artifact;
pub use build::{build_and_read, cargo_command};

/// What to build, as cargo's own options say it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CrateSelection {
    /// `--manifest-path`.
    pub manifest_path: Option<PathBuf>,
    /// `--package`.
    pub package: Option<String>,
    /// Which target of the package.
    pub target: TargetSelection,
    /// `--features`.
    pub features: Vec<String>,
    /// `--all-features`.
    pub all_features: bool,
    /// `--no-default-features`.
    pub no_default_features: bool,
    /// `--profile`.
    pub profile: Option<String>,
    /// `--release`.
    pub release: bool,
    /// `--target-dir`.
    pub target_dir: Option<PathBuf>,
    /// `--locked`.
    pub locked: bool,
    /// `--offline`.
    pub offline: bool,
    /// `--frozen`.
    pub frozen: bool,
    /// Passes cargo's progress on to the terminal while it builds.
    pub show_progress: bool,
}

/// A target of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TargetSelection {
    /// The only binary or `default-run`; the library of a package without a binary.
    #[default]
    Default,
    /// `--lib`.
    Lib,
    /// `--bin NAME`.
    Bin(String),
    /// `--example NAME`.
    Example(String),
}

/// Tables of a target that was just built.
#[derive(Debug, Clone)]
pub struct BuiltCrate {
    /// Its tables, by Rust path.
    pub tables: Vec<TableDecl>,
    /// What cargo wrote: the executable or the library.
    pub path: PathBuf,
    /// Name of the package, which is the application's name where none is configured.
    pub package: String,
}

/// What [`schemadiff::artifact::lower`] refused, as one error for the terminal.
pub fn refused(errors: &[LowerError]) -> Error {
    let effect = match errors.len() {
        1 => "the structs declare something the database cannot have".to_owned(),
        count => format!("the structs declare {count} things the database cannot have"),
    };
    let lines: Vec<String> = errors.iter().map(|error| format!("{}: {}", error.location, error.message)).collect();
    let mut out = Error::new(Kind::Project, "SD0309", effect).cause(lines.join("\n"));
    for error in errors {
        if !out.help.contains(&error.help) {
            out = out.help(&error.help);
        }
    }
    out
}
