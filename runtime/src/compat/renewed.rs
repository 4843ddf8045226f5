//! Types that are made anew under statements that connections keep prepared.

use super::{Reason, types};
use crate::model::{Column, Delta, Dialect, EnumType, ObjectName, Schema};

/// What steps that are still to come do to types under code that already fits what they lead to. PostgreSQL fails a
/// prepared statement when the type of one of its result columns becomes another one, even if the code can read both (a
/// domain over the same type, a type of the same name with fewer labels). Such code starts after these steps.
///
/// `steps` are the effects of steps; those that have happened in `state` do not count.
pub fn renewed<'d>(
    dialect: Dialect,
    state: &Schema,
    steps: impl IntoIterator<Item = &'d Delta>,
    code: &Schema,
) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if dialect != Dialect::Postgres {
        return reasons;
    }
    for delta in steps {
        match delta {
            Delta::Enum { name, before: Some(_), after: Some(after) }
                if state.enums.get(name).is_some_and(|now| is_made_anew(now, after)) =>
            {
                reasons.extend(columns_over(code, after));
            }
            Delta::Column { table, name, before: Some(_), after: Some(after) } => {
                let declared = code.table(table).and_then(|t| t.column(name));
                let now = state.table(table).and_then(|t| t.column(name));
                let same = |one: &str, other: &str| types::fit(dialect, one, other) == types::Fit::Same;
                // Of a type that the code cannot read the predicate speaks.
                let reads =
                    |now: &Column, declared: &Column| same(state.base_type(&now.ty), code.base_type(&declared.ty));
                if let (Some(declared), Some(now)) = (declared, now)
                    && same(&after.ty, &declared.ty)
                    && !same(&now.ty, &declared.ty)
                    && reads(now, declared)
                {
                    reasons.push(Reason::Renewed { table: table.clone(), column: name.clone() });
                }
            }
            _ => {}
        }
    }
    reasons.sort();
    reasons.dedup();
    reasons
}

/// Labels that go or change places need a new type; those that come do not.
fn is_made_anew(now: &EnumType, after: &EnumType) -> bool {
    let mut rest = after.values.iter();
    let only_more = now.values.iter().all(|label| rest.any(|other| other == label));
    !only_more && after.values.iter().all(|label| now.values.contains(label))
}

/// The code's columns of the type, where it knows the type as it will be.
fn columns_over<'c>(code: &'c Schema, after: &'c EnumType) -> impl Iterator<Item = Reason> + 'c {
    let known = code.enums.get(&after.name).is_some_and(|declared| declared.values == after.values);
    let tables = code.tables.values().filter(move |_| known);
    tables.flat_map(move |table| {
        let of_type = table.columns.iter().filter(|c| is_over(&c.ty, &after.name));
        of_type.map(|c| Reason::Renewed { table: table.name.clone(), column: c.name.clone() })
    })
}

fn is_over(ty: &str, name: &ObjectName) -> bool {
    let written = ty.trim_end_matches("[]").parse::<ObjectName>();
    written.is_ok_and(|ty| ty.name == name.name && ty.schema.filter(|schema| schema != "public") == name.schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[&str]) -> EnumType {
        let values = values.iter().map(ToString::to_string).collect();
        EnumType { name: ObjectName::new("state"), values, comment: None }
    }

    #[test]
    fn a_type_is_made_anew_when_labels_go_or_change_places() {
        let now = labels(&["new", "paid", "sent"]);
        assert!(is_made_anew(&now, &labels(&["new", "paid"])));
        assert!(is_made_anew(&now, &labels(&["paid", "new", "sent"])));
        assert!(!is_made_anew(&now, &labels(&["new", "open", "paid", "sent"])), "it only gets a label");
        assert!(!is_made_anew(&now, &labels(&["new", "paid", "shipped"])), "a label is renamed");
        assert!(!is_made_anew(&now, &now), "the step is done");
    }
}
