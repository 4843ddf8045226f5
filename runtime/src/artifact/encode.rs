//! The write side of the link section: everything here runs inside the compiler.
//!
//! Speed matters, because the compiler interprets it for every derived struct: literal text is copied as slices, and
//! only text that is not known to be plain is looked at byte by byte.

use std::marker::PhantomData;

use super::section::{HEADER, header};
use crate::types::TypeDesc;

/// A derived struct, as other derives see it.
///
/// `Columns` has one [`Reference`] constant a field, so that `references = Org::id` is looked up by the compiler and
/// nothing is added to the user's type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a table",
    label = "a foreign key needs a struct that derives `schemadiff::Table`",
    note = "derive it for `{Self}`, or write the path of one that has it: `references = Struct::field`"
)]
pub trait DerivedTable {
    /// Carries the constants.
    type Columns;
}

/// A column that a foreign key may name.
#[derive(Debug, Clone, Copy)]
pub struct Reference {
    /// Database schema.
    pub schema: Option<&'static str>,
    /// Table.
    pub table: &'static str,
    /// Column.
    pub column: &'static str,
    /// Type.
    pub ty: TypeDesc,
}

/// A piece of a record.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// JSON as it stands.
    Json(&'static str),
    /// Text to be escaped inside a JSON string.
    Text(&'static str),
    /// The object of a column's type, and its `nullable`.
    Type(TypeDesc),
    /// The object of a referenced column.
    Reference(Reference),
}

/// Whether a type is an `Option`, for types that need not be column types: `Probe::<T>::NULLABLE`.
pub struct Probe<T>(PhantomData<T>);

impl<T> Probe<Option<T>> {
    /// The inherent constant wins over the trait's.
    pub const NULLABLE: bool = true;
}

/// The answer for every other type.
pub trait NotNull {
    /// See [`Probe`].
    const NULLABLE: bool = false;
}

impl<T> NotNull for Probe<T> {}

#[derive(Clone, Copy)]
struct Piece {
    text: &'static str,
    escape: bool,
}

const fn json(text: &'static str) -> Piece {
    Piece { text, escape: false }
}

const fn text(text: &'static str) -> Piece {
    Piece { text, escape: true }
}

const PIECES: usize = 11;

const fn pieces(part: &Part) -> [Piece; PIECES] {
    let mut out = [json(""); PIECES];
    match part {
        Part::Json(literal) => out[0] = json(literal),
        Part::Text(raw) => out[0] = text(raw),
        Part::Type(ty) => {
            let escape = !ty.plain;
            out[0] = json("{\"postgres\":\"");
            out[1] = Piece { text: ty.postgres, escape };
            out[2] = json(if ty.array && !ty.postgres.is_empty() { "[]" } else { "" });
            out[3] = json("\",\"mysql\":\"");
            out[4] = Piece { text: ty.mysql, escape };
            out[5] = json("\",\"sqlite\":\"");
            out[6] = Piece { text: ty.sqlite, escape };
            out[7] = json("\"");
            if let Some(declaration) = ty.enumeration {
                out[8] = json(",\"enumeration\":");
                out[9] = json(declaration);
            }
            out[10] = json(if ty.nullable { "},\"nullable\":true" } else { "},\"nullable\":false" });
        }
        Part::Reference(to) => {
            out[0] = json("{");
            if let Some(schema) = to.schema {
                out[1] = json("\"schema\":\"");
                out[2] = text(schema);
                out[3] = json("\",");
            }
            out[4] = json("\"table\":\"");
            out[5] = text(to.table);
            out[6] = json("\",\"column\":\"");
            out[7] = text(to.column);
            out[8] = json("\"}");
        }
    }
    out
}

/// Length of a byte inside a JSON string.
const fn escaped_len(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    }
}

const fn piece_len(piece: Piece) -> usize {
    if !piece.escape {
        return piece.text.len();
    }
    let bytes = piece.text.as_bytes();
    let (mut len, mut at) = (0, 0);
    while at < bytes.len() {
        len += escaped_len(bytes[at]);
        at += 1;
    }
    len
}

