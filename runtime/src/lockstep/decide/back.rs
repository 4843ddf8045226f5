//! What may be taken back: a migration before its contract phase, or a contract phase.

use super::is_done;
use crate::{
    backend::{KeptRow, Ledger, MigrationRow, MigrationState, StepState},
    error::{Error, Result},
    plan::{Phase, Plan, Step},
};

/// Whether a migration may be taken back at all, as far as its place in the history says.
///
/// # Errors
/// When it has not been applied, is followed by another one, or has begun its contract phase.
pub fn may_abort(plan: &Plan, ledger: &Ledger) -> Result<()> {
    let nothing = |problem: String| Err(Error::NothingToAbort { id: plan.id.clone(), problem });
    match ledger.migration(&plan.id).map(|row| row.state) {
        None | Some(MigrationState::Aborted) => return nothing("has not been applied to this database".to_owned()),
        Some(MigrationState::Done) => {
            // Done without a contract phase: everything it did can still be taken back when nobody needs it.
            if let Some(step) = plan.phase(Phase::Contract).next() {
                return Err(Error::AbortAfterContract { id: plan.id.clone(), step: step.id.clone() });
            }
        }
        Some(MigrationState::Running) => next_back(plan, ledger).map(drop)?,
    }
    not_followed(plan, ledger)
}

fn not_followed(plan: &Plan, ledger: &Ledger) -> Result<()> {
    let follows = |row: &&MigrationRow| row.parent.as_deref() == Some(&plan.id) && row.state != MigrationState::Aborted;
    match ledger.migrations.iter().find(follows) {
        Some(later) => {
            let problem = format!("is followed by {}, which has to be taken back first", later.id);
            Err(Error::NothingToAbort { id: plan.id.clone(), problem })
        }
        None => Ok(()),
    }
}

/// Whether the contract phase of a migration may be undone at all: it has begun, every step of it has a way back, and what it
/// set aside is still there.
///
/// # Errors
/// When one of these is not so, and when another migration follows.
pub fn may_undo(plan: &Plan, ledger: &Ledger, kept: &[KeptRow]) -> Result<()> {
    if next_undo(plan, ledger, kept)?.is_none() {
        let problem = match ledger.migration(&plan.id).map(|row| row.state) {
            None | Some(MigrationState::Aborted) => "has not been applied to this database",
            Some(_) => "has no contract phase that was carried out; `abort` takes back what it did",
        };
        return Err(Error::NothingToAbort { id: plan.id.clone(), problem: problem.to_owned() });
    }
    not_followed(plan, ledger)
}

/// The next contract step to undo, newest first; none when none is left.
///
/// # Errors
/// When one of them has no way back, or what it set aside is gone.
pub fn next_undo<'p>(plan: &'p Plan, ledger: &Ledger, kept: &[KeptRow]) -> Result<Option<&'p Step>> {
    let begun = |step: &&Step| matches!(ledger.step_state(&plan.id, &step.id), StepState::Done | StepState::Running);
    let oldest_first: Vec<&Step> = plan.phase(Phase::Contract).filter(begun).collect();
    let one_way: Vec<&&Step> = oldest_first.iter().filter(|s| !s.undoable).collect();
    if !one_way.is_empty() {
        // Half a contract phase serves no version, and no later migration could go on from there.
        let steps = one_way.iter().map(|step| step.id.clone()).collect();
        let kept = kept.iter().filter(|row| row.migration == plan.id).map(KeptRow::left).collect();
        return Err(Error::NotUndoable { id: plan.id.clone(), steps, kept });
    }
    for step in &oldest_first {
        let there = kept.iter().filter(|row| row.migration == plan.id && row.step == step.id).count();
        if there < step.keeps.len() && is_done(ledger, plan, step) {
            return Err(Error::Purged { id: plan.id.clone(), step: step.id.clone() });
        }
    }
    Ok(oldest_first.last().copied())
}

/// The next step to take back, newest first; none when none is left.
///
/// # Errors
/// When the contract phase has begun, or when one of the steps has no way back.
pub fn next_back<'p>(plan: &'p Plan, ledger: &Ledger) -> Result<Option<&'p Step>> {
    let begun = |step: &&Step| matches!(ledger.step_state(&plan.id, &step.id), StepState::Done | StepState::Running);
    let oldest_first: Vec<&Step> = plan.steps.iter().rev().filter(begun).collect();
    if let Some(step) = oldest_first.iter().find(|s| s.phase == Phase::Contract) {
        return Err(Error::AbortAfterContract { id: plan.id.clone(), step: step.id.clone() });
    }
    let one_way: Vec<String> = oldest_first.iter().filter(|s| !s.undoable).map(|s| s.id.clone()).collect();
    if !one_way.is_empty() {
        return Err(Error::NotUndoable { id: plan.id.clone(), steps: one_way, kept: Vec::new() });
    }
    Ok(oldest_first.first().copied())
}
