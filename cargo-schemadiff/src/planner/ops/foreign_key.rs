//! Foreign keys: NOT VALID, then VALIDATE, each in a transaction of its own, because each locks two tables.

use schemadiff::{
    model::{Deferrable, FkAction, ForeignKey, ObjectName},
    plan::{Envelope, Hazard},
};

use super::{comment, index, partition, rekey};
use crate::{
    dialect::PerPartition,
    hazard,
    planner::{
        context::{Context, on, slug, temporary},
        probes,
        proto::{Proto, rank, tag},
    },
};

pub(super) fn plan(
    cx: &mut Context<'_>,
    table: &ObjectName,
    name: &str,
    before: Option<&ForeignKey>,
    after: Option<&ForeignKey>,
) {
    if !cx.caps.alter_constraints {
        return rebuild(cx, table, name, before, after);
    }
    match (before, after) {
        (None, None) => {}
        (None, Some(after)) => {
            add(cx, table, name, after);
            if after.comment.is_some() {
                comment::constraint(cx, table, name, after.comment.as_deref(), comment::Of::ForeignKey);
            }
        }
        (Some(before), None) => drop(cx, table, name, before, false),
        // It goes and comes back as it shall be.
        (Some(_), Some(_)) if cx.parted.contains(&(table.clone(), name.to_owned())) => {}
        (Some(before), Some(after)) if same_rule(before, after) => {
            if before.deferrable != after.deferrable {
                alter_deferrable(cx, table, name, before, after);
            }
            if before.not_valid && !after.not_valid {
                let unproven = ForeignKey { deferrable: after.deferrable, ..before.clone() };
                validate(cx, table, name, &unproven, vec![tag::step(&slug(&["alter-deferrable", name]))]);
            }
            if before.comment != after.comment {
                comment::constraint(cx, table, name, after.comment.as_deref(), comment::Of::ForeignKey);
            }
        }
        (Some(before), Some(after)) if retyped(cx, table, before) => again(cx, table, name, before, after),
        (Some(before), Some(after)) => replace(cx, table, name, before, after),
    }
}

/// It would stand in the way of the column, and the new one fits only after it.
fn again(cx: &mut Context<'_>, table: &ObjectName, name: &str, before: &ForeignKey, after: &ForeignKey) {
    drop(cx, table, name, before, true);
    add(cx, table, name, after);
    if after.comment.is_some() {
        comment::constraint(cx, table, name, after.comment.as_deref(), comment::Of::ForeignKey);
    }
}

/// Takes foreign keys away for as long as their two ends are of types that the server cannot compare: a text on one side that is a
/// uuid already on the other.
pub(super) fn part(cx: &mut Context<'_>) {
    if !cx.caps.alter_constraints {
        return;
    }
    let changes = |cx: &Context<'_>, table: &ObjectName, column: &String| {
        let (Some(was), Some(shall)) = (cx.before(table), cx.after(table)) else { return false };
        let ends = was.column(column).zip(shall.column(column));
        let family = ends.is_some_and(|(was, shall)| comparable(&was.ty) != comparable(&shall.ty));
        family && index::retyped(cx, table, std::slice::from_ref(column))
    };
    let mut parted = Vec::new();
    for table in cx.base.tables.values() {
        for (name, key) in &table.foreign_keys {
            let shall = cx.after(&table.name).and_then(|t| t.foreign_keys.get(name));
            let own = key.columns.iter().any(|column| changes(cx, &table.name, column));
            let other = key.ref_columns.iter().any(|column| changes(cx, &key.ref_table, column));
            if let Some(shall) = shall.filter(|shall| (own || other) && same_rule(key, shall)) {
                parted.push((table.name.clone(), name.clone(), key.clone(), shall.clone()));
            }
        }
    }
    for (table, name, before, after) in parted {
        cx.cause = format!("change the types of the columns of foreign key `{name}`");
        cx.parted.insert((table.clone(), name.clone()));
        again(cx, &table, &name, &before, &after);
    }
}

/// What stands for all types that the server compares with each other.
fn comparable(ty: &str) -> &str {
    match ty.split('(').next().unwrap_or(ty).trim() {
        "smallint" | "integer" | "bigint" => "integer",
        "text" | "character varying" => "text",
        other => other,
    }
}

