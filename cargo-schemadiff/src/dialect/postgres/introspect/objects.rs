//! Enumerated types, views, triggers, and what the model does not hold.

use std::collections::{BTreeMap, HashMap};

use schemadiff::model::{Check, CompatView, Domain, EnumType, ObjectName, Schema, Sync};
use sqlx::postgres::PgRow;

use super::{
    Found,
    row::{Oid, Row},
    tables::Relation,
};
use crate::dialect::postgres::{
    MARK,
    normalize::text::expression,
    render::{names::SYNC_PREFIX, sync::SyncComment},
};

/// Labels come in their order, one a row.
pub(super) fn enums(rows: &[PgRow]) -> BTreeMap<ObjectName, EnumType> {
    let mut enums = BTreeMap::new();
    for row in rows.iter().map(Row) {
        let name = row.name(0);
        let entry = enums.entry(name.clone());
        let found = entry.or_insert_with(|| EnumType { name, values: Vec::new(), comment: row.owned(3) });
        found.values.extend(row.owned(2));
    }
    enums
}

/// Checks come one a row.
pub(super) fn domains(rows: &[PgRow], collations: &HashMap<Oid, String>) -> BTreeMap<ObjectName, Domain> {
    let mut domains = BTreeMap::new();
    for row in rows.iter().map(Row) {
        let name = row.name(0);
        let domain = domains.entry(name.clone()).or_insert_with(|| Domain {
            not_null: row.flag(3),
            default: row.opt(4).map(expression),
            collation: row.opt(5).and_then(|oid| collations.get(&oid.parse().ok()?)).cloned(),
            comment: row.owned(6),
            ..Domain::over(name, row.get(2))
        });
        if let Some(check) = row.owned(7) {
            let (expr, not_valid, comment) = (expression(row.get(8)), !row.flag(9), row.owned(10));
            domain.checks.insert(check, Check { expr, not_valid, no_inherit: false, comment });
        }
    }
    domains
}

fn marked<T: serde::de::DeserializeOwned>(comment: Option<&str>) -> Option<T> {
    serde_json::from_str(comment?.strip_prefix(MARK)?).ok()
}

/// Schemadiff's own views and triggers.
pub(super) fn views_and_triggers(
    rows: &[PgRow],
    relations: &mut HashMap<Oid, Relation>,
    schema: &mut Schema,
    found: &mut Found,
) {
    for row in rows.iter().map(Row) {
        let shown = format!("{}.{}", row.get(1), row.get(2));
        match row.letter(0) {
            't' => trigger(row, relations, found),
            _ => match row.opt(8).map(serde_json::from_str) {
                // Its names now, not those of the comment: they follow renames.
                Some(Ok(columns)) => {
                    let name = row.name(1);
                    schema.compat_views.insert(name.clone(), CompatView { name, table: row.name(6), columns });
                }
                _ => found.leave_alone("view", shown, "it bears a mark of schemadiff's that cannot be read"),
            },
        }
    }
}

fn trigger(row: Row<'_>, relations: &mut HashMap<Oid, Relation>, found: &mut Found) {
    let name = row.get(4);
    let ours = if name.starts_with(SYNC_PREFIX) { marked::<SyncComment>(row.opt(5)) } else { None };
    let relation = relations.get_mut(&row.number(3));
    match (ours, relation) {
        (Some(comment), Some(relation)) => {
            let sync = Sync { fills: comment.fills, later: comment.later, ..Sync::default() };
            relation.table.syncs.insert(name.to_owned(), sync);
        }
        (_, relation) => {
            let shown = format!("{}.{}.{name}", row.get(1), row.get(2));
            found.leave_alone("trigger", shown, "it bears a name of schemadiff's and is none of its own");
            if let (Some(relation), Some(last)) = (relation, found.opaque.last_mut()) {
                last.table = Some(relation.table.name.clone());
                last.definition = row.owned(9);
            }
        }
    }
}

/// What has no place in the model at all.
pub(super) fn unsupported(rows: &[PgRow], found: &mut Found) {
    for row in rows.iter().map(Row) {
        found.leave_alone(row.get(0), row.get(1), "it is kept as it is");
        if let Some(last) = found.opaque.last_mut() {
            last.definition = row.owned(2);
        }
    }
}
