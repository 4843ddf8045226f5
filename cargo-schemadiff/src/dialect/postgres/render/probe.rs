//! Questions to the rows and the catalogue that are asked before a migration begins.

use std::collections::BTreeSet;

use schemadiff::model::{ObjectName, PartitionBy};

use super::{
    Postgres,
    names::{SYNC_PREFIX, literal, qualified},
    nulls, partition, types,
};
use crate::dialect::{Ddl as _, Questions, TypeChange, postgres::MARK};

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
    if let Some(length) = types::element_length(to) {
        return Some(format!(
            "EXISTS (SELECT FROM unnest({column}) AS schemadiff_element WHERE length(CAST(schemadiff_element AS text)) > {length})"
        ));
    }
    let (old, new) = (types::base(from).unwrap_or_default(), types::base(to).unwrap_or_default());
    let was_text = matches!(old.as_str(), "text" | "character varying" | "character" | "citext");
    match new.as_str() {
        "text" | "character varying" => None,
        // A cast cuts what does not fit.
        "bit" | "bit varying" if matches!(old.as_str(), "bit" | "bit varying") => {
            types::bits(to).map(|length| format!("length({column}) > {length}"))
        }
        // No value is refused.
        "date"
        | "time without time zone"
        | "time with time zone"
        | "timestamp without time zone"
        | "timestamp with time zone"
            if old.starts_with("timestamp") || old == "date" =>
        {
            None
        }
        "boolean" if types::is_number(&old) => None,
        _ if !was_text
            && range(&old).is_some_and(|old| range(&new).is_some_and(|new| new.0 <= old.0 && old.1 <= new.1)) =>
        {
            None
        }
        "smallint" | "integer" | "bigint" if types::is_number(&old) => {
            let (low, high) = range(&new)?;
            Some(format!("{column} NOT BETWEEN {low} AND {high}"))
        }
        "numeric" if types::is_number(&old) => {
            let (precision, scale) = types::precision(to)?;
            Some(format!("abs(round(CAST({column} AS numeric), {scale})) >= 1e{}", precision.saturating_sub(scale)))
        }
        _ if was_text && version >= INPUT_IS_VALID => Some(format!("NOT pg_input_is_valid({text}, {})", literal(to))),
        "smallint" | "integer" | "bigint" if was_text => {
            let (low, high) = range(&new)?;
            Some(format!(
                r"CASE WHEN {text} !~ '^\s*[-+]?[0-9]+\s*$' THEN true ELSE CAST({text} AS numeric) NOT BETWEEN {low} AND {high} END"
            ))
        }
        "real" | "double precision" if was_text => {
            Some(format!(r"{text} !~* '^\s*([-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?|nan|[-+]?inf(inity)?)\s*$'"))
        }
        "uuid" if was_text => Some(format!(r"{text} !~* '^\{{?([0-9a-f]{{4}}-?){{7}}[0-9a-f]{{4}}\}}?$'")),
        // Whatever a function of the server's makes of it: there is no other way to know but to try.
        _ => Some(format!("{TRIED}({column})")),
    }
}

fn range(base: &str) -> Option<(i64, i64)> {
    match base {
        "smallint" => Some((i16::MIN.into(), i16::MAX.into())),
        "integer" => Some((i32::MIN.into(), i32::MAX.into())),
        "bigint" => Some((i64::MIN, i64::MAX)),
        _ => None,
    }
}

/// See [`crate::dialect::Ddl::composites_of`].
pub(super) fn composites_of(ty: &ObjectName) -> String {
    format!(
        "SELECT DISTINCT CAST(CAST(c.reltype AS regtype) AS text) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
         JOIN pg_type t ON t.oid = a.atttypid WHERE c.relkind = 'c' AND NOT a.attisdropped \
         AND to_regtype({}) IN (t.oid, t.typelem) LIMIT 5",
        literal(&qualified(ty)),
    )
}

/// See [`Questions::columns_within`]. A domain over the domain is looked into; what else holds a value of it, and what holds that, is not.
pub(super) fn columns_within(domain: &ObjectName) -> String {
    format!(
        "WITH RECURSIVE held (oid, within) AS (SELECT to_regtype({}), false UNION SELECT t.oid, h.within OR t.typtype <> 'd' FROM held h \
         JOIN pg_type t ON t.typelem = h.oid AND t.typcategory = 'A' OR t.typbasetype = h.oid AND t.typtype = 'd' \
         OR EXISTS (SELECT FROM pg_range r WHERE r.rngtypid = t.oid AND r.rngsubtype = h.oid) \
         OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.atttypid = h.oid AND NOT a.attisdropped)) \
         SELECT DISTINCT CAST(CAST(c.oid AS regclass) AS text) || '.' || a.attname FROM held h JOIN pg_attribute a ON a.atttypid = h.oid \
         JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'm', 'p') WHERE h.within AND NOT a.attisdropped LIMIT 5",
        literal(&qualified(domain)),
    )
}

