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

/// Clients that use the database and hold no lease, as far as the server shows them: psql, reports, a service that has no hook.
/// The gate does not wait for them, so they are shown to whoever decides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strangers {
    /// Open sessions.
    pub sessions: Vec<Blocker>,
    /// Users without a lease that have used the tables, where the server counts statements.
    pub statements: Vec<StrangeStatements>,
}

impl Strangers {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.statements.is_empty()
    }
}

/// What a user without a lease has sent to the tables that a step touches, from `pg_stat_statements`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrangeStatements {
    /// Database user.
    pub user: String,
    /// How often, since the server began to count.
    pub calls: i64,
    /// One of the statements, without its values, cut to 200 characters.
    pub example: String,
}

impl fmt::Display for StrangeStatements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}, {} calls, for example: {}", self.user, self.calls, self.example)
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
    /// A heartbeat as well: connections to standbys have their locks where the primary does not see them.
    Standby,
    /// The process on the same machine, else the heartbeat.
    Process,
}

impl Evidence {
    /// As the ledger writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Heartbeat => "heartbeat",
            Self::Standby => "standby",
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
    /// Nothing was heard of it for the grace time, or it was connected to a server that has been started anew since. It counts
    /// as dead when whoever looks has seen for the grace time that nothing comes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspected: bool,
    /// For how long nothing may be heard of it at least, in milliseconds, before it counts as dead; its own wish, where that is longer
    /// than what whoever looks grants everybody.
    #[serde(default, skip_serializing)]
    pub grace_ms: i64,
    /// Since when it is gone, in milliseconds: it is waited for because the soak time is not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_ms: Option<i64>,
    /// What it would miss.
    pub reasons: Vec<Reason>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.app, self.version)?;
        if let Some(gone) = self.gone_ms {
            return write!(f, " (gone for {} s, the soak time is not over)", gone / 1000);
        }
        if self.instance.is_empty() {
            write!(f, " ({} open connections)", self.connections)
        } else {
            let seconds = self.for_ms / 1000;
            write!(f, " (instance {}, pid {} on {}, for {seconds} s", self.instance, self.pid, self.host)?;
            f.write_str(if self.suspected { "; nothing is heard of it, which is being watched)" } else { ")" })
        }
    }
}

/// A later migration that waits for an earlier one, because both touch the same tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Queued {
    /// The later one.
    pub migration: String,
    /// The earlier one.
    pub behind: String,
    /// The tables that what is left of both touches; empty where one of them does not say what it touches.
    pub tables: Vec<String>,
}

impl fmt::Display for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} waits for {}: ", self.migration, self.behind)?;
        match self.tables.as_slice() {
            [] => f.write_str("one of them may touch any table"),
            tables => write!(f, "both touch `{}`", tables.join("`, `")),
        }
    }
}
