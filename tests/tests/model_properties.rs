//! Properties of the model that everything else leans on: deltas, fingerprints, file formats.

use std::collections::BTreeMap;

use proptest::prelude::*;
use schemadiff::{
    model::{
        Check, Column, Dialect, EnumType, Fingerprint, FkAction, ForeignKey, Index, IndexPart, ObjectName, PrimaryKey,
        Schema, Sync, Table, Unique, between,
    },
    plan::{Action, Envelope, PLAN_FORMAT, Phase, Plan, PlanFileError, SNAPSHOT_FORMAT, Snapshot, Step},
};

/// Few names, so that two random schemas share most of them; some that need quoting.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "select", "with space", "quo\"te", "dot.ted", "größe"])
        .prop_map(String::from)
}

fn object_name() -> impl Strategy<Value = ObjectName> {
    (prop::option::weighted(0.3, name()), name()).prop_map(|(schema, name)| ObjectName { schema, name })
}

fn column() -> impl Strategy<Value = Column> {
    let ty = prop::sample::select(vec!["bigint", "text", "character varying(20)"]);
    (name(), ty, any::<bool>(), prop::option::of("[a-z]{1,3}"), prop::option::of("[ -~]{0,5}")).prop_map(
        |(name, ty, nullable, default, comment)| Column { nullable, default, comment, ..Column::new(name, ty) },
    )
}

fn named<V: std::fmt::Debug>(value: impl Strategy<Value = V>) -> impl Strategy<Value = BTreeMap<String, V>> {
    prop::collection::btree_map(name(), value, 0..3)
}

fn check() -> impl Strategy<Value = Check> {
    ("[a-z] > [0-9]", any::<bool>()).prop_map(|(expr, not_valid)| Check {
        expr,
        not_valid,
        no_inherit: false,
        comment: None,
    })
}

fn foreign_key() -> impl Strategy<Value = ForeignKey> {
    (object_name(), any::<bool>()).prop_map(|(ref_table, cascade)| ForeignKey {
        columns: vec!["a".into()],
        ref_table,
        ref_columns: vec!["b".into()],
        on_delete: if cascade { FkAction::Cascade } else { FkAction::NoAction },
        on_delete_columns: Vec::new(),
        on_update: FkAction::default(),
        match_full: false,
        deferrable: Default::default(),
        not_valid: false,
        comment: None,
    })
}

fn index() -> impl Strategy<Value = Index> {
    (any::<bool>(), name(), prop::option::of("[a-z] IS NULL")).prop_map(|(unique, column, predicate)| Index {
        parts: vec![IndexPart { column: Some(column), ..IndexPart::default() }],
        unique,
        method: None,
        include: Vec::new(),
        predicate,
        nulls_not_distinct: false,
        with: BTreeMap::new(),
        invalid: false,
        constraint: false,
        comment: None,
    })
}

prop_compose! {
    fn table()(
        name in object_name(),
        columns in prop::collection::vec(column(), 0..5),
        primary_key in prop::option::of(Just(PrimaryKey::over(None, vec!["a".into()]))),
        checks in named(check()),
        foreign_keys in named(foreign_key()),
        indexes in named(index()),
        unique in any::<bool>(),
        sync in any::<bool>(),
        comment in prop::option::of("[ -~]{0,9}"),
    ) -> Table {
        let mut seen = std::collections::BTreeSet::new();
        let columns = columns.into_iter().filter(|c| seen.insert(c.name.clone())).collect();
        let uniques = unique.then(|| ("u".to_owned(), Unique {
            columns: vec!["a".into()], include: vec![], nulls_not_distinct: false, deferrable: Default::default(), comment: None,
        })).into_iter().collect();
        let syncs = sync
            .then(|| ("s".to_owned(), Sync { fills: vec!["a".into()], ..Sync::default() }))
            .into_iter()
            .collect();
        Table { columns, primary_key, uniques, checks, foreign_keys, indexes, syncs, comment, ..Table::new(name) }
    }
}

prop_compose! {
    fn schema()(
        tables in prop::collection::vec(table(), 0..4),
        enums in prop::collection::vec((object_name(), prop::collection::vec("[a-z]{1,4}", 0..3)), 0..2),
    ) -> Schema {
        Schema {
            tables: tables.into_iter().map(|t| (t.name.clone(), t.into())).collect(),
            enums: enums
                .into_iter()
                .map(|(name, values)| (name.clone(), EnumType { name, values, comment: None }))
                .collect(),
            ..Schema::default()
        }
    }
}

