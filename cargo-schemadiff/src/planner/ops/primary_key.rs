//! The primary key: a unique index first, adopted by the key. Replacing one is a single short transaction.

use schemadiff::model::{Column, Index, ObjectName, PrimaryKey, Table};

use super::{comment, index, naming, partition, rekey, rename, unique};
use crate::{
    Error, Kind, Result, hazard,
    planner::{
        context::{Context, on, slug, temporary},
        proto::{Proto, rank, tag},
    },
};

pub(super) fn plan(
    cx: &mut Context<'_>,
    table: &ObjectName,
    before: Option<&PrimaryKey>,
    after: Option<&PrimaryKey>,
) -> Result<()> {
    if !cx.caps.alter_constraints {
        rebuild(cx, table, before, after);
        return Ok(());
    }
    let held = after.map(|key| holders(cx, table, before, &name_of(cx, table, key))).unwrap_or_default();
    match (before, after) {
        (None, None) => {}
        (Some(before), Some(after)) if bare(before) == bare(after) => {
            if name_of(cx, table, before) != name_of(cx, table, after) {
                rename(cx, table, before, after);
            }
            if before.comment != after.comment {
                commented(cx, table, after);
            }
        }
        (before, Some(after)) if !held.is_empty() => under_interim(cx, table, before, after)?,
        (None, Some(after)) if partition::is_partitioned(cx, table) => {
            partition::primary_key(cx, table, after);
            if after.comment.is_some() {
                commented(cx, table, after);
            }
        }
        (Some(before), Some(after)) if partition::is_partitioned(cx, table) => {
            return Err(cannot_replace(table, before, after));
        }
        (before, Some(after)) if unique::at_once(cx, table, before.map(|key| key.deferrable), after.deferrable) => {
            make_at_once(cx, table, before, after);
        }
        (Some(before), Some(after)) if index::retyped(cx, table, &before.columns) => {
            // The server would build the old one anew with the column: it goes before, and the new one comes after.
            drop_key(cx, table, before)?;
            let name = name_of(cx, table, after);
            index::create(cx, table, &name, &behind(after));
            adopt(cx, table, &name, None, after)?;
        }
        (before, Some(after)) => {
            let name = name_of(cx, table, after);
            let taken = before.is_some_and(|key| name_of(cx, table, key) == name);
            let interim = if taken { temporary(&name) } else { name };
            index::create(cx, table, &interim, &behind(after));
            adopt(cx, table, &interim, before, after)?;
        }
        (Some(before), None) => drop_key(cx, table, before)?,
    }
    Ok(())
}

fn cannot_replace(table: &ObjectName, before: &PrimaryKey, after: &PrimaryKey) -> Error {
    let columns = |key: &PrimaryKey| key.columns.join(", ");
    let change = if before.columns == after.columns {
        format!("({}) in its INCLUDE columns or when it is checked", columns(before))
    } else {
        format!("from ({}) to ({})", columns(before), columns(after))
    };
    Error::new(
        Kind::Refused,
        "SD0620",
        format!("the primary key of partitioned table `{table}` cannot change {change} in one step"),
    )
    .cause("a partitioned table cannot adopt an index as its primary key, so it would be without one for as long as it takes to build")
    .help("make the new columns a unique constraint in this migration, drop the primary key in the next, and add the new one then")
}

/// The key without what is no part of its rule.
fn bare(key: &PrimaryKey) -> PrimaryKey {
    PrimaryKey { name: None, comment: None, ..key.clone() }
}

fn commented(cx: &mut Context<'_>, table: &ObjectName, key: &PrimaryKey) {
    let name = name_of(cx, table, key);
    comment::constraint(cx, table, &name, key.comment.as_deref(), comment::Of::PrimaryKey);
}

pub(super) fn name_of(cx: &Context<'_>, table: &ObjectName, key: &PrimaryKey) -> String {
    key.name.clone().unwrap_or_else(|| cx.ddl.default_name(&table.name, &[], "pkey"))
}

pub(super) fn behind(key: &PrimaryKey) -> Index {
    Index { include: key.include.clone(), ..Index::over(&key.columns) }
}

/// All columns that it holds.
fn covered(key: &PrimaryKey) -> impl Iterator<Item = &String> {
    key.columns.iter().chain(&key.include)
}

