//! Questions to the rows that are asked before a migration begins.

use super::types::{Affinity, affinity};

/// See [`crate::dialect::Questions::keeps_apart`]. Of a real number, not all digits are written.
pub(super) fn keeps_apart(from: &str, to: &str) -> bool {
    let (from, to) = (affinity(from), affinity(to));
    from == to || from != Affinity::Real && matches!(to, Affinity::Text | Affinity::Blob)
}

/// See [`crate::dialect::Ddl::cannot_convert`]. CAST never fails: it makes 0 of what is no number, and cuts at the first
/// character that belongs to none.
pub(super) fn cannot_convert(column: &str, from: &str, to: &str) -> Option<String> {
    if affinity(from) == affinity(to) {
        return None;
    }
    let text = format!("trim(CAST({column} AS TEXT))");
    match affinity(to) {
        Affinity::Integer => Some(format!(
            "typeof({column}) NOT IN ('null', 'integer') AND CAST(CAST({column} AS INTEGER) AS TEXT) <> ltrim({text}, '+')"
        )),
        Affinity::Real | Affinity::Numeric => Some(format!(
            "typeof({column}) IN ('text', 'blob') AND ({text} GLOB '*[^-+0-9.eE]*' OR {text} NOT GLOB '*[0-9]*')"
        )),
        Affinity::Text | Affinity::Blob => None,
    }
}
