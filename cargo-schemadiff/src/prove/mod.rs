//! The proof of a plan: every step is carried out on a scratch copy of the current schema, and after each the server must
//! show what the planner predicted. What `abort` would do is carried out too, from the last step before contract back to
//! the start, and what `undo` would do, from the end back through contract.
//!
//! The tables of the copy hold a few made-up rows, and before contract both versions write more: what only runs when there
//! is a row (a trigger, the expression of a backfill) runs here before it runs in production. Rows that nobody wrote may
//! be at fault themselves; then the proof says what happened, and goes on without them.

mod compare;
pub mod execute;
mod objects;
mod run;
pub mod seed;

use std::collections::{BTreeMap, BTreeSet};

use schemadiff::{
    compat,
    model::{Delta, ObjectName, Schema, Shared, Table, expr},
    plan::{Action, Phase, Plan},
};

use crate::{
    Error, Kind, Result,
    dialect::{Connection, Ddl},
    diff::is_type,
    planner::calls,
};
use objects::Part;
use run::Run;

pub use compare::{comparable, without_labels_to_come};

/// What was shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Proof {
    /// Steps carried out.
    pub steps: usize,
    /// Steps taken back.
    pub undone: usize,
    /// How often the server's schema was compared with the prediction.
    pub comparisons: usize,
    /// Made-up rows in the tables, before the first step and by both versions before contract.
    pub rows: u64,
    /// Tables that took no made-up row, with the reason: what only runs when there is a row was not seen there.
    pub without_rows: BTreeMap<String, String>,
    /// What did not go well with made-up rows, and may not with real ones of the same kind.
    pub remarks: Vec<String>,
}

/// Proves a plan in an empty scratch database.
///
/// # Errors
/// [`Kind::Refused`] when the server refuses a step, for example because of a backfill's expression, or when old or new
/// code cannot write any more; [`Kind::Internal`] with the exact difference when the server shows another schema than the
/// plan predicts.
pub async fn prove(scratch: &mut Connection, ddl: &dyn Ddl, current: &Schema, plan: &Plan) -> Result<Proof> {
    prove_with(scratch, ddl, current, plan, false).await
}

/// As [`prove`], of a plan that leaves views, functions and the like alone: they are made, but no prediction speaks of them.
///
/// # Errors
/// See [`prove`].
pub async fn prove_beside_objects(
    scratch: &mut Connection,
    ddl: &dyn Ddl,
    current: &Schema,
    plan: &Plan,
) -> Result<Proof> {
    prove_with(scratch, ddl, current, plan, true).await
}

async fn prove_with(
    scratch: &mut Connection,
    ddl: &dyn Ddl,
    current: &Schema,
    plan: &Plan,
    objects_left_alone: bool,
) -> Result<Proof> {
    let mut tables = tables_of(plan, current);
    let objects = objects::concerned(plan, current, &mut tables);
    let mut start = part(current, &tables);
    start.objects.retain(|key, _| objects.contains(key));
    let remarks = set_up(scratch, ddl, &start, plan).await?;
    if objects_left_alone {
        start.objects.clear();
    }
    let mut end = start.clone();
    for step in &plan.steps {
        step.apply_to(&mut end).map_err(|error| run::misfit(step, error))?;
    }
    let mut run = Run::new(scratch, ddl, tables, start.clone());
    run.watch(plan, remarks);
    run.compare("the copy of the current schema").await?;
    make_triggers(&mut run, current).await;
    run.seed(&start, &end).await;

    let before_contract = plan.steps.iter().take_while(|s| s.phase != Phase::Contract).count();
    let (first, last) = plan.steps.split_at(before_contract);
    for step in first {
        run.forth(step, true).await?;
    }
    if before_contract > 0 {
        run.write(&start, "the old version").await?;
    }
    if compat::serves(ddl.dialect(), run.state(), &end).is_ok() {
        run.write(&end, "the new version").await?;
    }
    let undoable = first.iter().rev().take_while(|s| s.undoable).count();
    let again = &first[first.len() - undoable..];
    run.all_back(plan, again).await?;
    for step in again {
        run.forth(step, false).await?;
    }
    for step in last {
        run.forth(step, true).await?;
    }
    run.arrived().await?;
    // What `undo` would do.
    let undoable = last.iter().rev().take_while(|s| s.undoable).count();
    let again = &last[last.len() - undoable..];
    run.all_back(plan, again).await?;
    for step in again {
        run.forth(step, false).await?;
    }
    Ok(run.end())
}

