//! Keyset batches with a durable cursor.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{
    Event,
    context::{Context, Failed},
    retry::jittered,
};
use crate::{
    backend::{Backend, DbError, ErrorClass, TextRow, Timeouts, ledger},
    error::{Error, Result},
    plan::{Backfill, Plan, Step},
};

/// Passes over the table: more than one only when rows moved behind the cursor while it went.
const PASSES: u32 = 5;
/// Smallest and largest batch.
const SIZES: (u32, u32) = (50, 20_000);

/// Where a backfill stands, as the ledger keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    /// Upper bound of this pass, inclusive; taken once, so that inserts cannot outrun it.
    upper: Vec<Option<String>>,
    /// Last key that is done; none before the first batch.
    last: Option<Vec<Option<String>>>,
    /// Pass, from 1; 0 before the first.
    pass: u32,
    /// Rows that waited at the beginning.
    #[serde(default)]
    total: Option<u64>,
}

/// One batch's result.
enum Batch {
    /// Up to this key, so many rows changed.
    To(Vec<Option<String>>, u64),
    /// No row was left.
    End(u64),
}

/// Fills until no row waits. Returns the rows changed in this run.
pub(super) async fn run<B: Backend>(
    db: &mut B,
    ctx: &mut Context,
    plan: &Plan,
    step: &Step,
    backfill: &Backfill,
) -> Result<u64> {
    let mut runner = Runner {
        db,
        ctx,
        plan,
        step,
        backfill,
        size: backfill.batch_size.clamp(1, SIZES.1),
        rows: 0,
        took: Duration::ZERO,
    };
    let mut cursor = runner.stored().await?;
    let earlier = runner.rows_before().await?;
    let began = Instant::now();
    loop {
        if cursor.upper.is_empty() {
            let Some(next) = runner.next_pass(&cursor).await? else { break };
            cursor = next;
        }
        while let Some(last) = runner.batch(&cursor).await? {
            cursor.last = Some(last);
            runner.tell(&cursor, earlier, began);
            runner.gap().await?;
        }
        runner.tell(&cursor, earlier, began);
        let remaining = runner.remaining().await?;
        if remaining == 0 {
            break;
        }
        if cursor.pass >= PASSES {
            let (migration, step) = (plan.id.clone(), step.id.clone());
            return Err(Error::BackfillIncomplete { migration, step, remaining });
        }
        cursor = Cursor { upper: Vec::new(), last: None, ..cursor };
    }
    Ok(runner.rows)
}

struct Runner<'r, B: Backend> {
    db: &'r mut B,
    ctx: &'r mut Context,
    plan: &'r Plan,
    step: &'r Step,
    backfill: &'r Backfill,
    size: u32,
    rows: u64,
    /// How long the last batch took.
    took: Duration,
}

