//! Rows in the wrong place, where tables become partitions or partitions come.

use schemadiff::{
    model::{ForeignKey, Index, ObjectName, PartitionOf, Shared, Table},
    plan::Probe,
};

use super::{Danger, SAMPLE, constraint, current, duplicates, row_name, where_};
use crate::planner::{context::Context, ops};

/// What may be in the way where a table becomes a partition, is made as one, or ceases to be one.
pub(super) fn dangers(
    cx: &Context<'_>,
    name: &ObjectName,
    before: Option<&Table>,
    after: Option<&Table>,
) -> Vec<Danger> {
    let of = |table: Option<&Table>| table.and_then(|t| t.partition_of.clone());
    match (of(before), of(after)) {
        (Some(of), None) => referring(cx, name, &of),
        (None, Some(of)) => {
            let mut dangers: Vec<Danger> = elsewhere(cx, name, &of).into_iter().collect();
            if before.is_some() {
                dangers.extend(misfits(cx, name, &of));
                dangers.extend(equal_in_keys_of(cx, name, &of.parent));
            }
            dangers
        }
        _ => Vec::new(),
    }
}

/// Rows of the default partition that belong into one that comes.
fn elsewhere(cx: &Context<'_>, partition: &ObjectName, of: &PartitionOf) -> Option<Danger> {
    let default = ops::default_of(cx.request.current, &of.parent).filter(|default| default != partition)?;
    let by = cx.request.current.table(&of.parent)?.partition_by.as_ref()?;
    let finds = format!("rows of `{default}` that belong into `{partition}`");
    let there = current(cx, &default)?;
    let probe = cx.ddl.partition_condition(by, &of.bound).map(|condition| {
        let (row, table) = (row_name(cx, &there), cx.ddl.name(&default));
        Probe { finds, sql: format!("SELECT {row} FROM {table} WHERE {condition} LIMIT {SAMPLE}") }
    });
    Some(constraint(probe, "not belonging into its new neighbour", &default))
}

/// Rows of a table that is attached, which its bound does not let in.
fn misfits(cx: &Context<'_>, partition: &ObjectName, of: &PartitionOf) -> Option<Danger> {
    let there = current(cx, partition)?;
    let by = cx.request.current.table(&of.parent)?.partition_by.as_ref()?;
    let of_parent = |t: &&Shared<Table>| t.partition_of.as_ref().is_some_and(|o| o.parent == of.parent);
    let bounds = cx.request.current.tables.values().filter(of_parent).filter_map(|t| t.partition_of.as_ref());
    let others: Vec<&str> = bounds.map(|other| other.bound.as_str()).filter(|bound| *bound != of.bound).collect();
    let condition = cx.ddl.partition_misfit(&of.parent, by, &of.bound, &others)?;
    let sql =
        format!("SELECT {} FROM {} WHERE {condition} LIMIT {SAMPLE}", row_name(cx, &there), cx.ddl.name(&there.name));
    let finds = format!("rows of `{partition}` that do not belong into that partition of `{}`", of.parent);
    Some(Danger { probe: Some(Probe { finds, sql }), hazard: None })
}

/// Rows that refer to a partition which leaves its parent, by keys that refer to the parent.
fn referring(cx: &Context<'_>, partition: &ObjectName, of: &PartitionOf) -> Vec<Danger> {
    let mut dangers = Vec::new();
    for child in ops::referring(cx.request.current, &of.parent) {
        let stays = |key: &ForeignKey| {
            let key = ForeignKey { comment: None, ..key.clone() };
            let after = cx.after(&child.name).into_iter().flat_map(|t| t.foreign_keys.values());
            after.into_iter().any(|other| ForeignKey { comment: None, ..other.clone() } == key)
        };
        let keys = child.foreign_keys.values().filter(|key| key.ref_table == of.parent && stays(key));
        for key in keys {
            let same = |(own, other): (&String, &String)| {
                format!("schemadiff_rows.{} = schemadiff_parent.{}", cx.ddl.ident(own), cx.ddl.ident(other))
            };
            let same: Vec<_> = key.columns.iter().zip(&key.ref_columns).map(same).collect();
            let there = cx.ddl.name(partition);
            let condition = format!("EXISTS (SELECT 1 FROM {there} AS schemadiff_parent WHERE {})", same.join(" AND "));
            let finds = format!("rows of `{}` that refer to `{partition}`", child.name);
            let sql = where_(cx, &child.name, &key.columns, &condition);
            dangers.extend(sql.map(|sql| Danger { probe: Some(Probe { finds, sql }), hazard: None }));
        }
    }
    dangers
}

/// Rows of a table that is attached, which are equal in a key that the parent has.
fn equal_in_keys_of(cx: &Context<'_>, partition: &ObjectName, parent: &ObjectName) -> Vec<Danger> {
    let Some(parent) = cx.request.current.table(parent) else { return Vec::new() };
    let keys = parent.primary_key.iter().map(|key| Index::over(&key.columns));
    let keys = keys.chain(parent.uniques.values().map(ops::behind_unique));
    let keys = keys.chain(parent.indexes.values().filter(|index| index.unique).cloned());
    keys.filter_map(|index| duplicates(cx, partition, &index)).collect()
}
