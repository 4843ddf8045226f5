//! A row of the catalogue, every value as text.

use schemadiff::model::ObjectName;
use sqlx::postgres::PgRow;

use crate::dialect::postgres::connect::text;

/// Object identifiers of the catalogue.
pub(super) type Oid = u32;

/// A row.
#[derive(Clone, Copy)]
pub(super) struct Row<'r>(pub &'r PgRow);

impl<'r> Row<'r> {
    /// A value that may be NULL.
    pub fn opt(self, index: usize) -> Option<&'r str> {
        text(self.0, index)
    }

    /// A value; empty for NULL.
    pub fn get(self, index: usize) -> &'r str {
        self.opt(index).unwrap_or_default()
    }

    /// A value of one's own.
    pub fn owned(self, index: usize) -> Option<String> {
        self.opt(index).map(str::to_owned)
    }

    /// A number; zero for NULL.
    pub fn number<T: std::str::FromStr + Default>(self, index: usize) -> T {
        self.get(index).parse().unwrap_or_default()
    }

    /// A boolean.
    pub fn flag(self, index: usize) -> bool {
        self.get(index) == "t"
    }

    /// A `"char"`.
    pub fn letter(self, index: usize) -> char {
        self.get(index).chars().next().unwrap_or(' ')
    }

    /// Numbers of an array or a vector.
    pub fn numbers<T: std::str::FromStr>(self, index: usize) -> Vec<T> {
        self.get(index).split(['{', '}', ',', ' ']).filter_map(|n| n.parse().ok()).collect()
    }

    /// Schema and name that follow each other.
    pub fn name(self, index: usize) -> ObjectName {
        object_name(self.get(index), self.get(index + 1))
    }

    /// `key=value` lines.
    pub fn options(self, index: usize) -> std::collections::BTreeMap<String, String> {
        let pairs = self.get(index).lines().filter_map(|line| line.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

/// A name; the default schema is never written.
pub(super) fn object_name(schema: &str, name: &str) -> ObjectName {
    // The only temporary schema that is ever read is the one that stands for the default schema.
    let default = schema == "public" || schema.starts_with("pg_temp");
    ObjectName::in_schema((!default).then_some(schema), name)
}
