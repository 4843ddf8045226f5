//! Change a column's type or collation under its name. Code that was compiled for one type cannot use the other.
//!
//! - Where the retiring version has views: a synced column of the new type with copies of all indexes and constraints, which
//!   takes the name when it is filled. The old column lives on under a private name, which the view shows under the old
//!   one, until contract.
//!
//! Without views the versions do not overlap; what is left to choose is how long the change takes in contract.
//!
//! - Catalogue only, or a small table, or a column that cannot be doubled: one ALTER in contract. Where the server would read
//!   the table again for a check on the column, the check goes before it in the same transaction, comes back for new writes,
//!   and is proven for the rows afterwards.
//! - Otherwise: a synced column of the new type with copies of all indexes and constraints, made while everything runs,
//!   and a swap of names in contract, which takes milliseconds. So is a column of the primary key: the stand-in takes over the key and
//!   the numbering, and the foreign keys at either end are made again with it, unproven, and proven afterwards.

use schemadiff::{
    model::{Check, Column, ForeignKey, Index, ObjectName, Schema, Sync, Table, Unique, expr},
    plan::Hazard,
};

use super::{
    check, column_settings,
    doubling::{Members, can_be_doubled, is_keyed, key_can_be_doubled, members_of},
    foreign_key, generated, index, primary_key, rekey, trigger,
};
use crate::{
    Result,
    dialect::{SyncSpec, TypeChange},
    hazard,
    planner::{
        carried::Disturbed,
        context::{Context, Retype, on, retained, slug, temporary},
        proto::{Proto, rank, tag},
        renaming::{rename_all, rename_column, renamed_index},
        synced::{self, Synced},
    },
};

/// Whether the type changes, and how; other operations ask for it.
pub(super) fn decide(
    cx: &mut Context<'_>,
    table: &ObjectName,
    before: &Column,
    after: &Column,
    backfill: Option<&str>,
) {
    if before.ty == after.ty && before.collation == after.collation {
        return;
    }
    let converts = conversion(before, after, backfill).is_some();
    let costly = converts || cost(cx, table, before, after) != Cost::Catalogue;
    let keyed = is_keyed(cx, table, &before.name) || before.identity.is_some();
    let can = cx.caps.alter_column
        && can_be_doubled(cx, table, before, after)
        && (!keyed || !converts && key_can_be_doubled(cx, table, before, after));
    // An expression of the user's leads one way only: the old version's view would have nothing to show.
    let how = if can && !keyed && !converts && cx.is_column_shielded(table, [&before.name, &after.name]) {
        Retype::Shadow(temporary(&after.name), Some(retained(&after.name)))
    } else if can && costly && !cx.is_small(table) {
        Retype::Shadow(temporary(&after.name), None)
    } else {
        Retype::InPlace
    };
    cx.retypes.insert((table.clone(), after.name.clone()), how);
}

/// The user's own expression for a value of the new type, over the row as it was: a backfill that uses the column itself. Any
/// other is from the time when the column was added, or is for the rows without a value.
pub(in crate::planner) fn conversion<'b>(
    before: &Column,
    after: &Column,
    backfill: Option<&'b str>,
) -> Option<&'b str> {
    backfill.filter(|text| before.ty != after.ty && after.generated.is_none() && expr::mentions(text, &before.name))
}

/// What the new type does not hold of the values, where nothing else says what becomes of them.
fn loses(cx: &Context<'_>, table: &ObjectName, before: &Column, after: &Column, by: Option<&str>) -> Option<Hazard> {
    let loses = by.is_none() && cx.ddl.loses_part(&before.ty, &after.ty);
    loses.then(|| hazard::loses_part::hazard(table, &after.name, &before.ty, &after.ty))
}

/// What one ALTER does under its lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cost {
    /// Next to nothing.
    Catalogue,
    /// It builds indexes anew.
    Indexes,
    /// It writes the table anew, and with it all indexes.
    Table,
}

