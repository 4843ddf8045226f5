//! Whether the database is what the ledger says it is.

use std::{collections::BTreeSet, time::Duration};

use schemadiff::{
    backend::StepState,
    embed,
    lockstep::{Status, admin},
    model::{Delta, Fingerprint, ObjectName, Schema, between},
    plan::Action,
};

use super::context::Context;
use crate::{
    Error, Kind, Result,
    dialect::{Connection, ddl, dialect_of},
    migrations::Migrations,
    prove,
    report::describe::first_differences,
};

/// The code of what [`refuse`] finds.
pub const DRIFTED: &str = "SD0745";

/// Refuses to go on when somebody else changed what the project manages.
///
/// # Errors
/// [`Kind::Apply`] with the first differences.
pub async fn refuse(context: &Context, url: &str, ours: &Migrations, migrations: &embed::Migrations) -> Result<()> {
    let mut looks = 0;
    loop {
        let status = admin::status(url, Some(migrations)).await?;
        // What differs then is the file, whatever the database is like.
        if let Some(anew) = status.migrations.iter().find(|m| m.rewritten) {
            return Err(schemadiff::Error::HistoryRewritten { id: anew.id.clone() }.into());
        }
        let Some(differs) = difference(context, url, ours, &status).await? else { return Ok(()) };
        // Somebody who works between the two looks is no drift. Who works for long is found by whoever takes the work.
        let now = admin::status(url, Some(migrations)).await?;
        if now.worker.is_none() && now.migrations == status.migrations {
            return Err(differs);
        }
        looks += 1;
        if looks == LOOKS {
            return Ok(());
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

/// How often a database is looked at in which somebody is at work.
const LOOKS: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(200);

/// What differs from all states that the ledger allows.
async fn difference(context: &Context, url: &str, ours: &Migrations, status: &Status) -> Result<Option<Error>> {
    let Expected { mut states, under_way } = expected(ours, status)?;
    if states.is_empty() {
        return Ok(None);
    }
    let mut connection = Connection::open(url).await?;
    let mut found = connection.introspect(&context.scope()).await?.schema;
    without_half_made(&mut found, &states);
    states.iter_mut().chain([&mut found]).for_each(|schema| without(schema, &under_way));
    let coming = ours.lock.as_ref().map(|lock| with_labels(&lock.schema, &status.labels_left));
    let mut first = None;
    for state in &states {
        let mut found = found.clone();
        if let Some(coming) = &coming {
            prove::without_labels_to_come(&mut found, state, coming);
        }
        let (state, found) = comparable(state, &found, ours);
        if Fingerprint::of(&state) == Fingerprint::of(&found) {
            return Ok(None);
        }
        first.get_or_insert_with(|| between(&state, &found));
    }
    let differences = first.unwrap_or_default();
    let words = ddl(dialect_of(url)?, connection.server().version)?;
    let off = differences.iter().find_map(|delta| match delta {
        Delta::Sync { table, name, after: None, .. } => Some((words.name(table), words.ident(name))),
        _ => None,
    });
    let mut error = Error::new(Kind::Apply, DRIFTED, "the database is not what its migrations made it")
        .cause(first_differences(&differences, "in the database"));
    if let Some((table, name)) = off {
        error = error.help(format!(
            "where it is there and was switched off: ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}, and see which rows were written meanwhile"
        ));
    }
    let error = error
        .help("take the change back in the database")
        .help("or declare it in the structs, and write the migration with `cargo schemadiff new NAME --from lock`");
    Ok(Some(error))
}

/// With the labels that migrations have left which were taken back.
fn with_labels(schema: &Schema, labels: &[(ObjectName, String)]) -> Schema {
    let mut schema = schema.clone();
    for (name, label) in labels {
        schema.enums.get_mut(name).into_iter().for_each(|e| e.values.push(label.clone()));
    }
    schema
}

/// What a concurrent build or drop leaves when it is cut short, or shows while it goes on, is neither there nor away: the
/// next attempt begins with removing it.
fn without_half_made(found: &mut Schema, expected: &[Schema]) {
    let has = |state: &Schema, table: &ObjectName, index: &str| {
        state.tables.get(table).is_some_and(|table| table.indexes.contains_key(index))
    };
    for (name, table) in &mut found.tables {
        table.indexes.retain(|index, definition| {
            let is_under_way =
                expected.iter().any(|s| has(s, name, index)) && !expected.iter().all(|s| has(s, name, index));
            !(definition.invalid && is_under_way)
        });
    }
}

/// The states that the database may be in.
#[derive(Default)]
struct Expected {
    /// One, or two while a step is on record as begun. None when that cannot be known, because a newer version of the project has
    /// been at work.
    states: Vec<Schema>,
    /// Tables that a step is half-way through which asks the catalogue for each of its statements: between them everything can be
    /// there, and what is not its own it does not touch.
    under_way: Vec<ObjectName>,
}

/// Without the tables and their partitions.
fn without(schema: &mut Schema, tables: &[ObjectName]) {
    let below = |name: &ObjectName| schema.partitions(name).into_iter().map(|t| t.name.clone()).collect::<Vec<_>>();
    let gone: BTreeSet<ObjectName> = tables.iter().flat_map(below).chain(tables.iter().cloned()).collect();
    schema.tables.retain(|name, _| !gone.contains(name));
}

fn expected(ours: &Migrations, status: &Status) -> Result<Expected> {
    let Some(lock) = &ours.lock else { return Ok(Expected::default()) };
    if status.migrations.iter().any(|m| !m.known && m.state != "aborted") {
        return Ok(Expected::default());
    }
    let (mut states, mut under_way) = (vec![lock.schema.clone()], Vec::new());
    for plan in ours.plans.iter().rev() {
        let row = status.migrations.iter().find(|m| m.id == plan.id);
        // One that is done says nothing of those before it: a later migration goes on while an earlier contract phase waits.
        if row.is_some_and(|m| m.state == "done") {
            continue;
        }
        let state_of = |id: &str| row.and_then(|m| m.steps.iter().find(|s| s.id == id)).map(|s| s.state);
        for step in plan.steps.iter().rev() {
            let found = state_of(&step.id).unwrap_or(StepState::Pending);
            if found == StepState::Done {
                continue;
            }
            let with = states.clone();
            states.iter_mut().try_for_each(|state| step.revert_on(state)).map_err(|e| contradiction(&e))?;
            if found == StepState::Running {
                let halves = with.iter().zip(&states).filter(|_| !step.undo_proof.is_empty());
                let halves: Vec<Schema> = halves.map(|(with, without)| unproven(without, with)).collect();
                states.extend(with.into_iter().chain(halves));
                let goes_on = matches!(step.action, Action::Generated(_));
                under_way.extend(step.effects.iter().filter(|_| goes_on).filter_map(|delta| delta.table().cloned()));
            }
        }
    }
    Ok(Expected { states, under_way })
}

/// What an abort leaves that was cut short before it had proven what it put back.
fn unproven(state: &Schema, with: &Schema) -> Schema {
    let mut state = state.clone();
    for (name, table) in &mut state.tables {
        let Some(other) = with.tables.get(name) else { continue };
        let checks = table.checks.iter_mut().filter(|(name, check)| other.checks.get(*name) != Some(check));
        checks.for_each(|(_, check)| check.not_valid = true);
        let keys = table.foreign_keys.iter_mut().filter(|(name, key)| other.foreign_keys.get(*name) != Some(key));
        keys.for_each(|(_, key)| key.not_valid = true);
    }
    state
}

fn contradiction(cause: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Internal, "SD0936", "the plans and the lock file contradict each other").cause(cause)
}

/// Both with what this project manages only, and without what a server cannot show.
fn comparable(state: &Schema, found: &Schema, ours: &Migrations) -> (Schema, Schema) {
    let mut managed: BTreeSet<&ObjectName> = state.tables.keys().collect();
    if let Some(lock) = &ours.lock {
        managed.extend(lock.schema.tables.keys());
    }
    let part = |schema: &Schema| {
        let mut schema = schema.restricted_to(|name| managed.contains(name));
        schema.enums.retain(|name, _| state.enums.contains_key(name));
        schema.domains.retain(|name, _| state.domains.contains_key(name));
        // Their definitions follow renames in the server's own words.
        schema.objects.clear();
        prove::comparable(&schema)
    };
    (part(state), part(found))
}
