//! Can code that was compiled with one schema run against a database in some state?
//!
//! [`serves`] is the one predicate that everything hangs on: the planner derives phases from it, the gate asks it for
//! every live version, the boot check asks it for the version that wants to start, `abort` asks it on the way back, and
//! `check` asks it whether structs that differ from the migrations could run all the same.
//!
//! What "served" means, per kind of access a version makes to a table it declares:
//!
//! - **read**: the table (or a compatibility view of that name) and every declared column exist, the column's type is
//!   one that the code can decode ([`types::fit`]), its backfill has ended, and a column that the code reads as never NULL cannot hold NULL: it is
//!   NOT NULL, or a sync trigger fills it, or a valid check proves it.
//! - **insert**: every column that the code does not know gets a value by itself (nullable, default, identity,
//!   generated) or from a sync trigger; no declared ordinary column has become generated, and a column that the code has the
//!   engine compute is computed; a partition that the code counts on is attached.
//! - **update, delete**: the same columns as for reads; a NULL that the code may write is refused by a column that is
//!   NOT NULL in the database, which is reported as [`Reason::RefusesNull`] by [`strictly_serves`] only: code is
//!   deployed before a constraint is relaxed, never after, so `serves` allows it (the plan says so as a hazard).
//!
//! - **views, functions, procedures, sequences** that it declares exist, and a view has the columns that it knows; triggers, rules and
//!   policies that its writes rely on exist, on the table or behind the view of its name. A domain is decoded as its base type.
//!
//! That is the question of a version that wants to **start**. A version that **runs** asks more: [`breaks`] says what a
//! step takes away from it. A constraint that it does not declare, also one over a column that it does not know and that
//! its rows have a default in, a unique key that its `ON CONFLICT` names, an index that its queries lean on: none of them keeps a version from starting, and none may change under its feet. Phases and
//! gates are answers of `breaks`, boot checks are answers of `serves`.

mod given;
mod members;
mod objects;
mod renewed;
pub mod types;
mod views;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use self::types::Fit;
use crate::model::{Column, CompatView, Dialect, IdentityKind, ObjectName, Schema, Table, implies};

pub use renewed::renewed;
pub use views::{VIEW_SCHEMA, view_schema};

/// Why a schema is not served.
///
/// Names are the code's: `table` is the name by which the code reaches the table (that of a compatibility view, if it
/// goes through one), and `column` the name in it, or in the table itself where the code does not know the column.
/// `columns` are a key's parts, joined by commas, and after `WHERE` the condition of a partial one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
#[allow(missing_docs, reason = "table, column and columns mean the same everywhere and are explained once")]
pub enum Reason {
    /// The table is not there.
    NoTable { table: ObjectName },
    /// The table is none of the partitions yet, or any more, that the code counts on: rows have no place.
    NoPartition { table: ObjectName },
    /// The column is not there.
    NoColumn { table: ObjectName, column: String },
    /// The column has another type.
    OtherType {
        table: ObjectName,
        column: String,
        /// The type that the code declares, with its collation if it has one.
        declared: String,
        /// The type that the column has, written likewise.
        actual: String,
    },
    /// The column has another type, but the code can work with it.
    NearType {
        table: ObjectName,
        column: String,
        /// The type that the code declares, with its collation if it has one.
        declared: String,
        /// The type that the column has, written likewise.
        actual: String,
    },
    /// The column may hold NULL, the code cannot read it.
    MayBeNull { table: ObjectName, column: String },
    /// Rows from before the column do not hold their value yet: the backfill has not ended.
    NotFilled { table: ObjectName, column: String },
    /// The column does not take the NULL that the code may write.
    RefusesNull { table: ObjectName, column: String },
    /// A column unknown to the code must be given a value.
    NeedsValue { table: ObjectName, column: String },
    /// The engine computes a column that the code writes.
    NotWritable { table: ObjectName, column: String },
    /// The engine no longer gives the column the value that the code leaves to it.
    NoLongerFilled { table: ObjectName, column: String },
    /// The enumerated type lacks a label that the code may write.
    NoEnumValue {
        /// The type.
        enumeration: ObjectName,
        /// The label that it lacks.
        value: String,
    },
    /// The enumerated type holds a label that the code cannot read.
    UnknownEnumValue {
        /// The type.
        enumeration: ObjectName,
        /// The label that the code does not know.
        value: String,
    },
    /// A constraint that the code does not declare may refuse what it writes.
    Constrained {
        table: ObjectName,
        /// Its name in the database.
        constraint: String,
    },
    /// A unique key that the code declares is not there: its `ON CONFLICT` fails.
    NoUniqueKey { table: ObjectName, columns: String },
    /// A trigger that fills a column unknown to the code goes: its writes would leave that column empty.
    LosesTrigger { table: ObjectName, column: String },
    /// An index that the code declares is not there: its queries may be slow.
    NoIndex { table: ObjectName, columns: String },
    /// A view, a function, a sequence or the like that the code may name is not there.
    NoObject {
        /// Kind and name.
        object: String,
    },
    /// A view does not have the column, or has it with another type.
    OtherObject {
        /// Kind and name.
        object: String,
        column: String,
    },
    /// The view goes through which the code sees the table as it was: what `SELECT *` returns changes under statements that
    /// the server keeps prepared, and they fail.
    LosesView { table: ObjectName },
    /// A later step makes the type of a column anew, which statements that were prepared before it do not survive.
    Renewed {
        /// Table.
        table: ObjectName,
        /// Column.
        column: String,
    },
}

