//! The migrations directory: plans, their chain, and the lock file.

mod lock;
mod sources;
mod write;

use std::path::{Path, PathBuf};

use schemadiff::{
    embed::is_named_as_one,
    plan::{Plan, PlanFileError, Snapshot},
};

use crate::{Error, Kind, Result};

pub use lock::{LOCK_FILE, read_snapshot, snapshot_text};
pub use sources::{Sources, source_differences, with_lock_spelling};
pub use write::{new_id, write_atomically, write_migration};

/// File name of a plan in its directory.
pub const PLAN_FILE: &str = "plan.toml";

/// What a migrations directory holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migrations {
    /// The directory.
    pub dir: PathBuf,
    /// The plans, each after its parent.
    pub plans: Vec<Plan>,
    /// The lock file, when there is one.
    pub lock: Option<Snapshot>,
}

impl Migrations {
    /// Reads a directory; one that does not exist is empty.
    ///
    /// # Errors
    /// The first thing that is wrong with it, [`Kind::Migrations`].
    pub fn read(dir: &Path) -> Result<Self> {
        let (migrations, mut findings) = Self::inspect(dir);
        if findings.is_empty() { Ok(migrations) } else { Err(findings.swap_remove(0)) }
    }

    /// Reads a directory and lists everything that is wrong with it.
    pub fn inspect(dir: &Path) -> (Self, Vec<Error>) {
        let mut findings = Vec::new();
        let mut plans = Vec::new();
        for path in plan_paths(dir, &mut findings) {
            match read_plan(&path) {
                Ok(plan) => plans.push(plan),
                Err(error) => findings.push(error),
            }
        }
        let lock = match lock::read_lock(dir) {
            Ok(lock) => lock,
            Err(error) => {
                findings.push(error);
                None
            }
        };
        let damaged = !findings.is_empty();
        let (plans, broken) = in_chain_order(plans);
        // A plan that could not be read leaves a gap that is no finding of its own.
        findings.extend(broken.filter(|_| !damaged));
        if findings.is_empty() {
            findings.extend(chain_findings(&plans));
            findings.extend(lock_findings(dir, &plans, lock.as_ref()));
        }
        (Self { dir: dir.to_path_buf(), plans, lock }, findings)
    }

    /// Something to work with, or the error that says where it was looked for.
    ///
    /// # Errors
    /// [`Kind::Migrations`] when there is no migration.
    pub fn require_any(&self) -> Result<()> {
        if !self.plans.is_empty() {
            return Ok(());
        }
        Err(Error::new(Kind::Migrations, "SD0438", format!("there is no migration in {}", self.dir.display()))
            .help("write the first one with `cargo schemadiff new NAME`, or name the directory with --dir"))
    }

    /// The newest migration.
    pub fn head(&self) -> Option<&Plan> {
        self.plans.last()
    }
}

fn plan_paths(dir: &Path, findings: &mut Vec<Error>) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(e) => {
            findings.push(unreadable(dir, &e));
            return Vec::new();
        }
    };
    let plan = |path: PathBuf| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        // Names with a leading dot are being written.
        let may_be = path.is_dir() && !name.starts_with('.');
        let file = path.join(PLAN_FILE);
        // A folder of another kind is none of ours; one with the name of a migration has lost its plan.
        (may_be && (file.exists() || is_named_as_one(&name))).then_some(file)
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| plan(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

fn unreadable(path: &Path, cause: &std::io::Error) -> Error {
    Error::new(Kind::Migrations, "SD0420", format!("{} cannot be read", path.display()))
        .cause(cause)
        .help("check that the path is right and that you may read it")
}

fn read_plan(path: &Path) -> Result<Plan> {
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(path, &e))?;
    let plan = Plan::from_toml(&text).map_err(|e| plan_error(path, &e))?;
    let directory = path.parent().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned());
    if directory.as_deref() != Some(plan.id.as_str()) {
        return Err(Error::new(
            Kind::Migrations,
            "SD0424",
            format!("{} says it is migration {}", path.display(), plan.id),
        )
        .cause("a migration's directory has the migration's id as its name")
        .help(format!("rename the directory to {}", plan.id)));
    }
    Ok(plan)
}

fn plan_error(path: &Path, cause: &PlanFileError) -> Error {
    let error =
        |code, effect: &str| Error::new(Kind::Migrations, code, format!("{} {effect}", path.display())).cause(cause);
    match cause {
        PlanFileError::Malformed { .. } => error("SD0421", "cannot be read as a plan")
            .help("restore the file from version control, or delete the migration and make it again with `new`"),
        PlanFileError::TooNew { .. } => error("SD0422", "was written by a newer schemadiff").help("update schemadiff"),
        PlanFileError::Checksum { .. } => error("SD0423", "was edited by hand")
            .help("restore the file from version control")
            .help("or, when no database has run it yet, delete its directory and make it again with `new`"),
    }
}

