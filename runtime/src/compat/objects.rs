//! What a version needs of views, functions, sequences and the like.

use super::Reason;
use crate::model::{Column, Object, ObjectKey, ObjectKind, Schema, Shared, Table};

/// What is missing, or is not as the version knows it, of the objects that it names. What only hangs on a table (a trigger, a
/// policy) is missed too: the version's writes rely on it.
pub(super) fn missing(state: &Schema, code: &Schema, reasons: &mut Vec<Reason>) {
    for (key, declared) in &code.objects {
        match state.objects.get(key).or_else(|| behind_view(state, key)) {
            None if is_columns(state, key) => {}
            None if is_missed(declared) => reasons.push(Reason::NoObject { object: key.to_string() }),
            None => {}
            Some(actual) => reasons.extend(other_columns(declared, actual)),
        }
    }
}

/// A sequence that belongs to a column is there for whoever names it.
fn is_columns(state: &Schema, key: &ObjectKey) -> bool {
    let numbers = |table: &Table, column: &Column| column.owned_sequence(&table.name).as_ref() == Some(&key.name);
    key.kind == ObjectKind::Sequence
        && state.tables.values().any(|table| table.columns.iter().any(|column| numbers(table, column)))
}

/// A trigger or a rule fires for whoever writes through a view that has its table's old name. Policies ask who owns the view.
fn behind_view<'s>(state: &'s Schema, key: &ObjectKey) -> Option<&'s Shared<Object>> {
    let fires = matches!(key.kind, ObjectKind::Trigger | ObjectKind::Rule);
    let view = key.of.as_ref().filter(|_| fires).and_then(|of| state.compat_views.get(of))?;
    state.objects.get(&ObjectKey { of: Some(view.table.clone()), ..key.clone() })
}

/// Storage, statistics and what is known of them only make statements faster or slower. A table may be without a policy's
/// being in force for code that lives with fewer rows.
fn is_missed(object: &Object) -> bool {
    !matches!(object.key.kind, ObjectKind::Statistics | ObjectKind::ColumnSettings | ObjectKind::RowSecurity)
}

/// A column of a view that is not there, or has another type.
fn other_columns(declared: &Object, actual: &Object) -> Option<Reason> {
    if !matches!(declared.key.kind, ObjectKind::View | ObjectKind::MaterializedView) {
        return None;
    }
    let has = |column: &(String, String)| actual.columns.contains(column);
    let lacks = declared.columns.iter().find(|column| !has(column))?;
    let (object, column) = (declared.key.to_string(), lacks.0.clone());
    Some(Reason::OtherObject { object, column })
}

/// What comes up that hides rows from a version, or refuses what it writes: policies that are put in force, or in force for the table's
/// owner too.
pub(super) fn restrictions(before: &Schema, after: &Schema, code: &Schema, reasons: &mut Vec<Reason>) {
    for (key, object) in after.objects.iter().filter(|(key, _)| key.kind == ObjectKind::RowSecurity) {
        let Some(table) = key.of.as_ref().filter(|table| code.tables.contains_key(*table)) else { continue };
        let force = |object: &Object| 1 + u8::from(object.definition.contains(", FORCE"));
        let known = [before, code].map(|schema| schema.objects.get(key).map_or(0, |object| force(object)));
        if known.iter().all(|known| *known < force(object)) {
            let constraint = ObjectKind::RowSecurity.as_str().to_owned();
            reasons.push(Reason::Constrained { table: table.clone(), constraint });
        }
    }
}
