//! Type names and the affinity they stand for.

/// What SQLite makes of a declared type: how values are converted when they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Affinity {
    /// INTEGER.
    Integer,
    /// TEXT.
    Text,
    /// BLOB: no conversion. Also of a column without a type, and of ANY in a STRICT table.
    Blob,
    /// REAL.
    Real,
    /// NUMERIC.
    Numeric,
}

/// The affinity of a declared type, by SQLite's rules in SQLite's order.
pub(super) fn affinity(ty: &str) -> Affinity {
    let upper = ty.to_ascii_uppercase();
    let has = |parts: &[&str]| parts.iter().any(|part| upper.contains(part));
    if has(&["INT"]) {
        Affinity::Integer
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        Affinity::Text
    } else if upper.trim().is_empty() || has(&["BLOB"]) {
        Affinity::Blob
    } else if has(&["REAL", "FLOA", "DOUB"]) {
        Affinity::Real
    } else {
        Affinity::Numeric
    }
}

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
    fn affinities_are_sqlites() {
        for (ty, expected) in [
            ("INT", Affinity::Integer),
            ("UNSIGNED BIG INT", Affinity::Integer),
            ("FLOATING POINT", Affinity::Integer),
            ("VARCHAR(20)", Affinity::Text),
            ("STRING", Affinity::Numeric),
            ("BOOLEAN", Affinity::Numeric),
            ("DATETIME", Affinity::Numeric),
            ("double precision", Affinity::Real),
            ("", Affinity::Blob),
            ("BLOB", Affinity::Blob),
        ] {
            assert_eq!(affinity(ty), expected, "{ty}");
        }
    }

    #[test]
    fn types_have_one_spelling() {
        assert_eq!(normal(" varchar ( 20 ) "), "VARCHAR(20)");
        assert_eq!(normal("decimal(10, 2)"), "DECIMAL(10,2)");
        assert_eq!(normal("unsigned  big int"), "UNSIGNED BIG INT");
    }
}
