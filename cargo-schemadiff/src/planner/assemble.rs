//! Placed steps become numbered steps with their final text.

use std::collections::BTreeSet;

use schemadiff::{
    model::{Delta, Object, ObjectKind, ObjectName, Schema, Shared, Table},
    plan::{Action, Assignment, Backfill, Envelope, Hazard, Lock, Phase, Probe, Step},
};

use super::{
    carried,
    context::{Context, GivenFill},
    graph::Placed,
    probes,
    proto::{Fill, Proto, Work},
};
use crate::{
    Result,
    dialect::{Dependents, GivenSpec},
    hazard,
};

/// Lock and statement timeout of an envelope, in milliseconds. A short step queues no longer than the lock timeout, and so
/// nobody queues behind it any longer; a concurrent build that gave up would leave an invalid index, so it never does.
const fn timeouts(envelope: Envelope) -> (u64, u64) {
    match envelope {
        Envelope::Transaction => (200, 5_000),
        Envelope::Long | Envelope::Concurrent | Envelope::Rebuild => (0, 0),
        Envelope::Batches => (1_000, 60_000),
    }
}

/// The plan's steps.
pub(super) fn steps(context: &Context<'_>, placed: &[Placed]) -> Result<Vec<Step>> {
    let width = placed.len().to_string().len().max(2);
    let each = placed.iter().enumerate();
    let mut steps: Vec<Step> =
        each.map(|(at, placed)| step(context, placed, &format!("{:0width$}", at + 1))).collect::<Result<_>>()?;
    for (at, placed) in placed.iter().enumerate() {
        if let [Proto { undo_along: Some(undo), .. }] = placed.protos.as_slice()
            && placed.carried_back.is_empty()
        {
            take_along(&mut steps, at, undo);
        }
    }
    Ok(steps)
}

/// What takes one step back takes away what an earlier one made, which then need not be made again only to be taken back itself.
/// Nothing between them may be about the same table as a whole.
fn take_along(steps: &mut [Step], at: usize, undo: &[String]) {
    let taken = steps[at].effects.iter().find_map(|delta| match delta {
        Delta::Index { table, name, before: Some(_), after: None } => Some((table.clone(), name.clone())),
        _ => None,
    });
    let Some((on, index)) = taken.filter(|_| steps[at].phase != Phase::Contract) else { return };
    let made = |step: &Step| {
        let makes = |delta: &Delta| matches!(delta, Delta::Index { table, name, before: None, .. } if *table == on && *name == index);
        step.phase != Phase::Contract && step.effects.iter().any(makes)
    };
    let Some(first) = steps[..at].iter().position(made) else { return };
    let whole = |step: &Step| step.effects.iter().any(|delta| matches!(delta, Delta::Table { .. }));
    if steps[first + 1..at].iter().any(whole) {
        return;
    }
    steps[at].undo_takes = vec![steps[first].id.clone()];
    steps[at].undo = undo.to_vec();
}

fn step(context: &Context<'_>, placed: &Placed, number: &str) -> Result<Step> {
    let first = &placed.protos[0];
    let (action, undo) = work(context, placed)?;
    let join = |text: fn(&Proto) -> &str| {
        let mut parts: Vec<_> = placed.protos.iter().map(text).collect();
        parts.dedup();
        parts.join("; ")
    };
    let slug = match placed.protos.as_slice() {
        [only] => only.slug.clone(),
        _ => {
            let what = if matches!(first.work, Work::Alter { .. }) { "retype" } else { "rebuild" };
            super::context::slug(&[what, &first.table().to_string()])
        }
    };
    let (lock_timeout_ms, statement_timeout_ms) = timeouts_of(context, &placed.protos);
    let mut hazards: Vec<Hazard> = Vec::new();
    for hazard in placed
        .protos
        .iter()
        .flat_map(|p| of_proto(p, placed.phase))
        .chain(hazards_of(context, placed))
        .chain(carried_hazard(placed))
    {
        if !hazards.contains(&hazard) {
            hazards.push(hazard);
        }
    }
    let dangers = probes::dangers(context, placed);
    for hazard in dangers.iter().filter_map(|danger| danger.hazard.clone()) {
        if !hazards.contains(&hazard) {
            hazards.push(hazard);
        }
    }
    // Without a window nobody takes a contract phase back.
    let one_way = placed.protos.iter().any(|p| p.undo.is_none()) || context.request.options.undo_window.is_zero();
    let undo = if placed.phase == Phase::Contract && one_way { None } else { undo };
    Ok(Step {
        id: format!("{number}-{slug}"),
        phase: placed.phase,
        title: join(|p| &p.title),
        cause: join(|p| &p.cause),
        envelope: first.envelope,
        action,
        locks: locks(placed, context),
        rewrites: placed.protos.iter().any(|p| p.rewrites),
        scans: placed.protos.iter().any(|p| p.scans) || fills_again(placed),
        rebuilds_indexes: placed.protos.iter().any(|p| p.rebuilds_indexes) || builds_again(placed),
        hazards,
        probes: dangers.into_iter().filter_map(|danger| danger.probe).collect(),
        only_while_small: only_while_small(context, placed),
        lock_timeout_ms,
        statement_timeout_ms,
        done_when: first.done_when.clone(),
        clean_up: first.clean_up.clone(),
        stopped_by: first.stopped_by.clone(),
        undoable: undo.is_some(),
        keeps: placed.protos.iter().flat_map(|p| p.keeps.clone()).collect(),
        undo_loses: match placed.phase {
            Phase::Contract => Vec::new(),
            _ => placed.protos.iter().flat_map(|p| p.undo_loses.clone()).collect(),
        },
        undo_takes: Vec::new(),
        undo_probes: if undo.is_some() { first.undo_probes.clone() } else { Vec::new() },
        undo_proof: if undo.is_some() { first.undo_proof.clone() } else { Vec::new() },
        undo: undo.unwrap_or_default(),
        effects: placed.deltas.iter().filter(|delta| context.speaks_of(delta)).cloned().collect(),
    })
}

