//! What a step may fail on although its statements are right: rows that violate a new rule, values that do not convert, views
//! that use what goes. Each is derived from the step's effect, and asked of the database before the migration begins.
//!
//! The questions name tables and columns as they are before the migration. A column that the migration makes is
//! represented by the expression that will fill it.

mod borne;
mod catalogue;
mod domains;
mod labels;
mod losses;
mod partitions;

use std::borrow::Cow;

use schemadiff::{
    model::{Check, Column, Delta, ForeignKey, Index, ObjectKind, ObjectName, Table, expr, implies},
    plan::{Hazard, Probe},
};

pub(super) use domains::refused_back as refused_by_domain;
pub(super) use labels::holding;
pub(super) use losses::{rows_of, values_of};

use super::{
    context::{Context, Retype},
    graph::Placed,
    ops,
    proto::Work,
    synced,
};
use crate::{dialect::TypeChange, hazard};

/// Rows that a question returns at most.
const SAMPLE: usize = 5;

/// What a step may fail on.
pub(super) struct Danger {
    /// The question; none when it cannot be put before the migration.
    pub probe: Option<Probe>,
    pub hazard: Option<Hazard>,
}

/// All that a step may fail on.
pub(super) fn dangers(cx: &Context<'_>, placed: &Placed) -> Vec<Danger> {
    let mut dangers: Vec<Danger> = Vec::new();
    // A type or a label that is renamed takes the expressions along.
    let follows = placed.deltas.iter().any(|delta| matches!(delta, Delta::Enum { .. }));
    let sides = |delta: &Delta| match delta {
        Delta::Enum { before, after, .. } => Some((before.is_some(), after.is_some())),
        Delta::Domain { before, after, .. } => Some((before.is_some(), after.is_some())),
        Delta::Object { key, before, after } if key.kind == ObjectKind::Type => {
            Some((before.is_some(), after.is_some()))
        }
        _ => None,
    };
    let has = |wanted: (bool, bool)| placed.deltas.iter().any(|delta| sides(delta) == Some(wanted));
    let renames_type = has((true, false)) && has((false, true));
    let concerned = |delta: &&Delta| !(renames_type && matches!(delta, Delta::Column { .. } | Delta::Check { .. }));
    for delta in placed.deltas.iter().filter(concerned) {
        match delta {
            Delta::Index { table, before, after: Some(index), .. } if index.unique && before.is_none() => {
                dangers.extend(duplicates(cx, table, index));
            }
            Delta::Index { table, name, before: Some(_), after: None }
            | Delta::Unique { table, name, before: Some(_), after: None } => {
                dangers.extend(catalogue::identity_of(cx, table, None, Some(name)));
            }
            Delta::Unique { table, before: None, after: Some(unique), .. } if has_no_index_before(cx, table) => {
                dangers.extend(duplicates(cx, table, &ops::behind_unique(unique)));
            }
            Delta::PrimaryKey { table, before, after: Some(key) }
                if has_no_index_before(cx, table)
                    && before.as_ref().is_none_or(|before| before.columns != key.columns) =>
            {
                dangers.extend(duplicates(cx, table, &Index::over(&key.columns)));
            }
            Delta::Check { table, before, after: Some(check), .. }
                if !follows && proves(before.as_ref().map(|c| (&c.expr, c.not_valid)), check) =>
            {
                dangers.extend(violations(cx, table, check));
            }
            Delta::ForeignKey { table, before, after: Some(key), .. }
                if !key.not_valid
                    && before.as_ref().is_none_or(|b| {
                        b.not_valid
                            || ForeignKey { comment: None, ..b.clone() } != ForeignKey { comment: None, ..key.clone() }
                    }) =>
            {
                dangers.extend(orphans(cx, table, key));
            }
            Delta::Column { table, name, before: Some(before), after } => {
                dangers.extend(column(cx, table, name, before, after.as_ref()));
            }
            Delta::Sync { table, before: None, after: Some(_), .. } => {
                dangers.extend(catalogue::later_triggers(cx, table))
            }
            Delta::CompatView { before: None, after: Some(view), .. } => {
                dangers.extend(catalogue::goes_past_policies(cx, &view.table))
            }
            Delta::Domain { name, before: Some(before), after: Some(after) } => {
                dangers.extend(domains::dangers(cx, name, before, after));
            }
            Delta::Enum { name, before: Some(before), after: Some(after) } => {
                dangers.extend(labels::lost(cx, name, before, after));
            }
            Delta::Table { name, before: Some(before), after: None }
                if !cx.request.current.compat_views.contains_key(name) =>
            {
                dangers.extend(catalogue::users_of(cx, name, None));
                dangers.extend(partitions::dangers(cx, name, Some(before), None));
            }
            Delta::Table { name, before, after: Some(after) } => {
                dangers.extend(partitions::dangers(cx, name, before.as_deref(), Some(after)));
            }
            _ => {}
        }
    }
    for proto in &placed.protos {
        if let Work::Backfill(fills) = &proto.work {
            dangers.extend(fills.iter().filter_map(|fill| unfilled(cx, proto.table(), &fill.assignment.column)));
        }
    }
    let coming = labels::to_come(cx);
    for danger in &mut dangers {
        danger.probe.take_if(|probe| expr::literals(&probe.sql).iter().any(|text| labels::names(text, &coming)));
    }
    // These name labels as texts, which the server takes whatever its types have.
    for delta in placed.deltas.iter().filter(concerned) {
        if let Delta::Column { table, after: Some(after), .. } = delta {
            dangers.extend(labels::unknown(cx, table, after));
        }
    }
    dangers
}

