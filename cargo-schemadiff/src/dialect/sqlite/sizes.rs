//! Sizes of tables without reading them.

use std::collections::BTreeMap;

use schemadiff::model::{ObjectName, Table};

use super::{connect::Client, create, lexer::literal, sync};
use crate::{Result, dialect::TableSize};

/// Files up to this size are asked page by page which table owns what.
const EXACT_UP_TO: u64 = 64 << 20;

/// Rows of a table without statistics and without a rowid are counted up to here.
const COUNTED: u64 = 100_000;

/// Estimated rows and bytes of each table.
pub(super) async fn sizes(
    client: &mut Client,
    tables: impl Iterator<Item = &Table>,
) -> Result<BTreeMap<ObjectName, TableSize>> {
    let file = number(client, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").await?;
    let mut sizes = BTreeMap::new();
    for table in tables {
        // No row is smaller than four bytes: keeps a table with a few large ids from looking like millions of rows.
        let rows = rows(client, table).await?.min(file / 4);
        sizes.insert(table.name.clone(), TableSize { rows, bytes: 0 });
    }
    let exact = if file <= EXACT_UP_TO { bytes_by_table(client).await } else { None };
    let all_rows = sizes.values().map(|size| size.rows).sum::<u64>().max(1);
    for (name, size) in &mut sizes {
        size.bytes = match &exact {
            Some(bytes) => bytes.get(&name.name).copied().unwrap_or(0),
            // A share of the file by rows, in 128 bits: the product may be large.
            None => u64::try_from(u128::from(file) * u128::from(size.rows) / u128::from(all_rows)).unwrap_or(file),
        };
    }
    Ok(sizes)
}

async fn number(client: &mut Client, sql: &str) -> Result<u64> {
    let row = client.query_row(sql, &[]).await?;
    let text = row.and_then(|row| row.into_iter().next().flatten());
    // A negative highest rowid, or an empty table.
    Ok(text.and_then(|text| text.parse().ok()).unwrap_or(0))
}

async fn rows(client: &mut Client, table: &Table) -> Result<u64> {
    let name = create::name(&table.name);
    match sync::rowid_name(table.columns.iter().map(|c| &c.name)) {
        Some(rowid) if !table.options.without_rowid => {
            // Two steps down the tree each.
            number(client, &format!("SELECT max({rowid}) - (SELECT min({rowid}) FROM {name}) + 1 FROM {name}")).await
        }
        _ => number(client, &format!("SELECT count(*) FROM (SELECT 1 FROM {name} LIMIT {COUNTED})")).await,
    }
}

/// Bytes with indexes, where this build of SQLite can tell.
async fn bytes_by_table(client: &mut Client) -> Option<BTreeMap<String, u64>> {
    let own = literal(super::render::OWN_PREFIX);
    let sql = format!(
        "SELECT m.tbl_name, sum(d.pgsize) FROM dbstat AS d JOIN main.sqlite_master AS m ON m.name = d.name \
         WHERE d.aggregate = TRUE AND substr(m.name, 1, 12) <> {own} GROUP BY m.tbl_name"
    );
    let rows = client.query(&sql, &[]).await.ok()?;
    let pair = |row: Vec<Option<String>>| {
        let mut fields = row.into_iter().flatten();
        Some((fields.next()?, fields.next()?.parse().ok()?))
    };
    Some(rows.into_iter().filter_map(pair).collect())
}
