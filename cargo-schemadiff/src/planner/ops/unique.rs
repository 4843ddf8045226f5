//! Unique constraints: a unique index built while the table is in use, then adopted by the constraint.

use schemadiff::model::{Deferrable, ObjectName, Table, Unique};

use super::{comment, index, naming, partition, rekey};
use crate::{
    Result, hazard,
    planner::{
        context::{Context, on, slug, temporary},
        proto::{Proto, rank, tag},
    },
};

pub(super) fn plan(
    cx: &mut Context<'_>,
    table: &ObjectName,
    name: &str,
    before: Option<&Unique>,
    after: Option<&Unique>,
) -> Result<()> {
    if !cx.caps.alter_constraints {
        rebuild(cx, table, name, before, after);
        return Ok(());
    }
    if after.is_some_and(|u| index::shadowed(cx, table, &columns(u))) {
        return Ok(()); // the operation that changes the column's type makes it
    }
    let is_held = !naming::holders(cx, table, name).is_empty();
    match (before, after) {
        (None, None) => {}
        (None, Some(after)) if is_held => under_interim(cx, table, name, after)?,
        (Some(before), Some(after)) if bare(before) == bare(after) => {
            comment::constraint(cx, table, name, after.comment.as_deref(), comment::Of::Unique);
        }
        (None, Some(after)) if partition::is_partitioned(cx, table) => {
            partition::unique(cx, table, name, after);
            if after.comment.is_some() {
                comment::constraint(cx, table, name, after.comment.as_deref(), comment::Of::Unique);
            }
        }
        (Some(before), Some(after)) if partition::is_partitioned(cx, table) => {
            replace_on_each(cx, table, name, before, after)?;
        }
        (before, Some(after)) if at_once(cx, table, before.map(|u| u.deferrable), after.deferrable) => {
            make_at_once(cx, table, name, before, after)?;
        }
        (None, Some(after)) => {
            index::create(cx, table, name, &index::behind_unique(after));
            adopt(cx, table, name, name, None, after)?;
        }
        (Some(before), None) => drop_unique(cx, table, name, before)?,
        (Some(before), Some(after)) if index::retyped(cx, table, &columns(before)) => {
            // The server would build the old one anew with the column: it goes before, and the new one comes after.
            drop_unique(cx, table, name, before)?;
            index::create(cx, table, name, &index::behind_unique(after));
            adopt(cx, table, name, name, None, after)?;
        }
        (Some(before), Some(after)) => {
            let interim = temporary(name);
            index::create(cx, table, &interim, &index::behind_unique(after));
            adopt(cx, table, name, &interim, Some(before), after)?;
        }
    }
    Ok(())
}

/// Something else has the name until it goes.
fn under_interim(cx: &mut Context<'_>, table: &ObjectName, name: &str, after: &Unique) -> Result<()> {
    let interim = temporary(name);
    plan(cx, table, &interim, None, Some(&bare(after)))?;
    let made = [tag::step(&slug(&["add-unique", &interim]))];
    let effect = {
        let (interim, name, after) = (interim.clone(), name.to_owned(), after.clone());
        move |t: &mut Table| {
            t.uniques.remove(&interim);
            t.uniques.insert(name.clone(), after.clone());
        }
    };
    naming::take(cx, table, "unique constraint", [&interim, name], after.comment.as_deref(), made, effect);
    Ok(())
}

fn columns(unique: &Unique) -> Vec<String> {
    unique.columns.iter().chain(&unique.include).cloned().collect()
}

fn bare(unique: &Unique) -> Unique {
    Unique { comment: None, ..unique.clone() }
}

/// Whether a key is made in one transaction with its index. A unique index that is built beside writers is checked at once,
/// which a transaction that defers the check of its key does not survive; on a small table there is no need for one.
pub(super) fn at_once(cx: &Context<'_>, table: &ObjectName, before: Option<Deferrable>, after: Deferrable) -> bool {
    after != Deferrable::No && before != Some(Deferrable::No) && cx.is_small(table)
}

