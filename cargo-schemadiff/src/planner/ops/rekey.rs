//! Foreign keys that stand on a key which is replaced or dropped. The server ties each of them to one index of the
//! referenced table and lets that go only with them, so they are made again in the transaction that takes the old key
//! away: unproven, which counts for all new writes, and proven afterwards. That waits for contract, because it could be taken
//! back only by reading them under a lock.

use schemadiff::{
    model::{ForeignKey, ObjectName, Schema, Table},
    plan::Lock,
};

use super::foreign_key;
use crate::{
    Error, Kind, Result,
    planner::{
        context::{Context, Retype, slug},
        proto::{Proto, tag},
    },
};

/// A foreign key that stands on a key and stays.
pub(super) struct Standing {
    table: ObjectName,
    name: String,
    key: ForeignKey,
    /// Whether it is proven when it is there again; otherwise another step makes it once more.
    proven: bool,
}

/// The foreign keys that stand on the key of that name over these columns, and stay when it goes.
///
/// # Errors
/// [`Kind::Refused`] when one of them cannot be made again without reading its table under a lock.
pub(super) fn standing(cx: &Context<'_>, table: &ObjectName, name: &str, columns: &[String]) -> Result<Vec<Standing>> {
    let stands_on = cx.before(table).and_then(|t| referenced_key(cx, t, columns));
    if stands_on.as_deref() != Some(name) {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for child in cx.base.tables.values() {
        for (name, key) in child.foreign_keys.iter().filter(|(_, key)| targets(key, table, columns)) {
            if !stays(cx, &child.name, name, key) {
                continue;
            }
            if child.partition_by.is_some() && !cx.caps.partitioned_not_valid {
                return Err(cannot_follow(&child.name, name, table, columns));
            }
            found.push(Standing { table: child.name.clone(), name: name.clone(), key: key.clone(), proven: true });
        }
    }
    Ok(found)
}

/// The foreign keys at either end of a column, each with its table.
pub(super) fn over<'c>(
    cx: &'c Context<'_>,
    table: &'c ObjectName,
    column: &'c str,
) -> impl Iterator<Item = (&'c ObjectName, &'c String, &'c ForeignKey)> {
    let all = cx.base.tables.values().flat_map(|t| t.foreign_keys.iter().map(move |(name, key)| (&t.name, name, key)));
    let has = move |columns: &[String]| columns.iter().any(|c| c == column);
    all.filter(move |(child, _, key)| {
        *child == table && has(&key.columns) || key.ref_table == *table && has(&key.ref_columns)
    })
}

/// Those that a column's stand-in takes over. Where both ends are replaced, the referenced one is so first, and the other one's step
/// proves the key; the steps that this one has to come after are returned too.
pub(super) fn handed_over(cx: &Context<'_>, table: &ObjectName, column: &str) -> (Vec<Standing>, Vec<String>) {
    let doubled = |table: &ObjectName, column: &String| {
        matches!(cx.retypes.get(&(table.clone(), column.clone())), Some(Retype::Shadow(..)))
    };
    let (mut standing, mut first) = (Vec::new(), Vec::new());
    for (child, name, key) in over(cx, table, column) {
        let is_referenced = key.ref_table == *table && key.ref_columns.iter().any(|c| c == column);
        let other_end = is_referenced && key.columns.iter().any(|c| doubled(child, c));
        if !is_referenced {
            let ends = key.ref_columns.iter().filter(|c| doubled(&key.ref_table, c));
            first.extend(ends.map(|c| tag::step(&carried(&swap_of(&key.ref_table, c)))));
        }
        standing.push(Standing { table: child.clone(), name: name.clone(), key: key.clone(), proven: !other_end });
    }
    (standing, first)
}

/// The step in which a column's stand-in takes its place.
pub(super) fn swap_of(table: &ObjectName, column: &str) -> String {
    slug(&["swap-column", &table.to_string(), column])
}

/// That a step has carried foreign keys over.
fn carried(slug: &str) -> String {
    format!("rekey {slug}")
}

fn cannot_follow(child: &ObjectName, name: &str, table: &ObjectName, columns: &[String]) -> Error {
    let columns = columns.join(", ");
    Error::new(
        Kind::Refused,
        "SD0671",
        format!("the key ({columns}) of `{table}` cannot change while foreign key `{name}` of `{child}` stands on it"),
    )
    .cause(format!(
        "the foreign key has to be made again with the key, and before version 18 PostgreSQL makes one of a partitioned \
         table only by reading all of `{child}` under a lock"
    ))
    .help(format!("drop `{name}` in a migration before this one and add it again in the one after: it is then proven partition by partition"))
}

fn same_set(a: &[String], b: &[String]) -> bool {
    a.len() == b.len() && a.iter().all(|column| b.contains(column))
}

fn targets(key: &ForeignKey, table: &ObjectName, columns: &[String]) -> bool {
    key.ref_table == *table && same_set(&key.ref_columns, columns)
}

/// Whether a foreign key is there after the plan too, with the same target, under its name or a new one.
fn stays(cx: &Context<'_>, child: &ObjectName, name: &str, key: &ForeignKey) -> bool {
    let Some(after) = cx.after(child) else { return false };
    let same_target = |k: &ForeignKey| targets(k, &key.ref_table, &key.ref_columns);
    match after.foreign_keys.get(name) {
        Some(kept) => same_target(kept),
        None => {
            let known = |other: &String| cx.before(child).is_some_and(|t| t.foreign_keys.contains_key(other));
            after.foreign_keys.iter().any(|(other, k)| !known(other) && k == key)
        }
    }
}

