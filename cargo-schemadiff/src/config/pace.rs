//! How gentle migrations are, as `schemadiff.toml` says it.

use std::time::Duration;

use schemadiff::lockstep::{Compare, Limits, Pace};
use serde::{Deserialize, Deserializer, de};

/// `[backfill]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Backfill {
    /// Connections that fill at the same time, 1 to 32; not given: one, and a second one while nobody else is at work.
    #[serde(deserialize_with = "workers")]
    pub parallel: Option<u32>,
    /// Rows without a value from the application that are kept aside before a backfill stops.
    #[serde(alias = "max_failed_rows")]
    pub max_failed_rows: Option<u64>,
    /// How much of what is stored is compared in the end: `"off"`, `"sample"` or `"full"`.
    pub compare: Option<How>,
}

/// See [`Compare`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Nothing.
    Off,
    /// Some ranges, chosen by chance.
    Sample,
    /// Every row: the table is read once more.
    Full,
}

impl From<How> for Compare {
    fn from(how: How) -> Self {
        match how {
            How::Off => Self::Off,
            How::Sample => Self::Sample,
            How::Full => Self::Full,
        }
    }
}

/// `[throttle]`: above what a backfill waits.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Throttle {
    /// How far the slowest standby may be behind: `"1s"`.
    #[serde(alias = "replica_lag", deserialize_with = "duration")]
    pub replica_lag: Option<Duration>,
    /// How far the slowest standby may be behind: `"64 MiB"`.
    #[serde(alias = "replica_lag_bytes", deserialize_with = "bytes")]
    pub replica_lag_bytes: Option<u64>,
    /// How many standbys there must be.
    pub replicas: u64,
    /// Sessions of others that wait for a lock.
    #[serde(alias = "lock_waits")]
    pub lock_waits: Option<u64>,
    /// Open transactions of others.
    pub transactions: Option<u64>,
    /// A statement whose time is compared with what it takes when nobody fills.
    pub probe: Option<String>,
    /// How many times that it may take; 3 when there is a `probe`.
    #[serde(alias = "probe_ratio", deserialize_with = "ratio")]
    pub probe_ratio: Option<f64>,
    /// Write-ahead log of the whole server per second: `"32 MiB"`.
    #[serde(alias = "wal_rate", deserialize_with = "bytes")]
    pub wal_rate: Option<u64>,
    /// Write-ahead log that a replication slot may keep: `"10 GiB"`.
    #[serde(alias = "slot_retention", deserialize_with = "bytes")]
    pub slot_retention: Option<u64>,
    /// What the database may take on disk: `"400 GiB"`.
    #[serde(alias = "database_size", deserialize_with = "bytes")]
    pub database_size: Option<u64>,
}

impl Throttle {
    /// As the runtime takes it.
    pub fn limits(&self) -> Limits {
        Limits {
            replica_lag: self.replica_lag,
            replica_lag_bytes: self.replica_lag_bytes,
            replicas: self.replicas,
            lock_waits: self.lock_waits,
            transactions: self.transactions,
            probe: self.probe.clone(),
            probe_ratio: self.probe_ratio.or(self.probe.as_ref().map(|_| 3.0)),
            wal_rate: self.wal_rate,
            slot_retention: self.slot_retention,
            database_size: self.database_size,
        }
    }
}

/// All of it as the runtime takes it; options count before the file.
pub(super) fn pace(max_stall: Option<Duration>, compare: Option<How>, file: &super::File) -> Pace {
    Pace {
        max_stall: max_stall.or(file.max_stall),
        parallel: file.backfill.parallel,
        failed_rows: file.backfill.max_failed_rows.unwrap_or(Pace::default().failed_rows),
        compare: compare.or(file.backfill.compare).map(Compare::from).unwrap_or_default(),
        limits: file.throttle.limits(),
        ..Pace::default()
    }
}

