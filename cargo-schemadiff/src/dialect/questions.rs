//! Questions to rows and catalogue that a migration asks before it begins, where an engine has what they are about.

use std::collections::BTreeSet;

use schemadiff::model::{ObjectName, PartitionBy};

/// The part of [`super::Ddl`] that asks.
pub trait Questions {
    /// Whether a value that becomes another type may lose a part of itself: what neither is refused nor comes back.
    fn loses_part(&self, _from: &str, _to: &str) -> bool {
        false
    }

    /// Whether two values that differ certainly do so as values of the other type, too.
    fn keeps_apart(&self, from: &str, to: &str) -> bool;

    /// Whether it is a type of texts, or of arrays of such.
    fn is_text(&self, _ty: &str) -> bool {
        false
    }

    /// Those of the columns (names and types) of which one is NULL exactly where the expression is; none where that cannot be told.
    fn null_with(&self, _expr: &str, _columns: &[(&str, &str)]) -> Option<BTreeSet<String>> {
        None
    }

    /// What stands before a question with that condition, in the same message.
    fn prepares_conversion(&self, _condition: &str, _from: &str, _to: &str) -> Option<String> {
        None
    }

    /// The partition that a row of a partitioned table is in, as an expression that is a text.
    fn partition_of_row(&self) -> Option<&'static str> {
        None
    }

    /// A condition on rows that a bound does not let in; `others` are the bounds of the partitions that are there. None where no
    /// condition says it.
    fn partition_misfit(
        &self,
        _parent: &ObjectName,
        _by: &PartitionBy,
        _bound: &str,
        _others: &[&str],
    ) -> Option<String> {
        None
    }

    /// A query for the columns of tables that have values of a domain within composite values, arrays or ranges, where the engine
    /// has such.
    fn columns_within(&self, _domain: &ObjectName) -> Option<String> {
        None
    }

    /// A query for the names of composite types with an attribute of a type, where the engine has such.
    fn composites_of(&self, _ty: &ObjectName) -> Option<String> {
        None
    }

    /// A query for the names of triggers that change a table's rows after those that keep its columns in step, where they fire in
    /// the order of their names.
    fn later_triggers(&self, _table: &ObjectName) -> Option<String> {
        None
    }

    /// A query for the name of the table where it has row level security that a view of it would go past.
    fn goes_past_policies(&self, _table: &ObjectName) -> Option<String> {
        None
    }

    /// A query for the names of publications that name a column, where the engine has such.
    fn publications_over(&self, _table: &ObjectName, _column: &str) -> Option<String> {
        None
    }

    /// A query for the index of the table over that column, or of that name, by which others are told which row has changed.
    fn replica_identity(&self, table: &ObjectName, column: Option<&str>, index: Option<&str>) -> Option<String> {
        let _ = (table, column, index);
        None
    }
}
