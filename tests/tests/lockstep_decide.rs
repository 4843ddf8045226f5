//! The pure part of the runtime: what may be done next, and what the database looks like to code.

use schemadiff::{
    backend::{
        Identity, LEDGER_FORMAT, Lease, Ledger, MigrationRow, MigrationState, Process, Retired, StepRow, StepState,
    },
    lockstep::{
        Evidence, decide,
        decide::{Boot, Decision, Gate, World},
        state,
    },
    model::{Column, Dialect, Fingerprint, ObjectName, Schema, Table},
    plan::{Envelope, Phase, Plan, Snapshot, Way},
};
use schemadiff_tests::lockstep::{
    FIRST, SECOND, first, lock, migrations, new_code, old_code, plan, second, step, table_with, users_with,
};

const DIALECT: Dialect = Dialect::Postgres;
const GRACE: i64 = 30_000;
const CONTRACT: &str = "04-drop-column-users-fullname";

/// A ledger in which the first so many steps of each plan are done.
fn ledger(done: &[(&Plan, usize)]) -> Ledger {
    let migrations = done.iter().filter(|(_, steps)| *steps > 0).map(|(plan, steps)| row(plan, *steps)).collect();
    Ledger {
        format: LEDGER_FORMAT,
        epoch: 1,
        now_ms: 1_000_000,
        migrations,
        retired: Vec::new(),
        registered: Vec::new(),
    }
}

fn row(plan: &Plan, done: usize) -> MigrationRow {
    let all = done == plan.steps.len();
    let state = |at| if at < done { StepState::Done } else { StepState::Pending };
    let steps = plan.steps.iter().enumerate().map(|(at, step)| StepRow {
        id: step.id.clone(),
        phase: step.phase,
        state: state(at),
        cursor: None,
        rows_done: 0,
        started_ms: None,
        finished_ms: None,
        attempts: 0,
        last_error: None,
    });
    MigrationRow {
        id: plan.id.clone(),
        parent: plan.parent.clone(),
        app: "shop".to_owned(),
        checksum: plan.compute_checksum(),
        before: plan.before.clone(),
        after: plan.after.clone(),
        state: if all { MigrationState::Done } else { MigrationState::Running },
        started_ms: 0,
        finished_ms: None,
        applied_by: "a test".to_owned(),
        plan: None,
        steps: if all { Vec::new() } else { steps.collect() },
    }
}

fn lease(app: &str, version: &str, schema: Schema) -> Lease {
    Lease {
        instance: format!("{app}-{version}"),
        fingerprint: Fingerprint::of(&schema),
        identity: Identity { app: app.to_owned(), version: version.to_owned(), ordinal: 1, schema },
        process: Process { host: "web-1".to_owned(), pid: 7, machine: String::new(), started: String::new() },
        revision: None,
        evidence: Evidence::Lock,
        started_ms: 400_000,
        heartbeat_age_ms: 0,
        beat: String::new(),
        silent_ms: 0,
        grace_ms: 0,
        same_server: true,
        ended: false,
        version_connected: true,
        keeper_connected: true,
        connections: 3,
        process_runs: None,
    }
}

fn old() -> Lease {
    lease("shop", FIRST, old_code(DIALECT))
}

fn new() -> Lease {
    lease("shop", SECOND, new_code(DIALECT))
}

/// A decision in one line.
fn spelled(decision: &Decision<'_>) -> String {
    match decision {
        Decision::Finished => "finished".to_owned(),
        Decision::Run { step, retire, .. } => {
            let left: Vec<_> = retire.iter().map(|r| format!(" without {} {}", r.app, r.version)).collect();
            format!("run {}{}", step.id, left.concat())
        }
        Decision::Closed { step, holders, .. } => {
            let who: Vec<_> = holders.iter().map(|h| format!(" {} {}", h.app, h.version)).collect();
            format!("{} waits for{}", step.id, who.concat())
        }
    }
}

fn decide(plans: &[Plan], ledger: &Ledger, leases: &[Lease], until: Phase) -> String {
    let snapshot = lock(DIALECT, plans);
    let world = World { snapshot: &snapshot, plans, ledger, leases, grace_ms: GRACE, soak_ms: 0 };
    spelled(&decide::next(&world, until).unwrap())
}

