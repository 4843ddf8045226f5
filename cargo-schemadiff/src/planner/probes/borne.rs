//! What stays over a column whose values become others: keys, checks and references have to bear them.

use schemadiff::{
    model::{Column, Index, ObjectName, expr},
    plan::Probe,
};

use super::{Danger, current, duplicates, origin, original, orphans, violations, where_};
use crate::{
    hazard,
    planner::{context::Context, ops},
};

/// Of a column that the server computes in another way.
pub(super) fn computed(cx: &Context<'_>, table: &ObjectName, after: &Column) -> Vec<Danger> {
    let (name, mut dangers) = (&after.name, Vec::new());
    if !after.nullable {
        let condition = format!("{} IS NULL", cx.ddl.ident(name));
        let finds = format!("rows of `{table}` for which `{name}` has no value");
        let probe = where_(cx, table, std::slice::from_ref(name), &condition).map(|sql| Probe { finds, sql });
        dangers.push(Danger { probe, hazard: Some(hazard::fails_on_null::hazard(table, name)) });
    }
    dangers.extend(converted(cx, table, name));
    dangers
}

/// Whether a column's values become others, of which it cannot be said that they keep what they have kept so far.
pub(super) fn becomes_other(cx: &Context<'_>, table: &ObjectName, name: &str, after: &Column) -> bool {
    // By the name that it has before: it may get another one as well.
    let there = original(cx, table, name).and_then(|old| current(cx, table)?.column(&old).cloned());
    let said = cx.request.hints.backfills.get(&(table.clone(), name.to_owned())).map(String::as_str);
    there.is_some_and(|there| {
        let said = ops::conversion(&there, after, said).is_some();
        said || there.ty != after.ty && !cx.ddl.keeps_apart(&there.ty, &after.ty)
    })
}

/// The column of which a column's values come such that two of them are equal only where two were before.
pub(super) fn kept_apart(cx: &Context<'_>, table: &ObjectName, column: &str) -> Option<String> {
    let origin = origin(cx, table, column)?;
    let there = original(cx, table, &origin.target.name)?;
    let filled = cx.request.hints.backfills.contains_key(&(table.clone(), origin.target.name.clone()));
    let converts = || {
        !filled && origin.target.generated.is_none() && !becomes_other(cx, table, &origin.target.name, &origin.target)
    };
    origin.column.clone().or_else(|| converts().then_some(there))
}

/// Of a column whose values are converted where they are. What changes has steps of its own, which ask for themselves.
pub(super) fn converted(cx: &Context<'_>, table: &ObjectName, name: &str) -> Vec<Danger> {
    let (Some(there), Some(shall)) = (current(cx, table), cx.after(table)) else { return Vec::new() };
    let mut dangers = Vec::new();
    let checks =
        shall.checks.iter().filter(|(n, check)| there.checks.get(*n).is_some_and(|old| old.expr == check.expr));
    let checks = checks.filter(|(_, check)| !check.not_valid && expr::mentions(&check.expr, name));
    dangers.extend(checks.filter_map(|(_, check)| violations(cx, table, check)));
    let primary = shall.primary_key.as_ref().map(|key| &key.columns);
    let primary = primary.filter(|columns| there.primary_key.as_ref().is_some_and(|key| key.columns == **columns));
    let keys = primary.map(|columns| Index::over(columns)).into_iter();
    let uniques =
        shall.uniques.iter().filter(|(n, key)| there.uniques.get(*n).is_some_and(|o| o.columns == key.columns));
    let keys = keys.chain(uniques.map(|(_, unique)| ops::behind_unique(unique)));
    let indexes =
        shall.indexes.iter().filter(|(n, i)| i.unique && there.indexes.get(*n).is_some_and(|o| o.parts == i.parts));
    let keys = keys.chain(indexes.map(|(_, index)| index.clone()));
    let keys = keys.filter(|index| ops::index_columns(cx, table, index).iter().any(|column| column == name));
    dangers.extend(keys.filter_map(|index| duplicates(cx, table, &index)));
    let keys = shall.foreign_keys.iter().filter(|(n, key)| there.foreign_keys.get(*n) == Some(key) && !key.not_valid);
    let keys = keys.filter(|(_, key)| key.columns.iter().any(|column| column == name));
    // Where both ends are converted, what was equal stays so.
    dangers.extend(keys.filter_map(|(_, key)| orphans(cx, table, key).filter(|danger| danger.probe.is_some())));
    dangers
}
