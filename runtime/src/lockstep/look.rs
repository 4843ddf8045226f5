//! Questions to the rows: before a migration changes anything, and when a step has failed on some.

use std::{collections::BTreeSet, time::Duration};

use super::{Event, backfill, context::Context};
use crate::{
    backend::{Backend, DbError, ErrorClass, Ledger, StepState, ledger},
    error::{BadRows, Error, Result},
    plan::{Action, Phase, Plan, Probe, Step},
};

/// Longest search for one kind of rows. The read blocks nobody, but it keeps dead rows from being cleaned up meanwhile.
const LIMIT: Duration = Duration::from_secs(10);

/// What a question was answered with.
enum Answer {
    /// No such rows.
    None,
    /// Some of them.
    Found(Vec<String>),
    /// An expression in the question fails on a row, with these words.
    Fails(String),
    /// What it names is not there.
    NotThere(String),
    /// It could not be asked, and why.
    Unknown(String),
}

impl Answer {
    /// What is known of such rows.
    fn rows(self) -> Option<Vec<String>> {
        match self {
            Self::Found(rows) => Some(rows),
            Self::Fails(words) => Some(vec![words]),
            Self::None | Self::NotThere(_) | Self::Unknown(_) => None,
        }
    }
}

/// Whether nothing of the plan has been carried out yet.
pub(super) fn is_untouched(plan: &Plan, ledger: &Ledger) -> bool {
    let untouched = |state| matches!(state, StepState::Pending | StepState::Undone);
    plan.steps.iter().all(|step| untouched(ledger.step_state(&plan.id, &step.id)))
}

/// Looks for rows that the migration would fail on. What could not be looked at is told: then the step will find it.
pub(super) async fn before<B: Backend>(db: &mut B, ctx: &Context, plan: &Plan) -> Result<()> {
    let (mut bad, mut asked): (Vec<BadRows>, BTreeSet<&str>) = Default::default();
    for step in &plan.steps {
        // Several steps may fail on the same.
        for probe in step.probes.iter().filter(|probe| asked.insert(&probe.sql)) {
            ctx.stop.check()?;
            match ask(db, probe).await.map_err(|e| ledger::explain::<B>("look at the rows", e))? {
                Answer::None => {}
                Answer::Found(rows) => {
                    bad.push(BadRows { step: step.id.clone(), finds: probe.finds.clone(), rows });
                }
                Answer::Fails(words) => {
                    let rows = vec![failing(db, plan, words).await];
                    ctx.stop.check()?;
                    bad.push(BadRows { step: step.id.clone(), finds: probe.finds.clone(), rows });
                }
                Answer::Unknown(reason) | Answer::NotThere(reason) => {
                    ctx.stop.check()?;
                    let (migration, step, finds) = (plan.id.as_str(), step.id.as_str(), probe.finds.as_str());
                    ctx.tell(&Event::NotLookedAt { migration, step, finds, reason: &reason });
                }
            }
        }
    }
    if bad.is_empty() { Ok(()) } else { Err(Error::BadRows { id: plan.id.clone(), rows: bad.into() }) }
}

/// The row that an expression fails on, where one of the plan's backfills has that expression, and the server's words.
async fn failing<B: Backend>(db: &mut B, plan: &Plan, words: String) -> String {
    for step in &plan.steps {
        let Action::Backfill(backfill) = &step.action else { continue };
        if let Some((row, words)) = backfill::failing_row(db, backfill, LIMIT).await {
            return format!("{row}: {words}");
        }
    }
    words
}

/// Whether the tables are small that the step reads or writes while everybody waits.
///
/// Where the step begins a contract phase, that is asked for all of it: half of one serves no version.
pub(super) async fn small_enough<B: Backend>(db: &mut B, ctx: &Context, plan: &Plan, step: &Step) -> Result<()> {
    let goes_along = |s: &&Step| s.id == step.id || (step.phase == Phase::Contract && s.phase == step.phase);
    let mut large = Vec::new();
    let concerned = plan.steps.iter().filter(goes_along);
    let asked = concerned.flat_map(|s| s.only_while_small.iter().map(move |probe| (s, probe)));
    let asked: Vec<(&Step, &Probe)> = asked.filter(|_| !ctx.accepts_stall).collect();
    for (of, probe) in asked {
        let answer = ask(db, probe).await.map_err(|e| ledger::explain::<B>("look at the size of a table", e))?;
        ctx.stop.check()?;
        if let Some(rows) = answer.rows() {
            large.push(BadRows { step: of.id.clone(), finds: probe.finds.clone(), rows });
        }
    }
    let (migration, step) = (plan.id.clone(), step.id.clone());
    if large.is_empty() { Ok(()) } else { Err(Error::Large { migration, step, rows: large.into() }) }
}

