//! All that can happen in small deployments, searched through: deploys, crashes, pauses, broken connections, rollbacks,
//! aborts and migrators that die at every point, with every decision made by the runtime's own functions.

mod acts;
mod properties;
mod story;
mod world;

use std::{collections::HashMap, time::Instant};

use acts::{ALL, Deployment, Rules};
use properties::{FENCED, NAMED, ONCE, SERVED, UNROBBED};
use schemadiff::lockstep::Evidence;
use stateright::{Checker, HasDiscoveries, Model};
use story::Story;
use world::{Row, World};

const FIRST: usize = 0;
const SECOND: usize = 1;
const THIRD: usize = 2;
/// In a story of two versions: a build of the first one that came without a migration and needs less.
const LEAN: usize = 2;
/// A migrator that knows the plans of the first two versions, and one that knows them all.
const TWO: usize = 2;
const THREE: usize = 3;

/// Searches everything; fails on a broken property, and when there was less to search than there should be.
fn holds(name: &str, model: Deployment, at_least: usize) {
    let began = Instant::now();
    let checker = model.checker().spawn_bfs().join();
    let found = checker.unique_state_count();
    let (depth, took) = (checker.max_depth(), began.elapsed());
    schemadiff_tests::said(&format!(
        "{name}: {found} states, {} acts, depth {depth}, {took:.1?}",
        checker.state_count()
    ));
    checker.assert_properties();
    assert!(checker.is_done());
    assert!(found >= at_least, "{name}: {found} states are fewer than {at_least}: the search has lost something");
}

/// Whether `goal` can still be reached from every state there is.
fn always_possible(name: &str, model: &Deployment, goal: impl Fn(&World) -> bool) {
    let mut numbers: HashMap<World, usize> = HashMap::new();
    let mut worlds = model.init_states();
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); worlds.len()];
    numbers.extend(worlds.iter().cloned().enumerate().map(|(n, world)| (world, n)));
    let mut at = 0;
    while at < worlds.len() {
        for next in model.next_states(&worlds[at]) {
            let number = *numbers.entry(next).or_insert_with_key(|next| {
                worlds.push(next.clone());
                before.push(Vec::new());
                worlds.len() - 1
            });
            before[number].push(at);
        }
        at += 1;
    }
    let mut reaches: Vec<bool> = worlds.iter().map(&goal).collect();
    let mut open: Vec<usize> = (0..worlds.len()).filter(|n| reaches[*n]).collect();
    assert!(!open.is_empty(), "{name}: never");
    while let Some(number) = open.pop() {
        for &earlier in &before[number] {
            if !std::mem::replace(&mut reaches[earlier], true) {
                open.push(earlier);
            }
        }
    }
    schemadiff_tests::said(&format!("{name}: looked at from each of {} states", worlds.len()));
    if let Some(stuck) = reaches.iter().position(|reaches| !reaches) {
        let many = reaches.iter().filter(|reaches| !**reaches).count();
        panic!("{name}: no more from {many} states, the first of them {:#?}", worlds[stuck]);
    }
}

fn newest_runs(model: &Deployment, world: &World) -> bool {
    let newest = *model.versions.last().unwrap();
    world.all_done() && world.instances.iter().zip(&model.versions).any(|(i, v)| *v == newest && i.connected())
}

/// The search must find a way to break `property` when part of the protocol is left out.
fn breaks(property: &'static str, model: Deployment) {
    let checker = model.checker().finish_when(HasDiscoveries::AnyOf([property].into())).spawn_bfs().join();
    let path = checker.discovery(property).unwrap_or_else(|| panic!("nothing breaks: {property}"));
    println!("{property}: broken by {:?}", path.into_actions());
}

fn side_by_side() -> Deployment {
    Deployment::new(Evidence::Lock, &[FIRST, FIRST, SECOND, SECOND], &[TWO, TWO], 0)
}

fn two_instances() -> Deployment {
    Deployment::new(Evidence::Lock, &[FIRST, SECOND], &[TWO, TWO], 0)
}

fn with_an_abort(evidence: Evidence) -> Deployment {
    Deployment::new(evidence, &[FIRST, SECOND], &[TWO, TWO], 1)
}

fn three_versions() -> Deployment {
    Deployment::new(Evidence::Lock, &[FIRST, SECOND, THIRD], &[TWO, THREE], 0)
}

#[test]
fn two_versions_side_by_side() {
    holds("two versions side by side", side_by_side(), 36_000);
    let model = Deployment::new(Evidence::Lock, &[FIRST, FIRST, SECOND], &[TWO, TWO], 0);
    always_possible("two versions side by side, the newest runs at the end", &model, |w| newest_runs(&model, w));
}

#[test]
fn an_abort_in_between() {
    holds("an abort in between", with_an_abort(Evidence::Lock), 7_000);
    // The migration can be applied again, and a version whose instances were gone when it was taken back runs again.
    for evidence in [Evidence::Lock, Evidence::Process] {
        let model = with_an_abort(evidence);
        let name = format!("an abort in between, the newest runs at the end ({evidence:?})");
        always_possible(&name, &model, |w| newest_runs(&model, w));
    }
}

