//! Exclusion constraints: part of a new table, renamed, dropped. No server adds one to a table in use without stopping its
//! writers for as long as the index takes to build, so that is refused.

use schemadiff::model::{Exclusion, ObjectName, Table, expr};

use super::comment;
use crate::{
    Error, Kind, Result,
    planner::{
        context::{Context, on, slug},
        proto::{Proto, rank, tag},
    },
};

pub(super) fn plan(
    cx: &mut Context<'_>,
    table: &ObjectName,
    name: &str,
    before: Option<&Exclusion>,
    after: Option<&Exclusion>,
) -> Result<()> {
    match (before, after) {
        (None, None) => {}
        (Some(before), Some(after)) if before.definition == after.definition => {
            comment::constraint(cx, table, name, after.comment.as_deref(), comment::Of::Exclusion);
        }
        (before, Some(_)) => return Err(cannot_add(table, name, before.is_some())),
        (Some(before), None) => drop_exclusion(cx, table, name, before),
    }
    Ok(())
}

fn cannot_add(table: &ObjectName, name: &str, changes: bool) -> Error {
    let effect = match changes {
        true => format!("exclusion constraint `{name}` on `{table}` cannot be changed"),
        false => format!("exclusion constraint `{name}` cannot be added to `{table}`, which is in use"),
    };
    Error::new(Kind::Refused, "SD0675", effect)
        .cause("the server builds its index under a lock that stops all writers, and can neither build it beside them nor take one over that is there")
        .help("create a table of another name with the constraint, and move the rows to it in a release of its own")
        .help(format!("or add it by hand in a maintenance window (`ALTER TABLE {table} ADD CONSTRAINT {name} ..`); the next diff will find it there"))
}

/// The columns that an exclusion constraint is about.
pub(in crate::planner) fn columns(table: &Table, exclusion: &Exclusion) -> Vec<String> {
    let uses = |name: &&String| expr::mentions(&exclusion.definition, name);
    table.columns.iter().map(|c| &c.name).filter(uses).cloned().collect()
}

/// Whether an exclusion constraint of the table is about the column.
pub(super) fn uses(table: &Table, column: &str) -> bool {
    table.exclusions.values().any(|exclusion| expr::mentions(&exclusion.definition, column))
}

/// It cannot come back without stopping all writers, so it goes when nobody is left that may want it back.
fn drop_exclusion(cx: &mut Context<'_>, table: &ObjectName, name: &str, before: &Exclusion) {
    let covered = cx.before(table).map(|t| columns(t, before)).unwrap_or_default();
    let id = slug(&["drop-exclusion", name]);
    let step = Proto::new(rank::REMOVE, id, format!("drop exclusion constraint `{name}` on `{table}`"), table)
        .sql(cx.ddl.drop_constraint(table, name))
        .no_undo()
        .locks(cx.ddl.locks("drop_constraint", table, &[]))
        .effect({
            let name = name.to_owned();
            on(table, move |t| drop(t.exclusions.remove(&name)))
        })
        .tag(tag::freed(table, name))
        .tags(covered.iter().map(|c| tag::unused(table, c)))
        .prepares(true);
    cx.push(step);
}
