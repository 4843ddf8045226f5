//! Carries batches out, one transaction each, together with the cursor.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::{
    Job, name_of, note,
    turn::Turn,
    walk::{Claim, Key},
};
use crate::{
    backend::{Backend, DbError, ErrorClass, Timeouts, ledger, pace},
    error::{Error, Result},
    lockstep::{
        Event,
        context::{Context, Failed},
        retry::jittered,
        throttle::Throttle,
    },
    plan::Backfill,
    waiting::{Blocker, Evidence},
};

/// Largest batch.
const MOST: u32 = 50_000;

/// Between two words about one and the same wait.
const TELL_AGAIN: Duration = Duration::from_secs(15);

/// Between two signs of life that the batches themselves give.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// A single row that takes longer than a statement may is tried so often.
const SLOW_ROW_ATTEMPTS: u32 = 3;

/// Rows of the first batch that a function of the application is given: it may compute for long.
const FIRST_GIVEN: u32 = 16;

/// Marks the loss of the work among database errors.
const LOST: &str = "lost";

/// One connection that fills.
pub(super) struct Worker<'w, B: Backend> {
    pub(super) db: &'w mut B,
    pub(super) ctx: &'w mut Context,
    pub(super) job: &'w Job,
    throttle: Throttle,
    turn: Turn,
    /// Whether rows that somebody has locked may be left for a later pass.
    may_skip: bool,
    /// Rows of the next batch.
    pub(super) size: u32,
    /// The range in work, and how many rows were asked for when it was claimed.
    claim: Option<(Claim, u32)>,
    /// The last batch was at least half full.
    dense: bool,
    /// When the batch began to lock rows: from then on others may wait for it.
    pub(super) locks_since: Instant,
    /// What an answer takes that is no work: the way to the server and back.
    round_trip: Option<Duration>,
    /// When a batch gave a sign of life last.
    alive_at: Option<Instant>,
    /// The next attempt leaves locked rows out.
    skip: bool,
    /// Batches of the present size that have gone well since one failed because of its rows; none when none has.
    since_trouble: Option<u32>,
    /// How long a function of the application took for the last batch.
    pub(super) computed: Duration,
    /// Rows whose values the database refuses, to be put on record with the next batch.
    pub(super) refused: Vec<(String, String)>,
}

impl<'w, B: Backend> Worker<'w, B> {
    pub fn new(db: &'w mut B, ctx: &'w mut Context, job: &'w Job, throttle: Throttle, may_skip: bool) -> Self {
        let size = job.backfill.batch_size.clamp(1, MOST);
        let size = if job.values.is_some() { size.min(FIRST_GIVEN) } else { size };
        Self {
            db,
            ctx,
            job,
            throttle,
            turn: Turn::Always,
            may_skip,
            size,
            claim: None,
            dense: false,
            locks_since: Instant::now(),
            round_trip: None,
            alive_at: None,
            skip: false,
            since_trouble: None,
            computed: Duration::ZERO,
            refused: Vec::new(),
        }
    }

    /// Until every range is claimed, and those that this one has claimed are done.
    pub async fn run(mut self, turn: Turn) -> Result<()> {
        self.turn = turn;
        let result = self.batches().await;
        if result.is_err() {
            self.job.failed.store(true, Ordering::Relaxed);
        }
        result
    }

    async fn batches(&mut self) -> Result<()> {
        let (mut began, mut attempt) = (Instant::now(), 1);
        self.pass(Duration::ZERO).await?;
        while !self.job.failed.load(Ordering::Relaxed) {
            self.ctx.stop.check()?;
            if self.claim.is_none() && !self.turn.is_on(&self.throttle) {
                return Ok(());
            }
            let sent = Instant::now();
            match self.attempt().await {
                Ok(None) => return Ok(()),
                Ok(Some(total)) => {
                    self.went_well(self.weighed(self.locks_since.elapsed().saturating_sub(self.way())));
                    if let Some(error) = self.job.values.as_ref().and_then(|values| values.too_many(self.job)) {
                        self.note(&error).await;
                        return Err(error);
                    }
                    let took = sent.elapsed();
                    self.job.tell(self.ctx, total, &self.throttle.now().reason);
                    self.pass(took).await?;
                    (began, attempt) = (Instant::now(), 1);
                }
                Err(failed) => self.went_wrong(failed, began, &mut attempt).await?,
            }
        }
        Ok(())
    }

