//! Create, drop and replace an index. Where the engine can, concurrently, and a replacement is there before the old one
//! goes: never a moment without index.

use schemadiff::{
    model::{Index, ObjectName, Table, Unique, expr},
    plan::{Envelope, Hazard},
};

use super::{comment, naming, partition, rekey};
use crate::{
    Result,
    dialect::PerPartition,
    hazard,
    planner::{
        context::{Context, Retype, on, slug, temporary},
        proto::{Proto, rank, tag},
    },
};

pub(super) fn plan(
    cx: &mut Context<'_>,
    table: &ObjectName,
    name: &str,
    before: Option<&Index>,
    after: Option<&Index>,
) -> Result<()> {
    if after.is_some_and(|i| shadowed(cx, table, &columns_of(cx, table, i))) {
        return Ok(()); // the operation that changes the column's type makes it
    }
    match (before, after) {
        (None, None) => {}
        (None, Some(after)) if cx.caps.concurrent_indexes && !naming::holders(cx, table, name).is_empty() => {
            // Something else has the name until it goes.
            let interim = temporary(name);
            create(cx, table, &interim, after);
            take_name(cx, table, name, &interim);
            commented(cx, table, name, after);
        }
        (None, Some(after)) => {
            create(cx, table, name, after);
            commented(cx, table, name, after);
        }
        (Some(before), None) => {
            let first = retyped(cx, table, &columns_of(cx, table, before));
            drop_index(cx, table, name, before, first)?;
        }
        (Some(before), Some(after)) if bare(before) == bare(after) => {
            comment::index(cx, table, name, after.comment.as_deref());
        }
        (Some(before), Some(after)) => replace(cx, table, name, before, after)?,
    }
    Ok(())
}

fn bare(index: &Index) -> Index {
    Index { comment: None, ..index.clone() }
}

fn commented(cx: &mut Context<'_>, table: &ObjectName, name: &str, index: &Index) {
    if index.comment.is_some() && cx.caps.comments {
        comment::index(cx, table, name, index.comment.as_deref());
    }
}

fn replace(cx: &mut Context<'_>, table: &ObjectName, name: &str, before: &Index, after: &Index) -> Result<()> {
    let changes_under_it = retyped(cx, table, &columns_of(cx, table, before));
    let moves = columns_of(cx, table, before).iter().any(|c| cx.goes(table, c));
    if moves && !cx.caps.concurrent_indexes {
        replace_with_column(cx, table, name, before, after);
        return Ok(());
    }
    if before.constraint || after.constraint || !cx.caps.concurrent_indexes {
        replace_at_once(cx, table, name, before, after);
        return Ok(());
    }
    if changes_under_it {
        // The server would rebuild the old one with the column: it goes before, and the new one comes after.
        drop_index(cx, table, name, before, true)?;
        create(cx, table, name, after);
        commented(cx, table, name, after);
        return Ok(());
    }
    let interim = temporary(name);
    create(cx, table, &interim, after);
    drop_index(cx, table, name, before, false)?;
    take_name(cx, table, name, &interim);
    commented(cx, table, name, after);
    Ok(())
}

/// Whether every statement that one index makes quick is quick with the other.
fn serves_as(new: &Index, old: &Index) -> bool {
    let first = new.parts.len() >= old.parts.len() && new.parts[..old.parts.len()] == old.parts[..];
    let covers =
        old.include.iter().all(|c| new.include.contains(c) || new.parts.iter().any(|p| p.column.as_ref() == Some(c)));
    first && covers && new.method == old.method && (new.predicate.is_none() || new.predicate == old.predicate)
}

