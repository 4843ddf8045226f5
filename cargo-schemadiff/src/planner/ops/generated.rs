//! Generated columns whose values are to be computed anew, because their own expression or type changes or the type of a
//! column that they are computed from. The server does neither in place, so such a column is dropped and added again in one
//! transaction, and with it all that is over it: dropping it takes that along.

use schemadiff::model::{Column, ForeignKey, Index, ObjectName, Schema, Table, expr};

use super::{check, column_settings, exclusion, index};
use crate::{
    Error, Kind, Result, hazard,
    planner::{
        carried::Disturbed,
        context::{Context, Retype, SMALL, on, slug},
        proto::{Proto, rank, tag},
    },
};

/// Whether the server is to compute a column, and not to the values that it has.
fn changes(before: &Column, after: &Column) -> bool {
    after.generated.is_some()
        && (before.generated != after.generated || before.ty != after.ty || before.collation != after.collation)
}

/// Notes the columns that are made anew, for what is over them: those that change themselves.
pub(super) fn decide(cx: &mut Context<'_>, table: &ObjectName, before: &Column, after: &Column) {
    if cx.caps.alter_column && changes(before, after) {
        cx.retypes.insert((table.clone(), after.name.clone()), Retype::InPlace);
    }
}

/// And those that are computed from a column whose type changes in place.
pub(super) fn decide_fed(cx: &mut Context<'_>) {
    let in_place = cx.retypes.iter().filter(|(_, how)| **how == Retype::InPlace && cx.caps.alter_column);
    let fed: Vec<_> = in_place
        .flat_map(|((table, column), _)| fed_by(cx, table, column).map(|(old, _)| (table.clone(), old.name.clone())))
        .collect();
    cx.retypes.extend(fed.into_iter().map(|key| (key, Retype::InPlace)));
}

/// The generated columns before and after that are computed from a column, then or now, and stay generated columns.
fn fed_by<'c>(
    cx: &'c Context<'_>,
    table: &ObjectName,
    column: &'c str,
) -> impl Iterator<Item = (&'c Column, &'c Column)> {
    let (before, after) = (cx.before(table), cx.after(table));
    let pairs =
        before.into_iter().flat_map(|t| &t.columns).filter_map(move |old| Some((old, after?.column(&old.name)?)));
    pairs.filter(move |(old, new)| {
        old.generated.is_some() && new.generated.is_some() && (reads(old, column) || reads(new, column))
    })
}

fn reads(column: &Column, other: &str) -> bool {
    column.generated.as_ref().is_some_and(|generated| expr::mentions(&generated.expr, other))
}

/// The columns that feed a generated one and change their type in place, in the order in which they do so.
fn retyped_feeders(cx: &Context<'_>, table: &ObjectName, before: &Column, after: &Column) -> Vec<String> {
    let plain = |name: &str| cx.after(table).and_then(|t| t.column(name)).is_some_and(|c| c.generated.is_none());
    let feeds = |name: &str| plain(name) && (reads(before, name) || reads(after, name));
    let in_place = cx.retypes.iter().filter(|((t, name), how)| t == table && **how == Retype::InPlace && feeds(name));
    in_place.map(|((_, name), _)| name.clone()).collect()
}

/// Whether the values of a generated column are computed anew.
pub(in crate::planner) fn is_made_anew(cx: &Context<'_>, table: &ObjectName, before: &Column, after: &Column) -> bool {
    cx.caps.alter_column
        && after.generated.is_some()
        && (changes(before, after) || !retyped_feeders(cx, table, before, after).is_empty())
}