fn plan(steps: Vec<Step>, before: &Schema, after: &Schema) -> Plan {
    Plan {
        format: PLAN_FORMAT,
        id: "20260102030405_try".into(),
        dialect: Dialect::Postgres,
        parent: None,
        before: Fingerprint::of(before),
        after: Fingerprint::of(after),
        strategy: None,
        allowed_drops: vec![],
        notes: vec!["a note with \"quotes\" and '''three'''".into()],
        checksum: String::new(),
        steps,
    }
}

fn step(sql: String, before: &Schema, after: &Schema) -> Step {
    Step {
        id: "01-try".into(),
        phase: Phase::Expand,
        title: "try".into(),
        cause: "because".into(),
        envelope: Envelope::Transaction,
        action: Action::Sql(vec![sql]),
        locks: vec![],
        rewrites: false,
        scans: false,
        rebuilds_indexes: false,
        keeps: Vec::new(),
        probes: Vec::new(),
        hazards: vec![],
        lock_timeout_ms: 200,
        statement_timeout_ms: 5000,
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
        effects: between(before, after),
    }
}

/// Schemas as a server would show them again: without column order.
fn sorted(mut schema: Schema) -> Schema {
    for table in schema.tables.values_mut() {
        table.columns.sort_by(|a, b| a.name.cmp(&b.name));
    }
    schema
}

proptest! {
    #[test]
    fn deltas_lead_there_and_back(before in schema(), after in schema()) {
        let step = step("SELECT 1".into(), &before, &after);
        let mut state = before.clone();
        step.apply_to(&mut state).unwrap();
        prop_assert_eq!(sorted(state.clone()), sorted(after));
        step.revert_on(&mut state).unwrap();
        prop_assert_eq!(sorted(state), sorted(before));
    }

    #[test]
    fn no_delta_exactly_when_the_fingerprint_is_the_same(a in schema(), b in schema()) {
        prop_assert!(between(&a, &a).is_empty());
        prop_assert_eq!(between(&a, &b).is_empty(), Fingerprint::of(&a) == Fingerprint::of(&b));
    }

    #[test]
    fn a_delta_made_for_another_schema_is_refused(a in schema(), b in schema(), c in schema()) {
        let deltas = between(&a, &b);
        let mut state = c.clone();
        if deltas.iter().try_for_each(|d| d.apply(&mut state)).is_ok() {
            // It may fit by chance, then what it touches was alike.
            let mut again = state.clone();
            deltas.iter().rev().try_for_each(|d| d.clone().inverted().apply(&mut again)).unwrap();
            prop_assert_eq!(sorted(again), sorted(c));
        }
    }

    #[test]
    fn a_plan_survives_its_file(before in schema(), after in schema(), sql in "[ -~\n\t']{0,40}") {
        let plan = plan(vec![step(sql, &before, &after)], &before, &after);
        let text = plan.to_toml().unwrap();
        let read = Plan::from_toml(&text).unwrap();
        prop_assert_eq!(&read.steps, &plan.steps);
        prop_assert_eq!(&read.notes, &plan.notes);
        prop_assert_eq!(read.to_toml().unwrap(), text);
    }

    #[test]
    fn a_plan_that_was_cut_off_is_no_plan(before in schema(), after in schema(), at in 0.0..1.0f64) {
        let plan = plan(vec![step("SELECT 1".into(), &before, &after); 3], &before, &after);
        let text = plan.to_toml().unwrap();
        let mut cut = (text.len() as f64 * at) as usize;
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        // The last line break alone may go.
        if text[cut..].trim().is_empty() {
            return Ok(());
        }
        prop_assert!(Plan::from_toml(&text[..cut]).is_err());
    }

    #[test]
    fn a_snapshot_survives_its_file(schema in schema()) {
        let snapshot = Snapshot {
            format: SNAPSHOT_FORMAT,
            dialect: Dialect::Sqlite,
            head: None,
            sources: BTreeMap::from([("a.b".to_owned(), "x'\"\n".to_owned())]),
            schema,
        };
        let text = toml::to_string_pretty(&snapshot).unwrap();
        prop_assert_eq!(toml::from_str::<Snapshot>(&text).unwrap(), snapshot);
    }
}

#[test]
fn an_edited_statement_is_noticed_and_a_reformatted_one_is_not() {
    let empty = Schema::default();
    let text = plan(vec![step("ALTER TABLE a ADD b int".into(), &empty, &empty)], &empty, &empty).to_toml().unwrap();
    assert!(Plan::from_toml(&text.replace("ADD b int", "ADD  b\tint")).is_ok());
    let edited = text.replace("ADD b int", "ADD b text");
    assert!(matches!(Plan::from_toml(&edited), Err(PlanFileError::Checksum { .. })));
    let newer = text.replace("format = 1", "format = 2");
    assert!(matches!(Plan::from_toml(&newer), Err(PlanFileError::TooNew { found: 2 })));
}