/// The index takes the name when that is free.
fn take_name(cx: &mut Context<'_>, table: &ObjectName, name: &str, interim: &str) {
    let id = slug(&["rename-index", name]);
    let step = Proto::new(rank::REMOVE, id, format!("give the new index the name `{name}`"), table)
        .sql(cx.ddl.rename_index(table, interim, name))
        .undo(cx.ddl.rename_index(table, name, interim))
        .locks(cx.ddl.locks("rename_index", table, &[]))
        .effect({
            let (interim, name) = (interim.to_owned(), name.to_owned());
            on(table, move |t| {
                if let Some(index) = t.indexes.remove(&interim) {
                    t.indexes.insert(name.clone(), index);
                }
            })
        })
        .tag(tag::step(&format!("renamed {name}")))
        .after_all(naming::free(&naming::holders(cx, table, name), name))
        .after_all([tag::freed(table, name), tag::step(&slug(&["create-index", interim]))]);
    cx.push(step);
}

/// An index on a column that takes over from another one, where indexes cannot be renamed: a stand-in serves new code until
/// contract, where the rebuild that drops the old column makes all indexes anew anyway.
fn replace_with_column(cx: &mut Context<'_>, table: &ObjectName, name: &str, before: &Index, after: &Index) {
    let interim = temporary(name);
    create(cx, table, &interim, &Index { constraint: false, ..after.clone() });
    let id = slug(&["replace-index", name]);
    let old = columns_of(cx, table, before);
    let step = Proto::new(rank::REMOVE, &id, format!("let the new index take the name `{name}`"), table)
        .effect({
            let (name, after) = (name.to_owned(), after.clone());
            on(table, move |t| {
                t.indexes.remove(&interim);
                t.indexes.insert(name.clone(), after.clone());
            })
        })
        .tags(old.iter().map(|c| tag::unused(table, c)))
        .after_all([tag::step(&slug(&["create-index", &temporary(name)])), tag::adds(table)])
        .prepares(true);
    let step = cx.rebuild(step, Vec::new());
    cx.push(step);
}

/// Both statements in one transaction.
fn replace_at_once(cx: &mut Context<'_>, table: &ObjectName, name: &str, before: &Index, after: &Index) {
    let id = slug(&["replace-index", name]);
    let (old, new) = (columns_of(cx, table, before), columns_of(cx, table, after));
    let step = Proto::new(rank::INDEX, id, format!("replace index `{name}` on `{table}`"), table)
        .locks(cx.ddl.locks("create_index", table, &[]))
        .effect({
            let (name, after) = (name.to_owned(), after.clone());
            on(table, move |t| drop(t.indexes.insert(name.clone(), after.clone())))
        })
        .tag(tag::adds(table))
        .tags(old.iter().map(|c| tag::unused(table, c)))
        .after_all(new.iter().map(|c| tag::filled(table, c)));
    let step = if before.constraint || after.constraint {
        cx.rebuild(step, Vec::new())
    } else {
        let both = |to: &Index| {
            let mut sql = cx.ddl.drop_index(table, name, false);
            sql.extend(cx.ddl.create_index(table, name, to, false));
            sql
        };
        step.sql(both(after)).undo(both(before)).scans().hazard(build_hazard(cx, table))
    };
    cx.push(step);
}

fn build_hazard(cx: &Context<'_>, table: &ObjectName) -> Option<Hazard> {
    (!cx.caps.concurrent_indexes && !cx.is_small(table)).then(|| hazard::builds_index::hazard(table, cx.rows(table)))
}

fn key_text(index: &Index) -> String {
    let parts = index.parts.iter().filter_map(|p| p.column.as_deref().or(p.expr.as_deref()));
    parts.collect::<Vec<_>>().join(", ")
}

