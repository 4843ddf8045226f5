//! SQLSTATEs and what they mean for the executor.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::{
    backend::{DbError, ErrorClass},
    error::Error,
};

/// Errors whose detail names the objects that are in the way. That of others may hold values of rows, which belong in no log.
const NAMES_OBJECTS: [&str; 2] = ["2BP01", "0A000"];

/// The first objects of a list that has one a line.
fn in_one_line(detail: &str) -> String {
    const MOST: usize = 5;
    let mut lines: Vec<&str> = detail.lines().take(MOST).collect();
    if detail.lines().nth(MOST).is_some() {
        lines.push("and more");
    }
    lines.join("; ")
}

pub(crate) fn classify(error: &sqlx::Error) -> DbError {
    match error {
        sqlx::Error::Database(e) => {
            let code = e.code().map(|c| c.into_owned()).unwrap_or_default();
            let detail = e.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::detail);
            let message = match detail.filter(|_| NAMES_OBJECTS.contains(&code.as_str())) {
                Some(detail) => format!("{}: {}", e.message(), in_one_line(detail)),
                None => e.message().to_owned(),
            };
            // An error of a connection that a statement itself has opened (dblink, a foreign table) leaves this one as it is.
            let alive = || e.try_downcast_ref::<PgDatabaseError>().is_some_and(|e| e.severity() == PgSeverity::Error);
            let class = match class_of(&code) {
                ErrorClass::Connection if code.starts_with("08") && alive() => ErrorClass::Other,
                class => class,
            };
            DbError { class, message, code }
        }
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => {
            DbError { class: ErrorClass::Connection, code: String::new(), message: error.to_string() }
        }
        _ => DbError { class: ErrorClass::Other, code: String::new(), message: error.to_string() },
    }
}

/// A connection that was not had.
pub(super) fn refused(address: String, error: &sqlx::Error) -> Error {
    let said = error.as_database_error();
    // The driver adds a line number, of the server's sources.
    let cause = said.map_or_else(|| error.to_string(), |e| e.message().to_owned());
    // It starts, or all its connections are taken: replicas that start together may be many.
    let not_yet = said.and_then(|e| e.code()).is_some_and(|code| matches!(&*code, "57P03" | "53300"));
    Error::Connect { address, cause, not_yet }
}

/// What a standby says to a transaction that shall write. Nothing else that begins one is not supported.
pub(super) fn of_begin(error: DbError) -> DbError {
    if error.code == "0A000" { DbError { class: ErrorClass::ReadOnly, ..error } } else { error }
}

fn class_of(code: &str) -> ErrorClass {
    match code {
        "55P03" => ErrorClass::LockTimeout,
        "40P01" | "40001" => ErrorClass::Deadlock,
        "57014" => ErrorClass::Cancelled,
        "42501" => ErrorClass::Forbidden,
        "25006" => ErrorClass::ReadOnly,
        "42P01" | "3F000" | "42703" | "42883" => ErrorClass::Missing,
        "57P01" | "57P02" | "57P03" | "25P03" => ErrorClass::Connection,
        "53100" => ErrorClass::Full,
        _ if ["21", "22", "23", "2F", "38", "39", "44", "P0"].iter().any(|class| code.starts_with(class)) => {
            ErrorClass::Data
        }
        _ if code.starts_with("08") => ErrorClass::Connection,
        _ => ErrorClass::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_timeout_is_never_tried_again() {
        assert!(class_of("55P03").is_transient());
        assert!(class_of("40P01").is_transient());
        assert!(class_of("40001").is_transient());
        assert!(!class_of("57014").is_transient());
    }
}
