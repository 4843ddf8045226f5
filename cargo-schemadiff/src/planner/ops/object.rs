//! What is held by its definition: create, change, drop, rename.
//!
//! A new one comes in expand, as soon as there is what it needs. A change is made in place where the engine can do that, else
//! by a drop and a creation in one transaction; what depends on it goes along (`carried`). A drop waits for the old version.

use std::collections::BTreeSet;

use schemadiff::{
    model::{Check, Column, Index, Object, ObjectKey, ObjectKind, ObjectName, Schema, Use},
    plan::Lock,
};

use super::{column_settings, numbering, object_chain, policy, trigger};
use crate::{
    diff::Change,
    hazard,
    planner::{
        calls,
        carried::{Disturbed, with_dependents},
        context::{Context, names_word, slug},
        proto::{Proto, rank, tag},
    },
};

pub(super) fn plan(cx: &mut Context<'_>, before: Option<&Object>, after: Option<&Object>) {
    if before.or(after).is_some_and(|object| column_settings::go_with_type(cx, &object.key)) {
        return;
    }
    match (before, after) {
        (None, Some(after)) => create(cx, after),
        (Some(before), None) => drop(cx, before),
        (Some(before), Some(after)) => match object_chain::of(cx, &after.key) {
            None => change(cx, before, after),
            // The first of them is all of them.
            Some(chain) if chain[0].before.key == before.key => object_chain::change(cx, &chain),
            Some(_) => {}
        },
        (None, None) => {}
    }
}

/// A step about an object, and about the table that it hangs on.
pub(super) fn step(rank: u8, what: &str, title: String, key: &ObjectKey, object: &Object) -> Proto {
    let id = slug(&[what, &key.kind.as_str().replace(' ', "-"), &key.path()]);
    let owner = object.owned_by.as_ref().map(|(table, _)| table);
    Proto::new(rank, id, title, &key.as_touched()).touching(object.table()).touching(owner)
}

/// Whether a sequence is there already and numbers a column, or will, which is then what changes.
fn is_columns(cx: &Context<'_>, sequence: &Object) -> bool {
    let of_column = |table: &ObjectName, column: &Column| {
        let kept = numbering::kept_sequence(cx, table, column);
        kept.or_else(|| numbering::adopted_sequence(cx, table, column)).is_some_and(|it| it.key == sequence.key)
    };
    let all = cx.base.tables.values().chain(cx.request.desired.tables.values());
    sequence.key.kind == ObjectKind::Sequence
        && all.into_iter().any(|table| table.columns.iter().any(|column| of_column(&table.name, column)))
}

pub(super) fn create(cx: &mut Context<'_>, after: &Object) {
    if is_columns(cx, after) {
        return;
    }
    let made = Object { owned_by: None, ..after.clone() };
    let mut proto = step(creation_rank(after.key.kind), "create", format!("create {}", after.key), &after.key, after)
        .sql(cx.ddl.create_object(after))
        .undo(cx.ddl.drop_object(after))
        .locks(cx.ddl.object_locks(after, true))
        .effect(move |schema: &mut Schema| put(schema, &made))
        .tag(tag::object(&after.key.as_touched()))
        .after_all(after.key.kind.is_relation().then(|| tag::vacant(&after.key.name)))
        .after_all(needs(after));
    if matches!(after.key.kind, ObjectKind::Trigger | ObjectKind::Rule | ObjectKind::MaterializedView) {
        proto = proto.after(tag::ADDED);
    }
    if after.key.kind == ObjectKind::MaterializedView {
        proto = proto.scans();
    }
    let narrows = narrows(cx, None, after);
    cx.push(proto.prepares(narrows));
    if let Some((table, column)) = &after.owned_by {
        let with_owner = after.clone();
        let title = format!("let {} belong to `{table}.{column}`", after.key);
        let orphan = Object { owned_by: None, ..after.clone() };
        let without = orphan.clone();
        let owner = step(rank::CONSTRAINT, "own", title, &after.key, after)
            .sql(cx.ddl.own_sequence(after))
            .undo(cx.ddl.own_sequence(&orphan))
            .locks(cx.ddl.locks("own_sequence", &after.key.name, &[]))
            .effect(move |schema: &mut Schema| {
                put(schema, &Object { owned_by: with_owner.owned_by.clone(), ..without.clone() })
            })
            .after_all([
                tag::object(&after.key.as_touched()),
                tag::table(table),
                tag::column(table, column),
                tag::filled(table, column),
            ]);
        cx.push(owner);
    }
}

