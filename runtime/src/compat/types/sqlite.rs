//! SQLite's affinities: what a declared type makes of the values that are stored.

use super::Fit;

/// What SQLite makes of a declared type: how values are converted when they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affinity {
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
pub fn affinity(ty: &str) -> Affinity {
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

/// Whether code that was compiled for `declared` works with a column of type `actual`.
///
/// INTEGER and NUMERIC store alike, only a CAST tells them apart. A column named after a date or a time has numeric
/// affinity and yet holds the text that drivers write for one, so code that declares TEXT works with it; it stays a
/// difference, because text that looks like a number would become one. Beyond that a column holds what its writers put
/// there: no name keeps fractions out of INTEGER, or texts out of DATETIME.
pub fn fit(actual: &str, declared: &str) -> Fit {
    let any = |ty: &str| ty.eq_ignore_ascii_case("ANY");
    let stored = |ty: &str| match affinity(ty) {
        Affinity::Numeric => Affinity::Integer,
        other => other,
    };
    let is_time = |ty: &str| {
        let upper = ty.to_ascii_uppercase();
        affinity(ty) == Affinity::Numeric && (upper.contains("DATE") || upper.contains("TIME"))
    };
    if any(actual) != any(declared) {
        Fit::Other
    } else if stored(actual) == stored(declared) {
        Fit::Same
    } else if (is_time(actual) && affinity(declared) == Affinity::Text)
        || (is_time(declared) && affinity(actual) == Affinity::Text)
    {
        Fit::Decodes
    } else {
        Fit::Other
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
}