/// Whether a key of the table is made without an index that is built before it, whose step asks.
fn has_no_index_before(cx: &Context<'_>, table: &ObjectName) -> bool {
    !cx.caps.constraint_using_index || ops::is_partitioned(cx, table)
}

/// Whether the step proves a check for the rows that are there.
fn proves(before: Option<(&String, bool)>, after: &Check) -> bool {
    !after.not_valid && before.is_none_or(|(text, not_valid)| not_valid || !expr::same(text, &after.expr))
}

/// Where the values of a column come from.
struct Origin {
    /// Over the columns that are there before the migration.
    expr: String,
    /// The column that it is, unchanged.
    column: Option<String>,
    /// The target, as it shall be in the end.
    target: Column,
    /// Some value may be NULL.
    nullable: bool,
}

/// The table as it is in the database.
fn current<'c>(cx: &Context<'c>, table: &ObjectName) -> Option<Cow<'c, Table>> {
    let (old, schema) = (cx.request.hints.renamed_tables.get(table), cx.request.current);
    let there = old.and_then(|old| schema.table(old)).or_else(|| schema.table(table))?;
    // A partition has its columns from its parent.
    Some(schema.whole(there))
}

/// A column as it shall be.
fn desired(cx: &Context<'_>, table: &ObjectName, column: &str) -> Option<Column> {
    cx.request.desired.whole(cx.after(table)?).column(column).cloned()
}

/// The column that it is, or that it stands for while that changes its type.
fn called<'c>(cx: &'c Context<'_>, table: &ObjectName, column: &'c str) -> &'c str {
    let stands_for = cx
        .retypes
        .iter()
        .find(|((t, _), how)| t == table && matches!(how, Retype::Shadow(shadow, _) if shadow == column));
    stands_for.map_or(column, |((_, name), _)| name.as_str())
}

/// An expression with the columns called so.
fn shown(cx: &Context<'_>, table: &ObjectName, text: &str) -> String {
    expr::map_columns(text, |name| Some(called(cx, table, name)).filter(|called| *called != name).map(str::to_owned))
}

fn origin(cx: &Context<'_>, table: &ObjectName, column: &str) -> Option<Origin> {
    let there = current(cx, table)?;
    let name = called(cx, table, column);
    let target = desired(cx, table, name)?;
    let hints = cx.request.hints;
    let key = (table.clone(), name.to_owned());
    let backfill = hints.backfills.get(&key);
    if hints.backfills_with.contains_key(&key) && there.column(name).is_none() {
        return None; // nobody knows before the application has said it
    }
    let old = hints.renamed_columns.get(&key).filter(|old| there.column(old).is_some()).map_or(name, String::as_str);
    // Labels are asked about as the texts that they are: the type may be to come.
    let value_of = |expr: &str| match labels::are_values_of(cx, &target.ty) {
        true => expr.to_owned(),
        false => cx.ddl.value_of(expr, cx.request.desired.base_type(&target.ty)),
    };
    let Some(before) = there.column(old) else {
        let expr = match (backfill, &target.default) {
            (Some(backfill), _) => format!("({})", value_of(backfill)),
            (None, Some(default)) => format!("({default})"),
            (None, None) => return None,
        };
        return Some(Origin { expr, column: None, nullable: true, target });
    };
    if let Some(generated) = target.generated.as_ref().filter(|_| ops::made_anew(cx, table, before, &target)) {
        let read = cx.after(table)?.columns.iter().filter(|c| expr::mentions(&generated.expr, &c.name));
        if read.into_iter().any(|c| there.column(&c.name).is_none()) {
            return None;
        }
        let expr = format!("CAST(({}) AS {})", generated.expr, target.ty);
        return Some(Origin { expr, column: None, nullable: true, target });
    }
    let ident = cx.ddl.ident(old);
    if let Some(expr) = ops::conversion(before, &target, backfill.map(String::as_str)) {
        return Some(Origin { expr: format!("({})", value_of(expr)), column: None, nullable: true, target });
    }
    let converts = before.ty != target.ty && cx.ddl.type_change(&before.ty, &target.ty) == TypeChange::Rewrite;
    let value = if converts { cx.ddl.cast(&ident, &target.ty) } else { ident };
    let (expr, filled) = match backfill {
        Some(backfill) if before.nullable => (format!("COALESCE({value}, {backfill})"), true),
        _ => (value, false),
    };
    let column = (!converts && !filled).then(|| old.to_owned());
    Some(Origin { expr, column, nullable: before.nullable, target })
}

