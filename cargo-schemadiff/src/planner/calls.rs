//! Functions that tables and domains call: in defaults, generated columns, checks, indexes. Introspection tells no such use,
//! so it is read from the expressions. It decides between orders that nothing else decides, and never forbids a plan.

use std::collections::BTreeMap;

use schemadiff::model::{ObjectKey, ObjectKind, Schema};
use serde::Serialize;

/// Whether the text calls something of that name, in whatever schema and with whatever arguments.
pub(crate) fn calls(text: &str, name: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    text.match_indices(name).any(|(at, _)| {
        let after = text[at + name.len()..].trim_start_matches('"').trim_start();
        after.starts_with('(') && !text[..at].ends_with(inside)
    })
}

/// How many expressions of a part of a schema call it.
pub(crate) fn count(part: &impl Serialize, name: &str) -> usize {
    fn walk(value: &serde_json::Value, name: &str) -> usize {
        match value {
            serde_json::Value::String(text) => usize::from(calls(text, name)),
            serde_json::Value::Array(all) => all.iter().map(|value| walk(value, name)).sum(),
            serde_json::Value::Object(all) => all.values().map(|value| walk(value, name)).sum(),
            _ => 0,
        }
    }
    // A part that is no JSON calls nothing that could be told.
    serde_json::to_value(part).map_or(0, |value| walk(&value, name))
}

fn count_in(schema: &Schema, name: &str) -> usize {
    let tables: usize = schema.tables.values().map(|table| count(table, name)).sum();
    tables + schema.domains.values().map(|domain| count(domain, name)).sum::<usize>()
}

/// The functions that a plan makes, changes or drops.
pub(super) struct Moving {
    /// With how many expressions call each of them in the end.
    routines: BTreeMap<ObjectKey, usize>,
}

impl Moving {
    pub fn new(start: &Schema, desired: &Schema) -> Self {
        let is_routine = |key: &ObjectKey| matches!(key.kind, ObjectKind::Function | ObjectKind::Procedure);
        let moves = |key: &&ObjectKey| start.objects.get(*key) != desired.objects.get(*key);
        let keys = start.objects.keys().chain(desired.objects.keys()).filter(|key| is_routine(key)).filter(moves);
        Self { routines: keys.map(|key| (key.clone(), count_in(desired, &key.name.name))).collect() }
    }

    /// Whether a step between these parts of the state does better to wait: it drops or replaces a function that
    /// expressions still call which will not, or it makes an expression that calls a function which is not yet as it shall be.
    pub fn waits(&self, before: &Schema, after: &Schema, state: &Schema, desired: &Schema) -> bool {
        self.routines.iter().any(|(key, calls_at_end)| {
            let name = &key.name.name;
            let was = before.objects.get(key);
            if was.is_some() && was != after.objects.get(key) {
                return count_in(state, name) > *calls_at_end;
            }
            let pending = state.objects.get(key) != desired.objects.get(key);
            pending && desired.objects.contains_key(key) && count_in(after, name) > count_in(before, name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::calls;

    #[test]
    fn a_call_is_a_name_before_a_parenthesis() {
        assert!(calls("public.random_string(20)", "random_string"));
        assert!(calls("\"Odd name\"(1) + 2", "Odd name"));
        assert!(!calls("my_random_string(20)", "random_string"));
        assert!(!calls("random_string || 'x'", "random_string"));
    }
}
