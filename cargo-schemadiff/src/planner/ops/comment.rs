//! Comments. They wait behind VACUUM and index builds, so each is a step of its own, never part of a structural one.

use schemadiff::model::{ObjectName, Table};

use crate::planner::{
    context::{Context, on, slug},
    proto::{Proto, rank, tag},
};

/// The kinds of constraints that can bear a comment.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of {
    PrimaryKey,
    Unique,
    Check,
    Exclusion,
    ForeignKey,
}

pub(super) fn table(cx: &mut Context<'_>, table: &ObjectName, comment: Option<&str>) {
    let old = cx.before(table).and_then(|t| t.comment.clone());
    let text = comment.map(str::to_owned);
    let step =
        Proto::new(rank::COMMENT, slug(&["comment", &table.to_string()]), format!("comment on `{table}`"), table)
            .sql(cx.ddl.comment_on_table(table, comment))
            .undo(cx.ddl.comment_on_table(table, old.as_deref()))
            .locks(cx.ddl.locks("comment_on_table", table, &[]))
            .effect(on(table, move |t| t.comment.clone_from(&text)));
    cx.push(step);
}

pub(super) fn column(cx: &mut Context<'_>, table: &ObjectName, column: &str, comment: Option<&str>) {
    let old = cx.before(table).and_then(|t| t.column(column)).and_then(|c| c.comment.clone());
    let id = slug(&["comment", &table.to_string(), column]);
    let step = Proto::new(rank::COMMENT, id, format!("comment on `{table}.{column}`"), table)
        .sql(cx.ddl.comment_on_column(table, column, comment))
        .undo(cx.ddl.comment_on_column(table, column, old.as_deref()))
        .locks(cx.ddl.locks("comment_on_column", table, &[]))
        .effect({
            let (column, text) = (column.to_owned(), comment.map(str::to_owned));
            on(table, move |t: &mut Table| {
                if let Some(column) = t.column_mut(&column) {
                    column.comment.clone_from(&text);
                }
            })
        });
    cx.push(step);
}

pub(super) fn index(cx: &mut Context<'_>, table: &ObjectName, name: &str, comment: Option<&str>) {
    let old = cx.before(table).and_then(|t| t.indexes.get(name)).and_then(|i| i.comment.clone());
    let text = comment.map(str::to_owned);
    let step = Proto::new(rank::COMMENT, slug(&["comment", name]), format!("comment on index `{name}`"), table)
        .sql(cx.ddl.comment_on_index(table, name, comment))
        .undo(cx.ddl.comment_on_index(table, name, old.as_deref()))
        .locks(cx.ddl.locks("comment_on_index", table, &[]))
        .effect({
            let name = name.to_owned();
            on(table, move |t| {
                if let Some(index) = t.indexes.get_mut(&name) {
                    index.comment.clone_from(&text);
                }
            })
        })
        .after_all([tag::adds(table), tag::step(&format!("renamed {name}"))]);
    cx.push(step);
}

pub(super) fn constraint(cx: &mut Context<'_>, table: &ObjectName, name: &str, comment: Option<&str>, of: Of) {
    let old = cx.before(table).and_then(|t| match of {
        Of::PrimaryKey => t.primary_key.as_ref().and_then(|k| k.comment.clone()),
        Of::Unique => t.uniques.get(name).and_then(|u| u.comment.clone()),
        Of::Check => t.checks.get(name).and_then(|c| c.comment.clone()),
        Of::Exclusion => t.exclusions.get(name).and_then(|e| e.comment.clone()),
        Of::ForeignKey => t.foreign_keys.get(name).and_then(|k| k.comment.clone()),
    });
    let text = comment.map(str::to_owned);
    let step = Proto::new(rank::COMMENT, slug(&["comment", name]), format!("comment on constraint `{name}`"), table)
        .sql(cx.ddl.comment_on_constraint(table, name, comment))
        .undo(cx.ddl.comment_on_constraint(table, name, old.as_deref()))
        .locks(cx.ddl.locks("comment_on_constraint", table, &[]))
        .effect({
            let name = name.to_owned();
            on(table, move |t| {
                let slot = match of {
                    Of::PrimaryKey => t.primary_key.as_mut().map(|k| &mut k.comment),
                    Of::Unique => t.uniques.get_mut(&name).map(|u| &mut u.comment),
                    Of::Check => t.checks.get_mut(&name).map(|c| &mut c.comment),
                    Of::Exclusion => t.exclusions.get_mut(&name).map(|e| &mut e.comment),
                    Of::ForeignKey => t.foreign_keys.get_mut(&name).map(|k| &mut k.comment),
                };
                if let Some(slot) = slot {
                    slot.clone_from(&text);
                }
            })
        })
        .after_all([tag::adds(table), tag::refers(table)]);
    cx.push(step);
}
