//! The statements of a backfill.
//!
//! Cursors are texts: an integer is its digits, a text is itself. A column of any other type may hold values of every
//! storage class, so its cursors begin with a letter for the class; a cursor must compare exactly as the key does.
//! Rows whose key is not of the class that an INTEGER or TEXT key promises end no batch. If such a row lies outside all
//! batches it is counted as remaining, and the step fails instead of passing it over.

use schemadiff::{
    model::ObjectName,
    plan::{Assignment, Backfill, Compared, Comparison, Given, KeyColumn},
};

use super::{
    create::name,
    lexer::{ident, literal},
    types::{Affinity, affinity},
};
use crate::dialect::{CompareSpec, GivenSpec};

/// Rows in the first batch: about 50 ms of write lock on small rows.
const BATCH_SIZE: u32 = 1_000;

/// One key column in the two directions.
struct Key {
    column: String,
    affinity: Affinity,
}

impl Key {
    fn of(key: &KeyColumn) -> Self {
        Self { column: ident(&key.name), affinity: affinity(&key.ty) }
    }

    /// The value as a cursor.
    fn encoded(&self) -> String {
        let c = &self.column;
        match self.affinity {
            Affinity::Integer => format!("CAST({c} AS TEXT)"),
            Affinity::Text => c.clone(),
            _ => format!(
                "CASE typeof({c}) WHEN 'integer' THEN 'i' || {c} WHEN 'real' THEN 'r' || printf('%!.17g', {c}) \
                 WHEN 'text' THEN 't' || hex({c}) WHEN 'blob' THEN 'b' || hex({c}) END"
            ),
        }
    }

    /// The value of a cursor. It gets no affinity of its own, so that comparing it with the column converts nothing that
    /// storing it would not.
    fn decoded(&self, parameter: usize) -> String {
        self.decoded_from(&format!("?{parameter}"))
    }

    fn decoded_from(&self, p: &str) -> String {
        match self.affinity {
            Affinity::Integer => format!("CAST({p} AS INTEGER)"),
            Affinity::Text => p.to_owned(),
            // `unhex` came with 3.41.
            _ => format!(
                "CASE substr({p}, 1, 1) WHEN 'i' THEN CAST(substr({p}, 2) AS INTEGER) \
                 WHEN 'r' THEN CAST(substr({p}, 2) AS REAL) WHEN 't' THEN CAST(unhex(substr({p}, 2)) AS TEXT) \
                 WHEN 'b' THEN unhex(substr({p}, 2)) END"
            ),
        }
    }

    /// The value of a cursor, or one that sorts before all values of the column: minus infinity, and where it would be
    /// stored as text, the empty text.
    fn decoded_or_lowest(&self, parameter: usize) -> String {
        let lowest = if self.affinity == Affinity::Text { "''" } else { "-9e999" };
        format!("coalesce({}, {lowest})", self.decoded(parameter))
    }

    /// A condition that holds for values that the cursor can hold; none where it can hold all.
    fn fits(&self) -> Option<String> {
        let class = match self.affinity {
            Affinity::Integer => "integer",
            Affinity::Text => "text",
            _ => return None,
        };
        Some(format!("typeof({}) = '{class}'", self.column))
    }
}

fn rowid() -> [KeyColumn; 1] {
    [KeyColumn { name: "rowid".to_owned(), ty: "INTEGER".to_owned() }]
}

/// See [`crate::dialect::Ddl::backfill`].
pub(super) fn backfill(table: &ObjectName, key: &[KeyColumn], set: &[Assignment], pending: &str) -> Backfill {
    let rowid = rowid();
    let key = if key.is_empty() { rowid.as_slice() } else { key };
    let keys: Vec<Key> = key.iter().map(Key::of).collect();
    let assignments: Vec<_> = set.iter().map(|a| format!("{} = ({})", ident(&a.column), a.expr)).collect();
    let from = name(table);
    let width = keys.len();
    Backfill {
        table: table.clone(),
        key: key.to_vec(),
        set: set.to_vec(),
        pending: pending.to_owned(),
        batch_size: BATCH_SIZE,
        upper_sql: format!(
            "SELECT {} FROM {from}{} ORDER BY {} LIMIT 1",
            list(&keys, Key::encoded),
            fitting(&keys).map(|fits| format!(" WHERE {fits}")).unwrap_or_default(),
            list(&keys, |key| format!("{} DESC", key.column))
        ),
        batch_sql: {
            let rows = format!("{} AND {}", above_or_all(&keys), range(&keys, "<=", width + 1));
            next_key(&from, &keys, &rows, 2 * width + 1)
        },
        update_sql: format!(
            "UPDATE {from} SET {} WHERE {} AND {} AND ({pending})",
            assignments.join(", "),
            above_or_all(&keys),
            range(&keys, "<=", width + 1)
        ),
        skip_locked_sql: None,
        remaining_sql: format!("SELECT CAST(count(*) AS TEXT) FROM {from} WHERE {pending}"),
        left_sql: format!(
            "SELECT {}, CAST({} AS TEXT) AS _null FROM {from} WHERE {pending} ORDER BY _null DESC LIMIT 5",
            list(&keys, |key| format!("quote({})", key.column)),
            null_for_not_null(set)
        ),
        restored_by: None,
        quiet: Vec::new(),
        comparison: None,
        evaluate_sql: None,
        given: None,
    }
}

