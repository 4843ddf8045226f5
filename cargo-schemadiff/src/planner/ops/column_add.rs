//! Add a column.
//!
//! | the column is | expand | backfill | contract |
//! |---|---|---|---|
//! | nullable, or has a default all rows can share | add | | |
//! | filled by a volatile default, or numbered | add nullable, set the default | fill, prove, SET NOT NULL | |
//! | NOT NULL or nullable with `backfill` | add nullable + trigger | fill, prove, SET NOT NULL | drop the trigger, set the default |
//! | NOT NULL with neither | refused | | |
//!
//! What an engine cannot add to a table with rows comes with a rebuild.

use schemadiff::model::{Column, Identity, IdentityKind, ObjectKey, ObjectKind, ObjectName};

use super::{domain, generated, numbering};
use crate::{
    Error, Kind, Result,
    dialect::Volatility,
    diff::column_name,
    hazard,
    planner::{
        context::{Context, on, slug},
        probes,
        proto::{Proto, rank, tag},
        synced::{self, Synced},
    },
};

pub(super) fn plan(cx: &mut Context<'_>, table: &ObjectName, column: &Column, backfill: Option<&str>) -> Result<()> {
    domain::refuse_rewrite(cx, table, &column.name, &column.ty)?;
    add(cx, table, column, backfill)?;
    domain::note_rewrite(cx, table, &column.name, &column.ty);
    Ok(())
}

fn add(cx: &mut Context<'_>, table: &ObjectName, column: &Column, backfill: Option<&str>) -> Result<()> {
    if let Some(numbered) = numbered_late(cx, table, column) {
        return numbered_in_batches(cx, table, column, &numbered);
    }
    if column.generated.is_some() || column.identity.is_some() {
        return computed(cx, table, column);
    }
    if let Some(expr) = backfill {
        return filled_from_row(cx, table, column, expr);
    }
    match &column.default {
        None if !column.nullable && !has_value(cx, column) => Err(no_value(table, column)),
        Some(default) if cx.ddl.volatility(default) == Volatility::Volatile && cx.caps.alter_column => {
            // Filling fires the user's triggers, and one of ours has to be there to put back what they change.
            if has_triggers(cx, table) {
                return filled_from_row(cx, table, column, default);
            }
            volatile(cx, table, column, default)
        }
        None | Some(_) => {
            if column.default.is_none() && !has_value(cx, column) {
                synced::refuse_empty(cx, table, &column.name, &column.ty)?;
            }
            direct(cx, table, column);
            Ok(())
        }
    }
}

/// Whether the user has triggers on the table, as far as the schema that the plan starts from says.
fn has_triggers(cx: &Context<'_>, table: &ObjectName) -> bool {
    let current = cx.request.current;
    let there = cx.request.hints.renamed_tables.get(table).unwrap_or(table);
    let on_it = |key: &&ObjectKey| key.kind == ObjectKind::Trigger && key.of.as_ref() == Some(there);
    current.objects.keys().any(|key| on_it(&key))
        || current.opaque.iter().any(|o| o.kind == "trigger" && o.table.as_ref() == Some(there))
}

/// Whether the column's domain gives it a value.
fn has_value(cx: &Context<'_>, column: &Column) -> bool {
    let mut ty = column.ty.as_str();
    while let Some(domain) = cx.request.desired.domain(ty) {
        if domain.default.is_some() {
            return true;
        }
        ty = &domain.ty;
    }
    false
}

fn no_value(table: &ObjectName, column: &Column) -> Error {
    let name = &column.name;
    Error::new(
        Kind::Refused,
        "SD0606",
        format!("`{table}.{name}` is NOT NULL and nothing says what existing rows hold"),
    )
    .cause("rows that exist, and rows that the running version inserts, would have no value")
    .help(format!("give it a value per row: #[column(backfill = \"<expression over {table}'s columns>\")]"))
    .help(format!("or, where no struct says it: --backfill '{}=<expression>'", column_name(table, name)))
    .help("or a default: #[column(default = \"..\")]")
    .help(format!("or let it be NULL: `{name}: Option<..>`"))
}

