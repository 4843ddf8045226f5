//! Whether a connection that has been open for a while may still be used.
//!
//! Where heartbeats are the evidence (behind a pooler, on a standby, in another container), a process that was stopped for
//! longer than the grace time is given up, and its version may be retired while its pool still has connections. So before a
//! connection is used, the process asks itself when it was heard of last, and if that is too long ago, the database.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use super::{
    hook::{Enter, enter},
    probe::Probe,
};
use crate::backend::Entering;

/// A time by two clocks: one stands still while a machine sleeps, and the other one may be set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(Instant, SystemTime);

impl Moment {
    pub(crate) fn now() -> Self {
        Self(Instant::now(), SystemTime::now())
    }

    /// By whichever clock says more: asking once too often costs a round trip.
    fn elapsed(self) -> Duration {
        self.0.elapsed().max(self.1.elapsed().unwrap_or_default())
    }
}

/// When the database heard of this instance last.
#[derive(Debug, Clone)]
pub(crate) struct Fence {
    heard: Arc<Mutex<Moment>>,
    /// For how long that counts.
    counts_for: Duration,
}

impl Fence {
    /// Of an instance that has just registered.
    pub(crate) fn new(grace: Duration) -> Self {
        // What is given up after the grace time by the clock of others stops a good deal earlier by its own.
        Self { heard: Arc::new(Mutex::new(Moment::now())), counts_for: grace.mul_f64(0.75) }
    }

    /// The database has answered what was sent at that moment.
    pub(crate) fn heard(&self, sent: Moment) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = sent;
    }

    /// Whether nobody can have given this instance up.
    pub(crate) fn holds(&self) -> bool {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed() <= self.counts_for
    }
}

/// True when the connection may be used. Asks nothing while the heartbeats go through.
pub(super) async fn pass<C: Enter>(
    connection: &mut C,
    fence: &Fence,
    (who, instance): (Entering<'_>, &str),
    probe: &Probe,
) -> Result<bool, sqlx::Error> {
    if fence.holds() {
        return Ok(true);
    }
    let sent = Moment::now();
    if connection.sign_of_life(who, instance).await? {
        fence.heard(sent);
        return Ok(true);
    }
    enter(connection, who, probe).await.map(|()| true)
}
