//! Answers to an orchestrator's probes, from before a start until after a shutdown.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;

/// How an instance stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has not registered yet: what it waits for.
    #[default]
    New,
    Waiting(Vec<String>),
    /// Registered and served.
    Serving,
    /// The database cannot be reached at the moment.
    Unreachable(String),
    /// The version is retired or not served, or the start has failed.
    Final(String),
    /// It is shutting down.
    Stopping,
}

/// Answer to a readiness probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "ready")]
pub enum Ready {
    /// Registered, and served by the database.
    Yes,
    /// The database does not serve this version yet, or another instance works on it.
    Starting {
        /// What is waited for, in words; empty before anything is known.
        waits_for: Vec<String>,
    },
    /// The ledger cannot be reached, or not by new connections of the pool; those that are open go on.
    Unreachable {
        /// What the last attempt to reach it ended with.
        cause: String,
    },
    /// This version must not run any more: end the process.
    Refused {
        /// The error that says so, in words: retired, or no longer served.
        reason: String,
    },
    /// The lease is being given back.
    Stopping,
}

impl Ready {
    /// Whether requests should be sent here.
    pub const fn is_ready(&self) -> bool {
        matches!(self, Self::Yes)
    }

    /// Whether the process should go on. Only a refusal is final: waiting, and a database that is away, are not mended by a
    /// restart.
    pub const fn is_live(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}

/// A handle for the endpoints that an orchestrator asks. Made before the start, so that a process that waits for its turn is
/// known to be alive.
///
/// ```no_run
/// # async fn example(migrations: schemadiff::embed::Migrations) -> Result<(), schemadiff::Error> {
/// let probe = schemadiff::lockstep::Probe::default();
/// let for_the_server = probe.clone(); // GET /readyz: 200 if `ready().await.is_ready()`, else 503; /livez likewise
/// let lockstep = schemadiff::Lockstep::builder("shop", migrations).probe(&probe).start().await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Probe(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    standing: Standing,
    /// Why a connection could not be registered, and when.
    shut_out: Option<(String, Instant)>,
}

/// How long a connection that could not be registered counts when none is tried after it: an instance that gets no requests for
/// it opens no connections either, and would never come back.
const SHUT_OUT: Duration = Duration::from_secs(30);

impl Probe {
    /// How the instance stands.
    pub async fn ready(&self) -> Ready {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shut_out = known.shut_out.as_ref().filter(|(_, at)| at.elapsed() < SHUT_OUT);
        match &known.standing {
            Standing::New => Ready::Starting { waits_for: Vec::new() },
            Standing::Waiting(waits_for) => Ready::Starting { waits_for: waits_for.clone() },
            Standing::Serving => match shut_out {
                Some((cause, _)) => Ready::Unreachable { cause: cause.clone() },
                None => Ready::Yes,
            },
            Standing::Unreachable(cause) => Ready::Unreachable { cause: cause.clone() },
            Standing::Final(reason) => Ready::Refused { reason: reason.clone() },
            Standing::Stopping => Ready::Stopping,
        }
    }

    /// What is final stays.
    pub(super) fn set(&self, standing: Standing) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(known.standing, Standing::Final(_)) {
            known.standing = standing;
        }
    }

    /// A connection of the pool was registered, or why it cannot be as long as nobody mends it.
    pub(crate) fn connected(&self, shut_out: Option<String>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.shut_out = shut_out.map(|why| (why, Instant::now()));
    }
}
