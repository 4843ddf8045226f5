//! Backfill in keyset batches.

use schemadiff::{
    model::ObjectName,
    plan::{Assignment, Backfill, KeyColumn},
};

use super::names::{ident, qualified};

/// Rows in the first batch; the executor adapts it.
const FIRST_BATCH: u32 = 1_000;

/// The statements, see [`Backfill`].
///
/// Names inside the batch are chosen so that neither the user's expressions nor ORDER BY can take them for columns of
/// the table: an output column `id::text` is called `id`, and ORDER BY would sort by the text.
pub(super) fn statements(table: &ObjectName, key: &[KeyColumn], set: &[Assignment], pending: &str) -> Backfill {
    let of_key = |make: &dyn Fn(usize, &KeyColumn) -> String| {
        key.iter().enumerate().map(|(i, column)| make(i, column)).collect::<Vec<_>>().join(", ")
    };
    let name = qualified(table);
    let as_text = of_key(&|i, column| format!("{name}.{}::text AS schemadiff_key_{i}", ident(&column.name)));
    let descending = of_key(&|_, column| format!("{name}.{} DESC", ident(&column.name)));
    Backfill {
        table: table.clone(),
        key: key.to_vec(),
        set: set.to_vec(),
        pending: pending.to_owned(),
        batch_size: FIRST_BATCH,
        // Not max(): uuid and other types have none.
        upper_sql: format!("SELECT {as_text} FROM {name} ORDER BY {descending} LIMIT 1"),
        first_sql: batch(table, key, set, pending, false),
        batch_sql: batch(table, key, set, pending, true),
        update_sql: None,
        remaining_sql: format!("SELECT count(*)::text FROM {name} WHERE ({pending})"),
    }
}

fn batch(table: &ObjectName, key: &[KeyColumn], set: &[Assignment], pending: &str, after_cursor: bool) -> String {
    let name = qualified(table);
    let list = |make: &dyn Fn(usize, &KeyColumn) -> String, separator: &str| {
        key.iter().enumerate().map(|(i, column)| make(i, column)).collect::<Vec<_>>().join(separator)
    };
    let row = |items: String| if key.len() == 1 { items } else { format!("({items})") };
    let columns = row(list(&|_, column| ident(&column.name), ", "));
    // Parameters are text and are cast back; `$1::bigint` alone would make the parameter itself a bigint.
    let bound = |first: usize| row(list(&|i, column| format!("${}::text::{}", first + i, column.ty), ", "));
    let (lower, upper_at) =
        if after_cursor { (format!("{columns} > {} AND ", bound(1)), key.len() + 1) } else { (String::new(), 1) };
    let size = upper_at + key.len();
    let selected = list(&|i, column| format!("{} AS schemadiff_key_{i}", ident(&column.name)), ", ");
    let ordered = list(&|_, column| format!("{name}.{}", ident(&column.name)), ", ");
    let joined =
        list(&|i, column| format!("{name}.{} = schemadiff_batch.schemadiff_key_{i}", ident(&column.name)), " AND ");
    let assigned: Vec<_> = set.iter().map(|a| format!("{} = ({})", ident(&a.column), a.expr)).collect();
    let last = list(&|i, _| format!("schemadiff_key_{i} DESC"), ", ");
    let next = list(
        &|i, _| {
            format!(
                "(SELECT schemadiff_key_{i}::text AS next FROM schemadiff_batch ORDER BY {last} LIMIT 1) AS next_{i}"
            )
        },
        ", ",
    );
    format!(
        "WITH schemadiff_batch AS (\
           SELECT {selected} FROM {name} WHERE {lower}{columns} <= {upper} ORDER BY {ordered} LIMIT ${size}::text::bigint \
           FOR NO KEY UPDATE), \
         schemadiff_changed AS (\
           UPDATE {name} SET {assigned} FROM schemadiff_batch WHERE {joined} AND ({pending}) RETURNING 1) \
         SELECT {next}, (SELECT count(*)::text FROM schemadiff_changed) AS changed",
        upper = bound(upper_at),
        assigned = assigned.join(", "),
    )
}