    /// How long a batch shall take: writers on its rows wait for that long, where there is one writer all of them do. Half
    /// of what they may wait at most, because a batch takes longer than it should now and then.
    fn target(&self) -> Duration {
        let most = Duration::from_millis(if B::SESSION_LOCKS { 50 } else { 25 });
        self.ctx.pace.max_stall.map_or(most, |stall| (stall / 2).clamp(Duration::from_millis(2), most * 10))
    }

    /// Whoever waits for one of our rows while we wait for one of his is told by the server after a second
    /// (`deadlock_timeout`) that his statement has failed. So a batch of several rows never holds any for that long.
    pub(super) fn timeouts(&self) -> Timeouts {
        let step = &self.job.step;
        let or = |ms, default| Duration::from_millis(if ms == 0 { default } else { ms });
        let (lock, statement) = (or(step.lock_timeout_ms, 1_000), or(step.statement_timeout_ms, 60_000));
        match B::SESSION_LOCKS {
            true if self.size > 1 => {
                let most = self.ctx.pace.max_stall.unwrap_or(Duration::from_millis(600));
                let most = most.clamp(Duration::from_millis(10), Duration::from_millis(800));
                Timeouts { lock: lock.min(self.target()), statement: statement.min(most) }
            }
            true => Timeouts { lock: lock.min(self.target()), statement },
            false => Timeouts { lock, statement },
        }
    }

    /// One batch. None when nothing is left to claim, otherwise the rows that waited in the beginning.
    async fn attempt(&mut self) -> Result<Option<Option<u64>>, Failed> {
        if let Some(values) = &self.job.values {
            return self.attempt_with(values).await;
        }
        self.db.begin_batch(self.timeouts(), self.job.triggers()).await?;
        match self.within().await {
            Ok(Some(total)) => Ok(Some(total)),
            other => {
                self.db.rollback().await;
                other
            }
        }
    }

    async fn within(&mut self) -> Result<Option<Option<u64>>, Failed> {
        self.give_sign_of_life().await?;
        let Some((claim, to)) = self.range().await? else { return Ok(None) };
        let sql = self.statement();
        let params = between(self.job.backfill.key.len(), claim.at.as_ref(), &to);
        let params: Vec<Option<&str>> = params.iter().map(Option::as_deref).collect();
        self.locks_since = Instant::now();
        let changed = self.db.run(sql, &params).await.map_err(Failed::at(sql))?;
        self.done_to(to, changed, 0).await.map(Some)
    }

    /// Where there is one writer, the signs of life of the process may not get their turn between its batches.
    pub(super) async fn give_sign_of_life(&mut self) -> Result<(), Failed> {
        if B::SESSION_LOCKS || self.alive_at.is_some_and(|at| at.elapsed() < SIGN_OF_LIFE) {
            return Ok(());
        }
        self.alive_at = Some(Instant::now());
        if ledger::still_working(self.db, &self.ctx.token).await? { Ok(()) } else { Err(lost()) }
    }

