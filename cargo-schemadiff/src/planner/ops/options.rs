//! Options of a whole table.

use schemadiff::model::{ObjectName, Table, TableOptions};

use crate::{
    Error, Kind, Result, hazard,
    planner::{
        context::{Context, on, slug},
        proto::{Proto, rank},
    },
};

pub(super) fn plan(
    cx: &mut Context<'_>,
    table: &ObjectName,
    before: &TableOptions,
    after: &TableOptions,
) -> Result<()> {
    let with = |options: &TableOptions| Table { options: options.clone(), ..Table::new(table.clone()) };
    let (old, new) = (with(before), with(after));
    let sql = cx.ddl.alter_options(&old, &new);
    if sql.is_empty() && cx.caps.alter_constraints {
        return Err(Error::new(Kind::Refused, "SD0610", format!("the options of `{table}` cannot change in place"))
            .cause("the server would write the whole table anew under a lock that stops everybody")
            .help("change it by hand in a maintenance window; the next diff will find it changed"));
    }
    let options = after.clone();
    let step = Proto::new(
        rank::CONSTRAINT,
        slug(&["options", &table.to_string()]),
        format!("change the options of `{table}`"),
        table,
    )
    .locks(cx.ddl.locks("alter_options", table, &[]))
    .effect(on(table, move |t| t.options.clone_from(&options)));
    let undo = cx.ddl.alter_options(&new, &old);
    let mut step = cx.in_place(step, sql, undo);
    if before.unlogged != after.unlogged && cx.caps.alter_constraints {
        step = step
            .rewrites()
            .locks(cx.ddl.locks("alter_type", table, &[]))
            .hazard((!cx.is_small(table)).then(|| hazard::rewrites_table::hazard(table, cx.rows(table))))
            .hazard(after.unlogged.then(|| hazard::rows_may_go::hazard(table)));
    }
    cx.push(step);
    Ok(())
}
