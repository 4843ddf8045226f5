//! Old code reaches the table through a view.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H017";

/// Old code reaches the table through a view.
pub fn hazard(view: &ObjectName, table: &ObjectName) -> Hazard {
    let effect = format!(
        "until contract old code uses `{table}` through the view `{view}`: COPY, TRUNCATE, ON CONFLICT ON CONSTRAINT, \
         WHERE CURRENT OF, ctid, xmin and tableoid do not work, and MERGE does not before PostgreSQL 17"
    );
    super::hazard(CODE, effect, "check the old version's queries for them")
}
