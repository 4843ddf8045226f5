//! The look at what is stored, when everything is filled: is it what the expressions give? A trigger that was switched off for
//! a while, or a session that wrote past it, leaves values behind that nobody would miss before the old column is gone.

use std::time::{Duration, Instant};

use super::{
    Job,
    walk::Key,
    worker::{Worker, between, end_of_batch},
};
use crate::{
    backend::{Backend, ErrorClass, TextRow, Timeouts, UserTriggers},
    error::{Error, Result},
    lockstep::{
        Compare, Event,
        context::{Context, Failed},
        progress::Difference,
        throttle::Throttle,
    },
    plan::{Action, Comparison, Phase, Plan},
};

/// Ranges of a sample. Each begins as a batch of this run did.
const RANGES: usize = 32;

/// Rows that are read at a time, and of each range of a sample at most.
const ROWS: u32 = 5_000;

/// How long one range may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// The type of a key that is the place of a row, which changes with each update.
const BY_PLACE: &str = "tid";

/// Names of rows that are kept for each column.
const KEYS: usize = 5;

/// Ranges of this run, each as likely as any other to be among those that are kept, however many there are.
#[derive(Debug, Default)]
pub(super) struct Sample {
    kept: Vec<(Option<Key>, Key)>,
    seen: u64,
}

impl Sample {
    /// A batch went from `at` up to and with `to`.
    pub fn saw(&mut self, at: Option<&Key>, to: &Key) {
        self.seen += 1;
        let range = || (at.cloned(), to.clone());
        if self.kept.len() < RANGES {
            self.kept.push(range());
            return;
        }
        // Without randomness it would be the first ones: less of a sample, still a comparison.
        let place = getrandom::u64().map_or(u64::MAX, |random| random % self.seen);
        if let Some(slot) = usize::try_from(place).ok().and_then(|place| self.kept.get_mut(place)) {
            *slot = range();
        }
    }
}

/// Compares as much as was asked for.
///
/// # Errors
/// [`Error::NotInStep`] where two columns that triggers keep in step are not; when the server fails.
pub(super) async fn run<B: Backend>(db: &mut B, ctx: &mut Context, job: &Job, throttle: Throttle) -> Result<()> {
    let Some(comparison) = &job.backfill.comparison else { return Ok(()) };
    let how = ctx.pace.compare;
    if how == Compare::Off {
        return Ok(());
    }
    let ranges = std::mem::take(&mut job.sample().kept);
    let mut looker = Looker::new(Worker::new(db, ctx, job, throttle, false), comparison);
    // Where this run has filled nothing, one before it has ended before it compared, or because of what it found. And a row
    // that is known by its place is in another one when it is filled.
    let nothing_sampled = ranges.is_empty() || job.backfill.key.iter().all(|key| key.ty == BY_PLACE);
    if how == Compare::Full || nothing_sampled {
        looker.look_everywhere().await?;
    } else {
        for (at, to) in ranges {
            looker.look(at.as_ref(), &to).await?;
        }
    }
    looker.end().await
}

