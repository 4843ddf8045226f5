//! What is said of the values of a backfill.

use schemadiff::plan::{Assignment, KeyColumn};

/// A column whose stored values can be compared with what they should be.
#[derive(Debug, Clone)]
pub struct CompareSpec {
    /// The column.
    pub column: String,
    /// Its type.
    pub ty: String,
    /// What it should hold, over bare column names.
    pub forward: String,
    /// The column it is kept in step with, that one's type, and what it should hold. A conversion may lose something: then
    /// only one of the two says what the other should be.
    pub back: Option<(String, String, String)>,
    /// Whether that says so only where the other column has a value: rows without one get theirs from elsewhere.
    pub only_given: bool,
}

/// A backfill whose values a function of the application gives.
#[derive(Debug, Clone, Copy)]
pub struct GivenSpec<'g> {
    /// The function's name.
    pub by: &'g str,
    /// What it is given.
    pub reads: &'g [KeyColumn],
    /// What it gives.
    pub gives: &'g [KeyColumn],
    /// The same columns; each expression is the call.
    pub set: &'g [Assignment],
}