/// So many rows are gone through in the time for which others wait for any step.
const GROWN: u64 = 100_000;

/// Whether the tables are small that the step goes through while others wait. Where the engine has a way beside them for most
/// changes, no such step goes through a large one unless somebody says so, whatever the plan knew; where it has none, those that
/// were small when it was made are looked at.
fn only_while_small<'p>(context: &Context<'_>, placed: &'p Placed) -> Vec<Probe> {
    let refilled = fills_again(placed);
    let goes_through =
        |p: &Proto| p.envelope == Envelope::Transaction && (p.rewrites || p.scans || p.rebuilds_indexes || refilled);
    let protos = placed.protos.iter().filter(|p| goes_through(p));
    // A step that takes a partition away reads those that refer to its rows, and neither its parent nor more of itself than its key.
    let known = |table: &ObjectName| context.base.table(table);
    let is_parent = |table: &ObjectName| known(table).is_some_and(|t| t.partition_by.is_some());
    let leaves =
        |p: &Proto| !p.rewrites && !p.rebuilds_indexes && known(p.table()).is_some_and(|t| t.partition_of.is_some());
    let reads = |p: &'p Proto| {
        let leaves = leaves(p);
        p.touches.iter().filter(move |table| if *table == p.table() { !leaves } else { !is_parent(table) })
    };
    let tables: BTreeSet<&ObjectName> = protos.flat_map(reads).collect();
    let counts = |table: &ObjectName| context.caps.alter_constraints || context.is_small(table);
    // Under the name that it has then. What the plan itself makes is empty.
    let was_there = |table: &ObjectName| context.base.table(table).is_some();
    let there = tables.into_iter().filter(|t| placed.before.table(t).is_some() && was_there(t) && counts(t));
    let probe = |table: &ObjectName| Probe {
        finds: format!("`{table}` is large"),
        sql: format!(
            "SELECT 'more than {GROWN} rows' FROM (SELECT count(*) AS schemadiff_count FROM (SELECT 1 FROM {} LIMIT {}) \
             AS schemadiff_rows) AS schemadiff_counted WHERE schemadiff_count > {GROWN}",
            context.ddl.name(table),
            GROWN + 1
        ),
    };
    there.map(probe).collect()
}

/// A step that rewrites or scans under its lock takes as long as it takes.
fn timeouts_of(context: &Context<'_>, protos: &[Proto]) -> (u64, u64) {
    let first = &protos[0];
    let (lock, statement) = timeouts(first.envelope);
    let long = protos.iter().any(|p| p.rewrites || p.scans) && !context.is_small(first.table());
    if long && first.envelope == Envelope::Transaction { (lock, 0) } else { (lock, statement) }
}

fn of_proto(proto: &Proto, phase: Phase) -> impl Iterator<Item = Hazard> {
    let late = if phase == Phase::Contract { proto.contract_hazards.clone() } else { Vec::new() };
    proto.hazards.clone().into_iter().chain(late)
}

/// What is made again is gone for nobody, but is locked for as long as the step takes.
/// Whether a materialized view is made again, which reads what it shows.
fn fills_again(placed: &Placed) -> bool {
    placed.again.iter().any(|object| object.key.kind == ObjectKind::MaterializedView)
}