/// The tables that the plan is about, those that refer to them, those that all these reference, and those that they are partitions of or that are their
/// partitions, at every name they have on the way.
fn tables_of(plan: &Plan, current: &Schema) -> BTreeSet<ObjectName> {
    let mut tables: BTreeSet<ObjectName> = BTreeSet::new();
    let mut add_references = |delta: &Delta| {
        tables.extend(delta.table().cloned());
        let sides = match delta {
            Delta::ForeignKey { before, after, .. } => [before, after],
            _ => [&None, &None],
        };
        tables.extend(sides.into_iter().flatten().map(|key| key.ref_table.clone()));
        // A type that is there already is there for columns.
        if let Delta::Enum { name, before: Some(_), .. } = delta {
            let uses = |t: &&Shared<Table>| t.columns.iter().any(|column| is_type(&column.ty, name));
            tables.extend(current.tables.values().filter(uses).map(|table| table.name.clone()));
        }
        if let Delta::Domain { name, before: Some(_), .. } = delta {
            tables.extend(current.tables_of(name).into_iter().cloned());
        }
        if let Delta::Table { before, after, .. } = delta {
            let sides = || [before, after].into_iter().flatten();
            tables.extend(sides().filter_map(|table| table.partition_of.as_ref()).map(|of| of.parent.clone()));
            // Where foreign keys are part of a table, they come and go with it.
            tables.extend(sides().flat_map(|table| table.foreign_keys.values()).map(|key| key.ref_table.clone()));
        }
    };
    plan.steps.iter().flat_map(|s| &s.effects).for_each(&mut add_references);
    // Expressions stand in the way of a function that goes or is made anew.
    let routines = plan.steps.iter().flat_map(|s| &s.effects).filter_map(|delta| match delta {
        Delta::Object { key, before: Some(_), .. } => Some(key).filter(|key| key.arguments.is_some()),
        _ => None,
    });
    for routine in routines {
        let callers = current.tables.values().filter(|table| calls::count(table, &routine.name.name) > 0);
        tables.extend(callers.map(|table| table.name.clone()));
    }
    // And those that an expression looks into for its value.
    let fills = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Backfill(backfill) => Some(&backfill.set),
        Action::Sql(_) | Action::Generated(_) => None,
    });
    for asked in fills.flatten().map(|set| &set.expr).filter(|text| expr::has_query(text)) {
        tables.extend(current.tables.keys().filter(|name| asked.contains(&name.name)).cloned());
    }
    // What the server ties to a key or a column here is part of what a step may do.
    let named = tables.clone();
    let refers = |t: &&Shared<Table>| t.foreign_keys.values().any(|key| named.contains(&key.ref_table));
    tables.extend(current.tables.values().filter(refers).map(|t| t.name.clone()));
    with_references(current, &mut tables);
    tables
}

/// Adds the tables that these reference, and those that they are partitions of or that are their partitions.
fn with_references(current: &Schema, tables: &mut BTreeSet<ObjectName>) {
    loop {
        let mut referenced: BTreeSet<_> = current
            .tables
            .values()
            .filter(|t| tables.contains(&t.name))
            .flat_map(|t| t.foreign_keys.values().map(|key| key.ref_table.clone()))
            .collect();
        for table in current.tables.values() {
            let Some(of) = &table.partition_of else { continue };
            if tables.contains(&table.name) || tables.contains(&of.parent) {
                referenced.extend([table.name.clone(), of.parent.clone()]);
            }
        }
        if referenced.is_subset(tables) {
            return;
        }
        tables.extend(referenced);
    }
}

fn part(schema: &Schema, tables: &BTreeSet<ObjectName>) -> Schema {
    schema.restricted_to(|name| tables.contains(name))
}

/// Creates the copy: schemas, types, tables, then the foreign keys that tables do not bring with them.
///
/// Returns the objects that could not be made although no step is about them: the plan may well be right without them.
async fn set_up(scratch: &mut Connection, ddl: &dyn Ddl, start: &Schema, plan: &Plan) -> Result<Vec<String>> {
    let names = start.tables.keys().chain(start.enums.keys()).chain(start.domains.keys());
    let names = names.chain(start.objects.keys().map(|key| &key.name));
    let schemas: BTreeSet<&String> = names.filter_map(|name| name.schema.as_ref()).collect();
    // Where a migration is carried out, the ledger is there, and functions of triggers are made beside it.
    let mut sql = ddl.ledger_schema();
    sql.extend(objects::out_of_the_way(ddl, start, plan));
    sql.extend(schemas.into_iter().flat_map(|schema| ddl.create_schema(schema)));
    sql.extend(start.enums.values().flat_map(|e| ddl.create_enum(e)));
    let (types, made) = objects::types_first(ddl, start);
    sql.extend(types);
    scratch.run(&sql).await.map_err(cannot_copy)?;
    let (parts, last) = objects::in_order_of_making(start, &made);
    let mut remarks = Vec::new();
    for part in parts {
        match part {
            Part::Object(object) => remarks.extend(objects::make(scratch, ddl, plan, &[object]).await?),
            Part::Table(table) => scratch.run(&ddl.create_table(table)).await.map_err(cannot_copy)?,
        }
    }
    let mut sql = Vec::new();
    if ddl.capabilities().alter_constraints {
        for table in start.tables.values() {
            for (name, key) in table.foreign_keys.iter().filter(|(_, key)| key.ref_table != table.name) {
                sql.extend(ddl.add_foreign_key(&table.name, name, key));
                let comment = key.comment.as_deref();
                sql.extend(comment.iter().flat_map(|text| ddl.comment_on_constraint(&table.name, name, Some(text))));
            }
        }
    }
    scratch.run(&sql).await.map_err(cannot_copy)?;
    remarks.extend(objects::make(scratch, ddl, plan, &last).await?);
    let owned = start.objects.values().filter(|object| object.owned_by.is_some());
    let sql: Vec<String> = owned.flat_map(|sequence| ddl.own_sequence(sequence)).collect();
    scratch.run(&sql).await.map_err(cannot_copy)?;
    Ok(remarks)
}

fn cannot_copy(error: Error) -> Error {
    Error::new(Kind::Refused, "SD0613", "the current schema cannot be copied into a scratch database")
        .cause(error.cause.unwrap_or(error.effect))
        .help("types, functions and extensions that it uses must be available to every new database of the server")
}

/// The user's triggers on the tables. One that cannot be made is a remark: the plan may well be right without it.
async fn make_triggers(run: &mut Run<'_>, current: &Schema) {
    for opaque in &current.opaque {
        let (Some(table), Some(definition)) = (&opaque.table, &opaque.definition) else { continue };
        if run.state().tables.contains_key(table) {
            run.make(&format!("{} `{}`", opaque.kind, opaque.name), definition).await;
            run.leave_out_if_it_fails(opaque, table).await;
        }
    }
}