fn make_at_once(
    cx: &mut Context<'_>,
    table: &ObjectName,
    name: &str,
    before: Option<&Unique>,
    after: &Unique,
) -> Result<()> {
    let drop_old = if before.is_some() { cx.ddl.drop_constraint(table, name) } else { Vec::new() };
    let commented = |unique: &Unique| -> Vec<String> {
        let text = unique.comment.as_deref();
        text.iter().flat_map(|text| cx.ddl.comment_on_constraint(table, name, Some(text))).collect()
    };
    let sql = [drop_old, cx.ddl.add_unique(table, name, after), commented(after)].concat();
    let mut undo = cx.ddl.drop_constraint(table, name);
    if let Some(before) = before {
        undo.extend(cx.ddl.add_unique(table, name, before));
        undo.extend(commented(before));
    }
    let id = slug(&["add-unique", name]);
    let what = after.columns.join(", ");
    let step = Proto::new(rank::CONSTRAINT, &id, format!("make ({what}) of `{table}` unique as `{name}`"), table)
        .sql(sql)
        .undo(undo)
        .scans()
        .locks(cx.ddl.locks("add_unique_using_index", table, &[]))
        .in_contract(hazard::late_deferral::of(table, &what, before.map(|u| u.deferrable), after.deferrable))
        .effect({
            let (name, after) = (name.to_owned(), after.clone());
            on(table, move |t| drop(t.uniques.insert(name.clone(), after.clone())))
        })
        .tags([tag::adds(table), tag::step(&id)])
        .tags(before.into_iter().flat_map(columns).map(|c| tag::unused(table, &c)))
        .prepares(before.into_iter().flat_map(columns).any(|c| cx.goes(table, &c)))
        .after_all([tag::freed(table, name), tag::unreferenced(table)])
        .after_all(columns(after).iter().map(|c| tag::filled(table, c)));
    let step = if before.is_some() { step.rebuilds_indexes() } else { step };
    cx.push(step);
    Ok(())
}

/// The constraint takes the index over, and in the same transaction the place of the one it replaces.
fn adopt(
    cx: &mut Context<'_>,
    table: &ObjectName,
    name: &str,
    index: &str,
    old: Option<&Unique>,
    new: &Unique,
) -> Result<()> {
    let mut sql = Vec::new();
    if old.is_some() {
        sql.extend(cx.ddl.drop_constraint(table, name));
    }
    sql.extend(cx.ddl.add_unique_using_index(table, name, new, index));
    sql.extend(new.comment.iter().flat_map(|text| cx.ddl.comment_on_constraint(table, name, Some(text))));
    // Dropping the constraint drops the index it took over.
    let dropped = cx.ddl.drop_constraint(table, name);
    let mut undo = dropped.clone();
    undo.extend(cx.ddl.create_index(table, index, &index::behind_unique(new), false));
    if let Some(old) = old {
        undo.extend(cx.ddl.create_index(table, name, &index::behind_unique(old), false));
        undo.extend(cx.ddl.add_unique_using_index(table, name, old, name));
        undo.extend(old.comment.iter().flat_map(|text| cx.ddl.comment_on_constraint(table, name, Some(text))));
    }
    let id = slug(&["add-unique", name]);
    let what = new.columns.join(", ");
    let step = Proto::new(rank::CONSTRAINT, &id, format!("make ({what}) of `{table}` unique as `{name}`"), table)
        .sql(sql)
        .undo(undo)
        .locks(cx.ddl.locks("add_unique_using_index", table, &[]))
        .effect({
            let (name, index, new) = (name.to_owned(), index.to_owned(), new.clone());
            on(table, move |t| {
                t.indexes.remove(&index);
                t.uniques.insert(name.clone(), new.clone());
            })
        })
        .in_contract(hazard::late_deferral::of(table, &what, old.map(|u| u.deferrable), new.deferrable))
        .tag(tag::step(&id))
        .after(tag::step(&slug(&["create-index", index])));
    let step = match old {
        Some(old) => step
            .tags(columns(old).iter().map(|c| tag::unused(table, c)))
            .prepares(columns(old).iter().any(|c| cx.goes(table, c)))
            .after(tag::unreferenced(table)),
        None => step.tags([tag::keys(table), tag::adds(table)]).undo_along(dropped),
    };
    match old {
        Some(old) => {
            let standing = rekey::standing(cx, table, name, &old.columns)?;
            rekey::carry(cx, step, standing);
        }
        None => cx.push(step),
    }
    Ok(())
}

