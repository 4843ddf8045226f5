//! Taking the work, and who has it when somebody else does.

use std::time::Duration;

use super::context::Context;
use crate::{
    backend::{Backend, DbResult, Timeouts, Worker, ledger},
    waiting::Evidence,
};

/// Somebody else has the work.
pub(super) struct Busy {
    /// Who, for messages.
    pub(super) holder: String,
    /// Nothing is heard of it, and whether that stays so is being watched.
    pub(super) suspected: bool,
}

impl From<String> for Busy {
    fn from(holder: String) -> Self {
        Self { holder, suspected: false }
    }
}

/// Takes the work once; who has it, when somebody has.
pub(super) async fn take_lock<B: Backend>(db: &mut B, ctx: &Context) -> DbResult<Option<Busy>> {
    db.begin(Timeouts::LEDGER).await?;
    if !db.try_work_lock().await? {
        db.rollback().await;
        return Ok(Some(who_holds_it(db, ctx).await));
    }
    let within = async {
        // One whose evidence is a lock does not work any more: the lock was free.
        if let Some(mut holder) = ledger::worker(db).await?
            && holder.evidence != Evidence::Lock
            && holder.token != ctx.token
            && works(&mut holder, ctx)
        {
            return Ok(Some(Busy { holder: holder.describe(), suspected: is_suspected(&holder, ctx) }));
        }
        ledger::set_worker(db, &ctx.token, &ctx.app).await?;
        Ok(None)
    };
    let mut taken = within.await;
    if matches!(taken, Ok(None)) {
        taken = db.commit().await.map(|()| None);
    } else {
        db.rollback().await;
    }
    if !matches!(taken, Ok(None)) {
        db.release_work_lock().await;
    }
    taken
}

/// Whether another process that wrote itself down still works. Where it writes signs of life, silence means that it does
/// not: its process may go on with something else, and could not take its row away. One that was only paused is told so
/// by its next transaction.
fn works(worker: &mut Worker, ctx: &Context) -> bool {
    ctx.witness.worker(worker, ctx.grace);
    let grace_ms = i64::try_from(ctx.grace.as_millis()).unwrap_or(i64::MAX);
    worker.process.runs() != Some(false) && worker.silent_ms <= grace_ms
}

/// Nothing was heard of it for so long that it may be dead; whether it is has to be watched.
fn is_suspected(worker: &Worker, ctx: &Context) -> bool {
    Duration::from_millis(u64::try_from(worker.heartbeat_age_ms).unwrap_or(0)) > ctx.grace
}

/// Who holds the lock of the work. A process that is stopped between two transactions would hold it for ever: when it has been
/// silent for the grace time, and its session as well, that session is ended, and the next look finds the lock free.
async fn who_holds_it<B: Backend>(db: &mut B, ctx: &Context) -> Busy {
    let Ok(Some(mut worker)) = ledger::worker(db).await else { return Busy::from("another process".to_owned()) };
    // A row that somebody left who had no lock says nothing of the one that has it.
    let of_holder = worker.evidence == Evidence::Lock && worker.token != ctx.token;
    if of_holder && !works(&mut worker, ctx) {
        match db.end_idle_worker(ctx.grace).await {
            Ok(true) => {
                tracing::warn!(target: "schemadiff", worker = worker.describe(), "its session was ended: nothing was heard of it");
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(target: "schemadiff", %error, "the session of a silent worker cannot be ended");
            }
        }
    }
    Busy { holder: worker.describe(), suspected: of_holder && is_suspected(&worker, ctx) }
}
