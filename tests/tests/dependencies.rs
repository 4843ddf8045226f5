//! Licences and bans of `deny.toml`, held without cargo-deny and without network.

use std::{collections::BTreeSet, path::Path};

use serde::Deserialize;

#[derive(Deserialize)]
struct Deny {
    licenses: Licences,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licences {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(Deserialize)]
struct Banned {
    name: String,
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn deny() -> Deny {
    toml::from_str(&std::fs::read_to_string(workspace().join("deny.toml")).unwrap()).unwrap()
}

fn metadata() -> cargo_metadata::Metadata {
    let mut command = cargo_metadata::MetadataCommand::new();
    let command = command.manifest_path(workspace().join("Cargo.toml"));
    command.other_options(vec!["--locked".into(), "--all-features".into()]).exec().unwrap()
}

#[test]
fn every_licence_is_allowed() {
    let allowed = deny().licenses.allow;
    let mut refused = Vec::new();
    for package in metadata().packages {
        let text = package.license.clone().unwrap_or_default();
        let permitted = spdx::Expression::parse_mode(&text, spdx::ParseMode::LAX)
            .is_ok_and(|expression| expression.evaluate(|wanted| allowed.contains(&wanted.to_string())));
        if !permitted {
            refused.push(format!("{} {}: {text:?}", package.name, package.version));
        }
    }
    assert!(refused.is_empty(), "licences that deny.toml does not allow:\n{}", refused.join("\n"));
}

#[test]
fn no_banned_crate_is_used() {
    let banned: BTreeSet<_> = deny().bans.deny.into_iter().map(|b| b.name).collect();
    let used: Vec<_> =
        metadata().packages.into_iter().map(|p| p.name.to_string()).filter(|name| banned.contains(name)).collect();
    assert!(used.is_empty(), "banned crates: {used:?}");
}

#[test]
fn everything_comes_from_the_registry_or_the_workspace() {
    let outside = |p: &cargo_metadata::Package| {
        p.source.as_ref().is_some_and(|s| !s.repr.starts_with("registry+") && !s.repr.starts_with("sparse+"))
    };
    let found: Vec<_> = metadata().packages.into_iter().filter(outside).map(|p| p.name.to_string()).collect();
    assert!(found.is_empty(), "{found:?}");
}

/// What the features for Diesel bring into an application: no native library, and none of Diesel's backends.
#[test]
fn the_features_for_diesel_need_no_native_library() {
    let tree = |features: &str| {
        let mut cargo = std::process::Command::new(env!("CARGO"));
        cargo.current_dir(workspace()).args([
            "tree",
            "--locked",
            "--offline",
            "--package",
            "schemadiff",
            "--edges",
            "normal,build",
        ]);
        cargo.args(["--prefix", "none", "--format", "{lib} {f}", "--features", features]);
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let tree = tree("postgres,diesel-r2d2");
    let lines: BTreeSet<&str> = tree.lines().collect();
    assert!(lines.iter().any(|line| line.starts_with("r2d2")), "{tree}");
    let native: Vec<_> =
        lines.iter().filter(|line| line.split(' ').next().is_some_and(|l| l.ends_with("_sys"))).collect();
    // The interfaces of the operating system to Rust are no libraries to install.
    let native: Vec<_> = native.into_iter().filter(|line| !line.starts_with("linux_raw_sys")).collect();
    assert!(native.is_empty(), "{native:?}");
    let diesel: Vec<_> = lines.iter().filter(|line| line.starts_with("diesel ")).collect();
    assert_eq!(diesel, [&"diesel r2d2"], "no backend and no default features");
}