/// One statement where the engine can, one rebuild where it cannot.
fn direct(cx: &mut Context<'_>, table: &ObjectName, column: &Column) {
    let id = slug(&["add-column", &table.to_string(), &column.name]);
    let step = Proto::new(rank::COLUMN, id, format!("add column `{table}.{}`", column.name), table)
        .effect({
            let column = column.clone();
            on(table, move |t| t.columns.push(column.clone()))
        })
        .tag(tag::column(table, &column.name))
        .tag(tag::filled(table, &column.name))
        .after(tag::TYPES)
        .after_all(generated::sources(cx, table, column));
    let step = step.undo_loses(probes::values_of(cx, table, column, None));
    let step = cx.changes_shape(table, step);
    let step =
        if cx.ddl.can_add_column(column, false) {
            step.sql(cx.ddl.add_column(table, column))
                .undo(cx.ddl.drop_column(table, &column.name))
                .locks(cx.ddl.locks("add_column", table, &[]))
        } else {
            let copy = column.default.iter().map(|default| (column.name.clone(), format!("({default})"))).collect();
            cx.rebuild(step, copy)
        };
    cx.push(step);
}

/// Identity and stored generated columns are computed for every row while the table is locked.
fn computed(cx: &mut Context<'_>, table: &ObjectName, column: &Column) -> Result<()> {
    let rewrites = cx.caps.alter_column
        && (column.identity.is_some() || column.generated.as_ref().is_some_and(|generated| generated.stored));
    if rewrites && cx.rows(table).is_some_and(|rows| rows > super::super::context::SMALL) {
        let what = if column.identity.is_some() { "an identity" } else { "a stored generated" };
        return Err(Error::new(
            Kind::Refused,
            "SD0607",
            format!("`{table}.{}` cannot be added as {what} column to a table in use", column.name),
        )
        .cause("the server computes it for all rows under a lock that stops everybody")
        .help("add a plain column with #[column(backfill = \"..\")] and compute the value in the code")
        .help("or create the column by hand in a maintenance window; the next diff will find it there"));
    }
    direct(cx, table, column);
    if rewrites && let Some(step) = cx.protos.last_mut() {
        step.rewrites = true;
        if !cx.request.sizes.contains_key(table) {
            step.hazards.push(hazard::rewrites_table::hazard(table, None));
        }
    }
    Ok(())
}

/// The column with a `serial` type, where the rows that exist get their numbers in batches: the server would write a table anew that
/// gets a column which it numbers. Triggers of the user's would be fired for each row, and nothing is there that puts back what
/// they change.
fn numbered_late(cx: &Context<'_>, table: &ObjectName, column: &Column) -> Option<Column> {
    let identity = column.identity.clone().filter(|_| cx.caps.alter_column && !cx.is_small(table))?;
    let plain = cx.before(table).is_some_and(|t| t.partition_by.is_none() && t.partition_of.is_none());
    let serial = Identity { kind: IdentityKind::Serial, ..identity };
    (plain && !has_triggers(cx, table) && cx.key(table).is_ok())
        .then(|| Column { identity: Some(serial), ..column.clone() })
}

/// New rows are numbered from the start, old rows in batches; in the end the column is numbered in the form that it shall have.
fn numbered_in_batches(cx: &mut Context<'_>, table: &ObjectName, column: &Column, serial: &Column) -> Result<()> {
    let Some(next) = cx.ddl.next_number(table, serial) else { return computed(cx, table, column) };
    synced::refuse_empty(cx, table, &column.name, &column.ty)?;
    let bare = Column { nullable: true, identity: None, ..column.clone() };
    let interim = Column { nullable: true, ..serial.clone() };
    let mut sql = cx.ddl.add_column(table, &bare);
    sql.extend(cx.ddl.begin_numbers(table, &interim));
    let title = format!("add column `{table}.{}`, numbered for new rows", column.name);
    begin(cx, table, column, title, sql, interim);
    cx.fill(table, &Column { nullable: false, ..column.clone() }, &next, None, None);
    if !column.nullable {
        synced::prove_and_set_not_null(cx, table, column, [tag::backfilled(table, &column.name)]);
    }
    if serial != column {
        numbering::plan(cx, table, serial, column);
    }
    Ok(())
}