fn rename(cx: &mut Context<'_>, table: &ObjectName, before: &PrimaryKey, after: &PrimaryKey) {
    let (from, to) = (name_of(cx, table, before), name_of(cx, table, after));
    let one = |[from, to]: [&str; 2], then: Option<&String>| {
        let id = slug(&["rename-constraint", to]);
        let name = then.cloned();
        Proto::new(rank::CONSTRAINT, id, format!("rename the primary key of `{table}` to `{to}`"), table)
            .sql(cx.ddl.rename_constraint(table, from, to))
            .undo(cx.ddl.rename_constraint(table, to, from))
            .locks(cx.ddl.locks("rename_constraint", table, &[]))
            // Old code's `ON CONFLICT ON CONSTRAINT` needs the old name to the end.
            .prepares(true)
            .in_contract([hazard::conflict_target::by_name(table, to)])
            .effect(on(table, move |t| {
                if let Some(key) = &mut t.primary_key {
                    key.name.clone_from(&name);
                }
            }))
    };
    let done = tag::step(&format!("renamed {to}"));
    let free = naming::free(&holders(cx, table, Some(before), &to), &to);
    if rename::opens_circle(cx, table, &from) {
        let aside = temporary(&to);
        let first = one([&from, &aside], Some(&aside)).tags([tag::freed(table, &from), tag::step(&aside)]);
        let second = one([&aside, &to], after.name.as_ref()).tag(done).after(tag::step(&aside)).after_all(free);
        cx.push(first);
        cx.push(second);
        return;
    }
    let step = one([&from, &to], after.name.as_ref()).tags([tag::freed(table, &from), done]).after_all(free);
    cx.push(step);
}

/// The two names of a key that is the same but for its name.
pub(super) fn renamed(
    cx: &Context<'_>,
    table: &ObjectName,
    before: Option<&PrimaryKey>,
    after: Option<&PrimaryKey>,
) -> Option<[String; 2]> {
    let (before, after) = before.zip(after).filter(|(before, after)| bare(before) == bare(after))?;
    let names = [name_of(cx, table, before), name_of(cx, table, after)];
    (names[0] != names[1]).then_some(names)
}

/// See [`unique::at_once`].
fn make_at_once(cx: &mut Context<'_>, table: &ObjectName, before: Option<&PrimaryKey>, after: &PrimaryKey) {
    let named = |key: &PrimaryKey| name_of(cx, table, key);
    let commented = |key: &PrimaryKey| -> Vec<String> {
        let text = key.comment.as_deref();
        text.iter().flat_map(|text| cx.ddl.comment_on_constraint(table, &named(key), Some(text))).collect()
    };
    let dropped = |key: &PrimaryKey| cx.ddl.drop_constraint(table, &named(key));
    let made = |key: &PrimaryKey| [cx.ddl.add_primary_key(table, key), commented(key)].concat();
    let sql = [before.map(dropped).unwrap_or_default(), made(after)].concat();
    let undo = [dropped(after), before.map(made).unwrap_or_default()].concat();
    let what = after.columns.join(", ");
    let key = after.clone();
    let step = Proto::new(
        rank::CONSTRAINT,
        slug(&["primary-key", &table.to_string()]),
        format!("make ({what}) the primary key of `{table}`"),
        table,
    )
    .sql(sql)
    .undo(undo)
    .scans()
    .locks(cx.ddl.locks("add_primary_key_using_index", table, &[]))
    .in_contract(hazard::late_deferral::of(table, &what, before.map(|key| key.deferrable), after.deferrable))
    .effect(on(table, move |t| t.primary_key = Some(key.clone())))
    .tags([tag::adds(table), tag::primary_key(table)])
    .tags(before.iter().map(|key| tag::freed(table, &named(key))))
    .tags(before.into_iter().flat_map(covered).map(|c| tag::unused(table, c)))
    .after(tag::unreferenced(table))
    .after_all(covered(after).map(|c| tag::filled(table, c)));
    let step = if before.is_some() { step.rebuilds_indexes() } else { step };
    cx.push(step);
}

fn adopt(
    cx: &mut Context<'_>,
    table: &ObjectName,
    index: &str,
    before: Option<&PrimaryKey>,
    after: &PrimaryKey,
) -> Result<()> {
    let name = name_of(cx, table, after);
    let mut sql = Vec::new();
    if let Some(before) = before {
        sql.extend(cx.ddl.drop_constraint(table, &name_of(cx, table, before)));
    }
    sql.extend(cx.ddl.add_primary_key_using_index(table, after, index));
    sql.extend(after.comment.iter().flat_map(|text| cx.ddl.comment_on_constraint(table, &name, Some(text))));
    let dropped = cx.ddl.drop_constraint(table, &name);
    let mut undo = dropped.clone();
    undo.extend(cx.ddl.create_index(table, index, &behind(after), false));
    if let Some(before) = before {
        let old = name_of(cx, table, before);
        undo.extend(cx.ddl.create_index(table, &old, &behind(before), false));
        undo.extend(cx.ddl.add_primary_key_using_index(table, before, &old));
        undo.extend(before.comment.iter().flat_map(|text| cx.ddl.comment_on_constraint(table, &old, Some(text))));
    }
    let id = slug(&["primary-key", &table.to_string()]);
    let what = after.columns.join(", ");
    let title = format!("make ({what}) the primary key of `{table}`");
    let step = Proto::new(rank::CONSTRAINT, id, title, table)
        .sql(sql)
        .undo(undo)
        .locks(cx.ddl.locks("add_primary_key_using_index", table, &[]))
        .effect({
            let (index, key) = (index.to_owned(), after.clone());
            on(table, move |t| {
                t.indexes.remove(&index);
                t.primary_key = Some(key.clone());
            })
        })
        .in_contract(hazard::late_deferral::of(table, &what, before.map(|key| key.deferrable), after.deferrable))
        .tags(before.into_iter().flat_map(covered).map(|c| tag::unused(table, c)))
        .after_all(covered(after).map(|c| tag::filled(table, c)))
        .tag(tag::primary_key(table))
        .after_all([tag::unreferenced(table), tag::step(&slug(&["create-index", index]))]);
    let Some(before) = before else {
        let step = step.undo_along(dropped);
        cx.push(step.tag(tag::adds(table)));
        return Ok(());
    };
    let old = name_of(cx, table, before);
    let standing = rekey::standing(cx, table, &old, &before.columns)?;
    rekey::carry(cx, step.tag(tag::freed(table, &old)), standing);
    Ok(())
}

