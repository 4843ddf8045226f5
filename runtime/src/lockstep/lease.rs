//! The lease of this process, and the connection that keeps it.

use std::time::Duration;

use tokio::sync::watch;

use super::{
    Event,
    context::Context,
    decide::{self, Boot},
    probe::{Probe, Standing},
    retry::{jittered, random_name},
};
use crate::{
    backend::{Backend, ErrorClass, Identity, Lease, Process, Registered, ledger},
    error::{Error, Result},
    model::Fingerprint,
    waiting::Evidence,
};

/// How long a heartbeat counts where it is the evidence.
pub(super) const GRACE: Duration = Duration::from_secs(30);
/// How often a heartbeat is sent.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(10);

/// The lease that this process asks for.
pub(super) fn mine<B: Backend>(identity: Identity, revision: Option<String>) -> Lease {
    let process = Process::current();
    Lease {
        instance: format!("{}-{}-{}", process.host, process.pid, random_name()),
        fingerprint: Fingerprint::of(&identity.schema),
        identity,
        process,
        revision,
        evidence: if B::SESSION_LOCKS { Evidence::Lock } else { Evidence::Process },
        started_ms: 0,
        heartbeat_age_ms: 0,
        ended: false,
        version_connected: false,
        keeper_connected: false,
        connections: 0,
        process_runs: None,
    }
}

/// Registers without having read the ledger, which has to say just this; false when it does not, or is not there.
pub(super) async fn register_settled<B: Backend>(db: &mut B, lease: &Lease, said: &str) -> Result<bool> {
    match db.register_settled(lease, said).await {
        Err(e) if e.class == ErrorClass::Missing => Ok(false),
        answer => answer.map_err(|e| ledger::explain::<B>("register this instance", e)),
    }
}

/// Registers once; false when the ledger has to be read again.
pub(super) async fn register<B: Backend>(db: &mut B, lease: &Lease, epoch: i64) -> Result<bool> {
    match db.register(lease, epoch).await.map_err(|e| ledger::explain::<B>("register this instance", e))? {
        Registered::Yes => Ok(true),
        Registered::Changed => Ok(false),
        Registered::Busy => {
            tokio::time::sleep(jittered(Duration::from_millis(60))).await;
            Ok(false)
        }
        Registered::Retired(retired) => Err(decide::refusal(&retired)),
    }
}

/// Keeps the lease alive until it is told to stop, then gives it back.
pub(super) async fn keep<B: Backend>(
    mut db: B,
    ctx: Context,
    lease: Lease,
    every: Duration,
    mut stop: watch::Receiver<bool>,
    probe: Probe,
) {
    let mut swept = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            told = stop.wait_for(|stop| *stop) => {
                drop(told);
                break;
            }
        }
        // Not at the start, which has better things to do.
        if !swept {
            swept = ledger::sweep(&mut db, &lease).await.is_ok();
        }
        match ledger::heartbeat(&mut db, &lease.instance).await {
            Ok(true) => {
                ctx.tell(&Event::SignOfLife { renewed: false });
                probe.set(Standing::Serving);
            }
            Ok(false) | Err(_) => match again::<B>(db.connected_to().clone(), &ctx, &lease).await {
                Ok(new) => {
                    db = new;
                    ctx.tell(&Event::SignOfLife { renewed: true });
                    probe.set(Standing::Serving);
                }
                Err(error) if matches!(error, Error::Retired { .. } | Error::NotServed { .. }) => {
                    tracing::error!(target: "schemadiff", %error, "this instance must not go on");
                    probe.set(Standing::Final(error.to_string()));
                }
                Err(error) => {
                    tracing::warn!(target: "schemadiff", %error, "the lease could not be renewed");
                    probe.set(Standing::Unreachable(error.to_string()));
                }
            },
        }
    }
    if let Err(error) = db.leave(&lease).await {
        tracing::debug!(%error, "the lease could not be given back, its end shows by itself");
    }
    db.close().await;
}

/// After a lost connection: the version may have been retired meanwhile, so everything is asked again.
async fn again<B: Backend>(target: B::Target, ctx: &Context, lease: &Lease) -> Result<B> {
    let mut db = B::connect(&target).await?;
    loop {
        let ledger = ctx.ledger(&mut db).await?.unwrap_or_default();
        let plans = decide::pending(&ctx.history, &ledger)?;
        let served = match decide::boot(&ctx.world(&plans, &ledger, &[]), &lease.identity)? {
            Boot::Start => Vec::new(),
            Boot::Work { reasons, .. } => reasons,
            Boot::Refused(error) => return Err(error),
        };
        if !served.is_empty() {
            let (app, version) = (lease.identity.app.clone(), lease.identity.version.clone());
            return Err(Error::NotServed { app, version, reasons: served });
        }
        if register(&mut db, lease, ledger.epoch).await? {
            return Ok(db);
        }
    }
}
