//! What the derive costs the compiler: `cargo check` of 200 structs with 12 fields.

use std::{fmt::Write as _, path::Path, process::Command};

use super::measure::{Bounds, Contender, print, rounds};

pub fn structs(derive: &str, attribute: &str, key: &str) -> String {
    let mut code = String::from("#![allow(dead_code)]\n");
    for s in 0..200 {
        let _ = writeln!(code, "#[derive({derive})]\n{}pub struct S{s} {{", attribute.replace("{}", &format!("s{s}")));
        let _ = writeln!(code, "    {key}\n    pub id: i64,");
        for f in 1..12 {
            let ty = ["String", "Option<String>", "i32", "bool", "f64", "Option<i64>"][f % 6];
            let _ = writeln!(code, "    pub field_{f}: {ty},");
        }
        let _ = writeln!(code, "}}");
    }
    code
}

pub fn package(folder: &Path, name: &str, dependencies: &str, code: &str) {
    let folder = folder.join(name);
    std::fs::create_dir_all(folder.join("src")).expect("a folder");
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[dependencies]\n{dependencies}\n"
    );
    std::fs::write(folder.join("Cargo.toml"), manifest).expect("a manifest");
    std::fs::write(folder.join("src/lib.rs"), code).expect("a source file");
}

/// The dependency on the runtime crate of this repository.
pub fn schemadiff() -> String {
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime").canonicalize().expect("the runtime crate");
    format!("schemadiff = {{ path = {:?} }}", runtime.display().to_string())
}

/// A workspace of these packages, with this repository's lock file.
pub fn workspace(folder: &Path, members: &[&str]) {
    let manifest = format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\n");
    std::fs::write(folder.join("Cargo.toml"), manifest).expect("a manifest");
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    std::fs::copy(lock, folder.join("Cargo.lock")).expect("the lock file");
}

pub fn run() -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let schemadiff = schemadiff();
    let sqlx = "sqlx = { version = \"0.9\", default-features = false, features = [\"derive\"] }";
    // All three link the same dependencies, so that only the expansion differs.
    let both = format!("{schemadiff}\n{sqlx}");
    package(folder.path(), "plain", &both, &structs("Clone", "", ""));
    package(folder.path(), "from_row", &both, &structs("sqlx::FromRow", "", ""));
    package(
        folder.path(),
        "table",
        &both,
        &structs("schemadiff::Table", "#[table(name = \"{}\")]\n", "#[column(primary_key)]"),
    );
    workspace(folder.path(), &["plain", "from_row", "table"]);

    let contender = |name: &'static str, package: &'static str| {
        let folder = folder.path().to_owned();
        Contender {
            name,
            success: &[0],
            command: Box::new(move || {
                let source = folder.join(package).join("src/lib.rs");
                let code = std::fs::read_to_string(&source).expect("the source file");
                std::fs::write(&source, format!("{code}\n")).expect("the source file");
                let mut command = Command::new(env!("CARGO"));
                command.args(["check", "-q", "-p", package]).current_dir(&folder).env("CARGO_INCREMENTAL", "0");
                command
            }),
        }
    };
    let contenders = [
        contender("sqlx::FromRow", "from_row"),
        contender("schemadiff::Table", "table"),
        contender("no derive of either", "plain"),
    ];
    rounds(&contenders, 1); // builds the dependencies
    let seen = rounds(&contenders, 7);
    print("cargo check of 200 structs with 12 fields", &seen);
    let mut bounds = Bounds::default();
    bounds.at_most("time, of that of sqlx::FromRow", seen[1].median() / seen[0].median(), 1.0);
    bounds.hold()
}