/// The key that the server ties a foreign key to these columns to: the first that fits, which is the oldest.
fn referenced_key(cx: &Context<'_>, table: &Table, columns: &[String]) -> Option<String> {
    use schemadiff::model::Deferrable;
    let primary = table.primary_key.iter().filter(|key| key.deferrable == Deferrable::No).map(|key| {
        let name = key.name.clone().unwrap_or_else(|| cx.ddl.default_name(&table.name.name, &[], "pkey"));
        (name, key.columns.clone())
    });
    let uniques = table.uniques.iter().filter(|(_, unique)| unique.deferrable == Deferrable::No);
    let uniques = uniques.map(|(name, unique)| (name.clone(), unique.columns.clone()));
    let indexes = table.indexes.iter().filter(|(_, index)| index.unique && index.predicate.is_none() && !index.invalid);
    let indexes = indexes.filter_map(|(name, index)| {
        let columns: Option<Vec<String>> = index.parts.iter().map(|part| part.column.clone()).collect();
        Some((name.clone(), columns?))
    });
    primary.chain(uniques).chain(indexes).find(|(_, key)| same_set(key, columns)).map(|(name, _)| name)
}

/// Makes a step that takes a key away carry the foreign keys that stand on it over, and proves them after it.
pub(super) fn carry(cx: &mut Context<'_>, mut step: Proto, standing: Vec<Standing>) {
    let step_table = step.table().clone();
    step = step.tag(tag::rekeyed(&step_table));
    if standing.is_empty() {
        return cx.push(step);
    }
    let own = carried(&step.slug);
    step = step.tag(tag::step(&own));
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for Standing { table, name, key, .. } in &standing {
        before.extend(cx.ddl.drop_constraint(table, name));
        after.extend(cx.ddl.add_foreign_key(table, name, &ForeignKey { not_valid: true, ..key.clone() }));
        after.extend(key.comment.iter().flat_map(|text| cx.ddl.comment_on_constraint(table, name, Some(text))));
    }
    // It cannot be taken back without reading the referencing tables under a lock.
    step = step.around(cx.ddl, &before, after).no_undo().prepares(true).after(tag::indexed(&step_table));
    let locks: Vec<Lock> =
        standing.iter().flat_map(|s| cx.ddl.locks("drop_constraint", &s.table, &[&s.key.ref_table])).collect();
    step = step.touching(standing.iter().map(|s| &s.table)).locks(locks);
    step = step.after_all(standing.iter().map(|s| tag::table(&s.table)));
    let unproven: Vec<_> = standing.iter().map(|s| (s.table.clone(), s.name.clone())).collect();
    let first = std::mem::replace(&mut step.effect, Box::new(|_| {}));
    step = step.effect(move |schema: &mut Schema| {
        first(schema);
        for (table, name) in &unproven {
            if let Some(key) = schema.tables.get_mut(table).and_then(|t| t.foreign_keys.get_mut(name)) {
                key.not_valid = true;
            }
        }
    });
    cx.push(step);
    for Standing { table, name, key, .. } in standing.into_iter().filter(|s| s.proven && !s.key.not_valid) {
        let unproven = ForeignKey { not_valid: true, ..key };
        foreign_key::prove_again(cx, &table, &name, &unproven, tag::step(&own));
    }
}

/// What a step that is about a foreign key to these columns must come after: a foreign key that is made before the key
/// there is replaced would stand on the old one.
pub(super) fn comes_first(cx: &Context<'_>, table: &ObjectName, columns: &[String]) -> Option<String> {
    let stands_on = |t: Option<&Table>| t.and_then(|t| referenced_key(cx, t, columns));
    stands_on(cx.before(table)).is_some().then(|| tag::rekeyed(table))
}

/// Whether it is the plan that makes the key a foreign key refers to.
pub(super) fn makes_target(cx: &Context<'_>, key: &ForeignKey) -> bool {
    cx.before(&key.ref_table).is_some_and(|t| referenced_key(cx, t, &key.ref_columns).is_none())
}

/// Whether two foreign keys refer to the same columns of the same table.
pub(super) fn same_target(a: &ForeignKey, b: &ForeignKey) -> bool {
    targets(a, &b.ref_table, &b.ref_columns)
}

/// The server builds a key anew that has the column beside its own, and does not while a foreign key refers to it.
pub(super) fn refuse_included(cx: &Context<'_>, table: &ObjectName, column: &String) -> Result<()> {
    let Some(t) = cx.before(table) else { return Ok(()) };
    let uniques = t.uniques.iter().map(|(name, unique)| (name.clone(), &unique.columns, &unique.include));
    let default = || cx.ddl.default_name(&table.name, &[], "pkey");
    let key = t.primary_key.iter().map(|key| (key.name.clone().unwrap_or_else(default), &key.columns, &key.include));
    for (name, columns, _) in uniques.chain(key).filter(|(_, _, include)| include.contains(column)) {
        let refers = |key: &&ForeignKey| key.ref_table == *table && key.ref_columns.iter().all(|c| columns.contains(c));
        let mut children = cx.base.tables.values().filter(|child| child.foreign_keys.values().any(|key| refers(&key)));
        if let Some(child) = children.next() {
            let what = format!("the type of `{table}.{column}` cannot change: key `{name}` includes it");
            return Err(Error::new(Kind::Refused, "SD0607", what)
                .cause(format!(
                    "the server has to build the key anew, and a foreign key of `{}` refers to it",
                    child.name
                ))
                .help("make a key that does not include the column in a migration before this one")
                .help("or add a new column under another name, and drop this one in a later release"));
        }
    }
    Ok(())
}