impl Reason {
    /// The table that it is about; none where it is about a type or another object.
    #[must_use]
    pub fn table(&self) -> Option<&ObjectName> {
        match self {
            Self::NoTable { table }
            | Self::NoPartition { table }
            | Self::NoColumn { table, .. }
            | Self::OtherType { table, .. }
            | Self::NearType { table, .. }
            | Self::MayBeNull { table, .. }
            | Self::NotFilled { table, .. }
            | Self::RefusesNull { table, .. }
            | Self::NeedsValue { table, .. }
            | Self::NotWritable { table, .. }
            | Self::NoLongerFilled { table, .. }
            | Self::Constrained { table, .. }
            | Self::NoUniqueKey { table, .. }
            | Self::LosesTrigger { table, .. }
            | Self::NoIndex { table, .. }
            | Self::LosesView { table }
            | Self::Renewed { table, .. } => Some(table),
            Self::NoEnumValue { .. }
            | Self::UnknownEnumValue { .. }
            | Self::NoObject { .. }
            | Self::OtherObject { .. } => None,
        }
    }

    /// Whether it keeps a version from starting; the others only matter when they come up while it runs.
    fn prevents_start(&self) -> bool {
        !matches!(
            self,
            Self::RefusesNull { .. }
                | Self::NearType { .. }
                | Self::UnknownEnumValue { .. }
                | Self::Constrained { .. }
                | Self::NoUniqueKey { .. }
                | Self::NoIndex { .. }
                | Self::LosesTrigger { .. }
                | Self::LosesView { .. }
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTable { table } => write!(f, "table `{table}` does not exist"),
            Self::NoPartition { table } => write!(f, "table `{table}` is not attached as a partition"),
            Self::NoColumn { table, column } => {
                write!(f, "column `{table}.{column}` does not exist")
            }
            Self::OtherType { table, column, declared, actual } => {
                write!(f, "column `{table}.{column}` is {actual}, the code expects {declared}")
            }
            Self::NearType { table, column, declared, actual } => {
                write!(f, "column `{table}.{column}` is {actual}, the code says {declared} and can work with it")
            }
            Self::MayBeNull { table, column } => {
                write!(f, "column `{table}.{column}` may be NULL, the code reads it as never NULL")
            }
            Self::NotFilled { table, column } => {
                write!(f, "column `{table}.{column}` is not filled for all rows yet")
            }
            Self::RefusesNull { table, column } => {
                write!(f, "column `{table}.{column}` is NOT NULL, the code may write NULL")
            }
            Self::NeedsValue { table, column } => {
                write!(f, "column `{table}.{column}` needs a value on insert, the code does not know it")
            }
            Self::NotWritable { table, column } => {
                write!(f, "column `{table}.{column}` is generated, the code writes it")
            }
            Self::NoLongerFilled { table, column } => {
                write!(f, "column `{table}.{column}` has no default any more, the code leaves it to the database")
            }
            Self::NoEnumValue { enumeration, value } => {
                write!(f, "type `{enumeration}` has no value '{value}', the code may write it")
            }
            Self::UnknownEnumValue { enumeration, value } => {
                write!(f, "type `{enumeration}` has the value '{value}', the code cannot read it")
            }
            Self::Constrained { table, constraint } => {
                write!(
                    f,
                    "constraint `{constraint}` on `{table}` may refuse what the code writes, it does not declare it"
                )
            }
            Self::NoUniqueKey { table, columns } => {
                write!(f, "`{table}` has no unique key ({columns}), the code may name it in ON CONFLICT")
            }
            Self::LosesTrigger { table, column } => {
                write!(f, "column `{table}.{column}` is filled by a trigger for code that does not know it")
            }
            Self::NoIndex { table, columns } => {
                write!(f, "`{table}` has no index ({columns}), the code's queries may rely on it")
            }
            Self::NoObject { object } => write!(f, "{object} does not exist"),
            Self::OtherObject { object, column } => {
                write!(f, "{object} does not have the column `{column}` as the code knows it")
            }
            Self::Renewed { table, column } => {
                write!(
                    f,
                    "the type of `{table}.{column}` is still to be made anew, which prepared statements do not survive"
                )
            }
            Self::LosesView { table } => {
                write!(f, "`{table}` is seen through a view that shows it as it was, which the code's `SELECT *` needs")
            }
        }
    }
}

