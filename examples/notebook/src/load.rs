//! The load: clients that write notes, rename them and read them back, until standard input closes.

use std::{
    io::Read as _,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{Database, Result};

/// What a version can do. Each does it with statements over its own tables.
pub trait Load: Send + Sync + 'static {
    /// A new note; its key.
    fn add(database: &Database, title: &str) -> Result<i64>;
    /// Another title.
    fn retitle(database: &Database, id: i64, title: &str) -> Result<()>;
    /// The title.
    fn title(database: &Database, id: i64) -> Result<String>;
    /// Everything there is.
    fn list(database: &Database) -> Result<Vec<Held>>;
}

/// A note as `list` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub title: String,
    /// Version 1 knows none.
    pub slug: Option<String>,
}

/// The last line of `serve`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Summary {
    pub statements: u64,
    pub failed: u64,
    /// Reads that did not give what was written last.
    pub wrong_reads: u64,
    /// Titles of the notes that were written, as they were acknowledged last.
    pub written: Vec<String>,
    /// The first few errors.
    pub errors: Vec<String>,
}

const CLIENTS: usize = 2;

pub(crate) fn serve<L: Load>(database: &Database) -> Result<()> {
    let (summary, stop) = (Mutex::new(Summary::default()), AtomicBool::new(false));
    println!("ready");
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (summary, stop) = (&summary, &stop);
            scope.spawn(move || {
                let mut round = 0;
                while !stop.load(Ordering::Relaxed) {
                    round += 1;
                    write_one::<L>(database, summary, &format!("{}-{client}-{round}", std::process::id()));
                    thread::sleep(Duration::from_millis(3));
                }
            });
        }
        // An end of file and an error both mean that nobody is there any more.
        let mut buffer = [0; 64];
        while std::io::stdin().read(&mut buffer).is_ok_and(|n| n > 0) {}
        stop.store(true, Ordering::Relaxed);
    });
    println!("{}", serde_json::to_string(&summary.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))?);
    Ok(())
}

fn write_one<L: Load>(database: &Database, summary: &Mutex<Summary>, name: &str) {
    let (first, second) = (format!("Note {name}"), format!("Note {name}, Again"));
    let Some(id) = count(summary, L::add(database, &first)) else { return };
    lock(summary).written.push(first);
    if count(summary, L::retitle(database, id, &second)).is_none() {
        return;
    }
    let mut now = lock(summary);
    let first = format!("Note {name}");
    now.written.retain(|title| *title != first);
    now.written.push(second.clone());
    drop(now);
    if count(summary, L::title(database, id)).is_some_and(|read| read != second) {
        lock(summary).wrong_reads += 1;
    }
}

/// Counts a statement.
fn count<T>(summary: &Mutex<Summary>, result: Result<T>) -> Option<T> {
    let mut summary = lock(summary);
    summary.statements += 1;
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            summary.failed += 1;
            if summary.errors.len() < 5 {
                summary.errors.push(error.to_string());
            }
            None
        }
    }
}

fn lock(summary: &Mutex<Summary>) -> std::sync::MutexGuard<'_, Summary> {
    summary.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
