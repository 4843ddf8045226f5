//! What the compiler copies into the link section: types and texts as they stand there.

use super::{SEPARATOR, TypeDesc};

/// What fills a hole of a record, or a part of one, as it is copied into the record.
#[derive(Debug, Clone, Copy)]
pub struct Filling {
    text: &'static str,
    /// What follows it: the declaration of an enumeration, which has no bound to its length.
    more: &'static str,
}

impl Filling {
    /// Text, in a hole of kind `s` or as a field of one of kind `r`.
    #[must_use]
    pub const fn text(text: &'static str) -> Self {
        Self { text, more: "" }
    }

    /// A type that the user spelled out, in a hole of kind `t`: its spellings with a separator after each.
    #[must_use]
    pub const fn named(spellings: &'static str, nullable: bool) -> Self {
        Self { text: spellings, more: if nullable { "n" } else { "" } }
    }

    /// The type of a column, in a hole of kind `t`.
    pub(crate) const fn encoded(ty: &'static TypeDesc, encoded: &'static EncodedType) -> Self {
        let more = match ty.enumeration {
            Some(declaration) => declaration,
            None => "",
        };
        Self { text: encoded.as_str(), more }
    }

    /// Its two texts, one after the other.
    pub(crate) const fn parts(&self) -> (&'static str, &'static str) {
        (self.text, self.more)
    }
}

/// Longest encoded type, in bytes. A name has at most 63 on PostgreSQL and 64 on MySQL, so that three of them, with a
/// schema and what is in parentheses, are far below.
const MAX_TYPE: usize = 512;

/// A type as a record has it, without its enumeration. The compiler makes it once for a type, however many columns have it.
pub struct EncodedType {
    bytes: [u8; MAX_TYPE],
    len: usize,
}

impl EncodedType {
    /// Encodes a type.
    ///
    /// # Panics
    /// When it is spelled too long. It is a compile error at the type.
    #[must_use]
    #[allow(clippy::panic, reason = "evaluated by the compiler, where a panic is a compile error")]
    pub(crate) const fn of(ty: &TypeDesc) -> Self {
        let flags = match (ty.nullable, ty.array) {
            (false, false) => "",
            (true, false) => "n",
            (false, true) => "a",
            (true, true) => "na",
        };
        let end = if ty.enumeration.is_some() { SEPARATOR } else { "" };
        let parts = [ty.postgres, SEPARATOR, ty.mysql, SEPARATOR, ty.sqlite, SEPARATOR, flags, end];
        let mut encoded = Self { bytes: [0; MAX_TYPE], len: 0 };
        let mut at = 0;
        while at < parts.len() {
            if encoded.len + parts[at].len() > MAX_TYPE {
                panic!("the SQL type is spelled too long");
            }
            encoded.len = copy(&mut encoded.bytes, encoded.len, parts[at].as_bytes());
            at += 1;
        }
        encoded
    }

    const fn as_str(&self) -> &str {
        let (text, _) = self.bytes.split_at(self.len);
        // SAFETY: whole strings, one after the other.
        unsafe { std::str::from_utf8_unchecked(text) }
    }
}

/// Copies bytes to a place in others, and says where the next ones go.
pub(crate) const fn copy(out: &mut [u8], at: usize, bytes: &[u8]) -> usize {
    let (_, rest) = out.split_at_mut(at);
    let (target, _) = rest.split_at_mut(bytes.len());
    target.copy_from_slice(bytes);
    at + bytes.len()
}
