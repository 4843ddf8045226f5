//! What PostgreSQL can do.

use crate::dialect::Capabilities;

/// The facts the planner branches on, for a server version, `150018` style.
pub(super) const fn capabilities(version: u32) -> Capabilities {
    Capabilities {
        alter_constraints: true,
        not_valid: true,
        alter_column: true,
        concurrent_indexes: true,
        constraint_using_index: true,
        updatable_views: true,
        // `security_invoker`.
        views_follow_policies: version >= 150_000,
        native_enums: true,
        comments: true,
        fast_default: true,
        cheap_drop_column: true,
        partitioned_not_valid: version >= 180_000,
        not_null_not_valid: version >= 180_000,
        partitioned_identity: version >= 170_000,
        quiet_triggers: true,
        // `cached plan must not change result type`.
        cached_star: "fail once per connection",
        named_constraints: true,
    }
}