/// Compares every row of columns that triggers keep in step, before the first step that takes one of two away: days may lie between
/// the end of a backfill and this, and a trigger that was off for a minute of them leaves no other trace.
///
/// # Errors
/// As [`run`].
pub(in crate::lockstep) async fn before_contract<B: Backend>(db: &mut B, ctx: &mut Context, plan: &Plan) -> Result<()> {
    if ctx.pace.compare == Compare::Off {
        return Ok(());
    }
    for step in plan.steps.iter().filter(|step| step.phase < Phase::Contract) {
        let Action::Backfill(backfill) = &step.action else { continue };
        let Some(comparison) = backfill.comparison.as_ref().filter(|c| c.columns.iter().any(|c| c.in_step)) else {
            continue;
        };
        let job = Job::new(ctx, plan, step, backfill, 0)?;
        let mut throttle = Throttle::start(db, ctx);
        ctx.load.is_ours(db).await;
        throttle.ready(&mut ctx.stop).await?;
        let mut looker = Looker::new(Worker::new(db, ctx, &job, throttle, false), comparison);
        match looker.look_everywhere().await {
            Ok(()) => looker.end().await?,
            // The column has taken its name behind views already, and the comparison knows it by the one before.
            Err(Error::BackfillTarget { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// One comparison under way.
struct Looker<'l, 'w, B: Backend> {
    worker: Worker<'w, B>,
    comparison: &'l Comparison,
    rows: u64,
    found: Vec<Difference>,
}

impl<'l, 'w, B: Backend> Looker<'l, 'w, B> {
    fn new(worker: Worker<'w, B>, comparison: &'l Comparison) -> Self {
        let found = comparison.columns.iter();
        let found = found.map(|c| Difference { column: c.column.clone(), rows: 0, keys: Vec::new() }).collect();
        Self { worker, comparison, rows: 0, found }
    }

    async fn look_everywhere(&mut self) -> Result<()> {
        let job = self.worker.job;
        let sql = &job.backfill.upper_sql;
        let upper = self.worker.db.rows(sql, &[]).await.map_err(Failed::at(sql)).map_err(|e| job.explain::<B>(e))?;
        let Some(upper) = upper.into_iter().next().filter(|key| key.iter().all(Option::is_some)) else { return Ok(()) };
        let mut at: Option<Key> = None;
        loop {
            let to = self.look(at.as_ref(), &upper).await?;
            job.tell(self.worker.ctx, None, &format!("{} rows compared", self.rows));
            if to == upper {
                return Ok(());
            }
            at = Some(to);
        }
    }

    /// Compares some rows up to the bound, and says where they end.
    async fn look(&mut self, at: Option<&Key>, bound: &Key) -> Result<Key> {
        let (began, mut attempt) = (Instant::now(), 1);
        self.worker.pass(Duration::ZERO).await?;
        let (to, row) = loop {
            self.worker.ctx.stop.check()?;
            match self.ask(at, bound).await {
                Ok(seen) => break seen,
                Err(failed)
                    if failed.error.class.is_transient() && self.worker.ctx.retry.allows(attempt, began.elapsed()) =>
                {
                    let pause = self.worker.ctx.retry.pause(attempt);
                    self.worker.ctx.stop.sleep(pause).await?;
                    attempt += 1;
                }
                Err(failed) => {
                    // A statement that was cancelled because somebody said so has not failed.
                    self.worker.ctx.stop.check()?;
                    return Err(self.worker.job.explain::<B>(failed));
                }
            }
        };
        self.note(row);
        self.worker.pass(began.elapsed()).await?;
        Ok(to)
    }

    /// With the settings of a batch, under which a range is read by its key, but for the time that it may take: nobody waits
    /// for a reader. Where there is one writer at a time a reader does not become one.
    async fn ask(&mut self, at: Option<&Key>, bound: &Key) -> Result<(Key, TextRow), Failed> {
        if B::SESSION_LOCKS {
            let timeouts = Timeouts { statement: PATIENCE, ..self.worker.timeouts() };
            self.worker.db.begin_batch(timeouts, UserTriggers::default()).await?;
        }
        let seen = self.ask_within(at, bound).await;
        if B::SESSION_LOCKS {
            self.worker.db.rollback().await;
        }
        seen
    }

    async fn ask_within(&mut self, at: Option<&Key>, bound: &Key) -> Result<(Key, TextRow), Failed> {
        let to = end_of_batch(self.worker.db, &self.worker.job.backfill, at, bound, ROWS).await?;
        let sql = &self.comparison.sql;
        let params = between(self.worker.job.backfill.key.len(), at, &to);
        let params: Vec<Option<&str>> = params.iter().map(Option::as_deref).collect();
        match self.worker.db.rows(sql, &params).await {
            Ok(rows) => Ok((to, rows.into_iter().next().unwrap_or_default())),
            // A row that somebody else has given its value need not be one for which the expression has one.
            Err(error) if error.class == ErrorClass::Data && !self.comparison.columns.iter().any(|c| c.in_step) => {
                tracing::debug!(%error, "a range could not be compared");
                Ok((to, TextRow::new()))
            }
            Err(error) => Err(Failed::at(sql)(error)),
        }
    }

    fn note(&mut self, row: TextRow) {
        let mut cells = row.into_iter();
        let count =
            |cell: Option<Option<String>>| cell.flatten().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        self.rows += count(cells.next());
        for column in &mut self.found {
            column.rows += count(cells.next());
            let key = cells.next().flatten();
            column.keys.extend(key.filter(|_| column.keys.len() < KEYS));
        }
    }

    async fn end(mut self) -> Result<()> {
        let (job, rows) = (self.worker.job, self.rows);
        let found = std::mem::take(&mut self.found);
        let differ: Vec<_> = found.into_iter().filter(|column| column.rows > 0).collect();
        let in_step = |column: &str| self.comparison.columns.iter().any(|c| c.in_step && c.column == column);
        if let Some(fault) = differ.iter().find(|column| in_step(&column.column)) {
            let error = Error::NotInStep {
                migration: job.plan.id.clone(),
                step: job.step.id.clone(),
                column: format!("{}.{}", job.backfill.table, fault.column),
                differ: fault.rows,
                rows,
                keys: fault.keys.clone(),
            };
            self.worker.note(&error).await;
            return Err(error);
        }
        let (migration, step, table) = (&job.plan.id, &job.step.id, job.backfill.table.to_string());
        self.worker.ctx.tell(&Event::Compared { migration, step, table: &table, rows, differ: &differ });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_is_as_likely_as_any_other() {
        let mut first_half = 0;
        for _ in 0..200 {
            let mut sample = Sample::default();
            for n in 0..1000_u32 {
                sample.saw(None, &vec![Some(n.to_string())]);
            }
            assert_eq!(sample.kept.len(), RANGES);
            let number = |to: &Key| to[0].as_deref().and_then(|text| text.parse::<u32>().ok());
            first_half += sample.kept.iter().filter(|(_, to)| number(to) < Some(500)).count();
        }
        // 200 * 32 / 2 = 3,200, and a standard deviation of about 40.
        assert!((2_900..3_500).contains(&first_half), "{first_half}");
    }
}
