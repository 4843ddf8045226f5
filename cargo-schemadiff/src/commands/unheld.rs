//! What two databases have beside all that the model holds: a difference there is said, and nothing is planned for it.

use std::collections::BTreeMap;

use schemadiff::model::{ObjectName, Opaque, Schema};

use crate::{Error, Kind, Result};

/// What belongs to the place where a database stands: two that hold the same may well differ in it.
const OF_THE_PLACE: [&str; 7] = [
    "publication",
    "event trigger",
    "replica identity",
    "foreign data wrapper",
    "foreign server",
    "language",
    "comment on a database schema",
];

/// What is on one side alone, or is another thing on the other one.
pub(super) fn differences(from: &[Opaque], to: &[Opaque]) -> Vec<String> {
    let by_name = |all: &[Opaque]| -> BTreeMap<(String, String), Option<String>> {
        let all = all.iter().filter(|o| !OF_THE_PLACE.contains(&o.kind.as_str()));
        all.map(|o| ((o.kind.clone(), o.name.clone()), o.definition.clone())).collect()
    };
    let (before, after) = (by_name(from), by_name(to));
    let mut names: Vec<_> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let said = |definition: &Option<String>| definition.clone().unwrap_or_default();
    let difference = |key: &(String, String)| {
        let what = format!("{} {}", key.0, key.1);
        match (before.get(key), after.get(key)) {
            (Some(_), None) => Some(format!("{what} is on the first side alone")),
            (None, Some(_)) => Some(format!("{what} is on the second side alone")),
            (Some(old), Some(new)) if old != new => {
                Some(format!("{what} differs: {} on the first side, {} on the second", said(old), said(new)))
            }
            _ => None,
        }
    };
    names.into_iter().filter_map(difference).collect()
}

/// Refuses to take a table for gone, or for new, that is there on both sides, on one of them in a form that the model does not hold.
///
/// # Errors
/// For the first such table.
pub(super) fn same_tables(from: (&Schema, &[Opaque]), to: (&Schema, &[Opaque])) -> Result<()> {
    // As it is written there: without quotes.
    let full = |name: &ObjectName| format!("{}.{}", name.schema.as_deref().unwrap_or("public"), name.name);
    let is_table = |opaque: &&Opaque| opaque.kind.ends_with(" table") || opaque.kind == "partition";
    for ((schema, _), (_, opaque)) in [(from, to), (to, from)] {
        let held = |opaque: &&Opaque| schema.tables.keys().any(|name| full(name) == opaque.name);
        if let Some(found) = opaque.iter().filter(is_table).find(held) {
            let what = format!(
                "`{}` cannot be compared: on one side it is a table of a kind that schemadiff does not hold",
                found.name
            );
            return Err(Error::new(Kind::Refused, "SD0676", what)
                .cause(format!("there it is: {}; {}", found.kind, found.reason))
                .help("make the change to or from that kind by hand, on both sides; then compare again"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opaque(kind: &str, name: &str, definition: Option<&str>) -> Opaque {
        let (kind, name, reason) = (kind.to_owned(), name.to_owned(), "it is kept as it is".to_owned());
        Opaque { kind, name, reason, table: None, definition: definition.map(str::to_owned) }
    }

    #[test]
    fn what_is_on_both_sides_alike_is_no_difference() {
        let both = [opaque("composite type", "public.c", Some("a text")), opaque("cast", "a AS b", None)];
        assert!(differences(&both, &both).is_empty());
        let other =
            [opaque("composite type", "public.c", Some("a int")), opaque("aggregate", "public.agg(text)", None)];
        let found = differences(&both, &other);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[2].contains("differs: a text on the first side, a int on the second"), "{found:?}");
    }
}
