//! Dropping in two acts, where the request asks for an undo window and the engine can keep the data cheaply: contract sets
//! aside, and what is kept is dropped when the window is over.

use std::time::Duration;

use schemadiff::{
    model::{Column, ObjectKey, ObjectKind, ObjectName, Table},
    plan::Kept,
};

use super::{context::Context, ops, proto::Proto};
use crate::{dialect::SetAside, hazard};

fn window(cx: &Context<'_>) -> Option<u64> {
    let window = cx.request.options.undo_window;
    let ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    (window > Duration::ZERO).then_some(ms)
}

/// Whether a type goes with this plan, or is made anew: nothing of it can be kept then.
fn type_goes(cx: &Context<'_>, ty: &str) -> bool {
    let ty = ty.trim_end_matches("[]").replace('"', "");
    let (current, desired) = (cx.request.current, cx.request.desired);
    let types = current.objects.keys().filter(|key| key.kind == ObjectKind::Type).map(|key| &key.name);
    let mut names = current.enums.keys().chain(current.domains.keys()).chain(types);
    names.any(|name| {
        let labels_stay = |before| desired.enums.get(name).is_some_and(|after| !ops::loses_labels(before, after));
        let stays = current.enums.get(name).is_some_and(labels_stay)
            || desired.domains.contains_key(name)
            || desired.objects.contains_key(&ObjectKey::new(ObjectKind::Type, name.clone()));
        !stays && (ty == name.name || ty == name.to_string())
    })
}

/// The step that drops a table, as one that sets it aside; as it is where that is not asked for or not cheap.
pub(super) fn table(cx: &Context<'_>, step: Proto, table: &Table) -> Option<Proto> {
    let ms = window(cx)?;
    if table.columns.iter().any(|c| type_goes(cx, &c.ty)) {
        return None;
    }
    let aside = cx.ddl.set_aside_table(table, cx.request.id)?;
    let what = format!("table `{}`", table.name);
    let since = "it comes back with its rows; nobody writes to it meanwhile".to_owned();
    Some(kept(step.sql(aside.forth.clone()).undo(aside.back.clone()), what, since, ms, aside))
}

/// The same for a column. `table` is as it is before the step, `column` with the default that it has by then.
pub(super) fn column(cx: &Context<'_>, step: Proto, table: &ObjectName, column: &Column) -> Option<Proto> {
    let ms = window(cx)?;
    let (before, after) = (cx.before(table)?, cx.after(table)?);
    let same_key = before.primary_key.as_ref().map(|k| &k.columns) == after.primary_key.as_ref().map(|k| &k.columns);
    // Rows that are written meanwhile need a value, too.
    if type_goes(cx, &column.ty) || !same_key || !(column.nullable || column.fills_itself()) {
        return None;
    }
    let aside = cx.ddl.set_aside_column(before, column, cx.request.id)?;
    let what = format!("column `{table}.{}`", column.name);
    let since = match &column.default {
        Some(default) => format!("rows written meanwhile have {default} in it"),
        None if column.identity.is_some() => "rows written meanwhile have the next numbers in it".to_owned(),
        None => "rows written meanwhile have NULL in it".to_owned(),
    };
    let step = match &aside.copy_back {
        Some(values) => {
            let copy_back = vec![(column.name.clone(), values.clone())];
            step.rebuild(Vec::new(), copy_back).beside_rebuild(aside.forth.clone(), aside.back.clone()).undo([])
        }
        None => step.sql(aside.forth.clone()).undo(aside.back.clone()),
    };
    Some(kept(step, what, since, ms, aside))
}

fn kept(step: Proto, what: String, comes_back: String, for_ms: u64, aside: SetAside) -> Proto {
    let hazard = hazard::drops_data::later(&what, &comes_back, for_ms);
    step.hazard([hazard]).keeps(Kept { what, comes_back, for_ms, purge: aside.purge })
}
