//! Labels of enumerated types that come or go: rows that hold them, and questions that name them.

use std::collections::BTreeSet;

use schemadiff::{
    model::{Column, EnumType, ObjectName},
    plan::Probe,
};

use super::{Danger, SAMPLE, current, original, row_name};
use crate::planner::{context::Context, ops};

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
