//! Pairs of a state and a code schema that differ in a few things.

use std::{collections::BTreeMap, fmt};

use proptest::prelude::*;
use schemadiff::model::{
    Check, Column, CompatView, Dialect, EnumType, Generated, Identity, IdentityKind, Index, IndexPart, ObjectName,
    PrimaryKey, Schema, Table,
};

/// What a database holds, and what code declares.
#[derive(Clone)]
pub struct Pair {
    pub state: Schema,
    pub code: Schema,
}

/// What was drawn, in a few lines: it is read when a pair fails.
impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (side, schema) in [("state", &self.state), ("code", &self.code)] {
            for table in schema.tables.values() {
                writeln!(f, "\n{side}: {}", table.name)?;
                for c in &table.columns {
                    let null = if c.nullable { "NULL" } else { "NOT NULL" };
                    let (default, generated) = (&c.default, c.generated.as_ref().map(|g| &g.expr));
                    let identity = c.identity.as_ref().map(|i| i.kind);
                    writeln!(f, "  {} {} {null} {default:?} {generated:?} {identity:?}", c.name, c.ty)?;
                }
                let indexes =
                    table.indexes.values().map(|i| i.parts.iter().filter_map(|p| p.column.as_deref()).collect());
                let indexes: Vec<Vec<&str>> = indexes.collect();
                writeln!(f, "  checks {:?} unique {indexes:?}", table.checks.keys())?;
            }
            writeln!(f, "  {:?} {:?}", schema.enums.values().map(|e| &e.values), schema.compat_views)?;
        }
        Ok(())
    }
}

/// The table as code calls it.
pub const TABLE: &str = "t";
/// What it is called where a compatibility view stands before it.
pub const BASE: &str = "base";
/// The columns beside the key.
const NAMES: [&str; 3] = ["a", "b", "c"];
const LABELS: [&str; 3] = ["sad", "ok", "glad"];

fn mood() -> ObjectName {
    ObjectName::new("mood")
}

/// Types of a state, with a literal of each that a default can be.
fn state_types(dialect: Dialect) -> Vec<(&'static str, &'static str)> {
    match dialect {
        Dialect::Sqlite => vec![
            ("INTEGER", "7"),
            ("INT", "7"),
            ("BIGINT", "7"),
            ("BOOLEAN", "1"),
            ("DECIMAL(10,2)", "7"),
            ("TEXT", "'x'"),
            ("VARCHAR(20)", "'x'"),
            ("CLOB", "'x'"),
            ("DATETIME", "'2024-01-01 00:00:00'"),
            ("REAL", "1.5"),
            ("DOUBLE PRECISION", "1.5"),
            ("BLOB", "x'07'"),
        ],
        _ => vec![
            ("bigint", "7"),
            ("integer", "7"),
            ("text", "'x'::text"),
            ("boolean", "true"),
            ("double precision", "1.5"),
            ("mood", "'sad'::mood"),
        ],
    }
}

fn code_types(dialect: Dialect) -> Vec<(&'static str, &'static str)> {
    match dialect {
        Dialect::Sqlite => {
            vec![("INTEGER", "7"), ("BOOLEAN", "1"), ("TEXT", "'x'"), ("VARCHAR(20)", "'x'"), ("REAL", "1.5")]
        }
        _ => vec![("bigint", "7"), ("int8", "7"), ("int4", "7"), ("text", "'x'::text"), ("bool", "true")],
    }
}

/// A literal of the type, as a default.
fn literal(dialect: Dialect, ty: &str) -> &'static str {
    let all = state_types(dialect);
    all.iter().find(|(known, _)| *known == ty).map_or("7", |(_, literal)| literal)
}

/// A literal of the type for a row, another one than the default and than that of another row.
pub fn row_literal(dialect: Dialect, ty: &str, row: usize) -> String {
    match literal(dialect, ty) {
        "true" if row == 0 => "false".to_owned(),
        same @ ("true" | "1" | "'sad'::mood") => same.to_owned(),
        bytes if bytes.starts_with("x'") => format!("x'0{}'", 8 + row),
        time if time.starts_with("'2024") => format!("'2024-01-0{} 00:00:00'", 2 + row),
        text if text.starts_with("'x'") => text.replacen('x', ["y", "z"][row], 1),
        other => other.replace('7', ["8", "9"][row]).replace("1.5", ["2.5", "3.5"][row]),
    }
}

/// How a column gets its value when nobody gives one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Statement,
    Default,
    Generated,
}

