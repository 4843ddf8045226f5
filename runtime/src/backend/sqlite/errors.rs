//! Result codes and what they mean for the executor.

use crate::backend::{DbError, ErrorClass};

pub(crate) fn classify(error: &sqlx::Error) -> DbError {
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
        Ok(13) => ErrorClass::Full,
        _ if message.starts_with("no such table") || message.starts_with("no such column") => ErrorClass::Missing,
        // 1 is what a function says of its arguments, 18 TOOBIG, 19 CONSTRAINT, 20 MISMATCH.
        Ok(1 | 18 | 19 | 20) => ErrorClass::Data,
        _ => ErrorClass::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_codes_belong_to_their_primary_one() {
        assert_eq!(class_of("1299", "NOT NULL constraint failed: t.a"), ErrorClass::Data);
        assert_eq!(class_of("517", "database is locked"), ErrorClass::LockTimeout);
        assert_eq!(class_of("13", "database or disk is full"), ErrorClass::Full);
        assert_eq!(class_of("1", "no such table: t"), ErrorClass::Missing);
    }
}
