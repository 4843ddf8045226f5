//! The diff: empty exactly for equal schemas, complete, and never guessing.

use std::collections::BTreeMap;

use cargo_schemadiff::diff::{Change, DiffOptions, Hints, add_rename, column_name, diff, unmanaged};
use proptest::prelude::*;
use schemadiff::model::{
    Check, Column, EnumType, Fingerprint, ForeignKey, Index, IndexPart, ObjectName, PrimaryKey, Schema, Table, Unique,
};

/// Few names, so that two random schemas share most of them.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "dot.ted"]).prop_map(String::from)
}

fn named<V: std::fmt::Debug>(value: impl Strategy<Value = V>) -> impl Strategy<Value = BTreeMap<String, V>> {
    prop::collection::btree_map(name(), value, 0..3)
}

fn column() -> impl Strategy<Value = Column> {
    let ty = prop::sample::select(vec!["bigint", "text", "mood"]);
    (name(), ty, any::<bool>(), prop::option::of("[0-2]")).prop_map(|(name, ty, nullable, default)| Column {
        nullable,
        default,
        ..Column::new(name, ty)
    })
}

prop_compose! {
    fn table()(
        name in name(),
        columns in prop::collection::vec(column(), 0..4),
        key in prop::option::of(name()),
        uniques in named(name()),
        checks in named("[ab] > [0-2]"),
        keys in named((name(), name())),
        indexes in named(name()),
        comment in prop::option::of("[xy]"),
    ) -> Table {
        let mut table = Table::new(ObjectName::new(name));
        for column in columns {
            if table.column(&column.name).is_none() {
                table.columns.push(column);
            }
        }
        table.primary_key = key.map(|column| PrimaryKey::over(None, vec![column]));
        table.uniques = uniques.into_iter().map(|(n, c)| (n, unique(&c))).collect();
        table.checks = checks.into_iter().map(|(n, e)| (n, check(&e))).collect();
        table.foreign_keys = keys.into_iter().map(|(n, (c, t))| (n, foreign_key(&c, &t))).collect();
        table.indexes = indexes.into_iter().map(|(n, c)| (n, index(&c))).collect();
        table.comment = comment;
        table
    }
}

prop_compose! {
    fn schema()(
        tables in prop::collection::vec(table(), 0..4),
        labels in prop::option::of(prop::collection::vec("[a-c]", 0..3)),
    ) -> Schema {
        let mood = labels.map(|values| EnumType { name: ObjectName::new("mood"), values, comment: None });
        Schema {
            tables: tables.into_iter().map(|t| (t.name.clone(), t.into())).collect(),
            enums: mood.into_iter().map(|e| (e.name.clone(), e)).collect(),
            ..Schema::default()
        }
    }
}

fn unique(column: &str) -> Unique {
    Unique {
        columns: vec![column.into()],
        include: vec![],
        nulls_not_distinct: false,
        deferrable: Default::default(),
        comment: None,
    }
}

fn check(expr: &str) -> Check {
    Check { expr: expr.into(), not_valid: false, no_inherit: false, comment: None }
}

fn foreign_key(column: &str, table: &str) -> ForeignKey {
    ForeignKey {
        columns: vec![column.into()],
        ref_table: ObjectName::new(table),
        ref_columns: vec!["a".into()],
        on_delete: Default::default(),
        on_delete_columns: Vec::new(),
        on_update: Default::default(),
        match_full: false,
        deferrable: Default::default(),
        not_valid: false,
        comment: None,
    }
}

fn index(column: &str) -> Index {
    Index { parts: vec![IndexPart { column: Some(column.into()), ..Default::default() }], ..Default::default() }
}

/// Acknowledges every drop there could be.
fn everything_may_go(schema: &Schema) -> DiffOptions {
    let tables = schema.tables.keys().map(ToString::to_string);
    let columns = schema.tables.values().flat_map(|t| t.columns.iter().map(|c| column_name(&t.name, &c.name)));
    let labels = schema.enums.values().flat_map(|e| e.values.iter().map(|label| column_name(&e.name, label)));
    DiffOptions { allowed_drops: tables.chain(columns).chain(labels).collect(), ..DiffOptions::default() }
}

proptest! {
    #[test]
    fn a_schema_does_not_differ_from_itself(schema in schema()) {
        prop_assert_eq!(diff(&schema, &schema, &Hints::default(), &DiffOptions::default()).unwrap(), vec![]);
    }

    #[test]
    fn equality_is_the_fingerprints_and_the_changes_are_complete(current in schema(), desired in schema()) {
        let changes = diff(&current, &desired, &Hints::default(), &everything_may_go(&current)).unwrap();
        prop_assert_eq!(changes.is_empty(), Fingerprint::of(&current) == Fingerprint::of(&desired));
        let mut result = current;
        for change in &changes {
            change.apply_to(&mut result);
        }
        prop_assert_eq!(Fingerprint::of(&result), Fingerprint::of(&desired));
    }

    #[test]
    fn without_an_acknowledgement_nothing_is_dropped(current in schema(), desired in schema()) {
        if let Ok(changes) = diff(&current, &desired, &Hints::default(), &DiffOptions::default()) {
            let drops = |c: &Change| matches!(c, Change::DropTable { .. } | Change::DropColumn { .. });
            prop_assert!(!changes.iter().any(drops));
        }
    }
}