/// See [`crate::dialect::Ddl::evaluation`].
pub(super) fn evaluation(table: &ObjectName, key: &[KeyColumn], exprs: &[&str]) -> String {
    let rowid = rowid();
    let keys: Vec<Key> = if key.is_empty() { rowid.as_slice() } else { key }.iter().map(Key::of).collect();
    let counted: Vec<_> = exprs.iter().map(|expr| format!("CAST(count(({expr})) AS TEXT)")).collect();
    let range = format!("{} AND {}", above_or_all(&keys), range(&keys, "<=", keys.len() + 1));
    format!("SELECT {} FROM {} WHERE {range}", counted.join(", "), name(table))
}

/// See [`crate::dialect::Ddl::comparison`]. A comparison with a column converts as storing in it does.
pub(super) fn comparison(table: &ObjectName, key: &[KeyColumn], columns: &[CompareSpec]) -> Comparison {
    let rowid = rowid();
    let key = if key.is_empty() { rowid.as_slice() } else { key };
    let keys: Vec<Key> = key.iter().map(Key::of).collect();
    let row = key.iter().map(|k| format!("{} || quote({})", literal(&format!("{} = ", k.name)), ident(&k.name)));
    let row = row.collect::<Vec<_>>().join(&format!(" || {} || ", literal(", ")));
    let cells = columns.iter().map(|c| {
        let other = |column: &str, expr: &str| format!("{} COLLATE BINARY IS NOT ({expr})", ident(column));
        let mut differs = other(&c.column, &c.forward);
        if let Some((old, _, backward)) = &c.back {
            differs = format!("{differs} AND {}", other(old, backward));
            if c.only_given {
                differs.push_str(&format!(" AND {} IS NOT NULL", ident(old)));
            }
        }
        format!("CAST(count(CASE WHEN {differs} THEN 1 END) AS TEXT), min(CASE WHEN {differs} THEN {row} END)")
    });
    Comparison {
        columns: columns.iter().map(|c| Compared { column: c.column.clone(), in_step: c.back.is_some() }).collect(),
        sql: format!(
            "SELECT CAST(count(*) AS TEXT), {} FROM {} WHERE {} AND {}",
            cells.collect::<Vec<_>>().join(", "),
            name(table),
            above_or_all(&keys),
            range(&keys, "<=", keys.len() + 1)
        ),
    }
}

/// See [`crate::dialect::Ddl::backfill_with`]. A value travels as a text that begins with a letter for its storage class.
pub(super) fn with(table: &ObjectName, key: &[KeyColumn], given: &GivenSpec<'_>, pending: &str) -> Backfill {
    let nothing: Vec<_> =
        given.set.iter().map(|a| Assignment { expr: "NULL".to_owned(), not_null: false, ..a.clone() }).collect();
    let plain = backfill(table, key, &nothing, pending);
    let (keys, from): (Vec<Key>, _) = (plain.key.iter().map(Key::of).collect(), name(table));
    let of = |column: &KeyColumn| format!("{from}.{}", ident(&column.name));
    let reads = given.reads.iter().map(|c| sent(&of(c))).collect::<Vec<_>>();
    let read_sql = format!(
        "SELECT {}, {} FROM {from} WHERE {} AND {} AND ({pending}) ORDER BY {}",
        list(&keys, Key::encoded),
        reads.join(", "),
        above_or_all(&keys),
        range(&keys, "<=", keys.len() + 1),
        list(&keys, |key| key.column.clone()),
    );
    let parts = [("k", keys.len()), ("r", reads.len()), ("v", given.gives.len())];
    let columns = parts.iter().flat_map(|(part, many)| {
        (0..*many).map(move |i| format!("json_extract(value, '$.{part}[{i}]') AS schemadiff_{part}{i}"))
    });
    let columns = columns.collect::<Vec<_>>().join(", ");
    let set = given.gives.iter().enumerate().map(|(i, column)| {
        format!("{} = coalesce({}, {})", ident(&column.name), of(column), received(&format!("schemadiff_v{i}")))
    });
    let is_row = keys
        .iter()
        .enumerate()
        .map(|(i, key)| format!("{from}.{} = {}", key.column, key.decoded_from(&format!("schemadiff_k{i}"))));
    let is_as_read = reads.iter().enumerate().map(|(i, read)| format!("{read} IS schemadiff_r{i}"));
    let is_same = is_row.chain(is_as_read).collect::<Vec<_>>().join(" AND ");
    let set = set.collect::<Vec<_>>().join(", ");
    Backfill {
        set: given.set.to_vec(),
        update_sql: format!(
            "UPDATE {from} SET {set} FROM (SELECT {columns} FROM json_each(?1)) AS schemadiff_sent \
             WHERE {is_same} AND ({pending})"
        ),
        given: Some(Given {
            by: given.by.to_owned(),
            reads: given.reads.to_vec(),
            gives: given.gives.to_vec(),
            read_sql,
        }),
        ..plain
    }
}

