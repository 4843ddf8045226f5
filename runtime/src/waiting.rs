//! Whom a step waits for: sessions that hold locks, and live versions that it would break.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::compat::Reason;

/// A session that holds a lock that a step waits for, or an old transaction that a concurrent index build waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocker {
    /// Server process.
    pub pid: i64,
    /// Database user.
    pub user: String,
    /// `application_name`.
    pub application: String,
    /// `active`, `idle in transaction`, ...
    pub state: String,
    /// Age of its transaction in milliseconds.
    pub transaction_ms: Option<u64>,
    /// Its last statement, cut to 200 characters.
    pub query: String,
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session {} of user {}", self.pid, self.user)?;
        if !self.application.is_empty() {
            write!(f, " ({})", self.application)?;
        }
        write!(f, ", {}", self.state)?;
        if let Some(ms) = self.transaction_ms {
            write!(f, " for {} s", ms / 1000)?;
        }
        if self.query.is_empty() { Ok(()) } else { write!(f, ": {}", self.query) }
    }
}

/// What proves that an instance is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// A session lock that dies with the connection.
    Lock,
    /// A heartbeat by the server's clock, and a grace time.
    Heartbeat,
    /// The process on the same machine, else the heartbeat.
    Process,
}

impl Evidence {
    /// As the ledger writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Heartbeat => "heartbeat",
            Self::Process => "process",
        }
    }
}

/// A live version that a step would break.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Application.
    pub app: String,
    /// Its version.
    pub version: String,
    /// The instance; empty when only connections of the version are left.
    pub instance: String,
    /// Host.
    pub host: String,
    /// Process id on the host.
    pub pid: i64,
    /// Since when it runs, milliseconds since 1970 by the server's clock.
    pub since_ms: i64,
    /// For how long, in milliseconds.
    pub for_ms: i64,
    /// What proves that it lives.
    pub evidence: Evidence,
    /// Connections of its version.
    pub connections: i64,
    /// What it would miss.
    pub reasons: Vec<Reason>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.app, self.version)?;
        if self.instance.is_empty() {
            write!(f, " ({} open connections)", self.connections)
        } else {
            let seconds = self.for_ms / 1000;
            write!(f, " (instance {}, pid {} on {}, for {seconds} s)", self.instance, self.pid, self.host)
        }
    }
}
