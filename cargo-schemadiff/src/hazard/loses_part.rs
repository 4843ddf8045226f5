//! A type holds less of a value than the one before: fractions, times of day, what follows a length.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H034";

/// A type holds less of a value than the one before.
pub fn hazard(table: &ObjectName, column: &str, before: &str, after: &str) -> Hazard {
    let effect = format!(
        "values of `{table}.{column}` lose what {after} does not hold of {before} (they are rounded or cut), and once contract is over for good"
    );
    super::hazard(
        CODE,
        effect,
        "look for rows whose value changes, and keep the old column under another name if they matter",
    )
}
