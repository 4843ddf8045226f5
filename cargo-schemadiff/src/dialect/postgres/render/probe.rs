//! Questions to the rows and the catalogue that are asked before a migration begins.

use schemadiff::model::ObjectName;

use super::{
    names::{literal, qualified},
    types,
};
use crate::dialect::{TypeChange, postgres::MARK};

/// Since this version the server tells whether a text can be read as a type.
const INPUT_IS_VALID: u32 = 160_000;

/// See [`crate::dialect::Ddl::cannot_convert`].
pub(super) fn cannot_convert(version: u32, column: &str, from: &str, to: &str) -> Option<String> {
    if types::change(from, to) != TypeChange::Rewrite {
        return None;
    }
    let text = format!("CAST({column} AS text)");
    if let Some(length) = types::length(to) {
        return Some(format!("length({text}) > {length}"));
    }
    let (old, new) = (types::base(from).unwrap_or_default(), types::base(to).unwrap_or_default());
    let was_text = matches!(old.as_str(), "text" | "character varying" | "character" | "citext");
    match new.as_str() {
        "text" | "character varying" => None,
        _ if !was_text
            && range(&old).is_some_and(|old| range(&new).is_some_and(|new| new.0 <= old.0 && old.1 <= new.1)) =>
        {
            None
        }
        "smallint" | "integer" | "bigint" if is_number(&old) => {
            let (low, high) = range(&new)?;
            Some(format!("{column} NOT BETWEEN {low} AND {high}"))
        }
        "numeric" if is_number(&old) => {
            let (precision, scale) = types::precision(to)?;
            Some(format!("abs(round(CAST({column} AS numeric), {scale})) >= 1e{}", precision.saturating_sub(scale)))
        }
        _ if was_text && version >= INPUT_IS_VALID => Some(format!("NOT pg_input_is_valid({text}, {})", literal(to))),
        "smallint" | "integer" | "bigint" if was_text => Some(format!(r"{text} !~ '^\s*[-+]?[0-9]+\s*$'")),
        "numeric" | "real" | "double precision" if was_text => {
            Some(format!(r"{text} !~* '^\s*([-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?|nan|[-+]?inf(inity)?)\s*$'"))
        }
        "uuid" if was_text => Some(format!(r"{text} !~* '^\{{?([0-9a-f]{{4}}-?){{7}}[0-9a-f]{{4}}\}}?$'")),
        // The server's own words about the first such value, then.
        _ => Some(format!("CAST({column} AS {to}) IS NULL AND {column} IS NOT NULL")),
    }
}

fn is_number(base: &str) -> bool {
    matches!(base, "smallint" | "integer" | "bigint" | "numeric" | "real" | "double precision")
}

fn range(base: &str) -> Option<(i64, i64)> {
    match base {
        "smallint" => Some((i16::MIN.into(), i16::MAX.into())),
        "integer" => Some((i32::MIN.into(), i32::MAX.into())),
        "bigint" => Some((i64::MIN, i64::MAX)),
        _ => None,
    }
}

/// See [`crate::dialect::Ddl::publications_over`].
pub(super) fn publications_over(table: &ObjectName, column: &str) -> String {
    format!(
        "SELECT DISTINCT CAST(p.pubname AS text) FROM pg_depend d \
         JOIN pg_publication_rel r ON r.oid = d.objid AND d.classid = CAST('pg_publication_rel' AS regclass) \
         JOIN pg_publication p ON p.oid = r.prpubid \
         JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
         WHERE d.refclassid = CAST('pg_class' AS regclass) AND d.refobjid = to_regclass({}) AND a.attname = {} LIMIT 5",
        literal(&qualified(table)),
        literal(column),
    )
}

/// Views and materialized views of the user's, by what the catalogue knows of them.
pub(super) fn views_over(table: &ObjectName, column: Option<&str>, known: &[&ObjectName]) -> String {
    let known: Vec<_> = known.iter().map(|name| format!("to_regclass({})", literal(&qualified(name)))).collect();
    let known = match known.as_slice() {
        [] => String::new(),
        known => format!(" AND v.oid <> ALL (array_remove(ARRAY[{}], NULL))", known.join(", ")),
    };
    let column = column.map(|name| format!(" AND a.attname = {}", literal(name))).unwrap_or_default();
    format!(
        "SELECT DISTINCT CAST(CAST(v.oid AS regclass) AS text) FROM pg_depend d \
         JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = CAST('pg_rewrite' AS regclass) JOIN pg_class v ON v.oid = r.ev_class \
         LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
         WHERE d.refclassid = CAST('pg_class' AS regclass) AND d.refobjid = to_regclass({}) AND v.oid <> d.refobjid \
         AND coalesce(obj_description(v.oid, 'pg_class'), '') NOT LIKE {}{column}{known} LIMIT 5",
        literal(&qualified(table)),
        literal(&format!("{MARK}%")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_fail_is_asked_for() {
        let ask = |from, to| cannot_convert(150_000, "c", from, to);
        for (from, to) in [
            ("int", "bigint"),
            ("varchar(5)", "text"),
            ("int", "text"),
            ("smallint", "int"),
            ("varchar(5)", "varchar(9)"),
        ] {
            assert_eq!(ask(from, to), None, "{from} -> {to}");
        }
        assert_eq!(ask("text", "varchar(5)").unwrap(), "length(CAST(c AS text)) > 5");
        assert_eq!(ask("bigint", "int").unwrap(), "c NOT BETWEEN -2147483648 AND 2147483647");
        assert!(ask("numeric", "numeric(5,2)").unwrap().contains("1e3"));
        assert!(cannot_convert(160_000, "c", "text", "date").unwrap().contains("pg_input_is_valid"));
    }
}
