//! Building the target with cargo, and finding what it wrote.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use cargo_metadata::{
    Artifact, DependencyKind, Message, Metadata, Package, PackageId, Target, TargetKind, diagnostic::DiagnosticLevel,
};
use schemadiff::artifact::TableDecl;

use super::{BuiltCrate, CrateSelection, artifact, select};
use crate::{Error, Kind, Result};

/// Builds the selected target and reads its tables.
///
/// A binary or example has the tables of every crate that it links. A library has its own and those of the packages that
/// it depends on, because nothing is linked yet that would say which of them it uses.
///
/// # Errors
/// [`Kind::Project`]: no such package or target, or several; a crate that does not compile, with the compiler's words; no
/// table in what was built.
pub fn build_and_read(selection: &CrateSelection) -> Result<BuiltCrate> {
    let metadata = select::metadata(selection)?;
    let package = select::package(&metadata, selection)?;
    let target = select::target(package, &selection.target)?;
    let artifacts = build(selection, package, target)?;
    let path = artifacts.of(&package.id, target).ok_or_else(|| {
        Error::new(Kind::Project, "SD0304", format!("cargo built nothing that could be read for `{}`", target.name))
            .help("check that the target's crate type is bin, lib, rlib, cdylib or staticlib")
    })?;
    let tables = if path.extension().is_some_and(|ext| ext == "rlib") {
        library_tables(&select::metadata_with_features(selection, package)?, package, path, &artifacts)?
    } else {
        artifact::read_artifact(path)?
    };
    Ok(BuiltCrate { tables, path: path.to_path_buf(), package: package.name.to_string() })
}

/// What cargo wrote, by package.
#[derive(Default)]
struct Artifacts(BTreeMap<PackageId, Vec<Artifact>>);

impl Artifacts {
    /// The file of a target that holds its section.
    fn of(&self, package: &PackageId, target: &Target) -> Option<&Path> {
        let built = self.0.get(package)?.iter().rev();
        let artifact = built.into_iter().find(|it| it.target.name == target.name && it.target.kind == target.kind)?;
        if let Some(executable) = &artifact.executable {
            return Some(executable.as_std_path());
        }
        // A Rust library first: it is there whatever other forms the library has.
        ["rlib", "so", "dylib", "dll", "a", "lib"].iter().find_map(|extension| {
            artifact.filenames.iter().find(|file| file.extension() == Some(extension)).map(|file| file.as_std_path())
        })
    }
}

fn library_tables(
    metadata: &Metadata,
    package: &Package,
    path: &Path,
    artifacts: &Artifacts,
) -> Result<Vec<TableDecl>> {
    let mut tables = artifact::read_file(path)?.unwrap_or_default();
    let derives: BTreeSet<PackageId> = dependents(metadata, "schemadiff");
    for id in dependencies(metadata, &package.id) {
        let Some(dependency) = metadata.packages.iter().find(|package| package.id == id) else { continue };
        let library = dependency.targets.iter().find(|target| target.kind.iter().any(select::is_library));
        if let (true, Some(library)) = (derives.contains(&id), library)
            && let Some(path) = artifacts.of(&dependency.id, library)
        {
            tables.extend(artifact::read_file(path)?.unwrap_or_default());
        }
    }
    tables.sort_by(|a, b| a.rust.cmp(&b.rust));
    if tables.is_empty() {
        return Err(Error::new(Kind::Project, "SD0305", format!("no table found in package `{}`", package.name))
            .cause("neither the library nor a package that it depends on derives `schemadiff::Table`")
            .help("derive it on the structs, or name the package that has them with --package"));
    }
    Ok(tables)
}

/// What depends on a package of that name at run time, also through another that shows it under a name of its own
/// (`pub use schemadiff`).
fn dependents(metadata: &Metadata, name: &str) -> BTreeSet<PackageId> {
    let nodes: Vec<_> = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes).collect();
    let named = metadata.packages.iter().filter(|package| *package.name == *name);
    let mut todo: Vec<PackageId> = named.map(|package| package.id.clone()).collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = todo.pop() {
        let is_it = |kinds: &cargo_metadata::NodeDep| {
            kinds.pkg == id && kinds.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
        };
        for node in nodes.iter().filter(|node| node.deps.iter().any(is_it)) {
            if seen.insert(node.id.clone()) {
                todo.push(node.id.clone());
            }
        }
    }
    seen
}

/// Everything a package depends on at run time.
fn dependencies(metadata: &Metadata, package: &PackageId) -> BTreeSet<PackageId> {
    let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    let nodes: BTreeMap<&PackageId, _> = nodes.map(|node| (&node.id, node)).collect();
    let (mut seen, mut todo) = (BTreeSet::new(), vec![package.clone()]);
    while let Some(id) = todo.pop() {
        let Some(node) = nodes.get(&id) else { continue };
        for dependency in &node.deps {
            let normal = dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            if normal && seen.insert(dependency.pkg.clone()) {
                todo.push(dependency.pkg.clone());
            }
        }
    }
    seen
}

