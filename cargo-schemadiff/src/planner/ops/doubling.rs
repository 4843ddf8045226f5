//! Whether a column that changes its type can be doubled: a stand-in of the new type takes over all that is over the column, keys and
//! numbering included.

use schemadiff::model::{Check, Column, ForeignKey, IdentityKind, Index, ObjectName, PrimaryKey, Table, Unique, expr};

use super::{check, exclusion, index, partition, rekey};
use crate::planner::context::{Context, Retype};

/// Whether a stand-in can take over what is over a column that is of no key.
pub(super) fn can_be_doubled(cx: &Context<'_>, table: &ObjectName, before: &Column, after: &Column) -> bool {
    let (Some(t), Some(desired)) = (cx.before(table), cx.after(table)) else { return false };
    let name = &before.name;
    let computed = |c: &Column| c.generated.is_some();
    let mut computed_columns = t.columns.iter().chain(&desired.columns).filter_map(|c| c.generated.as_ref());
    let feeds = computed_columns.any(|g| expr::mentions(&g.expr, name));
    // A copy of an index has one stand-in column, not two.
    let other_shadow =
        |m: &str| cx.retypes.iter().any(|((t, c), how)| t == table && c == m && matches!(how, Retype::Shadow(..)));
    // A partitioned table's constraint cannot adopt the index that stands in for the old one.
    let in_partitioned_key = partition::is_partitioned(cx, table) && !members_of(desired, name).uniques.is_empty();
    let shares = members_of(desired, name).any_mention(desired, other_shadow);
    let no_key = cx.key(table).is_err();
    let excluded = exclusion::uses(t, name) || exclusion::uses(desired, name);
    !(excluded
        || computed(before)
        || computed(after)
        || feeds
        || in_partitioned_key
        || shares
        || no_key
        || cx.viewed.contains(table))
}

/// Whether a column is of the primary key, or at one end of a foreign key, before or after.
pub(super) fn is_keyed(cx: &Context<'_>, table: &ObjectName, name: &String) -> bool {
    [&cx.base, cx.request.desired].into_iter().any(|schema| {
        let in_key = |t: &Table| t.primary_key.as_ref().is_some_and(|k| k.columns.contains(name));
        let in_reference = |t: &Table| t.foreign_keys.values().any(|k| k.columns.contains(name));
        let refers = |k: &ForeignKey| k.ref_table == *table && k.ref_columns.contains(name);
        schema.table(table).is_some_and(|t| in_key(t) || in_reference(t))
            || schema.tables.values().any(|t| t.foreign_keys.values().any(refers))
    })
}

/// Whether key, numbering and foreign keys can pass to a stand-in: they stay as they are, and the server compares the types that the
/// two ends of a foreign key have in between.
pub(super) fn key_can_be_doubled(cx: &Context<'_>, table: &ObjectName, before: &Column, after: &Column) -> bool {
    let (Some(t), Some(desired)) = (cx.before(table), cx.after(table)) else { return false };
    let is_plain = |t: &Table| t.partition_by.is_none() && t.partition_of.is_none();
    let is_whole = |ty: &str| matches!(ty, "smallint" | "integer" | "bigint");
    let same = |child: &ObjectName, name: &String, key: &ForeignKey| {
        let whole = cx.before(child).is_some_and(is_plain) && cx.before(&key.ref_table).is_some_and(is_plain);
        let kept = cx.after(child).and_then(|t| t.foreign_keys.get(name));
        whole && kept.is_some_and(|kept| kept == key) && is_whole(&before.ty) && is_whole(&after.ty)
    };
    // One that comes with the plan is made over what is there by then.
    let comes = |t: &Table| {
        t.foreign_keys.iter().any(|(name, key)| {
            let over = t.name == *table && key.columns.contains(&after.name)
                || key.ref_table == *table && key.ref_columns.contains(&after.name);
            over && cx.before(&t.name).is_none_or(|t| !t.foreign_keys.contains_key(name))
        })
    };
    cx.caps.constraint_using_index
        && is_plain(t)
        && is_plain(desired)
        && t.primary_key == desired.primary_key
        && counted_alike(before, after)
        && rekey::over(cx, table, &before.name).all(|(child, name, key)| same(child, name, key))
        && !cx.request.desired.tables.values().any(|t| comes(t))
}

/// Whether both are numbered in the same way, but for the type that the sequence of a `serial` column counts in: whoever changes the
/// column alone leaves the sequence in the type before, and introspection says so.
fn counted_alike(before: &Column, after: &Column) -> bool {
    let counted = |column: &Column| {
        let mut identity = column.identity.clone()?;
        if identity.kind == IdentityKind::Serial {
            identity.options = identity.options.as_deref().and_then(but_type);
        }
        Some(identity)
    };
    counted(before) == counted(after)
}

/// What a sequence's options say beside its type.
fn but_type(options: &str) -> Option<String> {
    let rest = options.strip_prefix("AS ").map_or(options, |typed| typed.split_once(' ').map_or("", |(_, rest)| rest));
    (!rest.is_empty()).then(|| rest.to_owned())
}

/// The indexes and constraints over a column.
pub(super) struct Members {
    pub primary: Option<PrimaryKey>,
    pub indexes: Vec<(String, Index)>,
    pub uniques: Vec<(String, Unique)>,
    pub checks: Vec<(String, Check)>,
}

/// What is over a column of the table.
pub(super) fn members_of(table: &Table, column: &str) -> Members {
    let has = |columns: &[String]| columns.iter().any(|c| c == column);
    let pairs = |name: &String| name.clone();
    Members {
        primary: table.primary_key.clone().filter(|key| has(&key.columns) || has(&key.include)),
        indexes: table
            .indexes
            .iter()
            .filter(|(_, i)| index::columns(table, i).iter().any(|c| c == column))
            .map(|(n, i)| (pairs(n), i.clone()))
            .collect(),
        uniques: table
            .uniques
            .iter()
            .filter(|(_, u)| has(&u.columns) || has(&u.include))
            .map(|(n, u)| (pairs(n), u.clone()))
            .collect(),
        checks: table
            .checks
            .iter()
            .filter(|(_, c)| expr::mentions(&c.expr, column))
            .map(|(n, c)| (pairs(n), c.clone()))
            .collect(),
    }
}

impl Members {
    fn any_mention(&self, table: &Table, is: impl Fn(&str) -> bool) -> bool {
        let primary = self.primary.iter().flat_map(|key| key.columns.iter().chain(&key.include).cloned());
        let mut columns: Vec<String> = primary.collect();
        columns.extend(self.indexes.iter().flat_map(|(_, i)| index::columns(table, i)));
        columns.extend(self.uniques.iter().flat_map(|(_, u)| u.columns.iter().chain(&u.include).cloned()));
        columns.extend(self.checks.iter().flat_map(|(_, c)| check::columns(table, &c.expr)));
        columns.iter().any(|c| is(c))
    }
}