/// The server keeps an index over the bare column when the values stay as they are; it builds anew what is sorted otherwise,
/// and what holds an expression or a condition over the column.
fn cost(cx: &Context<'_>, table: &ObjectName, before: &Column, after: &Column) -> Cost {
    if changes_values(cx, &before.ty, &after.ty) {
        return Cost::Table;
    }
    let (Some(t), Some(desired)) = (cx.before(table), cx.after(table)) else { return Cost::Catalogue };
    let name = &before.name;
    let in_text = |index: &Index| {
        let texts = index.parts.iter().filter_map(|part| part.expr.as_ref()).chain(&index.predicate);
        texts.into_iter().any(|text| expr::mentions(text, name))
    };
    let sorted_anew = before.collation != after.collation || is_zone_alone(&before.ty, &after.ty);
    let has = |columns: &[String]| sorted_anew && columns.contains(name);
    let rebuilt =
        |index: &Index| in_text(index) || sorted_anew && index.parts.iter().any(|p| p.column.as_ref() == Some(name));
    let of_partitions = cx.base.partitions(table).into_iter().flat_map(|partition| partition.indexes.values());
    let any = t.indexes.iter().any(|(n, index)| desired.indexes.contains_key(n) && rebuilt(index))
        || of_partitions.into_iter().any(rebuilt)
        || t.uniques.values().any(|unique| has(&unique.columns))
        || t.primary_key.as_ref().is_some_and(|key| has(&key.columns));
    if any { Cost::Indexes } else { Cost::Catalogue }
}

/// Whether the server writes the table anew: not for a domain that takes all values of its base type, nor from a domain to
/// its base type.
fn changes_values(cx: &Context<'_>, before: &str, after: &str) -> bool {
    let (old, new) = (cx.base.base_type(before), cx.request.desired.base_type(after));
    let same_rules = !cx.request.desired.constrains(after) || before == after;
    // A session whose time zone is UTC, as those are that carry steps out, reads the same bytes either way.
    if same_rules && is_zone_alone(old, new) {
        return false;
    }
    !same_rules || cx.ddl.type_change(old, new) == TypeChange::Rewrite
}

/// Whether the types differ in their time zone alone. One with a precision is cut to it anew.
fn is_zone_alone(before: &str, after: &str) -> bool {
    hazard::zone_assumed::concerns(before, after) && !before.contains('(') && !after.contains('(')
}