/// Orders plans so that each stands after its parent; says what is wrong where that cannot be.
fn in_chain_order(mut plans: Vec<Plan>) -> (Vec<Plan>, Option<Error>) {
    plans.sort_by(|a, b| a.id.cmp(&b.id));
    if let Some((first, second)) = two_with_one_parent(&plans) {
        let parent = first.parent.as_deref().map_or_else(|| "no parent".to_owned(), |p| format!("the parent {p}"));
        let error =
            Error::new(Kind::Migrations, "SD0425", format!("{} and {} both have {parent}", first.id, second.id))
                .cause("two branches made a migration from the same state, and both were merged")
                .help(format!(
                    "delete the directory of the one that no database has run yet (usually {}), take the lock file of \
                     the other one, and make it again with `cargo schemadiff new`",
                    second.id
                ));
        return (plans, Some(error));
    }
    let mut ordered: Vec<Plan> = Vec::with_capacity(plans.len());
    while !plans.is_empty() {
        let parent = ordered.last().map(|p: &Plan| p.id.clone());
        let Some(at) = plans.iter().position(|p| p.parent == parent) else {
            let orphan = &plans[0];
            let missing = orphan.parent.clone().unwrap_or_default();
            let error =
                Error::new(Kind::Migrations, "SD0426", format!("the parent of migration {} is missing", orphan.id))
                    .cause(format!("there is no migration {missing}"))
                    .help("restore it from version control");
            ordered.append(&mut plans);
            return (ordered, Some(error));
        };
        ordered.push(plans.remove(at));
    }
    (ordered, None)
}

fn two_with_one_parent(plans: &[Plan]) -> Option<(&Plan, &Plan)> {
    plans
        .iter()
        .enumerate()
        .find_map(|(at, first)| Some((first, plans[at + 1..].iter().find(|second| second.parent == first.parent)?)))
}

fn chain_findings(plans: &[Plan]) -> Vec<Error> {
    let mut findings = Vec::new();
    for pair in plans.windows(2) {
        let (parent, child) = (&pair[0], &pair[1]);
        if child.before != parent.after {
            findings.push(
                Error::new(
                    Kind::Migrations,
                    "SD0427",
                    format!("migration {} does not start where {} ends", child.id, parent.id),
                )
                .cause(format!(
                    "it starts at schema {}, its parent ends at {}",
                    child.before.short(),
                    parent.after.short()
                ))
                .help(format!("delete {} and make it again with `cargo schemadiff new`", child.id)),
            );
        }
        if child.id < parent.id {
            findings.push(
                Error::new(Kind::Migrations, "SD0428", format!("migration {} sorts before its parent", child.id))
                    .cause(format!("its parent is {}", parent.id))
                    .help(format!("delete {} and make it again with `cargo schemadiff new`", child.id)),
            );
        }
        if child.dialect != parent.dialect {
            findings.push(
                Error::new(Kind::Migrations, "SD0429", format!("migration {} is for {}", child.id, child.dialect))
                    .cause(format!("its parent {} is for {}", parent.id, parent.dialect))
                    .help("keep one migrations directory per engine and name it with --dir"),
            );
        }
    }
    findings
}

fn lock_findings(dir: &Path, plans: &[Plan], lock: Option<&Snapshot>) -> Vec<Error> {
    let path = dir.join(LOCK_FILE);
    let finding = |effect: String| Error::new(Kind::Migrations, "SD0430", effect);
    let restore = format!("restore {} from version control", path.display());
    // A migration appears before the lock file that names it: a process that is killed between the two leaves this.
    let cut_off = |head: &Plan, error: Error| match lock.and_then(|lock| lock.head.as_ref()) == head.parent.as_ref() {
        true => error.help(format!(
            "if `cargo schemadiff new` was cut off, delete {} and run it again",
            dir.join(&head.id).display()
        )),
        false => error,
    };
    match (plans.last(), lock) {
        (None, None) => Vec::new(),
        (Some(head), None) => vec![cut_off(
            head,
            finding(format!("{} is missing", path.display()))
                .cause(format!("the newest migration is {}", head.id))
                .help(restore),
        )],
        (head, Some(lock)) => {
            let head_id = head.map(|h| h.id.as_str());
            if lock.head.as_deref() != head_id {
                let name = |id: Option<&str>| id.unwrap_or("none").to_owned();
                let error = finding(format!("{} belongs to another migration", path.display()))
                    .cause(format!("it names {}, the newest one is {}", name(lock.head.as_deref()), name(head_id)))
                    .help(restore);
                return vec![match head {
                    Some(head) => cut_off(head, error),
                    None => error,
                }];
            }
            let fingerprint = schemadiff::model::Fingerprint::of(&lock.schema);
            match head {
                Some(head) if head.after != fingerprint => vec![
                    finding(format!("{} was edited by hand", path.display()))
                        .cause(format!(
                            "it holds schema {}, migration {} ends at {}",
                            fingerprint.short(),
                            head.id,
                            head.after.short()
                        ))
                        .help(restore),
                ],
                _ => Vec::new(),
            }
        }
    }
}

#[cfg(test)]
mod tests;