/// The rows of a table as the migration will have them, as far as these columns go, with a name for each row.
fn rows(cx: &Context<'_>, table: &ObjectName, columns: &[String]) -> Option<String> {
    let there = current(cx, table)?;
    let mut list = vec![format!("{} AS schemadiff_row", row_name(cx, &there))];
    for column in columns {
        let origin = origin(cx, table, column)?;
        list.push(format!("{} AS {}", origin.expr, cx.ddl.ident(column)));
    }
    Some(format!("(SELECT {} FROM {}) AS schemadiff_rows", list.join(", "), cx.ddl.name(&there.name)))
}

pub(super) fn row_name(cx: &Context<'_>, table: &Table) -> String {
    let label = |name: &str, expr: &str| format!("{} || CAST({expr} AS text)", cx.ddl.literal(&format!("{name} = ")));
    match &table.primary_key {
        Some(key) => {
            let parts: Vec<_> = key.columns.iter().map(|c| label(c, &cx.ddl.ident(c))).collect();
            parts.join(&format!(" || {} || ", cx.ddl.literal(", ")))
        }
        // Which of the partitions it is in has to be said too.
        None if table.partition_by.is_some() => {
            let place = label(cx.ddl.row_identifier(), cx.ddl.row_identifier());
            match cx.ddl.partition_of_row() {
                Some(partition) => format!("{partition} || {} || {place}", cx.ddl.literal(" ")),
                None => place,
            }
        }
        None => label(cx.ddl.row_identifier(), cx.ddl.row_identifier()),
    }
}

fn where_(cx: &Context<'_>, table: &ObjectName, columns: &[String], condition: &str) -> Option<String> {
    let rows = rows(cx, table, columns)?;
    Some(format!("SELECT schemadiff_row FROM {rows} WHERE {condition} LIMIT {SAMPLE}"))
}

fn is_new_and_empty(cx: &Context<'_>, table: &ObjectName, columns: &[String]) -> bool {
    let no_value = |c: &String| {
        let desired = desired(cx, table, c);
        origin(cx, table, c).is_none() && desired.is_some_and(|c| c.default.is_none() && c.generated.is_none())
    };
    columns.iter().any(no_value)
}

fn constraint(probe: Option<Probe>, what: &str, table: &ObjectName) -> Danger {
    Danger { probe, hazard: Some(hazard::fails_on_rows::hazard(what, table)) }
}

