//! Check constraints: NOT VALID first, which counts for new writes at once and reads nothing, then VALIDATE, which reads
//! everything and blocks nobody. A replacement is valid before the old one goes. Where neither the old nor the new check
//! follows from the other, one that is either of them stands in for both while both versions run.

use schemadiff::{
    model::{self, Check, ObjectName, Table, expr, implies},
    plan::{Envelope, Probe},
};

use super::{comment, index, naming};
use crate::{
    hazard,
    planner::{
        context::{Context, on, slug, temporary},
        probes,
        proto::{Proto, rank, tag},
    },
};

pub(super) fn plan(
    cx: &mut Context<'_>,
    table: &ObjectName,
    name: &str,
    before: Option<&Check>,
    after: Option<&Check>,
) {
    if !cx.caps.alter_constraints {
        return by_rebuild(cx, table, name, before, after);
    }
    if after.is_some_and(|c| index::shadowed(cx, table, &columns_of(cx, table, &c.expr))) {
        return; // the operation that changes the column's type makes it
    }
    match (before, after) {
        (None, None) => {}
        (None, Some(after)) if naming::is_held_here(cx, table, name) => under_interim(cx, table, name, after),
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
        (Some(before), Some(after)) => match either(cx, table, before, after) {
            Some(either) => {
                let either = Check { not_valid: true, comment: before.comment.clone(), ..either };
                loosen(cx, table, name, before, &either, after);
                replace(cx, table, name, &either, after);
            }
            None => replace(cx, table, name, before, after),
        },
    }
}

/// Something else has the name until it goes.
fn under_interim(cx: &mut Context<'_>, table: &ObjectName, name: &str, after: &Check) {
    let interim = temporary(name);
    add(cx, table, &interim, &Check { comment: None, ..after.clone() });
    let made = ["add-check", "validate"].map(|what| tag::step(&slug(&[what, &interim])));
    let effect = {
        let (interim, name, after) = (interim.clone(), name.to_owned(), after.clone());
        move |t: &mut Table| {
            t.checks.remove(&interim);
            t.checks.insert(name.clone(), after.clone());
        }
    };
    naming::take(cx, table, "check constraint", [&interim, name], after.comment.as_deref(), made, effect);
}

/// Whether rows that fulfil `a` fulfil `b`, as far as their words show it.
fn follows(cx: &Context<'_>, table: &ObjectName, a: &Check, b: &Check) -> bool {
    let columns = [cx.before(table), cx.after(table)].into_iter().flatten().flat_map(|t| t.columns.iter().cloned());
    implies(cx.ddl.dialect(), &columns.collect::<Vec<_>>(), &a.expr, &b.expr)
}

/// What both versions may write while both run, where it is neither what the old check lets in nor what the new one does.
fn either(cx: &Context<'_>, table: &ObjectName, before: &Check, after: &Check) -> Option<Check> {
    if follows(cx, table, before, after) || follows(cx, table, after, before) {
        return None;
    }
    let dialect = cx.ddl.dialect();
    Some(Check { expr: model::either(dialect, &before.expr, &after.expr), comment: None, ..after.clone() })
}

/// The tag of the step after which the new version may write what its check lets in.
fn loosened(name: &str) -> String {
    tag::step(&slug(&["loosen-check", name]))
}

/// Puts a check that is either of the two in the place of the old one. It is not proven: it only counts for new writes, and
/// rows that exist fulfil the old one.
fn loosen(cx: &mut Context<'_>, table: &ObjectName, name: &str, before: &Check, either: &Check, after: &Check) {
    let mut sql = cx.ddl.drop_constraint(table, name);
    sql.extend(cx.ddl.add_check(table, name, either));
    let mut undo = cx.ddl.drop_constraint(table, name);
    let (unproven, proof) = back(cx, table, name, before);
    undo.extend(cx.ddl.add_check(table, name, &unproven));
    for (statements, check) in [(&mut sql, either), (&mut undo, before)] {
        statements.extend(check.comment.iter().flat_map(|text| cx.ddl.comment_on_constraint(table, name, Some(text))));
    }
    let step = loosening(cx, table, name, either, after)
        .sql(sql)
        .undo(undo)
        .undo_proof(proof)
        .undo_probes(violating(cx, table, before))
        .locks(cx.ddl.locks("add_check", table, &[]))
        .locks(cx.ddl.locks("drop_constraint", table, &[]));
    cx.push(step);
}

/// How a check that a step removes comes back: for new writes first, and then proven, because looking at all rows must not
/// lock anybody out.
fn back(cx: &Context<'_>, table: &ObjectName, name: &str, before: &Check) -> (Check, Vec<String>) {
    let unproven = Check { not_valid: before.not_valid || cx.caps.not_valid, ..before.clone() };
    let proof = if unproven.not_valid == before.not_valid { Vec::new() } else { cx.ddl.validate(table, name) };
    (unproven, proof)
}

/// Rows that new code has written meanwhile.
fn violating(cx: &Context<'_>, table: &ObjectName, check: &Check) -> Option<Probe> {
    let there = cx.before(table).filter(|_| cx.caps.not_valid && !check.not_valid)?;
    Some(Probe {
        finds: format!("rows of `{table}` that violate `{}`", check.expr),
        sql: format!(
            "SELECT {} FROM {} WHERE NOT ({}) LIMIT 5",
            probes::row_name(cx, there),
            cx.ddl.name(table),
            check.expr
        ),
    })
}