/// Whether it takes rows away from code that does not know it, refuses what such code writes, or makes another statement of its own.
fn narrows(cx: &Context<'_>, before: Option<&Object>, after: &Object) -> bool {
    let checks = |view: &Object| view.definition.contains("check_option=");
    match after.key.kind {
        ObjectKind::Policy => policy::restricts(after),
        ObjectKind::View => checks(after) && before.is_some_and(|before| before.definition != after.definition),
        ObjectKind::Rule => after.table().is_some_and(|on| {
            let current = cx.request.current;
            let is_view = |kind| current.objects.contains_key(&ObjectKey::new(kind, on.clone()));
            cx.before(on).is_some() || is_view(ObjectKind::View)
        }),
        _ => false,
    }
}

const fn creation_rank(kind: ObjectKind) -> u8 {
    match kind {
        ObjectKind::Schema => rank::SCHEMA,
        ObjectKind::Extension => rank::EXTENSION,
        ObjectKind::Type => rank::TYPE,
        ObjectKind::Sequence | ObjectKind::Function | ObjectKind::Procedure => rank::ROUTINE,
        _ => rank::OBJECT,
    }
}

const fn removal_rank(kind: ObjectKind) -> u8 {
    match kind {
        ObjectKind::Schema => rank::REMOVE_SCHEMA,
        ObjectKind::Extension => rank::REMOVE_EXTENSION,
        ObjectKind::Type | ObjectKind::Sequence | ObjectKind::Function | ObjectKind::Procedure => rank::REMOVE_TYPE,
        _ => rank::REMOVE,
    }
}

fn drop(cx: &mut Context<'_>, before: &Object) {
    if is_columns(cx, before) {
        return;
    }
    let key = before.key.clone();
    let lost = key.kind == ObjectKind::Sequence;
    let mut first = Vec::new();
    if key.kind == ObjectKind::Type {
        let over = cx.base.domains.values().filter(|domain| key.name.is_type(domain.ty.trim_end_matches("[]")));
        first.extend(over.map(|domain| tag::dropped_type(&domain.name)));
        first.push(tag::TYPES_FREE.to_owned());
    }
    let proto = step(removal_rank(key.kind), "drop", format!("drop {key}"), &key, before)
        .sql(cx.ddl.drop_object(before))
        .undo(cx.ddl.create_object(before))
        .locks(cx.ddl.object_locks(before, false))
        .effect({
            let key = key.clone();
            move |schema: &mut Schema| std::mem::drop(schema.objects.remove(&key))
        })
        .tags(released(before, None))
        .tags(key.kind.is_relation().then(|| tag::vacant(&key.name)))
        .after(tag::released(&key.as_touched()))
        .after_all(first)
        .after_all(renamed_rows(before))
        .hazard(lost.then(|| hazard::drops_data::hazard(&key.to_string())));
    cx.push(proto);
}

/// A routine over the rows of a table is known by the table's name, which it has in the end.
fn renamed_rows(routine: &Object) -> Vec<String> {
    let relation = |used: &Use| match used {
        Use::Relation { name } => Some(tag::step(&format!("rename-table {name}"))),
        _ => None,
    };
    let takes = routine.key.arguments.is_some();
    routine.uses.iter().filter(|_| takes).filter_map(relation).collect()
}

fn change(cx: &mut Context<'_>, before: &Object, after: &Object) {
    if policy::both_can_be(before, after) {
        policy::replace(cx, before, after);
    } else if let Some(meanwhile) = trigger::meanwhile(cx, before, after) {
        replace(cx, before, &meanwhile);
        trigger::settle(cx, &meanwhile, after);
    } else {
        replace(cx, before, after);
    }
}