/// Rows that a unique key finds more than once.
fn duplicates(cx: &Context<'_>, table: &ObjectName, index: &Index) -> Option<Danger> {
    let there = current(cx, table)?;
    let columns = ops::index_columns(cx, table, index);
    let keys: Vec<String> = index
        .parts
        .iter()
        .filter_map(|p| {
            p.column.as_ref().map(|c| cx.ddl.ident(c)).or_else(|| p.expr.as_ref().map(|e| format!("({e})")))
        })
        .collect();
    let plain: Option<Vec<String>> =
        index.parts.iter().map(|part| borne::kept_apart(cx, table, part.column.as_ref()?)).collect();
    if plain.is_some_and(|plain| is_unique(&there, &plain, index.nulls_not_distinct))
        || is_new_and_empty(cx, table, &columns)
    {
        return None;
    }
    let column = |name: &str| called(cx, table, name).to_owned();
    let expr = |text: &str| shown(cx, table, text);
    let parts =
        index.parts.iter().filter_map(|p| p.column.as_deref().map(column).or_else(|| p.expr.as_deref().map(expr)));
    let shown = parts.collect::<Vec<_>>().join(", ");
    let probe = rows(cx, table, &columns).map(|rows| {
        let mut conditions: Vec<String> = index.predicate.iter().map(|p| format!("({p})")).collect();
        if !index.nulls_not_distinct {
            conditions.extend(keys.iter().map(|key| format!("{key} IS NOT NULL")));
        }
        let condition =
            if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        let (and, of, end) = (cx.ddl.literal(" and "), cx.ddl.literal(" ("), cx.ddl.literal(" rows)"));
        Probe {
            finds: format!("rows of `{table}` that are equal in ({shown})"),
            sql: format!(
                "SELECT min(schemadiff_row) || {and} || max(schemadiff_row) || {of} || CAST(count(*) AS text) || {end} \
                 FROM {rows}{condition} GROUP BY {} HAVING count(*) > 1 LIMIT {SAMPLE}",
                keys.join(", ")
            ),
        }
    });
    Some(constraint(probe, &format!("uniqueness of ({shown})"), table))
}

/// Whether no two rows are equal in these columns as it is; `nulls`: two NULLs are equal too.
fn is_unique(table: &Table, columns: &[String], nulls: bool) -> bool {
    let no_null = columns.iter().all(|c| table.column(c).is_some_and(|c| !c.nullable));
    let as_strict = |counts_nulls: bool| !nulls || counts_nulls || no_null;
    let within = |key: &[String]| !key.is_empty() && key.iter().all(|c| columns.contains(c));
    let in_index = |i: &Index| {
        let key: Option<Vec<String>> = i.parts.iter().map(|part| part.column.clone()).collect();
        let counts = i.unique && !i.invalid && i.predicate.is_none() && as_strict(i.nulls_not_distinct);
        counts && key.is_some_and(|key| within(&key))
    };
    table.primary_key.as_ref().is_some_and(|key| within(&key.columns))
        || table.uniques.values().any(|unique| within(&unique.columns) && as_strict(unique.nulls_not_distinct))
        || table.indexes.values().any(in_index)
}

/// Rows that a check refuses.
fn violations(cx: &Context<'_>, table: &ObjectName, check: &Check) -> Option<Danger> {
    let there = current(cx, table)?;
    let columns = ops::check_columns(cx, table, &check.expr);
    let old_name = |name: &str| {
        columns.iter().any(|c| c == name).then(|| origin(cx, table, name).and_then(|o| o.column)).flatten()
    };
    let as_it_is = expr::map_columns(&check.expr, old_name);
    let dialect = cx.ddl.dialect();
    // What it says of a column that is computed or converted is true of the values that are there.
    let anew = |c: &String| {
        let other = |o: Origin| o.target.generated.is_some() || borne::becomes_other(cx, table, c, &o.target);
        origin(cx, table, c).is_some_and(|o| o.column.is_none() && other(o))
    };
    let holds = !columns.iter().any(anew)
        && there.checks.values().any(|c| !c.not_valid && implies(dialect, &there.columns, &c.expr, &as_it_is));
    if holds || is_new_and_empty(cx, table, &columns) {
        return None;
    }
    if let [column] = columns.as_slice()
        && expr::same(&check.expr, &format!("{} IS NOT NULL", cx.ddl.ident(column)))
    {
        return missing(cx, table, column);
    }
    let shown = shown(cx, table, &check.expr);
    let probe = where_(cx, table, &columns, &format!("NOT ({})", check.expr))
        .map(|sql| Probe { finds: format!("rows of `{table}` that violate `{shown}`"), sql });
    Some(constraint(probe, &format!("`{shown}`"), table))
}

/// Rows without a value that they shall have. What a backfill leaves empty is the backfill's danger.
fn missing(cx: &Context<'_>, table: &ObjectName, column: &str) -> Option<Danger> {
    let origin = origin(cx, table, column)?;
    nulls_in(cx, table, column, &origin.column.filter(|_| origin.nullable)?)
}

/// Rows with NULL in the column that it is made of.
fn nulls_in(cx: &Context<'_>, table: &ObjectName, column: &str, plain: &str) -> Option<Danger> {
    let condition = format!("{} IS NULL", cx.ddl.ident(column));
    let sql = where_(cx, table, &[column.to_owned()], &condition)?;
    let probe = Probe { finds: format!("rows of `{table}` with NULL in `{plain}`"), sql };
    Some(Danger { probe: Some(probe), hazard: None })
}