/// The step that makes a column which counts for new rows.
fn begin(cx: &mut Context<'_>, table: &ObjectName, column: &Column, title: String, sql: Vec<String>, interim: Column) {
    let step = Proto::new(rank::COLUMN, slug(&["add-column", &table.to_string(), &column.name]), title, table)
        .sql(sql)
        .undo(cx.ddl.drop_column(table, &column.name))
        .locks(cx.ddl.locks("add_column", table, &[]))
        .effect(on(table, move |t| t.columns.push(interim.clone())))
        .tag(tag::column(table, &column.name))
        .undo_loses(probes::values_of(cx, table, column, None))
        .after(tag::TYPES);
    let step = cx.changes_shape(table, step);
    cx.push(step);
}

/// The default counts for new rows from the start, old rows get theirs in batches.
fn volatile(cx: &mut Context<'_>, table: &ObjectName, column: &Column, default: &str) -> Result<()> {
    synced::refuse_empty(cx, table, &column.name, &column.ty)?;
    let bare = Column { nullable: true, default: None, ..column.clone() };
    let interim = Column { nullable: true, ..column.clone() };
    let mut sql = cx.ddl.add_column(table, &bare);
    sql.extend(cx.ddl.alter_default(table, &column.name, Some(default)));
    let title = format!("add column `{table}.{}`, with its default for new rows", column.name);
    begin(cx, table, column, title, sql, interim);
    cx.key(table)?;
    // A row that is NULL because new code said so is filled too; nobody can tell it from an old one.
    cx.fill(table, column, default, None, None);
    if !column.nullable {
        synced::prove_and_set_not_null(cx, table, column, [tag::backfilled(table, &column.name)]);
    }
    Ok(())
}

/// A trigger fills the column for the old version's writes, a backfill for the rows that exist.
fn filled_from_row(cx: &mut Context<'_>, table: &ObjectName, column: &Column, expr: &str) -> Result<()> {
    let forward = expr.to_owned();
    let synced = Synced { table, column, old: None, forward, backward: None, passes_nulls: false };
    let trigger = synced::make(cx, &synced)?;
    let how = synced.refused(cx).filter(|_| !column.nullable || !cx.caps.alter_column);
    let refused = how.map(|how| hazard::fails_on_write::hazard(table, &column.name, expr, (how, cx.caps.alter_column)));
    let lost = probes::values_of(cx, table, column, Some(expr));
    if let Some(step) = cx.protos.iter_mut().find(|p| p.tags.contains(&tag::column(table, &column.name))) {
        step.hazards.extend(refused);
        step.undo_loses.extend(lost);
    }
    let final_column = column.clone();
    let id = slug(&["end-sync", &table.to_string(), &column.name]);
    let title = format!("stop filling `{table}.{}` for the old version", column.name);
    let step = Proto::new(rank::REMOVE, id, title, table)
        .effect({
            let trigger = trigger.clone();
            on(table, move |t| {
                t.syncs.remove(&trigger);
                if let Some(slot) = t.column_mut(&final_column.name) {
                    *slot = final_column.clone();
                }
            })
        })
        .hazard(column.nullable.then(|| hazard::ambiguous_null::hazard(table, &column.name)))
        .after(tag::filled(table, &column.name));
    let tighter = column.default.is_some() || !column.nullable;
    let step = if tighter && !cx.caps.alter_column {
        cx.rebuild(step, Vec::new())
    } else {
        let mut sql = cx.ddl.drop_sync(table, &trigger);
        if let Some(default) = &column.default {
            sql.extend(cx.ddl.alter_default(table, &column.name, Some(default)));
        }
        step.sql(sql).no_undo().locks(cx.ddl.locks("drop_sync", table, &[]))
    };
    cx.push(step);
    Ok(())
}
