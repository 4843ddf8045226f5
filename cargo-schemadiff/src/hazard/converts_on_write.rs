//! While a column has its old type and its new one, what is written to the old one must fit the new one.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H033";

/// While a column has its old type and its new one, what is written to the old one must fit the new one.
pub fn hazard(table: &ObjectName, column: &str, ty: &str) -> Hazard {
    let effect = format!(
        "from this step on a write of the running version fails whose value for `{table}.{column}` cannot become {ty}"
    );
    super::hazard(
        CODE,
        effect,
        "make sure that it writes no such values before this is applied, or give a conversion that takes them too",
    )
}
