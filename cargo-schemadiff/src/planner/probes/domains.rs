//! Values that a domain's new rule refuses.

use schemadiff::{
    model::{Check, Domain, ObjectName, Table, expr},
    plan::Probe,
};

use super::{Danger, SAMPLE, current, row_name};
use crate::planner::context::Context;

/// What a rule calls the value.
const VALUE: &str = "schemadiff_value";

/// Rows of all tables with columns of the domain, for each rule that is proven.
pub(super) fn dangers(cx: &Context<'_>, name: &ObjectName, before: &Domain, after: &Domain) -> Vec<Danger> {
    let was_proven = |check: &str, rule: &Check| {
        before.checks.get(check).is_some_and(|old| !old.not_valid && expr::same(&old.expr, &rule.expr))
            // Another name for what was there.
            || before.checks.values().any(|old| !old.not_valid && expr::same(&old.expr, &rule.expr))
    };
    let rules = after.checks.iter().filter(|(check, rule)| !rule.not_valid && !was_proven(check, rule));
    let rules: Vec<&Check> = rules.map(|(_, rule)| rule).collect();
    let refuses_null = after.not_null && !before.not_null;
    if rules.is_empty() && !refuses_null {
        return Vec::new();
    }
    let mut dangers: Vec<Danger> = Vec::new();
    let mut ask = |finds: String, sql: String| {
        dangers.push(Danger { probe: Some(Probe { finds, sql }), hazard: None });
    };
    let schema = cx.request.current;
    // As it is called before the migration.
    let name = cx.request.hints.renamed_types.get(name).unwrap_or(name);
    for table in schema.tables_of(name) {
        let Some(there) = current(cx, table) else { continue };
        let of_it = |ty: &str| schema.domains_of(ty).iter().any(|domain| domain.name == *name);
        // A partition's rows are its parent's.
        for column in there.columns.iter().filter(|c| of_it(&c.ty) && there.partition_of.is_none()) {
            let ident = cx.ddl.ident(&column.name);
            let rows = |condition: &str| {
                format!("SELECT {} FROM {} WHERE {condition} LIMIT {SAMPLE}", row_name(cx, &there), cx.ddl.name(table))
            };
            for rule in &rules {
                let Probe { finds, sql } = violating(cx, &there, &column.name, rule);
                ask(finds, sql);
            }
            if refuses_null && column.nullable {
                let finds = format!("rows of `{table}` with NULL in `{}`", column.name);
                ask(finds, rows(&format!("{ident} IS NULL")));
            }
        }
    }
    if let Some(sql) = cx.ddl.columns_within(name) {
        let finds = format!(
            "columns with a value of domain `{name}` within another one, which the server does not look into (take it out of them first)"
        );
        ask(finds, sql);
    }
    dangers
}

/// Rows whose value breaks a rule.
fn violating(cx: &Context<'_>, there: &Table, column: &str, rule: &Check) -> Probe {
    let value = |name: &str| name.eq_ignore_ascii_case("value").then(|| VALUE.to_owned());
    Probe {
        finds: format!("rows of `{}` whose `{column}` violates `{}`", there.name, rule.expr),
        sql: format!(
            "SELECT schemadiff_row FROM (SELECT {} AS schemadiff_row, {} AS {VALUE} FROM {}) AS schemadiff_rows \
             WHERE NOT ({}) LIMIT {SAMPLE}",
            row_name(cx, there),
            cx.ddl.ident(column),
            cx.ddl.name(&there.name),
            expr::map_columns(&rule.expr, value)
        ),
    }
}

/// Rows that a rule which comes back would find broken.
pub(in crate::planner) fn refused_back(cx: &Context<'_>, name: &ObjectName, rule: &Check) -> Vec<Probe> {
    let tables = cx.base.tables_of(name).into_iter().filter_map(|table| cx.base.table(table));
    let of_it = |ty: &str| cx.base.domains_of(ty).iter().any(|domain| domain.name == *name);
    let columns = tables.flat_map(|table| table.columns.iter().map(move |column| (table, column)));
    let own = columns.filter(|(table, column)| table.partition_of.is_none() && of_it(&column.ty));
    own.map(|(table, column)| violating(cx, table, &column.name, rule)).collect()
}