/// And its indexes with it.
fn builds_again(placed: &Placed) -> bool {
    let indexed = |object: &Shared<Object>| object.completed_by.iter().any(|statement| statement.contains(" INDEX "));
    fills_again(placed) && placed.again.iter().any(indexed)
}

fn carried_hazard(placed: &Placed) -> Option<Hazard> {
    let names: Vec<String> = placed.carried.iter().map(|object| object.key.to_string()).collect();
    (!names.is_empty()).then(|| hazard::made_again::hazard(&names.join(", ")))
}

fn hazards_of(context: &Context<'_>, placed: &Placed) -> Option<Hazard> {
    let first = &placed.protos[0];
    let table = first.table();
    (matches!(first.work, Work::Rebuild { .. }) && !context.is_small(table))
        .then(|| hazard::rebuilds_table::hazard(table, context.rows(table)))
}

fn locks(placed: &Placed, context: &Context<'_>) -> Vec<Lock> {
    let mut locks: Vec<Lock> = Vec::new();
    let rebuilds = placed.protos.iter().filter(|p| matches!(p.work, Work::Rebuild { .. }));
    let rebuilds = rebuilds.flat_map(|p| context.ddl.locks("rebuild", p.table(), &[]));
    let away = placed.carried.iter().flat_map(|object| context.ddl.object_locks(object, false));
    let carried = away.chain(placed.again.iter().flat_map(|object| context.ddl.object_locks(object, true)));
    for lock in placed.protos.iter().flat_map(|p| p.locks.clone()).chain(rebuilds).chain(carried) {
        match locks.iter_mut().find(|l| l.relation == lock.relation) {
            Some(held) if strength(&lock.mode) > strength(&held.mode) => *held = lock,
            Some(_) => {}
            None => locks.push(lock),
        }
    }
    locks
}

/// Strongest last; a mode of another engine counts as the strongest.
fn strength(mode: &str) -> usize {
    const MODES: [&str; 8] = [
        "AccessShare",
        "RowShare",
        "RowExclusive",
        "ShareUpdateExclusive",
        "Share",
        "ShareRowExclusive",
        "Exclusive",
        "AccessExclusive",
    ];
    MODES.iter().position(|m| *m == mode).unwrap_or(MODES.len())
}

fn work(context: &Context<'_>, placed: &Placed) -> Result<(Action, Option<Vec<String>>)> {
    let first = &placed.protos[0];
    match &first.work {
        Work::Sql(statements) => {
            let around = |away: &[_], again: &[_], statements: &Vec<String>| {
                carried::around(context.ddl, away, again, statements.clone())
            };
            let back = |statements| around(&placed.carried_back, &placed.carried_back, statements);
            let forth = around(&placed.carried, &placed.again, statements);
            Ok((Action::Sql(forth), first.undo.as_ref().map(back)))
        }
        Work::Alter { .. } => {
            let statements = altered(context, &placed.protos);
            Ok((Action::Sql(carried::around(context.ddl, &placed.carried, &placed.again, statements)), None))
        }
        Work::Generated(generated) => Ok((Action::Generated(generated.clone()), first.undo.clone())),
        Work::Backfill(fills) => {
            let key = context.key(first.table())?;
            let (set, pending) = merged(context, fills);
            let name = &first.touches[0];
            let compared: Vec<_> = fills.iter().filter_map(|fill| fill.compared.clone()).collect();
            let exprs: Vec<&str> = fills.iter().map(|fill| fill.expr.as_str()).collect();
            let own: Vec<&str> = fills.iter().filter_map(|fill| fill.sync.as_deref()).collect();
            let backfill = Backfill {
                restored_by: restored_by(context, placed, &own),
                quiet: quiet(context, placed, &own),
                comparison: (!compared.is_empty()).then(|| context.ddl.comparison(name, &key, &compared)),
                evaluate_sql: Some(context.ddl.evaluation(name, &key, &exprs)),
                ..context.ddl.backfill(name, &key, &set, &pending)
            };
            Ok((Action::Backfill(backfill), Some(Vec::new())))
        }
        Work::Given(fills) => {
            let own: Vec<&str> = fills.iter().map(|fill| fill.sync.as_str()).collect();
            let (restored_by, quiet) = (restored_by(context, placed, &own), quiet(context, placed, &own));
            let given = given(context, first.table(), &first.touches[0], fills)?;
            Ok((Action::Backfill(Backfill { restored_by, quiet, ..given }), Some(Vec::new())))
        }
        Work::Rebuild { .. } => {
            let copies = |back: bool| -> Vec<(String, String)> {
                let of = |p: &Proto| match &p.work {
                    Work::Rebuild { copy, copy_back } => if back { copy_back } else { copy }.clone(),
                    Work::Sql(_) | Work::Alter { .. } | Work::Generated(_) | Work::Backfill(_) | Work::Given(_) => {
                        Vec::new()
                    }
                };
                placed.protos.iter().flat_map(of).collect()
            };
            let tables = (table_of(&placed.before, first.table()), table_of(&placed.after, first.table()));
            let (Some(before), Some(after)) = tables else { return Ok((Action::Sql(Vec::new()), None)) };
            let forth = context.ddl.rebuild(before, after, &copies(false), &dependents(context, before, after));
            let back = context.ddl.rebuild(after, before, &copies(true), &dependents(context, after, before));
            let beside = |side: fn(&Proto) -> &Vec<String>| placed.protos.iter().flat_map(side).cloned();
            let forth = beside(|p| &p.beside.0).chain(forth).collect();
            let back = back.into_iter().chain(beside(|p| &p.beside.1)).collect();
            Ok((Action::Sql(forth), Some(back)))
        }
    }
}

