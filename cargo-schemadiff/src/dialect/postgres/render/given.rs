//! Backfill with values that a function of the application gives.
//!
//! Values travel as text: as `to_json` writes them, so that times are those of RFC 3339 and arrays are lists; JSON as it is,
//! and bytes in hexadecimal digits.

use schemadiff::{
    model::ObjectName,
    plan::{Backfill, Given, KeyColumn},
};

use super::{
    backfill::{self, Walk},
    names::ident,
};
use crate::dialect::GivenSpec;

/// The statements, see [`Backfill`]. An empty key walks along `ctid`.
pub(super) fn statements(table: &ObjectName, key: &[KeyColumn], given: &GivenSpec<'_>, pending: &str) -> Backfill {
    let nothing: Vec<_> = given
        .set
        .iter()
        .map(|a| schemadiff::plan::Assignment { expr: "NULL".to_owned(), not_null: false, ..a.clone() })
        .collect();
    let plain = backfill::statements(table, key, &nothing, pending);
    let walk = Walk { table: super::names::qualified(table), key: &plain.key };
    let name = &walk.table;
    let reads = given.reads.iter().map(|c| text_of(name, c)).collect::<Vec<_>>().join(", ");
    let read_sql = format!(
        "SELECT {}, {reads} FROM {name} WHERE {} AND ({pending}) ORDER BY {}",
        walk.list(|_, column| format!("{name}.{column}::text"), ", "),
        walk.range(),
        walk.list(|_, column| format!("{name}.{column}"), ", "),
    );
    let sent = "json_array_elements($1::text::json) AS schemadiff_sent (schemadiff_row)";
    let is_row = |of: &str| {
        let same =
            plain.key.iter().enumerate().map(|(i, column)| {
                format!("{of}.{} = (schemadiff_row->'k'->>{i})::{}", ident(&column.name), column.ty)
            });
        same.collect::<Vec<_>>().join(" AND ")
    };
    let is_as_read = |of: &str| {
        let same = given
            .reads
            .iter()
            .enumerate()
            .map(|(i, column)| format!("{} IS NOT DISTINCT FROM schemadiff_row->'r'->>{i}", text_of(of, column)));
        same.collect::<Vec<_>>().join(" AND ")
    };
    let set = given.gives.iter().enumerate().map(|(i, column)| {
        let ident = ident(&column.name);
        format!("{ident} = COALESCE({name}.{ident}, {})", value(i, &column.ty))
    });
    let set = set.collect::<Vec<_>>().join(", ");
    let skip_locked_sql = format!(
        "WITH schemadiff_batch AS (SELECT {}, schemadiff_row FROM {sent} JOIN {name} AS schemadiff_target ON {} \
         WHERE ({pending}) AND {} FOR NO KEY UPDATE OF schemadiff_target SKIP LOCKED) \
         UPDATE {name} SET {set} FROM schemadiff_batch WHERE {} AND ({pending}) AND {}",
        walk.list(|i, column| format!("schemadiff_target.{column} AS schemadiff_key_{i}"), ", "),
        is_row("schemadiff_target"),
        is_as_read("schemadiff_target"),
        walk.list(|i, column| format!("{name}.{column} = schemadiff_batch.schemadiff_key_{i}"), " AND "),
        is_as_read(name),
    );
    Backfill {
        set: given.set.to_vec(),
        update_sql: format!(
            "UPDATE {name} SET {set} FROM {sent} WHERE {} AND ({pending}) AND {}",
            is_row(name),
            is_as_read(name)
        ),
        skip_locked_sql: Some(skip_locked_sql),
        given: Some(Given {
            by: given.by.to_owned(),
            reads: given.reads.to_vec(),
            gives: given.gives.to_vec(),
            read_sql,
        }),
        ..plain
    }
}

fn text_of(table: &str, column: &KeyColumn) -> String {
    let value = format!("{table}.{}", ident(&column.name));
    match column.ty.as_str() {
        "json" | "jsonb" => format!("{value}::text"),
        "bytea" => format!("'\\x' || encode({value}, 'hex')"),
        _ => format!("to_json({value}) #>> '{{}}'"),
    }
}

fn value(at: usize, ty: &str) -> String {
    let json = format!("schemadiff_row->'v'->{at}");
    let unless_null = |value: String| format!("CASE WHEN json_typeof({json}) <> 'null' THEN {value} END");
    match ty {
        "json" | "jsonb" => unless_null(format!("({json})::text::{ty}")),
        _ if ty.ends_with("[]") => unless_null(format!("ARRAY(SELECT json_array_elements_text({json}))::{ty}")),
        _ => format!("(schemadiff_row->'v'->>{at})::{ty}"),
    }
}
