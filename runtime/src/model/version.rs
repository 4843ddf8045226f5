//! The name of a version of the code: `<newest migration>+<fingerprint>`.
//!
//! The migrations that a build embeds do not say what its structs declare: those may change without a migration, and go
//! back to what they were. Two builds that declare different schemas need different things of the database, so they are
//! two versions, with a lease, a lock and a retirement of their own.

use super::Fingerprint;

/// How many digits of the fingerprint stand in the name.
const DIGITS: usize = 12;

/// The name of the version whose newest migration this is, and whose structs declare a schema of this fingerprint.
pub fn version_name(migration: &str, declared: &Fingerprint) -> String {
    format!("{migration}+{}", declared.short())
}

/// The newest migration of the version of this name.
pub fn migration_of(version: &str) -> &str {
    match version.rsplit_once('+') {
        Some((migration, digits)) if digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
            migration
        }
        _ => version,
    }
}

#[cfg(test)]
mod tests {
    use super::{migration_of, version_name};
    use crate::model::{Fingerprint, Schema};

    #[test]
    fn a_name_says_its_migration() {
        let fingerprint = Fingerprint::of(&Schema::default());
        for migration in ["20260101000000_users", "a+b", "initial", ""] {
            let name = version_name(migration, &fingerprint);
            assert_eq!(migration_of(&name), migration, "{name}");
            assert_eq!(migration_of(migration), migration);
        }
    }
}