impl<B: Backend> Runner<'_, B> {
    fn failed(&self, failed: Failed) -> Error {
        failed.explain::<B>(self.plan, self.step)
    }

    async fn stored(&mut self) -> Result<Cursor> {
        let ledger = self.ctx.ledger(self.db).await?;
        let text = ledger.as_ref().and_then(|l| l.step(&self.plan.id, &self.step.id)?.cursor.clone());
        // A cursor of another form is from a version that kept it otherwise: filling is idempotent, begin again.
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    async fn rows_before(&mut self) -> Result<u64> {
        let ledger = self.ctx.ledger(self.db).await?;
        let rows = ledger.as_ref().and_then(|l| Some(l.step(&self.plan.id, &self.step.id)?.rows_done));
        Ok(rows.and_then(|rows| u64::try_from(rows).ok()).unwrap_or_default())
    }

    /// Takes the upper bound; none when the table is empty.
    async fn next_pass(&mut self, before: &Cursor) -> Result<Option<Cursor>> {
        let total = match before.total {
            Some(total) => Some(total),
            None => Some(self.remaining().await?),
        };
        let sql = &self.backfill.upper_sql;
        let rows = self.db.rows(sql, &[]).await.map_err(Failed::at(sql)).map_err(|e| self.failed(e))?;
        let Some(upper) = rows.into_iter().next().filter(|row| row.iter().any(Option::is_some)) else {
            return Ok(None);
        };
        let cursor = Cursor { upper, last: None, pass: before.pass + 1, total };
        let text = to_text(&cursor);
        let (plan, step) = (&self.plan.id, &self.step.id);
        ledger::batch(self.db, plan, step, &text, 0).await.map_err(|e| self.failed(e.into()))?;
        Ok(Some(cursor))
    }

    /// One batch, tried again while locks are in the way. None when the pass is at its end.
    async fn batch(&mut self, cursor: &Cursor) -> Result<Option<Vec<Option<String>>>> {
        let began = Instant::now();
        let mut attempt = 1;
        loop {
            self.ctx.stop.check()?;
            let sent = Instant::now();
            match self.attempt(cursor).await {
                Ok(Batch::To(last, changed)) => {
                    self.rows += changed;
                    self.adapt(sent.elapsed());
                    return Ok(Some(last));
                }
                Ok(Batch::End(changed)) => {
                    self.rows += changed;
                    return Ok(None);
                }
                Err(failed) if failed.error.class.is_transient() || failed.error.class == ErrorClass::Cancelled => {
                    self.size = (self.size / 2).max(SIZES.0);
                    if !self.ctx.retry.allows(attempt, began.elapsed()) {
                        return Err(self.locked(attempt));
                    }
                    self.pause(attempt, &failed.error).await?;
                    attempt += 1;
                }
                Err(failed) if failed.error.class == ErrorClass::Other && failed.error.code == LOST => {
                    return Err(Error::LostWork);
                }
                Err(failed) => return Err(self.failed(failed)),
            }
        }
    }

    fn locked(&mut self, attempts: u32) -> Error {
        let (migration, step) = (self.plan.id.clone(), self.step.id.clone());
        Error::LockNotHad { migration, step, attempts, blockers: self.db.take_blockers() }
    }

    async fn pause(&mut self, attempt: u32, error: &DbError) -> Result<()> {
        let pause = self.ctx.retry.pause(attempt);
        self.ctx.tell(&Event::Retrying {
            migration: &self.plan.id,
            step: &self.step.id,
            attempt,
            pause_ms: u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            cause: &error.to_string(),
            blockers: &self.db.take_blockers(),
        });
        self.ctx.stop.sleep(pause).await
    }

    async fn attempt(&mut self, cursor: &Cursor) -> Result<Batch, Failed> {
        let lock = if self.step.lock_timeout_ms == 0 { 1000 } else { self.step.lock_timeout_ms };
        let statement = if self.step.statement_timeout_ms == 0 { 60_000 } else { self.step.statement_timeout_ms };
        let timeouts = Timeouts { lock: Duration::from_millis(lock), statement: Duration::from_millis(statement) };
        self.db.begin(timeouts).await?;
        match self.within(cursor).await {
            Ok(batch) => {
                self.db.commit().await?;
                Ok(batch)
            }
            Err(failed) => {
                self.db.rollback().await;
                Err(failed)
            }
        }
    }

    async fn within(&mut self, cursor: &Cursor) -> Result<Batch, Failed> {
        if !ledger::still_working(self.db, &self.ctx.token).await? {
            let message = "another process has taken over".to_owned();
            return Err(DbError { class: ErrorClass::Other, code: LOST.to_owned(), message }.into());
        }
        let size = self.size.to_string();
        let mut params: Vec<Option<&str>> = cursor.last.iter().flatten().map(Option::as_deref).collect();
        params.extend(cursor.upper.iter().map(Option::as_deref));
        params.push(Some(&size));
        let sql = if cursor.last.is_some() { &self.backfill.batch_sql } else { &self.backfill.first_sql };
        let rows = self.db.rows(sql, &params).await.map_err(Failed::at(sql))?;
        let mut row: TextRow = rows.into_iter().next().unwrap_or_default();
        let counted = row.get(self.backfill.key.len()).and_then(|cell| cell.as_deref()?.parse::<u64>().ok());
        row.truncate(self.backfill.key.len());
        let next = Some(row).filter(|key| key.len() == self.backfill.key.len() && key.iter().all(Option::is_some));
        let changed = match (&self.backfill.update_sql, &next) {
            (Some(sql), Some(next)) => {
                let nothing = vec![None; self.backfill.key.len()];
                let from = cursor.last.as_ref().unwrap_or(&nothing);
                let params: Vec<Option<&str>> = from.iter().chain(next).map(Option::as_deref).collect();
                self.db.run(sql, &params).await.map_err(Failed::at(sql))?
            }
            (Some(_), None) => 0,
            (None, _) => counted.unwrap_or_default(),
        };
        let after = Cursor { last: next.clone().or_else(|| Some(cursor.upper.clone())), ..cursor.clone() };
        ledger::batch(self.db, &self.plan.id, &self.step.id, &to_text(&after), changed).await?;
        Ok(match next {
            Some(next) => Batch::To(next, changed),
            None => Batch::End(changed),
        })
    }

    /// Batches of a tenth of a second where writers go on beside them; of a quarter of that where they wait.
    fn adapt(&mut self, took: Duration) {
        self.took = took;
        let target = if B::SESSION_LOCKS { 0.1 } else { 0.025 };
        let factor = (target / took.as_secs_f64().max(0.001)).clamp(0.5, 2.0);
        let size = (f64::from(self.size) * factor).clamp(f64::from(SIZES.0), f64::from(SIZES.1));
        // Between the two bounds, which are whole numbers of that type.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = size as u32;
        self.size = whole;
    }

    /// Lets the others work for as long as the batch took. Where there is one writer, the others poll for its lock with
    /// sleeps of up to 100 ms: a shorter gap than that starves them.
    async fn gap(&mut self) -> Result<()> {
        let gap = if B::SESSION_LOCKS {
            jittered(self.took.min(Duration::from_secs(1)))
        } else {
            (self.took * 2).max(Duration::from_millis(110))
        };
        self.ctx.stop.sleep(gap.mul_f64(self.ctx.pause.clamp(0.0, 100.0))).await
    }

    async fn remaining(&mut self) -> Result<u64> {
        let none = self.db.session_timeouts(Timeouts::NONE).await;
        none.map_err(|e| self.failed(e.into()))?;
        let sql = &self.backfill.remaining_sql;
        let rows = self.db.rows(sql, &[]).await.map_err(Failed::at(sql)).map_err(|e| self.failed(e))?;
        let count = rows.first().and_then(|row| row.first()).and_then(|cell| cell.as_deref()?.parse().ok());
        count.ok_or_else(|| Error::Contradiction {
            cause: format!("`remaining_sql` of step {} of migration {} gives no number", self.step.id, self.plan.id),
        })
    }

    #[allow(clippy::cast_precision_loss)] // a rate for people
    fn tell(&self, cursor: &Cursor, earlier: u64, began: Instant) {
        self.ctx.tell(&Event::Backfill {
            migration: &self.plan.id,
            step: &self.step.id,
            rows: earlier + self.rows,
            total: cursor.total,
            per_second: self.rows as f64 / began.elapsed().as_secs_f64().max(0.001),
        });
    }
}

/// Marks the loss of the work among database errors.
const LOST: &str = "lost";

fn to_text(cursor: &Cursor) -> String {
    // Texts, numbers and lists only: cannot fail.
    serde_json::to_string(cursor).unwrap_or_default()
}

/// The number of rows that waited at the beginning, from a stored cursor.
pub(super) fn total_of(cursor: &str) -> Option<u64> {
    serde_json::from_str::<Cursor>(cursor).ok()?.total
}
