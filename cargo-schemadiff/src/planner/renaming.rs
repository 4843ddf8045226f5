//! Renaming a column in place, in the model: everything that names it follows, as it does on the servers.

use schemadiff::model::{Column, Identity, Index, Object, ObjectName, Schema, Shared, Table, expr};

use super::context::Context;

/// Renames a column and makes keys, indexes, checks, expressions and foreign keys follow.
pub(super) fn rename_column(schema: &mut Schema, table: &ObjectName, from: &str, to: &str) {
    let partitions: Vec<_> = schema.partitions(table).into_iter().map(|partition| partition.name.clone()).collect();
    for name in std::iter::once(table).chain(&partitions) {
        if let Some(t) = schema.tables.get_mut(name) {
            rename_in_table(t, from, to);
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

/// Tables with foreign keys to this one.
pub(super) fn referencing(schema: &Schema, table: &ObjectName) -> Vec<ObjectName> {
    let references = |t: &&Shared<Table>| t.foreign_keys.values().any(|key| key.ref_table == *table);
    schema.tables.values().filter(references).map(|t| t.name.clone()).collect()
}

/// Statements that make a sequence named after the old column follow, and those that take it back.
pub(super) fn sequence(cx: &Context<'_>, table: &ObjectName, from: &str, to: &str) -> (Vec<String>, Vec<String>) {
    let Some(column) = cx.before(table).and_then(|t| t.column(to)) else { return (Vec::new(), Vec::new()) };
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
