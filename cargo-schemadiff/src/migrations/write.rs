//! Writing migrations so that a crash leaves either the old or the new state.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use schemadiff::plan::{Plan, Snapshot};

use super::{LOCK_FILE, PLAN_FILE, snapshot_text};
use crate::{Error, Kind, Result};

/// The id of a migration made now: `<yyyymmddhhmmss>_<name>`, later than its parent's even if clocks disagree.
///
/// # Errors
/// [`Kind::Usage`] for a name that makes no good directory name.
pub fn new_id(name: &str, parent: Option<&str>) -> Result<String> {
    let good = !name.is_empty()
        && name.len() <= 100
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && !name.starts_with('-');
    if !good {
        return Err(Error::new(Kind::Usage, "SD0213", format!("`{name}` is no name for a migration"))
            .help("use up to 100 letters, digits, `_` and `-`, for example add_email_key"));
    }
    let now = jiff::Timestamp::now().strftime("%Y%m%d%H%M%S").to_string();
    let stamp = match parent.and_then(|id| id.split('_').next()) {
        Some(last) if last >= now.as_str() => {
            last.parse::<u64>().ok().and_then(|n| n.checked_add(1)).map_or(now, |next| format!("{next:014}"))
        }
        _ => now,
    };
    Ok(format!("{stamp}_{name}"))
}

/// Writes a plan and then the lock file that names it.
///
/// # Errors
/// [`Kind::Migrations`] when something is in the way or the disk refuses. Nothing is left half-written: the plan's
/// directory appears whole, and a lock file that still names the older migration makes `check` say so.
pub fn write_migration(dir: &Path, plan: &Plan, lock: &Snapshot) -> Result<PathBuf> {
    let target = dir.join(&plan.id);
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |e: io::Error| {
            Error::new(Kind::Migrations, "SD0434", format!("{path} cannot be written"))
                .cause(e)
                .help("check that the directory exists, is writable and has space left")
        }
    };
    if target.exists() {
        return Err(Error::new(Kind::Migrations, "SD0435", format!("{} is there already", target.display()))
            .help("choose another name, or wait a second"));
    }
    let text = plan.to_toml().map_err(|e| {
        Error::new(Kind::Internal, "SD0931", format!("plan {} cannot be written as TOML", plan.id)).cause(e)
    })?;
    let lock_text = snapshot_text(lock)?;
    fs::create_dir_all(dir).map_err(failed(dir))?;
    let staging = tempfile::Builder::new().prefix(".new-").tempdir_in(dir).map_err(failed(dir))?;
    let staged_plan = staging.path().join(PLAN_FILE);
    write_synced(&staged_plan, &text).map_err(failed(&staged_plan))?;
    readable_by_all(staging.path());
    fs::rename(staging.path(), &target).map_err(failed(&target))?;
    // It has been renamed away: there is nothing left to remove.
    let _ = staging.keep();
    write_atomically(&dir.join(LOCK_FILE), &lock_text)?;
    Ok(target)
}

/// Replaces a file's content in one step.
///
/// # Errors
/// [`Kind::Migrations`] when the disk refuses; the old content is then still there.
pub fn write_atomically(path: &Path, text: &str) -> Result<()> {
    let write = || -> io::Result<()> {
        let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(dir)?;
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(dir)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        readable_by_all(file.path());
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|e| {
        Error::new(Kind::Migrations, "SD0434", format!("{} cannot be written", path.display()))
            .cause(e)
            .help("check that the directory exists, is writable and has space left")
    })
}

fn write_synced(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Temporary files are private; what is committed to a repository must not be.
fn readable_by_all(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        // A file system without permissions has nothing to set.
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(mode));
    }
    #[cfg(not(unix))]
    let _ = path;
}