/// Creates an index under a name, after the columns it covers are filled.
pub(super) fn create(cx: &mut Context<'_>, table: &ObjectName, name: &str, index: &Index) {
    let id = slug(&["create-index", name]);
    let covered = columns_of(cx, table, index);
    let built = Index { comment: None, invalid: false, ..index.clone() };
    let concurrent = cx.caps.concurrent_indexes;
    let kind = if index.unique { "unique index" } else { "index" };
    let mut step = Proto::new(rank::INDEX, &id, format!("create {kind} `{name}` on `{table}`"), table)
        .sql(cx.ddl.create_index(table, name, &built, concurrent))
        .undo(cx.ddl.drop_index(table, name, concurrent))
        .effect({
            let (name, built) = (name.to_owned(), built.clone());
            on(table, move |t| drop(t.indexes.insert(name.clone(), built.clone())))
        })
        .scans()
        .hazard(build_hazard(cx, table))
        .tag(tag::adds(table))
        .tag(tag::step(&id))
        .after(tag::freed(table, name))
        .after_all(naming::free(&naming::holders(cx, table, name), name))
        .after_all(covered.iter().map(|c| tag::filled(table, c)));
    if index.unique {
        step = step.tags([tag::keys(table), tag::indexed(table)]).after(tag::left(table));
    }
    step = if partition::is_partitioned(cx, table) {
        step.title += ", partition by partition";
        partition::step(cx, step.locks(cx.ddl.locks("create_index", table, &[])), &PerPartition::Index(name, &built))
    } else if concurrent {
        step.envelope(Envelope::Concurrent)
            .locks(cx.ddl.locks("create_index_concurrently", table, &[]))
            .done_when(cx.ddl.index_is_valid(table, name, &built))
            .clean_up(cx.ddl.clear_index(table, name, &built))
            .stopped_by(cx.ddl.index_name_taken(table, name, &built))
    } else {
        step.locks(cx.ddl.locks("create_index", table, &[]))
    };
    step = step.in_contract(index.unique.then(|| hazard::conflict_target::hazard(table, &key_text(index))));
    if index.constraint {
        step = cx.rebuild(step, Vec::new());
    }
    cx.push(step);
}

/// Drops an index after all that come instead of it are there.
pub(super) fn drop_index(
    cx: &mut Context<'_>,
    table: &ObjectName,
    name: &str,
    index: &Index,
    first: bool,
) -> Result<()> {
    let standing = match (index.unique, cx.caps.concurrent_indexes) {
        (true, true) => rekey::standing(cx, table, name, &plain_columns(index))?,
        _ => Vec::new(),
    };
    let id = slug(&["drop-index", name]);
    let covered = columns_of(cx, table, index);
    // The index of a partitioned table cannot be dropped concurrently; those of its partitions go with it.
    let concurrent = cx.caps.concurrent_indexes && !partition::is_partitioned(cx, table) && standing.is_empty();
    let clears_the_way = first || covered.iter().any(|c| cx.goes(table, c));
    // Statements of old code may need it to be quick, and the one of its name that comes is of no use to them.
    let after = cx.after(table).and_then(|t| t.indexes.get(name)).filter(|_| !index.unique);
    let is_missed = after.is_some_and(|after| !serves_as(after, index));
    let mut undo = cx.ddl.create_index(table, name, index, concurrent);
    undo.extend(index.comment.iter().flat_map(|text| cx.ddl.comment_on_index(table, name, Some(text))));
    let mut step = Proto::new(rank::REMOVE, id, format!("drop index `{name}` on `{table}`"), table)
        .sql(cx.ddl.drop_index(table, name, concurrent))
        .undo(undo)
        .effect({
            let name = name.to_owned();
            on(table, move |t| drop(t.indexes.remove(&name)))
        })
        .tag(tag::freed(table, name))
        .tags(covered.iter().map(|c| tag::unused(table, c)))
        .prepares(clears_the_way || is_missed)
        // It would be built for all partitions while nobody can write to them.
        .one_way(partition::is_partitioned(cx, table));
    if !first {
        step = step.after(tag::adds(table));
    }
    if index.unique {
        step = step.after(tag::unreferenced(table)).in_contract(stays(cx, table, name, index));
    }
    step = if concurrent {
        step.envelope(Envelope::Concurrent)
            .locks(cx.ddl.locks("drop_index_concurrently", table, &[]))
            .done_when(cx.ddl.index_is_gone(table, name))
            .stopped_by(cx.ddl.index_name_taken(table, name, index))
    } else {
        step.locks(cx.ddl.locks("drop_index", table, &[]))
    };
    if index.constraint {
        step = cx.rebuild(step, Vec::new());
    }
    match index.unique {
        true => rekey::carry(cx, step, standing),
        false => cx.push(step),
    }
    Ok(())
}

