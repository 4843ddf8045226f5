//! What must hold in every state, and what must be possible.

use std::collections::BTreeSet;

use schemadiff::{lockstep::Evidence, plan::Envelope};
use stateright::Property;

use super::{
    acts::{Deployment, Next},
    world::{Instance, Mark, Row, World},
};

pub const SERVED: &str = "whoever is connected is served";
pub const FENCED: &str = "a retired version has no connection";
pub const UNROBBED: &str = "no step begins that takes something away from a version that runs";
pub const ONCE: &str = "no step is done twice";
const TRUE: &str = "the ledger is true";
const IN_ORDER: &str = "a later migration begins only beside an earlier one that it does not touch";
pub const NAMED: &str = "a closed gate names living versions, an open end has nothing left";

pub fn all() -> Vec<Property<Deployment>> {
    vec![
        Property::always(SERVED, |model, world| connected(model, world).all(|version| model.is_served(world, version))),
        Property::always(FENCED, |model, world| {
            connected(model, world).all(|version| world.records.retired[version].is_none())
        }),
        Property::always(UNROBBED, |_, world: &World| !world.robbed),
        Property::always(ONCE, |_, world: &World| !world.doubled),
        Property::always(TRUE, is_true),
        Property::always(NAMED, is_named),
        Property::always(IN_ORDER, in_order),
        Property::sometimes(
            "two migrations are under way at once, where there are two",
            |model: &Deployment, world: &World| {
                let begun = |plan: usize| {
                    let marks = model.story.steps().zip(&world.records.marks).filter(|((at, _), _)| at.plan == plan);
                    let marks: Vec<_> = marks.map(|(_, mark)| *mark).collect();
                    marks.contains(&Mark::Done) && marks.contains(&Mark::Pending)
                };
                model.story.plans.len() < 3 || (begun(1) && begun(2))
            },
        ),
        Property::sometimes("everything is done", |_, world: &World| world.all_done()),
        Property::sometimes("two versions live side by side", |model: &Deployment, world: &World| {
            let mut versions: Vec<_> = connected(model, world).collect();
            versions.dedup();
            versions.len() > 1
        }),
        Property::sometimes("a version that was cut off has been left behind", |model: &Deployment, world: &World| {
            world
                .instances
                .iter()
                .zip(&model.versions)
                .any(|(i, v)| matches!(i, Instance::Cut | Instance::Crashed) && world.records.retired[*v].is_some())
        }),
        Property::sometimes("the contract waits for a paused process", |model: &Deployment, world: &World| {
            world.instances.contains(&Instance::Paused)
                && matches!(model.next(model.migrators[0], &world.records, &world.instances), Next::Closed(_))
        }),
        Property::sometimes(
            "one that was given up goes on and is refused, where heartbeats are the evidence",
            |model: &Deployment, world: &World| {
                let refused =
                    |(i, v): (&Instance, &usize)| *i == Instance::Silent && world.records.retired[*v].is_some();
                model.evidence != Evidence::Heartbeat || world.instances.iter().zip(&model.versions).any(refused)
            },
        ),
        Property::sometimes(
            "the contract waits for those whose server was started anew",
            |model: &Deployment, world: &World| {
                let waits =
                    || matches!(model.next(model.migrators[0], &world.records, &world.instances), Next::Closed(_));
                !model.restarts || (world.instances.contains(&Instance::Severed) && waits())
            },
        ),
        Property::sometimes("a crash between work and record", |model: &Deployment, world: &World| {
            let steps = model.story.steps().zip(world.records.marks.iter().zip(&world.there));
            let apart = |envelope| matches!(envelope, Envelope::Concurrent | Envelope::Batches);
            steps.into_iter().any(|((_, step), (mark, there))| {
                apart(step.envelope) && *mark == Mark::Running && *there && world.nobody_works()
            })
        }),
        Property::sometimes("an abort comes to its end, where one is allowed", |model: &Deployment, world: &World| {
            model.aborts == 0 || world.records.rows.contains(&Row::Aborted)
        }),
        Property::sometimes(
            "a contract phase is undone, and its old version runs again",
            |model: &Deployment, world: &World| {
                let held = (1..model.story.plans.len()).find(|plan| world.is_held(&model.story, *plan));
                model.undos == 0 || held.is_some_and(|plan| connected(model, world).any(|version| version < plan))
            },
        ),
    ]
}

/// A step of a later migration begins only when no earlier one has work left on a table that both touch.
fn in_order(model: &Deployment, world: &World) -> bool {
    let begun = |plan: usize| {
        let mut steps = model.story.steps().zip(&world.records.marks);
        steps.any(|((at, _), mark)| at.plan == plan && matches!(mark, Mark::Done | Mark::Running))
    };
    let tables_left = |plan: usize| -> BTreeSet<_> {
        let steps =
            model.story.steps().zip(&world.records.marks).filter(|((at, _), m)| at.plan == plan && **m != Mark::Done);
        steps.flat_map(|((_, step), _)| &step.effects).filter_map(|delta| delta.table().cloned()).collect()
    };
    let all_tables = |plan: usize| -> BTreeSet<_> {
        model.story.plans[plan].steps.iter().flat_map(|s| &s.effects).filter_map(|d| d.table().cloned()).collect()
    };
    let plans = model.story.plans.len();
    (0..plans)
        .all(|later| !begun(later) || (0..later).all(|earlier| tables_left(earlier).is_disjoint(&all_tables(later))))
}

fn connected<'a>(model: &'a Deployment, world: &'a World) -> impl Iterator<Item = usize> + 'a {
    world.instances.iter().zip(&model.versions).filter(|(i, _)| i.connected()).map(|(_, version)| *version)
}

fn counted<'a>(model: &'a Deployment, world: &'a World) -> impl Iterator<Item = usize> + 'a {
    world.instances.iter().zip(&model.versions).filter(|(i, _)| i.counts()).map(|(_, version)| *version)
}

fn is_true(_: &Deployment, world: &World) -> bool {
    world.records.marks.iter().zip(&world.there).all(|(mark, there)| match mark {
        Mark::Done => *there,
        Mark::Pending | Mark::Undone => !*there,
        Mark::Running => true,
    })
}

fn is_named(model: &Deployment, world: &World) -> bool {
    model.migrators.iter().all(|&known| match model.next(known, &world.records, &world.instances) {
        Next::Run(_) => true,
        Next::Closed(holders) => {
            !holders.is_empty() && holders.iter().all(|holder| counted(model, world).any(|version| version == *holder))
        }
        Next::Finished => {
            let steps = model.story.steps().zip(&world.records.marks);
            let held = |plan| (0..=plan).any(|earlier| world.is_held(&model.story, earlier));
            steps.into_iter().all(|((at, _), mark)| at.plan >= known || *mark == Mark::Done || held(at.plan))
        }
    })
}
