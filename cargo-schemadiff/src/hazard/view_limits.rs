//! Old code reaches the table through a view.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H017";

/// Old code reaches the table through a view.
pub fn hazard(view: &ObjectName, table: &ObjectName) -> Hazard {
    let effect = format!(
        "until contract old code uses `{table}` through the view `{view}`: COPY, TRUNCATE and ON CONFLICT ON CONSTRAINT do not work"
    );
    super::hazard(CODE, effect, "check the old version's queries for them")
}
