//! A function changes by which indexes, checks or computed columns have judged the rows that are there.

use schemadiff::plan::Hazard;

/// The rule's code.
pub const CODE: &str = "H035";

/// A function changes by which indexes, checks or computed columns have judged the rows that are there.
pub fn hazard(function: &str, users: &[String]) -> Hazard {
    let effect = format!(
        "{function} changes, and the server computes nothing anew: {} would still hold what it gave before for the rows that are there, \
         and queries may miss rows",
        users.join(", ")
    );
    super::hazard(
        CODE,
        effect,
        "where the function gives another value for some row, give it another name and make what calls it anew; or REINDEX, and write the rows again",
    )
}
