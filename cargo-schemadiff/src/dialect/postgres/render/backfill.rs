//! Backfill in batches along a key, or along the pages of a table that has none.

use schemadiff::{
    model::ObjectName,
    plan::{Assignment, Backfill, Compared, Comparison, KeyColumn},
};

use super::names::{ident, literal, qualified};
use crate::dialect::CompareSpec;

/// Rows in the first batch; the executor adapts it.
const FIRST_BATCH: u32 = 1_000;

/// Batches of a table without a key are whole pages; so many rows are taken for one.
const ROWS_PER_PAGE: u32 = 64;

/// The statements, see [`Backfill`]. An empty key walks along `ctid`.
pub(super) fn statements(table: &ObjectName, key: &[KeyColumn], set: &[Assignment], pending: &str) -> Backfill {
    let by_place = by_place();
    let key = if key.is_empty() { by_place.as_slice() } else { key };
    let walk = Walk { table: qualified(table), key };
    let (upper_sql, batch_sql) = match key == by_place {
        true => (last_page(&walk.table), pages(&walk.table)),
        false => (walk.upper(), walk.batch()),
    };
    let name = &walk.table;
    Backfill {
        table: table.clone(),
        key: key.to_vec(),
        set: set.to_vec(),
        pending: pending.to_owned(),
        batch_size: FIRST_BATCH,
        upper_sql,
        batch_sql,
        update_sql: format!("UPDATE {name} SET {} WHERE {} AND ({pending})", assigned(set), walk.range()),
        skip_locked_sql: Some(walk.skip_locked(set, pending)),
        remaining_sql: format!("SELECT count(*)::text FROM {name} WHERE ({pending})"),
        left_sql: format!(
            "SELECT {}, schemadiff_null::text FROM (SELECT *, {} AS schemadiff_null{} FROM {name} WHERE ({pending})) \
             AS schemadiff_left ORDER BY schemadiff_null DESC LIMIT 5",
            walk.list(|_, column| format!("{}::text", column), ", "),
            null_for_not_null(set),
            if key[0].name == "ctid" { ", ctid" } else { "" },
        ),
        restored_by: None,
        quiet: Vec::new(),
        comparison: None,
        evaluate_sql: None,
        given: None,
    }
}

fn by_place() -> [KeyColumn; 1] {
    [KeyColumn { name: "ctid".to_owned(), ty: "tid".to_owned() }]
}

/// See [`crate::dialect::Ddl::comparison`]. What an expression gives is compared after it has taken the column's type, byte for
/// byte: that works for every type, NULLs included.
pub(super) fn comparison(table: &ObjectName, key: &[KeyColumn], columns: &[CompareSpec]) -> Comparison {
    let by_place = by_place();
    let walk = Walk { table: qualified(table), key: if key.is_empty() { by_place.as_slice() } else { key } };
    let row = walk.list(
        |i, column| format!("{} || {column}::text", literal(&format!("{} = ", walk.key[i].name))),
        &format!(" || {} || ", literal(", ")),
    );
    let cells = columns.iter().map(|c| {
        let other = |column: &str, ty: &str, expr: &str| {
            format!("(ROW({})::record *<> ROW(({expr})::{ty})::record)", ident(column))
        };
        let mut differs = other(&c.column, &c.ty, &c.forward);
        if let Some((old, ty, backward)) = &c.back {
            differs = format!("{differs} AND {}", other(old, ty, backward));
            if c.only_given {
                differs.push_str(&format!(" AND {} IS NOT NULL", ident(old)));
            }
        }
        format!("count(*) FILTER (WHERE {differs})::text, min((CASE WHEN {differs} THEN {row} END) COLLATE \"C\")")
    });
    let cells = cells.collect::<Vec<_>>().join(", ");
    Comparison {
        columns: columns.iter().map(|c| Compared { column: c.column.clone(), in_step: c.back.is_some() }).collect(),
        sql: format!("SELECT count(*)::text, {cells} FROM {} WHERE {}", walk.table, walk.range()),
    }
}

/// See [`crate::dialect::Ddl::evaluation`].
pub(super) fn evaluation(table: &ObjectName, key: &[KeyColumn], exprs: &[&str]) -> String {
    let by_place = by_place();
    let walk = Walk { table: qualified(table), key: if key.is_empty() { by_place.as_slice() } else { key } };
    // The server computes what it counts.
    let counted: Vec<_> = exprs.iter().map(|expr| format!("count(({expr}))::text")).collect();
    format!("SELECT {} FROM {} WHERE {}", counted.join(", "), walk.table, walk.range())
}

fn assigned(set: &[Assignment]) -> String {
    set.iter().map(|a| format!("{} = ({})", ident(&a.column), a.expr)).collect::<Vec<_>>().join(", ")
}

fn null_for_not_null(set: &[Assignment]) -> String {
    let required = set.iter().filter(|a| a.not_null);
    let conditions: Vec<_> =
        required.map(|a| format!("({} IS NULL AND ({}) IS NULL)", ident(&a.column), a.expr)).collect();
    if conditions.is_empty() { "false".to_owned() } else { format!("({})", conditions.join(" OR ")) }
}

