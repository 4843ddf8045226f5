//! From differences to a plan: ordered steps in phases, each with its statements, its effect on the schema, its undo.
//!
//! Every operation in `ops/` turns one kind of change into steps and says what they must come after; `graph` puts them
//! in order and derives the phases from what running code can bear; `assemble` renders and numbers them. The planner
//! asks an engine for its capabilities, never for its name.

mod aside;
mod assemble;
pub(crate) mod calls;
mod carried;
mod context;
mod graph;
mod ops;
mod probes;
mod proto;
mod renaming;
mod shield;
mod synced;

use std::collections::{BTreeMap, BTreeSet};

use schemadiff::{
    compat,
    model::{self, Fingerprint, ObjectName, Schema, between},
    plan::{PLAN_FORMAT, Phase, Plan, Strategy},
};

use crate::{
    Error, Kind, Result,
    dialect::{Ddl, TableSize},
    diff::{self, Change, DiffOptions, Hints},
    hazard,
};
pub(crate) use carried::in_order;
use context::Context;
pub(crate) use context::describe;
use graph::{OldCode, Placed};

/// What to plan.
pub struct PlanRequest<'a> {
    /// What is there, in the server's spelling; what is unmanaged may be in it.
    pub current: &'a Schema,
    /// What shall be there, in the server's spelling.
    pub desired: &'a Schema,
    /// Renames and backfills.
    pub hints: &'a Hints,
    /// Acknowledged drops and the managed tables.
    pub options: &'a DiffOptions,
    /// The engine's SQL.
    pub ddl: &'a dyn Ddl,
    /// Table sizes by their current names, where known.
    pub sizes: &'a BTreeMap<ObjectName, TableSize>,
    /// The plan's id, `<timestamp>_<name>`.
    pub id: &'a str,
    /// The migration before it.
    pub parent: Option<&'a str>,
    /// How old and new code live side by side, where the engine leaves the choice.
    pub strategy: &'a Strategy,
}

/// Plans the way from the current schema to the desired one. No difference gives a plan without steps.
///
/// # Errors
/// [`Kind::Refused`] when a change is ambiguous, not acknowledged, or has no safe way; [`Kind::Internal`] when the plan
/// does not lead where it should.
pub fn plan(request: &PlanRequest<'_>) -> Result<Plan> {
    let changes = diff::diff(request.current, request.desired, request.hints, request.options)?;
    let managed = managed_part(request, &changes);
    let mut base = managed.clone();
    changes.iter().filter(|c| c.is_rename()).for_each(|c| c.apply_to(&mut base));
    let mut context = Context::new(request, base);
    let changes = ops::rename_in_place(&mut context, changes)?;
    ops::plan_all(&mut context, &changes)?;
    context.push_backfills();

    let protos = std::mem::take(&mut context.protos);
    let mut state = managed.clone();
    let views = std::mem::take(&mut context.views);
    let old = OldCode { schema: &managed, views: &views, dialect: request.ddl.dialect() };
    let placed = graph::schedule(protos, &mut state, old, request.desired)?;
    arrived(&state, request.desired)?;

    let mut notes = Vec::new();
    let before_contract = state_before_contract(&managed, &placed)?;
    let gap = overlap_gap(old, &before_contract, request.desired, &placed)?;
    let mut steps = assemble::steps(&context, &placed)?;
    if let Some(reasons) = gap {
        notes.push(format!(
            "The old and the new version cannot run at the same time: the new one starts after the old one is gone ({}).",
            hazard::no_overlap::words(&reasons)
        ));
        if let Some(first) = steps.iter_mut().find(|s| s.phase == Phase::Contract) {
            first.hazards.insert(0, hazard::no_overlap::hazard(&reasons));
        }
    }
    let mut plan = Plan {
        format: PLAN_FORMAT,
        id: request.id.to_owned(),
        dialect: request.ddl.dialect(),
        parent: request.parent.map(str::to_owned),
        before: fingerprint(request, &managed),
        after: fingerprint(request, request.desired),
        strategy: context.chosen.then(|| request.strategy.clone()),
        allowed_drops: used_drops(&changes),
        notes,
        checksum: String::new(),
        steps,
    };
    plan.checksum = plan.compute_checksum();
    Ok(plan)
}