/// Whether only comment, validity and the time of the check differ, in a direction that can be reached in place.
pub(super) fn same_rule(before: &ForeignKey, after: &ForeignKey) -> bool {
    let bare =
        |key: &ForeignKey| ForeignKey { comment: None, not_valid: false, deferrable: Deferrable::No, ..key.clone() };
    bare(before) == bare(after) && (before.not_valid || !after.not_valid)
}

/// Whether a column that it is about changes its type in place.
fn retyped(cx: &Context<'_>, table: &ObjectName, key: &ForeignKey) -> bool {
    index::retyped(cx, table, &key.columns) || index::retyped(cx, &key.ref_table, &key.ref_columns)
}

fn columns(key: &ForeignKey) -> String {
    key.columns.join(", ")
}

fn add(cx: &mut Context<'_>, table: &ObjectName, name: &str, key: &ForeignKey) {
    let id = slug(&["add-foreign-key", name]);
    let unproven = ForeignKey { not_valid: true, comment: None, ..key.clone() };
    if partition::is_partitioned(cx, table) && !cx.caps.partitioned_not_valid {
        return add_on_each(cx, table, name, key);
    }
    let title = format!("`{table}` ({}) references `{}`, for new writes", columns(key), key.ref_table);
    let step = Proto::new(rank::CONSTRAINT, &id, title, table)
        .touching([&key.ref_table])
        .sql(cx.ddl.add_foreign_key(table, name, &unproven))
        .undo(cx.ddl.drop_constraint(table, name))
        .locks(cx.ddl.locks("add_foreign_key", table, &[&key.ref_table]))
        .hazard(unindexed(cx, table, key))
        .effect({
            let (name, unproven) = (name.to_owned(), unproven.clone());
            on(table, move |t| std::mem::drop(t.foreign_keys.insert(name.clone(), unproven.clone())))
        })
        .tag(tag::step(&id))
        .tag(tag::refers(table))
        .after_all([tag::freed(table, name), tag::table(&key.ref_table), tag::keys(&key.ref_table)])
        .after_all(rekey::comes_first(cx, &key.ref_table, &key.ref_columns))
        .after_all(key.columns.iter().map(|c| tag::filled(table, c)))
        .after_all(key.ref_columns.iter().map(|c| tag::filled(&key.ref_table, c)));
    cx.push(step);
    if !key.not_valid {
        validate(cx, table, name, &unproven, vec![tag::step(&id)]);
    }
}

/// Added and proven partition by partition, where a partitioned table takes none that is not proven.
fn add_on_each(cx: &mut Context<'_>, table: &ObjectName, name: &str, key: &ForeignKey) {
    let id = slug(&["add-foreign-key", name]);
    let proven = ForeignKey { not_valid: false, comment: None, ..key.clone() };
    let title = format!("`{table}` ({}) references `{}`, partition by partition", columns(key), key.ref_table);
    let what = format!("the reference of ({}) to `{}`", columns(key), key.ref_table);
    let proto = Proto::new(rank::CONSTRAINT, &id, title, table)
        .touching([&key.ref_table])
        .locks(cx.ddl.locks("add_foreign_key_each", table, &[&key.ref_table]))
        .hazard(unindexed(cx, table, key))
        .hazard([hazard::fails_on_rows::hazard(&what, table)])
        .effect({
            let (name, proven) = (name.to_owned(), proven.clone());
            on(table, move |t| std::mem::drop(t.foreign_keys.insert(name.clone(), proven.clone())))
        })
        .tag(tag::step(&id))
        .tag(tag::refers(table))
        .after_all([tag::freed(table, name), tag::table(&key.ref_table), tag::keys(&key.ref_table)])
        .after_all(rekey::comes_first(cx, &key.ref_table, &key.ref_columns))
        .after_all(key.columns.iter().map(|c| tag::filled(table, c)))
        .after_all(key.ref_columns.iter().map(|c| tag::filled(&key.ref_table, c)));
    let proto = partition::step(cx, proto, &PerPartition::ForeignKey(name, &proven));
    cx.push(proto);
}

