//! The write side of the link section: everything here runs inside the compiler.
//!
//! Speed matters, because the compiler interprets it for every derived struct: text is copied as slices and never looked
//! at; escaping is left to the reader.

use std::marker::PhantomData;

use super::section::{HEADER, header};
use crate::types::{SEPARATOR, TypeDesc};

/// A derived struct, as other derives see it.
///
/// `Columns` has one [`Reference`] a field, so that `references = Org::id` is looked up by the compiler and nothing is
/// added to the user's type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a table",
    label = "a foreign key needs a struct that derives `schemadiff::Table`",
    note = "derive it for `{Self}`, or write the path of one that has it: `references = Struct::field`"
)]
pub trait DerivedTable {
    /// One [`Reference`] a field.
    type Columns;
    /// The columns.
    const COLUMNS: Self::Columns;
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

/// What stands in a hole of a record.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// Text, in a hole of kind `s`.
    Text(&'static str),
    /// A column's type, in a hole of kind `t`.
    Type(TypeDesc),
    /// A referenced column, in a hole of kind `r`.
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

/// Where the next slice of a record goes; without a target it only counts.
struct Writer {
    target: Option<*mut u8>,
    len: usize,
}

impl Writer {
    /// One raw copy: the checked ways of `core` cost the compiler's interpreter ten times as much.
    const fn put(&mut self, text: &str) {
        if let Some(target) = self.target {
            // SAFETY: the target has the length that the same calls counted before; the interpreter verifies it.
            unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), target.add(self.len), text.len()) };
        }
        self.len += text.len();
    }

    const fn ty(&mut self, ty: &TypeDesc) {
        if ty.joined.is_empty() {
            self.put(ty.postgres);
            self.put(SEPARATOR);
            self.put(ty.mysql);
            self.put(SEPARATOR);
            self.put(ty.sqlite);
        } else {
            self.put(ty.joined);
        }
        self.put(match (ty.nullable, ty.array) {
            (false, false) => "\u{3}",
            (true, false) => "\u{3}n",
            (false, true) => "\u{3}a",
            (true, true) => "\u{3}na",
        });
        if let Some(declaration) = ty.enumeration {
            self.put(SEPARATOR);
            self.put(declaration);
        }
    }

    const fn reference(&mut self, to: &Reference) {
        if let Some(schema) = to.schema {
            self.put(schema);
        }
        self.put(SEPARATOR);
        self.put(to.table);
        self.put(SEPARATOR);
        self.put(to.column);
    }

    const fn hole(&mut self, part: &Part) {
        match part {
            Part::Text(text) => self.put(text),
            Part::Type(ty) => self.ty(ty),
            Part::Reference(to) => self.reference(to),
        }
    }
}

/// Length of the whole record; the derive counts the literal text.
#[must_use]
pub const fn record_len(literal: usize, holes: &[Part]) -> usize {
    let mut writer = Writer { target: None, len: HEADER + literal };
    let mut at = 0;
    while at < holes.len() {
        writer.hole(&holes[at]);
        at += 1;
    }
    writer.len
}

/// The record: header and text. `N` is [`record_len`]; there is one more text than there are holes.
#[must_use]
pub const fn record<const N: usize>(texts: &[&str], holes: &[Part]) -> [u8; N] {
    let mut out = [0; N];
    copy(&mut out, 0, &header(N - HEADER));
    let mut writer = Writer { target: Some(out.as_mut_ptr()), len: HEADER };
    let mut at = 0;
    while at < texts.len() {
        writer.put(texts[at]);
        if at < holes.len() {
            writer.hole(&holes[at]);
        }
        at += 1;
    }
    out
}

const fn copy(out: &mut [u8], at: usize, bytes: &[u8]) -> usize {
    let (_, rest) = out.split_at_mut(at);
    let (target, _) = rest.split_at_mut(bytes.len());
    target.copy_from_slice(bytes);
    at + bytes.len()
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
pub const fn check_not_null(ty: &TypeDesc, table: &str, column: &str) {
    if ty.nullable {
        fail(&["column `", table, ".", column, "` is in the primary key and cannot be NULL: take the `Option` away"]);
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
