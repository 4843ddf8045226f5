//! Rows that are read one by one, so that no more of them are held in memory than there is room for.

use std::{future::poll_fn, pin::Pin};

use futures_core::stream::BoxStream;

use super::{DbResult, TextRow};

/// Rows, perhaps not all.
#[derive(Debug, Default)]
pub struct Within {
    /// What was read.
    pub rows: Vec<TextRow>,
    /// There may be more: there was no room for them.
    pub cut: bool,
}

/// Reads rows until they hold more than `most` bytes. What comes after them the driver throws away.
pub(super) async fn within<R>(
    mut rows: BoxStream<'_, Result<R, sqlx::Error>>,
    texts: impl Fn(&R) -> DbResult<TextRow>,
    most: usize,
) -> Result<DbResult<Within>, sqlx::Error> {
    let (mut read, mut bytes) = (Within::default(), 0_usize);
    while let Some(row) = poll_fn(|cx| Pin::as_mut(&mut rows).poll_next(cx)).await {
        let row = match texts(&row?) {
            Ok(row) => row,
            Err(error) => return Ok(Err(error)),
        };
        bytes = bytes.saturating_add(row.iter().flatten().map(String::len).sum());
        read.rows.push(row);
        if bytes > most {
            read.cut = true;
            break;
        }
    }
    Ok(Ok(read))
}
