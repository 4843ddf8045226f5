//! A step that the application carries out, not the tool.

use schemadiff::plan::Hazard;

/// The rule's code.
pub const CODE: &str = "H022";

/// A step that the application carries out, not the tool.
pub fn hazard(function: &str) -> Hazard {
    let effect = format!(
        "the values come from `{function}` of the application: `cargo schemadiff apply` stops here until a program that \
         registers it has filled the rows"
    );
    super::hazard(CODE, effect, "deploy the new version, or run a job that registers the function")
}
