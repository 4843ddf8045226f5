//! How fast a backfill may go: pure. Measurements, limits and the operator's wish go in, a speed and its reason come out.

use std::time::{Duration, Instant};

use crate::backend::{Limits, Pacing, Reading, Signals};

/// How fast.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::lockstep) struct Verdict {
    /// Share of the time in which a worker works: 0 is stopped, 1 is without a pause.
    pub share: f64,
    /// Why, in words.
    pub reason: String,
    /// Nobody else is seen at work anywhere on the server, and no standby is behind: what the machine has left is free.
    pub alone: bool,
}

impl Verdict {
    fn at(share: f64, reason: impl Into<String>) -> Self {
        Self { share, reason: reason.into(), alone: false }
    }

    pub fn stop(reason: impl Into<String>) -> Self {
        Self::at(0.0, reason)
    }

    pub fn is_stop(&self) -> bool {
        self.share <= 0.0
    }
}

/// What the statements of others take, in comparison.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Probe {
    /// When the backfill had not begun.
    pub idle: Duration,
    /// Now.
    pub now: Duration,
}

/// A probe that takes less than this is a fast one, whatever its idle value was.
const FAST: Duration = Duration::from_millis(2);

/// How long others count as there after they were seen last: they work in bursts.
const AROUND: Duration = Duration::from_secs(2);

/// The share of the time in which a worker works beside others.
const BESIDE_OTHERS: f64 = 0.6;

/// What is known from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The greatest number of standbys that were there at once.
    standbys: u64,
    /// Position in the log and time of the last look.
    wal: Option<(u64, Instant)>,
    /// Bytes that have been written above the rate, and are waited for.
    debt: f64,
    /// When others were seen last.
    others: Option<Instant>,
    /// When others were seen last anywhere on the server.
    awake: Option<Instant>,
    /// When the size of the database was asked for last, and what it was: it costs a look at every file.
    pub(super) size: Option<(Instant, u64)>,
}

impl Memory {
    /// The speed until the next look.
    pub fn decide(
        &mut self,
        limits: &Limits,
        signals: &Signals,
        probe: Option<Probe>,
        wish: &Pacing,
        now: Instant,
    ) -> Verdict {
        self.look(limits, signals, now);
        if wish.paused {
            return Verdict::stop(format!("paused{}", by(wish)));
        }
        if let Some(reason) = self.over(limits, signals, probe) {
            return Verdict::stop(reason);
        }
        let wished = self.wished(signals, wish, now);
        match nearing(limits, signals) {
            Some(slower) => Verdict { share: wished.share * slower.share, ..slower },
            None => wished,
        }
    }

    /// The speed as far as no limit has a say.
    fn wished(&self, signals: &Signals, wish: &Pacing, now: Instant) -> Verdict {
        if let Some(share) = wish.speed {
            let share = share.clamp(0.01, 1.0);
            return Verdict::at(share, format!("{:.0} % speed{}", share * 100.0, by(wish)));
        }
        let around = self.others.is_some_and(|seen| now.saturating_duration_since(seen) < AROUND);
        match (&signals.busy, around) {
            (Reading::Nothing, _) => Verdict::at(0.5, "half speed, so that others get their turn"),
            (_, true) => Verdict::at(
                BESIDE_OTHERS,
                format!("{:.0} % speed, because others work here too", BESIDE_OTHERS * 100.0),
            ),
            (_, false) => {
                let full = Verdict::at(1.0, "full speed, because nobody else is at work");
                Verdict { alone: self.nobody_awake(now), ..full }
            }
        }
    }

    fn nobody_awake(&self, now: Instant) -> bool {
        self.awake.is_none_or(|seen| now.saturating_duration_since(seen) >= AROUND)
    }

    fn look(&mut self, limits: &Limits, signals: &Signals, now: Instant) {
        if let Reading::Value(standbys) = signals.standbys {
            self.standbys = self.standbys.max(standbys).max(limits.replicas);
        }
        if !matches!(signals.busy, Reading::Value(0) | Reading::Nothing) {
            self.others = Some(now);
        }
        if signals.awake != Reading::Value(0) {
            self.awake = Some(now);
        }
        let Reading::Value(position) = signals.wal else { return };
        if let (Some((before, then)), Some(rate)) = (self.wal, limits.wal_rate) {
            let allowed = to_f64(rate) * now.saturating_duration_since(then).as_secs_f64();
            self.debt = (self.debt + to_f64(position.saturating_sub(before)) - allowed).max(0.0);
        }
        self.wal = Some((position, now));
    }

