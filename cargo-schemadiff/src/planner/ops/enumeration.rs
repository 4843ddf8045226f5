//! Enumerated types: create, drop, rename; labels are added, renamed, and taken away or reordered by making the type anew.

use std::collections::BTreeSet;

use schemadiff::{
    model::{Column, EnumType, Index, Object, ObjectKey, ObjectKind, ObjectName, Schema, Table, expr},
    plan::Lock,
};

use super::{partition, table};

use crate::{
    Error, Kind, Result,
    diff::{Change, is_type},
    hazard,
    planner::{
        carried::Disturbed,
        context::{Context, slug},
        probes,
        proto::{Proto, rank, tag},
    },
};

pub(super) fn plan(
    cx: &mut Context<'_>,
    name: &ObjectName,
    before: Option<&EnumType>,
    after: Option<&EnumType>,
) -> Result<()> {
    match (before, after) {
        (None, Some(after)) => create(cx, after),
        (Some(before), None) => drop(cx, before),
        (Some(before), Some(after)) => alter(cx, name, before, after)?,
        (None, None) => {}
    }
    Ok(())
}

fn create(cx: &mut Context<'_>, after: &EnumType) {
    let name = after.name.clone();
    let mut sql = table::new_schema(cx, &name);
    sql.extend(cx.ddl.create_enum(after));
    let enumeration = after.clone();
    let step =
        Proto::new(rank::TYPE, slug(&["create-type", &name.to_string()]), format!("create type `{name}`"), &name)
            .sql(sql)
            .undo(cx.ddl.drop_enum(&name))
            .effect(move |schema: &mut Schema| {
                std::mem::drop(schema.enums.insert(enumeration.name.clone(), enumeration.clone()));
            })
            .tags([tag::TYPES.to_owned(), tag::of_type(&after.name)]);
    cx.push(step);
}

/// Another name for the type. Code that knows the old one cannot use it, so it waits for that code to end.
pub(super) fn rename(cx: &mut Context<'_>, from: &ObjectName, to: &ObjectName) {
    let change = Change::RenameType { from: from.clone(), to: to.clone() };
    let tables = users(cx, to);
    let title = format!("rename type `{from}` to `{to}`");
    let mut sql = table::new_schema(cx, to);
    sql.extend(cx.ddl.rename_enum(from, to));
    let step = Proto::new(rank::TYPE, slug(&["rename-type", &to.to_string()]), title, to)
        .touching([from])
        .touching(&tables)
        .touching(&objects(cx))
        .sql(sql)
        .tag(tag::step(&format!("rename-type {to}")))
        .locks(composite_locks(cx, from, to))
        .undo(cx.ddl.rename_enum(to, from))
        .effect(move |schema: &mut Schema| change.apply_to(schema))
        .tag(tag::TYPES);
    cx.push(step);
}

/// A composite type is a relation to the server, which locks it.
fn composite_locks(cx: &Context<'_>, from: &ObjectName, to: &ObjectName) -> Vec<Lock> {
    let held = cx.base.objects.get(&ObjectKey::new(ObjectKind::Type, to.clone()));
    let old =
        held.map(|object| Object { key: ObjectKey { name: from.clone(), ..object.key.clone() }, ..(**object).clone() });
    old.map(|old| cx.ddl.object_locks(&old, false)).unwrap_or_default()
}

/// Another name for a label. What is stored, and what expressions say, follows; what code says does not.
pub(super) fn rename_label(cx: &mut Context<'_>, name: &ObjectName, from: &str, to: &str) {
    let change = Change::RenameLabel { name: name.clone(), from: from.to_owned(), to: to.to_owned() };
    let tables = users(cx, name);
    let id = slug(&["rename-label", &name.to_string(), to]);
    let step = Proto::new(rank::TYPE, id, format!("rename the value '{from}' of type `{name}` to '{to}'"), name)
        .touching(&tables)
        .touching(&objects(cx))
        .sql(cx.ddl.rename_enum_value(name, from, to))
        .undo(cx.ddl.rename_enum_value(name, to, from))
        .tag(tag::label(name, to))
        .effect(move |schema: &mut Schema| change.apply_to(schema))
        .tag(tag::TYPES)
        .tag(tag::step(&format!("type {name}")))
        .after(tag::step(&format!("rename-type {name}")));
    cx.push(step);
}

