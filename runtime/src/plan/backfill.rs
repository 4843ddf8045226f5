//! A backfill as it stands in a plan: what is filled, and the statements that do it.

use serde::{Deserialize, Serialize};

use crate::model::ObjectName;

/// A column of the key that a backfill walks along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyColumn {
    /// Column name.
    pub name: String,
    /// Its type, in the server's spelling: cursors are kept as text and cast back.
    #[serde(rename = "type")]
    pub ty: String,
}

/// One assignment of a backfill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// The column that is filled.
    pub column: String,
    /// An expression over the row's other columns; where the application gives the value, its function and the columns that
    /// it is given.
    pub expr: String,
    /// Whether the column is to become NOT NULL, so that a row for which `expr` gives NULL is a mistake in the data.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_null: bool,
}

/// A backfill: which rows, in which order, get which values.
///
/// It walks along a unique key without NULLs. A table that has none is walked along the place of its rows: SQLite's `rowid`,
/// or PostgreSQL's `ctid`, where a cursor is the end of a page. A row that is updated there moves to another place, and
/// whoever updates it while the migration's trigger is there fills it; the count at the end says whether all are filled.
///
/// All parameters and results are text, so that one executor serves every key type, and have the same places everywhere
/// (`k` is the number of key columns; SQLite numbers them `?1`, ..):
/// `$1..$k` is the cursor (exclusive), NULLs before the first batch; `$k+1..$2k` is an upper bound (inclusive).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backfill {
    /// The table.
    pub table: ObjectName,
    /// Key columns, in order. The key is unique and NOT NULL.
    pub key: Vec<KeyColumn>,
    /// What is assigned.
    pub set: Vec<Assignment>,
    /// Which rows still wait, as a condition.
    pub pending: String,
    /// Rows in the first batch; the executor adapts it to the time a batch takes.
    pub batch_size: u32,
    /// The greatest key there is now: one row with one text per key column; no row when the table is empty.
    pub upper_sql: String,
    /// Where a batch of `$2k+1` (as text) rows ends: one row with one text per key column. No row, or NULLs, when fewer rows
    /// than that are left up to the bound.
    pub batch_sql: String,
    /// Fills the waiting rows between the two keys. Never overwrites a value. Where the application gives the values it has
    /// one parameter instead, see [`Given::read_sql`].
    pub update_sql: String,
    /// The same without waiting for a row that somebody else has locked; such a row is left for a later pass. None where
    /// rows are not locked one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_locked_sql: Option<String>,
    /// How many rows still wait to be filled, as text; 0 at the end, or the step has failed.
    pub remaining_sql: String,
    /// Up to five rows that still wait: their keys for people, and `true` (`1` on SQLite) when an expression gives NULL for
    /// a column that is to become NOT NULL. Those come first.
    pub left_sql: String,
    /// The trigger that puts back what triggers of the user's make of other columns while rows are filled, where the session
    /// has the trigger's name in `schemadiff.filling`. None where triggers cannot do that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_by: Option<String>,
    /// Triggers of the plan's own that have nothing to do for a row that is filled, because the statement gives the very value:
    /// a session with the setting `schemadiff.<name>` at `quiet` spares each row the call. Empty where triggers cannot do that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quiet: Vec<String>,
    /// How stored values are compared with what they should be; none where nobody can say that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// Reads the rows between two keys, which are its parameters as in [`Backfill::update_sql`], and gives each expression its
    /// turn, without the columns that are filled: they need not be there. It finds the row that an expression fails on before
    /// anything is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluate_sql: Option<String>,
    /// How the application gives the values, where SQL cannot say them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<Given>,
}

/// Whether what is stored is what the expressions give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// The columns that are compared.
    pub columns: Vec<Compared>,
    /// Looks at the rows between two keys, which are its parameters as in [`Backfill::update_sql`]. One row of texts: how
    /// many rows there are; then for each column how many of them hold another value, and the name of one of these.
    pub sql: String,
}

/// A column that is compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compared {
    /// Its name.
    pub column: String,
    /// Triggers keep it in step with another column, in both directions: another value is a fault. Where it only is filled,
    /// another value may be one that somebody has chosen.
    pub in_step: bool,
}

/// Values that a function of the application gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// The name under which the application registers the function.
    pub by: String,
    /// The columns that it is given.
    pub reads: Vec<KeyColumn>,
    /// The columns that it gives a value.
    pub gives: Vec<KeyColumn>,
    /// The waiting rows between the two keys: their keys, then the values of `reads`, each as text. For each one that has
    /// got its values, the parameter of `update_sql` holds an object in a JSON list: `k`, the key, `r`, what was read, and
    /// `v`, the values. A row that is no longer as it was read is left alone.
    pub read_sql: String,
}
