//! What this process itself has seen of others' heartbeats.
//!
//! An old heartbeat alone proves no death: the database was down, or a long transaction held the file, and nobody could send
//! one; or a clock was set, or two machines with one file have clocks that differ. So silence counts by the clock of whoever
//! looks, from the first look on, and only while it looks: between two looks it may have been paused itself, or could not
//! reach the database, and so may everybody else.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::backend::{Lease, Worker};

/// Shared by all parts of one run.
#[derive(Debug, Clone, Default)]
pub(super) struct Witness(Arc<Mutex<BTreeMap<String, Seen>>>);

#[derive(Debug)]
struct Seen {
    beat: String,
    silent: Duration,
    looked: Instant,
}

impl Witness {
    /// Says of each lease how long it has been silent.
    pub(super) fn leases(&self, leases: &mut [Lease], grace: Duration) {
        for lease in leases {
            let grace = grace.max(Duration::from_millis(u64::try_from(lease.grace_ms).unwrap_or(0)));
            lease.silent_ms = self.look(&lease.instance, &lease.beat, grace, Instant::now());
        }
    }

    /// Says of whoever works how long it has been silent.
    pub(super) fn worker(&self, worker: &mut Worker, grace: Duration) {
        worker.silent_ms = self.look(&worker.token, &worker.beat, grace, Instant::now());
    }

    /// Milliseconds without a new heartbeat. Four looks at the least are needed for a silence of the grace time.
    fn look(&self, name: &str, beat: &str, grace: Duration, now: Instant) -> i64 {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Seen { beat: beat.to_owned(), silent: Duration::ZERO, looked: now };
        let seen = all.entry(name.to_owned()).or_insert_with(fresh);
        if seen.beat == beat {
            seen.silent += now.saturating_duration_since(seen.looked).min(grace / 4);
            seen.looked = now;
        } else {
            *seen = fresh();
        }
        i64::try_from(seen.silent.as_millis()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(8);

    #[test]
    fn silence_counts_only_while_somebody_looks_and_ends_with_a_beat() {
        let (witness, began) = (Witness::default(), Instant::now());
        let at = |seconds: u64, beat: &str| witness.look("a", beat, GRACE, began + Duration::from_secs(seconds));
        assert_eq!(at(0, "one"), 0, "however old it may be");
        assert_eq!(at(1, "one"), 1_000);
        assert_eq!(at(3601, "one"), 3_000, "an hour in which nobody looked");
        assert_eq!(at(3602, "two"), 0);
        assert_eq!(at(3604, "two"), 2_000);
        assert_eq!(at(3603, "two"), 2_000, "a clock that is not steady");
        assert_eq!(witness.look("b", "two", GRACE, began + Duration::from_secs(3604)), 0, "another one");
    }
}
