//! Finds the row that an expression of a backfill fails on, before anything is changed.

use std::time::{Duration, Instant};

use super::{
    name_of,
    walk::Key,
    worker::{between, end_of_batch},
};
use crate::{
    backend::{Backend, Timeouts, UserTriggers},
    lockstep::context::Failed,
    plan::Backfill,
};

/// Rows that are read at a time until one of them fails.
const ROWS: u32 = 50_000;

/// The first row, in the order of the key, that an expression fails on, and the server's words; none where that is not found in
/// time, or cannot be looked for.
pub(in crate::lockstep) async fn failing_row<B: Backend>(
    db: &mut B,
    backfill: &Backfill,
    limit: Duration,
) -> Option<(String, String)> {
    let evaluate_sql = backfill.evaluate_sql.as_deref()?;
    let end = Instant::now() + limit;
    let upper = db.rows(&backfill.upper_sql, &[]).await.ok()?.into_iter().next()?;
    let (mut at, mut size, mut words): (Option<Key>, u32, Option<String>) = (None, ROWS, None);
    while at.as_ref() != Some(&upper) {
        let left = end.checked_duration_since(Instant::now())?;
        let (to, evaluated) = range(db, backfill, evaluate_sql, (at.as_ref(), &upper), (size, left)).await.ok()?;
        match evaluated {
            Ok(()) => at = Some(to),
            Err(failed) if B::is_about_rows(&failed.error) || words.is_some() => {
                if size == 1 {
                    return Some((name_of(backfill, &to), failed.error.message));
                }
                size = (size / 2).max(1);
                words = Some(failed.error.message);
            }
            Err(_) => return None,
        }
    }
    None
}

/// Evaluates the expressions for so many rows, and says where they end. As a batch of the backfill does it, so that the range is
/// read by its key.
async fn range<B: Backend>(
    db: &mut B,
    backfill: &Backfill,
    sql: &str,
    (at, upper): (Option<&Key>, &Key),
    (size, limit): (u32, Duration),
) -> Result<(Key, Result<(), Failed>), Failed> {
    if B::SESSION_LOCKS {
        let timeouts = Timeouts { lock: Duration::from_secs(1), statement: limit };
        db.begin_batch(timeouts, UserTriggers::default()).await?;
    }
    let ranged = async {
        let to = end_of_batch(db, backfill, at, upper, size).await?;
        let params = between(backfill.key.len(), at, &to);
        let params: Vec<Option<&str>> = params.iter().map(Option::as_deref).collect();
        let evaluated = db.rows(sql, &params).await.map(drop).map_err(Failed::at(sql));
        Ok((to, evaluated))
    };
    let ranged = ranged.await;
    if B::SESSION_LOCKS {
        db.rollback().await;
    }
    ranged
}
