//! What a sync trigger does, in words of no dialect.

use schemadiff::model::ObjectName;

#[cfg(doc)]
use super::Ddl;

/// Columns kept in step by a trigger while old and new code both run (catalogue: shadow column).
#[derive(Debug, Clone)]
pub struct SyncSpec {
    /// Table.
    pub table: ObjectName,
    /// Trigger name, made by [`Ddl::sync_name`].
    pub name: String,
    /// The column that old code writes; `None` when the new column is derived from the row and nothing flows back.
    pub old: Option<String>,
    /// The new column.
    pub new: String,
    /// New from old (or from the row): an expression over bare column names.
    pub forward: String,
    /// Old from new; `None` when nothing flows back.
    pub backward: Option<String>,
    /// The old column takes no NULL, and only the trigger can see to it ([`Ddl::sync_needs_nullable_old`]).
    pub refuses_null: bool,
    /// Key columns of the table, for engines whose triggers cannot assign NEW; empty: the engine's row identifier.
    pub key: Vec<String>,
    /// All column names of the table as they are when the trigger is made: bare names in `forward` are qualified with NEW.
    pub columns: Vec<String>,
    /// The columns from which a function of the application computes the new one, without `forward`: the trigger takes the
    /// value away when one of them changes and the value does not.
    pub later: Vec<String>,
    /// The columns that no backfill of the plan writes: what other triggers make of them while rows are filled is put back.
    pub restores: Vec<String>,
    /// `forward` fails on some rows: such a row keeps NULL, and its writer knows nothing of it. Where triggers can see to that.
    pub may_fail: bool,
    /// What both sides get where a statement gives neither a value; where triggers can assign NEW.
    pub default: Option<String>,
}

impl SyncSpec {
    /// The columns that get a value from the trigger when a statement gives none, in the order in which introspection
    /// gives them back: the old one, if something flows back to it, then the new one.
    #[must_use]
    pub fn fills(&self) -> Vec<String> {
        let old = self.backward.as_ref().and(self.old.clone());
        old.into_iter().chain([self.new.clone()]).collect()
    }
}
