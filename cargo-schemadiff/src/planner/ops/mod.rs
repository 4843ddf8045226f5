//! One file per operation: expand, backfill, contract and undo of it side by side.

mod check;
mod column_add;
mod column_alter;
mod column_drop;
mod column_rename;
mod column_retype;
mod column_settings;
mod column_with;
mod comment;
mod composite;
mod domain;
mod doubling;
mod enumeration;
mod exclusion;
mod foreign_key;
mod generated;
mod index;
mod leftover;
mod naming;
mod numbering;
mod object;
mod object_chain;
mod options;
mod partition;
mod policy;
mod primary_key;
mod rekey;
mod rename;
mod table;
mod trigger;
mod unique;

use schemadiff::model::ObjectName;

use crate::{
    Result,
    diff::{Change, diff},
};

use super::{
    context::{Context, cause},
    renaming,
};

pub(super) use check::columns_of as check_columns;
pub(super) use column_retype::conversion;
pub(super) use column_with::end_slug;
pub(super) use enumeration::{columns_of_type, loses_labels};
pub(super) use generated::is_made_anew as made_anew;
pub(super) use index::{behind_unique, columns_of as index_columns};
pub(super) use partition::{default_of, is_partitioned, referring};

/// Plans the column renames that can only be done in place, and says what else is to be done then: what hangs on such a
/// column, or is called by its table, follows by itself, so the difference is taken anew from there.
pub(super) fn rename_in_place(cx: &mut Context<'_>, changes: Vec<Change>) -> Result<Vec<Change>> {
    let mut renamed = false;
    // A name that one column leaves and another one takes is never both at a time.
    let passes_on = |table: &ObjectName, from: &str, to: &str| {
        changes.iter().any(|other| match other {
            Change::RenameColumn { table: t, before, after } => t == table && (before.name == to || after.name == from),
            _ => false,
        })
    };
    for change in &changes {
        if let Change::RenameTable { from, to } = change {
            let follows = renaming::names_after_table(cx, from, to);
            renaming::follow(&mut cx.base, to, &follows);
            renamed |= !follows.is_empty();
        }
        if let Change::RenameColumn { table, before, after } = change
            && (passes_on(table, &before.name, &after.name) || column_rename::stays_one(cx, table, before, after))
        {
            cx.cause = cause(change);
            let was = cx.before(table).cloned();
            renaming::rename_column(&mut cx.base, table, &before.name, &after.name);
            let follows = was.zip(cx.before(table)).map(|(was, is)| renaming::names_that_follow(cx, &was, is));
            let follows = follows.unwrap_or_default();
            renaming::follow(&mut cx.base, table, &follows);
            column_rename::in_place(cx, table, &before.name, &after.name, follows);
            renamed = true;
        }
    }
    if !renamed {
        return Ok(changes);
    }
    let request = cx.request;
    let rest = diff(&cx.base, request.desired, request.hints, request.options)?;
    let mut changes = changes;
    changes.retain(Change::is_rename);
    changes.extend(rest);
    Ok(changes)
}

/// Turns all changes into steps.
pub(super) fn plan_all(cx: &mut Context<'_>, changes: &[Change]) -> Result<()> {
    // What other operations must know before they are asked.
    for change in changes {
        partition::check_change(cx, change)?;
        if let Change::AlterColumn { table, before, after, backfill } = change {
            column_retype::decide(cx, table, before, after, backfill.as_deref());
            generated::decide(cx, table, before, after);
        }
        if let Change::Rename { table, from, to, .. } = change {
            cx.renames.insert((table.clone(), from.clone()), to.clone());
        }
        if let Change::PrimaryKey { table, before, after } = change
            && let Some([from, to]) = primary_key::renamed(cx, table, before.as_ref(), after.as_ref())
        {
            cx.renames.insert((table.clone(), from), to);
        }
        if let Change::RenameTable { to, .. } = change
            && cx.can_be_viewed(to)
            && !cx.is_shielded(to)
        {
            cx.viewed.insert(to.clone());
        }
    }
    generated::decide_fed(cx);
    foreign_key::part(cx);
    for change in changes {
        cx.cause = cause(change);
        plan_one(cx, change)?;
    }
    Ok(())
}

fn plan_one(cx: &mut Context<'_>, change: &Change) -> Result<()> {
    match change {
        Change::Enum { name, before, after } => enumeration::plan(cx, name, before.as_ref(), after.as_ref()),
        Change::Domain { name, before, after } => domain::plan(cx, name, before.as_ref(), after.as_ref()),
        Change::RenameType { from, to } => {
            enumeration::rename(cx, from, to);
            Ok(())
        }
        Change::RenameLabel { name, from, to } => {
            enumeration::rename_label(cx, name, from, to);
            Ok(())
        }
        Change::Object { before, after } => {
            composite::check(cx, before.as_deref(), after.as_deref())?;
            object::plan(cx, before.as_deref(), after.as_deref());
            Ok(())
        }
        Change::RenameObject { from, to } => {
            object::rename(cx, from, to);
            Ok(())
        }
        Change::CreateTable { table } => table::create(cx, table),
        Change::DropTable { table } => table::drop(cx, table),
        Change::RenameTable { from, to } => table::rename(cx, from, to),
        Change::Partitioning { before, after } => partition::plan(cx, before, after),
        Change::AddColumn { table, column, backfill_with: Some(call), .. } => {
            column_with::plan(cx, table, column, call)
        }
        Change::AddColumn { table, column, backfill, .. } => column_add::plan(cx, table, column, backfill.as_deref()),
        Change::DropColumn { table, column } => column_drop::plan(cx, table, column),
        Change::RenameColumn { table, before, after } => column_rename::plan(cx, table, before, after),
        Change::AlterColumn { table, before, after, backfill } => {
            column_alter::plan(cx, table, before, after, backfill.as_deref())
        }
        Change::PrimaryKey { table, before, after } => primary_key::plan(cx, table, before.as_ref(), after.as_ref()),
        Change::Unique { table, name, before, after } => unique::plan(cx, table, name, before.as_ref(), after.as_ref()),
        Change::Check { table, name, before, after } => {
            check::plan(cx, table, name, before.as_ref(), after.as_ref());
            Ok(())
        }
        Change::Exclusion { table, name, before, after } => {
            exclusion::plan(cx, table, name, before.as_ref(), after.as_ref())
        }
        Change::ForeignKey { table, name, before, after } => {
            foreign_key::plan(cx, table, name, before.as_ref(), after.as_ref());
            Ok(())
        }
        Change::Index { table, name, before, after } => index::plan(cx, table, name, before.as_ref(), after.as_ref()),
        Change::Rename { table, kind, from, to } => {
            rename::plan(cx, table, *kind, from, to);
            Ok(())
        }
        Change::TableComment { table, after, .. } => {
            comment::table(cx, table, after.as_deref());
            Ok(())
        }
        Change::TableOptions { table, before, after } => options::plan(cx, table, before, after),
        Change::DropSync { table, name, sync } => {
            leftover::sync(cx, table, name, sync.later);
            Ok(())
        }
        Change::DropCompatView { view } => {
            leftover::view(cx, view);
            Ok(())
        }
    }
}
