//! The migrations that a binary carries, and the same from a directory.
//!
//! Heads of plans are read at once and checked as a chain; the steps of a plan are parsed, and its checksum verified,
//! when somebody needs them, so that a start with two hundred applied migrations does not parse two hundred plans.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::Path,
    sync::{Arc, OnceLock},
};

use serde::Deserialize;

use crate::{
    error::{Error, Result},
    model::{Dialect, Fingerprint},
    plan::{PLAN_FORMAT, Plan, PlanFileError, SNAPSHOT_FORMAT, Snapshot},
};

/// Name of the snapshot in a migrations directory.
pub const LOCK_FILE: &str = "schemadiff.lock";
/// Name of the plan in a migration's directory.
pub const PLAN_FILE: &str = "plan.toml";

/// The migrations of an application: what [`embed!`](crate::embed!) puts into the binary, or what a directory holds.
#[derive(Debug, Clone)]
pub struct Migrations(Source);

#[derive(Debug, Clone)]
enum Source {
    Embedded { lock: &'static str, plans: &'static [(&'static str, &'static str)] },
    Loaded(Arc<History>),
}

impl Migrations {
    /// For the expansion of [`embed!`](crate::embed!): the text of the lock file, and directory name and text of each plan.
    #[doc(hidden)]
    pub const fn embedded(lock: &'static str, plans: &'static [(&'static str, &'static str)]) -> Self {
        Self(Source::Embedded { lock, plans })
    }

    /// Reads a migrations directory and verifies every plan in it.
    ///
    /// # Errors
    /// When a file cannot be read, is damaged or edited, or when the plans are no chain that ends at the lock file.
    pub fn load(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let lock = read(&dir.join(LOCK_FILE))?;
        let mut plans = Vec::new();
        let unreadable = |path: &Path, e: &std::io::Error| Error::Unreadable {
            path: path.display().to_string(),
            cause: e.to_string(),
        };
        for entry in std::fs::read_dir(dir).map_err(|e| unreadable(dir, &e))? {
            let path = entry.map_err(|e| unreadable(dir, &e))?.path();
            let file = path.join(PLAN_FILE);
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            // Names with a leading dot are being written, or were when their writer was killed.
            // A folder of another kind is none of ours; one with the name of a migration has lost its plan.
            if (file.is_file() && !name.starts_with('.')) || (is_named_as_one(&name) && path.is_dir()) {
                plans.push((Cow::Owned(name), Cow::Owned(read(&file)?)));
            }
        }
        let history = History::parse(&lock, plans)?;
        for entry in &history.entries {
            entry.plan()?;
        }
        Ok(Self(Source::Loaded(Arc::new(history))))
    }

    /// A chain from values, for tools that make plans themselves.
    ///
    /// # Errors
    /// As [`Migrations::load`].
    pub fn from_plans(snapshot: &Snapshot, plans: &[Plan]) -> Result<Self> {
        let texts = plans
            .iter()
            .map(|plan| {
                let text = plan.to_toml().map_err(|e| damaged(&plan.id, e))?;
                Ok((Cow::Owned(plan.id.clone()), Cow::Owned(text)))
            })
            .collect::<Result<_>>()?;
        Ok(Self(Source::Loaded(Arc::new(History::assemble(snapshot.clone(), texts)?))))
    }

    /// The chain, checked.
    ///
    /// # Errors
    /// When what was embedded is no chain that ends at the lock file, or is damaged.
    pub fn history(&self) -> Result<Arc<History>> {
        match &self.0 {
            Source::Loaded(history) => Ok(Arc::clone(history)),
            Source::Embedded { lock, plans } => {
                let plans = plans.iter().map(|(name, text)| (Cow::Borrowed(*name), Cow::Borrowed(*text))).collect();
                History::parse(lock, plans).map(Arc::new)
            }
        }
    }
}

/// Whether a directory is called as migrations are: a time of 14 digits, `_`, and a name.
#[must_use]
pub fn is_named_as_one(directory: &str) -> bool {
    let is_time = |time: &str| time.len() == 14 && time.bytes().all(|byte| byte.is_ascii_digit());
    directory.split_once('_').is_some_and(|(time, _)| is_time(time))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|e| Error::Unreadable { path: path.display().to_string(), cause: e.to_string() })
}

pub(crate) fn damaged(id: &str, error: PlanFileError) -> Error {
    match error {
        PlanFileError::Malformed { cause } => Error::PlanMalformed { id: id.to_owned(), cause },
        PlanFileError::TooNew { found } => {
            Error::FormatTooNew { what: format!("migration {id}"), found, newest: PLAN_FORMAT }
        }
        PlanFileError::Checksum { .. } => Error::PlanEdited { id: id.to_owned() },
    }
}

/// Parses a plan that the ledger or a file holds.
pub(crate) fn plan_from_text(id: &str, text: &str) -> Result<Plan> {
    Plan::from_toml(text).map_err(|e| damaged(id, e))
}

/// A chain of migrations and the schema it leads to.
#[derive(Debug)]
pub struct History {
    snapshot: Snapshot,
    entries: Vec<Entry>,
}

