//! Whether triggers fire for what one connection writes.
//!
//! A row that is filled has not changed for anybody: no trigger of the user's has to stamp it or to note it elsewhere, unless it
//! is about the columns that are filled (it may refuse a value); and those of the migration would write what is there
//! already. SQLite can leave triggers out for one connection (`SQLITE_DBCONFIG_ENABLE_TRIGGER`); no statement says that,
//! only its C interface. Foreign keys, also their actions, go on, and so do all other connections. It is not kept in the
//! file: a process that is killed leaves nothing behind. Statements that were prepared before are prepared again by SQLite
//! itself.

use std::ffi::c_int;

use libsqlite3_sys::{SQLITE_DBCONFIG_ENABLE_TRIGGER, SQLITE_OK, sqlite3_db_config};
use sqlx::SqliteConnection;

use super::errors::classify;
use crate::backend::{DbError, DbResult, ErrorClass};

/// From now on, triggers fire for this connection's statements, or none does.
///
/// # Errors
/// When the connection's worker is gone, or the library was built without the setting.
pub(super) async fn fire(connection: &mut SqliteConnection, wanted: bool) -> DbResult<()> {
    let mut handle = connection.lock_handle().await.map_err(|e| classify(&e))?;
    let db = handle.as_raw_handle();
    let mut is: c_int = -1;
    // SAFETY: `handle` keeps the connection open and to itself while it lives. For this verb the two arguments are an int and
    // a pointer to an int that is written to (https://sqlite.org/c3ref/c_dbconfig_defensive.html).
    let code =
        unsafe { sqlite3_db_config(db.as_ptr(), SQLITE_DBCONFIG_ENABLE_TRIGGER, c_int::from(wanted), &raw mut is) };
    if code == SQLITE_OK && is == c_int::from(wanted) {
        return Ok(());
    }
    Err(DbError {
        class: ErrorClass::Other,
        code: code.to_string(),
        message: "this build of SQLite does not let a connection leave triggers out".to_owned(),
    })
}

/// Whether a trigger runs on updates and names one of the columns, wherever it does.
pub(super) fn has_a_say(sql: &str, columns: &[&str]) -> bool {
    let mut words = sql.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    // CREATE .. TRIGGER name BEFORE UPDATE .. ON table: what comes first says when it runs.
    let mut runs = false;
    for word in words.by_ref() {
        if word.eq_ignore_ascii_case("update") {
            runs = true;
            break;
        }
        if ["insert", "delete"].iter().any(|other| word.eq_ignore_ascii_case(other)) {
            return false;
        }
    }
    // A name that is more than one word is looked for as it stands.
    runs && columns.iter().any(|column| {
        words.clone().any(|word| word.eq_ignore_ascii_case(column))
            || (column.contains(|c: char| !c.is_alphanumeric() && c != '_') && sql.contains(column))
    })
}

#[cfg(test)]
mod tests {
    use super::has_a_say;

    #[test]
    fn a_trigger_has_a_say_when_it_runs_on_updates_and_names_a_column() {
        let says = |sql| has_a_say(sql, &["key", "my key"]);
        assert!(!says("CREATE TRIGGER t AFTER UPDATE ON users BEGIN SELECT 1; END"));
        assert!(says("create trigger t before update\n OF name, \"Key\" ON users BEGIN SELECT 1; END"));
        assert!(says(
            "CREATE TRIGGER t BEFORE UPDATE ON users WHEN NEW.key = '' BEGIN SELECT RAISE(ABORT, 'empty'); END"
        ));
        assert!(says("CREATE TRIGGER t BEFORE UPDATE ON users BEGIN SELECT NEW.\"my key\"; END"));
        assert!(!says("CREATE TRIGGER t AFTER UPDATE OF name ON users BEGIN SELECT NEW.monkey; END"));
        assert!(!says("CREATE TRIGGER t AFTER INSERT ON users BEGIN UPDATE users SET key = 1; END"));
    }
}
