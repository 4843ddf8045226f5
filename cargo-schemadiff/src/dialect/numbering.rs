//! Columns that the engine numbers, and the sequences behind them, where it has such.

use schemadiff::model::{Column, ObjectName};

/// The part of [`super::Ddl`] that numbers.
pub trait Numbering {
    /// Changes a column to, from or between identity forms and serial. From one to another, the sequence's position stays; one that is
    /// made here begins at its start.
    fn alter_identity(&self, _table: &ObjectName, _before: &Column, _after: &Column) -> Vec<String> {
        Vec::new()
    }

    /// Lets a column that is there take its numbers from a new sequence, which belongs to the table's owner and which whoever may insert
    /// into the table may use: a default is worked out with the rights of whoever inserts.
    fn begin_numbers(&self, _table: &ObjectName, _column: &Column) -> Vec<String> {
        Vec::new()
    }

    /// The sequence that a numbered column owns; none where the engine has no such.
    fn owned_sequence(&self, _table: &ObjectName, _column: &Column) -> Option<ObjectName> {
        None
    }

    /// The next number of a serial column, as an expression.
    fn next_number(&self, _table: &ObjectName, _column: &Column) -> Option<String> {
        None
    }

    /// Lets the sequence of a column whose type has changed count in that.
    fn follow_type(&self, _table: &ObjectName, _column: &Column) -> Vec<String> {
        Vec::new()
    }

    /// Makes the sequence that is there the column's, as `column` says.
    fn adopt_sequence(&self, _table: &ObjectName, _column: &Column) -> Vec<String> {
        Vec::new()
    }

    /// Statements that let a stand-in take over how a column is numbered, with the position: those before the column goes, and those
    /// once the stand-in, `shadow` until then, has its name.
    fn hand_over_numbers(&self, _table: &ObjectName, _column: &Column, _shadow: &str) -> (Vec<String>, Vec<String>) {
        (Vec::new(), Vec::new())
    }

    /// Moves a sequence forward, so that its next number is behind all those in the column. One that is there already stays.
    fn go_on_behind(&self, _sequence: &ObjectName, _table: &ObjectName, _column: &Column) -> Vec<String> {
        Vec::new()
    }
}
