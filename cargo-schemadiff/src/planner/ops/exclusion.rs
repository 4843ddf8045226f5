//! Exclusion constraints: part of a new table, renamed, dropped. No server adds one to a table in use without stopping everybody
//! for as long as the index takes to build, so that is refused but for a small table.

use schemadiff::model::{Exclusion, ObjectName, Table, expr};

use super::comment;
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
    name: &str,
    before: Option<&Exclusion>,
    after: Option<&Exclusion>,
) -> Result<()> {
    match (before, after) {
        (None, None) => {}
        (Some(before), Some(after)) if before.definition == after.definition => {
            comment::constraint(cx, table, name, after.comment.as_deref(), comment::Of::Exclusion);
        }
        (before, Some(after)) if cx.is_small(table) => add(cx, table, name, before, after),
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

/// On a small table, in the place of the one of its name if there is one.
fn add(cx: &mut Context<'_>, table: &ObjectName, name: &str, before: Option<&Exclusion>, after: &Exclusion) {
    let away = cx.ddl.drop_constraint(table, name);
    let made = |exclusion: &Exclusion| {
        let mut sql = cx.ddl.add_exclusion(table, name, exclusion);
        let comment = exclusion.comment.iter();
        sql.extend(comment.flat_map(|text| cx.ddl.comment_on_constraint(table, name, Some(text))));
        sql
    };
    let gone = |exclusion: Option<&Exclusion>| if exclusion.is_some() { away.clone() } else { Vec::new() };
    let sql: Vec<String> = gone(before).into_iter().chain(made(after)).collect();
    let undo: Vec<String> = away.iter().cloned().chain(before.iter().flat_map(|before| made(before))).collect();
    let (what, verb) = if before.is_some() { ("change-exclusion", "change") } else { ("add-exclusion", "add") };
    let title = format!("{verb} exclusion constraint `{name}` of `{table}`");
    let covered = cx.after(table).map(|t| columns(t, after)).unwrap_or_default();
    let step = Proto::new(rank::CONSTRAINT, slug(&[what, name]), title, table)
        .sql(sql)
        .undo(undo)
        .locks(cx.ddl.locks("add_exclusion", table, &[]))
        .scans()
        .hazard([hazard::fails_on_rows::hazard(&after.definition, table)])
        .effect({
            let (name, after) = (name.to_owned(), after.clone());
            on(table, move |t| drop(t.exclusions.insert(name.clone(), after.clone())))
        })
        .tags([tag::keys(table), tag::adds(table)])
        .after_all([tag::freed(table, name), tag::left(table)])
        .after_all(covered.iter().map(|c| tag::filled(table, c)));
    // It may refuse what old code writes. No struct can declare one, so that no gate knows.
    let step = step.prepares(true);
    // The index of its name is another one then.
    cx.push(if before.is_some() { step.rebuilds_indexes() } else { step });
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
