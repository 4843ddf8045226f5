//! Policies that change: what the old one lets through and what the new one does is both let through while both versions run, which
//! is what two policies beside each other mean. A restrictive one takes away from that, and waits for contract.

use schemadiff::model::{Object, ObjectKey, ObjectKind, ObjectName};

use super::object::{create, put, released, step};
use crate::planner::{
    context::{Context, temporary},
    proto::{rank, tag},
};

/// Whether it takes rows away that others let through.
pub(super) fn restricts(policy: &Object) -> bool {
    policy.key.kind == ObjectKind::Policy && policy.definition.contains(" AS RESTRICTIVE")
}

/// Whether the two can stand beside each other.
pub(super) fn both_can_be(before: &Object, after: &Object) -> bool {
    before.key.kind == ObjectKind::Policy
        && before.definition != after.definition
        && !restricts(before)
        && !restricts(after)
}

/// The new one beside the old one, whose place and name it takes in contract.
pub(super) fn replace(cx: &mut Context<'_>, before: &Object, after: &Object) {
    let name = ObjectName::new(temporary(&after.key.name.name));
    let interim = Object { key: ObjectKey { name, ..after.key.clone() }, ..after.clone() };
    create(cx, &interim);
    let mut sql = cx.ddl.drop_object(before);
    sql.extend(cx.ddl.rename_object(&interim.key, &after.key));
    let (gone, result) = (interim.key.clone(), after.clone());
    let title = format!("let the new policy take the place of {}", after.key);
    let proto = step(rank::REMOVE, "settle", title, &after.key, after)
        .touching([&interim.key.as_touched()])
        .sql(sql)
        .no_undo()
        .locks(cx.ddl.object_locks(before, false))
        .effect(move |schema| {
            schema.objects.remove(&gone);
            put(schema, &result);
        })
        .tag(tag::object(&after.key.as_touched()))
        .tags(released(before, Some(after)))
        .after(tag::object(&interim.key.as_touched()))
        .prepares(true);
    cx.push(proto);
}
