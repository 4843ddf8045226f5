//! What others have lost data to on SQLite, each as a test on a real file: rebuilds, sync triggers, backfills.

mod backfill;
mod rebuild;
mod support;
mod sync;