/// One ALTER in contract.
pub(super) fn in_place(
    cx: &mut Context<'_>,
    table: &ObjectName,
    before: &Column,
    after: &Column,
    conversion: Option<&str>,
) -> Result<()> {
    rekey::refuse_included(cx, table, &after.name)?;
    let full = format!("`{table}.{}`", after.name);
    let cost = if conversion.is_some() || generated::feeds(cx, table, &after.name) {
        Cost::Table
    } else {
        cost(cx, table, before, after)
    };
    let checks = if cost == Cost::Table { Vec::new() } else { read_again(cx, table, &after.name) };
    // The old default may not convert; the new one is in the new type anyway. Not all that is set for the column goes with the type.
    let was_set = column_settings::of(&cx.base, table, &before.name);
    let mut sql: Vec<String> = was_set.iter().flat_map(|object| cx.ddl.drop_object(object)).collect();
    for (name, _) in &checks {
        sql.extend(cx.ddl.drop_constraint(table, name));
    }
    if before.default.is_some() {
        sql.extend(cx.ddl.alter_default(table, &after.name, None));
    }
    // Another way of numbering is another step's.
    let numbered = Column { identity: before.identity.clone(), ..after.clone() };
    let value = conversion.map(|expr| cx.ddl.value_of(expr, cx.request.desired.base_type(&after.ty)));
    let part = cx.ddl.alter_type(&before.ty, &numbered, value.as_deref());
    let mut then = cx.ddl.follow_type(table, &numbered);
    if after.identity.is_none()
        && let Some(default) = &after.default
    {
        then.extend(cx.ddl.alter_default(table, &after.name, Some(default)));
    }
    for (name, check) in &checks {
        then.extend(cx.ddl.add_check(table, name, &unproven(check)));
        then.extend(check.comment.iter().flat_map(|text| cx.ddl.comment_on_constraint(table, name, Some(text))));
    }
    let settings = column_settings::of(cx.request.desired, table, &after.name);
    then.extend(settings.iter().flat_map(|object| cx.ddl.create_object(object)));
    let others = tied(cx, table, &before.name);
    let others: Vec<_> = others.iter().collect();
    let id = step_of(table, &after.name);
    let title = format!("change the type of {full} from {} to {}", before.ty, after.ty);
    let column = after.clone();
    let names: Vec<String> = checks.iter().map(|(name, _)| name.clone()).collect();
    let mut step = Proto::new(rank::COLUMN, &id, title, table)
        .alter(sql, part, then)
        .no_undo()
        .locks(cx.ddl.locks("alter_type", table, &others))
        .effect(column_settings::and_set(
            (table, &after.name),
            settings,
            on(table, move |t| {
                if let Some(slot) = t.column_mut(&column.name) {
                    slot.ty.clone_from(&column.ty);
                    slot.collation.clone_from(&column.collation);
                    if slot.identity.is_none() && column.identity.is_none() {
                        slot.default.clone_from(&column.default);
                    }
                }
                for name in &names {
                    if let Some(check) = t.checks.get_mut(name) {
                        check.not_valid = true;
                    }
                }
            }),
        ))
        .disturbs([Disturbed::Column(table.clone(), after.name.clone())])
        .tag(tag::filled(table, &after.name))
        .tag(tag::step(&id))
        .tag(tag::TYPES_FREE)
        .after_all([tag::unused(table, &after.name), tag::unviewed(table), tag::TYPES.to_owned()])
        .hazard(cx.opaque_hazard(table, Some(&after.name)));
    let zoned = conversion.is_none() && hazard::zone_assumed::concerns(&before.ty, &after.ty);
    step = step.hazard(zoned.then(|| hazard::zone_assumed::hazard(table, &after.name)));
    step = step.hazard(loses(cx, table, before, after, conversion));
    let size = cx.rows(table);
    let large = |hazard| (!cx.is_small(table)).then_some(hazard);
    step = match cost {
        Cost::Table => step.rewrites().hazard(large(hazard::rewrites_table::hazard(table, size))),
        Cost::Indexes => step.rebuilds_indexes().scans().hazard(large(hazard::rebuilds_indexes::hazard(table, size))),
        Cost::Catalogue => step,
    };
    step = generated::around(cx, table, &after.name, step)?;
    cx.push(step);
    for (name, check) in checks {
        check::validate_kept(cx, table, &name, &unproven(&check), tag::step(&id));
    }
    Ok(())
}

/// The tables that foreign keys tie to the column's while its type changes. Those that go or change are gone by then.
fn tied(cx: &Context<'_>, table: &ObjectName, column: &String) -> Vec<ObjectName> {
    let stays = |t: &Table, name: &String, key: &ForeignKey| {
        cx.after(&t.name).and_then(|after| after.foreign_keys.get(name)).is_some_and(|k| foreign_key::same_rule(key, k))
    };
    let mut tied = Vec::new();
    for t in cx.base.tables.values() {
        let parted = |name: &String| cx.parted.contains(&(t.name.clone(), name.clone()));
        for (_, key) in t.foreign_keys.iter().filter(|(name, key)| stays(t, name, key) && !parted(name)) {
            if t.name == *table && key.columns.contains(column) {
                tied.push(key.ref_table.clone());
            }
            if key.ref_table == *table && key.ref_columns.contains(column) {
                tied.push(t.name.clone());
            }
        }
    }
    tied
}

/// The step that changes the type in place.
pub(super) fn step_of(table: &ObjectName, column: &str) -> String {
    slug(&["retype", &table.to_string(), column])
}

/// The checks over a column that stay as they are: the server would read all rows again for each.
fn read_again(cx: &Context<'_>, table: &ObjectName, column: &str) -> Vec<(String, Check)> {
    let (Some(t), Some(desired)) = (cx.before(table), cx.after(table)) else { return Vec::new() };
    let stays = |(name, check): &(&String, &Check)| {
        !check.not_valid
            && expr::mentions(&check.expr, column)
            && desired.checks.get(*name).is_some_and(|c| c.expr == check.expr)
    };
    let pairs = t.checks.iter().filter(stays).map(|(name, check)| (name.clone(), check.clone()));
    if cx.caps.not_valid { pairs.collect() } else { Vec::new() }
}

fn unproven(check: &Check) -> Check {
    Check { not_valid: true, ..check.clone() }
}

