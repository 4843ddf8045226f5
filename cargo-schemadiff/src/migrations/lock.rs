//! The lock file and snapshot files.

use std::path::Path;

use schemadiff::plan::{SNAPSHOT_FORMAT, Snapshot};
use serde::Deserialize;

use crate::{Error, Kind, Result};

/// Name of the lock file in the migrations directory.
pub const LOCK_FILE: &str = "schemadiff.lock";

const HEADER: &str =
    "# A schema, written by `cargo schemadiff`. Not to be edited; schemadiff.lock is to be committed.\n";

/// The lock file of a migrations directory, nothing when there is none.
pub(super) fn read_lock(dir: &Path) -> Result<Option<Snapshot>> {
    let path = dir.join(LOCK_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(&path, &text).map(Some),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(unreadable(&path, &e)),
    }
}

/// A snapshot file.
///
/// # Errors
/// [`Kind::Migrations`] when it is not there, damaged, or newer than this version.
pub fn read_snapshot(path: &Path) -> Result<Snapshot> {
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(path, &e))?;
    parse(path, &text)
}

fn unreadable(path: &Path, cause: &std::io::Error) -> Error {
    Error::new(Kind::Migrations, "SD0431", format!("{} cannot be read", path.display()))
        .cause(cause)
        .help("`cargo schemadiff snapshot --from SIDE -o PATH` writes a snapshot file")
}

fn parse(path: &Path, text: &str) -> Result<Snapshot> {
    // Git may have written it so; in a text of several lines it would be another text.
    let text = &text.replace("\r\n", "\n");
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let malformed = |e: toml::de::Error| {
        Error::new(Kind::Migrations, "SD0432", format!("{} cannot be read as a snapshot", path.display()))
            .cause(e)
            .help("restore the file from version control")
            .help(
                "after a merge: solve the conflict by taking one side, then make the other migration again with `new`",
            )
    };
    // The whole text first: what is read every time is parsed once. The head alone says why the rest cannot be read.
    let read = toml::from_str::<Snapshot>(text);
    let format = match &read {
        Ok(snapshot) => snapshot.format,
        Err(_) => toml::from_str::<Head>(text).map_err(malformed)?.format,
    };
    if format > SNAPSHOT_FORMAT {
        return Err(Error::new(
            Kind::Migrations,
            "SD0422",
            format!("{} was written by a newer schemadiff", path.display()),
        )
        .cause(format!("it has format {format}, this version reads up to {SNAPSHOT_FORMAT}"))
        .help("update schemadiff"));
    }
    read.map_err(malformed)
}

/// The text of a snapshot, the same for equal snapshots.
///
/// # Errors
/// [`Kind::Internal`] when it cannot be written down.
pub fn snapshot_text(snapshot: &Snapshot) -> Result<String> {
    let body = toml::to_string(snapshot)
        .map_err(|e| Error::new(Kind::Internal, "SD0930", "the snapshot cannot be written as TOML").cause(e))?;
    Ok(format!("{HEADER}{body}"))
}