fn replace(cx: &mut Context<'_>, before: &Object, after: &Object) {
    let key = &after.key;
    let in_place = cx.ddl.replace_object(before, after);
    let back = cx.ddl.replace_object(after, before);
    let anew = in_place.is_none();
    let back_anew = back.is_none();
    let again = |from: &Object, to: &Object| {
        let mut sql = cx.ddl.drop_object(from);
        sql.extend(cx.ddl.create_object(to));
        sql.extend(before.rights.clone());
        sql
    };
    let callers = defaults_that_call(cx, key);
    let anew_sql = |from: &Object, to: &Object| around_defaults(cx, &callers, again(from, to));
    let sql = in_place.unwrap_or_else(|| anew_sql(before, after));
    let undo = back.unwrap_or_else(|| anew_sql(after, before));
    let result = Object { rights: before.rights.clone(), ..after.clone() };
    let shape = before.columns != after.columns && after.columns.starts_with(&before.columns);
    let over = if key.kind == ObjectKind::MaterializedView && anew { after.key.name.clone() } else { key.name.clone() };
    let mut proto = step(rank::OBJECT, "change", format!("change {key}"), key, after)
        .touching(before.owned_by.as_ref().map(|(table, _)| table))
        .sql(sql)
        .undo(undo)
        .locks(change_locks(cx, before, after))
        .effect(move |schema: &mut Schema| put(schema, &result))
        .changes_object()
        .tag(tag::object(&key.as_touched()))
        .tags(released(before, Some(after)))
        .prepares(policy::restricts(before) || narrows(cx, Some(before), after))
        .after_all(needs(after))
        .hazard(shape.then(|| cx.more_columns_hazard(&key.name)));
    if key.kind == ObjectKind::MaterializedView && anew {
        proto = proto.scans().hazard([hazard::rewrites_table::hazard(&over, None)]);
    }
    if key.kind == ObjectKind::Function && anew {
        proto = proto.hazard([hazard::changes_result::hazard(&key.to_string())]);
    }
    let computed = computed_by(cx, key);
    if before.definition != after.definition && !computed.is_empty() {
        proto = proto.hazard([hazard::stays_computed::hazard(&key.to_string(), &computed)]);
    }
    if anew {
        proto = proto.disturbs([Disturbed::Object(key.clone())]);
    }
    if anew || back_anew {
        for (table, ..) in &callers {
            proto = proto.touching([table]).locks(cx.ddl.locks("alter_default", table, &[]));
        }
    }
    if back_anew {
        proto = proto.undo_disturbs(Disturbed::Object(key.clone()));
    }
    // What its body names may be new.
    if matches!(key.kind, ObjectKind::Function | ObjectKind::Procedure | ObjectKind::Trigger | ObjectKind::Rule) {
        proto = proto.after(tag::ADDED).after_all(named_anew(cx, before, after));
    }
    cx.push(proto);
}

/// What a body names that has that name only after the plan has given it, which the server knows nothing of. And the view whose rows
/// a trigger gives to the function: before the view has a column, a body that names it fails.
fn named_anew(cx: &Context<'_>, before: &Object, after: &Object) -> Vec<String> {
    let anew = |word: &str| names_word(&after.definition, word) && !names_word(&before.definition, word);
    let (mut tags, desired) = (Vec::new(), cx.request.desired);
    // None of what needs it, directly or through others, can be waited for.
    let dependents = with_dependents(desired.objects.get(&after.key).cloned().into_iter().collect(), desired);
    for (key, object) in &desired.objects {
        if key.kind.is_relation() && dependents.iter().all(|other| other.key != *key) && anew(&key.name.name) {
            tags.push(tag::object(&key.as_touched()));
        }
        let fires = key.kind == ObjectKind::Trigger && object.uses_object(&after.key);
        if let Some(view) = key.of.as_ref().filter(|of| fires && gains_a_column(cx, of)) {
            tags.push(tag::object(view));
        }
    }
    for (name, shall) in &cx.request.desired.enums {
        let there = cx.request.current.enums.get(name);
        let new = shall.values.iter().filter(|label| there.is_none_or(|there| !there.values.contains(label)));
        let quoted = |label: &String| format!("'{}'", label.replace('\'', "''"));
        let named = new.filter(|label| after.definition.contains(&quoted(label)));
        tags.extend(
            named.filter(|label| !before.definition.contains(&quoted(label))).map(|label| tag::label(name, label)),
        );
    }
    tags
}

