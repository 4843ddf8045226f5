//! Leases and the processes behind them.

use super::session::Sqlite;
use crate::backend::{
    Backend as _, DbError, DbResult, ErrorClass, LEDGER_FORMAT, Lease, Registered, Settled, Timeouts,
};

const LEASES: &str = "SELECT CAST(json_object(
        'instance', l.instance, 'app', l.app, 'version', l.version, 'ordinal', l.ordinal, 'schema', json(l.schema),
        'fingerprint', l.fingerprint, 'process', json(l.process), 'revision', l.revision, 'evidence', l.evidence,
        'started_ms', CAST(round((julianday(l.started_at) - 2440587.5) * 86400000) AS INTEGER),
        'heartbeat_age_ms', CAST(round((julianday('now') - julianday(l.heartbeat_at)) * 86400000) AS INTEGER),
        'beat', l.heartbeat_at, 'grace_ms', l.grace_ms, 'same_server', json('true'),
        'ended', json(CASE WHEN l.ended_at IS NULL THEN 'false' ELSE 'true' END),
        'version_connected', json('false'), 'keeper_connected', json('false'), 'connections', 0,
        'process_runs', NULL) AS TEXT)
    FROM _schemadiff_lease l
    WHERE NOT EXISTS (SELECT 1 FROM _schemadiff_retired r WHERE r.app = l.app AND r.version = l.version)
    ORDER BY l.started_at, l.instance";

pub(super) async fn read(db: &mut Sqlite) -> DbResult<Vec<Lease>> {
    let rows = db.rows(LEASES, &[]).await?;
    rows.into_iter()
        .filter_map(|mut row| row.pop().flatten())
        .map(|text| {
            let mut lease: Lease = serde_json::from_str(&text).map_err(|e| DbError::unreadable("a lease", e))?;
            lease.process_runs = lease.process.runs();
            lease.silent_ms = lease.heartbeat_age_ms;
            Ok(lease)
        })
        .collect()
}

pub(super) async fn register(db: &mut Sqlite, lease: &Lease, epoch: i64) -> DbResult<Registered> {
    register_where(db, lease, &format!("SELECT epoch = {epoch} FROM _schemadiff_meta")).await
}

/// A file is read without a round trip: there is nothing to ask on the way.
pub(super) async fn register_settled(db: &mut Sqlite, lease: &Lease, known: &str) -> DbResult<Settled> {
    let unchanged =
        format!("SELECT m.digest = {} AND m.format = {LEDGER_FORMAT} FROM _schemadiff_meta m", Sqlite::literal(known));
    match register_where(db, lease, &unchanged).await? {
        Registered::Yes => Ok(Settled::Registered),
        _ => Ok(Settled::Not(None)),
    }
}

/// The row stays: it knows the schema of connections that may outlive it.
pub(super) async fn end(db: &mut Sqlite, lease: &Lease) -> DbResult<()> {
    let sql = format!("UPDATE _schemadiff_lease SET ended_at = {} WHERE instance = $1", Sqlite::SQL.now);
    db.run(&sql, &[Some(&lease.instance)]).await.map(drop)
}

/// Registration in one write transaction; the gate's check is one too, and there is one writer.
async fn register_where(db: &mut Sqlite, lease: &Lease, unchanged: &str) -> DbResult<Registered> {
    match db.begin(Timeouts::LEDGER).await {
        Ok(()) => {}
        Err(e) if e.class == ErrorClass::LockTimeout => return Ok(Registered::Busy),
        Err(e) => return Err(e),
    }
    let answer = register_within(db, lease, unchanged).await;
    match answer {
        Ok(Registered::Yes) => db.commit().await.map(|()| Registered::Yes),
        other => {
            db.rollback().await;
            other
        }
    }
}

async fn register_within(db: &mut Sqlite, lease: &Lease, unchanged: &str) -> DbResult<Registered> {
    if !db.is_true(unchanged).await? {
        return Ok(Registered::Changed);
    }
    let identity = &lease.identity;
    if let Some(retired) = db.retired(&identity.app, &identity.version).await? {
        return Ok(Registered::Retired(retired));
    }
    let fingerprint = lease.fingerprint.as_str();
    let sql = "INSERT INTO _schemadiff_lease (instance, app, version, ordinal, fingerprint, schema, process, revision, \
               started_at, heartbeat_at, evidence, grace_ms) VALUES ($1, $2, $3, CAST($4 AS INTEGER), $5, $6, $7, $8, \
               strftime('%Y-%m-%d %H:%M:%f', 'now'), strftime('%Y-%m-%d %H:%M:%f', 'now'), $9, \
               CAST($10 AS INTEGER)) \
               ON CONFLICT (instance) DO UPDATE SET heartbeat_at = excluded.heartbeat_at, ended_at = NULL";
    let (ordinal, grace) = (identity.ordinal.to_string(), lease.grace_ms.to_string());
    let schema = serde_json::to_string(&identity.schema).map_err(|e| DbError::unreadable("the schema", e))?;
    let process = serde_json::to_string(&lease.process).map_err(|e| DbError::unreadable("the process", e))?;
    let params = [
        Some(lease.instance.as_str()),
        Some(&identity.app),
        Some(&identity.version),
        Some(&ordinal),
        Some(fingerprint),
        Some(&schema),
        Some(&process),
        lease.revision.as_deref(),
        Some(lease.evidence.as_str()),
        Some(&grace),
    ];
    db.run(sql, &params).await?;
    Ok(Registered::Yes)
}