/// Whether code with schema `code` runs against a database in state `state`; the reasons when it does not.
///
/// # Errors
/// All reasons, in order, never an empty list.
pub fn serves(dialect: Dialect, state: &Schema, code: &Schema) -> Result<(), Vec<Reason>> {
    let reasons: Vec<_> = strict_reasons(dialect, state, code).into_iter().filter(Reason::prevents_start).collect();
    if reasons.is_empty() { Ok(()) } else { Err(reasons) }
}

/// What a step from `before` to `after` takes away from code that runs: the reasons that were not there before it.
///
/// A new label of an enumerated type is none: the code meets it only when another version writes it, and waiting for the
/// old version to end would keep the new one from ever starting.
pub fn breaks(dialect: Dialect, before: &Schema, after: &Schema, code: &Schema) -> Vec<Reason> {
    let old = strict_reasons(dialect, before, code);
    let mut reasons = strict_reasons(dialect, after, code);
    reasons.retain(|r| !matches!(r, Reason::UnknownEnumValue { .. }) && !old.contains(r));
    objects::restrictions(before, after, code, &mut reasons);
    for declared in code.tables.values() {
        if let (Some(before), Some(after)) = (Reached::by(before, declared), Reached::by(after, declared)) {
            lost_triggers(&before, &after, declared, &mut reasons);
            if before.view.is_some() && before.shape() != after.shape() {
                reasons.push(Reason::LosesView { table: declared.name.clone() });
            }
        }
    }
    reasons
}

/// What code reaches under a table's name: a table, or one behind a view.
struct Reached<'s> {
    base: &'s Table,
    view: Option<&'s CompatView>,
}

impl<'s> Reached<'s> {
    /// A view comes first: where both are there, the view is in a database schema that the code looks into first.
    fn by(state: &'s Schema, declared: &Table) -> Option<Self> {
        match state.compat_views.get(&declared.name) {
            Some(view) => Some(Self { base: state.table(&view.table)?, view: Some(view) }),
            None => Some(Self { base: state.table(&declared.name)?, view: None }),
        }
    }

    /// The table's name for a column that the code names.
    fn real_name(&self, column: &str) -> Option<String> {
        match self.view {
            Some(view) => view.columns.get(column).cloned(),
            None => Some(column.to_owned()),
        }
    }

    /// Names and types of what `SELECT *` returns.
    fn shape(&self) -> BTreeMap<&str, Option<&str>> {
        let ty = |real: &str| self.base.column(real).map(|c| c.ty.as_str());
        match self.view {
            Some(view) => view.columns.iter().map(|(seen, real)| (seen.as_str(), ty(real))).collect(),
            None => self.base.columns.iter().map(|c| (c.name.as_str(), Some(c.ty.as_str()))).collect(),
        }
    }
}

