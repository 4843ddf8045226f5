//! Tables, columns and the sequences they own.

use std::collections::{BTreeMap, HashMap};

use schemadiff::model::{
    Column, Generated, Identity, IdentityKind, Object, ObjectKey, ObjectKind, ObjectName, PartitionOf, Shared, Table,
};
use sqlx::postgres::PgRow;

use super::{
    definitions::by_key,
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
    /// The table that it is a partition of, the rows it holds, and the columns that are not as that table's are.
    pub partition: Option<Partition>,
}

/// See [`Relation::partition`].
pub(super) struct Partition {
    parent: Oid,
    bound: String,
    own_columns: Vec<String>,
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
pub(super) fn relations(rows: &[PgRow]) -> HashMap<Oid, Relation> {
    let mut relations = HashMap::with_capacity(rows.len());
    for row in rows.iter().map(Row) {
        let mut table = Table::new(row.name(1));
        table.options.unlogged = row.letter(4) == 'u';
        table.options.with = row.options(5);
        table.comment = row.owned(6);
        // What the statistics of a partitioned table say is a sum that its partitions give more precisely.
        let rows = if row.letter(3) == 'p' { 0 } else { row.number(7) };
        let size = TableSize { rows, bytes: row.number::<u64>(8) * 8192 };
        let unsupported = unsupported(row);
        // The server's own words: they cannot fail to be read.
        table.partition_by = row.opt(13).and_then(|clause| clause.parse().ok());
        let partition = row.opt(9).map(|_| Partition {
            parent: row.number(9),
            bound: row.get(15).to_owned(),
            own_columns: Vec::new(),
        });
        let relation = Relation { table, size, attributes: Vec::new(), unsupported, partition };
        relations.insert(row.number(0), relation);
    }
    relations
}

/// Finds the columns that partitions do not simply have from their parents. It must know them before sequences become
/// part of them: a partition takes its numbers from its parent's sequence.
pub(super) fn inherited(relations: &mut HashMap<Oid, Relation>) {
    let mut found = Vec::new();
    for (oid, relation) in relations.iter() {
        let Some(parent) = relation.partition.as_ref().and_then(|partition| relations.get(&partition.parent)) else {
            continue;
        };
        let is_own =
            |column: &&Column| !parent.table.column(&column.name).is_some_and(|from| is_inherited(column, from));
        let own = relation.table.columns.iter().filter(is_own).map(|column| column.name.clone());
        found.push((*oid, own.collect::<Vec<_>>()));
    }
    for (oid, own) in found {
        if let Some(partition) = relations.get_mut(&oid).and_then(|relation| relation.partition.as_mut()) {
            partition.own_columns = own;
        }
    }
}

/// Comments are not inherited, and identity only since version 17.
fn is_inherited(column: &Column, from: &Column) -> bool {
    let identity = if column.identity.is_none() { None } else { from.identity.clone() };
    *column == Column { comment: None, identity, ..from.clone() }
}

/// Lets partitions go without what is their parents', and gives the parents the sizes of their partitions.
pub(super) fn partitions(relations: &mut HashMap<Oid, Relation>) {
    let parents: HashMap<Oid, Option<ObjectName>> = relations
        .iter()
        .map(|(oid, relation)| (*oid, relation.unsupported.is_none().then(|| relation.table.name.clone())))
        .collect();
    let mut sizes = Vec::new();
    for relation in relations.values_mut() {
        let Some(partition) = &relation.partition else { continue };
        sizes.push((partition.parent, relation.size, relation.table.partition_by.is_some()));
        relation.table.columns.retain(|column| partition.own_columns.contains(&column.name));
        match parents.get(&partition.parent) {
            Some(Some(parent)) => {
                let bound = partition.bound.clone();
                relation.table.partition_of = Some(PartitionOf { parent: parent.clone(), bound });
            }
            _ => relation.unsupported = Some(("partition", "its parent is of no supported kind")),
        }
    }
    // A partition that is partitioned itself holds no rows of its own; its partitions count for all tables above them.
    for (parent, size, _) in sizes.iter().filter(|(_, _, partitioned)| !partitioned) {
        let mut next = Some(*parent);
        while let Some(relation) = next.and_then(|oid| relations.get_mut(&oid)) {
            relation.size.rows += size.rows;
            relation.size.bytes += size.bytes;
            next = relation.partition.as_ref().map(|partition| partition.parent);
        }
    }
}

fn unsupported(row: Row<'_>) -> Option<(&'static str, &'static str)> {
    match row.letter(3) {
        'f' => Some(("foreign table", "its rows are in another database")),
        _ if row.flag(14) => {
            Some(("partition", "it is being detached; ALTER TABLE .. DETACH PARTITION .. FINALIZE ends it"))
        }
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

/// Sequences: those that number a column become part of it, the others are objects of their own.
pub(super) fn sequences(rows: &[PgRow], relations: &mut HashMap<Oid, Relation>) -> BTreeMap<ObjectKey, Shared<Object>> {
    let mut free = Vec::new();
    for row in rows.iter().map(Row) {
        let name = row.name(2);
        let owner = relations.get_mut(&row.number(0)).and_then(|relation| {
            let attnum = row.number::<i16>(1);
            let at = relation.attributes.iter().position(|(number, _)| *number == attnum)?;
            let table = relation.table.name.clone();
            relation.table.columns.get_mut(at).map(|column| (table, column))
        });
        let owned_by = owner.as_ref().map(|(table, column)| (table.clone(), column.name.clone()));
        if owner.is_some_and(|(table, column)| number(&table, column, &name, row)) {
            continue;
        }
        let cycle = if row.flag(11) { "CYCLE" } else { "NO CYCLE" };
        let definition = format!(
            "AS {} INCREMENT BY {} MINVALUE {} MAXVALUE {} START WITH {} CACHE {} {cycle}",
            row.get(5),
            row.get(7),
            row.get(8),
            row.get(9),
            row.get(6),
            row.get(10)
        );
        let key = ObjectKey::new(ObjectKind::Sequence, name);
        free.push(Object { owned_by, comment: row.owned(12), ..Object::new(key, definition) });
    }
    by_key(free)
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
