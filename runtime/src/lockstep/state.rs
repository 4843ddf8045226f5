//! The database state: a pure value of what the plans predict and what the ledger says has been done.

use crate::{
    backend::{Ledger, MigrationRow, MigrationState, StepState},
    embed,
    error::{Error, Result},
    model::{DeltaError, Schema},
    plan::{Plan, PlanFileError, Snapshot, Step},
};

/// Whether a step that has begun and not ended is taken as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// Its effect is not there.
    NotThere,
    /// Its effect is there.
    There,
}

impl Begun {
    fn is_done(self, state: StepState) -> bool {
        match state {
            StepState::Done => true,
            StepState::Running => self == Self::There,
            StepState::Pending | StepState::Undone => false,
        }
    }
}

/// The schema of the database as code sees it: the snapshot with the effects of steps that are not done taken back, and
/// the effects of unknown newer migrations' steps that are done applied, and with the tables of other services.
///
/// `plans` are the known migrations, oldest first; those that the ledger calls done may be left out.
///
/// # Errors
/// When plans and ledger contradict each other.
pub fn state(snapshot: &Snapshot, plans: &[Plan], ledger: &Ledger) -> Result<Schema> {
    state_if(snapshot, plans, ledger, Begun::NotThere)
}

/// All states that the database may be in: two while a step is under way whose end is recorded apart from its work.
///
/// # Errors
/// When plans and ledger contradict each other.
pub fn possible(snapshot: &Snapshot, plans: &[Plan], ledger: &Ledger) -> Result<Vec<Schema>> {
    let without = state_if(snapshot, plans, ledger, Begun::NotThere)?;
    let with = state_if(snapshot, plans, ledger, Begun::There)?;
    Ok(if with == without { vec![without] } else { vec![without, with] })
}

fn state_if(snapshot: &Snapshot, plans: &[Plan], ledger: &Ledger, begun: Begun) -> Result<Schema> {
    let mut schema = snapshot.schema.clone();
    for plan in plans.iter().rev() {
        for step in plan.steps.iter().rev() {
            if !begun.is_done(ledger.step_state(&plan.id, &step.id)) {
                step.revert_on(&mut schema).map_err(|e| contradiction(&plan.id, step, &e))?;
            }
        }
    }
    for row in newer(snapshot.head.as_deref(), ledger) {
        let plan = plan_on_record(row)?;
        for step in &plan.steps {
            if begun.is_done(ledger.step_state(&plan.id, &step.id)) {
                step.apply_to(&mut schema).map_err(|e| contradiction(&plan.id, step, &e))?;
            }
        }
    }
    add_of_others(&mut schema, snapshot, ledger, begun)?;
    Ok(schema)
}

/// What the migrations of other services on the same database have made: their code is here for its own tables, and ours may
/// use them. What both know is as ours says.
fn add_of_others(schema: &mut Schema, snapshot: &Snapshot, ledger: &Ledger, begun: Begun) -> Result<()> {
    let ours: Vec<&str> = newer(snapshot.head.as_deref(), ledger).iter().map(|row| row.id.as_str()).collect();
    let is_others = |row: &&MigrationRow| row.plan.is_some() && row.state != MigrationState::Aborted;
    let rows: Vec<&MigrationRow> =
        ledger.migrations.iter().filter(is_others).filter(|row| !ours.contains(&row.id.as_str())).collect();
    let mut heads: Vec<&MigrationRow> = rows.iter().filter(|row| row.parent.is_none()).copied().collect();
    while let Some(first) = heads.pop() {
        let (mut theirs, mut row) = (Schema::default(), Some(first));
        while let Some(now) = row {
            let plan = plan_on_record(now)?;
            let done = plan.steps.iter().filter(|step| begun.is_done(ledger.step_state(&now.id, &step.id)));
            // A chain that began with tables that were there says too little to be followed.
            if done.map(|step| step.apply_to(&mut theirs)).any(|applied| applied.is_err()) {
                theirs = Schema::default();
                break;
            }
            row = rows.iter().find(|next| next.parent.as_deref() == Some(&now.id)).copied();
        }
        for (name, table) in theirs.tables {
            if !snapshot.schema.tables.contains_key(&name) {
                schema.tables.entry(name).or_insert(table);
            }
        }
        for (name, enumeration) in theirs.enums {
            if !snapshot.schema.enums.contains_key(&name) {
                schema.enums.entry(name).or_insert(enumeration);
            }
        }
    }
    Ok(())
}

/// Migrations in the ledger that follow `head` and are not known to the reader, oldest first.
pub fn newer<'l>(head: Option<&str>, ledger: &'l Ledger) -> Vec<&'l MigrationRow> {
    let mut found: Vec<&MigrationRow> = Vec::new();
    // Without a migration of one's own, every other chain is somebody else's.
    let Some(mut head) = head else { return found };
    while let Some(next) = ledger
        .migrations
        .iter()
        .find(|row| row.plan.is_some() && row.state != MigrationState::Aborted && row.parent.as_deref() == Some(head))
    {
        if found.iter().any(|known| known.id == next.id) {
            break; // a circle cannot come from us, and must not hang us
        }
        found.push(next);
        head = &next.id;
    }
    found
}

/// The plan of a migration on record, which nobody but schemadiff writes there.
fn plan_on_record(row: &MigrationRow) -> Result<Plan> {
    let damaged = |cause: String| Error::LedgerDamaged { cause: format!("the plan of {}: {cause}", row.id) };
    let plan = Plan::from_toml(row.plan.as_deref().unwrap_or_default());
    let plan = match plan {
        Ok(plan) => plan,
        Err(error @ PlanFileError::TooNew { .. }) => return Err(embed::damaged(&row.id, error)),
        Err(error) => return Err(damaged(error.to_string())),
    };
    if plan.id != row.id || plan.checksum != row.checksum {
        return Err(damaged("it is another one than was applied".to_owned()));
    }
    Ok(plan)
}

/// An error that names the step.
pub(super) fn contradiction(migration: &str, step: &Step, error: &DeltaError) -> Error {
    Error::Contradiction { cause: format!("at step {} of migration {migration}: {error}", step.id) }
}
