//! A unique key that new code no longer has refuses rows until contract.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H024";

/// A unique key that new code no longer has refuses rows until contract.
pub fn hazard(table: &ObjectName, name: &str) -> Hazard {
    let effect = format!(
        "`{name}` on `{table}` stays until contract, because old code may name it in ON CONFLICT: rows of new code that it \
         forbids are refused until then"
    );
    super::hazard(CODE, effect, "do not write such rows before contract")
}
