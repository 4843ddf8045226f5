//! Rows in the wrong place, where tables become partitions or partitions come.

use schemadiff::{
    model::{Index, ObjectName, PartitionOf, Shared, Table},
    plan::Probe,
};

use super::{Danger, SAMPLE, constraint, current, duplicates, row_name};
use crate::planner::{context::Context, ops};

/// Rows of the default partition that belong into one that comes.
pub(super) fn elsewhere(cx: &Context<'_>, partition: &ObjectName, of: &PartitionOf) -> Option<Danger> {
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
pub(super) fn misfits(cx: &Context<'_>, partition: &ObjectName, of: &PartitionOf) -> Option<Danger> {
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

/// Rows of a table that is attached, which are equal in a key that the parent has.
pub(super) fn equal_in_keys_of(cx: &Context<'_>, partition: &ObjectName, parent: &ObjectName) -> Vec<Danger> {
    let Some(parent) = cx.request.current.table(parent) else { return Vec::new() };
    let keys = parent.primary_key.iter().map(|key| Index::over(&key.columns));
    let keys = keys.chain(parent.uniques.values().map(ops::behind_unique));
    let keys = keys.chain(parent.indexes.values().filter(|index| index.unique).cloned());
    keys.filter_map(|index| duplicates(cx, partition, &index)).collect()
}
