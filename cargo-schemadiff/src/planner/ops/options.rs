//! Options of a whole table.

use schemadiff::model::{ObjectName, Table, TableOptions};

use crate::{
    Error, Kind, Result, hazard,
    planner::{
        context::{Context, on, slug},
        proto::{Proto, rank, tag},
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
            .hazard(after.unlogged.then(|| hazard::rows_may_go::hazard(table)))
            .tag(persists(table))
            .after_all(first(cx, table, after.unlogged));
    }
    cx.push(step);
    Ok(())
}

/// Whether a table's rows survive a crash is as it shall be.
fn persists(table: &ObjectName) -> String {
    tag::step(&format!("persistence of {table}"))
}

/// No table whose rows survive may refer to one whose rows do not: those at the one end of a key go before those at the other.
fn first(cx: &Context<'_>, table: &ObjectName, unlogged: bool) -> Vec<String> {
    let stays = |t: &ObjectName, name: &String| cx.after(t).is_some_and(|t| t.foreign_keys.contains_key(name));
    let keys = cx.base.tables.values().flat_map(|t| t.foreign_keys.iter().map(move |(name, key)| (&t.name, name, key)));
    let keys = keys.filter(|(t, name, _)| stays(t, name)).map(|(t, _, key)| (t, &key.ref_table));
    let ends = keys.map(|(from, to)| if unlogged { (to, from) } else { (from, to) });
    ends.filter(|(own, other)| *own == table && other != own).map(|(_, other)| persists(other)).collect()
}