/// Deletes and key updates in the referenced table look for the referencing rows.
fn unindexed(cx: &Context<'_>, table: &ObjectName, key: &ForeignKey) -> Option<Hazard> {
    let t = cx.after(table)?;
    let leads = |columns: Vec<&str>| {
        columns.iter().take(key.columns.len()).all(|c| key.columns.iter().any(|k| k == c))
            && columns.len() >= key.columns.len()
    };
    let of_index =
        |i: &schemadiff::model::Index| -> Vec<String> { i.parts.iter().map_while(|p| p.column.clone()).collect() };
    let as_text = |columns: &[String]| -> bool { leads(columns.iter().map(String::as_str).collect()) };
    let covered = t.indexes.values().any(|i| as_text(&of_index(i)))
        || t.uniques.values().any(|u| as_text(&u.columns))
        || t.primary_key.as_ref().is_some_and(|k| as_text(&k.columns));
    (!covered).then(|| hazard::unindexed_reference::hazard(table, &columns(key)))
}

/// When it is checked changes in place: the rows are the same.
fn alter_deferrable(cx: &mut Context<'_>, table: &ObjectName, name: &str, before: &ForeignKey, after: &ForeignKey) {
    let id = slug(&["alter-deferrable", name]);
    let (to, what) = (after.deferrable, columns(after));
    let step = Proto::new(rank::CONSTRAINT, &id, format!("change when foreign key `{name}` is checked"), table)
        .touching([&after.ref_table])
        .sql(cx.ddl.alter_deferrable(table, name, to))
        .undo(cx.ddl.alter_deferrable(table, name, before.deferrable))
        .locks(cx.ddl.locks("alter_deferrable", table, &[&after.ref_table]))
        .in_contract(hazard::late_deferral::of(table, &what, Some(before.deferrable), to))
        .effect({
            let name = name.to_owned();
            on(table, move |t| {
                if let Some(key) = t.foreign_keys.get_mut(&name) {
                    key.deferrable = to;
                }
            })
        })
        .tags([tag::step(&id), tag::refers(table)])
        .after_all(rekey::comes_first(cx, &after.ref_table, &after.ref_columns));
    cx.push(step);
}

/// Proves a foreign key that was made again.
pub(super) fn prove_again(cx: &mut Context<'_>, table: &ObjectName, name: &str, unproven: &ForeignKey, after: String) {
    validate(cx, table, name, unproven, vec![after]);
}

fn validate(cx: &mut Context<'_>, table: &ObjectName, name: &str, unproven: &ForeignKey, after: Vec<String>) {
    let id = slug(&["validate", name]);
    let mut undo = cx.ddl.drop_constraint(table, name);
    undo.extend(cx.ddl.add_foreign_key(table, name, unproven));
    let step = Proto::new(rank::CONSTRAINT, &id, format!("prove `{name}` for the rows of `{table}`"), table)
        .touching([&unproven.ref_table])
        .envelope(Envelope::Long)
        .sql(cx.ddl.validate(table, name))
        .undo(undo)
        .locks(cx.ddl.locks("validate", table, &[&unproven.ref_table]))
        .scans()
        .effect({
            let name = name.to_owned();
            on(table, move |t| {
                if let Some(key) = t.foreign_keys.get_mut(&name) {
                    key.not_valid = false;
                }
            })
        })
        .tag(tag::refers(table))
        .tag(tag::step(&id))
        .after_all(after);
    cx.push(step);
}