/// The synced column, copies of everything on it, and the swap; `names` are those of [`Retype::Shadow`].
pub(super) fn through_shadow(
    cx: &mut Context<'_>,
    table: &ObjectName,
    before: &Column,
    after: &Column,
    (shadow, retained): (&str, Option<&str>),
    conversion: Option<&str>,
) -> Result<()> {
    let Some(desired) = cx.after(table) else { return Ok(()) };
    let column = Column { name: shadow.to_owned(), comment: None, ..after.clone() };
    let (old, new) = (cx.ddl.ident(&before.name), cx.ddl.ident(shadow));
    let synced = match conversion {
        Some(expr) => {
            let forward = expr.to_owned();
            Synced { table, column: &column, old: None, forward, backward: None, passes_nulls: false }
        }
        None => Synced {
            table,
            column: &column,
            old: Some(before),
            forward: cx.ddl.cast(&old, &after.ty),
            backward: Some(cx.ddl.cast(&new, &before.ty)),
            passes_nulls: before.nullable,
        },
    };
    let trigger = synced::make(cx, &synced)?;
    let mut hazards = Vec::new();
    if let Some(retained) = retained {
        hazards.extend(trigger::too_early(cx, table, [retained, &after.name]));
        hazards.push(hazard::out_of_range::hazard(table, &after.name, &before.ty));
    }
    hazards.extend(loses(cx, table, before, after, conversion));
    if conversion.is_none() && cx.ddl.cannot_convert("x", &before.ty, &after.ty).is_some() {
        hazards.push(hazard::converts_on_write::hazard(table, &after.name, &after.ty));
    }
    if conversion.is_none() && synced::refuses_null(before, after) {
        hazards.push(hazard::null_too_early::hazard(table, &after.name));
    }
    if conversion.is_none() && hazard::zone_assumed::concerns(&before.ty, &after.ty) {
        hazards.push(hazard::zone_assumed::hazard(table, &after.name));
    }
    let made = tag::column(table, shadow);
    cx.protos.iter_mut().filter(|step| step.tags.contains(&made)).for_each(|step| step.hazards.append(&mut hazards));

    let members = members_of(desired, &after.name);
    for (name, index) in &members.indexes {
        index::create(cx, table, &temporary(name), &bare_index(&renamed_index(index, &after.name, shadow)));
    }
    for (name, unique) in &members.uniques {
        let copy = index::behind_unique(&renamed_unique(unique, &after.name, shadow));
        index::create(cx, table, &temporary(name), &copy);
    }
    if let Some(key) = &members.primary {
        let mut copy = key.clone();
        rename_all(&mut copy.columns, &after.name, shadow);
        rename_all(&mut copy.include, &after.name, shadow);
        index::create(cx, table, &temporary(&primary_key::name_of(cx, table, key)), &primary_key::behind(&copy));
    }
    for (name, check) in &members.checks {
        let expr = expr::rename_column(&check.expr, &after.name, shadow);
        check::add(cx, table, &temporary(name), &Check { expr, comment: None, ..check.clone() });
    }
    match retained {
        Some(retained) => {
            let trigger = switch(cx, table, before, after, (shadow, retained), &trigger, &members)?;
            let old = Column { name: retained.to_owned(), ..before.clone() };
            swap(cx, table, &old, after, &after.name, &trigger, members);
        }
        None => swap(cx, table, before, after, shadow, &trigger, members),
    }
    Ok(())
}

