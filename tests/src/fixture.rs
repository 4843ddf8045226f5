//! Projects of users, copied into the build directory so that cargo can work in them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the workspace").to_path_buf()
}

/// The build directory: `target`, or what `CARGO_TARGET_DIR` says.
fn build_dir() -> PathBuf {
    let exe = std::env::current_exe().expect("a test has a path");
    let dir = exe.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
    dir.map_or_else(|| root().join("target"), Path::to_path_buf)
}

/// A fixture's copy, with the workspace's lock file, so that nothing is resolved anew.
pub struct Fixture {
    /// Its root.
    pub dir: PathBuf,
}

static COPYING: Mutex<()> = Mutex::new(());

impl Fixture {
    /// Copies `tests/fixtures/NAME`. Files that are up to date stay as they are, so that cargo builds nothing twice.
    pub fn new(name: &str) -> Self {
        let _one = COPYING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let dir = build_dir().join("fixtures").join(name);
        let fresh = !dir.join("Cargo.lock").is_file() || is_newer(&root().join("Cargo.lock"), &dir.join("Cargo.lock"));
        copy(&root().join("tests/fixtures").join(name), &dir);
        if fresh {
            fs::copy(root().join("Cargo.lock"), dir.join("Cargo.lock")).expect("the lock file can be copied");
        }
        Self { dir }
    }

    /// Its manifest.
    pub fn manifest(&self) -> PathBuf {
        self.dir.join("Cargo.toml")
    }

    /// `cargo` in it, building into a directory that all fixtures share.
    pub fn cargo(&self) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.dir).env("CARGO_TARGET_DIR", self.target_dir());
        cargo
    }

    /// Where cargo builds it.
    pub fn target_dir(&self) -> PathBuf {
        build_dir().join("fixtures").join("target")
    }
}

fn is_newer(a: &Path, b: &Path) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    changed(a) > changed(b)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made in the build directory");
    for entry in fs::read_dir(from).expect("the fixture is there") {
        let entry = entry.expect("the fixture is readable");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
            continue;
        }
        let text = fs::read_to_string(entry.path()).expect("a fixture's file is text");
        let runtime = root().join("runtime");
        let text = text.replace("\"../../../runtime\"", &format!("{:?}", runtime.display().to_string()));
        if fs::read_to_string(&target).ok().as_deref() != Some(&text) {
            fs::write(&target, text).expect("a fixture's file can be written");
        }
    }
}