/// One statement for all parts, what goes before all of them, and what comes after. What two need is done once.
fn altered(context: &Context<'_>, protos: &[Proto]) -> Vec<String> {
    let [mut before, mut changes, mut after] = [Vec::<String>::new(), Vec::new(), Vec::new()];
    for proto in protos {
        let Work::Alter { before: first, parts, after: then } = &proto.work else { continue };
        for (all, own) in [(&mut before, first), (&mut changes, parts), (&mut after, then)] {
            let new: Vec<String> = own.iter().filter(|statement| !all.contains(statement)).cloned().collect();
            all.extend(new);
        }
    }
    [before, vec![context.ddl.alter_table(protos[0].table(), &changes)], after].concat()
}

fn table_of<'s>(schema: &'s Schema, name: &ObjectName) -> Option<&'s Table> {
    schema.table(name)
}

fn dependents(context: &Context<'_>, before: &Table, after: &Table) -> Dependents {
    let kept = before.syncs.keys().chain(after.syncs.keys().filter(|name| !before.syncs.contains_key(*name)));
    Dependents { syncs: kept.filter_map(|name| context.syncs.get(name).cloned()).collect() }
}

/// One call gives all of these columns.
fn given(context: &Context<'_>, table: &ObjectName, name: &ObjectName, fills: &[GivenFill]) -> Result<Backfill> {
    let key = context.key(table)?;
    let (by, reads) = fills.first().map(|fill| (fill.by.clone(), fill.reads.clone())).unwrap_or_default();
    let gives: Vec<_> = fills.iter().map(|fill| fill.gives.clone()).collect();
    let set: Vec<_> = fills.iter().map(|fill| fill.assignment.clone()).collect();
    let pending: Vec<_> = gives.iter().map(|c| format!("{} IS NULL", context.ddl.ident(&c.name))).collect();
    let spec = GivenSpec { by: &by, reads: &reads, gives: &gives, set: &set };
    Ok(context.ddl.backfill_with(name, &key, &spec, &pending.join(" OR ")))
}

/// The trigger that puts back what others make of the rows. Only where every trigger of the migration on the table belongs to
/// the step: one that does not may have seen what is put back. In contract it is gone.
fn restored_by(context: &Context<'_>, placed: &Placed, own: &[&str]) -> Option<String> {
    let table = placed.protos[0].table();
    let others = context.syncs.values().any(|sync| sync.table == *table && !own.contains(&sync.name.as_str()));
    if others || placed.phase == Phase::Contract { None } else { context.ddl.restores(&mut own.iter().copied()) }
}

/// The step's own triggers, where they can be told to be quiet: each would find that the row has what it would give.
fn quiet(context: &Context<'_>, placed: &Placed, own: &[&str]) -> Vec<String> {
    let gone = placed.phase == Phase::Contract || !context.caps.quiet_triggers;
    if gone { Vec::new() } else { own.iter().map(|name| (*name).to_owned()).collect() }
}

/// Several fills in one pass. A row that waits for one value keeps the others it has.
fn merged(context: &Context<'_>, fills: &[Fill]) -> (Vec<Assignment>, String) {
    if let [only] = fills {
        return (vec![only.assignment.clone()], only.pending.clone());
    }
    let keep = |fill: &Fill| {
        let column = context.ddl.ident(&fill.assignment.column);
        Assignment {
            column: fill.assignment.column.clone(),
            expr: format!("COALESCE({column}, {})", fill.assignment.expr),
            not_null: fill.assignment.not_null,
        }
    };
    let pending: Vec<_> = fills.iter().map(|fill| format!("({})", fill.pending)).collect();
    (fills.iter().map(keep).collect(), pending.join(" OR "))
}
