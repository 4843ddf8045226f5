//! What hangs on a table and is known to the catalogue of a database alone: views, triggers, policies, publications.

use schemadiff::{
    model::{ObjectKey, ObjectKind, ObjectName},
    plan::Probe,
};

use super::{Danger, current};
use crate::planner::context::Context;

/// Views over what goes or changes: the server refuses the step, or the view breaks.
pub(super) fn users_of(cx: &Context<'_>, table: &ObjectName, column: Option<&str>) -> Option<Danger> {
    let there = current(cx, table)?;
    // Those that the plan knows it changes, drops or takes along.
    let is_view = |key: &&ObjectKey| matches!(key.kind, ObjectKind::View | ObjectKind::MaterializedView);
    let known: Vec<_> = cx.request.current.objects.keys().filter(is_view).map(|key| &key.name).collect();
    let sql = cx.ddl.views_over(&there.name, column, &known)?;
    let what = match column {
        Some(column) => format!("`{}.{column}`", there.name),
        None => format!("`{}`", there.name),
    };
    Some(Danger { probe: Some(Probe { finds: format!("views that use {what}"), sql }), hazard: None })
}

/// The index that tells subscribers which row has changed: without it the server refuses to change rows of a table that is published.
pub(super) fn identity_of(
    cx: &Context<'_>,
    table: &ObjectName,
    column: Option<&str>,
    index: Option<&str>,
) -> Option<Danger> {
    let there = current(cx, table)?;
    // Only the index of a key can be it, and only one that is there before the plan.
    let over = |columns: &[String]| column.is_none_or(|column| columns.iter().any(|c| c == column));
    let of_indexes = there.indexes.iter().filter(|(_, index)| index.unique).map(|(name, index)| {
        (name.as_str(), index.parts.iter().filter_map(|part| part.column.clone()).collect::<Vec<_>>())
    });
    let of_uniques = there.uniques.iter().map(|(name, unique)| (name.as_str(), unique.columns.clone()));
    let mut keys = of_indexes.chain(of_uniques);
    let key = there.primary_key.as_ref().filter(|_| index.is_none());
    let can_be = keys.any(|(name, columns)| index.is_none_or(|index| index == name) && over(&columns))
        || key.is_some_and(|key| over(&key.columns));
    if !can_be {
        return None;
    }
    let sql = cx.ddl.replica_identity(&there.name, column, index)?;
    let finds = format!(
        "an index that goes or is made anew, and is the REPLICA IDENTITY of `{}` (give the table another one first)",
        there.name
    );
    Some(Danger { probe: Some(Probe { finds, sql }), hazard: None })
}

/// Triggers that come after those of the plan: they would change what is kept in step, and rows that are only being filled.
pub(super) fn later_triggers(cx: &Context<'_>, table: &ObjectName) -> Option<Danger> {
    let there = current(cx, table)?;
    let sql = cx.ddl.later_triggers(&there.name)?;
    let finds = format!(
        "triggers of `{}` that fire after schemadiff's own, in the order of their names (rename them, for example with an `a_` in front)",
        there.name
    );
    Some(Danger { probe: Some(Probe { finds, sql }), hazard: None })
}

/// Row level security that a view goes past: old code would see all rows through it.
pub(super) fn goes_past_policies(cx: &Context<'_>, table: &ObjectName) -> Option<Danger> {
    let there = current(cx, table)?;
    let sql = cx.ddl.goes_past_policies(&there.name)?;
    let finds = format!(
        "row level security of `{}`, which a view goes past before PostgreSQL 15 (write the migration again over a database that has it)",
        there.name
    );
    Some(Danger { probe: Some(Probe { finds, sql }), hazard: None })
}

/// Publications that name the column: the server lets it neither go nor change its type.
pub(super) fn publications_of(cx: &Context<'_>, table: &ObjectName, column: &str) -> Option<Danger> {
    let there = current(cx, table)?;
    let sql = cx.ddl.publications_over(&there.name, column)?;
    let finds = format!("publications whose list of columns or condition names `{}.{column}`", there.name);
    Some(Danger { probe: Some(Probe { finds, sql }), hazard: None })
}