/// Plans what differs in a generated column, as far as it is made anew; whether it is.
pub(super) fn plan(cx: &mut Context<'_>, table: &ObjectName, before: &Column, after: &Column) -> Result<bool> {
    let full = format!("{table}.{}", after.name);
    if after.generated.is_none() {
        return Ok(false);
    }
    let was_plain = before.generated.is_none();
    if was_plain && !retyped_feeders(cx, table, before, after).is_empty() {
        return Err(beside_another(&full, "a column that it shall be computed from changes its type"));
    }
    if !retyped_feeders(cx, table, before, after).is_empty() {
        return Ok(true); // the change of that type makes it anew
    }
    if !changes(before, after) {
        return Ok(false);
    }
    let stored = after.generated.as_ref().is_some_and(|generated| generated.stored);
    if before.generated != after.generated && stored && cx.rows(table).is_some_and(|rows| rows > SMALL) {
        return Err(Error::new(
            Kind::Refused,
            "SD0607",
            format!("the expression of `{full}` cannot change in a table in use"),
        )
        .cause("the server computes a stored generated column for all rows under a lock that stops everybody")
        .help("add a new column under another name, and drop this one in a later release"));
    }
    let forth = Again::new(cx, table, before, after)?;
    let back = Again::new(cx, table, after, before)?;
    let id = slug(&["generated", &table.to_string(), &after.name]);
    let how = if was_plain { "from now on" } else { "by its new expression" };
    // Old code may have written such values since they were looked for.
    let expr = after.generated.as_ref().filter(|_| was_plain).map(|generated| generated.expr.clone());
    let refused = expr.iter().flat_map(|expr| cx.ddl.refuse_other_values(table, after, expr));
    let refused: Vec<String> = refused.collect();
    let step = Proto::new(rank::COLUMN, id, format!("compute `{full}` {how}"), table)
        .sql(refused.into_iter().chain(forth.away).chain(forth.back));
    // The values that it had do not come back.
    let step = if was_plain { step.no_undo() } else { step.undo(back.away.into_iter().chain(back.back)) };
    let step = step
        .locks(cx.ddl.locks("drop_column", table, &[]))
        .locks(forth.others.iter().flat_map(|other| cx.ddl.locks("add_foreign_key", table, &[other])))
        .touching(&forth.others)
        .effect(on(table, {
            let column = after.clone();
            move |t: &mut Table| put(t, &column)
        }))
        .disturbs([Disturbed::Column(table.clone(), after.name.clone())])
        .hazard(cx.opaque_hazard(table, Some(&after.name)))
        .hazard(stored.then(|| hazard::rewrites_table::hazard(table, cx.rows(table))))
        .after_all([tag::unused(table, &after.name), tag::unviewed(table), tag::TYPES.to_owned()])
        .after_all(sources(cx, table, after))
        .tags([tag::filled(table, &after.name), tag::TYPES_FREE.to_owned()]);
    cx.push(if stored { step.rewrites() } else { step.scans() });
    Ok(true)
}

fn beside_another(full: &str, what: &str) -> Error {
    Error::new(Kind::Refused, "SD0611", format!("`{full}` cannot turn between a plain and a generated column"))
        .cause(format!("{what} in the same migration"))
        .help("make two migrations of it")
}

/// A generated column becomes a plain one with the values that it has; as it is then, for what else changes about it. Old code does not
/// write it, so it waits for that code to end.
pub(super) fn given_up(
    cx: &mut Context<'_>,
    table: &ObjectName,
    before: &Column,
    after: &Column,
) -> Result<Option<Column>> {
    let Some(generated) = before.generated.as_ref().filter(|_| after.generated.is_none()) else { return Ok(None) };
    let full = format!("{table}.{}", after.name);
    if before.ty != after.ty || before.collation != after.collation {
        return Err(beside_another(&full, "it changes its type"));
    }
    if after.identity.is_some() {
        return Err(beside_another(&full, "it shall be numbered"));
    }
    if !generated.stored {
        return Err(Error::new(Kind::Refused, "SD0611", format!("`{full}` cannot turn into a plain column"))
            .cause("the server stores no values of it")
            .help("add a new column under another name, and drop this one in a later release"));
    }
    let plain = Column { generated: None, default: after.default.clone(), ..before.clone() };
    let mut sql = cx.ddl.drop_expression(table, &after.name);
    if let Some(default) = &after.default {
        sql.extend(cx.ddl.alter_default(table, &after.name, Some(default)));
    }
    let id = slug(&["drop-expression", &table.to_string(), &after.name]);
    let step = Proto::new(rank::COLUMN, id, format!("no longer compute `{full}`"), table)
        .sql(sql)
        .no_undo()
        .prepares(true)
        .locks(cx.ddl.locks("alter_nullable", table, &[]))
        .effect(on(table, {
            let column = plain.clone();
            move |t: &mut Table| put(t, &column)
        }))
        .after(tag::unviewed(table))
        .tags(frees(cx, table, before))
        .tag(tag::filled(table, &after.name));
    cx.push(step);
    Ok(Some(plain))
}

