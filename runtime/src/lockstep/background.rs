//! What is left for the time after the start: contract phases that wait for the gate.

use std::time::Duration;

use tracing::Instrument as _;

use super::{
    Event,
    admin::names,
    context::Context,
    retry::jittered,
    run::{Advance, Work},
};
use crate::{
    backend::Backend,
    error::{Error, Result},
    plan::{Phase, Way},
    waiting::Holder,
};

/// Carries out what is left when the gate opens, until nothing is left.
pub(super) async fn in_background<B: Backend>(target: B::Target, mut ctx: Context, until: Phase, every: Duration) {
    let (mut told, mut trouble) = (Vec::new(), 0_u32);
    loop {
        let mut span = tracing::Span::none();
        match once::<B>(&target, &ctx, until).await {
            Ok(None) => return,
            Ok(Some((migration, step, holders))) => {
                trouble = 0;
                span = tracing::info_span!(target: "schemadiff", "gate_wait", migration, step);
                if names(&holders) != told {
                    told = names(&holders);
                    ctx.tell(&Event::GateClosed { migration: &migration, step: &step, holders: &holders, back: false });
                }
            }
            Err(Error::WorkerBusy { .. } | Error::NeedsApplication { .. }) => trouble = 0,
            Err(Error::Interrupted) => return,
            // What somebody has taken back on purpose is not this process's to carry out again.
            Err(error @ Error::AbortedMeanwhile { .. }) => {
                tracing::warn!(target: "schemadiff", %error, code = error.code(), "the contract phase is not carried out");
                return;
            }
            Err(error) => {
                trouble = (trouble + 1).min(5);
                tracing::error!(target: "schemadiff", %error, code = error.code(), "the contract phase does not go on");
            }
        }
        // What fails again and again is asked ever more rarely.
        if ctx.stop.sleep(jittered(every.saturating_mul(1 << trouble))).instrument(span).await.is_err() {
            return;
        }
    }
}

/// None when nothing is left; else what waits for whom.
async fn once<B: Backend>(
    target: &B::Target,
    ctx: &Context,
    until: Phase,
) -> Result<Option<(String, String, Vec<Holder>)>> {
    let db = B::connect(target).await?;
    let mut work = match Work::try_take(db, ctx).await? {
        Ok(work) => work,
        Err((db, busy)) => {
            db.close().await;
            return Err(Error::WorkerBusy { holder: busy.holder });
        }
    };
    // It was there, in expand at least, when this process began to wait.
    if let Some(head) = ctx.history.snapshot().head.clone() {
        let aborted = work.is_aborted(&head).await;
        if !matches!(aborted, Ok(false)) {
            work.give_back().await;
            aborted?;
            return Err(Error::AbortedMeanwhile { migration: head });
        }
    }
    let advance = work.advance(until, &mut Vec::new()).await;
    work.give_back().await;
    match advance? {
        Advance::Finished | Advance::Reached => Ok(None),
        Advance::Closed { migration, step, holders } => Ok(Some((migration, step, holders))),
        elsewhere @ Advance::Elsewhere { .. } => elsewhere.into_error(Way::Forward).map_or(Ok(None), Err),
    }
}
