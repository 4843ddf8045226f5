//! What a warm `cargo schemadiff diff` adds to a build in which cargo finds nothing to do.

use std::process::Command;

use schemadiff_tests::engine::Postgres;

use super::{
    derive::{package, structs, workspace},
    measure::{Bounds, Contender, print, rounds, tool},
};

const ROUNDS: usize = 11;

/// A crate of 200 structs with 12 fields, its schema applied to a database, nothing changed since.
pub fn run() -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let code = structs("schemadiff::Table", "#[table(name = \"{}\")]\n", "#[column(primary_key)]");
    package(folder.path(), "table", &super::derive::schemadiff(), &code);
    workspace(folder.path(), &["table"]);
    let crate_folder = folder.path().join("table");
    let database = Postgres::shared().database();
    let (url, tool) = (database.url.clone(), tool());
    let ours = move |args: &[&str]| {
        let mut command = Command::new(&tool);
        command.args(args).current_dir(&crate_folder).env("DATABASE_URL", &url);
        command
    };
    for args in [&["new", "start"][..], &["apply", "-q"][..]] {
        let output = ours(args).output().expect("the tool runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let crate_folder = folder.path().join("table");
    let no_op = move || {
        let mut command = Command::new(env!("CARGO"));
        command.arg("build").current_dir(&crate_folder);
        command
    };
    let contenders = [
        Contender { name: "cargo build, nothing to do", command: Box::new(no_op), success: &[0] },
        Contender {
            name: "cargo schemadiff diff",
            command: Box::new(move || ours(&["diff", "--exit-code"])),
            success: &[0],
        },
    ];
    rounds(&contenders, 1); // both have built
    let seen = rounds(&contenders, ROUNDS);
    print("200 structs against the database that has their tables, nothing changed", &seen);
    let mut bounds = Bounds::default();
    bounds.at_most("seconds added to cargo's own time", seen[1].median() - seen[0].median(), 0.3);
    bounds.hold()
}
