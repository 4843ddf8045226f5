//! Change a column that keeps its name: NOT NULL, default, identity, comment. The type and generated
//! expressions have files of their own. Where the engine alters nothing in place, one rebuild brings all of it.

use schemadiff::{
    model::{Column, ObjectName, Sync, Table},
    plan::Envelope,
};

use super::{column_retype, comment, domain, generated, numbering, primary_key};
use crate::{
    Result,
    dialect::SyncSpec,
    hazard,
    planner::{
        context::{Context, Retype, on, slug},
        proto::{Proto, rank, tag},
        synced::prove_and_set_not_null,
    },
};

pub(super) fn plan(
    cx: &mut Context<'_>,
    table: &ObjectName,
    before: &Column,
    after: &Column,
    backfill: Option<&str>,
) -> Result<()> {
    if before.ty != after.ty {
        domain::refuse_rewrite(cx, table, &after.name, &after.ty)?;
    }
    // Where the type changes too, the expression gives the values of the new type.
    let conversion = column_retype::conversion(before, after, backfill);
    let filled_by_trigger = match backfill {
        Some(expr) if conversion.is_none() && before.nullable && !after.nullable => {
            Some(fill_nulls(cx, table, after, expr)?)
        }
        _ => None,
    };
    if !cx.caps.alter_column {
        rebuild(cx, table, before, after, filled_by_trigger, conversion);
        return Ok(());
    }
    let plain = generated::given_up(cx, table, before, after)?;
    let before = plain.as_ref().unwrap_or(before);
    if generated::plan(cx, table, before, after)? {
        return Ok(());
    }
    let retype = cx.retypes.get(&(table.clone(), after.name.clone())).cloned();
    match retype {
        Some(Retype::Shadow(shadow, retained)) => {
            let names = (shadow.as_str(), retained.as_deref());
            column_retype::through_shadow(cx, table, before, after, names, conversion)?;
            domain::note_rewrite(cx, table, &shadow, &after.ty);
            return Ok(());
        }
        Some(Retype::InPlace) => column_retype::in_place(cx, table, before, after, conversion)?,
        None => {}
    }
    match (before.nullable, after.nullable) {
        (true, false) if conversion.is_some() => {
            let converted = tag::step(&column_retype::step_of(table, &after.name));
            prove_and_set_not_null(cx, table, after, [converted]);
        }
        (true, false) => set_not_null(cx, table, after, filled_by_trigger),
        (false, true) => drop_not_null(cx, table, after),
        (true, true) | (false, false) => {}
    }
    if before.identity != after.identity {
        numbering::plan(cx, table, before, after);
    } else if before.default != after.default && retype.is_none() {
        default(cx, table, before, after);
    }
    if before.comment != after.comment {
        comment::column(cx, table, &after.name, after.comment.as_deref());
    }
    Ok(())
}

/// The whole difference in one rebuild.
fn rebuild(
    cx: &mut Context<'_>,
    table: &ObjectName,
    before: &Column,
    after: &Column,
    trigger: Option<String>,
    conversion: Option<&str>,
) {
    let by_key = primary_key::numbered_by_key(cx, table, after);
    let otherwise = Column { identity: before.identity.clone(), ..after.clone() };
    if by_key && otherwise == *before {
        return; // the change of the key makes it so
    }
    let id = slug(&["alter-column", &table.to_string(), &after.name]);
    let title = format!("change column `{table}.{}`", after.name);
    let converted = before.ty != after.ty && after.generated.is_none();
    let copy = match (converted, conversion) {
        (_, Some(expr)) => vec![(after.name.clone(), format!("({expr})"))],
        (true, None) => vec![(after.name.clone(), cx.ddl.cast(&cx.ddl.ident(&after.name), &after.ty))],
        (false, None) => Vec::new(),
    };
    let may_fail = before.nullable && !after.nullable && trigger.is_none() && conversion.is_none();
    let column = after.clone();
    let step = Proto::new(rank::COLUMN, id, title, table)
        .effect(on(table, move |t| {
            if let Some(slot) = t.column_mut(&column.name) {
                let identity = if by_key { slot.identity.take() } else { column.identity.clone() };
                *slot = Column { identity, ..column.clone() };
            }
            if let Some(trigger) = &trigger {
                t.syncs.remove(trigger);
            }
        }))
        .hazard(may_fail.then(|| hazard::fails_on_null::hazard(table, &after.name)))
        .hazard((!before.nullable && after.nullable).then(|| hazard::null_too_early::hazard(table, &after.name)))
        .tag(tag::filled(table, &after.name))
        .after(tag::TYPES)
        .after(tag::backfilled(table, &after.name));
    let mut step = cx.rebuild(step, copy);
    if let Some(generated) = after.generated.as_ref().filter(|_| before.generated.is_none()) {
        step.beside.0.extend(cx.ddl.refuse_other_values(table, after, &generated.expr));
    }
    cx.push(step);
}