    /// The statement of the next batch.
    pub(super) fn statement(&self) -> &'w str {
        let backfill = &self.job.backfill;
        match &backfill.skip_locked_sql {
            Some(gentle) if self.skip => gentle,
            _ => &backfill.update_sql,
        }
    }

    /// The range in work, and where the next batch of it ends.
    pub(super) async fn range(&mut self) -> Result<Option<(Claim, Key)>, Failed> {
        let Some((claim, size)) = self.claimed().await? else { return Ok(None) };
        let to = match self.size < size {
            true => end_of_batch(self.db, &self.job.backfill, claim.at.as_ref(), &claim.to, self.size).await?,
            false => claim.to.clone(),
        };
        Ok(Some((claim, to)))
    }

    /// Ends the batch's transaction: the range in work is done up to `to`, but for so many rows that the next pass has to come
    /// back for. The rows that waited in the beginning.
    pub(super) async fn done_to(&mut self, to: Key, changed: u64, missed: u64) -> Result<Option<u64>, Failed> {
        let Some((claim, size)) = self.claim.clone() else { return Ok(None) };
        // What the others write about themselves meanwhile must not be lost, so they wait for this commit; the row in the
        // ledger would make them wait for it anyway.
        let mut walk = self.job.walk.lock().await;
        let mut after = walk.clone();
        let rows = self.job.rows.load(Ordering::Relaxed) + changed;
        // A rate below one a second is told as one: it has not stopped.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let per_second = (rows > 0).then(|| self.job.rate.saw(rows).clamp(1.0, f64::from(u32::MAX)) as u32);
        after.advance(&claim, &to, missed, per_second);
        after.knows(self.job.counted.get().copied());
        let text = after.cursor().to_text();
        let (plan, step) = (&self.job.plan.id, &self.job.step.id);
        if !ledger::batch(self.db, &self.ctx.token, plan, step, &text, changed).await? {
            return Err(lost());
        }
        let sent = Instant::now();
        self.db.commit().await?;
        self.answered(sent.elapsed());
        *walk = after;
        let total = walk.cursor().total;
        drop(walk);
        self.job.rows.fetch_add(changed, Ordering::Relaxed);
        self.job.sample().saw(claim.at.as_ref(), &to);
        self.dense = self.job.values.is_none() && changed >= u64::from(self.size) / 2;
        let claim = claim.done_to(to);
        self.claim = if claim.is_done() { None } else { Some((claim, size)) };
        Ok(total)
    }

    /// The range in work, or the next one.
    async fn claimed(&mut self) -> Result<Option<(Claim, u32)>, Failed> {
        if let Some(own) = &self.claim {
            return Ok(Some(own.clone()));
        }
        let mut walk = self.job.walk.lock().await;
        if walk.is_claimed() {
            return Ok(None);
        }
        let upper = walk.cursor().upper.clone();
        let to = match self.without_a_look(walk.head(), &upper) {
            Some(to) => to,
            None => end_of_batch(self.db, &self.job.backfill, walk.head(), &upper, self.size).await?,
        };
        let own = (walk.claim(to), self.size);
        self.claim = Some(own.clone());
        Ok(Some(own))
    }

    /// Where a batch ends that holds no more rows than it should: of a key that is a number, as many numbers on. Nobody looks for the
    /// end then. That takes small steps where most numbers are missing, so the batch before must have been half full at the least.
    fn without_a_look(&self, head: Option<&Key>, upper: &Key) -> Option<Key> {
        let [column] = self.job.backfill.key.as_slice() else { return None };
        let is_whole = matches!(column.ty.as_str(), "smallint" | "integer" | "bigint" | "INTEGER");
        let number = |key: &Key| key.first()?.as_deref()?.parse::<i64>().ok();
        let (from, bound) = (number(head.filter(|_| is_whole && self.dense)?)?, number(upper)?);
        match from.checked_add(i64::from(self.size)) {
            Some(to) if to < bound => Some(vec![Some(to.to_string())]),
            _ => Some(upper.clone()),
        }
    }

    fn went_well(&mut self, took: Duration) {
        self.skip = false;
        match &mut self.since_trouble {
            // The half that holds the row in question is the next one; two that go well say that it was repaired.
            Some(well) if *well == 0 => *well = 1,
            _ => {
                self.since_trouble = None;
                self.adapt(took);
            }
        }
    }

    /// A commit waits for nobody, and not for the disk. How long it takes, the least of late, is what the way takes.
    fn answered(&mut self, took: Duration) {
        self.round_trip = Some(self.round_trip.map_or(took, |before| took.min(before.mul_f64(1.1))));
    }

    /// The time that a batch of one row takes as well: the way to the server and back for the statement, the cursor and the commit, where the
    /// first two are prepared each time if the session is not one's own. Counted as work, a batch would be smaller and smaller where
    /// the server is far away. A file is near, and its commit waits.
    fn way(&self) -> Duration {
        let trips = if self.db.evidence() == Evidence::Lock { 3 } else { 5 };
        let way = self.round_trip.unwrap_or_default() * trips;
        if B::SESSION_LOCKS { way } else { Duration::ZERO }
    }

    fn adapt(&mut self, took: Duration) {
        // Who has said how long others may wait is held to it as far as one row allows.
        let least = self.target() / if self.ctx.pace.max_stall.is_some() { 10 } else { 2 };
        let target = self.target().saturating_sub(self.way()).max(least);
        let work = took.as_secs_f64().max(0.001);
        let factor = (target.as_secs_f64() / work).clamp(0.5, 2.0);
        let size = (f64::from(self.size) * factor).clamp(1.0, f64::from(MOST));
        // Between the two bounds, which are whole numbers of that type.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = size.ceil() as u32;
        self.size = whole.min(MOST);
    }

    async fn went_wrong(&mut self, failed: Failed, began: Instant, attempt: &mut u32) -> Result<()> {
        // What was cut short because of that has not failed.
        self.ctx.stop.check()?;
        let class = failed.error.class;
        if failed.error.code == LOST && class == ErrorClass::Other {
            return Err(Error::LostWork);
        }
        let cancelled = class == ErrorClass::Cancelled;
        if cancelled && self.size > 1 {
            self.size /= 2;
            return Ok(());
        }
        if class.is_transient() || cancelled {
            if self.may_skip && !self.skip && self.job.backfill.skip_locked_sql.is_some() {
                self.skip = true;
                return Ok(());
            }
            self.size = (self.size / 2).max(1);
            let too_slow = cancelled && *attempt >= SLOW_ROW_ATTEMPTS;
            if too_slow || !self.ctx.retry.allows(*attempt, began.elapsed()) {
                let blockers = self.db.take_blockers();
                // Nobody is in the way: it is the row itself, or what a function or a trigger makes of it.
                let alone = blockers.is_empty() && class != ErrorClass::LockTimeout;
                return match self.size == 1 && alone && failed.statement.is_some() {
                    true => self.refused(failed).await,
                    false => Err(self.locked(*attempt, blockers)),
                };
            }
            self.pause(*attempt, &failed.error).await?;
            *attempt += 1;
            return Ok(());
        }
        if failed.statement.is_some() && self.is_about_a_row(class).await {
            if self.size == 1 {
                return self.refused(failed).await;
            }
            self.size /= 2;
            self.since_trouble = Some(0);
            return Ok(());
        }
        let error = self.job.explain::<B>(failed);
        self.note(&error).await;
        Err(error)
    }

    /// The one row of the batch cannot be filled.
    async fn refused(&mut self, failed: Failed) -> Result<()> {
        let Some(values) = &self.job.values else { return Err(self.name_row(failed).await) };
        self.refuse(values, &failed).await.map_err(|e| self.job.explain::<B>(e))
    }

    /// Whether the statement has failed because of a row. Where the error does not say so, the same statement over no rows
    /// tells: what is missing or forbidden there is what the statement itself names.
    async fn is_about_a_row(&mut self, class: ErrorClass) -> bool {
        let Some((claim, _)) = self.claim.clone() else { return false };
        if class == ErrorClass::Data || !class.may_be_a_row() {
            return class == ErrorClass::Data;
        }
        let (sql, nothing) = (self.statement(), between(self.job.backfill.key.len(), Some(&claim.to), &claim.to));
        let params: Vec<Option<&str>> = match self.job.values {
            Some(_) => vec![Some("[]")],
            None => nothing.iter().map(Option::as_deref).collect(),
        };
        if self.db.begin_batch(self.timeouts(), self.job.triggers()).await.is_err() {
            return false;
        }
        let works = self.db.run(sql, &params).await.is_ok();
        self.db.rollback().await;
        works
    }

    /// A batch of one row has failed because of that row.
    async fn name_row(&mut self, failed: Failed) -> Error {
        let Some((claim, _)) = self.claim.clone() else { return self.job.explain::<B>(failed) };
        let found = end_of_batch(self.db, &self.job.backfill, claim.at.as_ref(), &claim.to, 1).await;
        let Ok(key) = found else { return self.job.explain::<B>(failed) };
        let error = Error::BackfillRow {
            migration: self.job.plan.id.clone(),
            step: self.job.step.id.clone(),
            table: self.job.backfill.table.to_string(),
            key: name_of(&self.job.backfill, &key),
            cause: failed.error.to_string(),
        };
        self.note(&error).await;
        error
    }

    /// For `status`; that it cannot be put on record is no further failure.
    pub(super) async fn note(&mut self, error: &Error) {
        note(self.db, self.job, error).await;
    }

    fn locked(&self, attempts: u32, blockers: Vec<Blocker>) -> Error {
        let (migration, step) = (self.job.plan.id.clone(), self.job.step.id.clone());
        Error::LockNotHad { migration, step, attempts, blockers }
    }

    async fn pause(&mut self, attempt: u32, error: &DbError) -> Result<()> {
        let pause = self.ctx.retry.pause(attempt);
        self.ctx.tell(&Event::Retrying {
            migration: &self.job.plan.id,
            step: &self.job.step.id,
            attempt,
            pause_ms: u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            cause: &error.to_string(),
            blockers: &self.db.take_blockers(),
        });
        self.ctx.stop.sleep(pause).await
    }

    /// Waits as long as the throttle says: not at all, in proportion to what the batch took, or until it may go on.
    pub(super) async fn pass(&mut self, took: Duration) -> Result<()> {
        let mut verdict = self.throttle.now();
        let mut told = None::<(String, Instant)>;
        while verdict.is_stop() {
            // A number that goes up and down all the time is no news.
            let kind: String = verdict.reason.chars().filter(|c| !c.is_ascii_digit() && *c != '.').collect();
            let is_news = |(known, at): &(String, Instant)| *known != kind || at.elapsed() >= TELL_AGAIN;
            if told.as_ref().is_none_or(is_news) {
                self.ctx.tell(&Event::Throttled {
                    migration: &self.job.plan.id,
                    step: &self.job.step.id,
                    reason: &verdict.reason,
                });
                // Whoever looks at the load puts that on record too, but not why he cannot look.
                if let Err(error) = pace::note(self.db, &verdict.reason).await {
                    tracing::debug!(%error, "the reason for a pause could not be put on record");
                }
                told = Some((kind, Instant::now()));
            }
            self.ctx.stop.sleep(Duration::from_millis(100)).await?;
            if self.job.failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            verdict = self.throttle.now();
        }
        let pause = rest(took, verdict.share * self.turn.share());
        // Where there is one writer, the others poll for its lock with sleeps of up to 100 ms: a shorter gap starves them.
        let pause = match B::SESSION_LOCKS || verdict.share >= 1.0 || took.is_zero() {
            true => pause,
            false => (pause * 2).max(Duration::from_millis(110)),
        };
        let pause = pause.mul_f64(self.ctx.pace.pause.clamp(0.0, 100.0));
        // A timer that has nothing to wait for still takes a millisecond or two.
        if pause.is_zero() { self.ctx.stop.check() } else { self.ctx.stop.sleep(pause).await }
    }
}