fn replace(cx: &mut Context<'_>, table: &ObjectName, name: &str, before: &ForeignKey, after: &ForeignKey) {
    let interim = temporary(name);
    add(cx, table, &interim, after);
    let mut sql = cx.ddl.drop_constraint(table, name);
    sql.extend(cx.ddl.rename_constraint(table, &interim, name));
    sql.extend(after.comment.iter().flat_map(|text| cx.ddl.comment_on_constraint(table, name, Some(text))));
    let mut undo = cx.ddl.rename_constraint(table, name, &interim);
    let (unproven, proof) = back(cx, table, name, before);
    undo.extend(cx.ddl.add_foreign_key(table, name, &unproven));
    let id = slug(&["replace-foreign-key", name]);
    // One that keeps its target is carried over when the key there changes, and need not be gone before.
    let moves = !rekey::same_target(before, after);
    let of_target = target_tags(before);
    let step = Proto::new(rank::REMOVE, id, format!("let the new foreign key take the name `{name}`"), table)
        .touching([&before.ref_table])
        .sql(sql)
        .undo(undo)
        .undo_proof(proof)
        .locks(cx.ddl.locks("drop_constraint", table, &[&before.ref_table]))
        .effect({
            let (name, after) = (name.to_owned(), after.clone());
            let interim = interim.clone();
            on(table, move |t| {
                t.foreign_keys.remove(&interim);
                t.foreign_keys.insert(name.clone(), after.clone());
            })
        })
        .tags(gone_tags(table, before).into_iter().filter(|tag| moves || !of_target.contains(tag)))
        .prepares(clears_the_way(cx, table, before))
        .one_way(stays_away(cx, table, before))
        .after_all(ready(&interim));
    cx.push(step);
}

/// How a foreign key that a step removes comes back: for new writes first, and then proven. Where the engine has no such key
/// on a partitioned table, it does not: see [`stays_away`].
fn back(cx: &Context<'_>, table: &ObjectName, name: &str, before: &ForeignKey) -> (ForeignKey, Vec<String>) {
    let can = cx.caps.not_valid && (!partition::is_partitioned(cx, table) || cx.caps.partitioned_not_valid);
    let unproven = ForeignKey { not_valid: before.not_valid || can, ..before.clone() };
    let proof = if unproven.not_valid == before.not_valid { Vec::new() } else { cx.ddl.validate(table, name) };
    (unproven, proof)
}

/// Whether a key that goes does not come back: the table would be read while nobody can write to it or to the one it refers to.
fn stays_away(cx: &Context<'_>, table: &ObjectName, before: &ForeignKey) -> bool {
    !before.not_valid && cx.caps.not_valid && partition::is_partitioned(cx, table) && !cx.caps.partitioned_not_valid
}

/// The foreign key of that name is there, and valid if it is to be.
fn ready(name: &str) -> [String; 2] {
    ["add-foreign-key", "validate"].map(|what| tag::step(&slug(&[what, name])))
}

fn gone_tags(table: &ObjectName, key: &ForeignKey) -> Vec<String> {
    let own = key.columns.iter().map(|c| tag::unused(table, c));
    own.chain(target_tags(key)).collect()
}

fn target_tags(key: &ForeignKey) -> Vec<String> {
    let other = key.ref_columns.iter().map(|c| tag::unused(&key.ref_table, c));
    other.chain([tag::unreferenced(&key.ref_table)]).collect()
}

fn clears_the_way(cx: &Context<'_>, table: &ObjectName, key: &ForeignKey) -> bool {
    let own = key.columns.iter().any(|c| cx.goes(table, c));
    let other = key.ref_columns.iter().any(|c| cx.goes(&key.ref_table, c));
    own || other || cx.after(&key.ref_table).is_none()
}

/// A step of its own: it locks both tables, more strongly than adding does. `first`: it clears the way for another step.
pub(super) fn drop(cx: &mut Context<'_>, table: &ObjectName, name: &str, key: &ForeignKey, first: bool) {
    let id = slug(&["drop-foreign-key", name]);
    let clears_the_way = first || clears_the_way(cx, table, key);
    let relied_on = relied_on(table, name, key).filter(|_| !clears_the_way);
    let stays_away = stays_away(cx, table, key);
    let waits = clears_the_way || relied_on.is_some() || stays_away;
    let (unproven, proof) = back(cx, table, name, key);
    let probe = probes::refused_back(cx, table, key).filter(|_| !proof.is_empty());
    let mut undo = cx.ddl.add_foreign_key(table, name, &unproven);
    undo.extend(key.comment.iter().flat_map(|text| cx.ddl.comment_on_constraint(table, name, Some(text))));
    let step = Proto::new(rank::REMOVE, id, format!("drop foreign key `{name}` on `{table}`"), table)
        .touching([&key.ref_table])
        .sql(cx.ddl.drop_constraint(table, name))
        .undo(undo)
        .undo_proof(proof)
        .undo_probes(probe)
        .locks(cx.ddl.locks("drop_constraint", table, &[&key.ref_table]))
        .effect({
            let name = name.to_owned();
            on(table, move |t| std::mem::drop(t.foreign_keys.remove(&name)))
        })
        .tag(tag::freed(table, name))
        .tag(tag::unreferenced(table))
        .tags(gone_tags(table, key))
        .in_contract(relied_on)
        .after_all(successors(cx, table, name, key))
        .prepares(waits)
        .one_way(stays_away);
    // One that waits for contract must not make new keys wait with it.
    cx.push(if waits { step } else { step.tag(tag::left(&key.ref_table)) });
}

