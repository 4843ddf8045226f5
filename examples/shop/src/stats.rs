//! What a process measures about itself.

use std::{
    future::Future,
    io::Write,
    sync::Mutex,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// One line on standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The process serves now.
    Ready { name: String, version: String, waited_ms: u64 },
    /// Counters so far.
    Tick(Counters),
    /// The last line of an orderly end.
    End(Counters),
}

/// Counters of one process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Statements sent.
    pub statements: u64,
    /// Statements that the server answered with an error.
    pub failed: u64,
    /// Reads that did not give what was written last.
    pub wrong_reads: u64,
    /// The longest that one statement took, waiting for a connection included.
    pub max_stall_ms: u64,
    /// The same since the line before this one.
    pub recent_stall_ms: u64,
    /// The first few errors, in the server's words.
    pub errors: Vec<String>,
}

/// Counters that many clients write to.
#[derive(Debug, Default)]
pub struct Stats(Mutex<Counters>);

const ERRORS_KEPT: usize = 5;

impl Stats {
    /// Sends one statement and counts it.
    ///
    /// # Errors
    /// The statement's own.
    pub async fn statement<T>(&self, sent: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        let start = Instant::now();
        let result = sent.await;
        self.count(start.elapsed(), result.as_ref().err());
        result
    }

    fn count(&self, took: Duration, error: Option<&sqlx::Error>) {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let mut counters = self.lock();
        counters.statements += 1;
        counters.max_stall_ms = counters.max_stall_ms.max(took_ms);
        counters.recent_stall_ms = counters.recent_stall_ms.max(took_ms);
        if let Some(error) = error {
            counters.failed += 1;
            if counters.errors.len() < ERRORS_KEPT {
                counters.errors.push(error.to_string());
            }
        }
    }

    /// Counts a read that gave something else than was written last.
    pub fn wrong_read(&self) {
        self.lock().wrong_reads += 1;
    }

    /// The counters now; the recent stall begins anew.
    pub fn counters(&self) -> Counters {
        let mut counters = self.lock();
        let now = counters.clone();
        counters.recent_stall_ms = 0;
        now
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counters> {
        // A client that panicked while counting leaves numbers that are still numbers.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Event {
    /// Prints it as one line; a reader that is gone is found out through standard input.
    pub fn print(&self) {
        if let Ok(line) = serde_json::to_string(self) {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        }
    }
}
