//! The order of the steps and their phases.
//!
//! Steps are taken one by one from those whose predecessors are all placed, the smallest rank and name first. A step that
//! breaks code of the previous version, by [`schemadiff::compat::breaks`] on the simulated states, waits for contract, and
//! what must come after it waits with it. Phases never decrease:
//!
//! 1. expand: everything that neither breaks the previous version nor waits for a backfill;
//! 2. backfill: the backfills, then what follows them and still breaks nothing (validating, SET NOT NULL, indexes on
//!    filled columns);
//! 3. contract: the rest.

use std::collections::{BTreeMap, BTreeSet};

use schemadiff::{
    compat::{self, Reason},
    model::{Delta, Dialect, Object, ObjectKey, ObjectName, Schema, Shared, Use, apply_all, between},
    plan::Phase,
};

use super::{
    calls::Moving,
    carried,
    proto::{Proto, Work},
};
use crate::{Error, Kind, Result, diff::goes_with};

/// Steps that became one: only rebuilds of one table, and changes of its columns' types, are ever more than one.
pub(super) struct Placed {
    pub phase: Phase,
    pub protos: Vec<Proto>,
    /// The touched tables before and after.
    pub before: Schema,
    pub after: Schema,
    pub deltas: Vec<Delta>,
    /// Objects that are put away before the step's statements, in the order of their making.
    pub carried: Vec<Shared<Object>>,
    /// What is made of them after the statements.
    pub again: Vec<Shared<Object>>,
    /// And those around the statements that take it back.
    pub carried_back: Vec<Shared<Object>>,
}

impl Placed {
    /// The tables and compatibility views that it touches.
    pub fn names(&self) -> BTreeSet<ObjectName> {
        names([&self.before, &self.after])
    }
}

/// Orders the steps, and leads `state` from the first state to the last.
pub(super) fn schedule(
    protos: Vec<Proto>,
    state: &mut Schema,
    old: OldCode<'_>,
    desired: &Schema,
) -> Result<Vec<Placed>> {
    let mut graph = Graph::new(protos, old, Moving::new(state, desired), desired);
    let mut placed = Vec::new();
    for phase in [Phase::Expand, Phase::Backfill, Phase::Contract] {
        while let Some(step) = graph.next(phase, state)? {
            placed.push(step);
        }
    }
    match graph.waiting.is_empty() {
        true => Ok(placed),
        false => {
            let slugs: Vec<_> =
                graph.waiting.values().filter_map(|at| graph.protos[*at].as_ref()).map(|p| p.slug.clone()).collect();
            Err(Error::new(Kind::Internal, "SD0902", "the steps of the plan wait for each other")
                .cause(slugs.join(", "))
                .help("please report this with both schemas (`cargo schemadiff diff --format json`)"))
        }
    }
}

/// The version that is being replaced.
#[derive(Clone, Copy)]
pub(super) struct OldCode<'c> {
    /// What it declares.
    pub schema: &'c Schema,
    /// The database schemas with its views, one for each application.
    pub views: &'c [String],
    /// The engine, whose names of types are compared.
    pub dialect: Dialect,
}

impl OldCode<'_> {
    /// What it would miss after a step between these states that hold the named tables and views.
    pub fn misses(self, before: &Schema, after: &Schema, names: &BTreeSet<ObjectName>) -> Vec<Reason> {
        let code = restrict(self.schema, names);
        if self.views.is_empty() {
            return compat::breaks(self.dialect, before, after, &code);
        }
        let through = |views: &String| {
            compat::breaks(self.dialect, &before.seen_through(Some(views)), &after.seen_through(Some(views)), &code)
        };
        self.views.iter().map(through).find(|reasons| !reasons.is_empty()).unwrap_or_default()
    }
}

struct Graph<'c> {
    protos: Vec<Option<Proto>>,
    /// Indexes of the steps that each step must come after.
    predecessors: Vec<BTreeSet<usize>>,
    /// Not placed yet, in the order in which ties are broken.
    waiting: BTreeMap<(u8, String, usize), usize>,
    /// Known to break the previous version.
    deferred: BTreeSet<usize>,
    placed: BTreeSet<usize>,
    old: OldCode<'c>,
    /// Functions that the plan makes, changes or drops.
    moving: Moving,
    /// Where the plan leads.
    desired: &'c Schema,
}