/// Rows for which a backfill has no value, or fails.
fn unfilled(cx: &Context<'_>, table: &ObjectName, column: &str) -> Option<Danger> {
    let origin = origin(cx, table, column)?;
    if origin.column.is_some() && (origin.target.nullable || !origin.nullable) {
        return None; // a copy, with nothing to go wrong
    }
    if labels::cannot_be_cast(cx, table, &origin.target) {
        return None; // its values are asked about as the texts that they are
    }
    let ident = cx.ddl.ident(column);
    let (condition, what) = match origin.target.nullable {
        false => (format!("{ident} IS NULL"), "gives no value"),
        // Never true, but it makes the server compute the value.
        true => (format!("({ident} IS NULL) AND ({ident} IS NOT NULL)"), "fails"),
    };
    let sql = where_(cx, table, &[column.to_owned()], &condition)?;
    let probe = Probe { finds: format!("rows of `{table}` for which `{}` {what}", origin.expr), sql };
    Some(Danger { probe: Some(probe), hazard: None })
}

/// Rows that refer to none.
fn orphans(cx: &Context<'_>, table: &ObjectName, key: &ForeignKey) -> Option<Danger> {
    let there = current(cx, table)?;
    if is_new_and_empty(cx, table, &key.columns) {
        return None;
    }
    let old = |table: &ObjectName, columns: &[String]| -> Option<Vec<String>> {
        columns.iter().map(|c| origin(cx, table, c)?.column).collect()
    };
    let (own, other) = (old(table, &key.columns), old(&key.ref_table, &key.ref_columns));
    let parent = current(cx, &key.ref_table);
    if let (Some(own), Some(other), Some(parent)) = (&own, &other, &parent) {
        let same = |k: &ForeignKey| {
            let full = k.match_full || !key.match_full;
            !k.not_valid && full && k.columns == *own && k.ref_columns == *other && k.ref_table == parent.name
        };
        if there.foreign_keys.values().any(same) {
            return None;
        }
    }
    let what = format!("the reference of ({}) to `{}`", key.columns.join(", "), key.ref_table);
    let probe = other.zip(parent).and_then(|(other, parent)| {
        let condition = has_no_parent(cx, key, &parent.name, &other);
        where_(cx, table, &key.columns, &condition).map(|sql| Probe { finds: finds_orphans(table, key), sql })
    });
    Some(constraint(probe, &what, table))
}

fn finds_orphans(table: &ObjectName, key: &ForeignKey) -> String {
    let or = if key.match_full && key.columns.len() > 1 { ", or that have a part of it" } else { "" };
    format!("rows of `{table}` whose ({}) is not in `{}`{or}", key.columns.join(", "), key.ref_table)
}

/// The condition on `schemadiff_rows`.
fn has_no_parent(cx: &Context<'_>, key: &ForeignKey, parent: &ObjectName, parent_columns: &[String]) -> String {
    let own: Vec<String> = key.columns.iter().map(|c| format!("schemadiff_rows.{}", cx.ddl.ident(c))).collect();
    let there: Vec<_> = own.iter().map(|c| format!("{c} IS NOT NULL")).collect();
    let same = |(own, c): (&String, &String)| format!("schemadiff_parent.{} = {own}", cx.ddl.ident(c));
    let equal: Vec<_> = own.iter().zip(parent_columns).map(same).collect();
    let without_parent = format!(
        "{} AND NOT EXISTS (SELECT 1 FROM {} AS schemadiff_parent WHERE {})",
        there.join(" AND "),
        cx.ddl.name(parent),
        equal.join(" AND ")
    );
    if !key.match_full || own.len() < 2 {
        return without_parent;
    }
    let missing: Vec<_> = own.iter().map(|c| format!("{c} IS NULL")).collect();
    format!("({without_parent}) OR (({}) AND NOT ({}))", missing.join(" OR "), missing.join(" AND "))
}

/// Rows that a foreign key which comes back would refuse: written since it has gone.
pub(super) fn refused_back(cx: &Context<'_>, table: &ObjectName, key: &ForeignKey) -> Option<Probe> {
    let there = cx.before(table)?;
    let sql = format!(
        "SELECT {} FROM {} AS schemadiff_rows WHERE {} LIMIT {SAMPLE}",
        row_name(cx, there),
        cx.ddl.name(table),
        has_no_parent(cx, key, &key.ref_table, &key.ref_columns)
    );
    Some(Probe { finds: finds_orphans(table, key), sql })
}