/// Takes the generated columns that are computed from a column out of the way of the step that changes its type.
pub(super) fn around(cx: &Context<'_>, table: &ObjectName, column: &str, step: Proto) -> Result<Proto> {
    let mut step = step;
    for (before, after) in fed_by(cx, table, column) {
        // Each of the changes makes it again, the last one as it shall be.
        let feeders = retyped_feeders(cx, table, before, after);
        let at = feeders.iter().position(|name| name == column);
        let previous = at.and_then(|at| feeders.get(at.checked_sub(1)?)).cloned();
        let then = if feeders.last().is_some_and(|last| last == column) { after } else { before };
        let again = Again::new(cx, table, before, then)?;
        let put_back = then.clone();
        let first = std::mem::replace(&mut step.effect, Box::new(|_| {}));
        step = step
            .around(cx.ddl, &again.away, again.back)
            .touching(&again.others)
            .locks(again.others.iter().flat_map(|other| cx.ddl.locks("add_foreign_key", table, &[other])))
            .effect({
                let table = table.clone();
                move |schema: &mut Schema| {
                    first(schema);
                    schema.tables.get_mut(&table).into_iter().for_each(|t| put(t, &put_back));
                }
            })
            .disturbs([Disturbed::Column(table.clone(), before.name.clone())])
            .tag(tag::filled(table, &before.name))
            .after(tag::unused(table, &before.name))
            .after_all(previous.map(|name| tag::step(&super::column_retype::step_of(table, &name))));
    }
    Ok(step)
}

/// What a new generated column comes after: the columns that it is computed from.
pub(super) fn sources(cx: &Context<'_>, table: &ObjectName, column: &Column) -> Vec<String> {
    let read = cx.after(table).into_iter().flat_map(|t| &t.columns).filter(|other| reads(column, &other.name));
    let in_place = |name: &String| cx.caps.alter_column && index::retyped(cx, table, std::slice::from_ref(name));
    let tag_of = |other: &Column| match in_place(&other.name) {
        true => tag::filled(table, &other.name),
        false => tag::column(table, &other.name),
    };
    read.map(tag_of).collect()
}

/// What waits for a generated column to go: the columns that it is computed from.
pub(super) fn frees(cx: &Context<'_>, table: &ObjectName, column: &Column) -> Vec<String> {
    let read = cx.before(table).into_iter().flat_map(|t| &t.columns).filter(|other| reads(column, &other.name));
    read.map(|other| tag::unused(table, &other.name)).collect()
}

/// Whether a generated column that goes can be kept for a while as it is: it would stand in the way of what it is computed from.
pub(super) fn can_be_kept(cx: &Context<'_>, table: &ObjectName, column: &Column) -> bool {
    let (Some(before), Some(after)) = (cx.before(table), cx.after(table)) else { return true };
    let mut read = before.columns.iter().filter(|other| reads(column, &other.name));
    read.all(|other| after.column(&other.name).is_some_and(|c| c.ty == other.ty && c.collation == other.collation))
}

/// Whether the server computes columns from this one that are made anew with it.
pub(super) fn feeds(cx: &Context<'_>, table: &ObjectName, column: &str) -> bool {
    fed_by(cx, table, column).next().is_some()
}

fn put(table: &mut Table, column: &Column) {
    if let Some(slot) = table.column_mut(&column.name) {
        *slot = column.clone();
    }
}

/// The statements that drop a generated column and add it again.
struct Again {
    away: Vec<String>,
    back: Vec<String>,
    /// Tables that foreign keys over it refer to.
    others: Vec<ObjectName>,
}

impl Again {
    fn new(cx: &Context<'_>, table: &ObjectName, from: &Column, to: &Column) -> Result<Self> {
        let away = cx.ddl.drop_column(table, &from.name);
        let mut back = cx.ddl.add_column(table, to);
        let (Some(before), Some(after)) = (cx.before(table), cx.after(table)) else {
            return Ok(Self { away, back, others: Vec::new() });
        };
        refuse_dependents(cx, before, &from.name)?;
        let keys = keys_over(before, after, &from.name);
        back.extend(over(cx, before, after, &from.name));
        for (name, key) in &keys {
            back.extend(cx.ddl.add_foreign_key(table, name, key));
            back.extend(comment_on(cx, table, name, key.comment.as_deref()));
        }
        back.extend(
            column_settings::of(&cx.base, table, &from.name)
                .into_iter()
                .flat_map(|object| cx.ddl.create_object(&object)),
        );
        Ok(Self { away, back, others: keys.into_iter().map(|(_, key)| key.ref_table).collect() })
    }
}