fn loosening(cx: &Context<'_>, table: &ObjectName, name: &str, either: &Check, after: &Check) -> Proto {
    let title = format!("let `{name}` on `{table}` allow what the old and what the new check allows");
    Proto::new(rank::CONSTRAINT, slug(&["loosen-check", name]), title, table)
        .hazard([hazard::unknown_values::hazard(table, name)])
        .effect({
            let (name, either) = (name.to_owned(), either.clone());
            on(table, move |t| drop(t.checks.insert(name.clone(), either.clone())))
        })
        .tag(loosened(name))
        .tag(tag::adds(table))
        .after_all(columns_of(cx, table, &after.expr).iter().map(|c| tag::filled(table, c)))
        .after(tag::TYPES.to_owned())
}

/// Whether only comment and validity differ, in the direction that can be reached in place.
pub(super) fn same_rule(before: &Check, after: &Check) -> bool {
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
    let (unproven, proof) = back(cx, table, name, before);
    undo.extend(cx.ddl.add_check(table, name, &unproven));
    let id = slug(&["replace-check", name]);
    let covered = columns_of(cx, table, &before.expr);
    let ready = ["add-check", "validate"].map(|what| tag::step(&slug(&[what, &interim])));
    let step = Proto::new(rank::REMOVE, id, format!("let the new check take the name `{name}`"), table)
        .sql(sql)
        .undo(undo)
        .undo_proof(proof)
        .undo_probes(violating(cx, table, before))
        .locks(cx.ddl.locks("drop_constraint", table, &[]))
        .effect({
            let (name, after) = (name.to_owned(), after.clone());
            on(table, move |t| {
                t.checks.remove(&interim);
                t.checks.insert(name.clone(), after.clone());
            })
        })
        .hazard(follows(cx, table, before, after).then(|| hazard::unknown_values::hazard(table, name)))
        .tags(covered.iter().map(|c| tag::unused(table, c)))
        .prepares(covered.iter().any(|c| cx.goes(table, c)))
        .after(loosened(name))
        .after_all(ready);
    cx.push(step);
}

fn drop_check(cx: &mut Context<'_>, table: &ObjectName, name: &str, before: &Check, first: bool) {
    let id = slug(&["drop-check", name]);
    let covered = columns_of(cx, table, &before.expr);
    let first = first || index::retyped(cx, table, &covered);
    // Through a column that is kept in step with its new name the check would refuse what new code may write, unless that has
    // a check of its own which lets in no more: then there is always one of the two.
    let goes = |c: &String| cx.goes(table, c) && !cx.is_renamed(table, c);
    let clears_the_way = first || covered.iter().any(goes) || is_succeeded(cx, table, name, before);
    let (unproven, proof) = back(cx, table, name, before);
    let mut undo = cx.ddl.add_check(table, name, &unproven);
    undo.extend(before.comment.iter().flat_map(|text| cx.ddl.comment_on_constraint(table, name, Some(text))));
    let step = Proto::new(rank::REMOVE, id, format!("drop check `{name}` on `{table}`"), table)
        .sql(cx.ddl.drop_constraint(table, name))
        .undo(undo)
        .undo_proof(proof)
        .undo_probes(violating(cx, table, before))
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

/// Whether the table gets a check that lets in no more than this one, which then stays until code is gone that knows it alone.
fn is_succeeded(cx: &Context<'_>, table: &ObjectName, name: &str, before: &Check) -> bool {
    let (Some(was), Some(shall)) = (cx.before(table), cx.after(table)) else { return false };
    let renamed = cx.request.hints.renamed_columns.iter().filter(|((of, _), _)| of == table);
    let follow = |text: String, ((_, new), old): (&(ObjectName, String), &String)| expr::rename_column(&text, old, new);
    let expr = renamed.fold(before.expr.clone(), follow);
    let by_then = Check { expr, ..before.clone() };
    let comes = |(other, check): &(&String, &Check)| *other != name && was.checks.get(*other) != Some(check);
    shall.checks.iter().filter(comes).any(|(_, check)| follows(cx, table, check, &by_then))
}

/// Part of the table's definition: it changes with a rebuild.
fn by_rebuild(cx: &mut Context<'_>, table: &ObjectName, name: &str, before: Option<&Check>, after: Option<&Check>) {
    let (Some(old), Some(new)) = (before, after) else { return rebuild(cx, table, name, before, after) };
    match either(cx, table, old, new) {
        Some(either) => {
            let step = loosening(cx, table, name, &either, new);
            let step = cx.rebuild(step, Vec::new());
            cx.push(step);
            rebuild(cx, table, name, Some(&either), after);
        }
        None => rebuild(cx, table, name, before, after),
    }
}

fn rebuild(cx: &mut Context<'_>, table: &ObjectName, name: &str, before: Option<&Check>, after: Option<&Check>) {
    let id = slug(&["check", name]);
    let uses = |check: Option<&Check>| check.map(|c| columns_of(cx, table, &c.expr)).unwrap_or_default();
    let (old, new) = (uses(before), uses(after));
    let loosens = before.zip(after).is_some_and(|(old, new)| follows(cx, table, old, new));
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
        .hazard(loosens.then(|| hazard::unknown_values::hazard(table, name)))
        .tags(old.iter().map(|c| tag::unused(table, c)))
        .prepares(after.is_none() && old.iter().any(|c| cx.goes(table, c)))
        .after(loosened(name))
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
    let mut all: Vec<String> = cx.whole(table).flat_map(|t| columns(&t, condition)).collect();
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
