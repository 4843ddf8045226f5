//! What a server shows of the load on it: the measurements that a backfill is slowed down by.

use std::time::Duration;

/// One measurement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Reading {
    /// The engine has no such thing: it limits nothing.
    #[default]
    Nothing,
    /// In the unit that the field of [`Signals`] names.
    Value(u64),
    /// It is there but cannot be seen, in words. Whoever has set a limit for it stops.
    Hidden(String),
}

/// What was seen at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signals {
    /// Other sessions of this database that carry out a transaction at this moment; those that cannot be looked into count.
    pub busy: Reading,
    /// Other sessions of the whole server that do so or did within the last second, and those that cannot be looked into.
    pub awake: Reading,
    /// Other sessions of this database that wait for a lock.
    pub lock_waits: Reading,
    /// Other sessions of this database with an open transaction.
    pub transactions: Reading,
    /// Standbys that are connected.
    pub standbys: Reading,
    /// Milliseconds that the slowest standby is behind.
    pub replica_lag: Reading,
    /// Bytes that the slowest standby is behind.
    pub replica_lag_bytes: Reading,
    /// Bytes of write-ahead log written since the server was made.
    pub wal: Reading,
    /// Bytes of write-ahead log that the greediest replication slot keeps.
    pub slot_retention: Reading,
    /// Bytes that the database takes on disk; measured only where there is a limit for it.
    pub database_size: Reading,
}

/// Above what a backfill waits. Every limit is optional; one that cannot be measured stops it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// How far the slowest standby may be behind, in time.
    pub replica_lag: Option<Duration>,
    /// How far it may be behind, in bytes of write-ahead log.
    pub replica_lag_bytes: Option<u64>,
    /// How many standbys there must be; one that was seen and is gone counts as missing in any case.
    pub replicas: u64,
    /// Other sessions that wait for a lock.
    pub lock_waits: Option<u64>,
    /// Other sessions with an open transaction.
    pub transactions: Option<u64>,
    /// How many times its idle value the probe statement may take.
    pub probe_ratio: Option<f64>,
    /// The probe statement; a small read of the ledger when it is not given.
    pub probe: Option<String>,
    /// Bytes of write-ahead log that the whole server may write per second, on average.
    pub wal_rate: Option<u64>,
    /// Bytes of write-ahead log that a replication slot may keep.
    pub slot_retention: Option<u64>,
    /// Bytes that the database may take on disk: no server tells a client how much room is left.
    pub database_size: Option<u64>,
}
