//! Programs of the workspace, built by cargo as their users would.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The repository.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The command-line tool, built once from the sources as they are: cargo does not build another package's programs for a test.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build("cargo-schemadiff", "cargo-schemadiff"))
}

/// Builds a program of the workspace and says where it is.
pub fn build(package: &str, bin: &str) -> PathBuf {
    let mut command = cargo_schemadiff::project::cargo_command(Path::new(env!("CARGO")));
    command.current_dir(workspace()).args(["build", "--quiet", "--locked", "--message-format=json-render-diagnostics"]);
    let output = command.args(["--package", package, "--bin", bin]).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{bin} does not build");
    let text = String::from_utf8(output.stdout).unwrap();
    let artifacts = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut executables =
        artifacts.filter(|a| a["target"]["name"] == bin).filter_map(|a| Some(PathBuf::from(a["executable"].as_str()?)));
    executables.next_back().unwrap()
}

/// Ends with the code 0, or fails with all that was said.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    said
}
