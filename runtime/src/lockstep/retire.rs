//! Retiring a dead instance by name, where the database cannot know by itself that it is dead.

use std::time::Duration;

use serde::Serialize;

use super::{admin::Target, decide, retry::jittered, witness::Witness};
use crate::{
    backend::{Backend, ErrorClass, Lease, Timeouts, ledger},
    error::{Error, Result},
    waiting::Evidence,
};

/// What became of an instance that was retired by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RetiredInstance {
    /// Application.
    pub app: String,
    /// Version.
    pub version: String,
    /// Instance.
    pub instance: String,
    /// Why, in the words of whoever did it.
    pub reason: String,
    /// Sessions of it on the server that were still open and have been ended.
    pub sessions_ended: i64,
    /// Sessions of its version that were left alone, because another instance of the version is alive.
    pub sessions_left: i64,
}

/// How often the gate is asked for while registrations hold it.
const ATTEMPTS: u32 = 50;

/// Ends the lease of an instance that has shown no sign of life for the grace time, and the sessions that it left open.
/// Should it come back, it has to register again, and is refused when its version is no longer served.
pub(super) async fn retire<B: Backend>(
    db: &mut B,
    target: &Target,
    reason: &str,
    by: &str,
    grace_ms: i64,
) -> Result<RetiredInstance> {
    let failed = |e| ledger::explain::<B>("retire the instance", e);
    let watched = watch(db, target, grace_ms).await?;
    for _ in 0..ATTEMPTS {
        match db.begin(Timeouts::LEDGER).await {
            Ok(()) => {}
            // Somebody writes to the file.
            Err(e) if e.class.is_transient() => continue,
            Err(e) => return Err(failed(e)),
        }
        let ended = within(db, target, (reason, by), (grace_ms, watched.as_deref())).await;
        match ended {
            Ok(Some((lease, (sessions_ended, sessions_left)))) => {
                db.commit().await.map_err(failed)?;
                return Ok(RetiredInstance {
                    app: lease.identity.app,
                    version: lease.identity.version,
                    instance: lease.instance,
                    reason: reason.to_owned(),
                    sessions_ended,
                    sessions_left,
                });
            }
            Ok(None) => db.rollback().await,
            Err(error) => {
                db.rollback().await;
                return Err(error);
            }
        }
        tokio::time::sleep(jittered(Duration::from_millis(100))).await;
    }
    Err(Error::WorkerBusy { holder: "instances that register at this moment".to_owned() })
}

/// Looks for the grace time whether a heartbeat comes, where the times of heartbeats are those of each process and their machines'
/// clocks may differ. The last heartbeat, if nothing came after it; none where nobody has to be watched.
async fn watch<B: Backend>(db: &mut B, target: &Target, grace_ms: i64) -> Result<Option<String>> {
    let (witness, mut first) = (Witness::default(), None::<String>);
    let asked = Duration::from_millis(u64::try_from(grace_ms).unwrap_or(0));
    loop {
        let leases = db.leases().await.map_err(|e| ledger::explain::<B>("retire the instance", e))?;
        let Some(mut lease) = of(leases, target) else { return Ok(None) };
        let unclear = lease.evidence == Evidence::Process && lease.process_runs.is_none() && !lease.ended;
        if !unclear || decide::shows_life(&lease, grace_ms) {
            return Ok(None);
        }
        if first.get_or_insert_with(|| lease.beat.clone()) != &lease.beat {
            return Err(alive(lease));
        }
        witness.leases(std::slice::from_mut(&mut lease), asked);
        if lease.silent_ms > lease.patience(grace_ms) {
            return Ok(Some(lease.beat));
        }
        let patience = Duration::from_millis(u64::try_from(lease.patience(grace_ms)).unwrap_or(0));
        tokio::time::sleep((patience / 8).clamp(Duration::from_millis(10), Duration::from_millis(500))).await;
    }
}

fn of(leases: Vec<Lease>, target: &Target) -> Option<Lease> {
    leases.into_iter().find(|l| l.identity.app == target.app && l.instance == target.instance)
}

fn alive(lease: Lease) -> Error {
    Error::InstanceAlive {
        app: lease.identity.app,
        instance: lease.instance,
        host: lease.process.host,
        pid: lease.process.pid,
        seconds: lease.heartbeat_age_ms / 1000,
    }
}

/// The lease, and how many of its sessions were ended and left; none while the gate is held.
async fn within<B: Backend>(
    db: &mut B,
    target: &Target,
    (reason, by): (&str, &str),
    (grace_ms, watched): (i64, Option<&str>),
) -> Result<Option<(Lease, (i64, i64))>> {
    let failed = |e| ledger::explain::<B>("retire the instance", e);
    if !db.try_gate().await.map_err(failed)? {
        return Ok(None);
    }
    let leases = db.leases().await.map_err(failed)?;
    let Some(lease) = of(leases, target) else {
        return Err(Error::NoSuchInstance { app: target.app.clone(), instance: target.instance.clone() });
    };
    if decide::shows_life(&lease, grace_ms) || watched.is_some_and(|beat| beat != lease.beat) {
        return Err(alive(lease));
    }
    ledger::retire_instance(db, &lease, reason, by).await.map_err(failed)?;
    // Before anything is on record: sessions that this role may not end would hold the gate although they were retired.
    let sessions = db.end_sessions(&lease, grace_ms).await.map_err(|e| match e.class {
        ErrorClass::Forbidden => Error::Forbidden {
            action: format!("end the sessions of {}/{}, which was not retired", target.app, target.instance),
            cause: e.message,
            grant: B::SQL.signals.to_owned(),
        },
        _ => failed(e),
    })?;
    Ok(Some((lease, sessions)))
}