fn column(types: Vec<(&'static str, &'static str)>, key_type: &'static str) -> impl Strategy<Value = Column> {
    let source = prop_oneof![6 => Just(Source::Statement), 2 => Just(Source::Default), 1 => Just(Source::Generated)];
    (prop::sample::select(types), any::<bool>(), source).prop_map(move |((ty, literal), nullable, source)| {
        let mut column = Column { nullable, ..Column::new("", ty) };
        match source {
            Source::Statement => {}
            Source::Default => column.default = Some(literal.to_owned()),
            Source::Generated => {
                key_type.clone_into(&mut column.ty);
                // One that may be NULL is NULL in the second row.
                let expr = if nullable { "nullif(id, 1002)" } else { "id * 2" };
                column.generated = Some(Generated { expr: expr.to_owned(), stored: true });
            }
        }
        column
    })
}

fn key_type(dialect: Dialect) -> &'static str {
    if dialect == Dialect::Sqlite { "INTEGER" } else { "bigint" }
}

fn identity(dialect: Dialect) -> BoxedStrategy<Option<Identity>> {
    let of = |kind| Some(Identity { kind, sequence: None, options: None });
    match dialect {
        Dialect::Sqlite => Just(of(IdentityKind::ByDefault)).boxed(),
        _ => prop_oneof![
            3 => Just(of(IdentityKind::ByDefault)),
            1 => Just(of(IdentityKind::Always)),
            1 => Just(None),
        ]
        .boxed(),
    }
}

/// What becomes of one column between the state and the code.
#[derive(Debug, Clone)]
enum Turn {
    Same,
    OnlyInState,
    OnlyInCode,
    Nowhere,
    Nullable,
    Default,
    Other(Box<Column>),
}

fn turn(dialect: Dialect) -> impl Strategy<Value = Turn> {
    let other = column(code_types(dialect), key_type(dialect)).prop_map(|c| Turn::Other(Box::new(c)));
    prop_oneof![
        8 => Just(Turn::Same),
        2 => Just(Turn::OnlyInState),
        1 => Just(Turn::OnlyInCode),
        2 => Just(Turn::Nowhere),
        2 => Just(Turn::Nullable),
        1 => Just(Turn::Default),
        2 => other,
    ]
}

/// Whether a column that may be NULL is kept from it by a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    None,
    Valid,
    NotValid,
}

fn proof(dialect: Dialect) -> BoxedStrategy<Proof> {
    match dialect {
        Dialect::Sqlite => prop_oneof![4 => Just(Proof::None), 1 => Just(Proof::Valid)].boxed(),
        _ => prop_oneof![4 => Just(Proof::None), 1 => Just(Proof::Valid), 1 => Just(Proof::NotValid)].boxed(),
    }
}

/// One column of both sides.
fn both(dialect: Dialect, name: &'static str) -> impl Strategy<Value = (Option<Column>, Option<Column>, Proof)> {
    (column(state_types(dialect), key_type(dialect)), turn(dialect), proof(dialect)).prop_map(
        move |(found, turn, proof)| {
            let named = |c: Column| Column { name: name.to_owned(), ..c };
            let found = named(found);
            let same = found.clone();
            match turn {
                Turn::Same => (Some(found), Some(same), proof),
                Turn::OnlyInState => (Some(found), None, proof),
                Turn::OnlyInCode => (None, Some(same), proof),
                Turn::Nowhere => (None, None, proof),
                Turn::Nullable => (Some(found), Some(Column { nullable: !same.nullable, ..same }), proof),
                Turn::Default => {
                    let default = match &same.default {
                        None if same.generated.is_none() => Some(literal(dialect, &same.ty).to_owned()),
                        _ => None,
                    };
                    (Some(found), Some(Column { default, ..same }), proof)
                }
                // Service code that has an enumeration or bytes decodes nothing else into it.
                Turn::Other(_) if matches!(found.ty.as_str(), "mood" | "BLOB") => (Some(found), Some(same), proof),
                // The name does not say whether its writers put numbers or texts there: the code's own intent does.
                Turn::Other(other) if found.ty == "DATETIME" && matches!(other.ty.as_str(), "INTEGER" | "BOOLEAN") => {
                    let ty = "DECIMAL(10,2)".to_owned();
                    (Some(Column { default: None, ty, ..found }), Some(named(*other)), proof)
                }
                Turn::Other(other) => (Some(found), Some(named(*other)), proof),
            }
        },
    )
}

fn unique_on(columns: &[&str]) -> Index {
    let part = |c: &&str| IndexPart { column: Some((*c).to_owned()), ..IndexPart::default() };
    Index { parts: columns.iter().map(part).collect(), unique: true, ..Index::default() }
}

