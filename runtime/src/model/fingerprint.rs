//! A schema's identity.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Schema;

/// SHA-256 over the canonical form of a schema: ordered JSON without opaque objects, with columns by name.
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
        for table in canonical.tables.values_mut() {
            // Order of columns cannot be changed on a server and is no difference.
            table.columns.sort_by(|a, b| a.name.cmp(&b.name));
        }
        // The model holds only strings, booleans and ordered maps with string keys: serialization cannot fail.
        let bytes = serde_json::to_vec(&canonical).unwrap_or_default();
        Self(format!("{:x}", HexDigest(Sha256::digest(&bytes).as_slice())))
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

struct HexDigest<'a>(&'a [u8]);

impl fmt::LowerHex for HexDigest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
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
