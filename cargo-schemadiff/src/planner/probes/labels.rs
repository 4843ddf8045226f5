//! Labels of enumerated types that come or go: rows that hold them, and questions that name them.

use std::collections::BTreeSet;

use schemadiff::{
    model::{Column, EnumType, ObjectName},
    plan::Probe,
};

use super::{Danger, SAMPLE, current, original, row_name};
use crate::{
    diff,
    planner::{context::Context, ops},
};

/// Rows that hold a label which the type loses.
pub(super) fn lost(cx: &Context<'_>, name: &ObjectName, before: &EnumType, after: &EnumType) -> Vec<Danger> {
    let lost: Vec<String> = before.values.iter().filter(|label| !after.values.contains(label)).cloned().collect();
    if lost.is_empty() || before.values.len() <= after.values.len() {
        return Vec::new(); // a rename takes the rows along
    }
    let columns = ops::columns_of_type(cx, name).into_iter().filter_map(|(table, column)| {
        let (there, old) = (current(cx, &table)?.name.clone(), original(cx, &table, &column.name)?);
        Some((there, Column { name: old, ..column }))
    });
    let columns: Vec<_> = columns.collect();
    let was = cx.request.hints.renamed_types.get(name).unwrap_or(name);
    let composites = cx.ddl.composites_of(was).map(|sql| Probe {
        finds: format!(
            "composite types with a value of type `{name}`, which stays in use there (take it out of them first)"
        ),
        sql,
    });
    let probes = holding(cx, &columns, &lost).into_iter().chain(composites);
    probes.map(|probe| Danger { probe: Some(probe), hazard: None }).collect()
}

/// Rows of tables that are there whose columns hold one of these labels.
pub(in crate::planner) fn holding(cx: &Context<'_>, columns: &[(ObjectName, Column)], labels: &[String]) -> Vec<Probe> {
    let labels: Vec<String> = labels.iter().map(|label| cx.ddl.literal(label)).collect();
    let of_column = |(table, column): &(ObjectName, Column)| {
        let there = cx.request.current.table(table)?;
        let ident = cx.ddl.ident(&column.name);
        let condition = match column.ty.ends_with("[]") {
            true => {
                let has = |label: &String| format!("{label} = ANY (CAST({ident} AS text[]))");
                labels.iter().map(has).collect::<Vec<_>>().join(" OR ")
            }
            false => format!("CAST({ident} AS text) IN ({})", labels.join(", ")),
        };
        let sql =
            format!("SELECT {} FROM {} WHERE {condition} LIMIT {SAMPLE}", row_name(cx, there), cx.ddl.name(table));
        let finds = format!("rows of `{table}` whose `{}` holds {}", column.name, labels.join(", "));
        Some(Probe { finds, sql })
    };
    columns.iter().filter_map(of_column).collect()
}

/// The type of these labels that a text becomes, or texts in an array. The server cannot be asked: it may have to get the type, or
/// a label, with the same migration.
fn becomes<'c>(cx: &Context<'c>, from: &str, to: &str) -> Option<&'c EnumType> {
    let labels = cx.request.desired.enums.iter().find(|(name, _)| diff::is_type(to, name))?.1;
    let from_labels = || cx.request.current.enums.keys().any(|name| diff::is_type(from, name));
    (from != to && from.ends_with("[]") == to.ends_with("[]") && (cx.ddl.is_text(from) || from_labels()))
        .then_some(labels)
}

/// What a column's texts are to become labels of, without a word of the user's how.
fn labels_for<'c>(cx: &Context<'c>, table: &ObjectName, after: &Column) -> Option<(Column, &'c EnumType)> {
    let column = current(cx, table)?.column(&original(cx, table, &after.name)?)?.clone();
    let said = cx.request.hints.backfills.get(&(table.clone(), after.name.clone())).map(String::as_str);
    let labels = becomes(cx, &column.ty, &after.ty).filter(|_| ops::conversion(&column, after, said).is_none())?;
    Some((column, labels))
}

/// Whether the server could not be asked for the values of a column before the migration.
pub(super) fn cannot_be_cast(cx: &Context<'_>, table: &ObjectName, after: &Column) -> bool {
    labels_for(cx, table, after).is_some()
}

/// Whether values of the type are labels, or arrays of them.
pub(super) fn are_values_of(cx: &Context<'_>, ty: &str) -> bool {
    cx.request.desired.enums.keys().any(|name| diff::is_type(ty, name))
}

/// Rows whose text is none of the labels that a column gets by itself or by the user's word.
pub(super) fn unknown(cx: &Context<'_>, table: &ObjectName, after: &Column) -> Option<Danger> {
    let there = current(cx, table)?;
    let said = cx.request.hints.backfills.get(&(table.clone(), after.name.clone()));
    let (value, labels, null) = match labels_for(cx, table, after) {
        Some((column, labels)) => {
            let null = column.nullable && !after.nullable && said.is_none();
            (cx.ddl.ident(&column.name), labels, null)
        }
        None => {
            let before = original(cx, table, &after.name).and_then(|old| there.column(&old).cloned());
            let is_said =
                |expr: &&String| before.as_ref().is_none_or(|b| ops::conversion(b, after, Some(expr)).is_some());
            let of_type = cx.request.desired.enums.iter().find(|(name, _)| diff::is_type(&after.ty, name))?;
            (format!("({})", said.filter(is_said)?), of_type.1, false)
        }
    };
    let known: Vec<String> = labels.values.iter().map(|label| cx.ddl.literal(label)).collect();
    let none_of = |value: &str| match known.as_slice() {
        [] => format!("{value} IS NOT NULL"),
        known => format!("{value} NOT IN ({})", known.join(", ")),
    };
    let mut condition = match after.ty.ends_with("[]") {
        true => format!(
            "EXISTS (SELECT FROM unnest(CAST({value} AS text[])) AS schemadiff_element WHERE {})",
            none_of("schemadiff_element")
        ),
        false => none_of(&format!("CAST({value} AS text)")),
    };
    if null {
        condition += &format!(" OR {value} IS NULL");
    }
    let (row, from) = (row_name(cx, &there), cx.ddl.name(&there.name));
    let sql = format!("SELECT {row} FROM {from} WHERE {condition} LIMIT {SAMPLE}");
    let finds = format!("rows of `{table}` whose `{}` cannot become {}", after.name, after.ty);
    Some(Danger { probe: Some(Probe { finds, sql }), hazard: None })
}

/// Labels that a type does not have before the migration. No row holds them, and the server refuses a question that names them.
pub(super) fn to_come<'c>(cx: &Context<'c>) -> BTreeSet<&'c str> {
    let (before, after) = (cx.request.current, cx.request.desired);
    let mut coming = BTreeSet::new();
    for (name, to) in &after.enums {
        let old = cx.request.hints.renamed_types.get(name).and_then(|old| before.enums.get(old));
        if let Some(from) = old.or_else(|| before.enums.get(name)) {
            coming.extend(to.values.iter().filter(|label| !from.values.contains(label)).map(String::as_str));
        }
    }
    coming
}

/// Whether a text is one of the labels, or an array with one of them.
pub(super) fn names(text: &str, labels: &BTreeSet<&str>) -> bool {
    let array = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let mut elements = array.iter().flat_map(|list| list.split(','));
    labels.contains(text) || elements.any(|element| labels.contains(element.trim().trim_matches('"')))
}
