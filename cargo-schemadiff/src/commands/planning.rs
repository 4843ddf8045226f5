//! From a comparison to a plan.

use schemadiff::plan::{Plan, Strategy};

use super::compare::Comparison;
use crate::{
    Result,
    dialect::ddl,
    planner::{self, PlanRequest},
};

/// The plan that leads from the current to the desired schema.
///
/// # Errors
/// What the planner refuses.
pub fn plan(comparison: &Comparison, id: &str, parent: Option<&str>, strategy: &Strategy) -> Result<Plan> {
    let ddl = ddl(comparison.dialect, comparison.version)?;
    planner::plan(&PlanRequest {
        current: &comparison.current,
        desired: &comparison.desired,
        hints: &comparison.hints,
        options: &comparison.options,
        ddl: ddl.as_ref(),
        sizes: &comparison.sizes,
        id,
        parent,
        strategy,
    })
}
