//! Values that a function of the application gives: what is asked, what comes back, and which rows are kept aside.
//!
//! A batch is read, its rows are given to the function outside of any transaction, and what it gave is written to the rows
//! that are still as they were read. A row that somebody has changed meanwhile waits for the next pass.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    Job, PASSES, left, name_of, remaining,
    walk::{Cursor, Key},
    worker::Worker,
};
use crate::{
    backend::{Aside, Backend, TextRow, Within, aside},
    error::{Error, Result},
    lockstep::{
        Event,
        context::{Context, Failed},
        given::{Answer, Fill, Row},
    },
    plan::{Backfill, Given, Phase, Plan, Step},
};

/// Bytes of rows that are given to a function at once. They are held several times over: as they were read, as the function takes
/// them, and as they are sent back.
const ROOM: usize = 2 << 20;

/// A function at work.
pub(super) struct Values {
    given: Given,
    function: Arc<dyn Fill>,
    /// Names of the columns that are to become NOT NULL.
    not_null: Vec<String>,
    /// Nobody is left who writes rows without knowing the columns.
    last: bool,
    /// Rows that are kept aside: keys and reasons.
    aside: Mutex<BTreeMap<String, String>>,
    /// How many may be.
    most: u64,
}

/// What becomes of the rows of a batch.
#[derive(Default)]
struct Batch {
    /// Rows with their values, as the plan's statement takes them.
    rows: Vec<Value>,
    /// Keys and reasons.
    aside: Vec<(String, String)>,
}

impl Values {
    pub fn new(ctx: &Context, plan: &Plan, step: &Step, backfill: &Backfill, given: &Given) -> Result<Self> {
        let function = ctx.backfills.get(&given.by).ok_or_else(|| Error::NeedsApplication {
            migration: plan.id.clone(),
            step: step.id.clone(),
            table: backfill.table.to_string(),
            function: given.by.clone(),
        })?;
        Ok(Self {
            given: given.clone(),
            function,
            not_null: backfill.set.iter().filter(|a| a.not_null).map(|a| a.column.clone()).collect(),
            last: step.phase == Phase::Contract,
            aside: Mutex::default(),
            most: ctx.pace.failed_rows,
        })
    }

    /// Leaves rows out that were kept aside before.
    pub fn leave_out(&self, rows: Vec<Aside>) {
        self.aside().extend(rows.into_iter().map(|row| (row.key, row.reason)));
    }

    pub fn kept(&self) -> usize {
        self.aside().len()
    }

    fn aside(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After a pass: whether all rows that were there have been asked for.
    pub async fn is_done<B: Backend>(&self, db: &mut B, ctx: &Context, job: &Job, cursor: &Cursor) -> Result<bool> {
        let Cursor { missed, pass, .. } = *cursor;
        if missed > 0 && pass < PASSES {
            return Ok(false);
        }
        if self.kept() > 0 {
            return Err(self.error(job, false));
        }
        // Before contract old code goes on writing rows that lack their value; they are come back for.
        let waits = if self.last && !self.not_null.is_empty() {
            remaining(db, job).await.map_err(|e| job.stopped::<B>(ctx, e))?
        } else {
            0
        };
        if waits == 0 && (missed == 0 || !self.last) {
            return Ok(true);
        }
        if pass < PASSES {
            return Ok(false);
        }
        let left = left(db, job).await.map_err(|e| job.stopped::<B>(ctx, e))?;
        let keys = left.into_iter().map(|row| row.key).collect();
        let (migration, step) = (job.plan.id.clone(), job.step.id.clone());
        Err(Error::BackfillIncomplete { migration, step, remaining: waits.max(missed), keys })
    }

    /// More rows have failed than may be kept aside.
    pub fn too_many(&self, job: &Job) -> Option<Error> {
        (u64::try_from(self.kept()).unwrap_or(u64::MAX) > self.most).then(|| self.error(job, true))
    }

    fn error(&self, job: &Job, too_many: bool) -> Error {
        let aside = self.aside();
        Error::BackfillAside {
            migration: job.plan.id.clone(),
            step: job.step.id.clone(),
            table: job.backfill.table.to_string(),
            kept: aside.len(),
            too_many,
            rows: aside.iter().take(5).map(|(key, reason)| (key.clone(), reason.clone())).collect(),
        }
    }

    async fn ask<B: Backend>(&self, backfill: &Backfill, read: Vec<TextRow>) -> Batch {
        let width = backfill.key.len();
        let known = self.aside().clone();
        let (mut asked, mut keys) = (Vec::new(), Vec::new());
        for mut key in read {
            let values = key.split_off(width.min(key.len()));
            let name = name_of(backfill, &key);
            if known.contains_key(&name) {
                continue;
            }
            let cells = self.given.reads.iter().zip(&values);
            asked.push(Row(cells.map(|(c, text)| (c.name.clone(), B::cell(&c.ty, text.clone()))).collect()));
            keys.push((name, key, values));
        }
        let answers = Arc::clone(&self.function).fill(asked).await;
        let mut batch = Batch::default();
        for ((name, key, values), answer) in keys.into_iter().zip(answers) {
            match self.values::<B>(answer) {
                Ok(given) if given.iter().all(Value::is_null) => {}
                Ok(given) => batch.rows.push(json!({ "k": key, "r": values, "v": given })),
                Err(reason) => batch.aside.push((name, reason)),
            }
        }
        batch
    }

    /// The values in the order of the columns.
    fn values<B: Backend>(&self, answer: Answer) -> Result<Vec<Value>, String> {
        let gives = &self.given.gives;
        let mut given = match (answer?, gives.as_slice()) {
            (Value::Object(map), [only]) if !map.contains_key(&only.name) => {
                [(only.name.clone(), Value::Object(map))].into_iter().collect()
            }
            (Value::Object(map), _) => map,
            (value, [only]) => [(only.name.clone(), value)].into_iter().collect(),
            (value, _) => {
                let names: Vec<_> = gives.iter().map(|c| format!("`{}`", c.name)).collect();
                return Err(format!("it gives {value} and not a struct with {}", names.join(", ")));
            }
        };
        let values = gives.iter().map(|column| {
            let value = given.remove(&column.name).unwrap_or_default();
            if value.is_null() && self.not_null.contains(&column.name) {
                return Err(format!("it gives no value for `{}`, which is to be NOT NULL", column.name));
            }
            B::value(&column.ty, value)
        });
        let values: Result<Vec<_>, _> = values.collect();
        match given.keys().next() {
            Some(unknown) => Err(format!("it gives `{unknown}`, which the step does not fill")),
            None => values,
        }
    }
}

impl<B: Backend> Worker<'_, B> {
    /// One batch. None when nothing is left to claim, otherwise the rows that waited in the beginning.
    pub(super) async fn attempt_with(&mut self, values: &Values) -> Result<Option<Option<u64>>, Failed> {
        self.db.begin_batch(self.timeouts(), self.job.triggers()).await?;
        let read = self.read(&values.given).await;
        self.db.rollback().await;
        let Some((to, read)) = read? else { return Ok(None) };
        let began = Instant::now();
        let asked = self.ctx.stop.unless(values.ask::<B>(&self.job.backfill, read)).await;
        let Ok(mut batch) = asked else { return Err(super::worker::interrupted()) };
        self.computed = began.elapsed();
        batch.aside.extend(self.refused.iter().cloned());
        self.db.begin_batch(self.timeouts(), self.job.triggers()).await?;
        match self.write(to, &batch).await {
            Ok(total) => {
                // Before that they are not in the ledger: a batch that is done again has to take them there.
                self.refused.clear();
                self.keep_aside(values, batch.aside);
                Ok(total)
            }
            Err(failed) => {
                self.db.rollback().await;
                Err(failed)
            }
        }
    }

