//! Indexes.

use std::collections::HashMap;

use schemadiff::model::{Index, IndexPart, NullsOrder, SortOrder};
use sqlx::postgres::PgRow;

use super::{
    constraints::Owned,
    row::{Oid, Row},
    tables::Relation,
};
use crate::dialect::postgres::normalize::text::expression;

/// Names that index definitions use.
#[derive(Default)]
pub(super) struct Words {
    pub collations: HashMap<Oid, String>,
    /// Name, and whether it is the one taken when nothing is said.
    opclasses: HashMap<Oid, (String, bool)>,
    /// Parameters of the operator class, by index and position.
    parameters: HashMap<(Oid, i16), String>,
}

impl Words {
    pub fn new(rows: &[PgRow]) -> Self {
        let mut words = Self::default();
        for row in rows.iter().map(Row) {
            let (oid, text) = (row.number(1), row.get(4).to_owned());
            match row.get(0) {
                "opclass" => drop(words.opclasses.insert(oid, (text, row.flag(3)))),
                "collation" => drop(words.collations.insert(oid, text)),
                _ => drop(words.parameters.insert((oid, row.number(2)), text)),
            }
        }
        words
    }

    /// The operator class as it must be written, if it must.
    fn opclass(&self, oid: Oid, index: Oid, position: usize) -> Option<String> {
        let (name, default) = self.opclasses.get(&oid)?;
        let parameters = i16::try_from(position + 1).ok().and_then(|at| self.parameters.get(&(index, at)));
        match (parameters, default) {
            (Some(parameters), _) => Some(format!("{name} ({parameters})")),
            (None, false) => Some(name.clone()),
            (None, true) => None,
        }
    }
}

/// Puts indexes that no constraint owns into their tables, and what only the index knows into the constraint of the others.
pub(super) fn indexes(rows: &[PgRow], relations: &mut HashMap<Oid, Relation>, owned: &Owned, words: &Words) {
    for row in rows.iter().map(Row) {
        let Some(relation) = relations.get_mut(&row.number(1)) else {
            continue;
        };
        relation.size.bytes += row.number::<u64>(17) * 8192;
        // Part of an index or a key of the table that this is a partition of.
        if row.flag(18) {
            continue;
        }
        let keys: Vec<i16> = row.numbers(8);
        let (keys, include) = keys.split_at_checked(row.number(7)).unwrap_or((&keys, &[]));
        let include = relation.column_names(include);
        if let Some(owner) = owned.get(&row.number(0)) {
            let key = relation.table.primary_key.as_mut();
            if let (None, Some(key)) = (owner, key.filter(|_| row.flag(19))) {
                key.include = include;
            } else if let Some(unique) = owner.as_ref().and_then(|name| relation.table.uniques.get_mut(name)) {
                unique.include = include;
                unique.nulls_not_distinct = row.flag(6);
            }
            continue;
        }
        let index = Index {
            parts: parts(row, keys, relation, words),
            unique: row.flag(4),
            method: Some(row.get(3)).filter(|method| *method != "btree").map(str::to_owned),
            include,
            predicate: row.opt(12).map(expression),
            nulls_not_distinct: row.flag(6),
            with: row.options(15),
            invalid: !row.flag(5),
            comment: row.owned(16),
            ..Index::default()
        };
        relation.table.indexes.insert(row.get(2).to_owned(), index);
    }
}

fn parts(row: Row<'_>, keys: &[i16], relation: &Relation, words: &Words) -> Vec<IndexPart> {
    let options: Vec<u8> = row.numbers(9);
    let (classes, collations): (Vec<Oid>, Vec<Oid>) = (row.numbers(10), row.numbers(11));
    let mut expressions = row.get(13).split('\u{1f}');
    let mut parts = Vec::with_capacity(keys.len());
    for (at, attnum) in keys.iter().enumerate() {
        let mut part = IndexPart::default();
        let collation = collations.get(at).copied().unwrap_or_default();
        let own_collation = if *attnum == 0 {
            let shown = expressions.next().unwrap_or_default();
            part.expr = Some(expression(shown));
            !row.get(14).contains(&format!("{shown} COLLATE "))
        } else {
            part.column = relation.column_name(*attnum).map(str::to_owned);
            relation.collation(*attnum) == Some(collation)
        };
        if !own_collation {
            part.collation = words.collations.get(&collation).cloned();
        }
        part.opclass = classes.get(at).and_then(|oid| words.opclass(*oid, row.number(0), at));
        let option = options.get(at).copied().unwrap_or_default();
        let (descending, nulls_first) = (option & 1 != 0, option & 2 != 0);
        if descending {
            part.order = SortOrder::Desc;
        }
        part.nulls = match (descending, nulls_first) {
            (true, false) => Some(NullsOrder::Last),
            (false, true) => Some(NullsOrder::First),
            _ => None,
        };
        parts.push(part);
    }
    parts
}