fn sent(value: &str) -> String {
    format!(
        "CASE typeof({value}) WHEN 'integer' THEN 'i' || {value} WHEN 'real' THEN 'r' || printf('%!.17g', {value}) \
         WHEN 'text' THEN 't' || {value} WHEN 'blob' THEN 'b' || hex({value}) END"
    )
}

fn received(sent: &str) -> String {
    format!(
        "CASE substr({sent}, 1, 1) WHEN 'i' THEN CAST(substr({sent}, 2) AS INTEGER) \
         WHEN 'r' THEN CAST(substr({sent}, 2) AS REAL) WHEN 't' THEN substr({sent}, 2) \
         WHEN 'b' THEN unhex(substr({sent}, 2)) END"
    )
}

fn null_for_not_null(set: &[Assignment]) -> String {
    let required = set.iter().filter(|a| a.not_null);
    let conditions: Vec<_> =
        required.map(|a| format!("({} IS NULL AND ({}) IS NULL)", ident(&a.column), a.expr)).collect();
    if conditions.is_empty() { "0".to_owned() } else { format!("({})", conditions.join(" OR ")) }
}

/// A condition for rows whose key a cursor can hold.
fn fitting(keys: &[Key]) -> Option<String> {
    let conditions: Vec<_> = keys.iter().filter_map(Key::fits).collect();
    (!conditions.is_empty()).then(|| conditions.join(" AND "))
}

fn list(keys: &[Key], text: impl Fn(&Key) -> String) -> String {
    keys.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// A row value, or the bare value of a key of one column.
fn row(keys: &[Key], text: impl Fn(usize, &Key) -> String) -> String {
    let values: Vec<_> = keys.iter().enumerate().map(|(at, key)| text(at, key)).collect();
    match values.as_slice() {
        [only] => only.clone(),
        _ => format!("({})", values.join(", ")),
    }
}

fn range(keys: &[Key], operator: &str, first_parameter: usize) -> String {
    let (columns, bound) =
        (row(keys, |_, key| key.column.clone()), row(keys, |at, key| key.decoded(first_parameter + at)));
    format!("{columns} {operator} {bound}")
}

/// Above the cursor in the first parameters, or everything when they are NULL; written as a range of the key's index.
fn above_or_all(keys: &[Key]) -> String {
    let columns = row(keys, |_, key| key.column.clone());
    let lowest = row(keys, |at, key| key.decoded_or_lowest(at + 1));
    match keys {
        // No integer is as low as minus infinity.
        [only] if only.affinity == Affinity::Integer => format!("{columns} > {lowest}"),
        _ => {
            let cursor = row(keys, |at, key| key.decoded(at + 1));
            format!("{columns} >= {lowest} AND (?1 IS NULL OR {columns} <> {cursor})")
        }
    }
}

fn next_key(from: &str, keys: &[Key], rows: &str, size_parameter: usize) -> String {
    let columns = list(keys, |key| key.column.clone());
    let encoded = list(keys, Key::encoded);
    let rows = fitting(keys).map_or_else(|| rows.to_owned(), |fits| format!("{rows} AND {fits}"));
    format!(
        "SELECT {encoded} FROM {from} WHERE {rows} ORDER BY {columns} \
         LIMIT 1 OFFSET CAST(?{size_parameter} AS INTEGER) - 1"
    )
}