    /// Where the batch ends, and the rows that wait in it.
    async fn read(&mut self, given: &Given) -> Result<Option<(Key, Vec<TextRow>)>, Failed> {
        let Some((claim, to)) = self.range().await? else { return Ok(None) };
        let params = super::worker::between(self.job.backfill.key.len(), claim.at.as_ref(), &to);
        let params: Vec<Option<&str>> = params.iter().map(Option::as_deref).collect();
        let read = self.db.rows_within(&given.read_sql, &params, ROOM).await;
        let Within { rows, cut } = read.map_err(Failed::at(&given.read_sql))?;
        let last = rows.last().filter(|_| cut).map(|row| row[..self.job.backfill.key.len().min(row.len())].to_vec());
        if last.is_some() {
            // A batch of one is what a row is named by that the database refuses, and this one may have begun before rows that
            // did not wait: it comes to that only by halving.
            self.size = self.size.min(u32::try_from(rows.len()).unwrap_or(u32::MAX).max(2));
        }
        Ok(Some((last.unwrap_or(to), rows)))
    }

    async fn write(&mut self, to: Key, batch: &Batch) -> Result<Option<Option<u64>>, Failed> {
        self.give_sign_of_life().await?;
        let sql = self.statement();
        self.locks_since = Instant::now();
        let mut changed = 0;
        if !batch.rows.is_empty() {
            let rows = Value::Array(batch.rows.clone()).to_string();
            changed = self.db.run(sql, &[Some(&rows)]).await.map_err(Failed::at(sql))?;
        }
        aside::keep(self.db, &self.job.plan.id, &self.job.step.id, &batch.aside).await?;
        let sent = u64::try_from(batch.rows.len()).unwrap_or(u64::MAX);
        self.done_to(to, changed, sent.saturating_sub(changed)).await.map(Some)
    }

    fn keep_aside(&self, values: &Values, rows: Vec<(String, String)>) {
        for (key, reason) in rows {
            let (migration, step) = (&self.job.plan.id, &self.job.step.id);
            self.ctx.tell(&Event::KeptAside { migration, step, key: &key, reason: &reason });
            values.aside().insert(key, reason);
        }
    }

    /// The database refuses what was given for the one row of the batch.
    pub(super) async fn refuse(&mut self, values: &Values, failed: &Failed) -> Result<(), Failed> {
        let Some((_, to)) = self.range().await? else { return Ok(()) };
        let (key, reason) = (name_of(&self.job.backfill, &to), failed.error.to_string());
        values.aside().insert(key.clone(), reason.clone());
        self.refused.push((key, reason));
        Ok(())
    }

    /// What the time that a batch takes counts for: a function may compute ten times as long as rows are locked.
    pub(super) fn weighed(&self, locked: Duration) -> Duration {
        locked.max(self.computed / 10)
    }
}
