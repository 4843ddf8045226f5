//! Rename an index or a constraint: only the name changes.

use schemadiff::model::{ObjectName, Table};

use super::{naming, rekey};
use crate::{
    diff::{Change, Renamable},
    planner::{
        context::{Context, slug},
        proto::{Proto, rank, tag},
    },
};

pub(super) fn plan(cx: &mut Context<'_>, table: &ObjectName, kind: Renamable, from: &str, to: &str) {
    let id = slug(&["rename", to]);
    let change = Change::Rename { table: table.clone(), kind, from: from.to_owned(), to: to.to_owned() };
    let step = Proto::new(rank::CONSTRAINT, id, format!("rename {} `{from}` to `{to}`", kind.as_str()), table)
        .effect(move |schema| change.apply_to(schema))
        .tag(tag::freed(table, from))
        .after_all(naming::free(&naming::holders(cx, table, to), to))
        // Steps know it by its old name.
        .after(tag::step(&slug(&["validate", from])));
    let step = match kind {
        Renamable::Index => index(cx, step, table, from, to),
        Renamable::Unique | Renamable::Check | Renamable::Exclusion | Renamable::ForeignKey => {
            let key = cx.before(table).and_then(|t| t.foreign_keys.get(from)).filter(|_| kind == Renamable::ForeignKey);
            let step = step.after_all(key.and_then(|k| rekey::comes_first(cx, &k.ref_table, &k.ref_columns)));
            let locks = cx.ddl.locks("rename_constraint", table, &[]);
            let undo = cx.ddl.rename_constraint(table, to, from);
            cx.in_place(step.locks(locks), cx.ddl.rename_constraint(table, from, to), undo)
        }
    };
    cx.push(step);
}

fn index(cx: &Context<'_>, step: Proto, table: &ObjectName, from: &str, to: &str) -> Proto {
    let step = step.locks(cx.ddl.locks("rename_index", table, &[]));
    let Some(index) = cx.before(table).and_then(|t: &Table| t.indexes.get(from)) else { return step };
    if index.constraint {
        return cx.rebuild(step, Vec::new());
    }
    if cx.caps.named_constraints {
        return step.sql(cx.ddl.rename_index(table, from, to)).undo(cx.ddl.rename_index(table, to, from));
    }
    // Without a statement for it: made again under the other name, in one transaction.
    let again = |from: &str, to: &str| {
        let mut sql = cx.ddl.drop_index(table, from, false);
        sql.extend(cx.ddl.create_index(table, to, index, false));
        sql
    };
    step.sql(again(from, to)).undo(again(to, from)).scans()
}
