//! The errors of the tool: effect, cause, remedy, a stable code, and the exit code that scripts branch on.

use std::fmt;

use schemadiff::model::ObjectName;

/// Kinds of failure; each has one exit code, documented in `docs/exit-codes.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command line or `schemadiff.toml` is wrong. Exit code 2 (as clap's).
    Usage,
    /// The crate does not build, has no tables, declares nonsense, or the artifact cannot be read. Exit code 3.
    Project,
    /// A migration, the lock file or a snapshot is damaged, edited or in conflict. Exit code 4.
    Migrations,
    /// No connection, wrong password, server too old, missing rights. Exit code 5.
    Database,
    /// The change is refused: ambiguous, not acknowledged, or no safe way exists. Exit code 6.
    Refused,
    /// Applying stopped: a lock could not be had, a statement failed, the database drifted. Exit code 7.
    Apply,
    /// Nothing failed, but the gate stayed closed until the deadline. Exit code 8.
    Waiting,
    /// Nothing failed, but another process does the work. Exit code 10.
    Busy,
    /// A bug of schemadiff: a plan that does not lead where it says. Exit code 9.
    Internal,
    /// Ctrl-C or SIGTERM. Exit code 130.
    Interrupted,
}

impl Kind {
    /// The process's exit code.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Project => 3,
            Self::Migrations => 4,
            Self::Database => 5,
            Self::Refused => 6,
            Self::Apply => 7,
            Self::Waiting => 8,
            Self::Busy => 10,
            Self::Internal => 9,
            Self::Interrupted => 130,
        }
    }
}

/// An error for the person who reads it at 3 a.m.
///
/// Rendered as
/// ```text
/// error[SD0501]: cannot connect to postgres://app@db.example/shop
///   cause: password authentication failed for user "app"
///   help: check the user and password in --database-url or DATABASE_URL
/// ```
#[derive(Debug)]
pub struct Error {
    /// Decides the exit code.
    pub kind: Kind,
    /// Stable: `SD` and four digits, the first two the exit code; listed in `docs/errors.md`.
    pub code: &'static str,
    /// What did not happen, lowercase, no full stop.
    pub effect: String,
    /// Why, when it is known.
    pub cause: Option<String>,
    /// What to do, imperative; several lines are several ways out.
    pub help: Vec<String>,
    /// The server found fault with the rows that the statement met, not with the statement: a value that does not convert, a
    /// constraint that a row violates.
    pub about_rows: bool,
    /// The table whose declaration is at fault: whoever knows where its struct stands says so.
    pub table: Option<Box<ObjectName>>,
}

/// Result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error without cause and help yet.
    pub fn new(kind: Kind, code: &'static str, effect: impl Into<String>) -> Self {
        Self { kind, code, effect: effect.into(), cause: None, help: Vec::new(), about_rows: false, table: None }
    }

    /// With the reason, usually another error's text.
    #[must_use]
    pub fn cause(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Says whether the rows are at fault.
    #[must_use]
    pub const fn about_rows(mut self, about_rows: bool) -> Self {
        self.about_rows = about_rows;
        self
    }

    /// Says whose declaration is at fault.
    #[must_use]
    pub fn declared_by(mut self, table: &ObjectName) -> Self {
        self.table = Some(Box::new(table.clone()));
        self
    }

    /// With one more way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.effect)?;
        if let Some(cause) = &self.cause {
            write!(f, "\n  cause: {}", cause.replace('\n', "\n         "))?;
        }
        for help in &self.help {
            write!(f, "\n  help: {}", help.replace('\n', "\n        "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl Kind {
    /// The kind with this exit code.
    const fn of_exit_code(code: u8) -> Self {
        match code {
            2 => Self::Usage,
            3 => Self::Project,
            4 => Self::Migrations,
            5 => Self::Database,
            6 => Self::Refused,
            7 => Self::Apply,
            8 => Self::Waiting,
            10 => Self::Busy,
            130 => Self::Interrupted,
            _ => Self::Internal,
        }
    }
}

impl From<schemadiff::Error> for Error {
    /// The runtime's errors carry the same codes and exit codes.
    fn from(error: schemadiff::Error) -> Self {
        let kind = Kind::of_exit_code(error.exit_code());
        let text = error.to_string();
        let (effect, cause) = match text.split_once(": ") {
            Some((effect, cause)) => (effect.to_owned(), Some(cause.to_owned())),
            None => (text, None),
        };
        Self { kind, code: error.code(), effect, cause, help: error.help(), about_rows: false, table: None }
    }
}
