//! Names that something else still has. On PostgreSQL the indexes of one database schema share their names, and so do the
//! constraints of one table. What comes under the name of something that goes is made under another one, so that neither waits for
//! the other, and gets its own when that is free.

use schemadiff::model::{ObjectName, Shared, Table};

use crate::planner::{
    context::{Context, on, slug},
    proto::{Proto, rank, tag},
};

/// The tables on which another thing has the name of an index, or of a constraint with an index, that `table` gets.
pub(super) fn holders(cx: &Context<'_>, table: &ObjectName, name: &str) -> Vec<ObjectName> {
    if !cx.caps.named_constraints {
        return cx.base.tables.values().filter(|t| t.indexes.contains_key(name)).map(|t| t.name.clone()).collect();
    }
    let neighbours = cx.base.tables.values().filter(|t| t.name.schema == table.schema);
    let holds = |t: &&Shared<Table>| has_index(cx, t, name) || (t.name == *table && t.checks.contains_key(name));
    neighbours.filter(holds).map(|t| t.name.clone()).collect()
}

/// Whether another thing has the name of a constraint without an index that `table` gets: only the table itself counts.
pub(super) fn is_held_here(cx: &Context<'_>, table: &ObjectName, name: &str) -> bool {
    cx.caps.named_constraints && cx.before(table).is_some_and(|t| has_index(cx, t, name))
}

fn has_index(cx: &Context<'_>, table: &Table, name: &str) -> bool {
    index_names(cx, table).iter().any(|held| held == name)
}

/// The names that go with a table's indexes.
pub(super) fn index_names(cx: &Context<'_>, table: &Table) -> Vec<String> {
    let default = || cx.ddl.default_name(&table.name.name, &[], "pkey");
    let key = table.primary_key.as_ref().map(|key| key.name.clone().unwrap_or_else(default));
    let others = table.indexes.keys().chain(table.uniques.keys()).chain(table.exclusions.keys());
    key.into_iter().chain(others.cloned()).collect()
}

/// The name is out of the way.
pub(super) fn free(holders: &[ObjectName], name: &str) -> Vec<String> {
    holders.iter().map(|holder| tag::freed(holder, name)).collect()
}

/// A constraint that was made under another name, by the steps with the tags `made`, takes its own when that is free, and with
/// it its comment.
pub(super) fn take(
    cx: &mut Context<'_>,
    table: &ObjectName,
    what: &str,
    [interim, name]: [&str; 2],
    comment: Option<&str>,
    made: impl IntoIterator<Item = String>,
    effect: impl Fn(&mut Table) + 'static,
) {
    let commented = |text| cx.ddl.comment_on_constraint(table, name, text);
    let mut sql = cx.ddl.rename_constraint(table, interim, name);
    sql.extend(comment.into_iter().flat_map(|text| commented(Some(text))));
    let mut undo: Vec<_> = comment.into_iter().flat_map(|_| commented(None)).collect();
    undo.extend(cx.ddl.rename_constraint(table, name, interim));
    let title = format!("give the new {what} the name `{name}`");
    let step = Proto::new(rank::REMOVE, slug(&["name", name]), title, table)
        .sql(sql)
        .undo(undo)
        .locks(cx.ddl.locks("rename_constraint", table, &[]))
        .effect(on(table, effect))
        .after_all(made)
        .after_all(free(&holders(cx, table, name), name));
    cx.push(step);
}