/// What the server does not drop along with the column, or does not take back under the same lock.
fn refuse_dependents(cx: &Context<'_>, table: &Table, column: &str) -> Result<()> {
    let refers = |t: &&Table| {
        let mut keys = t.foreign_keys.values();
        keys.any(|key| key.ref_table == table.name && key.ref_columns.iter().any(|c| c == column))
    };
    let what = if let Some(child) = cx.base.tables.values().map(|t| &**t).find(refers) {
        format!("a foreign key of `{}` refers to it", child.name)
    } else if exclusion::uses(table, column) {
        "an exclusion constraint is over it".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::new(Kind::Refused, "SD0607", format!("`{}.{column}` cannot be computed anew", table.name))
        .cause(format!("the server has to drop it and add it again, and {what}"))
        .help("add a new column under another name, and drop this one in a later release"))
}

fn has(columns: &[String], column: &str) -> bool {
    columns.iter().any(|c| c == column)
}

/// Indexes and constraints over the column that are the same before and after; what changes has steps of its own.
fn over(cx: &Context<'_>, before: &Table, after: &Table, column: &str) -> Vec<String> {
    let (ddl, name) = (cx.ddl, &before.name);
    let mut sql = Vec::new();
    let same_key = |key: &&schemadiff::model::PrimaryKey| {
        after.primary_key.as_ref().is_some_and(|other| (&other.columns, &other.include) == (&key.columns, &key.include))
    };
    if let Some(key) = before.primary_key.as_ref().filter(same_key)
        && (has(&key.columns, column) || has(&key.include, column))
    {
        let named = key.name.clone().unwrap_or_else(|| ddl.default_name(&name.name, &[], "pkey"));
        sql.extend(ddl.add_primary_key(name, key));
        sql.extend(comment_on(cx, name, &named, key.comment.as_deref()));
    }
    for (unique_name, unique) in &before.uniques {
        let bare = |u: &schemadiff::model::Unique| schemadiff::model::Unique { comment: None, ..u.clone() };
        let stays = after.uniques.get(unique_name).is_some_and(|other| bare(other) == bare(unique));
        if stays && (has(&unique.columns, column) || has(&unique.include, column)) {
            sql.extend(ddl.add_unique(name, unique_name, unique));
            sql.extend(comment_on(cx, name, unique_name, unique.comment.as_deref()));
        }
    }
    for (index_name, index) in &before.indexes {
        let bare = |i: &Index| Index { comment: None, ..i.clone() };
        let stays = after.indexes.get(index_name).is_some_and(|other| bare(other) == bare(index));
        if stays && has(&index::columns(before, index), column) {
            sql.extend(ddl.create_index(name, index_name, index, false));
            let comment = index.comment.as_deref();
            sql.extend(comment.iter().flat_map(|text| ddl.comment_on_index(name, index_name, Some(text))));
        }
    }
    for (check_name, check) in &before.checks {
        let stays = after.checks.get(check_name).is_some_and(|other| check::same_rule(check, other));
        if stays && expr::mentions(&check.expr, column) {
            sql.extend(ddl.add_check(name, check_name, check));
            sql.extend(comment_on(cx, name, check_name, check.comment.as_deref()));
        }
    }
    sql
}

fn keys_over(before: &Table, after: &Table, column: &str) -> Vec<(String, ForeignKey)> {
    let bare = |key: &ForeignKey| ForeignKey { comment: None, ..key.clone() };
    let stays = |(name, key): &(&String, &ForeignKey)| {
        has(&key.columns, column) && after.foreign_keys.get(*name).is_some_and(|other| bare(other) == bare(key))
    };
    before.foreign_keys.iter().filter(stays).map(|(name, key)| (name.clone(), key.clone())).collect()
}

fn comment_on(cx: &Context<'_>, table: &ObjectName, name: &str, comment: Option<&str>) -> Vec<String> {
    comment.iter().flat_map(|text| cx.ddl.comment_on_constraint(table, name, Some(text))).collect()
}
