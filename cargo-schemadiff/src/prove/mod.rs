//! The proof of a plan: every step is carried out on a scratch copy of the current schema, and after each the server must
//! show what the planner predicted. What `abort` would do is carried out too, from the last step before contract back to
//! the start.

mod compare;
pub mod execute;
pub mod seed;

use std::collections::{BTreeMap, BTreeSet};

use schemadiff::{
    model::{Delta, ObjectName, Schema},
    plan::{Phase, Plan, Step},
};

use crate::{
    Error, Kind, Result,
    dialect::{Connection, Ddl, Scope},
};

/// What was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// Steps carried out.
    pub steps: usize,
    /// Steps taken back.
    pub undone: usize,
    /// How often the server's schema was compared with the prediction.
    pub comparisons: usize,
}

/// Proves a plan in an empty scratch database.
///
/// # Errors
/// [`Kind::Refused`] when the server refuses a step, for example because of a backfill's expression; [`Kind::Internal`]
/// with the exact difference when the server shows another schema than the plan predicts.
pub async fn prove(scratch: &mut Connection, ddl: &dyn Ddl, current: &Schema, plan: &Plan) -> Result<Proof> {
    let tables = tables_of(plan, current);
    let start = part(current, &tables);
    set_up(scratch, ddl, &start, current).await?;
    let mut run = Run { scratch, tables, state: start, proof: Proof { steps: 0, undone: 0, comparisons: 0 } };
    run.compare("the copy of the current schema").await?;

    let before_contract = plan.steps.iter().take_while(|s| s.phase != Phase::Contract).count();
    let (first, last) = plan.steps.split_at(before_contract);
    for step in first {
        run.forth(step, true).await?;
    }
    let undoable = first.iter().rev().take_while(|s| s.undoable).count();
    let again = &first[first.len() - undoable..];
    for step in again.iter().rev() {
        run.back(step).await?;
    }
    for step in again {
        run.forth(step, false).await?;
    }
    for step in last {
        run.forth(step, true).await?;
    }
    Ok(run.proof)
}

/// The tables that the plan is about, those that they reference, and those that they are partitions of or that are their
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
        if let Delta::Table { before, after, .. } = delta {
            let places = [before, after].into_iter().flatten().filter_map(|table| table.partition_of.as_ref());
            tables.extend(places.map(|of| of.parent.clone()));
        }
    };
    plan.steps.iter().flat_map(|s| &s.effects).for_each(&mut add_references);
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
        if referenced.is_subset(&tables) {
            return tables;
        }
        tables.extend(referenced);
    }
}

fn part(schema: &Schema, tables: &BTreeSet<ObjectName>) -> Schema {
    schema.restricted_to(|name| tables.contains(name))
}

/// Creates the copy: schemas, types, tables, then the foreign keys that tables do not bring with them.
async fn set_up(scratch: &mut Connection, ddl: &dyn Ddl, start: &Schema, current: &Schema) -> Result<()> {
    let schemas: BTreeSet<&String> =
        start.tables.keys().chain(start.enums.keys()).filter_map(|name| name.schema.as_ref()).collect();
    let mut sql: Vec<String> = schemas.into_iter().flat_map(|schema| ddl.create_schema(schema)).collect();
    sql.extend(start.enums.values().flat_map(|e| ddl.create_enum(e)));
    sql.extend(start.parents_first().into_iter().flat_map(|t| ddl.create_table(t)));
    if ddl.capabilities().alter_constraints {
        for table in start.tables.values() {
            for (name, key) in table.foreign_keys.iter().filter(|(_, key)| key.ref_table != table.name) {
                sql.extend(ddl.add_foreign_key(&table.name, name, key));
                let comment = key.comment.as_deref();
                sql.extend(comment.iter().flat_map(|text| ddl.comment_on_constraint(&table.name, name, Some(text))));
            }
        }
    }
    let hangs = |o: &&schemadiff::model::Opaque| o.table.as_ref().is_some_and(|t| start.tables.contains_key(t));
    sql.extend(current.opaque.iter().filter(hangs).filter_map(|o| o.definition.clone()));
    scratch.run(&sql).await.map_err(|error| {
        Error::new(Kind::Refused, "SD0613", "the current schema cannot be copied into a scratch database")
            .cause(error.cause.unwrap_or(error.effect))
            .help("types, functions and extensions that it uses must be available to every new database of the server")
    })
}

struct Run<'r> {
    scratch: &'r mut Connection,
    tables: BTreeSet<ObjectName>,
    state: Schema,
    proof: Proof,
}

impl Run<'_> {
    async fn forth(&mut self, step: &Step, compare: bool) -> Result<()> {
        execute::forth(self.scratch, step).await.map_err(|error| refused(step, "fails", error))?;
        step.apply_to(&mut self.state).map_err(|error| misfit(step, error))?;
        self.proof.steps += 1;
        if compare { self.compare(&format!("step {}", step.id)).await } else { Ok(()) }
    }

    async fn back(&mut self, step: &Step) -> Result<()> {
        execute::back(self.scratch, step).await.map_err(|error| refused(step, "cannot be taken back", error))?;
        step.revert_on(&mut self.state).map_err(|error| misfit(step, error))?;
        self.proof.undone += 1;
        self.compare(&format!("undoing step {}", step.id)).await
    }

    async fn compare(&mut self, after: &str) -> Result<()> {
        self.proof.comparisons += 1;
        let found = self.scratch.introspect(&Scope::default()).await?.schema;
        // Types of tables that are not here cannot be told from types of the plan: all are there.
        let found = Schema { tables: keep(found.tables, &self.tables), ..found };
        compare::same(&self.state, &found).map_err(|difference| {
            Error::new(
                Kind::Internal,
                "SD0905",
                format!("after {after} the server shows another schema than predicted"),
            )
            .cause(difference)
            .help("this is a bug of schemadiff; please report it with both schemas")
        })
    }
}

fn keep<V>(map: BTreeMap<ObjectName, V>, names: &BTreeSet<ObjectName>) -> BTreeMap<ObjectName, V> {
    map.into_iter().filter(|(name, _)| names.contains(name)).collect()
}

fn refused(step: &Step, what: &str, error: Error) -> Error {
    let cause = match error.cause {
        Some(cause) => format!("{}: {cause}", error.effect),
        None => error.effect,
    };
    Error::new(Kind::Refused, "SD0612", format!("step {} {what} on a scratch database", step.id))
        .cause(cause)
        .help("when the cause names an expression of yours (default, backfill, check, index), correct it there")
        .help("otherwise please report this with both schemas")
}

fn misfit(step: &Step, error: schemadiff::model::DeltaError) -> Error {
    Error::new(Kind::Internal, "SD0903", format!("step {} does not fit the state it was planned for", step.id))
        .cause(error)
}
