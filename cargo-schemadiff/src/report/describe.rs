//! Differences in words.

use schemadiff::model::{Column, Delta, ObjectName};

/// One difference between a schema and another, seen from the first: `column users.email is missing there`.
///
/// `other` says in words where the second schema is (`in the database`, `in the structs`).
pub fn difference(delta: &Delta, other: &str) -> String {
    match delta {
        Delta::Table { name, before, after } => presence(format!("table `{name}`"), before, after, other),
        Delta::Column { table, name, before: Some(before), after: Some(after) } => {
            column(table, name, before, after, other)
        }
        Delta::Column { table, name, before, after } => {
            presence(format!("column `{table}.{name}`"), before, after, other)
        }
        Delta::PrimaryKey { table, before, after } => {
            presence(format!("primary key of `{table}`"), before, after, other)
        }
        Delta::Unique { table, name, before, after } => {
            presence(format!("unique constraint `{name}` on `{table}`"), before, after, other)
        }
        Delta::Check { table, name, before, after } => match (before, after) {
            (Some(b), Some(a)) if b.expr != a.expr => {
                format!("check constraint `{name}` on `{table}` is `{}`, {other} it is `{}`", b.expr, a.expr)
            }
            _ => presence(format!("check constraint `{name}` on `{table}`"), before, after, other),
        },
        Delta::Exclusion { table, name, before, after } => {
            presence(format!("exclusion constraint `{name}` on `{table}`"), before, after, other)
        }
        Delta::ForeignKey { table, name, before, after } => {
            presence(format!("foreign key `{name}` on `{table}`"), before, after, other)
        }
        Delta::Index { table, name, before, after } => {
            presence(format!("index `{name}` on `{table}`"), before, after, other)
        }
        Delta::Sync { table, name, before, after } => {
            presence(format!("sync trigger `{name}` on `{table}`"), before, after, other)
        }
        Delta::Comment { table, .. } => format!("the comment on `{table}` is another one {other}"),
        Delta::Options { table, .. } => format!("the options of `{table}` are other ones {other}"),
        Delta::Enum { name, before, after } => match (before, after) {
            (Some(b), Some(a)) => {
                let list = |values: &[String]| values.join(", ");
                format!("type `{name}` has the values {}, {other} {}", list(&b.values), list(&a.values))
            }
            _ => presence(format!("type `{name}`"), before, after, other),
        },
        Delta::Domain { name, before, after } => presence(format!("domain `{name}`"), before, after, other),
        Delta::Object { key, before, after } => presence(key.to_string(), before, after, other),
        Delta::CompatView { name, before, after } => {
            presence(format!("compatibility view `{name}`"), before, after, other)
        }
    }
}

fn presence<T>(what: String, before: &Option<T>, after: &Option<T>, other: &str) -> String {
    match (before, after) {
        (Some(_), None) => format!("{what} does not exist {other}"),
        (None, _) => format!("{what} exists only {other}"),
        (Some(_), Some(_)) => format!("{what} is another one {other}"),
    }
}

fn column(table: &ObjectName, name: &str, before: &Column, after: &Column, other: &str) -> String {
    let what = format!("column `{table}.{name}`");
    let nullable = |c: &Column| if c.nullable { "nullable" } else { "NOT NULL" };
    let default = |c: &Column| c.default.as_ref().map_or_else(|| "no default".to_owned(), |d| format!("default {d}"));
    if before.ty != after.ty {
        format!("{what} is {}, {other} it is {}", before.ty, after.ty)
    } else if before.nullable != after.nullable {
        format!("{what} is {}, {other} it is {}", nullable(before), nullable(after))
    } else if before.default != after.default {
        format!("{what} has {}, {other} {}", default(before), default(after))
    } else if before.comment != after.comment {
        format!("the comment on {what} is another one {other}")
    } else {
        format!("{what} is numbered, computed or collated otherwise {other}")
    }
}

/// The first few differences, one a line, and how many more there are.
pub fn first_differences(deltas: &[Delta], other: &str) -> String {
    const SHOWN: usize = 5;
    let mut lines: Vec<String> = deltas.iter().take(SHOWN).map(|d| difference(d, other)).collect();
    if deltas.len() > SHOWN {
        lines.push(format!("and {} more", deltas.len() - SHOWN));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use schemadiff::model::{Schema, Table, between};

    use super::*;

    #[test]
    fn both_directions_read_well() {
        let with = |columns: &[Column]| {
            let mut table = Table::new(ObjectName::new("users"));
            table.columns = columns.to_vec();
            Schema { tables: [(table.name.clone(), table.into())].into(), ..Schema::default() }
        };
        let lock = with(&[Column::new("id", "bigint"), Column::new("email", "text")]);
        let code = with(&[Column::new("id", "integer"), Column::new("mail", "text")]);
        assert_eq!(
            first_differences(&between(&lock, &code), "in the structs"),
            "column `users.email` does not exist in the structs\n\
             column `users.id` is bigint, in the structs it is integer\n\
             column `users.mail` exists only in the structs"
        );
    }
}
