//! Tables, columns and the sequences they own.

use std::collections::HashMap;

use schemadiff::model::{Column, Generated, Identity, IdentityKind, ObjectName, Table};
use sqlx::postgres::PgRow;

use super::{
    Found,
    row::{Oid, Row},
};
use crate::dialect::{
    TableSize,
    postgres::{normalize::text::expression, render::names::default_name},
};

/// A table while it is put together.
pub(super) struct Relation {
    pub table: Table,
    pub size: TableSize,
    /// Position in the catalogue and collation of each column, in the order of `table.columns`.
    pub attributes: Vec<(i16, Oid)>,
    /// Why the model cannot hold it.
    pub unsupported: Option<(&'static str, &'static str)>,
}

impl Relation {
    /// Name of the column at that position in the catalogue.
    pub fn column_name(&self, attnum: i16) -> Option<&str> {
        let at = self.attributes.iter().position(|(number, _)| *number == attnum)?;
        self.table.columns.get(at).map(|column| column.name.as_str())
    }

    /// Names of the columns at those positions.
    pub fn column_names(&self, attnums: &[i16]) -> Vec<String> {
        attnums.iter().filter_map(|attnum| self.column_name(*attnum)).map(str::to_owned).collect()
    }

    /// Collation of the column at that position.
    pub fn collation(&self, attnum: i16) -> Option<Oid> {
        self.attributes.iter().find(|(number, _)| *number == attnum).map(|(_, collation)| *collation)
    }
}

/// Tables by oid, without columns yet.
pub(super) fn relations(rows: &[PgRow], found: &mut Found) -> HashMap<Oid, Relation> {
    let mut relations = HashMap::with_capacity(rows.len());
    for row in rows.iter().map(Row) {
        let mut table = Table::new(row.name(1));
        table.options.unlogged = row.letter(4) == 'u';
        table.options.with = row.options(5);
        table.comment = row.owned(6);
        if row.flag(11) {
            let name = format!("{}.{}", row.get(1), row.get(2));
            found.leave_alone("row level security", name, "it is kept as it is");
        }
        let size = TableSize { rows: row.number(7), bytes: row.number::<u64>(8) * 8192 };
        let unsupported = unsupported(row);
        relations.insert(row.number(0), Relation { table, size, attributes: Vec::new(), unsupported });
    }
    relations
}

fn unsupported(row: Row<'_>) -> Option<(&'static str, &'static str)> {
    match row.letter(3) {
        'f' => Some(("foreign table", "its rows are in another database")),
        _ if row.flag(9) => Some(("partition", "partitioned tables are not supported yet")),
        'p' => Some(("partitioned table", "partitioned tables are not supported yet")),
        _ if row.flag(10) => Some(("inherited table", "table inheritance is not supported")),
        _ if row.flag(12) => Some(("typed table", "its columns belong to a composite type")),
        _ => None,
    }
}

/// Columns, in whatever order they come.
pub(super) fn columns(rows: &[PgRow], relations: &mut HashMap<Oid, Relation>, collations: &HashMap<Oid, String>) {
    for row in rows.iter().map(Row) {
        let Some(relation) = relations.get_mut(&row.number(0)) else {
            continue;
        };
        let mut column = Column::new(row.get(2), row.get(3));
        column.nullable = !row.flag(4);
        let expr = row.opt(5).map(expression);
        match row.letter(7) {
            kind @ ('s' | 'v') => {
                column.generated = expr.map(|expr| Generated { expr, stored: kind == 's' });
            }
            _ => column.default = expr,
        }
        let identity = match row.letter(6) {
            'a' => Some(IdentityKind::Always),
            'd' => Some(IdentityKind::ByDefault),
            _ => None,
        };
        column.identity = identity.map(|kind| Identity { kind, sequence: None, options: None });
        column.collation = row.opt(9).and_then(|oid| collations.get(&oid.parse().ok()?)).cloned();
        column.comment = row.owned(10);

        let attnum = row.number(1);
        let at = relation.attributes.partition_point(|(number, _)| *number < attnum);
        relation.attributes.insert(at, (attnum, row.number(8)));
        relation.table.columns.insert(at, column);
    }
}

/// Sequences: those that number a column become part of it.
pub(super) fn sequences(rows: &[PgRow], relations: &mut HashMap<Oid, Relation>, found: &mut Found) {
    for row in rows.iter().map(Row) {
        let name = row.name(2);
        let owner = relations.get_mut(&row.number(0)).and_then(|relation| {
            let attnum = row.number::<i16>(1);
            let at = relation.attributes.iter().position(|(number, _)| *number == attnum)?;
            let table = relation.table.name.clone();
            relation.table.columns.get_mut(at).map(|column| (table, column))
        });
        if !owner.is_some_and(|(table, column)| number(&table, column, &name, row)) {
            let shown = format!("{}.{}", row.get(2), row.get(3));
            found.leave_alone("sequence", shown, "it does not number the column that owns it");
        }
    }
}

/// Whether the sequence numbers the column.
fn number(table: &ObjectName, column: &mut Column, sequence: &ObjectName, row: Row<'_>) -> bool {
    let regclass = row.get(4).replace('\'', "''");
    if column.default.as_deref() == Some(&format!("nextval('{regclass}'::regclass)")) {
        column.default = None;
        column.identity = Some(Identity { kind: IdentityKind::Serial, sequence: None, options: None });
    }
    let ty = column.ty.clone();
    let default = default_name(&table.name, &[&column.name], "seq");
    let Some(identity) = &mut column.identity else {
        return false;
    };
    if sequence.schema != table.schema {
        identity.sequence = Some(sequence.to_string());
    } else if sequence.name != default {
        identity.sequence = Some(sequence.name.clone());
    }
    identity.options = options(row, &ty);
    true
}

/// Options that are not the server's defaults, as SQL.
fn options(row: Row<'_>, column_type: &str) -> Option<String> {
    let ty = row.get(5);
    let (start, increment): (i64, i64) = (row.number(6), row.number(7));
    let (min, max, cache): (i64, i64, i64) = (row.number(8), row.number(9), row.number(10));
    let (lowest, highest) = match ty {
        "smallint" => (i64::from(i16::MIN), i64::from(i16::MAX)),
        "integer" => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    let (usual_min, usual_max) = if increment > 0 { (1, highest) } else { (lowest, -1) };
    let usual_start = if increment > 0 { min } else { max };
    let mut parts = Vec::new();
    if ty != column_type && matches!(column_type, "smallint" | "integer" | "bigint") {
        parts.push(format!("AS {ty}"));
    }
    let mut differs = |words: &str, value: i64, usual: i64| {
        if value != usual {
            parts.push(format!("{words} {value}"));
        }
    };
    differs("INCREMENT BY", increment, 1);
    differs("MINVALUE", min, usual_min);
    differs("MAXVALUE", max, usual_max);
    differs("START WITH", start, usual_start);
    differs("CACHE", cache, 1);
    if row.flag(11) {
        parts.push("CYCLE".to_owned());
    }
    (!parts.is_empty()).then(|| parts.join(" "))
}