fn with_an_undo(evidence: Evidence, aborts: u8) -> Deployment {
    Deployment::new(evidence, &[FIRST, SECOND], &[TWO, TWO], aborts).with_undos(1)
}

#[test]
fn a_contract_phase_is_undone() {
    holds("a contract phase is undone", with_an_undo(Evidence::Lock, 0), 5_500);
    holds("a contract phase is undone, processes as evidence", with_an_undo(Evidence::Process, 0), 1_700);
    let model = with_an_undo(Evidence::Lock, 1);
    always_possible("an undo and an abort in between, the newest runs at the end", &model, |w| newest_runs(&model, w));
    // From before contract, from after it, and from half-way back, the old version can run again, unless it is over for good.
    let again =
        |world: &World| world.undos == 0 || world.records.rows[SECOND] == Row::Aborted || old_runs(&model, world);
    always_possible("as long as there is a way back, the old version can run", &model, again);
}

fn old_runs(model: &Deployment, world: &World) -> bool {
    world.instances.iter().zip(&model.versions).any(|(i, v)| *v == FIRST && i.connected())
}

#[test]
fn clocks_are_hours_apart() {
    // As many states as with clocks that agree: nothing is decided by them where there is better evidence.
    holds("clocks hours apart", two_instances().skewed(), 2_200);
    holds("clocks hours apart, processes as evidence", with_an_abort(Evidence::Process).skewed(), 2_500);
    let states = |model: Deployment| model.checker().spawn_bfs().join().unique_state_count();
    assert_eq!(states(two_instances().skewed()), states(two_instances()));
}

#[test]
fn processes_as_evidence() {
    holds("processes as evidence", with_an_abort(Evidence::Process), 2_500);
}

/// Behind a pooler: no connection shows who lives, and a process that was stopped for longer than any lease goes on.
#[test]
fn heartbeats_as_evidence() {
    holds("heartbeats as evidence", with_an_abort(Evidence::Heartbeat), 7_500);
    let model = with_an_abort(Evidence::Heartbeat);
    always_possible("heartbeats as evidence, the newest runs at the end", &model, |w| newest_runs(&model, w));
}

#[test]
fn the_server_is_started_anew_at_any_moment() {
    for (evidence, at_least) in [(Evidence::Lock, 9_000), (Evidence::Heartbeat, 11_500)] {
        let model = || with_an_abort(evidence).with_restarts();
        holds(&format!("the server is started anew ({evidence:?})"), model(), at_least);
        let model = model();
        let name = format!("the server is started anew, the newest runs at the end ({evidence:?})");
        always_possible(&name, &model, |w| newest_runs(&model, w));
    }
}

#[test]
fn three_versions_and_two_migrations_under_way() {
    holds("three versions", three_versions(), 5_500);
    let model = three_versions();
    always_possible("three versions, the newest runs at the end", &model, |w| newest_runs(&model, w));
}

fn two_builds(builds_apart: bool) -> Deployment {
    let story = Story { builds_apart, ..Story::with_a_lean_build(2) };
    Deployment::over(story, Evidence::Lock, &[FIRST, SECOND, LEAN], &[TWO, TWO], 0)
}

#[test]
fn two_builds_with_one_newest_migration() {
    holds("two builds with one newest migration", two_builds(true), 10_000);
    let model = two_builds(true);
    // Deployed forward or rolled back among builds of one migration: a build that needs nothing of what goes is never
    // refused, whatever became of the other.
    let runs = |world: &World, version| {
        model.versions.iter().zip(&world.instances).any(|(v, i)| *v == version && i.connected())
    };
    always_possible("two builds, the lean one can run", &model, |w| runs(w, LEAN));
    always_possible("two builds, the second version runs at the end", &model, |w| w.all_done() && runs(w, SECOND));
    breaks(NAMED, two_builds(false));
}

#[test]
fn what_is_left_out_is_missed() {
    breaks(SERVED, two_instances().with(Rules { gate: false, ..ALL }));
    breaks(UNROBBED, two_instances().with(Rules { gate: false, ..ALL }));
    breaks(SERVED, two_instances().with(Rules { fence: false, ..ALL }));
    breaks(FENCED, two_instances().with(Rules { hook: false, ..ALL }));
    breaks(SERVED, with_an_abort(Evidence::Process).with(Rules { epoch: false, ..ALL }));
    breaks(SERVED, three_versions().with(Rules { epoch_at_begin: false, ..ALL }));
    let too_early = Rules { served_again: false, ..ALL };
    breaks(SERVED, with_an_abort(Evidence::Lock).with(too_early));
    let unguarded = || with_an_abort(Evidence::Heartbeat).with(Rules { guard: false, ..ALL });
    breaks(SERVED, unguarded());
    breaks(FENCED, unguarded());
    breaks(ONCE, two_instances().with(Rules { probe: false, ..ALL }));
}
