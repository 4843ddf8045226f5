//! Which locks a statement takes, as observed on PostgreSQL 12 to 18.

use schemadiff::{
    model::{Object, ObjectKind, ObjectName, Use},
    plan::Lock,
};

use super::names::ident;

const ACCESS_EXCLUSIVE: &str = "AccessExclusive";
const SHARE_ROW_EXCLUSIVE: &str = "ShareRowExclusive";
const SHARE: &str = "Share";
const SHARE_UPDATE_EXCLUSIVE: &str = "ShareUpdateExclusive";
const ROW_EXCLUSIVE: &str = "RowExclusive";
const ROW_SHARE: &str = "RowShare";
const ACCESS_SHARE: &str = "AccessShare";

/// Mode on the table and mode on the tables at the other end of its foreign keys.
fn modes(what: &str) -> (Option<&'static str>, Option<&'static str>) {
    match what {
        // Nobody can use it yet; an inline foreign key would lock its parent.
        "create_table" => (None, Some(SHARE_ROW_EXCLUSIVE)),
        // The trigger that guards the parent goes too.
        "drop_table" | "drop_column" | "drop_constraint" => (Some(ACCESS_EXCLUSIVE), Some(ACCESS_EXCLUSIVE)),
        "alter_type" => (Some(ACCESS_EXCLUSIVE), Some(ACCESS_EXCLUSIVE)),
        "rename_table"
        | "add_column"
        | "rename_column"
        | "alter_default"
        | "alter_nullable"
        | "alter_identity"
        | "add_check"
        | "add_exclusion"
        | "add_unique_using_index"
        | "add_primary_key_using_index"
        | "rename_constraint"
        | "alter_deferrable"
        | "drop_index"
        | "drop_sync"
        | "drop_compat_view"
        | "rebuild" => (Some(ACCESS_EXCLUSIVE), None),
        // The parent keeps serving everybody while a table of its shape is attached to it.
        "create_partition" => (None, Some(SHARE_UPDATE_EXCLUSIVE)),
        // Of a parent that nobody uses yet.
        "create_partition_of" => (None, Some(ACCESS_EXCLUSIVE)),
        // It is read for rows that belong into the new one.
        "default_partition" => (Some(ACCESS_EXCLUSIVE), None),
        "attach_partition" => (Some(ACCESS_EXCLUSIVE), Some(SHARE_UPDATE_EXCLUSIVE)),
        "detach_partition" => (Some(ACCESS_EXCLUSIVE), Some(ACCESS_EXCLUSIVE)),
        // Each for milliseconds, with a short lock timeout: the index of the table itself, and making keys of indexes.
        "each_partition" => (Some(ACCESS_EXCLUSIVE), None),
        "add_foreign_key_each" => (Some(SHARE_ROW_EXCLUSIVE), Some(ACCESS_EXCLUSIVE)),
        "add_foreign_key" => (Some(SHARE_ROW_EXCLUSIVE), Some(SHARE_ROW_EXCLUSIVE)),
        "own_sequence" | "alter_sequence" => (Some(SHARE_ROW_EXCLUSIVE), None),
        "create_sync" => (Some(SHARE_ROW_EXCLUSIVE), None),
        "validate" => (Some(SHARE_UPDATE_EXCLUSIVE), Some(ROW_SHARE)),
        "create_index" => (Some(SHARE), None),
        "create_index_concurrently"
        | "drop_index_concurrently"
        | "rename_index"
        | "alter_options"
        | "comment_on_table"
        | "comment_on_column"
        | "comment_on_index" => (Some(SHARE_UPDATE_EXCLUSIVE), None),
        "backfill" => (Some(ROW_EXCLUSIVE), None),
        "comment_on_constraint" | "create_compat_view" => (Some(ACCESS_SHARE), None),
        _ => (None, None),
    }
}

/// See [`crate::dialect::Ddl::object_locks`].
pub(super) fn of_object(object: &Object, makes: bool) -> Vec<Lock> {
    let own = match (object.key.kind, makes) {
        (ObjectKind::View | ObjectKind::MaterializedView | ObjectKind::Sequence, false) => Some(ACCESS_EXCLUSIVE),
        // A range is no relation.
        (ObjectKind::Type, false) if !object.columns.is_empty() => Some(ACCESS_EXCLUSIVE),
        _ => None,
    };
    let on_table = match (object.key.kind, makes) {
        (ObjectKind::Trigger, true) => SHARE_ROW_EXCLUSIVE,
        (ObjectKind::Statistics, _) => SHARE_UPDATE_EXCLUSIVE,
        (ObjectKind::ColumnSettings, _) if !stored_otherwise(object) => SHARE_UPDATE_EXCLUSIVE,
        _ => ACCESS_EXCLUSIVE,
    };
    let lock = |relation: &ObjectName, mode: &str| Lock { relation: relation.clone(), mode: mode.to_owned() };
    let mut locks: Vec<_> = own.iter().map(|mode| lock(&object.key.name, mode)).collect();
    locks.extend(object.table().map(|table| lock(table, on_table)));
    if makes && matches!(object.key.kind, ObjectKind::View | ObjectKind::MaterializedView | ObjectKind::Rule) {
        let used = object.uses.iter().filter_map(|used| match used {
            Use::Column { table: name, .. } | Use::Relation { name } => Some(name),
            Use::Function { .. } | Use::Type { .. } => None,
        });
        let used: std::collections::BTreeSet<_> = used.collect();
        let used = used.into_iter().filter(|name| object.table() != Some(*name));
        // The statements of a rule are taken in as they would be if they were sent.
        let mode = |name: &ObjectName| if is_written(object, name) { ROW_EXCLUSIVE } else { ACCESS_SHARE };
        locks.extend(used.map(|name| lock(name, mode(name))));
    }
    locks
}

/// Whether a rule's statement writes to the relation.
fn is_written(rule: &Object, name: &ObjectName) -> bool {
    let schema = name.schema.as_deref().unwrap_or("public");
    let spelled = [ident(&name.name), name.name.clone()];
    let spelled =
        spelled.iter().flat_map(|bare| [bare.clone(), format!("{schema}.{bare}"), format!("{}.{bare}", ident(schema))]);
    let mut spelled =
        spelled.flat_map(|name| ["INSERT INTO", "UPDATE", "DELETE FROM"].map(|verb| format!("{verb} {name} ")));
    rule.key.kind == ObjectKind::Rule && spelled.any(|text| rule.definition.contains(&text))
}

fn stored_otherwise(settings: &Object) -> bool {
    [" SET STORAGE ", " SET COMPRESSION "].iter().any(|what| settings.definition.contains(what))
}

/// See [`crate::dialect::Ddl::locks`].
pub(super) fn locks(what: &str, table: &ObjectName, others: &[&ObjectName]) -> Vec<Lock> {
    let (own, other) = modes(what);
    let lock = |relation: &ObjectName, mode: &str| Lock { relation: relation.clone(), mode: mode.to_owned() };
    let mut locks: Vec<_> = own.iter().map(|mode| lock(table, mode)).collect();
    for parent in others.iter().filter(|parent| **parent != table) {
        locks.extend(other.iter().map(|mode| lock(parent, mode)));
    }
    locks
}