/// One short transaction in which the columns change names, behind the retiring version's view, and the trigger with them.
/// Indexes and constraints stay under the names they have: the old ones go with the old column. Returns the trigger's name.
fn switch(
    cx: &mut Context<'_>,
    table: &ObjectName,
    before: &Column,
    after: &Column,
    (shadow, retained): (&str, &str),
    trigger: &str,
    members: &Members,
) -> Result<String> {
    let ddl = cx.ddl;
    let Some(first) = cx.syncs.get(trigger).cloned() else { return Ok(trigger.to_owned()) };
    let (old, new) = (ddl.ident(retained), ddl.ident(&after.name));
    let renamed = |name: &String| match name.as_str() {
        name if name == shadow => after.name.clone(),
        name if name == before.name => retained.to_owned(),
        name => name.to_owned(),
    };
    let second = SyncSpec {
        name: ddl.sync_name(table, &after.name),
        old: Some(retained.to_owned()),
        new: after.name.clone(),
        forward: ddl.cast(&old, &after.ty),
        backward: Some(ddl.cast(&new, &before.ty)),
        columns: first.columns.iter().map(renamed).collect(),
        restores: first.restores.iter().map(renamed).collect(),
        default: None,
        ..first.clone()
    };
    let mut sql = ddl.drop_sync(table, &first.name);
    sql.extend(ddl.rename_column(table, &before.name, retained));
    sql.extend(ddl.rename_column(table, shadow, &after.name));
    sql.extend(ddl.create_sync(&second));
    let mut undo = ddl.drop_sync(table, &second.name);
    undo.extend(ddl.rename_column(table, &after.name, shadow));
    undo.extend(ddl.rename_column(table, retained, &before.name));
    undo.extend(ddl.create_sync(&first));
    let sync = Sync { fills: second.fills(), filled: second.fills(), ..Sync::default() };
    let id = slug(&["switch-column", &table.to_string(), &after.name]);
    let title =
        format!("let the column of type {} be `{table}.{}`, behind the old version's view", after.ty, after.name);
    let effect = {
        let (table, trigger, name) = (table.clone(), trigger.to_owned(), second.name.clone());
        let (column, shadow, retained) = (after.name.clone(), shadow.to_owned(), retained.to_owned());
        move |schema: &mut Schema| {
            rename_column(schema, &table, &column, &retained);
            rename_column(schema, &table, &shadow, &column);
            if let Some(t) = schema.tables.get_mut(&table) {
                t.syncs.remove(&trigger);
                t.syncs.insert(name.clone(), sync.clone());
            }
        }
    };
    let copies = members.indexes.iter().map(|(name, _)| name).chain(members.uniques.iter().map(|(name, _)| name));
    let checks = members.checks.iter().flat_map(|(name, _)| ["add-check", "validate"].map(|what| (what, name)));
    let copies = copies.map(|name| ("create-index", name)).chain(checks);
    let step = Proto::new(rank::CONSTRAINT, &id, title, table)
        .sql(sql)
        .undo(undo)
        .locks(ddl.locks("rename_column", table, &[]))
        .hazard(cx.opaque_hazard(table, Some(&after.name)))
        .effect(effect)
        .disturbs([Disturbed::Column(table.clone(), after.name.clone())])
        .tag(tag::filled(table, &after.name))
        .after(tag::filled(table, shadow))
        .after_all(copies.map(|(what, name)| tag::step(&slug(&[what, &temporary(name)]))));
    let step = cx.changes_shape(table, step);
    cx.push(step);
    let name = second.name.clone();
    cx.syncs.insert(name.clone(), second);
    Ok(name)
}

fn bare_index(index: &Index) -> Index {
    Index { comment: None, ..index.clone() }
}

fn renamed_unique(unique: &Unique, from: &str, to: &str) -> Unique {
    let mut unique = unique.clone();
    rename_all(&mut unique.columns, from, to);
    rename_all(&mut unique.include, from, to);
    unique
}

