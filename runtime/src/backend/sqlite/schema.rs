//! The ledger's tables.

use super::session::Sqlite;
use crate::{
    backend::{Backend as _, DbError, ErrorClass, LEDGER_FORMAT, Timeouts, digest},
    error::{Error, Result},
};

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS _schemadiff_meta (
        one INTEGER PRIMARY KEY CHECK (one = 1), format INTEGER NOT NULL, epoch INTEGER NOT NULL,
        digest TEXT NOT NULL, created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')))",
    "CREATE TABLE IF NOT EXISTS _schemadiff_migration (
        id TEXT PRIMARY KEY NOT NULL, parent TEXT, app TEXT NOT NULL, ordinal INTEGER NOT NULL, checksum TEXT NOT NULL,
        \"plan\" TEXT NOT NULL, before_fingerprint TEXT NOT NULL, after_fingerprint TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('running', 'done', 'aborted')),
        started_at TEXT NOT NULL, finished_at TEXT, applied_by TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS _schemadiff_step (
        migration TEXT NOT NULL, id TEXT NOT NULL, position INTEGER NOT NULL,
        phase TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('pending', 'running', 'done', 'undone')),
        cursor TEXT, rows_done INTEGER NOT NULL DEFAULT 0, started_at TEXT, finished_at TEXT,
        attempts INTEGER NOT NULL DEFAULT 0, last_error TEXT, PRIMARY KEY (migration, id))",
    "CREATE TABLE IF NOT EXISTS _schemadiff_lease (
        instance TEXT PRIMARY KEY NOT NULL, app TEXT NOT NULL, version TEXT NOT NULL, ordinal INTEGER NOT NULL,
        fingerprint TEXT NOT NULL, schema TEXT NOT NULL, process TEXT NOT NULL, revision TEXT,
        started_at TEXT NOT NULL, heartbeat_at TEXT NOT NULL, ended_at TEXT, evidence TEXT NOT NULL,
        grace_ms INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS _schemadiff_retired (
        app TEXT NOT NULL, version TEXT NOT NULL, migration TEXT NOT NULL, step TEXT NOT NULL,
        way TEXT NOT NULL CHECK (way IN ('forward', 'back')), reason TEXT NOT NULL,
        at TEXT NOT NULL, PRIMARY KEY (app, version))",
    "CREATE TABLE IF NOT EXISTS _schemadiff_retired_instance (
        instance TEXT PRIMARY KEY NOT NULL, app TEXT NOT NULL, version TEXT NOT NULL, reason TEXT NOT NULL,
        by_whom TEXT NOT NULL, at TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS _schemadiff_worker (
        one INTEGER PRIMARY KEY CHECK (one = 1), token TEXT NOT NULL, app TEXT NOT NULL, process TEXT NOT NULL,
        evidence TEXT NOT NULL, since TEXT NOT NULL, heartbeat_at TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS _schemadiff_pace (
        one INTEGER PRIMARY KEY CHECK (one = 1), paused INTEGER NOT NULL DEFAULT 0, speed REAL, asked_by TEXT,
        asked_at TEXT, reason TEXT, reason_at TEXT)",
    "CREATE TABLE IF NOT EXISTS _schemadiff_aside (
        migration TEXT NOT NULL, step TEXT NOT NULL, key TEXT NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL,
        PRIMARY KEY (migration, step, key))",
    "CREATE TABLE IF NOT EXISTS _schemadiff_kept (
        migration TEXT NOT NULL, step TEXT NOT NULL, position INTEGER NOT NULL, what TEXT NOT NULL, comes_back TEXT NOT NULL,
        purge TEXT NOT NULL, since_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL, PRIMARY KEY (migration, step, position))",
];

/// How often the file is waited for, each time for as long as a transaction of the ledger waits.
const ATTEMPTS: u32 = 15;

/// Creates what is missing, in one write transaction.
pub(super) async fn create(db: &mut Sqlite) -> Result<()> {
    let mut created = create_once(db).await;
    for _ in 1..ATTEMPTS {
        if !created.as_ref().is_err_and(|e| e.class.is_transient()) {
            break;
        }
        created = create_once(db).await;
    }
    created.map_err(|e| match e.class {
        ErrorClass::Forbidden => Error::Forbidden {
            action: "create the ledger (tables _schemadiff_*)".to_owned(),
            cause: e.message,
            grant: "give this process the right to write the database file and its directory".to_owned(),
        },
        _ => Error::Database { doing: "create the ledger".to_owned(), code: e.code, cause: e.message },
    })
}

async fn create_once(db: &mut Sqlite) -> Result<(), DbError> {
    db.begin(Timeouts::LEDGER).await?;
    let done = async {
        for sql in TABLES {
            db.execute(sql).await?;
        }
        db.execute(&format!(
            "INSERT OR IGNORE INTO _schemadiff_meta (one, format, epoch, digest) VALUES (1, {LEDGER_FORMAT}, 0, {})",
            Sqlite::literal(&digest(std::iter::empty()))
        ))
        .await
    }
    .await;
    match done {
        Ok(_) => db.commit().await,
        Err(e) => {
            db.rollback().await;
            Err(e)
        }
    }
}
