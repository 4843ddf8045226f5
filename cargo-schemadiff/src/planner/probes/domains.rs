//! Values that a domain's new rule refuses.

use schemadiff::{
    model::{Check, Domain, ObjectName, expr},
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
                let value = |name: &str| name.eq_ignore_ascii_case("value").then(|| VALUE.to_owned());
                let sql = format!(
                    "SELECT schemadiff_row FROM (SELECT {} AS schemadiff_row, {ident} AS {VALUE} FROM {}) AS schemadiff_rows \
                     WHERE NOT ({}) LIMIT {SAMPLE}",
                    row_name(cx, &there),
                    cx.ddl.name(table),
                    expr::map_columns(&rule.expr, value)
                );
                ask(format!("rows of `{table}` whose `{}` violates `{}`", column.name, rule.expr), sql);
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
