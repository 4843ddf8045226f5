//! A schema's identity.

use std::{fmt, io};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Schema, Shared, Table};

/// SHA-256 over the canonical form of a schema: ordered JSON without what is opaque, with columns by name.
///
/// Two schemas have one fingerprint exactly when a diff between them is empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of a schema.
    pub fn of(schema: &Schema) -> Self {
        let mut canonical = schema.clone();
        canonical.opaque.clear();
        for object in canonical.objects.values_mut() {
            *object = object.essence().into();
        }
        for table in canonical.tables.values_mut() {
            if !table.columns.is_sorted_by(|a, b| a.name <= b.name) {
                table.sort_columns();
            }
        }
        let mut hasher = Hasher(Sha256::new());
        // The model holds only strings, booleans and ordered maps with string keys: serialization cannot fail.
        let _ = serde_json::to_writer(&mut hasher, &canonical);
        Self(hex(&hasher.0.finalize()))
    }

    /// The text form: 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

/// Whether two schemas have one fingerprint, without the cost of making it twice.
pub fn same(a: &Schema, b: &Schema) -> bool {
    // Taken apart, so that a new part of a schema does not compile before it is compared here.
    let Schema { tables, enums, domains, objects, compat_views, opaque: _ } = a;
    let same_table = |(a, b): (&Shared<Table>, &Shared<Table>)| a == b || a.by_column_name() == b.by_column_name();
    tables.keys().eq(b.tables.keys())
        && tables.values().zip(b.tables.values()).all(same_table)
        && *enums == b.enums
        && *domains == b.domains
        && *objects == b.objects
        && *compat_views == b.compat_views
}

/// Hashes what is written, so that the text of a big schema is never there as a whole.
struct Hasher(Sha256);

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", self.short())
    }
}