/// Tables in which the type may be named: in a column's type, or in an expression.
fn users(cx: &Context<'_>, name: &ObjectName) -> Vec<ObjectName> {
    let text = |table: &Table| serde_json::to_string(table).unwrap_or_default();
    let tables = cx.base.tables.values().filter(|table| text(table).contains(&name.name)).map(|table| &table.name);
    // A table that gets another name may still have its old one then.
    let old = |table: &ObjectName| cx.request.hints.renamed_tables.get(table).cloned();
    tables.flat_map(|table| [Some(table.clone()), old(table)]).flatten().collect()
}

/// Objects whose definitions may name a type.
fn objects(cx: &Context<'_>) -> Vec<ObjectName> {
    cx.base.objects.keys().chain(cx.request.current.objects.keys()).map(ObjectKey::as_touched).collect()
}

fn drop(cx: &mut Context<'_>, before: &EnumType) {
    let name = before.name.clone();
    let step =
        Proto::new(rank::REMOVE_TYPE, slug(&["drop-type", &name.to_string()]), format!("drop type `{name}`"), &name)
            .sql(cx.ddl.drop_enum(&name))
            .undo(cx.ddl.create_enum(before))
            .effect(move |schema: &mut Schema| std::mem::drop(schema.enums.remove(&name)))
            .prepares(true)
            .after_all([tag::TYPES_FREE, tag::DOMAINS_GONE].map(str::to_owned));
    cx.push(step);
}

/// Whether labels go or change places, for which the type is made anew.
pub(in crate::planner) fn loses_labels(before: &EnumType, after: &EnumType) -> bool {
    after.values.iter().filter(|label| before.values.contains(label)).ne(before.values.iter())
}

fn alter(cx: &mut Context<'_>, name: &ObjectName, before: &EnumType, after: &EnumType) -> Result<()> {
    let mut labels = before.values.clone();
    let anew = loses_labels(before, after);
    if anew {
        refuse_replacement(cx, name, before, after)?;
    }
    let columns = there(cx, name);
    let mut previous: Option<String> = None;
    for (at, value) in after.values.iter().enumerate().filter(|(_, v)| !before.values.contains(v)) {
        // Where the type is made anew later, that puts them in order.
        let next = after.values[at..].iter().find(|v| !anew && before.values.contains(v));
        let place = next.and_then(|next| labels.iter().position(|l| l == next)).unwrap_or(labels.len());
        labels.insert(place, value.clone());
        let id = slug(&["add-label", &name.to_string(), value]);
        let result = labels.clone();
        let (type_name, tagged) = (name.clone(), tag::step(&id));
        let step = Proto::new(rank::TYPE, &id, format!("add the label '{value}' to type `{name}`"), name)
            .sql(cx.ddl.add_enum_value(name, value, next.map(String::as_str)))
            // No server takes a label away. It stays, and is no longer missed when the migration comes again.
            .undo([])
            .undo_probes(probes::holding(cx, &columns, std::slice::from_ref(value)))
            .effect(move |schema: &mut Schema| {
                if let Some(enumeration) = schema.enums.get_mut(&type_name) {
                    enumeration.values.clone_from(&result);
                }
            })
            .hazard([hazard::enum_value_stays::hazard(name, value)])
            .tags([tag::TYPES.to_owned(), tag::of_type(name)])
            .tag(tagged.clone())
            .after(tag::step(&format!("type {name}")))
            .after(tag::step(&format!("rename-type {name}")))
            .after_all(previous.replace(tagged));
        cx.push(step);
    }
    if anew {
        replace(cx, before, after, previous.clone());
    }
    if before.comment != after.comment {
        comment(cx, name, before, after, previous);
    }
    Ok(())
}

