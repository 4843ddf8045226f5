//! Rename a column: a new one beside the old one, kept in step by a trigger in both directions, filled, indexed, and in
//! contract the old one goes. Old and new code run side by side all the time.
//!
//! Where the retiring version has views, the column only gets its new name, at once, and no data moves.
//!
//! Columns that cannot be doubled (numbered or computed by the engine, part of the primary key, referenced by foreign keys
//! of other tables) are renamed in place in contract; the versions do not overlap then.

use schemadiff::model::{Column, ObjectName, Schema, Table, expr};

use super::{domain, exclusion, partition, trigger};
use crate::{
    Result, hazard,
    planner::{
        carried::Disturbed,
        context::{Context, on, slug},
        proto::{Proto, rank, tag},
        renaming,
        synced::{self, Synced},
    },
};

pub(super) fn plan(cx: &mut Context<'_>, table: &ObjectName, before: &Column, after: &Column) -> Result<()> {
    domain::refuse_rewrite(cx, table, &after.name, &after.ty)?;
    let converts = before.ty != after.ty;
    let (old, new) = (cx.ddl.ident(&before.name), cx.ddl.ident(&after.name));
    let (forward, backward) = match converts {
        true => (cx.ddl.cast(&old, &after.ty), cx.ddl.cast(&new, &before.ty)),
        false => (old, new),
    };
    // Rows without a value get theirs on the way.
    let backfill = cx.request.hints.backfills.get(&(table.clone(), after.name.clone()));
    let forward = match backfill {
        Some(expr) if before.nullable && !after.nullable => format!("COALESCE({forward}, {expr})"),
        _ => forward,
    };
    let filled = backfill.is_some();
    let (old, backward) = (Some(before), Some(backward));
    let synced = Synced { table, column: after, old, forward, backward, passes_nulls: before.nullable && !filled };
    let trigger = synced::make(cx, &synced)?;
    let too_early = trigger::too_early(cx, table, [&before.name, &after.name]);
    if let Some(step) = cx.protos.iter_mut().find(|p| p.tags.contains(&tag::column(table, &after.name))) {
        step.hazards.extend(too_early);
        if hazard::zone_assumed::concerns(&before.ty, &after.ty) {
            step.hazards.push(hazard::zone_assumed::hazard(table, &before.name));
        }
        if converts {
            step.hazards.push(hazard::out_of_range::hazard(table, &after.name, &before.ty));
            if cx.ddl.cannot_convert("x", &before.ty, &after.ty).is_some() {
                step.hazards.push(hazard::converts_on_write::hazard(table, &before.name, &after.ty));
            }
            if cx.ddl.loses_part(&before.ty, &after.ty) {
                step.hazards.push(hazard::loses_part::hazard(table, &before.name, &before.ty, &after.ty));
            }
        }
        let other_default = before.nullable && after.default.is_some() && after.default != before.default;
        if (after.nullable && before.default.is_some()) || other_default {
            step.hazards.push(hazard::ambiguous_null::hazard(table, &after.name));
        }
        if synced::refuses_null(before, after) {
            step.hazards.push(hazard::null_too_early::hazard(table, &after.name));
        }
        if before.nullable && !after.nullable && !filled {
            step.hazards.push(hazard::fails_on_null::hazard(table, &before.name));
        }
    }
    domain::note_rewrite(cx, table, &after.name, &after.ty);
    finish(cx, table, before, after, &trigger);
    Ok(())
}

/// Trigger and old column in one transaction, the trigger first: a trigger without its column fails every write.
fn finish(cx: &mut Context<'_>, table: &ObjectName, before: &Column, after: &Column, trigger: &str) {
    let id = slug(&["drop-column", &table.to_string(), &before.name]);
    let title = format!("drop the old column `{table}.{}`, `{}` holds its data", before.name, after.name);
    let effect = {
        let (old, new, trigger) = (before.name.clone(), after.clone(), trigger.to_owned());
        on(table, move |t: &mut Table| {
            t.syncs.remove(&trigger);
            t.columns.retain(|c| c.name != old);
            if let Some(slot) = t.column_mut(&new.name) {
                *slot = new.clone();
            }
        })
    };
    let step = Proto::new(rank::REMOVE_COLUMN, id, title, table)
        .effect(effect)
        .locks(cx.ddl.locks("drop_column", table, &[]))
        .hazard([cx.fewer_columns_hazard(table)])
        .hazard(cx.opaque_hazard(table, Some(&before.name)))
        .disturbs([Disturbed::GoneColumn(table.clone(), before.name.clone())])
        .tag(tag::TYPES_FREE)
        .after_all([
            tag::filled(table, &after.name),
            tag::unused(table, &before.name),
            tag::unviewed(table),
            tag::adds(table),
            tag::refers(table),
        ])
        .no_undo();
    let step = if cx.caps.alter_column {
        let mut sql = cx.ddl.drop_sync(table, trigger);
        if let Some(default) = &after.default {
            sql.extend(cx.ddl.alter_default(table, &after.name, Some(default)));
        }
        sql.extend(cx.ddl.drop_column(table, &before.name));
        step.sql(sql)
    } else {
        cx.rebuild(step, Vec::new())
    };
    cx.push(step);
}

