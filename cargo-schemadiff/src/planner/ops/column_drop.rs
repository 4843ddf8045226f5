//! Drop a column: in contract, after everything that uses it.
//!
//! New code inserts without the column while old code still reads it. When it is NOT NULL without default, expand gives it
//! the empty value of its type as default, so that both can run; see `docs/operations/drop-column.md` for why, and for the
//! columns where that is not done and the versions do not overlap.

use schemadiff::model::{Column, ObjectName, Table, expr};

use super::generated;
use crate::{
    Result, hazard,
    planner::{
        aside,
        carried::Disturbed,
        context::{Context, on, slug},
        proto::{Proto, rank, tag},
    },
};

pub(super) fn plan(cx: &mut Context<'_>, table: &ObjectName, column: &Column) -> Result<()> {
    let full = format!("`{table}.{}`", column.name);
    let stand_in = stand_in(cx, table, column);
    if let Some(value) = &stand_in {
        let id = slug(&["default", &table.to_string(), &column.name]);
        let title = format!("give {full} the default {value}, for code that no longer knows it");
        let (name, default) = (column.name.clone(), value.clone());
        let step = Proto::new(rank::COLUMN, id, title, table)
            .locks(cx.ddl.locks("alter_default", table, &[]))
            .effect(on(table, move |t| {
                if let Some(column) = t.column_mut(&name) {
                    column.default = Some(default.clone());
                }
            }))
            .hazard([hazard::made_up_value::hazard(table, &column.name, value)])
            .tag(tag::unused(table, &column.name));
        let sql = cx.ddl.alter_default(table, &column.name, Some(value));
        let step = cx.in_place(step, sql, cx.ddl.alter_default(table, &column.name, None));
        cx.push(step);
    }
    let id = slug(&["drop-column", &table.to_string(), &column.name]);
    let frees = generated::frees(cx, table, column);
    // What comes may be what stands in for what goes with it; but not where what comes waits for it.
    let adds = frees.is_empty().then(|| tag::adds(table));
    let step = || {
        Proto::new(rank::REMOVE_COLUMN, id.clone(), format!("drop column {full}"), table)
            .locks(cx.ddl.locks("drop_column", table, &[]))
            .hazard([cx.fewer_columns_hazard(table)])
            .effect({
                let name = column.name.clone();
                on(table, move |t| t.columns.retain(|c| c.name != name))
            })
            .disturbs([Disturbed::GoneColumn(table.clone(), column.name.clone())])
            .tag(tag::TYPES_FREE)
            .tags(frees.clone())
            .after_all([tag::unused(table, &column.name), tag::unviewed(table), tag::refers(table)])
            .after_all(adds.clone())
    };
    let by_then = Column { default: stand_in.or(column.default.clone()), ..column.clone() };
    let step =
        match generated::can_be_kept(cx, table, column).then(|| aside::column(cx, step(), table, &by_then)).flatten() {
            Some(aside) => aside,
            None => {
                let step = step().no_undo().hazard([hazard::drops_data::hazard(&full)]);
                match cx.caps.cheap_drop_column {
                    true => step.sql(cx.ddl.drop_column(table, &column.name)),
                    false => cx.rebuild(step, Vec::new()),
                }
            }
        };
    cx.push(step.hazard(cx.opaque_hazard(table, Some(&column.name))));
    Ok(())
}

/// The default that lets new code insert, when one is needed and harmless.
fn stand_in(cx: &Context<'_>, table: &ObjectName, column: &Column) -> Option<String> {
    let before = cx.before(table)?;
    if column.fills_itself() || is_constrained(before, &column.name) {
        return None;
    }
    cx.ddl.neutral_default(&column.ty)
}

/// Whether a made-up value could violate something, or would mean something.
fn is_constrained(table: &Table, column: &str) -> bool {
    let has = |columns: &[String]| columns.iter().any(|c| c == column);
    let in_index = |i: &schemadiff::model::Index| {
        let in_part = |p: &schemadiff::model::IndexPart| {
            p.column.as_deref() == Some(column) || p.expr.as_ref().is_some_and(|e| expr::mentions(e, column))
        };
        i.unique && i.parts.iter().any(in_part)
    };
    table.primary_key.as_ref().is_some_and(|key| has(&key.columns) || has(&key.include))
        || table.uniques.values().any(|u| has(&u.columns))
        || table.foreign_keys.values().any(|k| has(&k.columns))
        || table.checks.values().any(|c| expr::mentions(&c.expr, column))
        || table.indexes.values().any(in_index)
}
