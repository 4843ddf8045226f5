//! The lease of this process, and the connection that keeps it.

use std::{future::Future, time::Duration};

use tokio::sync::watch;

use super::{
    Event,
    context::Context,
    decide::{self, Boot},
    fence::{Fence, Moment},
    probe::{Probe, Standing},
    retry::jittered,
};
use crate::{
    backend::{Backend, ErrorClass, Identity, Lease, Process, Registered, Settled, ledger, random_name},
    error::{Error, Result},
    model::Fingerprint,
    waiting::Evidence,
};

/// How long a heartbeat counts where it is the evidence.
pub(super) const GRACE: Duration = Duration::from_secs(30);
/// How long a shutdown waits for the database to take the lease back.
const GOOD_BYE: Duration = Duration::from_secs(5);
/// How often a heartbeat is sent.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(10);

/// The lease that this process asks for.
pub(super) fn mine<B: Backend>(
    identity: Identity,
    fingerprint: Fingerprint,
    revision: Option<String>,
    on_standbys: bool,
    grace: Duration,
) -> Lease {
    let process = Process::current();
    Lease {
        instance: format!("{}-{}-{}", process.host, process.pid, random_name()),
        fingerprint,
        identity,
        process,
        revision,
        evidence: match (B::SESSION_LOCKS, on_standbys) {
            (true, true) => Evidence::Standby,
            (true, false) => Evidence::Lock,
            (false, _) => Evidence::Process,
        },
        started_ms: 0,
        heartbeat_age_ms: 0,
        beat: String::new(),
        silent_ms: 0,
        grace_ms: i64::try_from(grace.as_millis()).unwrap_or(i64::MAX),
        same_server: true,
        ended: false,
        version_connected: false,
        keeper_connected: false,
        connections: 0,
        process_runs: None,
    }
}

/// Registers without having read the ledger, which has to say just this; false when it does not, or is not there.
pub(super) async fn register_settled<B: Backend>(
    db: &mut B,
    lease: &Lease,
    (digest, known): (&str, &[&str]),
) -> Result<Settled> {
    match db.register_settled(lease, digest, &ledger::query::<B>(known)).await {
        Err(e) if e.class == ErrorClass::Missing => Ok(Settled::Not(None)),
        answer => answer.map_err(|e| ledger::explain::<B>("register this instance", e)),
    }
}

/// Registers once; false when the ledger has to be read again.
pub(super) async fn register<B: Backend>(db: &mut B, lease: &Lease, epoch: i64) -> Result<bool> {
    match db.register(lease, epoch).await.map_err(|e| ledger::explain::<B>("register this instance", e))? {
        Registered::Yes => Ok(true),
        // No registration is asked of a standby: it cannot be written to, and says so.
        Registered::Changed | Registered::Behind | Registered::OnStandby => Ok(false),
        Registered::Busy => {
            tokio::time::sleep(jittered(Duration::from_millis(60))).await;
            Ok(false)
        }
        Registered::Retired(retired) => Err(decide::refusal(&retired)),
    }
}

/// Keeps the lease alive until it is told to stop, then gives it back.
pub(super) async fn keep<B: Backend>(
    db: B,
    ctx: Context,
    lease: Lease,
    every: Duration,
    mut stop: watch::Receiver<bool>,
    (probe, fence): (Probe, Fence),
) {
    let (mut swept, target) = (false, db.connected_to().clone());
    // None after its answers have stopped coming: whatever it is asked next would wait, too.
    let mut db = Some(db);
    loop {
        let round = async {
            tokio::time::sleep(every).await;
            let sent = Moment::now();
            let kept = match db.as_mut() {
                Some(db) => answered(&ctx, sign_of_life(db, &lease, &mut swept)).await,
                None => Ok(false),
            };
            match kept {
                Ok(true) => {
                    fence.heard(sent);
                    return Ok(false);
                }
                Ok(false) => {}
                Err(_) => db = None,
            }
            let sent = Moment::now();
            db = Some(answered(&ctx, again::<B>(target.clone(), &ctx, &lease)).await?);
            fence.heard(sent);
            Ok(true)
        };
        let round: Result<bool> = tokio::select! {
            round = round => round,
            told = stop.wait_for(|stop| *stop) => {
                drop(told);
                break;
            }
        };
        match round {
            Ok(renewed) => {
                ctx.tell(&Event::SignOfLife { renewed });
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
        }
    }
    if let Err(error) = give_back(db, &target, &lease).await {
        tracing::debug!(%error, "the lease could not be given back, its end shows by itself");
    }
}

/// By the connection that kept it, or by a new one where that is broken: whoever waits for this instance need not wait out its grace
/// time.
async fn give_back<B: Backend>(db: Option<B>, target: &B::Target, lease: &Lease) -> Result<()> {
    let by = async |mut db: B| {
        let left = db.leave(lease).await;
        db.close().await;
        left.map_err(|e| ledger::explain::<B>("give the lease back", e))
    };
    if let Some(db) = db
        && let Ok(Ok(())) = tokio::time::timeout(GOOD_BYE / 2, by(db)).await
    {
        return Ok(());
    }
    let again = async { by(B::connect(target).await?).await };
    tokio::time::timeout(GOOD_BYE / 2, again).await.unwrap_or_else(|_| {
        Err(Error::ConnectionLost {
            doing: "give the lease back".to_owned(),
            code: String::new(),
            cause: format!("the database has not answered for {} s", (GOOD_BYE / 2).as_secs_f64()),
        })
    })
}

/// True when the lease is as it shall be.
async fn sign_of_life<B: Backend>(db: &mut B, lease: &Lease, swept: &mut bool) -> Result<bool> {
    // Not at the start, which has better things to do.
    if !*swept {
        *swept = ledger::sweep(db, lease).await.is_ok();
    }
    Ok(ledger::heartbeat(db, &lease.instance).await.unwrap_or(false))
}

/// A network can die without a word, and whoever waits would wait for hours. After the grace time nobody counts on this
/// instance any more, so that it has to know.
async fn answered<T>(ctx: &Context, question: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(ctx.grace, question).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::ConnectionLost {
            doing: "renew the lease".to_owned(),
            code: String::new(),
            cause: format!("the database has not answered for {} s", ctx.grace.as_secs()),
        }),
    }
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
