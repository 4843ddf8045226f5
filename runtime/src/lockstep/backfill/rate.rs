//! Rows in a second, lately: what an estimate of the time that is left may count on.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What counts as lately.
const LATELY: Duration = Duration::from_secs(15);

/// The rows that were done at moments of the recent past.
pub(super) struct Rate(Mutex<VecDeque<(Instant, u64)>>);

impl Rate {
    pub fn new() -> Self {
        Self(Mutex::new([(Instant::now(), 0)].into()))
    }

    /// So many rows are done now; the rate.
    pub fn saw(&self, rows: u64) -> f64 {
        self.saw_at(rows, Instant::now())
    }

    #[allow(clippy::cast_precision_loss)] // a rate for people
    fn saw_at(&self, rows: u64, now: Instant) -> f64 {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push_back((now, rows));
        // The oldest that counts is the first one before the time that counts.
        while seen.len() > 2 && seen.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= LATELY) {
            seen.pop_front();
        }
        let Some((since, before)) = seen.front() else { return 0.0 };
        let seconds = now.saturating_duration_since(*since).as_secs_f64().max(0.001);
        rows.saturating_sub(*before) as f64 / seconds
    }
}

/// The time that so many rows take, in milliseconds.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an estimate
pub(super) fn left_ms(rows: u64, per_second: f64) -> Option<u64> {
    (per_second >= 0.01).then(|| (rows as f64 / per_second * 1000.0).min(1e15) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_long_ago_does_not_count() {
        let (rate, start) = (Rate::new(), Instant::now());
        for second in 1..=20 {
            rate.saw_at(second * 1000, start + Duration::from_secs(second));
        }
        let mut last = 0.0;
        for second in 21..=60 {
            last = rate.saw_at(20_000 + (second - 20) * 10, start + Duration::from_secs(second));
        }
        assert!((9.0..11.0).contains(&last), "{last}");
        assert_eq!(left_ms(100, last).map(|ms| ms / 1000), Some(10));
        assert_eq!(left_ms(100, 0.0), None);
    }
}