#[test]
fn who_lives_decides_whether_contract_begins() {
    let plans = [first(DIALECT), second(DIALECT)];
    let at_contract = ledger(&[(&plans[0], 1), (&plans[1], 3)]);
    let mut gone = old();
    gone.version_connected = false;
    // However old it is by the database's clock.
    let beat = |silent_ms, ended| Lease {
        evidence: Evidence::Heartbeat,
        silent_ms,
        heartbeat_age_ms: GRACE * 9,
        ended,
        ..gone.clone()
    };
    let direct = Lease { evidence: Evidence::Heartbeat, silent_ms: GRACE * 9, ..old() };
    let process = |runs, silent_ms| Lease { evidence: Evidence::Process, process_runs: runs, silent_ms, ..old() };
    let patient = Lease { grace_ms: GRACE * 4, ..beat(GRACE * 3, false) };
    let cut = |silent_ms, ended| Lease { same_server: false, silent_ms, ended, ..gone.clone() };
    let waits = format!("{CONTRACT} waits for shop {FIRST}");
    let without = format!("run {CONTRACT} without shop {FIRST}");
    let run = format!("run {CONTRACT}");
    let billing = lease("billing", "b1", users_with(DIALECT, &["fullname"]));
    let reports = lease("reports", "r1", users_with(DIALECT, &[]));
    let mut elsewhere = lease("else", "e1", users_with(DIALECT, &[]));
    elsewhere.identity.schema.tables.insert(ObjectName::new("theirs"), Table::new(ObjectName::new("theirs")).into());
    let cases: &[(&str, Vec<Lease>, &str)] = &[
        ("nobody runs", vec![], &run),
        ("the old version has a connection", vec![old()], &waits),
        ("its locks died with it, whatever the heartbeat says", vec![gone.clone()], &without),
        ("one instance of it is gone, another has a connection", vec![gone.clone(), old()], &waits),
        ("the new version does not mind", vec![new()], &run),
        ("its locks died with the server, and it has had no time to connect again", vec![cut(GRACE, false)], &waits),
        ("its locks died with the server, and it does not come back", vec![cut(GRACE + 1, false)], &without),
        ("its locks died with the server, after it had said good-bye", vec![cut(0, true)], &without),
        ("a grace time of its own", vec![patient], &waits),
        ("a heartbeat within the grace time", vec![beat(GRACE, false)], &waits),
        ("a heartbeat after it", vec![beat(GRACE + 1, false)], &without),
        ("a heartbeat after it, but a connection that needs no pooler", vec![direct], &waits),
        ("it said good-bye", vec![beat(0, true)], &without),
        ("its process runs, paused for longer than the grace time", vec![process(Some(true), GRACE * 9)], &waits),
        ("its process is gone", vec![process(Some(false), 0)], &without),
        ("a process of another machine, by its heartbeat", vec![process(None, 1)], &waits),
        ("another service reads the column", vec![billing], &format!("{CONTRACT} waits for billing b1")),
        ("another service does not", vec![reports, elsewhere], &run),
    ];
    for (case, leases, expected) in cases {
        assert_eq!(decide(&plans, &at_contract, leases, Phase::Contract), *expected, "{case}");
    }
    let mut retired = at_contract.clone();
    let (app, version) = ("shop".to_owned(), FIRST.to_owned());
    let (migration, step, reason) = (SECOND.to_owned(), CONTRACT.to_owned(), "gone".to_owned());
    retired.retired.push(Retired { app, version, migration, step, way: Way::Forward, reason, at_ms: 0 });
    assert_eq!(decide(&plans, &retired, &[old()], Phase::Contract), run, "a retired version holds nothing");
}

#[test]
fn steps_run_in_order_and_only_in_the_phases_asked_for() {
    let plans = [first(DIALECT), second(DIALECT)];
    let cases = [
        ([0, 0], Phase::Contract, "run 01-create-table-users"),
        ([1, 0], Phase::Contract, "run 01-add-column-users-email_key"),
        ([1, 1], Phase::Expand, "finished"),
        ([1, 1], Phase::Backfill, "run 02-backfill-users-email_key"),
        ([1, 3], Phase::Backfill, "finished"),
        ([1, 3], Phase::Contract, "run 04-drop-column-users-fullname"),
        ([1, 4], Phase::Contract, "finished"),
    ];
    for (done, until, expected) in cases {
        let ledger = ledger(&[(&plans[0], done[0]), (&plans[1], done[1])]);
        assert_eq!(decide(&plans, &ledger, &[], until), expected, "{done:?} until {until}");
    }
}