/// What is to be said where new code has no such key any more.
pub(super) fn stays(cx: &Context<'_>, table: &ObjectName, name: &str, key: &Index) -> Option<Hazard> {
    let after = cx.after(table)?;
    let same = |other: &Index| {
        other.unique
            && other.parts.len() == key.parts.len()
            && key
                .parts
                .iter()
                .all(|part| other.parts.iter().any(|other| (&other.column, &other.expr) == (&part.column, &part.expr)))
            && other.predicate == key.predicate
    };
    let keys = after.uniques.values().map(behind_unique);
    let remains = after.indexes.values().cloned().chain(keys).any(|other| same(&other));
    let primary = after.primary_key.as_ref().is_some_and(|primary| {
        let columns = plain_columns(key);
        columns.len() == key.parts.len()
            && columns.len() == primary.columns.len()
            && columns.iter().all(|column| primary.columns.contains(column))
    });
    (!remains && !primary).then(|| hazard::key_stays::hazard(table, name))
}

/// The columns that an index is over, without expressions.
fn plain_columns(index: &Index) -> Vec<String> {
    index.parts.iter().filter_map(|part| part.column.clone()).collect()
}

/// The unique index that a unique constraint adopts.
pub(in crate::planner) fn behind_unique(unique: &Unique) -> Index {
    Index {
        include: unique.include.clone(),
        nulls_not_distinct: unique.nulls_not_distinct,
        ..Index::over(&unique.columns)
    }
}

/// All columns an index uses, in keys, expressions, INCLUDE and predicate.
pub(super) fn columns(table: &Table, index: &Index) -> Vec<String> {
    let texts: Vec<&String> = index.parts.iter().filter_map(|p| p.expr.as_ref()).chain(&index.predicate).collect();
    let uses = |name: &String| {
        index.parts.iter().any(|p| p.column.as_ref() == Some(name))
            || index.include.contains(name)
            || texts.iter().any(|text| expr::mentions(text, name))
    };
    table.columns.iter().map(|c| c.name.clone()).filter(|name| uses(name)).collect()
}

/// As [`columns`], for an index whose table may be known before the plan, after it, or as a stand-in column only.
pub(in crate::planner) fn columns_of(cx: &Context<'_>, table: &ObjectName, index: &Index) -> Vec<String> {
    let mut all: Vec<String> = index.parts.iter().filter_map(|p| p.column.clone()).collect();
    all.extend(index.include.iter().cloned());
    all.extend(cx.whole(table).flat_map(|t| columns(&t, index)));
    for ((_, _), how) in cx.retypes.iter().filter(|((t, _), _)| t == table) {
        let Retype::Shadow(shadow, _) = how else { continue };
        let texts = index.parts.iter().filter_map(|p| p.expr.as_ref()).chain(&index.predicate);
        if texts.into_iter().any(|text| expr::mentions(text, shadow)) {
            all.push(shadow.clone());
        }
    }
    all.sort();
    all.dedup();
    all
}

/// Whether one of the columns is being replaced by a stand-in.
pub(super) fn shadowed(cx: &Context<'_>, table: &ObjectName, columns: &[String]) -> bool {
    columns.iter().any(|c| matches!(cx.retypes.get(&(table.clone(), c.clone())), Some(Retype::Shadow(..))))
}

/// Whether one of the columns changes its type in place.
pub(super) fn retyped(cx: &Context<'_>, table: &ObjectName, columns: &[String]) -> bool {
    columns.iter().any(|c| matches!(cx.retypes.get(&(table.clone(), c.clone())), Some(Retype::InPlace)))
}
