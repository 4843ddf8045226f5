//! How often and in what rhythm a short transaction is tried again.

use std::time::Duration;

/// The retry ladder for lock timeouts and deadlocks.
///
/// Every fifth attempt is a patient one: it waits a little longer, and before that until autovacuum gives way, which it does only
/// for somebody who waits longer than the server's `deadlock_timeout` (1 s); nobody waits behind it meanwhile. There is never
/// an attempt without a lock timeout, and none is as long as `deadlock_timeout`, or it would be an application's
/// statement that the server ends when two wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// At most so many attempts.
    pub attempts: u32,
    /// And so long in all.
    pub budget: Duration,
    /// Longest pause after the first attempt; doubles with each.
    pub first_pause: Duration,
    /// Longest pause of all.
    pub longest_pause: Duration,
    /// Lock timeout of every fifth attempt.
    pub patient_lock_timeout: Duration,
    /// No lock timeout is longer than this, not even a patient one; none leaves them as they are.
    pub max_stall: Option<Duration>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 40,
            budget: Duration::from_secs(15 * 60),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            patient_lock_timeout: Duration::from_millis(600),
            max_stall: None,
        }
    }
}

impl Retry {
    /// The pause after attempt number `attempt` (from 1): between half and the whole of the exponential one.
    pub(super) fn pause(&self, attempt: u32) -> Duration {
        let doubled = self.first_pause.saturating_mul(1_u32 << attempt.saturating_sub(1).min(16));
        jittered(doubled.min(self.longest_pause))
    }

    /// The lock timeout of attempt number `attempt` (from 1), for a step that asks for `planned`.
    pub(super) fn lock_timeout(&self, planned: Duration, attempt: u32) -> Duration {
        if planned.is_zero() {
            return planned;
        }
        let wanted = if Self::is_patient(attempt) { planned.max(self.patient_lock_timeout) } else { planned };
        // Zero would be for ever.
        self.max_stall.map_or(wanted, |most| wanted.min(most.max(Duration::from_millis(1))))
    }

    /// Whether attempt number `attempt` (from 1) is a patient one.
    pub(super) fn is_patient(attempt: u32) -> bool {
        attempt.is_multiple_of(5)
    }

    /// Whether another attempt may follow.
    pub(super) fn allows(&self, attempt: u32, since: Duration) -> bool {
        attempt < self.attempts && since < self.budget
    }
}

/// Between half of it and all of it, so that processes that failed together do not come back together.
pub(super) fn jittered(most: Duration) -> Duration {
    // Without randomness the pauses are only equal, not wrong.
    let share = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
    // Nobody lives to see what is too long for a number.
    Duration::try_from_secs_f64(most.as_secs_f64() * (0.5 + share / 2.0)).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fifth_attempt_is_patient_and_pauses_are_bounded() {
        let retry = Retry::default();
        let planned = Duration::from_millis(200);
        let waits: Vec<_> = (1..=5).map(|n| retry.lock_timeout(planned, n).as_millis()).collect();
        assert_eq!(waits, [200, 200, 200, 200, 600]);
        let gentle = Retry { max_stall: Some(Duration::from_millis(80)), ..retry };
        assert_eq!([1, 5].map(|n| gentle.lock_timeout(planned, n).as_millis()), [80, 80]);
        assert_eq!(gentle.lock_timeout(Duration::ZERO, 1), Duration::ZERO, "a step that must not give up does not");
        for attempt in 1..100 {
            let pause = retry.pause(attempt);
            assert!(pause >= Duration::from_millis(250) && pause <= Duration::from_secs(30), "{attempt}: {pause:?}");
        }
        assert!(!retry.allows(40, Duration::ZERO));
        assert!(!retry.allows(1, Duration::from_secs(901)));
    }
}