/// Old code writes NULL until it is gone: a trigger puts the value in, a backfill does so for the rows that exist.
fn fill_nulls(cx: &mut Context<'_>, table: &ObjectName, column: &Column, expr: &str) -> Result<String> {
    let name = cx.ddl.sync_name(table, &column.name);
    let spec = SyncSpec {
        table: table.clone(),
        name: name.clone(),
        old: None,
        new: column.name.clone(),
        forward: expr.to_owned(),
        backward: None,
        refuses_null: false,
        key: cx.key(table)?.into_iter().map(|k| k.name).collect(),
        columns: cx.before(table).iter().flat_map(|t| &t.columns).map(|c| c.name.clone()).collect(),
        later: Vec::new(),
        restores: cx.restored(table),
        may_fail: false,
        default: None,
    };
    let sync = Sync { fills: spec.fills(), there_before: spec.fills(), ..Sync::default() };
    let id = slug(&["fill-nulls", &table.to_string(), &column.name]);
    let title = format!("fill `{table}.{}` where a writer leaves it NULL", column.name);
    let step = Proto::new(rank::COLUMN, id, title, table)
        .sql(cx.ddl.create_sync(&spec))
        .undo(cx.ddl.drop_sync(table, &name))
        .locks(cx.ddl.locks("create_sync", table, &[]))
        .effect({
            let name = name.clone();
            on(table, move |t| drop(t.syncs.insert(name.clone(), sync.clone())))
        })
        .tag(tag::column(table, &column.name));
    cx.push(step);
    cx.syncs.insert(name.clone(), spec);
    cx.fill(table, column, expr, Some(name.clone()), None);
    Ok(name)
}

fn set_not_null(cx: &mut Context<'_>, table: &ObjectName, column: &Column, trigger: Option<String>) {
    match trigger {
        Some(trigger) => {
            prove_and_set_not_null(cx, table, column, [tag::backfilled(table, &column.name)]);
            let id = slug(&["end-sync", &table.to_string(), &column.name]);
            let title = format!("stop filling `{table}.{}` for the old version", column.name);
            let step = Proto::new(rank::REMOVE, id, title, table)
                .sql(cx.ddl.drop_sync(table, &trigger))
                .no_undo()
                .locks(cx.ddl.locks("drop_sync", table, &[]))
                .effect(on(table, move |t| drop(t.syncs.remove(&trigger))))
                .after(tag::filled(table, &column.name));
            cx.push(step);
        }
        None => {
            prove_and_set_not_null(cx, table, column, [tag::column(table, &column.name)]);
            let hazard = hazard::fails_on_null::hazard(table, &column.name);
            let validates = |p: &&mut Proto| p.envelope == Envelope::Long && p.table() == table;
            if let Some(step) = cx.protos.iter_mut().rev().find(validates) {
                step.hazards.push(hazard);
            }
        }
    }
}

/// In contract by the predicate: old code cannot read the NULLs that become possible.
fn drop_not_null(cx: &mut Context<'_>, table: &ObjectName, column: &Column) {
    let id = slug(&["drop-not-null", &table.to_string(), &column.name]);
    let step = Proto::new(rank::COLUMN, id, format!("let `{table}.{}` be NULL", column.name), table)
        .sql(cx.ddl.alter_nullable(table, &column.name, true))
        .undo(cx.ddl.alter_nullable(table, &column.name, false))
        .locks(cx.ddl.locks("alter_nullable", table, &[]))
        .effect(set(table, &column.name, |c| c.nullable = true))
        .hazard([hazard::null_too_early::hazard(table, &column.name)])
        .after(tag::filled(table, &column.name))
        // A column of the primary key is NOT NULL for as long as it is one.
        .after_all(key_name(cx, table).map(|name| tag::freed(table, &name)));
    cx.push(step);
}

fn key_name(cx: &Context<'_>, table: &ObjectName) -> Option<String> {
    let key = cx.before(table)?.primary_key.as_ref()?;
    Some(key.name.clone().unwrap_or_else(|| cx.ddl.default_name(&table.name, &[], "pkey")))
}

fn default(cx: &mut Context<'_>, table: &ObjectName, before: &Column, after: &Column) {
    let id = slug(&["default", &table.to_string(), &after.name]);
    let title = match &after.default {
        Some(default) => format!("give `{table}.{}` the default {default}", after.name),
        None => format!("drop the default of `{table}.{}`", after.name),
    };
    let value = after.default.clone();
    let set_to = |from: &Column, to: &Column| {
        let sql = cx.ddl.alter_default(table, &to.name, to.default.as_deref());
        [sql, numbering::go_on(cx, table, from, to)].concat()
    };
    let step = Proto::new(rank::COLUMN, id, title, table)
        .prepares(numbering::begins(before, after))
        .sql(set_to(before, after))
        .undo(set_to(after, before))
        .locks(cx.ddl.locks("alter_default", table, &[]))
        .locks(numbering::go_on_locks(cx, table, before, after))
        .effect(set(table, &after.name, move |c| c.default.clone_from(&value)))
        .after(tag::TYPES);
    numbering::push(cx, step, before, after);
}

pub(super) fn set(
    table: &ObjectName,
    column: &str,
    change: impl Fn(&mut Column) + 'static,
) -> impl Fn(&mut schemadiff::model::Schema) + 'static {
    let column = column.to_owned();
    on(table, move |t: &mut Table| {
        if let Some(column) = t.column_mut(&column) {
            change(column);
        }
    })
}
