//! Primary keys, unique constraints, checks and foreign keys.

use std::collections::HashMap;

use schemadiff::model::{Check, Deferrable, Exclusion, FkAction, ForeignKey, PrimaryKey, Unique, expr};
use sqlx::postgres::PgRow;

use super::{
    Found,
    row::{Oid, Row},
    tables::Relation,
};
use crate::dialect::postgres::{normalize::text::expression, render::names::ident};

/// Which unique constraint an index belongs to; `None` for a primary key's.
pub(super) type Owned = HashMap<Oid, Option<String>>;

/// Puts the constraints into their tables. Returns the indexes that belong to one.
pub(super) fn constraints(rows: &[PgRow], relations: &mut HashMap<Oid, Relation>, found: &mut Found) -> Owned {
    let mut owned = Owned::new();
    for row in rows.iter().map(Row) {
        let kind = row.letter(2);
        if matches!(kind, 'p' | 'u' | 'x') {
            let unique = (kind == 'u').then(|| row.get(1).to_owned());
            owned.insert(row.number(14), unique);
        }
        let key = if kind == 'f' { foreign_key(row, relations) } else { None };
        let Some(relation) = relations.get_mut(&row.number(0)) else {
            continue;
        };
        if let Some((kind, reason)) = unsupported(row) {
            if relation.unsupported.is_none() {
                let table = &relation.table.name;
                let schema = table.schema.as_deref().unwrap_or("public");
                found.leave_alone(kind, format!("{schema}.{}.{}", table.name, row.get(1)), reason);
            }
            continue;
        }
        let name = row.get(1).to_owned();
        match kind {
            'p' => {
                let columns = relation.column_names(&row.numbers(7));
                let (deferrable, comment) = (deferrable(row), row.owned(15));
                relation.table.primary_key =
                    Some(PrimaryKey { deferrable, comment, ..PrimaryKey::over(Some(name), columns) });
            }
            'u' => {
                let unique = Unique {
                    columns: relation.column_names(&row.numbers(7)),
                    include: Vec::new(),
                    nulls_not_distinct: false,
                    deferrable: deferrable(row),
                    comment: row.owned(15),
                };
                relation.table.uniques.insert(name, unique);
            }
            'x' => {
                let exclusion = Exclusion { definition: row.get(18).to_owned(), comment: row.owned(15) };
                relation.table.exclusions.insert(name, exclusion);
            }
            'c' => {
                let check = Check {
                    expr: expression(row.get(13)),
                    not_valid: !row.flag(5),
                    no_inherit: row.flag(6),
                    comment: row.owned(15),
                };
                relation.table.checks.insert(name, check);
            }
            // NOT NULL that is not proven yet says of the rows that are there no more than a check of the same words.
            'n' => {
                for column in relation.column_names(&row.numbers(7)) {
                    let text = format!("{} IS NOT NULL", ident(&column));
                    let check = Check {
                        expr: expr::rename_column(&text, &column, &column),
                        not_valid: true,
                        no_inherit: row.flag(6),
                        comment: row.owned(15),
                    };
                    relation.table.column_mut(&column).into_iter().for_each(|column| column.nullable = true);
                    relation.table.checks.insert(name.clone(), check);
                }
            }
            _ => {
                if let Some(key) = key {
                    relation.table.foreign_keys.insert(name, key);
                }
            }
        }
    }
    owned
}

fn unsupported(row: Row<'_>) -> Option<(&'static str, &'static str)> {
    match row.letter(2) {
        _ if row.flag(17) => Some(("constraint", "it is not enforced, or it is over a period")),
        _ => None,
    }
}

fn deferrable(row: Row<'_>) -> Deferrable {
    match (row.flag(3), row.flag(4)) {
        (false, _) => Deferrable::No,
        (true, false) => Deferrable::Immediate,
        (true, true) => Deferrable::Deferred,
    }
}

fn action(letter: char) -> FkAction {
    match letter {
        'r' => FkAction::Restrict,
        'c' => FkAction::Cascade,
        'n' => FkAction::SetNull,
        'd' => FkAction::SetDefault,
        _ => FkAction::NoAction,
    }
}

fn foreign_key(row: Row<'_>, relations: &HashMap<Oid, Relation>) -> Option<ForeignKey> {
    let (child, parent) = (relations.get(&row.number(0))?, relations.get(&row.number(8))?);
    Some(ForeignKey {
        columns: child.column_names(&row.numbers(7)),
        ref_table: parent.table.name.clone(),
        ref_columns: parent.column_names(&row.numbers(9)),
        on_update: action(row.letter(10)),
        on_delete: action(row.letter(11)),
        on_delete_columns: row.opt(16).map(|_| child.column_names(&row.numbers(16))).unwrap_or_default(),
        match_full: row.letter(12) == 'f',
        deferrable: deferrable(row),
        not_valid: !row.flag(5),
        comment: row.owned(15),
    })
}