fn lost_triggers(before: &Reached<'_>, after: &Reached<'_>, declared: &Table, reasons: &mut Vec<Reason>) {
    let known: Vec<_> = declared.columns.iter().filter_map(|c| after.real_name(&c.name)).collect();
    let unknown = after.base.columns.iter().map(|c| &c.name).filter(|name| !known.contains(name));
    for column in unknown.filter(|name| before.base.is_looked_after(name) && !after.base.is_looked_after(name)) {
        reasons.push(Reason::LosesTrigger { table: declared.name.clone(), column: column.clone() });
    }
}

/// [`serves`], and no value that the code can express is refused, none that the database can hold is unreadable, and
/// all keys and indexes that the code declares are there.
///
/// # Errors
/// All reasons, in order, never an empty list.
pub fn strictly_serves(dialect: Dialect, state: &Schema, code: &Schema) -> Result<(), Vec<Reason>> {
    let reasons = strict_reasons(dialect, state, code);
    if reasons.is_empty() { Ok(()) } else { Err(reasons) }
}

fn strict_reasons(dialect: Dialect, state: &Schema, code: &Schema) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for (name, declared) in &code.tables {
        let declared = &*code.with_domains(code.whole(declared));
        match Reached::by(state, declared) {
            Some(reached) => {
                let in_base = |column: &str| reached.real_name(column);
                let base = &*state.with_domains(state.whole(reached.base));
                let types = Types { dialect, state, code };
                access(types, base, name, declared, in_base, &mut reasons);
                members::compare(dialect, state, base, declared, in_base, &mut reasons);
                if declared.partition_of.is_some() && base.partition_of.is_none() {
                    reasons.push(Reason::NoPartition { table: name.clone() });
                }
            }
            None => reasons.push(Reason::NoTable { table: name.clone() }),
        }
    }
    objects::missing(state, code, &mut reasons);
    for (name, declared) in &code.enums {
        let Some(actual) = state.enums.get(name) else {
            continue; // a column of that type says so already
        };
        for value in declared.values.iter().filter(|v| !actual.values.contains(v)) {
            reasons.push(Reason::NoEnumValue { enumeration: name.clone(), value: value.clone() });
        }
        for value in actual.values.iter().filter(|v| !declared.values.contains(v)) {
            reasons.push(Reason::UnknownEnumValue { enumeration: name.clone(), value: value.clone() });
        }
    }
    for (name, declared) in &code.domains {
        let Some(actual) = state.domains.get(name) else { continue };
        for (constraint, check) in &actual.checks {
            if !declared.checks.values().any(|known| implies(dialect, &[], &known.expr, &check.expr)) {
                reasons.push(Reason::Constrained { table: name.clone(), constraint: constraint.clone() });
            }
        }
    }
    reasons
}

/// What the names of types mean on both sides.
#[derive(Clone, Copy)]
struct Types<'s> {
    dialect: Dialect,
    state: &'s Schema,
    code: &'s Schema,
}

impl Types<'_> {
    /// Over the wire a value of a domain is one of its base type.
    fn fit(self, actual: &str, declared: &str) -> Fit {
        let (found, expected) = (self.state.base_type(actual), self.code.base_type(declared));
        match types::fit(self.dialect, found, expected) {
            Fit::Same if self.state.domain(actual).map(|d| &d.name) != self.code.domain(declared).map(|d| &d.name) => {
                Fit::Decodes
            }
            fit => fit,
        }
    }
}

