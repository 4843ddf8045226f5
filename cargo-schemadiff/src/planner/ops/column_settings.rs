//! What is set for one column alone (how it is stored, what is counted of it): the server forgets it where the column gets
//! another type or is made anew, so whoever does that sets it again.

use schemadiff::model::{Object, ObjectKey, ObjectKind, ObjectName, Schema, Shared};

use super::object::put;
use crate::planner::context::Context;

/// The settings of a column.
pub(super) fn of(schema: &Schema, table: &ObjectName, column: &str) -> Option<Shared<Object>> {
    let is_it = |object: &&Shared<Object>| is_of(&object.key, table, column);
    schema.objects.values().find(is_it).cloned()
}

fn is_of(key: &ObjectKey, table: &ObjectName, column: &str) -> bool {
    key.kind == ObjectKind::ColumnSettings && key.of.as_ref() == Some(table) && key.name.name == column
}

/// Whether the step that changes the column's type sees to them: what can be set hangs on the type.
pub(super) fn go_with_type(cx: &Context<'_>, key: &ObjectKey) -> bool {
    let retyped = |((table, column), _): (&(ObjectName, String), _)| {
        let plain = cx.after(table).and_then(|t| t.column(column)).is_some_and(|c| c.generated.is_none());
        plain && is_of(key, table, column)
    };
    cx.retypes.iter().any(retyped)
}

/// What a step that changes the type of a column does to the schema, which has the settings `then` in the end.
pub(super) fn and_set<F: Fn(&mut Schema)>(
    (table, column): (&ObjectName, &str),
    then: Option<Shared<Object>>,
    effect: F,
) -> impl Fn(&mut Schema) + use<F> {
    let (table, column) = (table.clone(), column.to_owned());
    move |schema| {
        effect(schema);
        schema.objects.retain(|key, _| !is_of(key, &table, &column));
        then.iter().for_each(|object| put(schema, object));
    }
}