/// One short transaction: trigger, old column (its indexes and constraints go with it), and the stand-ins take over the
/// names, as far as they do not have them yet. `before` is the old column and `shadow` the new one under the names they
/// have by then.
fn swap(
    cx: &mut Context<'_>,
    table: &ObjectName,
    before: &Column,
    after: &Column,
    shadow: &str,
    trigger: &str,
    members: Members,
) {
    let ddl = cx.ddl;
    let mut sql = ddl.drop_sync(table, trigger);
    let (handed, taken) = ddl.hand_over_numbers(table, after, shadow);
    sql.extend(handed);
    sql.extend(ddl.drop_column(table, &before.name));
    if shadow != after.name {
        sql.extend(ddl.rename_column(table, shadow, &after.name));
    }
    sql.extend(taken);
    if let Some(default) = &after.default {
        sql.extend(ddl.alter_default(table, &after.name, Some(default)));
    }
    if after.comment.is_some() {
        sql.extend(ddl.comment_on_column(table, &after.name, after.comment.as_deref()));
    }
    if !after.nullable {
        sql.extend(synced::rename_proven(cx, table, [&temporary(&after.name), &after.name]));
    }
    let settings = column_settings::of(cx.request.desired, table, &after.name);
    sql.extend(settings.iter().flat_map(|object| ddl.create_object(object)));
    let primary = members.primary.as_ref().map(|key| temporary(&primary_key::name_of(cx, table, key)));
    for (key, stand_in) in members.primary.iter().zip(&primary) {
        sql.extend(ddl.add_primary_key_using_index(table, key, stand_in));
        let name = primary_key::name_of(cx, table, key);
        sql.extend(key.comment.iter().flat_map(|text| ddl.comment_on_constraint(table, &name, Some(text))));
    }
    for (name, index) in &members.indexes {
        sql.extend(ddl.rename_index(table, &temporary(name), name));
        sql.extend(index.comment.iter().flat_map(|text| ddl.comment_on_index(table, name, Some(text))));
    }
    for (name, unique) in &members.uniques {
        sql.extend(ddl.add_unique_using_index(table, name, unique, &temporary(name)));
        sql.extend(unique.comment.iter().flat_map(|text| ddl.comment_on_constraint(table, name, Some(text))));
    }
    for (name, check) in &members.checks {
        sql.extend(ddl.rename_constraint(table, &temporary(name), name));
        sql.extend(check.comment.iter().flat_map(|text| ddl.comment_on_constraint(table, name, Some(text))));
    }
    let (what, title) = match shadow == after.name {
        true => (
            "drop-column",
            format!("drop the old column of `{table}.{}`, its data is of type {}", after.name, after.ty),
        ),
        false => {
            ("swap-column", format!("let the column of type {} take the place of `{table}.{}`", after.ty, after.name))
        }
    };
    let id = if what == "swap-column" {
        rekey::swap_of(table, &after.name)
    } else {
        slug(&[what, &table.to_string(), &after.name])
    };
    let old = before.name.clone();
    let (column, shadow_name, trigger) = (after.clone(), shadow.to_owned(), trigger.to_owned());
    let step = Proto::new(rank::REMOVE_COLUMN, id, title, table)
        .sql(sql)
        .no_undo()
        .locks(ddl.locks("drop_column", table, &[]))
        // Where the column changes its type under its name, new code begins after this.
        .hazard((shadow == after.name).then(|| cx.fewer_columns_hazard(table)))
        .hazard(cx.opaque_hazard(table, Some(&after.name)))
        .disturbs([Disturbed::Column(table.clone(), before.name.clone())])
        .effect(column_settings::and_set(
            (table, &after.name),
            settings,
            on(table, move |t| {
                t.syncs.remove(&trigger);
                let over = members_of(t, &old);
                over.indexes.iter().for_each(|(name, _)| drop(t.indexes.remove(name)));
                over.uniques.iter().for_each(|(name, _)| drop(t.uniques.remove(name)));
                over.checks.iter().for_each(|(name, _)| drop(t.checks.remove(name)));
                t.columns.retain(|c| c.name != old);
                primary.iter().for_each(|stand_in| drop(t.indexes.remove(stand_in)));
                if let Some(slot) = t.column_mut(&shadow_name) {
                    *slot = column.clone();
                }
                for (name, index) in &members.indexes {
                    t.indexes.remove(&temporary(name));
                    t.indexes.insert(name.clone(), index.clone());
                }
                for (name, unique) in &members.uniques {
                    t.indexes.remove(&temporary(name));
                    t.uniques.insert(name.clone(), unique.clone());
                }
                for (name, check) in &members.checks {
                    t.checks.remove(&temporary(name));
                    t.checks.insert(name.clone(), check.clone());
                }
            }),
        ))
        .tag(tag::TYPES_FREE)
        .after_all([
            tag::filled(table, shadow),
            tag::filled(table, &after.name),
            tag::unused(table, &after.name),
            tag::unviewed(table),
            tag::adds(table),
        ]);
    if !is_keyed(cx, table, &after.name) {
        return cx.push(step.after(tag::refers(table)));
    }
    let (standing, first) = rekey::handed_over(cx, table, &after.name);
    rekey::carry(cx, step.after_all(first), standing);
}
