//! What PostgreSQL can do.

use crate::dialect::Capabilities;

/// The facts the planner branches on; they are the same for every supported version.
pub(super) const fn capabilities() -> Capabilities {
    Capabilities {
        alter_constraints: true,
        not_valid: true,
        alter_column: true,
        concurrent_indexes: true,
        constraint_using_index: true,
        updatable_views: true,
        native_enums: true,
        comments: true,
        fast_default: true,
        cheap_drop_column: true,
        named_constraints: true,
    }
}
