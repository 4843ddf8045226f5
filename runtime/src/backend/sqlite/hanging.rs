//! The user's triggers over a rebuild.
//!
//! With the old table its triggers go, and no plan can know them all: whoever made one need not have told anybody. So they
//! are read inside the transaction and made again as they were, word for word.

/// All triggers but ours, as a JSON array of `[name, table, definition]`.
pub const TRIGGERS: &str = "SELECT json_group_array(json_array(name, tbl_name, sql)) FROM sqlite_schema \
    WHERE type = 'trigger' AND sql IS NOT NULL AND substr(name, 1, 12) <> '_schemadiff_'";

/// Whether the trigger `$1` is gone while its table `$2` is there: '1' or '0'.
pub const IS_GONE: &str = "SELECT CAST(NOT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'trigger' AND name = $1) \
    AND EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND lower(name) = lower($2)) AS TEXT)";

/// The name, the table and the definition of a trigger.
pub type Hanging = [String; 3];

/// What the answer to [`TRIGGERS`] says.
#[must_use]
pub fn read(answer: Option<&str>) -> Vec<Hanging> {
    answer.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}