/// How long a worker rests after a batch so that it works for that share of the time, on average: workers shall not keep step.
fn rest(took: Duration, share: f64) -> Duration {
    let pause = took.min(Duration::from_secs(1)).mul_f64((1.0 / share - 1.0).max(0.0));
    // Between half and the whole of it are three quarters.
    jittered(pause.mul_f64(4.0 / 3.0))
}

/// The run was told to stop while a function of the application computed.
pub(super) fn interrupted() -> Failed {
    DbError { class: ErrorClass::Cancelled, code: String::new(), message: "told to stop".to_owned() }.into()
}

fn lost() -> Failed {
    let message = "another process has taken over".to_owned();
    DbError { class: ErrorClass::Other, code: LOST.to_owned(), message }.into()
}

/// The parameters for a range.
pub(super) fn between(width: usize, at: Option<&Key>, to: &Key) -> Vec<Option<String>> {
    let nothing = vec![None; width];
    at.unwrap_or(&nothing).iter().chain(to).cloned().collect()
}

/// The last key of a batch of so many rows; the bound itself when fewer are left.
pub(super) async fn end_of_batch<B: Backend>(
    db: &mut B,
    backfill: &Backfill,
    at: Option<&Key>,
    bound: &Key,
    size: u32,
) -> Result<Key, Failed> {
    let (sql, width) = (&backfill.batch_sql, backfill.key.len());
    let mut params = between(width, at, bound);
    params.push(Some(size.to_string()));
    let params: Vec<Option<&str>> = params.iter().map(Option::as_deref).collect();
    let rows = db.rows(sql, &params).await.map_err(Failed::at(sql))?;
    let found = rows.into_iter().next().filter(|key| key.len() == width && key.iter().all(Option::is_some));
    Ok(found.unwrap_or_else(|| bound.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_works_for_the_share_of_the_time_that_it_is_given() {
        let took = Duration::from_millis(50);
        for share in [1.0, 0.5, 0.25, 0.1] {
            let rests: Duration = (0..2_000).map(|_| rest(took, share)).sum();
            let worked = took.as_secs_f64() * 2_000.0;
            let seen = worked / (worked + rests.as_secs_f64());
            assert!((seen / share - 1.0).abs() < 0.03, "{share}: {seen}");
        }
    }
}