impl<'c> Graph<'c> {
    fn new(protos: Vec<Proto>, old: OldCode<'c>, moving: Moving, desired: &'c Schema) -> Self {
        let mut bearers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, proto) in protos.iter().enumerate() {
            for tag in &proto.tags {
                bearers.entry(tag).or_default().push(at);
            }
        }
        let predecessors = protos
            .iter()
            .enumerate()
            .map(|(at, proto)| {
                let all = proto.after.iter().filter_map(|tag| bearers.get(tag.as_str())).flatten();
                all.copied().filter(|before| *before != at).collect()
            })
            .collect();
        let waiting = protos.iter().enumerate().map(|(at, p)| ((p.order.0, p.order.1.clone(), at), at)).collect();
        Self {
            predecessors,
            waiting,
            deferred: BTreeSet::new(),
            placed: BTreeSet::new(),
            old,
            moving,
            desired,
            protos: protos.into_iter().map(Some).collect(),
        }
    }

    fn is_ready(&self, at: usize) -> bool {
        self.predecessors[at].is_subset(&self.placed)
    }

    fn next(&mut self, phase: Phase, state: &mut Schema) -> Result<Option<Placed>> {
        let order: Vec<usize> = self.waiting.values().copied().collect();
        // All backfills first: what follows them waits for the slowest anyway.
        let is_backfill = |g: &Self, at: usize| {
            g.protos[at].as_ref().is_some_and(|p| matches!(p.work, Work::Backfill(_) | Work::Given(_)))
        };
        let (fills, others): (Vec<_>, Vec<_>) = order.into_iter().partition(|at| is_backfill(self, *at));
        let candidates = match phase {
            Phase::Expand => others,
            Phase::Backfill | Phase::Contract => fills.into_iter().chain(others).collect(),
        };
        if let Some(at) = self.choose(&candidates, phase, state, true) {
            return self.place(at, phase, state).map(Some);
        }
        // What only waits for a better order does not wait for ever.
        let any = if phase == Phase::Contract { self.choose(&candidates, phase, state, false) } else { None };
        any.map(|at| self.place(at, phase, state)).transpose()
    }

    /// The first step that may come now.
    fn choose(&mut self, candidates: &[usize], phase: Phase, state: &Schema, patient: bool) -> Option<usize> {
        for at in candidates.iter().copied() {
            if !self.is_ready(at) || (phase != Phase::Contract && self.deferred.contains(&at)) {
                continue;
            }
            let Some(proto) = &self.protos[at] else { continue };
            let names = touched(std::slice::from_ref(proto), state);
            let before = restrict(state, &names);
            let after = apply(&before, std::slice::from_ref(proto));
            if proto.changes_object && between(&before, &after).is_empty() {
                self.take(at, &mut Vec::new()); // another step has carried it along
                continue;
            }
            if phase != Phase::Contract && (proto.prepares || !self.survives(&before, &after)) {
                self.deferred.insert(at);
                continue;
            }
            // What can come before contract does not wait for what cannot.
            let has_company = phase == Phase::Contract && self.has_company_to_come(at);
            if patient && (self.moving.waits(&before, &after, state, self.desired) || has_company) {
                continue;
            }
            return Some(at);
        }
        None
    }

    /// Whether another one that could be one step with this still waits for something else than this.
    fn has_company_to_come(&self, at: usize) -> bool {
        let Some(proto) = &self.protos[at] else { return false };
        let waits = |other: usize| !self.is_ready(other) && !self.comes_after(other, at);
        matches!(proto.work, Work::Alter { .. })
            && self.waiting.values().copied().any(|other| {
                other != at && self.protos[other].as_ref().is_some_and(|p| proto.becomes_one_with(p)) && waits(other)
            })
    }

    fn comes_after(&self, at: usize, before: usize) -> bool {
        let (mut seen, mut open) = (BTreeSet::new(), vec![at]);
        while let Some(at) = open.pop() {
            open.extend(self.predecessors[at].iter().copied().filter(|earlier| seen.insert(*earlier)));
        }
        seen.contains(&before)
    }

    fn survives(&self, before: &Schema, after: &Schema) -> bool {
        self.old.misses(before, after, &names([before, after])).is_empty()
    }

    /// Places a step, and with a rebuild all other rebuilds of its table that could come now.
    fn place(&mut self, at: usize, phase: Phase, state: &mut Schema) -> Result<Placed> {
        let mut protos = Vec::new();
        self.take(at, &mut protos);
        while let Some(another) = self.joins(&protos, phase, state) {
            self.take(another, &mut protos);
        }
        let names = touched(&protos, state);
        let before = restrict(state, &names);
        let mut after = apply(&before, &protos);
        let disturbed: Vec<_> = protos.iter().flat_map(|proto| &proto.disturbs).collect();
        let carried = carried::with(&disturbed, &before)?;
        let again = carried.iter().map(|object| carried::made_again(object, self.desired, &after, phase));
        let again = carried::in_order(again.collect());
        for object in &again {
            // Made again, it means what its names mean then.
            if let Some(slot) = after.objects.get_mut(&object.key) {
                let shall = self.desired.objects.get(&object.key).filter(|shall| *shall == object);
                *slot = Object { columns: shall.unwrap_or(object).columns.clone(), ..(**object).clone() }.into();
            }
        }
        let back: Vec<_> = protos.iter().flat_map(|proto| &proto.undo_disturbs).chain(disturbed).collect();
        let carried_back = carried::with(&back, &before)?;
        let deltas = between(&before, &after);
        apply_all(&deltas, state).map_err(|e| {
            Error::new(Kind::Internal, "SD0903", "a step does not fit the state it was planned for").cause(e)
        })?;
        for (name, table) in &mut after.tables {
            let Some(placed) = state.table(name) else { continue };
            table.columns.sort_by_key(|column| placed.columns.iter().position(|it| it.name == column.name));
        }
        Ok(Placed { phase, protos, before, after, deltas, carried, again, carried_back })
    }

    fn take(&mut self, at: usize, protos: &mut Vec<Proto>) {
        self.waiting.retain(|_, waiting| *waiting != at);
        self.placed.insert(at);
        protos.extend(self.protos[at].take());
    }

    fn joins(&mut self, group: &[Proto], phase: Phase, state: &Schema) -> Option<usize> {
        let first = group.first()?;
        for at in self.waiting.values().copied() {
            let Some(proto) = &self.protos[at] else { continue };
            if !first.becomes_one_with(proto)
                || !self.is_ready(at)
                || (phase != Phase::Contract && self.deferred.contains(&at))
            {
                continue;
            }
            let mut names = touched(group, state);
            names.extend(touched(std::slice::from_ref(proto), state));
            let before = restrict(state, &names);
            let after = apply(&apply(&before, group), std::slice::from_ref(proto));
            if phase == Phase::Contract || (!proto.prepares && self.survives(&before, &after)) {
                return Some(at);
            }
        }
        None
    }
}