/// `30s`, `250ms`, `10m`, `2h`, `1d`; a number alone is seconds.
///
/// # Errors
/// A sentence for whoever wrote something else.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "write a number with a unit, for example 30s or 10m".to_owned())?;
    let seconds = match unit.trim() {
        "ms" => return Ok(Duration::from_millis(number)),
        "" | "s" | "sec" => Some(number),
        "m" | "min" => number.checked_mul(60),
        "h" => number.checked_mul(3600),
        "d" => number.checked_mul(86_400),
        other => return Err(format!("unknown unit `{other}`: use ms, s, m, h or d")),
    };
    seconds.map(Duration::from_secs).ok_or_else(|| "the duration is too long".to_owned())
}

/// The longest stall of the application's statements: a duration of at least 10 ms.
///
/// # Errors
/// A sentence for whoever wrote something else.
pub fn parse_stall(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        stall if stall < Duration::from_millis(10) => {
            Err("no migration can promise less than 10ms; write 50ms or more".to_owned())
        }
        stall => Ok(stall),
    }
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "write a number with a unit, for example 64 MiB".to_owned())?;
    let factor = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        other => return Err(format!("unknown unit `{other}`: use kB, MB, GB, TB, KiB, MiB, GiB or TiB")),
    };
    number.checked_mul(factor).ok_or_else(|| "that is too much".to_owned())
}

pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    parse_duration(&String::deserialize(from)?).map(Some).map_err(de::Error::custom)
}

/// See [`parse_stall`].
pub(super) fn stall<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    parse_stall(&String::deserialize(from)?).map(Some).map_err(de::Error::custom)
}

fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    parse_bytes(&String::deserialize(from)?).map(Some).map_err(de::Error::custom)
}

fn ratio<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    match f64::deserialize(from)? {
        ratio if ratio >= 1.0 => Ok(Some(ratio)),
        _ => Err(de::Error::custom("a statement cannot take less than when nobody fills: write 1.5 or more")),
    }
}

fn workers<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    match u32::deserialize(from)? {
        workers @ 1..=32 => Ok(Some(workers)),
        _ => Err(de::Error::custom("write a number of connections from 1 to 32")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        assert!(parse_duration("soon").is_err());
        assert!(parse_duration("3 weeks").is_err());
        assert!(parse_duration("99999999999999999999s").is_err());
        assert!(parse_stall("5ms").is_err());
    }

    #[test]
    fn bytes_have_units() {
        assert_eq!(parse_bytes("64 MiB"), Ok(64 << 20));
        assert_eq!(parse_bytes("2GB"), Ok(2_000_000_000));
        assert!(parse_bytes("64 megs").is_err() && parse_bytes("99999999999 TiB").is_err());
    }

    #[test]
    fn the_file_says_how_gentle_it_is() -> Result<(), toml::de::Error> {
        let text = "max-stall = \"100ms\"\n[backfill]\nparallel = 4\ncompare = \"full\"\n\
                    [throttle]\nreplica-lag = \"1s\"\nwal-rate = \"32 MiB\"\nprobe = \"SELECT 1\"\nlock-waits = 5\n";
        let file: super::super::File = toml::from_str(text)?;
        // As structs spell their fields.
        let underscores =
            toml::from_str(&text.replace("max-stall", "max_stall").replace("replica-lag", "replica_lag"))?;
        assert_eq!(file, underscores);
        let pace = pace(None, None, &file);
        assert_eq!((pace.max_stall, pace.parallel), (Some(Duration::from_millis(100)), Some(4)));
        assert_eq!(pace.compare, Compare::Full);
        let limits = pace.limits;
        assert_eq!((limits.replica_lag, limits.lock_waits), (Some(Duration::from_secs(1)), Some(5)));
        assert_eq!((limits.wal_rate, limits.probe_ratio), (Some(32 << 20), Some(3.0)));
        let said = super::pace(Some(Duration::from_millis(50)), Some(How::Off), &file);
        assert_eq!((said.max_stall, said.compare), (Some(Duration::from_millis(50)), Compare::Off));
        for wrong in [
            "[throttle]\nreplica-lag = 1",
            "[backfill]\nparallel = 0",
            "[backfill]\ncompare = \"some\"",
            "[throttle]\nlag = \"1s\"",
        ] {
            assert!(toml::from_str::<super::super::File>(wrong).is_err(), "{wrong}");
        }
        Ok(())
    }
}