fn arguments(selection: &CrateSelection, package: &Package, target: &Target) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["build".into(), "--message-format=json".into()];
    let mut push = |flag: &str, value: OsString| args.extend([flag.into(), value]);
    push("--manifest-path", package.manifest_path.clone().into_os_string());
    // The manifest names the package; its name alone may be there in two versions.
    push("--package", package.id.repr.clone().into());
    match target.kind.first() {
        Some(TargetKind::Bin) => push("--bin", target.name.clone().into()),
        Some(TargetKind::Example) => push("--example", target.name.clone().into()),
        _ => {
            // With LTO a library holds only bitcode, and no section yet.
            let profile = selection.profile.as_deref().unwrap_or(if selection.release { "release" } else { "dev" });
            args.extend(["--lib".into(), "--config".into(), format!("profile.{profile}.lto=false").into()]);
        }
    }
    let mut push = |flag: &str, value: OsString| args.extend([flag.into(), value]);
    for feature in &selection.features {
        push("--features", feature.into());
    }
    if let Some(profile) = &selection.profile {
        push("--profile", profile.into());
    }
    if let Some(dir) = &selection.target_dir {
        push("--target-dir", dir.into());
    }
    let flags = [
        (selection.all_features, "--all-features"),
        (selection.no_default_features, "--no-default-features"),
        (selection.release, "--release"),
        (selection.locked, "--locked"),
        (selection.offline, "--offline"),
        (selection.frozen, "--frozen"),
    ];
    args.extend(flags.iter().filter(|(on, _)| *on).map(|(_, flag)| OsString::from(flag)));
    args
}

fn build(selection: &CrateSelection, package: &Package, target: &Target) -> Result<Artifacts> {
    let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut child = cargo_command(&cargo)
        .args(arguments(selection, package, target))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| no_cargo(&cargo, &error))?;
    let progress = child.stderr.take().map(|stderr| {
        let show = selection.show_progress;
        std::thread::spawn(move || relay(stderr, show))
    });
    let (artifacts, diagnostics) = match child.stdout.take() {
        Some(stdout) => messages(stdout)?,
        None => Default::default(),
    };
    let status = child.wait().map_err(|error| no_cargo(&cargo, &error))?;
    let said = progress.and_then(|thread| thread.join().ok()).unwrap_or_default();
    if status.success() {
        return Ok(artifacts);
    }
    // The compiler's words, or cargo's when it did not get that far.
    let cause = if diagnostics.is_empty() { cargo_errors(&said) } else { diagnostics.join("\n") };
    Err(Error::new(Kind::Project, "SD0304", format!("package `{}` does not compile", package.name))
        .cause(cause.trim_end())
        .help("mend it until `cargo build` works; a schema is read from what compiles"))
}

/// Cargo without what a `cargo run` around this process says about the tool's own package. Build scripts look at those
/// variables (ring's does): with them, everything above such a crate would be compiled anew at each change between the
/// two ways of calling.
pub fn cargo_command(cargo: &Path) -> Command {
    let mut command = Command::new(cargo);
    for (name, _) in std::env::vars_os() {
        let of_a_package = name.to_str().is_some_and(|name| {
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|prefix| name.starts_with(prefix))
                || matches!(name, "CARGO_CRATE_NAME" | "CARGO_PRIMARY_PACKAGE" | "OUT_DIR")
        });
        if of_a_package {
            command.env_remove(name);
        }
    }
    command
}

fn no_cargo(cargo: &Path, error: &std::io::Error) -> Error {
    Error::new(Kind::Project, "SD0304", format!("cannot run {}", cargo.display()))
        .cause(error)
        .help("install cargo, or name a built program: artifact:PATH")
}

/// Keeps what cargo says, and shows it when asked to.
fn relay(stderr: impl Read, show: bool) -> String {
    let mut said = String::new();
    for line in BufReader::new(stderr).lines().map_while(std::result::Result::ok) {
        if show {
            anstream::eprintln!("{line}");
        }
        said.push_str(&line);
        said.push('\n');
    }
    said
}

fn messages(stdout: impl Read) -> Result<(Artifacts, Vec<String>)> {
    let (mut artifacts, mut diagnostics) = (Artifacts::default(), Vec::new());
    for message in Message::parse_stream(BufReader::new(stdout)) {
        let message = message.map_err(|error| {
            Error::new(Kind::Project, "SD0304", "cannot read what cargo says").cause(error).help("try again")
        })?;
        match message {
            Message::CompilerArtifact(artifact) => {
                artifacts.0.entry(artifact.package_id.clone()).or_default().push(artifact);
            }
            // rustc ends with a summary that has no place in the source.
            Message::CompilerMessage(said)
                if said.message.level == DiagnosticLevel::Error
                    && (!said.message.spans.is_empty() || said.message.code.is_some()) =>
            {
                diagnostics.extend(said.message.rendered);
            }
            _ => {}
        }
    }
    Ok((artifacts, diagnostics))
}

/// From cargo's first error on; before it there is only progress.
fn cargo_errors(said: &str) -> String {
    let start = said.find("error").unwrap_or_default();
    said[start..].to_owned()
}
