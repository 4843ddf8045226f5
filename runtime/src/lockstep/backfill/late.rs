//! Rows that old code writes while it is waited for lack the values that functions of the application give. They get them in
//! rounds, so that little is left when the old code has gone.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Cursor, Job, Throttle, Walk, next_pass, pass, remaining};
use crate::{
    backend::{Backend, aside},
    error::{Error, Result},
    lockstep::context::Context,
    plan::{Backfill, Plan, Step},
};

/// Shortest pause between two rounds.
const PAUSE: Duration = Duration::from_secs(1);
/// The pause as a multiple of what the last round took.
const REST: u32 = 20;

/// When each step may be looked at again.
#[derive(Debug, Clone, Default)]
pub(in crate::lockstep) struct Rounds(Arc<Mutex<BTreeMap<(String, String), Instant>>>);

impl Rounds {
    fn is_due(&self, of: &(String, String)) -> bool {
        let next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        next.get(of).is_none_or(|at| Instant::now() >= *at)
    }

    fn rest(&self, of: (String, String), took: Duration) {
        let at = Instant::now() + (took * REST).max(PAUSE);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(of, at);
    }
}

/// One round, if it is time for one.
pub(in crate::lockstep) async fn late_rows<B: Backend>(
    db: &mut B,
    ctx: &mut Context,
    plan: &Plan,
    step: &Step,
    backfill: &Backfill,
) -> Result<()> {
    let of = (plan.id.clone(), step.id.clone());
    let known = backfill.given.as_ref().is_some_and(|given| ctx.backfills.get(&given.by).is_some());
    if !known || !ctx.rounds.is_due(&of) {
        return Ok(());
    }
    let began = Instant::now();
    let result = round(db, ctx, plan, step, backfill).await;
    ctx.rounds.rest(of, began.elapsed());
    match result {
        // The pass in contract asks for every row again, and fails where it has to.
        Err(error)
            if !matches!(error, Error::Interrupted | Error::LostWork | Error::Database { .. })
                && !error.is_connection() =>
        {
            tracing::warn!(target: "schemadiff", step = step.id, %error, "rows of the old version are not filled yet");
            Ok(())
        }
        result => result,
    }
}

async fn round<B: Backend>(db: &mut B, ctx: &mut Context, plan: &Plan, step: &Step, backfill: &Backfill) -> Result<()> {
    let job = Arc::new(Job::new(ctx, plan, step, backfill, 0)?);
    let Some(values) = &job.values else { return Ok(()) };
    let known = aside::read(db, Some((&plan.id, &step.id))).await;
    values.leave_out(known.map_err(|e| job.explain::<B>(e.into()))?);
    if remaining(db, &job).await.map_err(|e| job.stopped::<B>(ctx, e))?
        <= u64::try_from(values.kept()).unwrap_or(u64::MAX)
    {
        return Ok(());
    }
    let mut throttle = Throttle::start(db, ctx);
    ctx.load.is_ours(db).await;
    throttle.ready(&mut ctx.stop).await?;
    // The bound comes from the table, and is written to a step that is done: nobody goes on from there.
    let Some(cursor) = next_pass(db, ctx, &job, &Cursor { total: Some(0), ..Cursor::default() }).await? else {
        return Ok(());
    };
    *job.walk.lock().await = Walk::from(cursor);
    pass(db, ctx, &job, &throttle, true).await
}