#[test]
fn a_later_migration_goes_on_beside_a_closed_gate_unless_it_touches_the_same_tables() {
    let plans = [first(DIALECT), second(DIALECT)];
    let ledger = ledger(&[(&plans[0], 1), (&plans[1], 3)]);
    let after = lock(DIALECT, &plans).schema;

    let mut with_orders = after.clone();
    let orders = ObjectName::new("orders");
    with_orders.tables.insert(orders.clone(), Table::new(orders).into());
    let apart = step("01-create-orders", Phase::Expand, Envelope::Transaction, Vec::new(), Vec::new());
    let apart = plan(DIALECT, "20260103000000_orders", Some(SECOND), &after, vec![(apart, with_orders)]);
    let three = [plans[0].clone(), plans[1].clone(), apart];
    assert_eq!(decide(&three, &ledger, &[old()], Phase::Contract), "run 01-create-orders");
    let queued = |plans: &[Plan]| -> Vec<String> {
        let (snapshot, leases) = (lock(DIALECT, plans), [old()]);
        let world = World { snapshot: &snapshot, plans, ledger: &ledger, leases: &leases, grace_ms: GRACE, soak_ms: 0 };
        decide::queued(&world).iter().map(ToString::to_string).collect()
    };
    assert_eq!(queued(&three), [""; 0]);

    let mut wider = after.clone();
    wider.tables.values_mut().next().unwrap().columns.push(Column { nullable: true, ..Column::new("more", "text") });
    let same = step("01-add-more", Phase::Expand, Envelope::Transaction, Vec::new(), Vec::new());
    let same = plan(DIALECT, "20260103000000_more", Some(SECOND), &after, vec![(same, wider)]);
    let three = [plans[0].clone(), plans[1].clone(), same];
    let waits = format!("{CONTRACT} waits for shop {FIRST}");
    assert_eq!(decide(&three, &ledger, &[old()], Phase::Contract), waits);
    assert_eq!(queued(&three), [format!("20260103000000_more waits for {SECOND}: both touch `users`")]);
}

#[test]
fn taking_back_waits_for_whoever_needs_what_was_added() {
    let plans = [first(DIALECT), second(DIALECT)];
    let ledger = ledger(&[(&plans[0], 1), (&plans[1], 2)]);
    let snapshot = lock(DIALECT, &plans);
    let back = |leases: &[Lease]| {
        let world = World { snapshot: &snapshot, plans: &plans, ledger: &ledger, leases, grace_ms: GRACE, soak_ms: 0 };
        let now = state::state(&snapshot, &plans, &ledger).unwrap();
        decide::gate_back(&world, &now, &plans[1], &plans[1].steps[1]).unwrap()
    };
    assert_eq!(back(&[old()]), Gate::Open(Vec::new()));
    let Gate::Closed(holders) = back(&[old(), new()]) else { panic!("the new version needs the column") };
    assert_eq!(holders.iter().map(|h| h.version.as_str()).collect::<Vec<_>>(), [SECOND]);
    assert_eq!(decide::next_back(&plans[1], &ledger).unwrap().unwrap().id, "02-backfill-users-email_key");
}

fn boots(plans: &[Plan], ledger: &Ledger, me: &Lease) -> String {
    let snapshot = lock(DIALECT, plans);
    let world = World { snapshot: &snapshot, plans, ledger, leases: &[], grace_ms: GRACE, soak_ms: 0 };
    match decide::boot(&world, &me.identity).unwrap() {
        Boot::Start => "start".to_owned(),
        Boot::Work { until, reasons } => format!("work until {until}, served {}", reasons.is_empty()),
        Boot::Refused(error) => error.code().to_owned(),
    }
}

#[test]
fn a_version_starts_when_it_is_served() {
    let plans = [first(DIALECT), second(DIALECT)];
    let done = |a, b| ledger(&[(&plans[0], a), (&plans[1], b)]);
    assert_eq!(boots(&plans, &done(1, 0), &new()), "work until backfill, served false");
    assert_eq!(boots(&plans, &done(1, 1), &new()), "work until backfill, served true");
    assert_eq!(boots(&plans, &done(1, 3), &new()), "start");
    assert_eq!(boots(&plans, &done(1, 4), &new()), "start");
    // What the migrations do not lead to is not waited for.
    let wrong = lease("shop", SECOND, users_with(DIALECT, &["never"]));
    assert_eq!(boots(&plans, &done(1, 4), &wrong), "SD0651");
    // What another service's migrations make may be on its way.
    let mut foreign = new();
    foreign.identity.schema.tables.extend(table_with(DIALECT, &ObjectName::new("bills"), &["due"]).tables);
    assert_eq!(boots(&plans, &done(1, 4), &foreign), "SD0651", "nobody else is here");
    let done = |a, b| {
        let mut ledger = done(a, b);
        let mut row = ledger.migrations[0].clone();
        let bills = plan(DIALECT, "20260101000000_bills", None, &Schema::default(), Vec::new());
        (row.id, row.app, row.plan) = (bills.id.clone(), "billing".into(), Some(bills.to_toml().unwrap()));
        row.checksum = bills.compute_checksum();
        row.steps.clear();
        ledger.migrations.push(row);
        ledger
    };
    assert_eq!(boots(&plans, &done(1, 4), &foreign), "work until contract, served false");
    let mut both = wrong;
    both.identity.schema.tables.extend(foreign.identity.schema.tables);
    both.identity.schema.tables.extend(users_with(DIALECT, &["never"]).tables);
    assert_eq!(boots(&plans, &done(1, 4), &both), "SD0651");
}