/// `in_base` translates a column name of the code into one of the base table.
fn access(
    types: Types<'_>,
    base: &Table,
    seen_as: &ObjectName,
    declared: &Table,
    in_base: impl Fn(&str) -> Option<String>,
    reasons: &mut Vec<Reason>,
) {
    let mut known = Vec::new();
    for column in &declared.columns {
        let (table, name) = (seen_as.clone(), column.name.clone());
        let Some(actual) = in_base(&column.name).and_then(|real| base.column(&real)) else {
            reasons.push(Reason::NoColumn { table, column: name });
            continue;
        };
        known.push(actual.name.clone());
        reasons.extend(other_type(types, &table, actual, column));
        if awaits_backfill(base, &actual.name, column.nullable) {
            reasons.push(Reason::NotFilled { table: table.clone(), column: name.clone() });
        } else if actual.nullable
            && !column.nullable
            && !base.is_valued(&actual.name)
            && !proven_not_null(base, &actual.name)
        {
            reasons.push(Reason::MayBeNull { table: table.clone(), column: name.clone() });
        }
        if !actual.nullable && column.nullable && !base.is_synced(&actual.name) {
            reasons.push(Reason::RefusesNull { table: table.clone(), column: name.clone() });
        }
        let is_known = |other: &Column| declared.columns.iter().any(|c| in_base(&c.name).as_ref() == Some(&other.name));
        let mut with_it = base.null_with(&actual.name).filter_map(|other| base.column(other));
        if column.nullable && with_it.any(|other| !is_known(other) && refuses_null(base, other)) {
            reasons.push(Reason::RefusesNull { table: table.clone(), column: name.clone() });
        }
        let writes = column.generated.is_none() && !always(column);
        if writes && (actual.generated.is_some() || always(actual)) {
            reasons.push(Reason::NotWritable { table: table.clone(), column: name.clone() });
        }
        let left_to_engine = column.default.is_some() || column.identity.is_some() || column.generated.is_some();
        // What the code never writes would be NULL, or whatever was there before.
        let computed = column.generated.is_some() && actual.generated.is_none() && !base.is_valued(&actual.name);
        if computed || left_to_engine && !may_be_left_out(base, actual) {
            reasons.push(Reason::NoLongerFilled { table, column: name });
        }
    }
    for column in &base.columns {
        if !known.contains(&column.name) && !may_be_left_out(base, column) {
            reasons.push(Reason::NeedsValue { table: seen_as.clone(), column: column.name.clone() });
        }
    }
}

fn other_type(types: Types<'_>, table: &ObjectName, actual: &Column, column: &Column) -> Option<Reason> {
    let (table, name) = (table.clone(), column.name.clone());
    let (declared, found) = (type_text(column), type_text(actual));
    let same_order = actual.collation == column.collation;
    match types.fit(&actual.ty, &column.ty) {
        Fit::Same if same_order => None,
        // SQLite prepares its statements anew by itself; elsewhere a change of collation fails them, as one of type does.
        Fit::Same | Fit::Decodes if same_order || types.dialect == Dialect::Sqlite => {
            Some(Reason::NearType { table, column: name, declared, actual: found })
        }
        _ => Some(Reason::OtherType { table, column: name, declared, actual: found }),
    }
}

/// Whether an INSERT succeeds that does not name the column. A check may refuse the NULL that it would get, also one that
/// is not valid for older rows.
fn may_be_left_out(base: &Table, column: &Column) -> bool {
    let gets_a_value = column.default.is_some() || column.identity.is_some() || column.generated.is_some();
    gets_a_value || base.is_valued(&column.name) || !refuses_null(base, column)
}

/// Whether a row cannot have NULL in the column.
fn refuses_null(base: &Table, column: &Column) -> bool {
    !column.nullable || base.checks.values().any(|c| is_not_null_check(&c.expr, &column.name))
}

/// Whether the engine refuses a value that the code gives.
fn always(column: &Column) -> bool {
    column.identity.as_ref().is_some_and(|identity| identity.kind == IdentityKind::Always)
}

/// Rows may still lack the column's value. Code that has read the column as nullable all along may go on while it becomes
/// NOT NULL; of a new column even a nullable one would be a wrong answer.
fn awaits_backfill(base: &Table, column: &str, may_be_null: bool) -> bool {
    let there_before = base.syncs.values().any(|s| s.there_before.iter().any(|c| c == column));
    base.awaits_backfill(column) && !(there_before && may_be_null)
}

fn type_text(column: &Column) -> String {
    match &column.collation {
        Some(collation) => format!("{} COLLATE {collation}", column.ty),
        None => column.ty.clone(),
    }
}

/// Whether a valid check constraint of schemadiff's own proves that the column holds no NULL although it is nullable.
fn proven_not_null(table: &Table, column: &str) -> bool {
    table.checks.values().any(|c| !c.not_valid && is_not_null_check(&c.expr, column))
}

/// Whether the expression is `column IS NOT NULL`, in any of the spellings that servers give it.
pub fn is_not_null_check(expr: &str, column: &str) -> bool {
    let bare = expr.trim().trim_start_matches('(').trim_end_matches(')').trim();
    bare.strip_suffix("IS NOT NULL").map(str::trim).is_some_and(|subject| {
        subject == column
            || subject.strip_prefix('"').and_then(|s| s.strip_suffix('"')) == Some(&column.replace('"', "\"\""))
    })
}