/// What comes in the place of a key under another name is there before it goes.
fn successors(cx: &Context<'_>, table: &ObjectName, name: &str, key: &ForeignKey) -> Vec<String> {
    let (Some(was), Some(shall)) = (cx.before(table), cx.after(table)) else { return Vec::new() };
    let same = |other: &ForeignKey| rekey::same_target(key, other) && other.columns == key.columns;
    let comes =
        |(other, new): &(&String, &ForeignKey)| *other != name && !was.foreign_keys.contains_key(*other) && same(new);
    shall.foreign_keys.iter().filter(comes).flat_map(|(other, _)| ready(other)).collect()
}

/// Old code may leave something to the action of a key, which then stays for as long as old code runs; new code has to be told.
fn relied_on(table: &ObjectName, name: &str, key: &ForeignKey) -> Option<Hazard> {
    let acts = |action| !matches!(action, FkAction::NoAction | FkAction::Restrict);
    let relied_on = acts(key.on_delete) || acts(key.on_update);
    relied_on.then(|| hazard::action_stays::hazard(table, name, &key.ref_table))
}

/// Part of the table's definition: it changes with a rebuild. One that moves to a key that is made here lets go of the old one
/// before, and takes hold of the new one after.
fn rebuild(
    cx: &mut Context<'_>,
    table: &ObjectName,
    name: &str,
    before: Option<&ForeignKey>,
    after: Option<&ForeignKey>,
) {
    match (before, after) {
        (Some(_), Some(key)) if rekey::makes_target(cx, key) => {
            rebuild_once(cx, table, name, before, None, true);
            rebuild_once(cx, table, name, None, after, false);
        }
        _ => rebuild_once(cx, table, name, before, after, false),
    }
}

/// `first`: it clears the way for another step.
fn rebuild_once(
    cx: &mut Context<'_>,
    table: &ObjectName,
    name: &str,
    before: Option<&ForeignKey>,
    after: Option<&ForeignKey>,
    first: bool,
) {
    let id = slug(&["foreign-key", name]);
    let others: Vec<ObjectName> = before.iter().chain(&after).map(|k| k.ref_table.clone()).collect();
    let rank = if after.is_some() { rank::CONSTRAINT } else { rank::REMOVE_COLUMN };
    let mut step =
        Proto::new(rank, id, format!("change foreign key `{name}` on `{table}`"), table).touching(&others).effect({
            let (name, after) = (name.to_owned(), after.cloned());
            on(table, move |t| {
                match &after {
                    Some(key) => std::mem::drop(t.foreign_keys.insert(name.clone(), key.clone())),
                    None => std::mem::drop(t.foreign_keys.remove(&name)),
                };
            })
        });
    if let Some(key) = after {
        step = step
            .hazard(unindexed(cx, table, key))
            .after(tag::table(&key.ref_table))
            .after_all(key.columns.iter().map(|c| tag::filled(table, c)))
            .after_all(key.ref_columns.iter().map(|c| tag::filled(&key.ref_table, c)))
            .after_all([tag::keys(&key.ref_table), tag::freed(table, name)])
            .after_all(rekey::makes_target(cx, key).then(|| tag::primary_key(&key.ref_table)));
    }
    if let Some(key) = before {
        let waits = first || clears_the_way(cx, table, key);
        let goes = after.is_none();
        let relied_on = relied_on(table, name, key).filter(|_| goes && !waits);
        step = step.tags(gone_tags(table, key)).tags(goes.then(|| tag::freed(table, name)));
        step = step.prepares(goes && (waits || relied_on.is_some())).in_contract(relied_on);
    }
    let step = cx.rebuild(step, Vec::new());
    cx.push(step);
}