/// Length of the whole record.
#[must_use]
pub const fn record_len(parts: &[Part]) -> usize {
    let (mut len, mut at) = (HEADER, 0);
    while at < parts.len() {
        let pieces = pieces(&parts[at]);
        let mut piece = 0;
        while piece < PIECES {
            len += piece_len(pieces[piece]);
            piece += 1;
        }
        at += 1;
    }
    len
}

/// The record: header and JSON. `N` is [`record_len`].
#[must_use]
pub const fn record<const N: usize>(parts: &[Part]) -> [u8; N] {
    let mut out = [0; N];
    let mut filled = copy(&mut out, 0, &header(N - HEADER));
    let mut at = 0;
    while at < parts.len() {
        let pieces = pieces(&parts[at]);
        let mut piece = 0;
        while piece < PIECES {
            filled = write(&mut out, filled, pieces[piece]);
            piece += 1;
        }
        at += 1;
    }
    out
}

const fn copy(out: &mut [u8], at: usize, bytes: &[u8]) -> usize {
    if !bytes.is_empty() {
        let (_, rest) = out.split_at_mut(at);
        let (target, _) = rest.split_at_mut(bytes.len());
        target.copy_from_slice(bytes);
    }
    at + bytes.len()
}

const fn write(out: &mut [u8], mut at: usize, piece: Piece) -> usize {
    let bytes = piece.text.as_bytes();
    if !piece.escape {
        return copy(out, at, bytes);
    }
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut from = 0;
    while from < bytes.len() {
        let byte = bytes[from];
        at = match escaped_len(byte) {
            1 => copy(out, at, &[byte]),
            2 => copy(out, at, &[b'\\', byte]),
            _ => copy(out, at, &[b'\\', b'u', b'0', b'0', HEX[(byte >> 4) as usize], HEX[(byte & 15) as usize]]),
        };
        from += 1;
    }
    at
}

/// Compares a foreign key's two columns while the code is compiled.
///
/// # Panics
/// When their types differ on some engine. It is a compile error at the reference.
#[track_caller]
pub const fn check_reference(column: &Reference, to: &Reference) {
    if column.ty.named || to.ty.named {
        return;
    }
    let same = same(column.ty.postgres, to.ty.postgres)
        && same(column.ty.mysql, to.ty.mysql)
        && same(column.ty.sqlite, to.ty.sqlite)
        && column.ty.array == to.ty.array;
    if !same {
        fail(&[
            "column `",
            column.table,
            ".",
            column.column,
            "` is ",
            spelled(&column.ty),
            ", but it references `",
            to.table,
            ".",
            to.column,
            "`, which is ",
            spelled(&to.ty),
            ": give both fields one type",
        ]);
    }
}

/// Refuses a primary key that is an `Option`.
///
/// # Panics
/// When it is one. It is a compile error at the key.
#[track_caller]
pub const fn check_not_null(column: &Reference) {
    if column.ty.nullable {
        fail(&[
            "column `",
            column.table,
            ".",
            column.column,
            "` is in the primary key and cannot be NULL: take the `Option` away",
        ]);
    }
}

/// Refuses `set_null` on a column that takes no NULL.
///
/// # Panics
/// When it takes none. It is a compile error at the column.
#[track_caller]
pub const fn check_nullable(column: &Reference) {
    if !column.ty.nullable {
        fail(&[
            "column `",
            column.table,
            ".",
            column.column,
            "` is NOT NULL, so `set_null` would fail: make the field an `Option`, or take another action",
        ]);
    }
}

/// A compile error made of words.
#[track_caller]
#[allow(clippy::panic, reason = "evaluated by the compiler, where a panic is a compile error")]
const fn fail(words: &[&str]) -> ! {
    let mut message = [0; 512];
    let (mut at, mut word) = (0, 0);
    while word < words.len() {
        if at + words[word].len() <= message.len() {
            at = copy(&mut message, at, words[word].as_bytes());
        }
        word += 1;
    }
    let (text, _) = message.split_at(at);
    match std::str::from_utf8(text) {
        Ok(text) => panic!("{}", text),
        Err(_) => panic!("the derived table contradicts itself"),
    }
}

const fn spelled(ty: &TypeDesc) -> &'static str {
    if ty.postgres.is_empty() { ty.sqlite } else { ty.postgres }
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}