/// Unique keys over columns that have room for different values.
fn add_uniques(table: &mut Table, prefix: &str, keys: &[bool; 2]) {
    let room = |name: &str| {
        let small = ["boolean", "bool", "BOOLEAN", "mood"];
        table.column(name).is_some_and(|c| !small.contains(&c.ty.as_str()) && c.generated.is_none())
    };
    let wanted: [&[&str]; 2] = [&["a"], &["a", "b"]];
    let found: Vec<_> = wanted.into_iter().zip(keys).filter(|(k, on)| **on && k.iter().all(|c| room(c))).collect();
    for (at, (columns, _)) in found.into_iter().enumerate() {
        table.indexes.insert(format!("{prefix}_{at}"), unique_on(columns));
    }
}

fn table(dialect: Dialect, columns: Vec<Column>, identity: Option<Identity>) -> Table {
    let mut table = Table::new(ObjectName::new(TABLE));
    table.columns.push(Column { identity, ..Column::new("id", key_type(dialect)) });
    table.columns.extend(columns);
    let name = (dialect != Dialect::Sqlite).then(|| "t_pkey".to_owned());
    table.primary_key = Some(PrimaryKey::over(name, vec!["id".to_owned()]));
    table
}

fn schema(table: Table, labels: usize) -> Schema {
    let uses_mood = table.columns.iter().any(|c| c.ty == "mood");
    let values = LABELS[..labels].iter().map(ToString::to_string).collect();
    let enums = uses_mood.then(|| (mood(), EnumType { name: mood(), values, comment: None }));
    Schema {
        tables: [(table.name.clone(), table.into())].into(),
        enums: enums.into_iter().collect(),
        ..Schema::default()
    }
}

/// Puts a view before the table, under which some columns have another name and some are not seen.
fn behind_a_view(state: &mut Schema, renamed: [bool; 3], seen: [bool; 3]) {
    let Some(mut table) = state.tables.remove(&ObjectName::new(TABLE)).map(|t| t.into_inner()) else { return };
    table.name = ObjectName::new(BASE);
    // What names its columns would have to be renamed with them, and is tried without a view.
    table.indexes.clear();
    table.checks.clear();
    let mut columns = BTreeMap::from([("id".to_owned(), "id".to_owned())]);
    for (at, name) in NAMES.into_iter().enumerate() {
        let Some(column) = table.column_mut(name) else { continue };
        if renamed[at] {
            column.name = format!("{name}_renamed");
        }
        if seen[at] {
            columns.insert(name.to_owned(), column.name.clone());
        }
    }
    let view = CompatView { name: ObjectName::new(TABLE), table: table.name.clone(), columns };
    state.compat_views = [(view.name.clone(), view)].into();
    state.tables = [(table.name.clone(), table.into())].into();
}

prop_compose! {
    /// A pair for an engine.
    pub fn pair(dialect: Dialect)(
        columns in [both(dialect, NAMES[0]), both(dialect, NAMES[1]), both(dialect, NAMES[2])],
        keys in [identity(dialect), identity(dialect)],
        same_key in prop::bool::weighted(0.7),
        uniques in any::<([bool; 2], [bool; 2])>(),
        labels in (1..=3_usize, 1..=3_usize),
        view in prop::option::weighted(0.2, any::<([bool; 3], [bool; 3])>()),
        there in prop::bool::weighted(0.97),
    ) -> Pair {
        let found = columns.iter().filter_map(|(state, ..)| state.clone()).collect();
        let declared = columns.iter().filter_map(|(_, code, _)| code.clone()).collect();
        let [in_state, in_code] = keys;
        let mut state = table(dialect, found, in_state.clone());
        let mut code = table(dialect, declared, if same_key { in_state } else { in_code });
        state.checks = checks(&state, &columns);
        add_uniques(&mut state, "found", &uniques.0);
        add_uniques(&mut code, "declared", &uniques.1);
        let (mut state, code) = (schema(state, labels.0), schema(code, labels.1));
        if let (Some((renamed, seen)), true) = (view, dialect != Dialect::Sqlite) {
            behind_a_view(&mut state, renamed, seen.map(|s| s || renamed[0]));
        }
        if !there {
            state.tables.clear();
            state.compat_views.clear();
        }
        Pair { state, code }
    }
}

fn checks(state: &Table, columns: &[(Option<Column>, Option<Column>, Proof); 3]) -> BTreeMap<String, Check> {
    let mut checks = BTreeMap::new();
    for (found, _, proof) in columns {
        let Some(column) = found.as_ref().filter(|c| c.nullable && c.generated.is_none()) else { continue };
        if *proof != Proof::None && state.column(&column.name).is_some() {
            let check = Check {
                expr: format!("{} IS NOT NULL", column.name),
                not_valid: *proof == Proof::NotValid,
                no_inherit: false,
                comment: None,
            };
            checks.insert(format!("{}_there", column.name), check);
        }
    }
    checks
}