/// The tables on which something else has the name that the key gets.
fn holders(cx: &Context<'_>, table: &ObjectName, before: Option<&PrimaryKey>, name: &str) -> Vec<ObjectName> {
    match before {
        Some(before) if name_of(cx, table, before) == name => Vec::new(),
        _ => naming::holders(cx, table, name),
    }
}

/// Something else has the name until it goes.
fn under_interim(
    cx: &mut Context<'_>,
    table: &ObjectName,
    before: Option<&PrimaryKey>,
    after: &PrimaryKey,
) -> Result<()> {
    let name = name_of(cx, table, after);
    let interim = temporary(&name);
    plan(cx, table, before, Some(&PrimaryKey { name: Some(interim.clone()), comment: None, ..after.clone() }))?;
    let made = [tag::primary_key(table)];
    let key = after.clone();
    let effect = move |t: &mut Table| t.primary_key = Some(key.clone());
    naming::take(cx, table, "primary key", [&interim, &name], after.comment.as_deref(), made, effect);
    Ok(())
}

fn drop_key(cx: &mut Context<'_>, table: &ObjectName, before: &PrimaryKey) -> Result<()> {
    let name = name_of(cx, table, before);
    let mut undo = cx.ddl.create_index(table, &name, &behind(before), false);
    undo.extend(cx.ddl.add_primary_key_using_index(table, before, &name));
    undo.extend(before.comment.iter().flat_map(|text| cx.ddl.comment_on_constraint(table, &name, Some(text))));
    let step = Proto::new(
        rank::REMOVE,
        slug(&["drop-primary-key", &table.to_string()]),
        format!("drop the primary key of `{table}`"),
        table,
    )
    .sql(cx.ddl.drop_constraint(table, &name))
    .undo(undo)
    .locks(cx.ddl.locks("drop_constraint", table, &[]))
    .effect(on(table, |t| t.primary_key = None))
    .tags(covered(before).map(|c| tag::unused(table, c)))
    .tag(tag::freed(table, &name))
    .after(tag::unreferenced(table));
    let step = match index::retyped(cx, table, &before.columns) {
        true => step.prepares(true),
        false => step.after(tag::adds(table)),
    };
    // The server lets a partitioned table's key adopt no index.
    let step = step.one_way(partition::is_partitioned(cx, table));
    let standing = rekey::standing(cx, table, &name, &before.columns)?;
    rekey::carry(cx, step, standing);
    Ok(())
}

/// Whether a column begins or ceases to be numbered because it begins or ceases to be the key, where the engine numbers
/// nothing else.
pub(super) fn numbered_by_key(cx: &Context<'_>, table: &ObjectName, after: &Column) -> bool {
    let (Some(old), Some(new)) = (cx.before(table), cx.after(table)) else { return false };
    let columns = |t: &Table| t.primary_key.as_ref().map(|key| key.columns.clone());
    let turns = |before: &Column| before.identity.is_some() != after.identity.is_some();
    !cx.caps.alter_column && columns(old) != columns(new) && old.column(&after.name).is_some_and(turns)
}

/// Part of the table's definition: it changes with a rebuild.
fn rebuild(cx: &mut Context<'_>, table: &ObjectName, before: Option<&PrimaryKey>, after: Option<&PrimaryKey>) {
    let id = slug(&["primary-key", &table.to_string()]);
    let key = after.cloned();
    // Which column is numbered follows from the key.
    let shall = cx.after(table).into_iter().flat_map(|t| &t.columns).filter(|c| numbered_by_key(cx, table, c));
    let numbered: Vec<_> = shall.map(|c| (c.name.clone(), c.identity.clone())).collect();
    let columns = |key: Option<&PrimaryKey>| key.map(|k| k.columns.clone()).unwrap_or_default();
    let step = Proto::new(rank::CONSTRAINT, id, format!("change the primary key of `{table}`"), table)
        .effect(on(table, move |t| {
            t.primary_key.clone_from(&key);
            for column in &mut t.columns {
                if let Some((_, identity)) = numbered.iter().find(|(name, _)| *name == column.name) {
                    column.identity.clone_from(identity);
                }
            }
        }))
        .tag(tag::primary_key(table))
        .tags(columns(before).iter().map(|c| tag::unused(table, c)))
        .after_all(columns(after).iter().map(|c| tag::filled(table, c)))
        .after(tag::unreferenced(table));
    let step = cx.rebuild(step, Vec::new());
    cx.push(step);
}
