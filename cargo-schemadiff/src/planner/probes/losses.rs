//! Data that is gone when a step is taken back.

use schemadiff::{
    model::{Column, ObjectName, Table},
    plan::Loss,
};

use super::{SAMPLE, row_name};
use crate::{diff::column_name, planner::context::Context};

/// Rows of a table that the migration makes.
pub(in crate::planner) fn rows_of(cx: &Context<'_>, table: &Table) -> Loss {
    let sql = format!("SELECT {} FROM {} LIMIT {SAMPLE}", row_name(cx, table), cx.ddl.name(&table.name));
    Loss { name: table.name.to_string(), finds: format!("rows of `{}`", table.name), sql }
}

/// Values of a column that the migration makes and does not fill. What a default gives is nobody's.
pub(in crate::planner) fn values_of(cx: &Context<'_>, table: &ObjectName, column: &Column) -> Option<Loss> {
    let by_server = column.identity.is_some() || column.generated.is_some();
    let is_literal = |text: &str| {
        text.starts_with(|c: char| c == '\'' || c == '-' || c.is_ascii_digit())
            || ["true", "false", "null"].iter().any(|word| text.eq_ignore_ascii_case(word))
    };
    let ident = cx.ddl.ident(&column.name);
    let condition = match &column.default {
        _ if by_server => return None,
        None => format!("{ident} IS NOT NULL"),
        Some(default) if is_literal(default) => format!("{ident} IS DISTINCT FROM ({default})"),
        Some(_) => return None,
    };
    let there = cx.request.current.table(table).or_else(|| cx.before(table))?;
    let sql = format!("SELECT {} FROM {} WHERE {condition} LIMIT {SAMPLE}", row_name(cx, there), cx.ddl.name(table));
    let finds = format!("rows of `{table}` with a value of their own in `{}`", column.name);
    Some(Loss { name: column_name(table, &column.name), finds, sql })
}
