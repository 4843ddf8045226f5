//! Add a column whose values a function of the application gives.
//!
//! | phase | |
//! |---|---|
//! | expand | add it nullable, with a trigger that takes a value away when what it was computed from changes |
//! | backfill | the application gives the rows that exist their value |
//! | contract | drop the trigger (nobody is left who does not know the column), and refuse NULL from now on; the application gives their value to the rows that lack it; prove, SET NOT NULL |
//!
//! What old code writes meanwhile lacks a value until the application comes back for it, so code that knows no NULL is served
//! after contract only.

use schemadiff::{
    model::{Check, Column, ObjectName, Sync},
    plan::{Assignment, KeyColumn},
};

use crate::{
    Error, Kind, Result,
    dialect::SyncSpec,
    planner::{
        context::{Context, GivenFill, on, slug},
        proto::{Proto, rank, tag},
        synced,
    },
};

pub(super) fn plan(cx: &mut Context<'_>, table: &ObjectName, column: &Column, call: &str) -> Result<()> {
    let (by, reads) = reads(cx, table, column, call)?;
    let key = cx.key(table)?;
    let name = cx.ddl.sync_name(table, &column.name);
    let spec = SyncSpec {
        table: table.clone(),
        name: name.clone(),
        old: None,
        new: column.name.clone(),
        forward: String::new(),
        backward: None,
        refuses_null: false,
        key: key.into_iter().map(|k| k.name).collect(),
        columns: cx.before(table).iter().flat_map(|t| &t.columns).map(|c| c.name.clone()).collect(),
        later: reads.iter().map(|c| c.name.clone()).collect(),
        restores: cx.restored(table),
        may_fail: false,
        default: None,
    };
    let step = create(cx, column, &spec);
    cx.push(step);
    cx.syncs.insert(name.clone(), spec);
    let step = end(cx, table, column, &name);
    cx.push(step);
    if cx.caps.alter_column && !column.nullable {
        synced::tighten(cx, table, column);
    } else if !cx.caps.alter_column && (!column.nullable || column.default.is_some()) {
        let step = settle(cx, table, column);
        cx.push(step);
    }
    let assignment =
        Assignment { column: column.name.clone(), expr: call.trim().to_owned(), not_null: !column.nullable };
    let gives = KeyColumn { name: column.name.clone(), ty: column.ty.clone() };
    cx.fill_with(table, call.trim(), GivenFill { by, reads, gives, assignment, sync: name });
    Ok(())
}

/// The slug of the step that ends the time in which nobody minds a NULL.
pub(in crate::planner) fn end_slug(table: &ObjectName, column: &str) -> String {
    slug(&["end-sync", &table.to_string(), column])
}

/// The function's name and the columns that it is given. They are there before the migration and nothing else happens to
/// them, but that they may go at its end.
fn reads(cx: &Context<'_>, table: &ObjectName, column: &Column, call: &str) -> Result<(String, Vec<KeyColumn>)> {
    let full = format!("{table}.{}", column.name);
    let parts = call.trim().strip_suffix(')').and_then(|call| call.split_once('('));
    let Some((by, list)) = parts.filter(|(by, _)| !by.trim().is_empty()) else {
        return Err(Error::new(Kind::Refused, "SD0627", format!("`{full}`: `{call}` is no call of a function"))
            .help("write #[column(backfill_with = \"email_hash(email)\")]: a name, and the columns that it is given"));
    };
    let (before, after) = (cx.before(table), cx.after(table));
    let mut reads = Vec::new();
    for name in list.split(',').map(|name| name.trim().trim_matches('"')) {
        let Some(source) = before.and_then(|t| t.column(name)) else {
            return Err(Error::new(Kind::Refused, "SD0627", format!("`{full}` cannot be computed from `{name}`"))
                .cause(format!("`{table}` has no such column before this migration"))
                .help("name columns of the table as it is before the migration")
                .help("or make this one in a migration of its own, after the other"));
        };
        let stays = after.and_then(|t| t.column(name)).is_none_or(|c| c.ty == source.ty);
        let renamed = cx.is_renamed(table, name);
        if !stays || renamed {
            return Err(Error::new(Kind::Refused, "SD0627", format!("`{full}` cannot be computed from `{name}`"))
                .cause(format!("the same migration changes the {} of `{name}`", if renamed { "name" } else { "type" }))
                .help("change it in a migration of its own, before or after this one"));
        }
        reads.push(KeyColumn { name: source.name.clone(), ty: source.ty.clone() });
    }
    Ok((by.trim().to_owned(), reads))
}

