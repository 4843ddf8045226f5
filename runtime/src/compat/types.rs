//! Types as the engine and the code see them: two spellings may be one type.

pub mod postgres;
pub mod sqlite;

use crate::model::Dialect;

/// How a column's type fits the one that code declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// One type, however it is spelled: nothing that code does can tell.
    Same,
    /// Another type, with which the code works all the same.
    Decodes,
    /// The code cannot read what it holds.
    Other,
}

/// How the type `actual` of a column fits code that declares `declared`.
///
/// On PostgreSQL a type is known by what `format_type` shows, length and precision included: a statement that was prepared
/// for another one fails when the column changes, even from `character varying(20)` to `text`.
pub fn fit(dialect: Dialect, actual: &str, declared: &str) -> Fit {
    match dialect {
        _ if actual == declared => Fit::Same,
        Dialect::Sqlite => sqlite::fit(actual, declared),
        Dialect::Postgres if postgres::canonical(actual) == postgres::canonical(declared) => Fit::Same,
        Dialect::Mysql if actual.trim().eq_ignore_ascii_case(declared.trim()) => Fit::Same,
        Dialect::Postgres | Dialect::Mysql => Fit::Other,
    }
}
