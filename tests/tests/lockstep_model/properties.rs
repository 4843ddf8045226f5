//! What must hold in every state, and what must be possible.

use schemadiff::plan::Envelope;
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
const NAMED: &str = "a closed gate names living versions, an open end has nothing left";

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
    ]
}

fn connected<'a>(model: &'a Deployment, world: &'a World) -> impl Iterator<Item = usize> + 'a {
    world.instances.iter().zip(&model.versions).filter(|(i, _)| i.connected()).map(|(_, version)| *version)
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
            !holders.is_empty()
                && holders.iter().all(|holder| connected(model, world).any(|version| version == *holder))
        }
        Next::Finished => {
            let steps = model.story.steps().zip(&world.records.marks);
            steps.into_iter().all(|((at, _), mark)| at.plan >= known || *mark == Mark::Done)
        }
    })
}
