//! The primary key: a unique index first, adopted by the key. Replacing one is a single short transaction.

use schemadiff::model::{Index, ObjectName, PrimaryKey, Unique};

use super::{index, partition};
use crate::{
    Error, Kind, Result,
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
    match (before, after) {
        (None, None) => {}
        (Some(before), Some(after)) if before.columns == after.columns => rename(cx, table, before, after),
        (None, Some(after)) if partition::is_partitioned(cx, table) => partition::primary_key(cx, table, after),
        (Some(before), Some(after)) if partition::is_partitioned(cx, table) => {
            let columns = |key: &PrimaryKey| key.columns.join(", ");
            let change = format!("({}) to ({})", columns(before), columns(after));
            return Err(Error::new(
                Kind::Refused,
                "SD0620",
                format!("the primary key of partitioned table `{table}` cannot change from {change} in one step"),
            )
            .cause("a partitioned table cannot adopt an index as its primary key, so it would be without one for as long as it takes to build")
            .help("make the new columns a unique constraint in this migration, drop the primary key in the next, and add the new one then"));
        }
        (before, Some(after)) => {
            let name = name_of(cx, table, after);
            let taken = before.is_some_and(|key| name_of(cx, table, key) == name);
            let interim = if taken { temporary(&name) } else { name };
            index::create(cx, table, &interim, &behind(after));
            adopt(cx, table, &interim, before, after);
        }
        (Some(before), None) => drop_key(cx, table, before),
    }
    Ok(())
}

fn name_of(cx: &Context<'_>, table: &ObjectName, key: &PrimaryKey) -> String {
    key.name.clone().unwrap_or_else(|| cx.ddl.default_name(&table.name, &[], "pkey"))
}

fn behind(key: &PrimaryKey) -> Index {
    index::behind_unique(&Unique {
        columns: key.columns.clone(),
        include: Vec::new(),
        nulls_not_distinct: false,
        deferrable: Default::default(),
        comment: None,
    })
}

fn rename(cx: &mut Context<'_>, table: &ObjectName, before: &PrimaryKey, after: &PrimaryKey) {
    let (from, to) = (name_of(cx, table, before), name_of(cx, table, after));
    let id = slug(&["rename-constraint", &to]);
    let key = after.clone();
    let step = Proto::new(rank::CONSTRAINT, id, format!("rename the primary key of `{table}` to `{to}`"), table)
        .sql(cx.ddl.rename_constraint(table, &from, &to))
        .undo(cx.ddl.rename_constraint(table, &to, &from))
        .locks(cx.ddl.locks("rename_constraint", table, &[]))
        .effect(on(table, move |t| t.primary_key = Some(key.clone())));
    cx.push(step);
}

fn adopt(cx: &mut Context<'_>, table: &ObjectName, index: &str, before: Option<&PrimaryKey>, after: &PrimaryKey) {
    let name = name_of(cx, table, after);
    let mut sql = Vec::new();
    if let Some(before) = before {
        sql.extend(cx.ddl.drop_constraint(table, &name_of(cx, table, before)));
    }
    sql.extend(cx.ddl.add_primary_key_using_index(table, after, index));
    let mut undo = cx.ddl.drop_constraint(table, &name);
    undo.extend(cx.ddl.create_index(table, index, &behind(after), false));
    if let Some(before) = before {
        let old = name_of(cx, table, before);
        undo.extend(cx.ddl.create_index(table, &old, &behind(before), false));
        undo.extend(cx.ddl.add_primary_key_using_index(table, before, &old));
    }
    let id = slug(&["primary-key", &table.to_string()]);
    let title = format!("make ({}) the primary key of `{table}`", after.columns.join(", "));
    let old_columns = before.map(|key| key.columns.clone()).unwrap_or_default();
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
        .tags(old_columns.iter().map(|c| tag::unused(table, c)))
        .after_all(after.columns.iter().map(|c| tag::filled(table, c)))
        .after_all([tag::unreferenced(table), tag::step(&slug(&["create-index", index]))]);
    let step = if before.is_some() { step } else { step.tag(tag::adds(table)) };
    cx.push(step);
}

fn drop_key(cx: &mut Context<'_>, table: &ObjectName, before: &PrimaryKey) {
    let name = name_of(cx, table, before);
    let mut undo = cx.ddl.create_index(table, &name, &behind(before), false);
    undo.extend(cx.ddl.add_primary_key_using_index(table, before, &name));
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
    .tags(before.columns.iter().map(|c| tag::unused(table, c)))
    .after_all([tag::adds(table), tag::unreferenced(table)]);
    cx.push(step);
}

/// Part of the table's definition: it changes with a rebuild.
fn rebuild(cx: &mut Context<'_>, table: &ObjectName, before: Option<&PrimaryKey>, after: Option<&PrimaryKey>) {
    let id = slug(&["primary-key", &table.to_string()]);
    let key = after.cloned();
    let columns = |key: Option<&PrimaryKey>| key.map(|k| k.columns.clone()).unwrap_or_default();
    let step = Proto::new(rank::CONSTRAINT, id, format!("change the primary key of `{table}`"), table)
        .effect(on(table, move |t| t.primary_key.clone_from(&key)))
        .tags(columns(before).iter().map(|c| tag::unused(table, c)))
        .after_all(columns(after).iter().map(|c| tag::filled(table, c)))
        .after(tag::unreferenced(table));
    let step = cx.rebuild(step, Vec::new());
    cx.push(step);
}