    /// The first limit that is passed, or cannot be measured.
    fn over(&self, limits: &Limits, signals: &Signals, probe: Option<Probe>) -> Option<String> {
        let watches_standbys = limits.replica_lag.is_some() || limits.replica_lag_bytes.is_some();
        if let (true, Reading::Value(there)) = (watches_standbys, &signals.standbys)
            && *there < self.standbys.max(limits.replicas)
        {
            let expected = self.standbys.max(limits.replicas);
            return Some(format!("a standby is gone, so its lag is not known: {there} of {expected} are connected"));
        }
        let lag = limits.replica_lag.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        let hard = [
            ("the lag of a standby", &signals.replica_lag, lag, unit_ms as fn(u64) -> String),
            ("the lag of a standby", &signals.replica_lag_bytes, limits.replica_lag_bytes, unit_bytes),
            ("the number of sessions that wait for locks", &signals.lock_waits, limits.lock_waits, plain),
            ("the number of open transactions", &signals.transactions, limits.transactions, plain),
            ("what a replication slot keeps", &signals.slot_retention, limits.slot_retention, unit_bytes),
            ("the size of the database", &signals.database_size, limits.database_size, unit_bytes),
        ];
        for (what, reading, limit, unit) in hard {
            match (reading, limit) {
                (_, None) | (Reading::Nothing, _) => {}
                (Reading::Hidden(why), Some(_)) => return Some(format!("{what} has a limit and is not known: {why}")),
                (Reading::Value(value), Some(limit)) if *value > limit => {
                    return Some(format!("{what} is {}, the limit is {}", unit(*value), unit(limit)));
                }
                (Reading::Value(_), Some(_)) => {}
            }
        }
        if let Some(rate) = limits.wal_rate {
            match &signals.wal {
                Reading::Hidden(why) => {
                    return Some(format!("the rate of the log has a limit and is not known: {why}"));
                }
                _ if self.debt > to_f64(rate) * 0.25 => {
                    return Some(format!("the log has grown faster than {} a second", unit_bytes(rate)));
                }
                _ => {}
            }
        }
        let (ratio, probe) = (limits.probe_ratio?, probe?);
        let limit = probe.idle.mul_f64(ratio).max(FAST);
        (probe.now > limit).then(|| {
            format!(
                "the probe statement takes {:.1?}, and {:.1?} when nothing else is done; the limit is {limit:.1?}",
                probe.now, probe.idle
            )
        })
    }
}

/// From half of the limit of a lag on it is slower and slower, so that the limit is not passed: what a standby has not written
/// yet is on its way when the lag is seen.
fn nearing(limits: &Limits, signals: &Signals) -> Option<Verdict> {
    let in_time = limits.replica_lag.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    let lags = [
        (&signals.replica_lag, in_time, unit_ms as fn(u64) -> String),
        (&signals.replica_lag_bytes, limits.replica_lag_bytes, unit_bytes),
    ];
    let near = lags.into_iter().filter_map(|(reading, limit, unit)| match (reading, limit) {
        (Reading::Value(value), Some(limit)) if limit > 0 => {
            Some((to_f64(*value) / to_f64(limit), unit(*value), unit(limit)))
        }
        _ => None,
    });
    let (ratio, value, limit) = near.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(ratio, ..)| *ratio > 0.5)?;
    let share = (1.0 - (ratio - 0.5) * 1.8).max(0.1);
    Some(Verdict::at(share, format!("slower, because the lag of a standby is {value}, the limit is {limit}")))
}

fn by(wish: &Pacing) -> String {
    wish.by.as_ref().map(|who| format!(" as asked by {who}")).unwrap_or_default()
}

#[allow(clippy::cast_precision_loss)] // bytes: a few more or less make no difference
fn to_f64(number: u64) -> f64 {
    number as f64
}

fn plain(number: u64) -> String {
    number.to_string()
}

fn unit_ms(ms: u64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { format!("{:.1} s", to_f64(ms) / 1000.0) }
}