/// The way along a key.
pub(super) struct Walk<'k> {
    /// Qualified and quoted.
    pub table: String,
    pub key: &'k [KeyColumn],
}

impl Walk<'_> {
    pub fn list(&self, make: impl Fn(usize, &str) -> String, separator: &str) -> String {
        let each = self.key.iter().enumerate().map(|(i, column)| make(i, &ident(&column.name)));
        each.collect::<Vec<_>>().join(separator)
    }

    fn row(&self, items: String) -> String {
        if self.key.len() == 1 { items } else { format!("({items})") }
    }

    fn columns(&self) -> String {
        self.row(self.list(|_, column| column.to_owned(), ", "))
    }

    /// The key in the parameters from `first` on. They are text and are cast back; `$1::bigint` alone would make the
    /// parameter itself a bigint.
    fn bound(&self, first: usize) -> String {
        let each = self.key.iter().enumerate().map(|(i, column)| format!("${}::text::{}", first + i, column.ty));
        self.row(each.collect::<Vec<_>>().join(", "))
    }

    /// Above the cursor and up to the bound. The server knows the parameters when it plans, and leaves the test for NULL out.
    pub fn range(&self) -> String {
        let columns = self.columns();
        format!(
            "($1::text IS NULL OR {columns} > {}) AND {columns} <= {}",
            self.bound(1),
            self.bound(self.key.len() + 1)
        )
    }

    /// Names that ORDER BY could take for an output column are qualified: `id::text` is called `id`, and the text would
    /// sort in another order.
    fn as_text(&self) -> String {
        self.list(|i, column| format!("{}.{column}::text AS schemadiff_key_{i}", self.table), ", ")
    }

    /// Not max(): uuid and other types have none.
    fn upper(&self) -> String {
        let order = self.list(|_, column| format!("{}.{column} DESC", self.table), ", ");
        format!("SELECT {} FROM {} ORDER BY {order} LIMIT 1", self.as_text(), self.table)
    }

    fn batch(&self) -> String {
        let order = self.list(|_, column| format!("{}.{column}", self.table), ", ");
        format!(
            "SELECT {} FROM {} WHERE {} ORDER BY {order} OFFSET ${}::text::bigint - 1 LIMIT 1",
            self.as_text(),
            self.table,
            self.range(),
            2 * self.key.len() + 1
        )
    }

    /// In the order of the key, so that two that lock rows one after the other do not wait for each other in a circle.
    fn skip_locked(&self, set: &[Assignment], pending: &str) -> String {
        let table = &self.table;
        let selected = self.list(|i, column| format!("{column} AS schemadiff_key_{i}"), ", ");
        let order = self.list(|_, column| format!("{table}.{column}"), ", ");
        let joined = self.list(|i, column| format!("{table}.{column} = schemadiff_batch.schemadiff_key_{i}"), " AND ");
        format!(
            "WITH schemadiff_batch AS (SELECT {selected} FROM {table} WHERE {} AND ({pending}) ORDER BY {order} \
             FOR NO KEY UPDATE SKIP LOCKED) \
             UPDATE {table} SET {} FROM schemadiff_batch WHERE {joined} AND ({pending})",
            self.range(),
            assigned(set)
        )
    }
}

/// The end of the table's last page. Rows that come later have passed the trigger.
fn last_page(table: &str) -> String {
    format!(
        "SELECT format('(%s,65535)', pages - 1) FROM \
         (SELECT pg_relation_size('{}'::regclass) / current_setting('block_size')::bigint AS pages) AS schemadiff_size \
         WHERE pages > 0",
        table.replace('\'', "''")
    )
}

/// A batch of few rows ends at a row inside of a page, so that a row that cannot be filled can be found; a larger one ends
/// with a page. The cursor is at the end of a page, or at a row.
fn pages(table: &str) -> String {
    format!(
        "WITH schemadiff_at AS (SELECT size, upto, after, coalesce((after::text::point)[0]::bigint, -1) \
           + CASE WHEN coalesce((after::text::point)[1], 65535) = 65535 THEN 1 ELSE 0 END AS page, \
           (upto::text::point)[0]::bigint AS last_page \
           FROM (SELECT $1::text::tid AS after, $2::text::tid AS upto, $3::text::bigint AS size) AS schemadiff_parameters) \
         SELECT CASE WHEN size >= {ROWS_PER_PAGE} \
           THEN format('(%s,65535)', least(page + size / {ROWS_PER_PAGE} - 1, last_page)) \
           ELSE coalesce((SELECT {table}.ctid::text FROM {table} \
             WHERE {table}.ctid > coalesce(after, '(0,0)'::tid) AND {table}.ctid <= format('(%s,65535)', page)::tid \
             ORDER BY {table}.ctid OFFSET size - 1 LIMIT 1), format('(%s,65535)', page)) END \
         FROM schemadiff_at WHERE page <= last_page"
    )
}
