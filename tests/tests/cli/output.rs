//! What a reviewer sees.

use std::collections::BTreeMap;

use cargo_schemadiff::{
    dialect::TableSize,
    report::plan::{Surroundings, render, render_left_alone, summary},
};
use schemadiff::{
    model::{Dialect, Fingerprint, ObjectName, Opaque, Schema},
    plan::{Action, Assignment, Backfill, Envelope, Hazard, KeyColumn, Lock, PLAN_FORMAT, Phase, Plan, Step},
};

fn step(id: &str, phase: Phase, envelope: Envelope, action: Action) -> Step {
    Step {
        id: id.into(),
        phase,
        title: id.split_once('-').unwrap().1.replace('-', " "),
        cause: "rename column `users.name` to `display_name`".into(),
        envelope,
        action,
        locks: vec![],
        rewrites: false,
        scans: false,
        rebuilds_indexes: false,
        keeps: Vec::new(),
        probes: Vec::new(),
        hazards: vec![],
        lock_timeout_ms: 0,
        statement_timeout_ms: 0,
        done_when: None,
        clean_up: None,
        stopped_by: None,
        undo: vec![],
        undo_proof: vec![],
        undo_takes: vec![],
        only_while_small: vec![],
        undo_loses: vec![],
        undo_probes: vec![],
        undoable: true,
        effects: vec![],
    }
}

fn plan() -> Plan {
    let users = ObjectName::new("users");
    let backfill = Backfill {
        table: users.clone(),
        key: vec![KeyColumn { name: "id".into(), ty: "bigint".into() }],
        set: vec![Assignment { column: "display_name".into(), expr: "name".into(), not_null: false }],
        pending: "display_name IS NULL".into(),
        batch_size: 1000,
        upper_sql: String::new(),
        batch_sql: String::new(),
        update_sql: String::new(),
        skip_locked_sql: None,
        remaining_sql: String::new(),
        left_sql: String::new(),
        restored_by: None,
        quiet: Vec::new(),
        evaluate_sql: None,
        comparison: None,
        given: None,
    };
    let sql = Action::Sql(vec!["ALTER TABLE users\n  ADD COLUMN display_name text".into()]);
    let drop = Action::Sql(vec!["ALTER TABLE users DROP COLUMN name;".into()]);
    let steps = vec![
        Step {
            locks: vec![Lock { relation: users, mode: "AccessExclusive".into() }],
            lock_timeout_ms: 200,
            ..step("01-add-display_name", Phase::Expand, Envelope::Transaction, sql)
        },
        step("02-fill-display_name", Phase::Backfill, Envelope::Batches, Action::Backfill(backfill)),
        Step {
            hazards: vec![Hazard {
                code: "H003".into(),
                effect: "the data of `users.name` is gone".into(),
                remedy: "look that nobody needs it".into(),
            }],
            undoable: false,
            scans: true,
            rebuilds_indexes: false,
            keeps: Vec::new(),
            probes: Vec::new(),
            ..step("03-drop-name", Phase::Contract, Envelope::Rebuild, drop)
        },
    ];
    Plan {
        format: PLAN_FORMAT,
        id: "20260101000000_names".into(),
        dialect: Dialect::Postgres,
        parent: None,
        before: Fingerprint::of(&Schema::default()),
        after: Fingerprint::of(&Schema::default()),
        strategy: None,
        allowed_drops: vec![],
        notes: vec!["Deploy the new version before contract.".into()],
        checksum: String::new(),
        steps,
    }
}

/// Without the escape sequences, which end with `m`.
fn plain(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |out, part| out + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[test]
fn a_plan() {
    let sizes = BTreeMap::from([(ObjectName::new("users"), TableSize { rows: 1_234_567, bytes: 98_700_000 })]);
    let around = Surroundings { sizes: Some(&sizes), ..Surroundings::default() };
    insta::assert_snapshot!(plain(&format!("{}\n\n{}", summary(&plan()), render(&plan(), around))), @r"
    3 steps: 1 expand, 1 backfill, 1 contract

    expand (additive, every running version keeps working)
      01 add display_name
           why   rename column `users.name` to `display_name`
           locks AccessExclusive on users
           runs  in one short transaction; gives way after 200 ms without the lock and tries again
           size  users about 1,234,567 rows, 98.7 MB
           ALTER TABLE users
             ADD COLUMN display_name text;

    backfill (existing rows are filled in small batches)
      02 fill display_name
           why   rename column `users.name` to `display_name`
           runs  in small batches, can be stopped and resumed
           size  users about 1,234,567 rows, 98.7 MB
           SET display_name = name WHERE display_name IS NULL
           order by id, first batch 1,000 rows

    contract (runs once no version that needs the old shape is left)
      03 drop name
           why   rename column `users.name` to `display_name`
           runs  as a rebuild of the table in one transaction, writers wait; reads the whole table
           H003 the data of `users.name` is gone
                do: look that nobody needs it
           ALTER TABLE users DROP COLUMN name;
           undo  not possible, data is lost

    notes
      - Deploy the new version before contract.
    ");
}

#[test]
fn what_is_left_alone() {
    let opaque = [Opaque {
        kind: "view".into(),
        name: "public.v".into(),
        reason: "views are kept as they are".into(),
        table: None,
        definition: None,
    }];
    let around = Surroundings { opaque: &opaque, unmanaged: &["table audit".to_owned()], ..Surroundings::default() };
    insta::assert_snapshot!(plain(&render_left_alone(around)), @r"
    not managed by this project, left alone
      - table audit

    not held by the model, left alone
      - view public.v: views are kept as they are
    ");
}
