//! Check constraints: NOT VALID first, which counts for new writes at once and reads nothing, then VALIDATE, which reads
//! everything and blocks nobody. A replacement is valid before the old one goes.

use schemadiff::{
    model::{Check, ObjectName, Table, expr},
    plan::Envelope,
};

use super::{comment, index};
use crate::planner::{
    context::{Context, on, slug, temporary},
    proto::{Proto, rank, tag},
};

pub(super) fn plan(
    cx: &mut Context<'_>,
    table: &ObjectName,
    name: &str,
    before: Option<&Check>,
    after: Option<&Check>,
) {
    if !cx.caps.alter_constraints {
        return rebuild(cx, table, name, before, after);
    }
    if after.is_some_and(|c| index::shadowed(cx, table, &columns_of(cx, table, &c.expr))) {
        return; // the operation that changes the column's type makes it
    }
    match (before, after) {
        (None, None) => {}
        (None, Some(after)) => {
            add(cx, table, name, after);
            commented(cx, table, name, after);
        }
        (Some(before), None) => drop_check(cx, table, name, before, false),
        (Some(before), Some(after)) if same_rule(before, after) => {
            if before.not_valid && !after.not_valid {
                validate(cx, table, name, before, Vec::new());
            }
            if before.comment != after.comment {
                comment::constraint(cx, table, name, after.comment.as_deref(), comment::Of::Check);
            }
        }
        (Some(before), Some(after)) if index::retyped(cx, table, &columns_of(cx, table, &before.expr)) => {
            drop_check(cx, table, name, before, true);
            add(cx, table, name, after);
            commented(cx, table, name, after);
        }
        (Some(before), Some(after)) => replace(cx, table, name, before, after),
    }
}

/// Whether only comment and validity differ, in the direction that can be reached in place.
fn same_rule(before: &Check, after: &Check) -> bool {
    before.expr == after.expr && before.no_inherit == after.no_inherit && (before.not_valid || !after.not_valid)
}

fn commented(cx: &mut Context<'_>, table: &ObjectName, name: &str, check: &Check) {
    if check.comment.is_some() && cx.caps.comments {
        comment::constraint(cx, table, name, check.comment.as_deref(), comment::Of::Check);
    }
}

/// Adds a check under a name: NOT VALID, then VALIDATE.
pub(super) fn add(cx: &mut Context<'_>, table: &ObjectName, name: &str, check: &Check) {
    let id = slug(&["add-check", name]);
    let unproven = Check { not_valid: true, comment: None, ..check.clone() };
    let covered = columns_of(cx, table, &check.expr);
    let mut step = Proto::new(rank::CONSTRAINT, &id, format!("check `{name}` on `{table}` for new writes"), table)
        .sql(cx.ddl.add_check(table, name, &unproven))
        .undo(cx.ddl.drop_constraint(table, name))
        .locks(cx.ddl.locks("add_check", table, &[]))
        .effect({
            let (name, unproven) = (name.to_owned(), unproven.clone());
            on(table, move |t| drop(t.checks.insert(name.clone(), unproven.clone())))
        })
        .tag(tag::step(&id))
        .tag(tag::adds(table))
        .after(tag::freed(table, name))
        .after_all(covered.iter().map(|c| tag::filled(table, c)));
    step.after.push(tag::TYPES.to_owned());
    cx.push(step);
    if !check.not_valid {
        validate(cx, table, name, &unproven, vec![tag::step(&id)]);
    }
}

fn validate(cx: &mut Context<'_>, table: &ObjectName, name: &str, unproven: &Check, after: Vec<String>) {
    let step = validation(cx, table, name, unproven).after_all(after);
    cx.push(step);
}

/// Proves a check again that the rows have never ceased to fulfil.
pub(super) fn validate_kept(cx: &mut Context<'_>, table: &ObjectName, name: &str, unproven: &Check, after: String) {
    let step = validation(cx, table, name, unproven).after(after);
    cx.push(step);
}

fn validation(cx: &Context<'_>, table: &ObjectName, name: &str, unproven: &Check) -> Proto {
    let id = slug(&["validate", name]);
    Proto::new(rank::CONSTRAINT, &id, format!("prove check `{name}` for the rows of `{table}`"), table)
        .envelope(Envelope::Long)
        .sql(cx.ddl.validate(table, name))
        .undo(super::super::synced::revalidate(cx, table, name, unproven))
        .locks(cx.ddl.locks("validate", table, &[]))
        .scans()
        .effect({
            let name = name.to_owned();
            on(table, move |t| {
                if let Some(check) = t.checks.get_mut(&name) {
                    check.not_valid = false;
                }
            })
        })
        .tag(tag::adds(table))
        .tag(tag::step(&id))
}

