//! Renaming a column in place, in the model: everything that names it follows, as it does on the servers.

use schemadiff::model::{Column, Identity, Index, Object, ObjectName, Schema, Shared, Table, expr};

use super::context::Context;

/// Renames a column and makes keys, indexes, checks, expressions and foreign keys follow.
pub(super) fn rename_column(schema: &mut Schema, table: &ObjectName, from: &str, to: &str) {
    let partitions: Vec<_> = schema.partitions(table).into_iter().map(|partition| partition.name.clone()).collect();
    for name in std::iter::once(table).chain(&partitions) {
        if let Some(t) = schema.tables.get_mut(name) {
            rename_in_table(t, from, to);
            t.settle_sequences();
        }
    }
    for t in schema.tables.values_mut() {
        for key in t.foreign_keys.values_mut().filter(|key| key.ref_table == *table) {
            rename_all(&mut key.ref_columns, from, to);
        }
    }
    let uses = |object: &Shared<Object>| {
        object.uses_column(table, from)
            || object.owned_by.as_ref().is_some_and(|(of, column)| of == table && column == from)
    };
    let keys: Vec<_> = schema.objects.values().filter(|o| uses(o)).map(|object| object.key.clone()).collect();
    for mut object in keys.iter().filter_map(|key| schema.objects.remove(key)).collect::<Vec<_>>() {
        object.follow_column(table, from, to);
        schema.objects.insert(object.key.clone(), object);
    }
    let follows = |of: &ObjectName| of == table || partitions.contains(of);
    for view in schema.compat_views.values_mut().filter(|view| follows(&view.table)) {
        for real in view.columns.values_mut().filter(|real| *real == from) {
            to.clone_into(real);
        }
    }
}

fn rename_in_table(t: &mut Table, from: &str, to: &str) {
    for column in &mut t.columns {
        if column.name == from {
            to.clone_into(&mut column.name);
        }
        if let Some(generated) = &mut column.generated {
            generated.expr = expr::rename_column(&generated.expr, from, to);
        }
    }
    t.partition_by.iter_mut().for_each(|by| by.rename_column(from, to));
    for key in t.primary_key.iter_mut() {
        rename_all(&mut key.columns, from, to);
        rename_all(&mut key.include, from, to);
    }
    for unique in t.uniques.values_mut() {
        rename_all(&mut unique.columns, from, to);
        rename_all(&mut unique.include, from, to);
    }
    for check in t.checks.values_mut() {
        check.expr = expr::rename_column(&check.expr, from, to);
    }
    for exclusion in t.exclusions.values_mut() {
        exclusion.definition = expr::rename_column(&exclusion.definition, from, to);
    }
    for key in t.foreign_keys.values_mut() {
        rename_all(&mut key.columns, from, to);
        rename_all(&mut key.on_delete_columns, from, to);
    }
    for index in t.indexes.values_mut() {
        *index = renamed_index(index, from, to);
    }
}

/// The index over the other column.
pub(super) fn renamed_index(index: &Index, from: &str, to: &str) -> Index {
    let mut index = index.clone();
    for part in &mut index.parts {
        if part.column.as_deref() == Some(from) {
            part.column = Some(to.to_owned());
        }
        part.expr = part.expr.as_ref().map(|text| expr::rename_column(text, from, to));
    }
    rename_all(&mut index.include, from, to);
    index.predicate = index.predicate.as_ref().map(|text| expr::rename_column(text, from, to));
    index
}

pub(super) fn rename_all(columns: &mut [String], from: &str, to: &str) {
    for column in columns.iter_mut().filter(|c| *c == from) {
        to.clone_into(column);
    }
}

/// Foreign keys whose name is made of the names of their table and columns, where the engine keeps none of its own: it is
/// another one when those change. Pairs of what it was and what it becomes; the keys of `after` still have their old names.
pub(super) fn names_that_follow(cx: &Context<'_>, before: &Table, after: &Table) -> Vec<(String, String)> {
    if cx.caps.named_constraints {
        return Vec::new();
    }
    let made = |table: &Table, key: &str| {
        let columns: Vec<&str> = table.foreign_keys.get(key)?.columns.iter().map(String::as_str).collect();
        Some(cx.ddl.default_name(&table.name.name, &columns, "fkey"))
    };
    let unnamed = before.foreign_keys.keys().filter(|key| made(before, key).as_ref() == Some(key));
    let pairs = unnamed.filter_map(|key| Some((key.clone(), made(after, key)?)));
    pairs.filter(|(was, becomes)| was != becomes).collect()
}

/// The same for a table that gets another name.
pub(super) fn names_after_table(cx: &Context<'_>, from: &ObjectName, to: &ObjectName) -> Vec<(String, String)> {
    let Some(before) = cx.request.current.table(from) else { return Vec::new() };
    names_that_follow(cx, before, &Table { name: to.clone(), ..before.clone() })
}

/// Gives foreign keys the names that they have by then.
pub(super) fn follow(schema: &mut Schema, table: &ObjectName, names: &[(String, String)]) {
    let Some(table) = schema.tables.get_mut(table).filter(|_| !names.is_empty()) else { return };
    for (was, becomes) in names {
        if let Some(key) = table.foreign_keys.remove(was) {
            table.foreign_keys.insert(becomes.clone(), key);
        }
    }
}

/// Tables with foreign keys to this one.
pub(super) fn referencing(schema: &Schema, table: &ObjectName) -> Vec<ObjectName> {
    let references = |t: &&Shared<Table>| t.foreign_keys.values().any(|key| key.ref_table == *table);
    schema.tables.values().filter(references).map(|t| t.name.clone()).collect()
}

/// Statements that make a sequence named after the old column follow, and those that take it back.
pub(super) fn sequence(cx: &Context<'_>, table: &ObjectName, from: &str, to: &str) -> (Vec<String>, Vec<String>) {
    let Some(column) = cx.before(table).and_then(|t| t.column(to)) else { return (Vec::new(), Vec::new()) };
    let (old, schema) = (cx.request.hints.renamed_tables.get(table), cx.request.current);
    let there = old.and_then(|old| schema.table(old)).or_else(|| schema.table(table)).and_then(|t| t.column(from));
    if there.and_then(|column| column.identity.as_ref()).is_some_and(|identity| identity.sequence.is_some()) {
        return (Vec::new(), Vec::new()); // it has a name of its own, perhaps the one after the new column
    }
    let named = |name: &str| {
        let identity = column.identity.clone().filter(|i| i.sequence.is_none())?;
        let sequence = Some(cx.ddl.default_name(&table.name, &[name], "seq"));
        Some(Column { identity: Some(Identity { sequence, ..identity }), ..column.clone() })
    };
    match (named(from), named(to)) {
        (Some(before), Some(after)) => {
            (cx.ddl.alter_identity(table, &before, &after), cx.ddl.alter_identity(table, &after, &before))
        }
        _ => (Vec::new(), Vec::new()),
    }
}