/// Whether the column is renamed in place: it can only be so, or nobody is in the way. A column that becomes NOT NULL with a
/// backfill at the same time is doubled all the same, so that the new version need not wait for the old one's NULLs to end.
pub(super) fn stays_one(cx: &mut Context<'_>, table: &ObjectName, before: &Column, after: &Column) -> bool {
    let is_filled = cx.request.hints.backfills.contains_key(&(table.clone(), after.name.clone()));
    let tightens = before.nullable && !after.nullable && is_filled;
    must_stay_one(cx, table, before, after) || (!tightens && cx.is_column_shielded(table, [&before.name, &after.name]))
}

/// Whether a column can only be renamed in place.
fn must_stay_one(cx: &Context<'_>, table: &ObjectName, before: &Column, after: &Column) -> bool {
    let computed = |c: &Column| c.identity.is_some() || c.generated.is_some();
    let Some(t) = cx.before(table) else { return true };
    let in_key = t.primary_key.as_ref().is_some_and(|key| key.columns.contains(&before.name));
    let referenced = cx
        .base
        .tables
        .values()
        .flat_map(|t| t.foreign_keys.values())
        .any(|key| key.ref_table == *table && key.ref_columns.contains(&before.name));
    let feeds_generated = t
        .columns
        .iter()
        .filter_map(|c| c.generated.as_ref())
        .any(|generated| expr::mentions(&generated.expr, &before.name));
    // Which partition a row is in cannot hang on two columns.
    let in_partition_key = partition::is_key(cx, table, &before.name);
    let excluded = exclusion::uses(t, &before.name);
    excluded || in_partition_key || computed(before) || computed(after) || in_key || referenced || feeds_generated
}

/// The new name at once: behind the retiring version's view, and in contract where it has none.
pub(super) fn in_place(cx: &mut Context<'_>, table: &ObjectName, from: &str, to: &str, follows: Vec<(String, String)>) {
    let id = slug(&["rename-column", &table.to_string(), to]);
    let title = format!("rename column `{table}.{from}` to `{to}`");
    let mut others: Vec<_> = renaming::referencing(&cx.base, table);
    others.extend(cx.base.partitions(table).into_iter().map(|partition| partition.name.clone()));
    let (forth, mut undo) = renaming::sequence(cx, table, from, to);
    let mut sql = cx.ddl.rename_column(table, from, to);
    sql.extend(forth);
    undo.extend(cx.ddl.rename_column(table, to, from));
    let step = Proto::new(rank::TABLE, id, title, table)
        .touching(&others)
        .sql(sql)
        .undo(undo)
        .locks(cx.ddl.locks("rename_column", table, &[]))
        .hazard(cx.opaque_hazard(table, Some(from)))
        .effect({
            let (table, from, to) = (table.clone(), from.to_owned(), to.to_owned());
            move |schema: &mut Schema| {
                renaming::rename_column(schema, &table, &from, &to);
                renaming::follow(schema, &table, &follows);
            }
        })
        // Everything else on the table is planned for the new name.
        .tag(tag::table(table))
        .tag(tag::filled(table, to));
    let step = step
        .tag(tag::freed(table, from))
        .after_all([tag::freed(table, to), tag::step(&format!("rename-table {table}"))]);
    let shielded = cx.is_column_shielded(table, [from, to]);
    let step = if shielded {
        cx.changes_shape(table, step)
    } else {
        step.after_all([tag::unviewed(table), tag::step(&format!("rename-sequence {table}"))])
    };
    cx.push(step);
}