/// One migration of a chain.
#[derive(Debug)]
pub struct Entry {
    /// What stands before the steps.
    pub head: Head,
    text: Cow<'static, str>,
    /// Parsed once.
    plan: OnceLock<Plan>,
}

/// The part of a plan before its steps.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Head {
    /// Format of the file.
    pub format: u32,
    /// Id.
    pub id: String,
    /// Engine.
    pub dialect: Dialect,
    /// The migration before.
    #[serde(default)]
    pub parent: Option<String>,
    /// Schema before.
    pub before: Fingerprint,
    /// Schema after.
    pub after: Fingerprint,
    /// Checksum of the steps.
    pub checksum: String,
}

impl Entry {
    /// The whole plan, its checksum verified.
    ///
    /// # Errors
    /// When it is damaged or edited.
    pub fn plan(&self) -> Result<Plan> {
        if let Some(plan) = self.plan.get() {
            return Ok(plan.clone());
        }
        let plan = plan_from_text(&self.head.id, &self.text)?;
        Ok(self.plan.get_or_init(|| plan).clone())
    }

    /// The file's text, as the ledger stores it.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl History {
    fn parse(lock: &str, plans: Vec<(Cow<'static, str>, Cow<'static, str>)>) -> Result<Self> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let malformed = |cause: String| Error::LockMalformed { cause };
        // As for plans: in a text of several lines it would be another text.
        let lock = if lock.contains('\r') { Cow::Owned(lock.replace("\r\n", "\n")) } else { Cow::Borrowed(lock) };
        let lock: &str = &lock;
        let format: Format = toml::from_str(lock).map_err(|e| malformed(e.to_string()))?;
        if format.format > SNAPSHOT_FORMAT {
            let what = LOCK_FILE.to_owned();
            return Err(Error::FormatTooNew { what, found: format.format, newest: SNAPSHOT_FORMAT });
        }
        let snapshot = toml::from_str(lock).map_err(|e| malformed(e.to_string()))?;
        Self::assemble(snapshot, plans)
    }

    fn assemble(snapshot: Snapshot, plans: Vec<(Cow<'static, str>, Cow<'static, str>)>) -> Result<Self> {
        let mut by_parent: BTreeMap<Option<String>, Entry> = BTreeMap::new();
        let total = plans.len();
        for (name, text) in plans {
            // Git may have written it so. The ledger holds it as it was planned.
            let text = if text.contains('\r') { Cow::Owned(text.replace("\r\n", "\n")) } else { text };
            let head = head_of(&name, &text)?;
            if head.id != name {
                return Err(Error::OtherDirectory { id: head.id, directory: name.into_owned() });
            }
            if head.dialect != snapshot.dialect {
                return Err(Error::OtherDialect { plans: head.dialect, database: snapshot.dialect });
            }
            if let Some(other) = by_parent.get(&head.parent) {
                let parent = head.parent.clone().unwrap_or_else(|| "the empty schema".to_owned());
                let (a, b) = (other.head.id.clone(), head.id);
                let (first, second) = if a < b { (a, b) } else { (b, a) };
                return Err(Error::TwoChildren { parent, first, second });
            }
            by_parent.insert(head.parent.clone(), Entry { head, text, plan: OnceLock::new() });
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(total);
        while let Some(next) = by_parent.remove(&entries.last().map(|e| e.head.id.clone())) {
            if let Some(parent) = entries.last()
                && parent.head.after != next.head.before
            {
                return Err(Error::BrokenChain { id: next.head.id, parent: parent.head.id.clone() });
            }
            entries.push(next);
        }
        if let Some((parent, entry)) = by_parent.into_iter().next() {
            return Err(Error::ParentMissing { id: entry.head.id, parent: parent.unwrap_or_default() });
        }
        let history = Self { snapshot, entries };
        if history.snapshot.head.as_deref() != history.newest() {
            let nothing = || "no migration".to_owned();
            let head = history.snapshot.head.clone().unwrap_or_else(nothing);
            let newest = history.newest().map_or_else(nothing, ToOwned::to_owned);
            return Err(Error::LockHead { head, newest });
        }
        // Everything that is decided about this code is decided by it.
        if let Some(last) = history.entries.last()
            && last.head.after != Fingerprint::of(&history.snapshot.schema)
        {
            return Err(Error::LockEdited { newest: last.head.id.clone() });
        }
        Ok(history)
    }

    /// The schema after the newest migration.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The migrations, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Id of the newest migration.
    pub fn newest(&self) -> Option<&str> {
        self.entries.last().map(|e| e.head.id.as_str())
    }

    /// The migration of that id.
    pub fn entry(&self, id: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.head.id == id)
    }
}

/// Stands for the newest migration in the version of code that carries none.
pub const INITIAL: &str = "initial";

fn head_of(name: &str, text: &str) -> Result<Head> {
    // Steps are an array of tables, so everything before the first one is the head.
    let end = text.find("\n[[step]]").unwrap_or(text.len());
    let head: Head =
        toml::from_str(&text[..end]).map_err(|e| Error::PlanMalformed { id: name.to_owned(), cause: e.to_string() })?;
    if head.format > PLAN_FORMAT {
        return Err(Error::FormatTooNew { what: format!("migration {name}"), found: head.format, newest: PLAN_FORMAT });
    }
    Ok(head)
}
