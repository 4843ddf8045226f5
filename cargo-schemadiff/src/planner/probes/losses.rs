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

/// Values of a column that the migration makes. What a default gives for all rows alike, and what an expression gives (`filled`), is
/// nobody's; a default that gives each row another value cannot be told from what somebody wrote.
pub(in crate::planner) fn values_of(
    cx: &Context<'_>,
    table: &ObjectName,
    column: &Column,
    filled: Option<&str>,
) -> Option<Loss> {
    if column.identity.is_some() || column.generated.is_some() {
        return None;
    }
    let is_literal = |text: &str| {
        let text = text.trim_start_matches('(');
        text.starts_with(|c: char| c == '\'' || c == '-' || c.is_ascii_digit())
            || ["x'", "array[", "true", "false", "null"]
                .iter()
                .any(|word| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)))
    };
    let default = column.default.as_deref().filter(|default| is_literal(default));
    let given = filled.filter(|expr| cx.ddl.is_lasting(expr)).or(default);
    let is_set = format!("{} IS NOT NULL", cx.ddl.ident(&column.name));
    let condition = match given {
        // A row that is not filled yet has no value to lose, and need not be one that the expression has a value for.
        Some(expr) => format!("CASE WHEN {is_set} THEN {} ELSE FALSE END", cx.ddl.has_other_value(column, expr)),
        None => is_set,
    };
    let there = cx.request.current.table(table).or_else(|| cx.before(table))?;
    let sql = format!("SELECT {} FROM {} WHERE {condition} LIMIT {SAMPLE}", row_name(cx, there), cx.ddl.name(table));
    let finds = format!("rows of `{table}` with a value of their own in `{}`", column.name);
    Some(Loss { name: column_name(table, &column.name), finds, sql })
}
