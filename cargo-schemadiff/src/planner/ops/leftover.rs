//! Taking away what only lives while a migration is under way: compatibility views and sync triggers.

use schemadiff::model::{CompatView, ObjectName, Schema};

use crate::planner::{
    context::{Context, on, slug},
    proto::{Proto, rank, tag},
};

/// Drops a compatibility view; what it shows can only change after that.
pub(super) fn view(cx: &mut Context<'_>, view: &CompatView) {
    let name = view.name.clone();
    let step = Proto::new(
        rank::REMOVE,
        slug(&["drop-view", &name.to_string()]),
        format!("drop the view that kept the name `{name}`"),
        &view.table,
    )
    .touching([&name])
    .tag(tag::vacant(&name))
    .sql(cx.ddl.drop_compat_view(view))
    .no_undo()
    .locks(cx.ddl.locks("drop_compat_view", &name, &[]))
    .effect(move |schema: &mut Schema| drop(schema.compat_views.remove(&name)))
    .tag(tag::unviewed(&view.table))
    .prepares(true);
    cx.push(step);
}

/// Drops a sync trigger that another migration left.
pub(super) fn sync(cx: &mut Context<'_>, table: &ObjectName, name: &str, later: bool) {
    let sql = if later { cx.ddl.drop_later_sync(table, name) } else { cx.ddl.drop_sync(table, name) };
    let step = Proto::new(
        rank::REMOVE,
        slug(&["drop-sync", &table.to_string(), name]),
        format!("drop the left-over sync trigger on `{table}`"),
        table,
    )
    .sql(sql)
    .no_undo()
    .locks(cx.ddl.locks("drop_sync", table, &[]))
    .effect({
        let name = name.to_owned();
        on(table, move |t| drop(t.syncs.remove(&name)))
    })
    .prepares(true);
    cx.push(step);
}