/// The new constraint is there under another name before the old one goes.
fn replace_on_each(
    cx: &mut Context<'_>,
    table: &ObjectName,
    name: &str,
    before: &Unique,
    after: &Unique,
) -> Result<()> {
    let interim = temporary(name);
    partition::unique(cx, table, &interim, after);
    let mut sql = cx.ddl.drop_constraint(table, name);
    sql.extend(cx.ddl.rename_constraint(table, &interim, name));
    sql.extend(after.comment.iter().flat_map(|text| cx.ddl.comment_on_constraint(table, name, Some(text))));
    let id = slug(&["replace-unique", name]);
    let step = Proto::new(rank::REMOVE, id, format!("let the new unique constraint take the name `{name}`"), table)
        .sql(sql)
        .no_undo()
        .locks(cx.ddl.locks("drop_constraint", table, &[]))
        .effect({
            let (name, interim, after) = (name.to_owned(), interim.clone(), after.clone());
            on(table, move |t| {
                t.uniques.remove(&interim);
                t.uniques.insert(name.clone(), after.clone());
            })
        })
        .tags(columns(before).iter().map(|c| tag::unused(table, c)))
        // It cannot be taken back without reading every partition under a lock.
        .prepares(true)
        .after_all([tag::unreferenced(table), tag::step(&slug(&["add-unique", &interim]))]);
    let standing = rekey::standing(cx, table, name, &before.columns)?;
    rekey::carry(cx, step, standing);
    Ok(())
}

fn drop_unique(cx: &mut Context<'_>, table: &ObjectName, name: &str, before: &Unique) -> Result<()> {
    let id = slug(&["drop-unique", name]);
    let covered = columns(before);
    let clears_the_way = covered.iter().any(|c| cx.goes(table, c)) || index::retyped(cx, table, &covered);
    let stays = index::stays(cx, table, name, &index::behind_unique(before));
    // Where another key allows the same rows, old code may still name this one (ON CONFLICT ON CONSTRAINT), and taking it back
    // would build its index under a lock.
    let waits = clears_the_way || stays.is_none();
    let mut undo = cx.ddl.create_index(table, name, &index::behind_unique(before), false);
    undo.extend(cx.ddl.add_unique_using_index(table, name, before, name));
    undo.extend(before.comment.iter().flat_map(|text| cx.ddl.comment_on_constraint(table, name, Some(text))));
    let step = Proto::new(rank::REMOVE, id, format!("drop unique constraint `{name}` on `{table}`"), table)
        .sql(cx.ddl.drop_constraint(table, name))
        .undo(undo)
        .locks(cx.ddl.locks("drop_constraint", table, &[]))
        .effect({
            let name = name.to_owned();
            on(table, move |t| drop(t.uniques.remove(&name)))
        })
        .tag(tag::freed(table, name))
        .tags(covered.iter().map(|c| tag::unused(table, c)))
        .after(tag::unreferenced(table))
        .in_contract(stays)
        .prepares(waits)
        // The server lets a partitioned table's constraint adopt no index.
        .one_way(partition::is_partitioned(cx, table));
    let step = if index::retyped(cx, table, &covered) { step } else { step.after(tag::adds(table)) };
    let standing = rekey::standing(cx, table, name, &before.columns)?;
    rekey::carry(cx, step, standing);
    Ok(())
}

/// Part of the table's definition: it changes with a rebuild.
fn rebuild(cx: &mut Context<'_>, table: &ObjectName, name: &str, before: Option<&Unique>, after: Option<&Unique>) {
    let id = slug(&["unique", name]);
    let (old, new) = (before.map(columns).unwrap_or_default(), after.map(columns).unwrap_or_default());
    let rank = if after.is_some() { rank::CONSTRAINT } else { rank::REMOVE_COLUMN };
    let step = Proto::new(rank, id, format!("change unique constraint `{name}` on `{table}`"), table)
        .effect({
            let (name, after) = (name.to_owned(), after.cloned());
            on(table, move |t| {
                match &after {
                    Some(unique) => drop(t.uniques.insert(name.clone(), unique.clone())),
                    None => drop(t.uniques.remove(&name)),
                };
            })
        })
        .tags(old.iter().map(|c| tag::unused(table, c)))
        .after_all(new.iter().map(|c| tag::filled(table, c)));
    let step = cx.rebuild(step, Vec::new());
    cx.push(step);
}