/// Looks for rows that keep a step from being taken back, before anything of it is.
pub(super) async fn before_back<B: Backend>(db: &mut B, ctx: &Context, plan: &Plan, step: &Step) -> Result<()> {
    for probe in &step.undo_probes {
        ctx.stop.check()?;
        let answer = ask(db, probe).await.map_err(|e| ledger::explain::<B>("look at the rows", e))?;
        ctx.stop.check()?;
        if let Some(rows) = answer.rows() {
            let bad = vec![BadRows { step: step.id.clone(), finds: probe.finds.clone(), rows }];
            return Err(Error::BadRows { id: plan.id.clone(), rows: bad.into() });
        }
    }
    Ok(())
}

/// Looks for rows that keep a migration from being taken back, before any step of it is.
pub(super) async fn before_abort<B: Backend>(db: &mut B, ctx: &Context, plan: &Plan, now: &Ledger) -> Result<()> {
    for step in plan.steps.iter().rev().filter(|step| now.step_state(&plan.id, &step.id) == StepState::Done) {
        before_back(db, ctx, plan, step).await?;
    }
    Ok(())
}

/// Looks for data that is gone when the migration is taken back, and of which nobody has said that it may go.
pub(super) async fn for_losses<B: Backend>(db: &mut B, ctx: &Context, plan: &Plan, now: &Ledger) -> Result<()> {
    let mut losses = Vec::new();
    for step in plan.steps.iter().filter(|step| now.step_state(&plan.id, &step.id) == StepState::Done) {
        for loss in step.undo_loses.iter().filter(|loss| !ctx.may_go.contains(&loss.name)) {
            ctx.stop.check()?;
            let probe = Probe { finds: loss.finds.clone(), sql: loss.sql.clone() };
            let rows = match ask(db, &probe).await.map_err(|e| ledger::explain::<B>("look at the rows", e))? {
                // What somebody has dropped holds nothing.
                Answer::None | Answer::NotThere(_) => continue,
                Answer::Found(rows) => rows,
                Answer::Fails(words) => vec![words],
                // What cannot be told may be there.
                Answer::Unknown(reason) => {
                    ctx.stop.check()?;
                    vec![reason]
                }
            };
            losses.push(BadRows { step: step.id.clone(), finds: format!("{}: {}", loss.name, loss.finds), rows });
        }
    }
    if losses.is_empty() { Ok(()) } else { Err(Error::WouldLose { id: plan.id.clone(), losses: losses.into() }) }
}

/// Adds the rows that the step has failed on, as far as they can be found.
pub(super) async fn explain<B: Backend>(db: &mut B, step: &Step, error: Error) -> Error {
    let mut error = error;
    let rows = match &mut error {
        Error::StepFailed { rows, .. } | Error::ForeignKeys { rows, .. } => rows,
        _ => return error,
    };
    let mut bad: Vec<BadRows> = Vec::new();
    for probe in &step.probes {
        // Why it cannot be asked is no news beside the failure itself.
        if let Some(found) = ask(db, probe).await.ok().and_then(Answer::rows) {
            bad.push(BadRows { step: step.id.clone(), finds: probe.finds.clone(), rows: found });
        }
    }
    *rows = bad.into();
    error
}

async fn ask<B: Backend>(db: &mut B, probe: &Probe) -> Result<Answer, DbError> {
    match db.look(&probe.sql, LIMIT).await {
        Ok(rows) => {
            let found: Vec<String> = rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
            Ok(if found.is_empty() { Answer::None } else { Answer::Found(found) })
        }
        Err(error) if B::is_about_rows(&error) => Ok(Answer::Fails(error.message)),
        Err(error) if error.class == ErrorClass::Connection => Err(error),
        Err(error) if error.class == ErrorClass::Missing => Ok(Answer::NotThere(error.message)),
        Err(error) if error.class == ErrorClass::Cancelled => {
            Ok(Answer::Unknown(format!("the search took longer than {} s", LIMIT.as_secs())))
        }
        Err(error) => Ok(Answer::Unknown(error.message)),
    }
}
