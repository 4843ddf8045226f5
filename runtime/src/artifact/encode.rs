//! The write side of the link section: everything here runs inside the compiler.
//!
//! Speed matters, because the compiler interprets it for every derived struct: text is copied as slices and never looked
//! at; escaping is left to the reader.

use std::marker::PhantomData;

use super::section::{FILLING, HEADER, header};
use crate::types::{Filling, TypeDesc, copy};

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

impl Reference {
    /// Its database schema, empty where there is none.
    #[must_use]
    pub const fn schema_text(&self) -> &'static str {
        match self.schema {
            Some(schema) => schema,
            None => "",
        }
    }
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

/// Length of the whole record.
#[must_use]
pub const fn record_len(text: &str, fillings: &[Filling]) -> usize {
    let mut len = HEADER + text.len() + fillings.len();
    let mut at = 0;
    while at < fillings.len() {
        let (text, more) = fillings[at].parts();
        len += text.len() + more.len();
        at += 1;
    }
    len
}

/// The record: header, text, and what fills the holes of the text, a byte that says so before each. `N` is [`record_len`].
#[must_use]
pub const fn record<const N: usize>(text: &str, fillings: &[Filling]) -> [u8; N] {
    let mut out = [0; N];
    copy(&mut out, 0, &header(N - HEADER));
    let mut len = put(&mut out, HEADER, text);
    let mut at = 0;
    while at < fillings.len() {
        let (text, more) = fillings[at].parts();
        out[len] = FILLING;
        len = put(&mut out, len + 1, text);
        if !more.is_empty() {
            len = put(&mut out, len, more);
        }
        at += 1;
    }
    out
}

/// One raw copy: the checked ways of `core` cost the compiler's interpreter ten times as much.
const fn put<const N: usize>(out: &mut [u8; N], at: usize, text: &str) -> usize {
    // SAFETY: `N` was counted over the same texts, and the interpreter verifies the copy.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), out.as_mut_ptr().add(at), text.len()) };
    at + text.len()
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

/// Refuses `set_default` on a column that has no default and takes no NULL.
///
/// # Panics
/// When it takes none. It is a compile error at the column.
#[track_caller]
pub const fn check_default(column: &Reference) {
    if !column.ty.nullable {
        fail(&[
            "column `",
            column.table,
            ".",
            column.column,
            "` is NOT NULL and has no default, so `set_default` would fail: give it a `default`, or take another action",
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