fn unit_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut value = to_f64(bytes) / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(limits: &Limits, signals: &Signals, wish: &Pacing) -> Verdict {
        Memory::default().decide(limits, signals, None, wish, Instant::now())
    }

    #[test]
    fn slower_and_slower_towards_the_limit_of_a_lag() {
        let limits = Limits { replica_lag: Some(Duration::from_secs(1)), ..Limits::default() };
        let at = |ms| {
            let signals = Signals { busy: Reading::Value(0), replica_lag: Reading::Value(ms), ..Signals::default() };
            decide(&limits, &signals, &Pacing::default())
        };
        assert!((at(400).share - 1.0).abs() < 1e-9);
        let (near, nearer) = (at(600), at(900));
        assert!(near.share < 1.0 && nearer.share < near.share && nearer.share > 0.0, "{near:?} {nearer:?}");
        assert!(nearer.reason.contains("900 ms"), "{nearer:?}");
        assert!(at(1_001).is_stop());
    }

    #[test]
    fn alone_at_full_speed_beside_others_at_less_and_as_wished_when_somebody_wishes() {
        let (limits, wish) = (Limits::default(), Pacing::default());
        let busy = |n| Signals { busy: Reading::Value(n), ..Signals::default() };
        assert!((decide(&limits, &busy(0), &wish).share - 1.0).abs() < 1e-9);
        assert!((decide(&limits, &busy(2), &wish).share - BESIDE_OTHERS).abs() < 1e-9);
        let tenth = Pacing { speed: Some(0.1), by: Some("ops".to_owned()), ..Pacing::default() };
        let verdict = decide(&limits, &busy(0), &tenth);
        assert_eq!((verdict.share, verdict.reason.as_str()), (0.1, "10 % speed as asked by ops"));
        let paused = Pacing { paused: true, ..tenth };
        assert!(decide(&limits, &busy(0), &paused).is_stop());
    }

    #[test]
    fn others_who_work_in_bursts_count_between_them() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let (limits, wish) = (Limits::default(), Pacing::default());
        let busy = |n| Signals { busy: Reading::Value(n), ..Signals::default() };
        let mut at = |ms, n| memory.decide(&limits, &busy(n), None, &wish, now + Duration::from_millis(ms)).share;
        assert_eq!((at(0, 1), at(1500, 0), at(2500, 0)), (BESIDE_OTHERS, BESIDE_OTHERS, 1.0));
    }

    #[test]
    fn each_limit_stops_and_says_why() {
        let wish = Pacing::default();
        let of = |n| Reading::Value(n);
        let cases = [
            (
                Limits { replica_lag: Some(Duration::from_secs(1)), ..Limits::default() },
                Signals { replica_lag: of(3200), standbys: of(1), ..Signals::default() },
                "the lag of a standby is 3.2 s, the limit is 1.0 s",
            ),
            (
                Limits { replica_lag_bytes: Some(1 << 20), ..Limits::default() },
                Signals { replica_lag_bytes: of(5 << 20), standbys: of(1), ..Signals::default() },
                "the lag of a standby is 5.0 MiB, the limit is 1.0 MiB",
            ),
            (
                Limits { lock_waits: Some(2), ..Limits::default() },
                Signals { lock_waits: of(3), ..Signals::default() },
                "the number of sessions that wait for locks is 3, the limit is 2",
            ),
            (
                Limits { transactions: Some(9), ..Limits::default() },
                Signals { transactions: of(10), ..Signals::default() },
                "the number of open transactions is 10, the limit is 9",
            ),
            (
                Limits { slot_retention: Some(1 << 30), ..Limits::default() },
                Signals { slot_retention: of(3 << 30), ..Signals::default() },
                "what a replication slot keeps is 3.0 GiB, the limit is 1.0 GiB",
            ),
            (
                Limits { database_size: Some(1 << 30), ..Limits::default() },
                Signals { database_size: of(3 << 29), ..Signals::default() },
                "the size of the database is 1.5 GiB, the limit is 1.0 GiB",
            ),
            (
                Limits { replica_lag: Some(Duration::from_secs(1)), ..Limits::default() },
                Signals { replica_lag: Reading::Hidden("no right".to_owned()), ..Signals::default() },
                "the lag of a standby has a limit and is not known: no right",
            ),
        ];
        for (limits, signals, reason) in cases {
            assert_eq!(decide(&limits, &signals, &wish), Verdict::stop(reason));
            assert!(!decide(&Limits::default(), &signals, &wish).is_stop(), "without a limit it may go on: {reason}");
        }
    }

    #[test]
    fn a_standby_that_was_there_and_is_gone_stops_it() {
        let limits = Limits { replica_lag: Some(Duration::from_secs(1)), ..Limits::default() };
        let (mut memory, now, wish) = (Memory::default(), Instant::now(), Pacing::default());
        let standbys =
            |n| Signals { standbys: Reading::Value(n), replica_lag: Reading::Value(0), ..Signals::default() };
        assert!(!memory.decide(&limits, &standbys(0), None, &wish, now).is_stop(), "a database without standbys");
        assert!(!memory.decide(&limits, &standbys(2), None, &wish, now).is_stop());
        let verdict = memory.decide(&limits, &standbys(1), None, &wish, now);
        assert_eq!(verdict.reason, "a standby is gone, so its lag is not known: 1 of 2 are connected");
        assert!(!memory.decide(&limits, &standbys(2), None, &wish, now).is_stop(), "it came back");
        let expected = Limits { replicas: 1, ..limits };
        assert!(Memory::default().decide(&expected, &standbys(0), None, &wish, now).is_stop());
    }

    #[test]
    fn the_log_grows_at_its_rate_on_average() {
        let limits = Limits { wal_rate: Some(1000), ..Limits::default() };
        let (mut memory, now, wish) = (Memory::default(), Instant::now(), Pacing::default());
        let mut at = |seconds, position| {
            let signals = Signals { wal: Reading::Value(position), ..Signals::default() };
            memory.decide(&limits, &signals, None, &wish, now + Duration::from_secs(seconds)).is_stop()
        };
        assert_eq!([at(0, 50_000), at(1, 50_900), at(2, 54_900)], [false, false, true]);
        assert_eq!([at(4, 54_900), at(5, 54_900)], [true, false], "until the bytes are paid for");
    }

    #[test]
    fn a_probe_is_compared_with_its_idle_value() {
        let limits = Limits { probe_ratio: Some(3.0), ..Limits::default() };
        let ms = Duration::from_millis;
        let stops = |idle, now| {
            let probe = Some(Probe { idle: ms(idle), now: ms(now) });
            let signals = Signals::default();
            Memory::default().decide(&limits, &signals, probe, &Pacing::default(), Instant::now()).is_stop()
        };
        assert!(!stops(2, 6) && stops(2, 7) && !stops(0, 1));
    }
}
