//! What contract steps have set aside, and how it ends: it comes back, or it is dropped for good.

use std::time::{Duration, Instant};

use super::{Event, context::Context};
use crate::{
    backend::{Backend, DbResult, ErrorClass, KeptRow, Timeouts, kept, ledger},
    error::{Error, Result},
};

/// A catalogue change, which no statement of an application may wait for.
const LOCK: Duration = Duration::from_millis(200);

/// Drops what the window is over for. What cannot be dropped now is tried again by whoever migrates next.
pub(super) async fn purge_expired<B: Backend>(db: &mut B, ctx: &mut Context) -> Result<()> {
    let kept = read(db).await?;
    for row in kept.iter().filter(|row| row.is_over()) {
        match purge(db, ctx, row).await {
            Ok(()) => {}
            Err(error @ (Error::Interrupted | Error::LostWork | Error::ConnectionLost { .. })) => return Err(error),
            Err(error) => {
                tracing::warn!(target: "schemadiff", %error, code = error.code(), what = row.what, "stays for now")
            }
        }
    }
    Ok(())
}

/// Everything that is kept.
pub(super) async fn read<B: Backend>(db: &mut B) -> Result<Vec<KeptRow>> {
    kept::all(db).await.map_err(|e| ledger::explain::<B>("read what is kept", e))
}

/// Drops one thing for good, and its record with it.
pub(super) async fn purge<B: Backend>(db: &mut B, ctx: &mut Context, row: &KeptRow) -> Result<()> {
    let began = Instant::now();
    let mut attempt = 1;
    loop {
        ctx.stop.check()?;
        let lock = ctx.retry.lock_timeout(LOCK, attempt);
        match once(db, ctx, row, Timeouts { lock, statement: Duration::ZERO }).await {
            Ok(true) => {
                ctx.tell(&Event::Purged { migration: &row.migration, step: &row.step, what: &row.what });
                return Ok(());
            }
            Ok(false) => return Err(Error::LostWork),
            Err(e) if e.class.is_transient() && ctx.retry.allows(attempt, began.elapsed()) => {
                ctx.stop.sleep(ctx.retry.pause(attempt)).await?;
                attempt += 1;
            }
            Err(e) if e.class.is_transient() => {
                let (migration, step) = (row.migration.clone(), row.step.clone());
                return Err(Error::LockNotHad { migration, step, attempts: attempt, blockers: db.take_blockers() });
            }
            Err(e) if e.class == ErrorClass::Connection => return Err(ledger::explain::<B>("drop what is kept", e)),
            Err(e) => {
                let (what, code) = (row.what.clone(), e.code.clone());
                return Err(Error::NotPurged { what, code, cause: e.message });
            }
        }
    }
}

async fn once<B: Backend>(db: &mut B, ctx: &Context, row: &KeptRow, timeouts: Timeouts) -> DbResult<bool> {
    db.begin(timeouts).await?;
    let within = async {
        if !ledger::still_working(db, &ctx.token).await? {
            return Ok(false);
        }
        for sql in &row.purge {
            db.execute(sql).await?;
        }
        kept::end(db, &row.migration, &row.step, Some(row.position)).await.map(|()| true)
    };
    match within.await {
        Ok(true) => db.commit().await.map(|()| true),
        other => {
            db.rollback().await;
            other
        }
    }
}
