//! Which package and which target are meant.

use cargo_metadata::{CargoOpt, Metadata, MetadataCommand, Package, Target, TargetKind};

use super::{CrateSelection, TargetSelection};
use crate::{Error, Kind, Result};

/// Reads the workspace.
pub(super) fn metadata(selection: &CrateSelection) -> Result<Metadata> {
    let mut command = MetadataCommand::new();
    if let Some(path) = &selection.manifest_path {
        command.manifest_path(path);
    }
    run(command, selection)
}

/// What a package depends on with the features that it is built with: an optional dependency is an edge only then.
pub(super) fn metadata_with_features(selection: &CrateSelection, package: &Package) -> Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.manifest_path(&package.manifest_path);
    if selection.all_features {
        command.features(CargoOpt::AllFeatures);
    }
    if selection.no_default_features {
        command.features(CargoOpt::NoDefaultFeatures);
    }
    if !selection.features.is_empty() {
        command.features(CargoOpt::SomeFeatures(selection.features.clone()));
    }
    run(command, selection)
}

fn run(mut command: MetadataCommand, selection: &CrateSelection) -> Result<Metadata> {
    let flags = [(selection.locked, "--locked"), (selection.offline, "--offline"), (selection.frozen, "--frozen")];
    command.other_options(flags.iter().filter(|(on, _)| *on).map(|(_, flag)| (*flag).to_owned()).collect::<Vec<_>>());
    command.exec().map_err(|error| {
        let text = match error {
            cargo_metadata::Error::CargoMetadata { stderr } => stderr.trim().to_owned(),
            other => other.to_string(),
        };
        let missing = text.contains("could not find `Cargo.toml`");
        let error = Error::new(Kind::Project, "SD0301", "cargo cannot read the project").cause(text);
        if missing {
            error
                .help("run it inside a package, or pass --manifest-path")
                .help("without the source, name a built program: artifact:PATH")
        } else {
            error
                .help("check that `cargo metadata` works here")
                .help("without cargo, name a built program: artifact:PATH")
        }
    })
}

/// The package with the structs.
pub(super) fn package<'m>(metadata: &'m Metadata, selection: &CrateSelection) -> Result<&'m Package> {
    let members: Vec<&Package> = metadata.workspace_packages();
    if let Some(name) = &selection.package {
        return members.iter().copied().find(|package| *package.name == **name).ok_or_else(|| {
            Error::new(Kind::Project, "SD0302", format!("no package `{name}` in the workspace"))
                .help(format!("packages are: {}", names(&members)))
        });
    }
    if let Some(package) = metadata.root_package() {
        return Ok(package);
    }
    let models: Vec<&Package> = members.iter().copied().filter(|package| uses_schemadiff(package)).collect();
    match (members.as_slice(), models.as_slice()) {
        ([package], _) | (_, [package]) => Ok(package),
        _ => {
            let candidates = if models.is_empty() { &members } else { &models };
            Err(Error::new(Kind::Project, "SD0302", "the workspace has several packages")
                .help(format!("name the one whose schema is meant: --package NAME, out of {}", names(candidates))))
        }
    }
}

fn uses_schemadiff(package: &Package) -> bool {
    package.dependencies.iter().any(|dependency| dependency.name == "schemadiff")
}

fn names(packages: &[&Package]) -> String {
    let mut names: Vec<String> = packages.iter().map(|package| package.name.to_string()).collect();
    names.sort();
    names.join(", ")
}

/// The target with the structs.
pub(super) fn target<'p>(package: &'p Package, selection: &TargetSelection) -> Result<&'p Target> {
    let of_kind = |wanted: fn(&TargetKind) -> bool| {
        package.targets.iter().filter(move |target| target.kind.iter().any(wanted)).collect::<Vec<_>>()
    };
    let bins = of_kind(|kind| *kind == TargetKind::Bin);
    let examples = of_kind(|kind| *kind == TargetKind::Example);
    let libs = of_kind(is_library);
    let missing = |what: &str, candidates: &[&Target]| {
        let error = Error::new(Kind::Project, "SD0303", format!("package `{}` has no {what}", package.name));
        if candidates.is_empty() { error } else { error.help(format!("it has {}", target_names(candidates))) }
    };
    let named = |targets: &[&'p Target], what: &str, name: &str| {
        let found = targets.iter().copied().find(|target| target.name == name);
        found.ok_or_else(|| missing(&format!("{what} `{name}`"), targets))
    };
    match selection {
        TargetSelection::Bin(name) => named(&bins, "binary", name),
        TargetSelection::Example(name) => named(&examples, "example", name),
        TargetSelection::Lib => libs.first().copied().ok_or_else(|| missing("library", &bins)),
        TargetSelection::Default => {
            let default = package.default_run.as_ref().and_then(|run| bins.iter().find(|bin| bin.name == *run));
            match (default, bins.as_slice(), libs.first()) {
                (Some(target), _, _) | (None, [target], _) | (None, [], Some(target)) => Ok(target),
                (None, [], None) => Err(missing("binary and no library", &[])
                    .help("name another package with --package, or a target with --example NAME")),
                _ => {
                    Err(Error::new(Kind::Project, "SD0303", format!("package `{}` has several binaries", package.name))
                        .help(format!("name the one whose schema is meant: --bin NAME, out of {}", target_names(&bins)))
                        .help("or --lib for the library, or `default-run` in Cargo.toml"))
                }
            }
        }
    }
}

fn target_names(targets: &[&Target]) -> String {
    targets.iter().map(|target| target.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Kinds of a library target that hold the section. A macro runs in the compiler and holds none.
pub(super) fn is_library(kind: &TargetKind) -> bool {
    matches!(kind, TargetKind::Lib | TargetKind::RLib | TargetKind::DyLib | TargetKind::CDyLib | TargetKind::StaticLib)
}