/// The columns of the type, or of arrays of it, as they shall be.
pub(in crate::planner) fn columns_of_type(cx: &Context<'_>, name: &ObjectName) -> Vec<(ObjectName, Column)> {
    of_type(cx.request.desired, name)
}

/// Those that are there before the migration, and again when it is taken back.
fn there(cx: &Context<'_>, name: &ObjectName) -> Vec<(ObjectName, Column)> {
    of_type(cx.request.current, name)
}

fn of_type(schema: &Schema, name: &ObjectName) -> Vec<(ObjectName, Column)> {
    let of_table = |table: &Table| -> Vec<_> {
        let own = table.columns.iter().filter(|column| is_type(&column.ty, name));
        own.map(|column| (table.name.clone(), column.clone())).collect()
    };
    schema.tables.values().flat_map(|table| of_table(table)).collect()
}

/// A type whose labels go or change places is made anew, and what cannot be made anew with it is in the way.
fn refuse_replacement(cx: &Context<'_>, name: &ObjectName, before: &EnumType, after: &EnumType) -> Result<()> {
    let refused = |cause: String| {
        let what = format!("the labels of type `{name}` cannot be removed or reordered");
        Err(Error::new(Kind::Refused, "SD0604", what)
            .cause(format!("{} becomes {}; {cause}", before.values.join(", "), after.values.join(", ")))
            .help("keep the old labels in their order in the Rust enum, and stop using those you do not want")
            .help(
                "or add a column of a new type with #[column(backfill = \"..\")] and drop the old one in a later release",
            ))
    };
    if !cx.caps.native_enums {
        return refused("the engine has no types".to_owned());
    }
    if let Some(domain) = cx.base.domains.values().find(|domain| name.is_type(domain.ty.trim_end_matches("[]"))) {
        return refused(format!("domain `{}` is made of it", domain.name));
    }
    for (table, column) in columns_of_type(cx, name) {
        let refers = |t: &Table| {
            t.foreign_keys.values().any(|key| {
                (t.name == table && key.columns.contains(&column.name))
                    || (key.ref_table == table && key.ref_columns.contains(&column.name))
            })
        };
        let tables = &cx.request.desired.tables;
        if tables.values().any(|t| refers(t)) {
            return refused(format!("`{table}.{}` is in a foreign key", column.name));
        }
        let reads = |c: &&Column| c.generated.as_ref().is_some_and(|g| expr::mentions(&g.expr, &column.name));
        if let Some(computed) = tables.get(&table).and_then(|t| t.columns.iter().find(reads)) {
            return refused(format!("`{table}.{}` is computed from `{}`", computed.name, column.name));
        }
        if column.generated.is_some() {
            return refused(format!("`{table}.{}` is of it and is computed", column.name));
        }
        if tables.get(&table).is_some_and(|t| t.partition_of.is_some()) {
            return refused(format!("partition `{table}` has a default or NOT NULL of its own for `{}`", column.name));
        }
        if partition::is_key(cx, &table, &column.name) {
            return refused(format!("`{table}` is partitioned by `{}`", column.name));
        }
    }
    Ok(())
}

