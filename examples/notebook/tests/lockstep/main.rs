//! Lockstep with Diesel on real servers: the migration source, the pool's hook, and the notebook in two versions.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod document;
mod hook;
mod source;
mod support;
mod two_versions;