fn create(cx: &mut Context<'_>, column: &Column, spec: &SyncSpec) -> Proto {
    let table = &spec.table;
    // A default would look like a value that new code has given.
    let added = Column { nullable: true, default: None, ..column.clone() };
    let sync = Sync { fills: spec.fills(), later: true, ..Sync::default() };
    let title = format!("add `{table}.{}`, empty where its value is not known or not up to date", column.name);
    let mut undo = cx.ddl.drop_later_sync(table, &spec.name);
    undo.extend(cx.ddl.drop_column(table, &column.name));
    let id = slug(&["add-column", &table.to_string(), &column.name]);
    let proto = Proto::new(rank::COLUMN, id, title, table)
        .effect({
            let (name, added) = (spec.name.clone(), added.clone());
            on(table, move |t| {
                t.columns.push(added.clone());
                t.syncs.insert(name.clone(), sync.clone());
            })
        })
        .tag(tag::column(table, &column.name))
        .after(tag::TYPES)
        .sql(cx.ddl.add_column(table, &added))
        .sql(cx.ddl.create_sync(spec))
        .undo(undo)
        .locks(cx.ddl.locks("add_column", table, &[]));
    cx.changes_shape(table, proto)
}

/// From here on nobody writes rows without knowing the column.
fn end(cx: &Context<'_>, table: &ObjectName, column: &Column, trigger: &str) -> Proto {
    let slug = end_slug(table, &column.name);
    let title = format!("stop taking `{table}.{}` away: nobody is left who does not know it", column.name);
    let proof = (!column.nullable && cx.caps.alter_column).then(|| synced::proof(cx, table, column, true));
    let default = column.default.clone().filter(|_| cx.caps.alter_column);
    let mut sql = cx.ddl.drop_later_sync(table, trigger);
    if let Some(default) = &default {
        sql.extend(cx.ddl.alter_default(table, &column.name, Some(default)));
    }
    sql.extend(proof.iter().flat_map(|(name, check)| synced::refuse_null(cx, table, &column.name, (name, check))));
    let (name, trigger) = (column.name.clone(), trigger.to_owned());
    let proof = proof.map(|(name, check): (String, Check)| (name, synced::in_model(&check, &column.name)));
    Proto::new(rank::REMOVE, slug.clone(), title, table)
        .sql(sql)
        .no_undo()
        .locks(cx.ddl.locks("drop_sync", table, &[]))
        .effect(on(table, move |t| {
            t.syncs.remove(&trigger);
            if let Some((name, check)) = &proof {
                t.checks.insert(name.clone(), check.clone());
            }
            if let Some(column) = t.column_mut(&name).filter(|_| default.is_some()) {
                column.default.clone_from(&default);
            }
        }))
        .tag(tag::step(&slug))
        .after(tag::first_filled(table, &column.name))
}

/// What is left of the column's definition, where a table is rebuilt for it.
fn settle(cx: &Context<'_>, table: &ObjectName, column: &Column) -> Proto {
    let id = slug(&["settle-column", &table.to_string(), &column.name]);
    let title = format!("make `{table}.{}` as it shall be", column.name);
    let wanted = column.clone();
    let step = Proto::new(rank::REMOVE, id, title, table)
        .effect(on(table, move |t| {
            if let Some(slot) = t.column_mut(&wanted.name) {
                *slot = wanted.clone();
            }
        }))
        .no_undo()
        .after(tag::backfilled(table, &column.name))
        .tag(tag::filled(table, &column.name));
    cx.rebuild(step, Vec::new())
}