/// Whether it is a view that gets a column, and loses none.
fn gains_a_column(cx: &Context<'_>, name: &ObjectName) -> bool {
    let view = |schema: &Schema| {
        let found = schema.objects.values().find(|o| o.key.kind == ObjectKind::View && o.key.name == *name);
        found.map(|o| o.columns.iter().map(|(column, _)| column.clone()).collect::<BTreeSet<_>>())
    };
    match (view(cx.request.current), view(cx.request.desired)) {
        (Some(before), Some(after)) => after.len() > before.len() && before.is_subset(&after),
        _ => false,
    }
}

/// Defaults that call the function and stay as they are: table, column, expression.
fn defaults_that_call(cx: &Context<'_>, key: &ObjectKey) -> Vec<(ObjectName, String, String)> {
    let mut found = Vec::new();
    if key.kind != ObjectKind::Function {
        return found;
    }
    for table in cx.base.tables.values() {
        for column in &table.columns {
            let shall = cx.after(&table.name).and_then(|after| after.column(&column.name));
            if let Some(default) = column.default.as_ref().filter(|default| calls::calls(default, &key.name.name))
                && shall.is_some_and(|shall| shall.default.as_ref() == Some(default))
            {
                found.push((table.name.clone(), column.name.clone(), default.clone()));
            }
        }
    }
    found
}

/// What holds values that the function gave, or has judged rows by it, and stays as it is.
fn computed_by(cx: &Context<'_>, key: &ObjectKey) -> Vec<String> {
    let mut found = Vec::new();
    if key.kind != ObjectKind::Function {
        return found;
    }
    let name = &key.name.name;
    for table in cx.base.tables.values() {
        let Some(after) = cx.after(&table.name) else { continue };
        let stays =
            |(n, index): &(&String, &Index)| after.indexes.get(*n) == Some(index) && calls::count(index, name) > 0;
        found.extend(table.indexes.iter().filter(stays).map(|(n, _)| format!("index `{n}`")));
        let stays = |(n, check): &(&String, &Check)| {
            !check.not_valid && after.checks.get(*n) == Some(check) && calls::calls(&check.expr, name)
        };
        found.extend(table.checks.iter().filter(stays).map(|(n, _)| format!("check `{n}` of `{}`", table.name)));
        let computed = table.columns.iter().filter(|column| {
            let same = after.column(&column.name).is_some_and(|shall| shall.generated == column.generated);
            same && column.generated.as_ref().is_some_and(|generated| calls::calls(&generated.expr, name))
        });
        found.extend(computed.map(|column| format!("column `{}.{}`", table.name, column.name)));
    }
    found
}

/// The defaults would stop a function from being made anew. They are gone for nobody: all of it is one transaction.
fn around_defaults(cx: &Context<'_>, defaults: &[(ObjectName, String, String)], sql: Vec<String>) -> Vec<String> {
    let all = |keep: bool| {
        let each = defaults.iter().flat_map(move |(table, column, default)| {
            cx.ddl.alter_default(table, column, keep.then_some(default.as_str()))
        });
        each.collect::<Vec<_>>()
    };
    [all(false), sql, all(true)].concat()
}

/// A sequence is altered while others take numbers from it; everything else is replaced.
pub(super) fn change_locks(cx: &Context<'_>, before: &Object, after: &Object) -> Vec<Lock> {
    if after.key.kind == ObjectKind::Sequence {
        return cx.ddl.locks("alter_sequence", &after.key.name, &[]);
    }
    // The server replaces a trigger as it makes one.
    if after.key.kind == ObjectKind::Trigger && cx.ddl.replace_object(before, after).is_some() {
        return cx.ddl.object_locks(after, true);
    }
    if is_said_otherwise(before, after) {
        return cx.ddl.locks("comment_on_table", &after.key.name, &[]);
    }
    let mut locks = cx.ddl.object_locks(before, false);
    locks.extend(cx.ddl.object_locks(after, true));
    locks
}

/// Whether nothing but comments and statistics of a view changes.
fn is_said_otherwise(before: &Object, after: &Object) -> bool {
    let changed = |one: &Object, other: &Object| {
        let mut all = one.completed_by.iter().filter(|statement| !other.completed_by.contains(statement));
        all.all(|statement| statement.starts_with("COMMENT ON ") || statement.contains(" SET STATISTICS "))
    };
    let is_view = matches!(after.key.kind, ObjectKind::View | ObjectKind::MaterializedView);
    is_view && before.definition == after.definition && changed(before, after) && changed(after, before)
}

