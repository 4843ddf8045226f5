//! Type names and the affinity they stand for.

pub(super) use schemadiff::compat::types::sqlite::{Affinity, affinity};

/// The normal spelling: upper case, one space between words, none around parentheses.
pub(super) fn normal(ty: &str) -> String {
    let words = ty.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_uppercase();
    words.replace(" (", "(").replace("( ", "(").replace(" )", ")").replace(" ,", ",").replace(", ", ",")
}

/// The five names that say what they are; what CAST converts to.
pub(super) const fn cast_target(affinity: Affinity) -> &'static str {
    match affinity {
        Affinity::Integer => "INTEGER",
        Affinity::Text => "TEXT",
        Affinity::Blob => "BLOB",
        Affinity::Real => "REAL",
        Affinity::Numeric => "NUMERIC",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_one_spelling() {
        assert_eq!(normal(" varchar ( 20 ) "), "VARCHAR(20)");
        assert_eq!(normal("decimal(10, 2)"), "DECIMAL(10,2)");
        assert_eq!(normal("unsigned  big int"), "UNSIGNED BIG INT");
    }
}