/// The current schema without what the project does not manage. It is also the schema of the previous version's code.
fn managed_part(request: &PlanRequest<'_>, changes: &[Change]) -> Schema {
    let unmanaged: BTreeSet<_> =
        diff::unmanaged(request.current, request.desired, request.options).into_iter().collect();
    let renamed: BTreeSet<_> = changes
        .iter()
        .filter_map(|change| match change {
            Change::RenameTable { from, .. } => Some(from.clone()),
            _ => None,
        })
        .collect();
    let mut managed = request.current.restricted_to(|name| !unmanaged.contains(name) || renamed.contains(name));
    let dropped =
        |name: &ObjectName| changes.iter().any(|c| matches!(c, Change::Enum { name: n, after: None, .. } if n == name));
    let renamed =
        |name: &ObjectName| changes.iter().any(|c| matches!(c, Change::RenameType { from, .. } if from == name));
    managed.enums.retain(|name, _| request.desired.enums.contains_key(name) || dropped(name) || renamed(name));
    let dropped = |name: &ObjectName| {
        changes.iter().any(|c| matches!(c, Change::Domain { name: n, after: None, .. } if n == name))
    };
    managed.domains.retain(|name, _| request.desired.domains.contains_key(name) || dropped(name) || renamed(name));
    managed
}

fn fingerprint(request: &PlanRequest<'_>, schema: &Schema) -> Fingerprint {
    if !request.options.objects_left_alone {
        return Fingerprint::of(schema);
    }
    Fingerprint::of(&Schema { objects: BTreeMap::new(), ..schema.clone() })
}

/// The acknowledgements that the plan makes use of, for the record.
fn used_drops(changes: &[Change]) -> Vec<String> {
    let name = |change: &Change| match change {
        Change::DropTable { table } => Some(table.name.to_string()),
        Change::DropColumn { table, column } => Some(diff::column_name(table, &column.name)),
        Change::Object { before: Some(object), after: None } if object.key.kind.holds_data() => Some(object.key.path()),
        _ => None,
    };
    changes.iter().filter_map(name).collect()
}

fn arrived(state: &Schema, desired: &Schema) -> Result<()> {
    if model::same(state, desired) {
        return Ok(());
    }
    Err(Error::new(Kind::Internal, "SD0901", "the plan does not lead to the desired schema")
        .cause(describe(&between(state, desired)))
        .help("please report this with both schemas (`cargo schemadiff diff --format json`)"))
}

fn state_before_contract(start: &Schema, placed: &[Placed]) -> Result<Schema> {
    let mut state = start.clone();
    for delta in placed.iter().take_while(|p| p.phase != Phase::Contract).flat_map(|p| &p.deltas) {
        delta.apply(&mut state).map_err(|e| {
            Error::new(Kind::Internal, "SD0903", "a step does not fit the state it was planned for").cause(e)
        })?;
    }
    Ok(state)
}

/// Why the new version does not run before contract, if it does not. Where it does, it must also live through contract.
fn overlap_gap(
    old: OldCode<'_>,
    before_contract: &Schema,
    desired: &Schema,
    placed: &[Placed],
) -> Result<Option<Vec<compat::Reason>>> {
    // What no step touches cannot break.
    let touched: BTreeSet<_> = placed.iter().flat_map(Placed::names).collect();
    let part = graph::restrict(old.schema, &touched);
    let broken = old.misses(&part, &graph::restrict(before_contract, &touched), &touched);
    if !broken.is_empty() {
        return Err(Error::new(Kind::Internal, "SD0904", "expand would break the running version")
            .cause(hazard::no_overlap::words(&broken))
            .help("please report this with both schemas (`cargo schemadiff diff --format json`)"));
    }
    if !placed.iter().any(|p| p.phase == Phase::Contract) {
        return Ok(None);
    }
    let contract = placed.iter().filter(|p| p.phase == Phase::Contract).flat_map(|p| &p.deltas);
    let mut reasons = compat::serves(old.dialect, before_contract, desired).err().unwrap_or_default();
    reasons.extend(compat::renewed(old.dialect, before_contract, contract, desired));
    Ok((!reasons.is_empty()).then_some(reasons))
}