/// A column that goes, changes its type, or may not be NULL any more.
fn column(cx: &Context<'_>, table: &ObjectName, name: &str, before: &Column, after: Option<&Column>) -> Vec<Danger> {
    let there = current(cx, table).and_then(|t| t.column(name).cloned());
    let Some(there) = there else { return Vec::new() }; // the migration's own
    let mut dangers = Vec::new();
    let retyped = after.is_some_and(|after| {
        after.ty != there.ty || after.collation != there.collation || ops::made_anew(cx, table, before, after)
    });
    if after.is_none() || retyped {
        dangers.extend(catalogue::users_of(cx, table, Some(name)));
        // Where the type changes in place, the server keeps to the index.
        if cx.retypes.get(&(table.clone(), name.to_owned())) != Some(&Retype::InPlace) {
            dangers.extend(catalogue::identity_of(cx, table, Some(name), None));
        }
        dangers.extend(catalogue::publications_of(cx, table, name));
    }
    let Some(after) = after else { return dangers };
    dangers.extend(stated_otherwise(cx, table, &there, after));
    if ops::made_anew(cx, table, before, after) {
        dangers.extend(borne::computed(cx, table, after));
        return dangers;
    }
    let backfill = cx.request.hints.backfills.get(&(table.clone(), name.to_owned()));
    let converted = ops::conversion(&there, after, backfill.map(String::as_str)).is_some();
    if before.nullable && !after.nullable && synced::proves_itself(cx, table) {
        dangers.extend(missing(cx, table, name));
    } else if before.nullable && !after.nullable && !cx.caps.not_valid {
        // The table is copied as it is: what fills a column before that is asked about by itself.
        dangers.extend(match backfill {
            None => nulls_in(cx, table, name, &there.name),
            Some(_) if converted => unfilled(cx, table, name),
            Some(_) => None,
        });
    }
    if after.ty != there.ty
        && after.generated.is_none()
        && !converted
        && !labels::cannot_be_cast(cx, table, after)
        && let Some(current) = current(cx, table)
        && let Some(condition) = cx.ddl.cannot_convert(&cx.ddl.ident(name), &there.ty, &after.ty)
    {
        let sql = format!(
            "{}SELECT {} FROM {} WHERE {condition} LIMIT {SAMPLE}",
            cx.ddl.prepares_conversion(&condition, &there.ty, &after.ty).unwrap_or_default(),
            row_name(cx, &current),
            cx.ddl.name(&current.name)
        );
        let finds = format!("rows of `{table}` whose `{name}` cannot become {}", after.ty);
        dangers.push(Danger { probe: Some(Probe { finds, sql }), hazard: None });
    }
    // Through a synced column, keys and checks are made anew, and ask for themselves.
    let in_place = cx.retypes.get(&(table.clone(), name.to_owned())) == Some(&Retype::InPlace);
    if in_place && !labels::are_values_of(cx, &after.ty) && borne::becomes_other(cx, table, name, after) {
        dangers.extend(borne::converted(cx, table, name));
    }
    dangers
}

/// Rows whose own value gets lost, because the column becomes one that the server computes.
fn stated_otherwise(cx: &Context<'_>, table: &ObjectName, there: &Column, after: &Column) -> Option<Danger> {
    let generated = after.generated.as_ref().filter(|_| there.generated.is_none())?;
    let current = current(cx, table)?;
    let condition = cx.ddl.has_other_value(&Column { name: there.name.clone(), ..after.clone() }, &generated.expr);
    let sql = format!(
        "SELECT {} FROM {} WHERE {condition} LIMIT {SAMPLE}",
        row_name(cx, &current),
        cx.ddl.name(&current.name),
    );
    let finds =
        format!("rows of `{table}` whose `{}` is not what `{}` gives, and would be lost", there.name, generated.expr);
    Some(Danger { probe: Some(Probe { finds, sql }), hazard: None })
}

/// The name that a column has before the migration; none when the migration makes it.
fn original(cx: &Context<'_>, table: &ObjectName, column: &str) -> Option<String> {
    let there = current(cx, table)?;
    let said = cx.request.hints.renamed_columns.get(&(table.clone(), column.to_owned()));
    let old = said.filter(|old| there.column(old).is_some()).map_or(column, String::as_str);
    there.column(old).map(|column| column.name.clone())
}
