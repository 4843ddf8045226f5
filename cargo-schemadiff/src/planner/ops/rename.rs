//! Rename an index or a constraint: only the name changes.

use schemadiff::model::{Deferrable, ObjectName, Table};

use super::{naming, rekey};
use crate::{
    diff::{Change, Renamable},
    hazard,
    planner::{
        context::{Context, slug, temporary},
        proto::{Proto, rank, tag},
    },
};

pub(super) fn plan(cx: &mut Context<'_>, table: &ObjectName, kind: Renamable, from: &str, to: &str) {
    let free = naming::free(&naming::holders(cx, table, to), to);
    let validated = tag::step(&slug(&["validate", from]));
    if opens_circle(cx, table, from) {
        let (interim, id) = (temporary(to), slug(&["rename", from, "aside"]));
        let first = step(cx, table, kind, &id, from, [from, &interim]).tag(tag::freed(table, from)).after(validated);
        let second = step(cx, table, kind, &slug(&["rename", to]), from, [&interim, to]);
        cx.push(first.tag(tag::step(&id)));
        cx.push(second.after(tag::step(&id)).after_all(free));
        return;
    }
    let step = step(cx, table, kind, &slug(&["rename", to]), from, [from, to]).tag(tag::freed(table, from));
    // Steps know it by its old name.
    cx.push(step.after_all(free).after(validated));
}

/// Names that change places wait for each other: one of them, the first, steps aside.
pub(super) fn opens_circle(cx: &Context<'_>, table: &ObjectName, from: &str) -> bool {
    let start = (table.clone(), from.to_owned());
    let (mut at, mut first) = (start.clone(), start.clone());
    // No circle is longer than all renames.
    for _ in 0..cx.renames.len() {
        let Some(to) = cx.renames.get(&at) else { return false };
        let holders = naming::holders(cx, &at.0, to).into_iter().map(|holder| (holder, to.clone()));
        let Some(next) = holders.into_iter().find(|held| cx.renames.contains_key(held)) else { return false };
        if next == start {
            return first == start;
        }
        first = first.min(next.clone());
        at = next;
    }
    false
}

/// One step from a name to another, of what was called `was` before the plan.
fn step(cx: &Context<'_>, table: &ObjectName, kind: Renamable, id: &str, was: &str, [from, to]: [&str; 2]) -> Proto {
    let change = Change::Rename { table: table.clone(), kind, from: from.to_owned(), to: to.to_owned() };
    let title = format!("rename {} `{from}` to `{to}`", kind.as_str());
    let step = Proto::new(rank::CONSTRAINT, id, title, table).effect(move |schema| change.apply_to(schema));
    match kind {
        Renamable::Index => index(cx, step, table, was, [from, to]),
        Renamable::Unique | Renamable::Check | Renamable::Exclusion | Renamable::ForeignKey => {
            let key = cx.before(table).and_then(|t| t.foreign_keys.get(was)).filter(|_| kind == Renamable::ForeignKey);
            let step = step.after_all(key.and_then(|k| rekey::comes_first(cx, &k.ref_table, &k.ref_columns)));
            let locks = cx.ddl.locks("rename_constraint", table, &[]);
            let undo = cx.ddl.rename_constraint(table, to, from);
            let step = match is_named_by_code(cx, table, kind, was) {
                true => step.prepares(true).in_contract([hazard::conflict_target::by_name(table, to)]),
                false => step,
            };
            cx.in_place(step.locks(locks), cx.ddl.rename_constraint(table, from, to), undo)
        }
    }
}

/// Whether statements may name it: `ON CONFLICT ON CONSTRAINT`, `SET CONSTRAINTS`. Then old code's need the old name to the end.
fn is_named_by_code(cx: &Context<'_>, table: &ObjectName, kind: Renamable, name: &str) -> bool {
    let deferrable = |t: &Table| t.foreign_keys.get(name).is_some_and(|key| key.deferrable != Deferrable::No);
    cx.caps.named_constraints
        && match kind {
            Renamable::Unique | Renamable::Exclusion => true,
            Renamable::ForeignKey => cx.before(table).is_some_and(deferrable),
            Renamable::Check | Renamable::Index => false,
        }
}

fn index(cx: &Context<'_>, step: Proto, table: &ObjectName, was: &str, [from, to]: [&str; 2]) -> Proto {
    let step = step.locks(cx.ddl.locks("rename_index", table, &[]));
    let Some(index) = cx.before(table).and_then(|t: &Table| t.indexes.get(was)) else { return step };
    if index.constraint {
        return cx.rebuild(step, Vec::new());
    }
    if cx.caps.named_constraints {
        return step.sql(cx.ddl.rename_index(table, from, to)).undo(cx.ddl.rename_index(table, to, from));
    }
    // Without a statement for it: made again under the other name, in one transaction.
    let again = |from: &str, to: &str| {
        let mut sql = cx.ddl.drop_index(table, from, false);
        sql.extend(cx.ddl.create_index(table, to, index, false));
        sql
    };
    step.sql(again(from, to)).undo(again(to, from)).scans()
}