/// Another name. Statements of the old version that say the old one fail, where statements name it at all.
pub(super) fn rename(cx: &mut Context<'_>, from: &ObjectKey, to: &ObjectKey) {
    let Some(object) = cx.base.objects.get(to).map(|object| (**object).clone()) else { return };
    let change = Change::RenameObject { from: from.clone(), to: to.clone() };
    let old = crate::diff::under(&object, from);
    let mut locks = cx.ddl.object_locks(&old, false);
    locks.retain(|lock| object.table() != Some(&lock.relation));
    let on_table = object.table().filter(|_| to.kind != ObjectKind::Statistics);
    locks.extend(on_table.into_iter().flat_map(|table| cx.ddl.locks("rename_table", table, &[])));
    let named_in: Vec<_> = match to.kind {
        ObjectKind::Sequence => cx.base.tables.keys().cloned().collect(),
        _ => Vec::new(),
    };
    let proto = step(rank::TYPE, "rename", format!("rename {from} to `{}`", to.path()), to, &object)
        .touching([&from.as_touched()])
        .touching(&named_in)
        .sql(cx.ddl.rename_object(from, to))
        .undo(cx.ddl.rename_object(to, from))
        .locks(locks)
        .effect(move |schema: &mut Schema| change.apply_to(schema))
        .tag(tag::object(&to.as_touched()))
        .tag(tag::TYPES)
        .tag(renamed(to))
        .tag(tag::released(&from.as_touched()));
    cx.push(proto);
}

pub(super) fn put(schema: &mut Schema, object: &Object) {
    schema.objects.insert(object.key.clone(), object.clone().into());
}

fn renamed(to: &ObjectKey) -> String {
    tag::step(&format!("rename {to}"))
}

/// What must be there before it.
pub(super) fn needs(object: &Object) -> Vec<String> {
    let mut tags = vec![renamed(&object.key)];
    for used in &object.uses {
        match used {
            Use::Column { table, column } => {
                tags.extend([
                    tag::table(table),
                    tag::column(table, column),
                    tag::filled(table, column),
                    tag::object(table),
                ]);
            }
            Use::Relation { name } => tags.extend([tag::table(name), tag::object(name)]),
            Use::Function { name, arguments } => tags.push(tag::object(&routine(name, arguments))),
            // A domain may be made of a type that is made of another one: not all of them come first.
            Use::Type { name } if object.key.kind == ObjectKind::Type => tags.push(tag::of_type(name)),
            Use::Type { .. } => tags.push(tag::TYPES.to_owned()),
        }
    }
    tags.extend(object.table().map(tag::table));
    let own = [tag::object(&object.key.as_touched())];
    tags.retain(|tag| !own.contains(tag));
    tags
}

/// What is no longer needed once it is gone, or is what `after` says.
pub(super) fn released(before: &Object, after: Option<&Object>) -> Vec<String> {
    let mut tags = Vec::new();
    if after.is_none_or(|after| after.owned_by != before.owned_by) {
        tags.extend(before.owned_by.iter().map(|(table, column)| tag::unused(table, column)));
    }
    let still = |used: &&Use| after.is_some_and(|after| after.uses.contains(*used));
    for used in before.uses.iter().filter(|used| !still(used)) {
        match used {
            Use::Column { table, column } => {
                tags.extend([tag::unused(table, column), tag::unreferenced(table), tag::released(table)]);
            }
            Use::Relation { name } => tags.extend([tag::unreferenced(name), tag::released(name)]),
            Use::Function { name, arguments } => tags.push(tag::released(&routine(name, arguments))),
            Use::Type { .. } => tags.push(tag::TYPES_FREE.to_owned()),
        }
    }
    tags
}

fn routine(name: &ObjectName, arguments: &str) -> ObjectName {
    let key = ObjectKey { arguments: Some(arguments.to_owned()), ..ObjectKey::new(ObjectKind::Function, name.clone()) };
    key.as_touched()
}