fn users(columns: &[(&str, &str)]) -> Table {
    let columns = columns.iter().map(|(name, ty)| Column::new(*name, *ty)).collect();
    Table { columns, ..Table::new(ObjectName::new("users")) }
}

fn schema_of(tables: impl IntoIterator<Item = Table>) -> Schema {
    Schema { tables: tables.into_iter().map(|t| (t.name.clone(), t.into())).collect(), ..Schema::default() }
}

fn allow(names: &[&str]) -> DiffOptions {
    DiffOptions { allowed_drops: names.iter().map(ToString::to_string).collect(), ..DiffOptions::default() }
}

#[test]
fn a_possible_rename_is_asked_back_with_both_ways_out() {
    let current = schema_of([users(&[("id", "bigint"), ("fullname", "text")])]);
    let desired = schema_of([users(&[("id", "bigint"), ("display_name", "text")])]);
    let error = diff(&current, &desired, &Hints::default(), &allow(&[])).unwrap_err();
    assert_eq!(error.code, "SD0601");
    let text = error.to_string();
    for part in
        ["renamed_from = \"fullname\"", "--rename users.fullname=users.display_name", "--allow-drop users.fullname"]
    {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    let changes = diff(&current, &desired, &Hints::default(), &allow(&["users.fullname"])).unwrap();
    assert!(matches!(&changes[..], [Change::AddColumn { .. }, Change::DropColumn { .. }]), "{changes:?}");

    let mut hints = Hints::default();
    add_rename(&mut hints, "users.fullname=users.display_name", &current, &desired).unwrap();
    let changes = diff(&current, &desired, &hints, &allow(&[])).unwrap();
    assert!(matches!(&changes[..], [Change::RenameColumn { .. }]), "{changes:?}");
    assert_eq!(diff(&desired, &desired, &hints, &allow(&[])).unwrap(), vec![], "a rename that is done is no rename");
}

#[test]
fn an_unrelated_drop_needs_only_its_acknowledgement() {
    let current = schema_of([users(&[("id", "bigint"), ("photo", "bytea")])]);
    let desired = schema_of([users(&[("id", "bigint"), ("born", "date"), ("age", "integer")])]);
    let error = diff(&current, &desired, &Hints::default(), &allow(&[])).unwrap_err();
    assert_eq!(error.code, "SD0602");
    assert!(error.to_string().contains("--allow-drop users.photo"), "{error}");
}

#[test]
fn a_table_may_be_renamed_too() {
    let current = schema_of([users(&[("id", "bigint"), ("email", "text")])]);
    let customers = Table { name: ObjectName::new("customers"), ..users(&[("id", "bigint"), ("email", "text")]) };
    let desired = schema_of([customers]);
    let error = diff(&current, &desired, &Hints::default(), &allow(&[])).unwrap_err();
    assert_eq!(error.code, "SD0601");
    assert!(error.to_string().contains("--rename users=customers"), "{error}");
    let mut hints = Hints::default();
    add_rename(&mut hints, "users=customers", &current, &desired).unwrap();
    let changes = diff(&current, &desired, &hints, &allow(&[])).unwrap();
    assert!(matches!(&changes[..], [Change::RenameTable { .. }]), "{changes:?}");
}

#[test]
fn a_rename_to_something_that_is_there_is_refused() {
    let current = schema_of([users(&[("a", "text"), ("b", "text")])]);
    let desired = schema_of([users(&[("b", "text")])]);
    let mut hints = Hints::default();
    hints.renamed_columns.insert((ObjectName::new("users"), "b".into()), "a".into());
    assert_eq!(diff(&current, &desired, &hints, &allow(&[])).unwrap_err().code, "SD0603");
}

#[test]
fn what_the_project_does_not_manage_is_left_alone() {
    let audit = Table { name: ObjectName::new("audit"), ..users(&[("id", "bigint")]) };
    let current = schema_of([users(&[("id", "bigint")]), audit]);
    let desired = schema_of([users(&[("id", "bigint")])]);
    let options = DiffOptions { managed: Some([ObjectName::new("users")].into()), ..DiffOptions::default() };
    assert_eq!(diff(&current, &desired, &Hints::default(), &options).unwrap(), vec![]);
    assert_eq!(unmanaged(&current, &desired, &options), [ObjectName::new("audit")]);
}

#[test]
fn a_rename_flag_that_means_nothing_is_a_usage_error() {
    let schema = schema_of([users(&[("id", "bigint")])]);
    for text in ["users", "users.x=users.y", "a=b", "=", "users=\"open"] {
        assert_eq!(add_rename(&mut Hints::default(), text, &schema, &schema).unwrap_err().code, "SD0206", "{text}");
    }
}
