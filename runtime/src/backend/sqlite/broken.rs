//! Views and triggers that cannot be used as they are.
//!
//! SQLite keeps them as text and looks at it when they are used: a table that is rebuilt without a column leaves a view behind
//! that fails for whoever reads it, and a trigger that fails every write to its table.

use std::collections::BTreeSet;

use super::session::Sqlite;
use crate::backend::{Backend as _, DbResult};

/// Views, and tables that have triggers, with what sets each column to itself. What the module of a virtual table makes of a
/// write is nobody's to try.
const NAMES: &str = "SELECT m.name, CASE m.type WHEN 'table' THEN (SELECT group_concat( \
        '\"' || replace(c.name, '\"', '\"\"') || '\" = \"' || replace(c.name, '\"', '\"\"') || '\"', ', ') \
        FROM pragma_table_info(m.name) c) END \
    FROM sqlite_schema m WHERE m.type = 'view' OR (m.type = 'table' AND m.sql NOT LIKE 'CREATE VIRTUAL%' \
        AND EXISTS (SELECT 1 FROM sqlite_schema t WHERE t.type = 'trigger' AND lower(t.tbl_name) = lower(m.name))) \
    ORDER BY m.name";

/// What follows a table that is set aside although it is not part of it: it would work for as long as the table is kept.
const HELD: &str = "SELECT type, name FROM sqlite_schema WHERE instr(sql, '_schemadiff_kept_') > 0 \
    AND substr(tbl_name, 1, 12) <> '_schemadiff_' ORDER BY name";

/// What cannot be compiled, in words that name it and say why, and what will not be for long. Nothing is carried out.
pub(super) async fn find(db: &mut Sqlite) -> DbResult<BTreeSet<String>> {
    let mut broken = BTreeSet::new();
    for row in db.rows(NAMES, &[]).await? {
        let [Some(name), columns] = row.as_slice() else { continue };
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        let Some(columns) = columns else {
            if let Err(error) = db.rows(&format!("EXPLAIN SELECT * FROM {quoted}"), &[]).await {
                broken.insert(format!("view `{name}`: {}", error.message));
            }
            continue;
        };
        for (when, sql) in [
            ("INSERT", format!("INSERT INTO {quoted} DEFAULT VALUES")),
            ("UPDATE", format!("UPDATE {quoted} SET {columns}")),
            ("DELETE", format!("DELETE FROM {quoted}")),
        ] {
            if let Err(error) = db.rows(&format!("EXPLAIN {sql}"), &[]).await {
                broken.insert(format!("a trigger of `{name}` ({when}): {}", error.message));
            }
        }
    }
    for row in db.rows(HELD, &[]).await? {
        if let [Some(kind), Some(name)] = row.as_slice() {
            broken.insert(format!("{kind} `{name}`: it uses the table that goes"));
        }
    }
    Ok(broken)
}
