//! Rows as texts.

use sqlx::{Row as _, ValueRef as _, postgres::PgRow};

use super::errors::classify;
use crate::backend::{DbError, DbResult, ErrorClass, TextRow};

/// The cells of a simple query: the server sends every type as text.
pub(super) fn plain_texts(row: &PgRow) -> DbResult<TextRow> {
    let cell = |at| {
        let value = row.try_get_raw(at).map_err(|e| classify(&e))?;
        if value.is_null() {
            return Ok(None);
        }
        let text = value.as_str().map_err(|e| classify(&sqlx::Error::Decode(e)))?;
        Ok(Some(text.to_owned()))
    };
    (0..row.len()).map(cell).collect()
}

pub(super) fn texts(row: &PgRow) -> DbResult<TextRow> {
    (0..row.len())
        .map(|at| {
            row.try_get::<Option<String>, _>(at).map_err(|e| DbError {
                class: ErrorClass::Other,
                code: String::new(),
                message: format!("column {} is no text: {e}", at + 1),
            })
        })
        .collect()
}