fn replace(cx: &mut Context<'_>, table: &ObjectName, name: &str, before: &Check, after: &Check) {
    let interim = temporary(name);
    add(cx, table, &interim, after);
    let mut sql = cx.ddl.drop_constraint(table, name);
    sql.extend(cx.ddl.rename_constraint(table, &interim, name));
    sql.extend(after.comment.iter().flat_map(|text| cx.ddl.comment_on_constraint(table, name, Some(text))));
    let mut undo = cx.ddl.rename_constraint(table, name, &interim);
    undo.extend(cx.ddl.add_check(table, name, before));
    let id = slug(&["replace-check", name]);
    let covered = columns_of(cx, table, &before.expr);
    let ready = ["add-check", "validate"].map(|what| tag::step(&slug(&[what, &interim])));
    let step = Proto::new(rank::REMOVE, id, format!("let the new check take the name `{name}`"), table)
        .sql(sql)
        .undo(undo)
        .locks(cx.ddl.locks("drop_constraint", table, &[]))
        .effect({
            let (name, after) = (name.to_owned(), after.clone());
            on(table, move |t| {
                t.checks.remove(&interim);
                t.checks.insert(name.clone(), after.clone());
            })
        })
        .tags(covered.iter().map(|c| tag::unused(table, c)))
        .prepares(covered.iter().any(|c| cx.goes(table, c)))
        .after_all(ready);
    cx.push(step);
}

fn drop_check(cx: &mut Context<'_>, table: &ObjectName, name: &str, before: &Check, first: bool) {
    let id = slug(&["drop-check", name]);
    let covered = columns_of(cx, table, &before.expr);
    let first = first || index::retyped(cx, table, &covered);
    let clears_the_way = first || covered.iter().any(|c| cx.goes(table, c));
    let step = Proto::new(rank::REMOVE, id, format!("drop check `{name}` on `{table}`"), table)
        .sql(cx.ddl.drop_constraint(table, name))
        .undo(cx.ddl.add_check(table, name, before))
        .locks(cx.ddl.locks("drop_constraint", table, &[]))
        .effect({
            let name = name.to_owned();
            on(table, move |t| drop(t.checks.remove(&name)))
        })
        .tag(tag::freed(table, name))
        .tags(covered.iter().map(|c| tag::unused(table, c)))
        .prepares(clears_the_way);
    cx.push(step);
}

/// Part of the table's definition: it changes with a rebuild.
fn rebuild(cx: &mut Context<'_>, table: &ObjectName, name: &str, before: Option<&Check>, after: Option<&Check>) {
    let id = slug(&["check", name]);
    let uses = |check: Option<&Check>| check.map(|c| columns_of(cx, table, &c.expr)).unwrap_or_default();
    let (old, new) = (uses(before), uses(after));
    let rank = if after.is_some() { rank::CONSTRAINT } else { rank::REMOVE_COLUMN };
    let step = Proto::new(rank, id, format!("change check `{name}` on `{table}`"), table)
        .effect({
            let (name, after) = (name.to_owned(), after.cloned());
            on(table, move |t| {
                match &after {
                    Some(check) => drop(t.checks.insert(name.clone(), check.clone())),
                    None => drop(t.checks.remove(&name)),
                };
            })
        })
        .tags(old.iter().map(|c| tag::unused(table, c)))
        .prepares(after.is_none() && old.iter().any(|c| cx.goes(table, c)))
        .after_all(new.iter().map(|c| tag::filled(table, c)));
    let step = cx.rebuild(step, Vec::new());
    cx.push(step);
}

/// The columns of the table that a condition mentions.
pub(super) fn columns(table: &Table, condition: &str) -> Vec<String> {
    let names = table.columns.iter().map(|c| c.name.clone());
    names.filter(|name| expr::mentions(condition, name)).collect()
}

pub(in crate::planner) fn columns_of(cx: &Context<'_>, table: &ObjectName, condition: &str) -> Vec<String> {
    let known = [cx.before(table), cx.after(table)];
    let mut all: Vec<String> = known.into_iter().flatten().flat_map(|t| columns(t, condition)).collect();
    for ((_, _), how) in cx.retypes.iter().filter(|((t, _), _)| t == table) {
        if let super::super::context::Retype::Shadow(shadow, _) = how
            && expr::mentions(condition, shadow)
        {
            all.push(shadow.clone());
        }
    }
    all.sort();
    all.dedup();
    all
}
