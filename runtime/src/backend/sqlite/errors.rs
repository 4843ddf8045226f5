//! Result codes and what they mean for the executor.

use crate::backend::{DbError, ErrorClass};

pub(super) fn classify(error: &sqlx::Error) -> DbError {
    match error {
        sqlx::Error::Database(e) => {
            let code = e.code().map(|c| c.into_owned()).unwrap_or_default();
            DbError { class: class_of(&code, e.message()), message: e.message().to_owned(), code }
        }
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => {
            DbError { class: ErrorClass::Connection, code: String::new(), message: error.to_string() }
        }
        _ => DbError { class: ErrorClass::Other, code: String::new(), message: error.to_string() },
    }
}

fn class_of(code: &str, message: &str) -> ErrorClass {
    // The low byte of an extended code is the primary one: 5 is BUSY, 6 LOCKED, 8 READONLY, 9 INTERRUPT, 14 CANTOPEN.
    match code.parse::<u32>().map(|code| code & 0xff) {
        Ok(5 | 6) => ErrorClass::LockTimeout,
        Ok(8) => ErrorClass::Forbidden,
        Ok(9) => ErrorClass::Cancelled,
        Ok(10 | 14) => ErrorClass::Connection,
        _ if message.starts_with("no such table") || message.starts_with("no such column") => ErrorClass::Missing,
        _ => ErrorClass::Other,
    }
}