/// A new type of the same name takes the old one's place, in one transaction that writes the tables anew. Checks and indexes
/// that name its labels are made again around it. It comes last, when they and the columns are as they shall be.
fn replace(cx: &mut Context<'_>, before: &EnumType, after: &EnumType, previous: Option<String>) {
    let name = &after.name;
    let columns = columns_of_type(cx, name);
    let result = EnumType { comment: before.comment.clone(), ..after.clone() };
    let (mut away, mut back) = (Vec::new(), Vec::new());
    let tables: BTreeSet<ObjectName> = columns.iter().map(|(table, _)| table.clone()).collect();
    for t in tables.iter().filter_map(|table| cx.after(table)) {
        let own: Vec<&Column> =
            columns.iter().filter(|(table, _)| *table == t.name).map(|(_, column)| column).collect();
        let in_text = |text: &String| own.iter().any(|column| expr::mentions(text, &column.name));
        let checks = t.checks.iter().filter(|(_, check)| in_text(&check.expr));
        let checks = checks.map(|(name, check)| (name, cx.ddl.add_check(&t.name, name, check), &check.comment));
        let exclusions = t.exclusions.iter().filter(|(_, exclusion)| in_text(&exclusion.definition));
        let exclusions = exclusions.map(|(name, e)| (name, cx.ddl.add_exclusion(&t.name, name, e), &e.comment));
        for (constraint, made, comment) in checks.chain(exclusions) {
            away.extend(cx.ddl.drop_constraint(&t.name, constraint));
            back.extend(made);
            back.extend(comment.iter().flat_map(|text| cx.ddl.comment_on_constraint(&t.name, constraint, Some(text))));
        }
        let in_index = |index: &Index| {
            index.predicate.iter().chain(index.parts.iter().filter_map(|part| part.expr.as_ref())).any(in_text)
        };
        for (index_name, index) in t.indexes.iter().filter(|(_, index)| in_index(index)) {
            away.extend(cx.ddl.drop_index(&t.name, index_name, false));
            back.extend(cx.ddl.create_index(&t.name, index_name, index, false));
            let comment = index.comment.as_deref();
            back.extend(comment.iter().flat_map(|text| cx.ddl.comment_on_index(&t.name, index_name, Some(text))));
        }
    }
    let sql = away.into_iter().chain(cx.ddl.replace_enum(&result, &columns)).chain(back);
    let large = tables.iter().filter(|table| !cx.is_small(table));
    let hazards: Vec<_> = large.map(|table| hazard::rewrites_table::hazard(table, cx.rows(table))).collect();
    let disturbed = columns.iter().map(|(table, column)| Disturbed::Column(table.clone(), column.name.clone()));
    let disturbed: Vec<_> = disturbed.chain([Disturbed::Type(name.clone())]).collect();
    let title = format!("make type `{name}` anew with the labels it shall have, and its columns with it");
    let mut step = Proto::new(rank::REMOVE_TYPE, slug(&["replace-type", &name.to_string()]), title, name)
        .touching(&tables)
        .touching(&objects(cx))
        .sql(sql)
        .no_undo()
        .locks(tables.iter().flat_map(|table| cx.ddl.locks("alter_type", table, &[])))
        .effect(move |schema: &mut Schema| {
            if let Some(enumeration) = schema.enums.get_mut(&result.name) {
                enumeration.values.clone_from(&result.values);
            }
        })
        .hazard(hazards)
        .prepares(true)
        .disturbs(disturbed)
        .after_all(previous)
        .after(tag::TYPES_FREE)
        .after_all(tables.iter().flat_map(|table| [tag::unviewed(table), tag::adds(table), tag::refers(table)]));
    if !columns.is_empty() {
        step = step.rewrites();
    }
    cx.push(step);
}

fn comment(cx: &mut Context<'_>, name: &ObjectName, before: &EnumType, after: &EnumType, previous: Option<String>) {
    let (type_name, text) = (name.clone(), after.comment.clone());
    let id = slug(&["comment", &name.to_string()]);
    let step = Proto::new(rank::COMMENT, id, format!("comment on type `{name}`"), name)
        .sql(cx.ddl.comment_on_enum(name, after.comment.as_deref()))
        .undo(cx.ddl.comment_on_enum(name, before.comment.as_deref()))
        .effect(move |schema: &mut Schema| {
            if let Some(enumeration) = schema.enums.get_mut(&type_name) {
                enumeration.comment.clone_from(&text);
            }
        })
        .after_all(previous);
    cx.push(step);
}