#[test]
fn an_older_version_starts_among_newer_migrations_while_it_is_served() {
    let plans = [first(DIALECT), second(DIALECT)];
    let known = &plans[..1];
    for (done, expected) in [(1, "start"), (3, "start"), (4, "SD0651")] {
        let mut ledger = ledger(&[(&plans[0], 1), (&plans[1], done)]);
        ledger.migrations[1].plan = Some(plans[1].to_toml().unwrap());
        assert_eq!(boots(known, &ledger, &old()), expected, "{done} steps of the unknown migration");
    }
}

#[test]
fn a_step_under_way_counts_as_both_done_and_not_done() {
    let plans = [first(DIALECT), second(DIALECT)];
    let mut ledger = ledger(&[(&plans[0], 1), (&plans[1], 3)]);
    ledger.migrations[1].steps[3].state = StepState::Running;
    let snapshot = lock(DIALECT, &plans);
    assert_eq!(state::possible(&snapshot, &plans, &ledger).unwrap().len(), 2);
    // So a version that the step would break cannot register while it runs.
    let refused = boots(&plans, &ledger, &old());
    assert_eq!(refused, "work until contract, served false");
}

#[test]
fn the_state_at_every_point_is_what_the_plan_predicts() {
    let plans = [first(DIALECT), second(DIALECT)];
    let snapshot: Snapshot = lock(DIALECT, &plans);
    let mut expected = Schema::default();
    for (at, plan) in plans.iter().enumerate() {
        for done in 0..plan.steps.len() {
            let before: Vec<(&Plan, usize)> = plans[..at].iter().map(|p| (p, p.steps.len())).collect();
            let ledger = ledger(&[before, vec![(plan, done)]].concat());
            let state = state::state(&snapshot, &plans, &ledger).unwrap();
            assert_eq!(Fingerprint::of(&state), Fingerprint::of(&expected), "{} after {done}", plan.id);
            plan.steps[done].apply_to(&mut expected).unwrap();
        }
    }
    let all = ledger(&[(&plans[0], 1), (&plans[1], 4)]);
    assert_eq!(state::state(&snapshot, &[], &all).unwrap(), expected, "plans that are done may be left out");
    assert_eq!(expected, snapshot.schema);
}

#[test]
fn a_column_that_was_dropped_from_the_middle_does_not_stop_a_new_database() {
    let (wide, narrow) = (users_with(DIALECT, &["first", "last"]), users_with(DIALECT, &["last"]));
    let create = step("01-create", Phase::Expand, Envelope::Transaction, Vec::new(), Vec::new());
    let create = plan(DIALECT, FIRST, None, &Schema::default(), vec![(create, wide.clone())]);
    let drop = step("01-drop", Phase::Contract, Envelope::Transaction, Vec::new(), Vec::new());
    let drop = plan(DIALECT, SECOND, Some(FIRST), &wide, vec![(drop, narrow)]);
    assert_eq!(decide(&[create, drop], &ledger(&[]), &[], Phase::Contract), "run 01-create");
}

#[test]
fn one_history_or_an_error() {
    let plans = [first(DIALECT), second(DIALECT)];
    let all = migrations(DIALECT, &plans).history().unwrap();
    let check = |ledger: &Ledger, app: &str| decide::same_history(&all, ledger, app).map_err(|e| e.code());
    let good = ledger(&[(&plans[0], 1), (&plans[1], 2)]);
    assert_eq!(check(&good, "shop"), Ok(()));

    let mut rewritten = good.clone();
    rewritten.migrations[1].checksum = "another".to_owned();
    assert_eq!(check(&rewritten, "shop"), Err("SD0459"));
    rewritten.migrations[1].state = MigrationState::Aborted;
    assert_eq!(check(&rewritten, "shop"), Ok(()), "what was taken back may be written anew");

    let gap = ledger(&[(&plans[1], 1)]);
    assert_eq!(check(&gap, "shop"), Err("SD0655"));

    let mut another = ledger(&[(&plans[0], 1)]);
    another.migrations[0].id = "20250101000000_theirs".to_owned();
    another.migrations[0].plan = Some(String::new());
    assert_eq!(check(&another, "shop"), Err("SD0460"), "two applications of one name");
    assert_eq!(check(&another, "billing"), Ok(()), "another application has a chain of its own");
}