/// The touched tables, with those that they are partitions of and the compatibility views on all of them.
fn touched(protos: &[Proto], state: &Schema) -> BTreeSet<ObjectName> {
    let mut names: BTreeSet<_> = protos.iter().flat_map(|p| &p.touches).cloned().collect();
    let mut below: Vec<_> = names.iter().cloned().collect();
    while let Some(name) = below.pop() {
        let parent = state.table(&name).and_then(|table| table.partition_of.as_ref());
        below.extend(parent.map(|of| of.parent.clone()).filter(|parent| names.insert(parent.clone())));
    }
    let views = state.compat_views.values().filter(|view| names.contains(&view.table)).map(|view| view.name.clone());
    names.extend(views.collect::<Vec<_>>());
    // What hangs on them or depends on them, and what depends on that.
    loop {
        let concerned = |object: &&Shared<Object>| {
            let relations = object.uses.iter().any(|used| match used {
                Use::Column { table: name, .. } | Use::Relation { name } => names.contains(name),
                Use::Function { .. } | Use::Type { .. } => false,
            });
            let routines = || {
                let names_routine = |key: &ObjectKey| object.uses_object(key) && names.contains(&key.as_touched());
                object.uses.iter().any(|used| matches!(used, Use::Function { .. }))
                    && state.objects.keys().any(names_routine)
            };
            relations || goes_with(object).is_some_and(|table| names.contains(table)) || routines()
        };
        let more: Vec<_> = state
            .objects
            .values()
            .filter(|object| !names.contains(&object.key.as_touched()))
            .filter(concerned)
            .map(|object| object.key.as_touched())
            .collect();
        if more.is_empty() {
            return names;
        }
        names.extend(more);
    }
}

/// Tables, views, and the names under which a version that looks into a view's database schema first knows them.
fn names(schemas: [&Schema; 2]) -> BTreeSet<ObjectName> {
    let tables = schemas.iter().flat_map(|s| s.tables.keys()).cloned();
    let views = schemas.iter().flat_map(|s| s.compat_views.keys());
    let views = views.flat_map(|name| [name.clone(), ObjectName::new(name.name.clone())]);
    let objects = schemas.iter().flat_map(|s| s.objects.keys()).map(ObjectKey::as_touched);
    tables.chain(views).chain(objects).collect()
}

/// The named tables and compatibility views, and the views on these tables.
pub(super) fn restrict(schema: &Schema, names: &BTreeSet<ObjectName>) -> Schema {
    let mut part = schema.restricted_to(|name| names.contains(name));
    part.objects.retain(|key, _| names.contains(&key.as_touched()));
    part.compat_views.retain(|name, view| names.contains(name) || names.contains(&view.table));
    part
}

fn apply(schema: &Schema, protos: &[Proto]) -> Schema {
    let mut after = schema.clone();
    for proto in protos {
        (proto.effect)(&mut after);
    }
    after
}