/// See [`crate::dialect::Ddl::later_triggers`]. In `tgtype`, 1 is a trigger for each row, 2 one before, 4 and 16 are INSERT and
/// UPDATE. The server takes them in the order of the names' bytes.
pub(super) fn later_triggers(table: &ObjectName) -> String {
    let prefix = literal(SYNC_PREFIX);
    format!(
        "SELECT CAST(g.tgname AS text) FROM pg_trigger g WHERE g.tgrelid = to_regclass({}) AND NOT g.tgisinternal \
         AND g.tgtype & 3 = 3 AND g.tgtype & 20 <> 0 AND g.tgenabled IN ('O', 'A') \
         AND CAST(g.tgname AS text) COLLATE \"C\" > {prefix} AND NOT starts_with(CAST(g.tgname AS text), {prefix}) LIMIT 5",
        literal(&qualified(table)),
    )
}

/// A function that says whether a value cannot become another type, for as long as the transaction lasts in which it is asked.
const TRIED: &str = "pg_temp.schemadiff_fails";

/// See [`crate::dialect::Ddl::prepares_conversion`].
pub(super) fn prepares_conversion(condition: &str, from: &str, to: &str) -> Option<String> {
    condition.contains(TRIED).then(|| {
        format!(
            "CREATE OR REPLACE FUNCTION {TRIED}({from}) RETURNS boolean LANGUAGE plpgsql AS $schemadiff$ BEGIN \
             PERFORM CAST($1 AS {to}); RETURN false; EXCEPTION WHEN others THEN RETURN true; END $schemadiff$; "
        )
    })
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

impl Questions for Postgres {
    fn columns_within(&self, domain: &ObjectName) -> Option<String> {
        Some(columns_within(domain))
    }

    fn composites_of(&self, ty: &ObjectName) -> Option<String> {
        Some(composites_of(ty))
    }

    fn later_triggers(&self, table: &ObjectName) -> Option<String> {
        Some(later_triggers(table))
    }

    fn goes_past_policies(&self, table: &ObjectName) -> Option<String> {
        (!self.capabilities().views_follow_policies).then(|| {
            format!(
                "SELECT CAST(oid::regclass AS text) FROM pg_class WHERE oid = to_regclass({}) AND relrowsecurity",
                literal(&qualified(table))
            )
        })
    }

    fn publications_over(&self, table: &ObjectName, column: &str) -> Option<String> {
        Some(publications_over(table, column))
    }

    fn partition_misfit(&self, parent: &ObjectName, by: &PartitionBy, bound: &str, others: &[&str]) -> Option<String> {
        partition::misfit(parent, by, bound, others)
    }

    fn partition_of_row(&self) -> Option<&'static str> {
        Some("CAST(CAST(tableoid AS regclass) AS text)")
    }

    fn prepares_conversion(&self, condition: &str, from: &str, to: &str) -> Option<String> {
        prepares_conversion(condition, from, to)
    }

    fn loses_part(&self, from: &str, to: &str) -> bool {
        types::loses_part(from, to)
    }

    fn is_text(&self, ty: &str) -> bool {
        types::is_text(ty)
    }

    fn null_with(&self, expr: &str, columns: &[(&str, &str)]) -> Option<BTreeSet<String>> {
        nulls::null_with(expr, columns)
    }

    fn keeps_apart(&self, from: &str, to: &str) -> bool {
        types::keeps_apart(from, to)
    }

    fn replica_identity(&self, table: &ObjectName, column: Option<&str>, index: Option<&str>) -> Option<String> {
        let over = column.map(|column| {
            format!(
                " AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY (CAST(i.indkey AS smallint[])) \
                 AND a.attname = {})",
                literal(column)
            )
        });
        let named = index.map(|index| format!(" AND c.relname = {}", literal(index)));
        Some(format!(
            "SELECT CAST(c.relname AS text) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
             WHERE i.indisreplident AND i.indrelid = to_regclass({}){}{}",
            literal(&qualified(table)),
            over.unwrap_or_default(),
            named.unwrap_or_default()
        ))
    }
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
