//! Identifiers, literals and the names that PostgreSQL or schemadiff choose.

use schemadiff::{
    backend::postgres::LEDGER,
    model::{ObjectName, hex},
};
use sha2::{Digest, Sha256};

use crate::dialect::postgres::MAX_IDENTIFIER;

/// Prefix of sync triggers. Row triggers fire in the byte order of their names, and a user's trigger that changes a synced
/// column must fire before ours.
pub(crate) const SYNC_PREFIX: &str = "zz_schemadiff_";

/// Always quoted: no list of reserved words can be right for every server version.
pub(crate) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Always qualified, so that no `search_path` decides what a statement means.
pub(crate) fn qualified(name: &ObjectName) -> String {
    format!("{}.{}", ident(name.schema.as_deref().unwrap_or("public")), ident(&name.name))
}

/// A text literal that means the same whatever `standard_conforming_strings` is.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// Names in parentheses.
pub(crate) fn columns<S: AsRef<str>>(names: &[S]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| ident(name.as_ref())).collect();
    format!("({})", quoted.join(", "))
}

/// The name PostgreSQL itself would choose: `ChooseIndexNameAddition` and `makeObjectName`, to the byte.
pub(crate) fn default_name(table: &str, columns: &[&str], suffix: &str) -> String {
    let addition = match suffix {
        "pkey" => String::new(),
        // A check over several columns is named after the table alone.
        "check" if columns.len() != 1 => String::new(),
        _ => join_bounded(columns),
    };
    make_object_name(table, &addition, suffix)
}

/// Joins names with `_` until the result is as long as an identifier can be.
fn join_bounded(names: &[&str]) -> String {
    let mut joined = String::new();
    for name in names {
        if !joined.is_empty() {
            joined.push('_');
        }
        joined.push_str(clip(name, MAX_IDENTIFIER));
        if joined.len() > MAX_IDENTIFIER {
            break;
        }
    }
    joined
}

/// `name1_name2_label`, the longer of the two names shortened until everything fits.
fn make_object_name(name1: &str, name2: &str, label: &str) -> String {
    let underscores = usize::from(!name2.is_empty()) + usize::from(!label.is_empty());
    let available = MAX_IDENTIFIER.saturating_sub(label.len() + underscores);
    let (mut len1, mut len2) = (name1.len(), name2.len());
    while len1 + len2 > available {
        if len1 > len2 {
            len1 -= 1;
        } else {
            len2 -= 1;
        }
    }
    [clip(name1, len1), clip(name2, len2), label].into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join("_")
}

/// At most `len` bytes, never half a character.
fn clip(text: &str, len: usize) -> &str {
    &text[..text.floor_char_boundary(len)]
}

/// The trigger's name. It is a hash: two long names must not be cut off into one.
pub(crate) fn sync_name(table: &ObjectName, column: &str) -> String {
    format!("{SYNC_PREFIX}{}", hash(&[table.schema.as_deref().unwrap_or("public"), &table.name, column]))
}

/// The trigger's function.
pub(crate) fn sync_function(trigger: &str) -> String {
    let hash = trigger.strip_prefix(SYNC_PREFIX).unwrap_or(trigger);
    format!("{}.{}", ident(LEDGER), ident(&format!("sync_{hash}")))
}

/// `prefix` and as much of the name as fits; a name that does not is told apart by a hash of it.
pub(crate) fn bounded(prefix: &str, name: &str) -> String {
    if prefix.len() + name.len() <= MAX_IDENTIFIER {
        return format!("{prefix}{name}");
    }
    let hash = &hash(&[name])[..8];
    format!("{prefix}{}_{hash}", clip(name, MAX_IDENTIFIER.saturating_sub(prefix.len() + 9)))
}

/// A name for an object that lives inside one transaction, next to `name`.
pub(crate) fn temporary(name: &str) -> String {
    format!("schemadiff_tmp_{}", hash(&[name]))
}

/// 16 hexadecimal digits.
fn hash(parts: &[&str]) -> String {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update((part.len() as u64).to_le_bytes());
        sha.update(part.as_bytes());
    }
    hex(&sha.finalize()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled_and_backslashes_need_no_setting() {
        assert_eq!(ident("we\"ird name"), "\"we\"\"ird name\"");
        assert_eq!(qualified(&ObjectName::new("t")), "\"public\".\"t\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
    }

    #[test]
    fn default_names_are_the_servers() {
        assert_eq!(default_name("users", &["id"], "pkey"), "users_pkey");
        assert_eq!(default_name("users", &["a", "b"], "key"), "users_a_b_key");
        assert_eq!(default_name("users", &["a", "b"], "check"), "users_check");
        assert_eq!(default_name("users", &["a"], "check"), "users_a_check");
    }

    #[test]
    fn long_names_stay_apart_and_within_the_limit() {
        let long = "x".repeat(80);
        assert!(default_name(&long, &[&long], "idx").len() <= MAX_IDENTIFIER);
        let umlauts = "ü".repeat(40);
        assert!(default_name(&umlauts, &["name"], "key").len() <= MAX_IDENTIFIER);
        let (a, b) = (format!("{long}_up"), format!("{long}_down"));
        let table = ObjectName::new("t");
        assert_ne!(sync_name(&table, &a), sync_name(&table, &b));
        assert!(sync_name(&table, &a).len() <= MAX_IDENTIFIER);
    }
}
