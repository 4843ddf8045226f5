//! A column that a trigger fills while old and new code both run: made in expand, filled, made NOT NULL where the engine
//! can, and freed of its trigger in contract. Renames, retypes and new columns with a backfill are all built from it.

use schemadiff::{
    model::{Check, Column, ObjectName, Sync, Table, expr, hex},
    plan::Envelope,
};
use sha2::{Digest as _, Sha256};

use super::{
    context::{Context, on, slug},
    proto::{Proto, rank, tag},
};
use crate::{
    Error, Kind, Result,
    dialect::{CompareSpec, SyncSpec},
    hazard,
};

/// What a synced column is made of.
pub(super) struct Synced<'c> {
    pub table: &'c ObjectName,
    /// The column as it shall be in the end (under the name it has while it is synced).
    pub column: &'c Column,
    /// The column that old code writes, when values flow back to it.
    pub old: Option<&'c Column>,
    /// New from old, or from the row.
    pub forward: String,
    /// Old from new.
    pub backward: Option<String>,
    /// Whether the column has NULL where the old one has.
    pub passes_nulls: bool,
}

impl Synced<'_> {
    /// In which way the expression may have no value for a row of old code.
    pub fn refused(&self, cx: &Context<'_>) -> Option<hazard::fails_on_write::Lack> {
        let table = cx.before(self.table).filter(|_| self.old.is_none())?;
        hazard::fails_on_write::concerns(table, self.column, &self.forward, cx.caps.alter_column)
    }

    /// The column's default, where a NULL on both sides can only be a value that was left out, and old code has none for it.
    fn default(&self) -> Option<String> {
        let old = self.old.filter(|old| !old.nullable && old.default.is_none() && !self.column.nullable)?;
        self.backward.as_ref().filter(|_| old.name != self.column.name)?;
        self.column.default.clone()
    }
}

/// Makes the column and its trigger, fills it and tightens it. Returns the trigger's name.
pub(super) fn make(cx: &mut Context<'_>, synced: &Synced<'_>) -> Result<String> {
    let Synced { table, column, old, forward, backward, .. } = synced;
    refuse_unready(cx, synced)?;
    refuse_empty(cx, table, &column.name, &column.ty)?;
    let key = cx.key(table)?.into_iter().map(|k| k.name).collect();
    let name = cx.ddl.sync_name(table, &column.name);
    let refused = synced.refused(cx);
    let mut columns: Vec<_> = cx.before(table).iter().flat_map(|t| &t.columns).map(|c| c.name.clone()).collect();
    if !columns.contains(&column.name) {
        columns.push(column.name.clone());
    }
    let spec = SyncSpec {
        table: (*table).clone(),
        name: name.clone(),
        old: old.map(|c| c.name.clone()),
        new: column.name.clone(),
        forward: forward.clone(),
        backward: backward.clone(),
        refuses_null: loosened(cx, synced).is_some(),
        key,
        columns,
        later: Vec::new(),
        restores: cx.restored(table),
        may_fail: refused.is_some_and(hazard::fails_on_write::Lack::fails),
        default: synced.default(),
    };
    let step = create(cx, synced, &spec);
    cx.push(step);
    cx.syncs.insert(name.clone(), spec);
    cx.fill(table, column, forward, Some(name.clone()), compared(cx, synced));
    if !column.nullable && cx.caps.alter_column {
        if synced.passes_nulls || refused.is_some() {
            // Old code writes NULL until it is gone; or a row may have none until the backfill has named it.
            prove_and_set_not_null(cx, table, column, [tag::backfilled(table, &column.name)]);
        } else {
            tighten(cx, table, column);
        }
    }
    Ok(name)
}

/// A column that is empty for a while cannot be of a domain that takes no NULL: the server refuses it where there are rows.
pub(super) fn refuse_empty(cx: &Context<'_>, table: &ObjectName, column: &str, ty: &str) -> Result<()> {
    let mut of = ty;
    while let Some(domain) = cx.request.desired.domain(of) {
        if domain.not_null {
            return Err(Error::new(
                Kind::Refused,
                "SD0678",
                format!("`{table}.{column}` cannot become a column of domain `{ty}` while its rows have no value"),
            )
            .cause(format!("`{}` takes no NULL, and the server looks at that when the column is made", domain.name))
            .help(format!("give the column the type {} and make it NOT NULL itself", cx.request.desired.base_type(ty)))
            .help("or give it a default that is the same for all rows"));
        }
        of = &domain.ty;
    }
    Ok(())
}

/// Every row should hold what the trigger makes of it.
fn compared(cx: &Context<'_>, synced: &Synced<'_>) -> Option<CompareSpec> {
    let Synced { table, column, old, forward, backward, .. } = synced;
    let back = old.zip(backward.as_ref()).map(|(old, expr)| (old.name.clone(), old.ty.clone(), expr.clone()));
    let is_other = |c: &&Column| old.is_some_and(|old| old.name != c.name) && c.name != column.name;
    let only_given =
        cx.before(table).is_some_and(|t| t.columns.iter().filter(is_other).any(|c| expr::mentions(forward, &c.name)));
    let (name, ty) = (column.name.clone(), column.ty.clone());
    let spec = CompareSpec { column: name, ty, forward: forward.clone(), back, only_given };
    let lasts = cx.ddl.is_lasting(forward) && backward.as_ref().is_none_or(|expr| cx.ddl.is_lasting(expr));
    lasts.then_some(spec)
}

/// A value for an existing row, and for a row of old code, comes from the columns that are there before this plan: those
/// that the plan itself makes may not be filled yet when it is needed.
fn refuse_unready(cx: &Context<'_>, synced: &Synced<'_>) -> Result<()> {
    let Synced { table, column, forward, .. } = synced;
    let Some((before, after)) = cx.before(table).zip(cx.after(table)) else { return Ok(()) };
    // In a query, a name like the column's own may be another table's.
    let own = |c: &Column| c.name == column.name && expr::has_query(forward);
    let made_here = |c: &&Column| before.column(&c.name).is_none() && !own(c);
    let Some(unready) = after.columns.iter().filter(made_here).find(|c| expr::mentions(forward, &c.name)) else {
        return Ok(());
    };
    let full = format!("{table}.{}", column.name);
    let old = cx.request.hints.renamed_columns.get(&((*table).clone(), unready.name.clone()));
    let error = Error::new(
        Kind::Refused,
        "SD0614",
        format!(
            "`{full}` cannot be filled from `{}`, which the same migration {}",
            unready.name,
            if old.is_some() { "gives this name" } else { "makes" }
        ),
    )
    .cause("rows that exist, and rows that the old version writes meanwhile, may not have it yet");
    Err(match old {
        Some(old) => error.help(format!("name the column as it was: write `{old}` in its backfill expression")),
        None => error.help("write its backfill expression over the columns that are there before"),
    }
    .help("or make it in a migration of its own, after this one"))
}

/// The column as it is while the trigger lives: nullable, because the trigger decides by NULL who wrote, and without
/// default, because a default would look like new code writing.
fn interim(column: &Column) -> Column {
    Column { nullable: true, default: None, identity: None, ..column.clone() }
}

/// Whether new code's NULL goes no further than to the old column, which takes none. One with a default takes that instead.
pub(super) fn refuses_null(old: &Column, new: &Column) -> bool {
    !old.nullable && old.default.is_none() && new.nullable
}

/// The old column, where the engine must let it be NULL until the trigger has filled it.
fn loosened<'c>(cx: &Context<'_>, synced: &Synced<'c>) -> Option<&'c Column> {
    synced.old.filter(|old| cx.ddl.sync_needs_nullable_old() && !old.nullable && old.default.is_none())
}

fn create(cx: &mut Context<'_>, synced: &Synced<'_>, spec: &SyncSpec) -> Proto {
    let Synced { table, column, old, .. } = synced;
    let added = interim(column);
    let what = match old {
        Some(old) => format!("add `{table}.{}` and keep it in step with `{}`", column.name, old.name),
        None => format!("add `{table}.{}` and fill it for writers that do not know it", column.name),
    };
    let late_proof = synced.passes_nulls || synced.refused(cx).is_some();
    let proof = (proof_needed(cx, column) && !late_proof).then(|| proof(cx, table, column, true));
    let filled = old.map(|c| c.name.clone()).into_iter().collect();
    let sync = Sync { fills: spec.fills(), filled, passes_nulls: synced.passes_nulls, ..Sync::default() };
    // The default is the trigger's matter until contract, and it may come too late for RETURNING.
    let late = cx.ddl.sync_needs_nullable_old() && column.default.is_some();
    let loosened = loosened(cx, synced);

    let effect = {
        let (name, added, loosened) = (spec.name.clone(), added.clone(), loosened.map(|c| c.name.clone()));
        let proof = proof.clone().map(|(name, check)| (name, in_model(&check, &added.name)));
        on(table, move |t: &mut Table| {
            t.columns.push(added.clone());
            t.syncs.insert(name.clone(), sync.clone());
            if let Some((name, check)) = &proof {
                t.checks.insert(name.clone(), check.clone());
            }
            if let Some(column) = loosened.as_ref().and_then(|name| t.column_mut(name)) {
                column.nullable = true;
            }
        })
    };
    let proto = Proto::new(rank::COLUMN, slug(&["add-column", &table.to_string(), &column.name]), what, table)
        .effect(effect)
        .tag(tag::column(table, &column.name))
        .after(tag::TYPES)
        .hazard(late.then(|| hazard::returns_null::hazard(table, &column.name)));
    let proto = cx.changes_shape(table, proto);
    if loosened.is_some() {
        return cx.rebuild(proto, Vec::new());
    }
    let mut sql = cx.ddl.add_column(table, &added);
    sql.extend(old.iter().flat_map(|old| cx.ddl.copy_column_rights(table, &old.name, &column.name)));
    sql.extend(cx.ddl.create_sync(spec));
    sql.extend(proof.iter().flat_map(|(name, check)| refuse_null(cx, table, &column.name, (name, check))));
    let mut undo = cx.ddl.drop_sync(table, &spec.name);
    undo.extend(cx.ddl.drop_column(table, &column.name));
    proto.sql(sql).undo(undo).locks(cx.ddl.locks("add_column", table, &[]))
}

fn proof_needed(cx: &Context<'_>, column: &Column) -> bool {
    !column.nullable && cx.caps.not_valid
}

/// The check that proves to the server that there is no NULL, so that SET NOT NULL need not look.
pub(super) fn proof(cx: &Context<'_>, table: &ObjectName, column: &Column, not_valid: bool) -> (String, Check) {
    let name = proof_name(cx, table, &column.name);
    let expr = format!("{} IS NOT NULL", cx.ddl.ident(&column.name));
    (name, Check { expr, not_valid, no_inherit: false, comment: None })
}

/// Whether NOT NULL itself can be unproven for a while. On a partitioned table each partition would have to be proven for itself.
pub(super) fn proves_itself(cx: &Context<'_>, table: &ObjectName) -> bool {
    let is_plain = |t: &Table| t.partition_by.is_none() && t.partition_of.is_none();
    cx.caps.not_null_not_valid && [cx.before(table), cx.after(table)].into_iter().flatten().all(is_plain)
}

/// The statement after which nobody writes NULL.
pub(super) fn refuse_null(
    cx: &Context<'_>,
    table: &ObjectName,
    column: &str,
    (name, check): (&str, &Check),
) -> Vec<String> {
    match proves_itself(cx, table) {
        true => cx.ddl.add_not_null(table, name, column),
        false => cx.ddl.add_check(table, name, check),
    }
}

/// What has proven that a column is NOT NULL follows it to its own name, where it stays.
pub(super) fn rename_proven(cx: &Context<'_>, table: &ObjectName, [from, to]: [&str; 2]) -> Vec<String> {
    let stays = proves_itself(cx, table);
    let rename = || cx.ddl.rename_constraint(table, &proof_name(cx, table, from), &proof_name(cx, table, to));
    if stays { rename() } else { Vec::new() }
}

/// Names that had to be cut may be one, and a name may be taken by a constraint of the user's: then it is told by a hash.
///
/// NOT NULL keeps its name, also where its column gets another one, and no schema says it: it has one that comes no second time.
fn proof_name(cx: &Context<'_>, table: &ObjectName, column: &str) -> String {
    if proves_itself(cx, table) {
        let hash = Sha256::digest(format!("{} {table} {column}", cx.request.id).as_bytes());
        return cx.ddl.default_name(&table.name, &[column], &format!("not_null_{}", hex(&hash[..4])));
    }
    let plain = format!("{column}_not_null");
    let name = cx.ddl.default_name(&table.name, &[&plain], "check");
    let is_taken = [cx.before(table), cx.after(table)].into_iter().flatten().any(|t| has_constraint(t, &name));
    if name == format!("{}_{plain}_check", table.name) && !is_taken {
        return name;
    }
    let hash = hex(&Sha256::digest(column.as_bytes())[..4]);
    cx.ddl.default_name(&table.name, &[&format!("{hash}_not_null")], "check")
}

fn has_constraint(table: &Table, name: &str) -> bool {
    table.checks.contains_key(name)
        || table.uniques.contains_key(name)
        || table.exclusions.contains_key(name)
        || table.foreign_keys.contains_key(name)
        || table.primary_key.as_ref().is_some_and(|key| key.name.as_deref() == Some(name))
}

/// The check as the server spells it: without quotes that are not needed.
pub(super) fn in_model(check: &Check, column: &str) -> Check {
    Check { expr: expr::rename_column(&check.expr, column, column), ..check.clone() }
}

/// A check NOT VALID, its validation, SET NOT NULL, and the check goes.
pub(super) fn prove_and_set_not_null(
    cx: &mut Context<'_>,
    table: &ObjectName,
    column: &Column,
    after: impl IntoIterator<Item = String>,
) {
    let (name, check) = proof(cx, table, column, true);
    let id = slug(&["add-not-null-proof", &table.to_string(), &column.name]);
    let title = format!("refuse NULL in `{table}.{}` from now on", column.name);
    let stored = in_model(&check, &column.name);
    let step = Proto::new(rank::TIGHTEN, id, title, table)
        .sql(refuse_null(cx, table, &column.name, (&name, &check)))
        .undo(cx.ddl.drop_constraint(table, &name))
        .locks(cx.ddl.locks("add_check", table, &[]))
        .effect(on(table, move |t| drop(t.checks.insert(name.clone(), stored.clone()))))
        .tag(tag::backfilled(table, &column.name))
        .after_all(after);
    cx.push(step);
    tighten(cx, table, column);
}

/// VALIDATE, SET NOT NULL, and the proof goes. Each in a transaction of its own: what scans must not hold a strong lock.
pub(super) fn tighten(cx: &mut Context<'_>, table: &ObjectName, column: &Column) {
    let id = [table.to_string(), column.name.clone()];
    let slug_of = |what: &str| slug(&[what, &id[0], &id[1]]);
    let (name, check) = proof(cx, table, column, true);
    let (valid, set, forget) = (slug_of("validate-not-null"), slug_of("set-not-null"), slug_of("drop-not-null-proof"));
    let full = format!("`{table}.{}`", column.name);
    if proves_itself(cx, table) {
        let mut undo = cx.ddl.drop_constraint(table, &name);
        undo.extend(cx.ddl.add_not_null(table, &name, &column.name));
        let step = Proto::new(rank::TIGHTEN, &valid, format!("prove that {full} holds no NULL"), table)
            .envelope(Envelope::Long)
            .sql(cx.ddl.validate(table, &name))
            .undo(undo)
            .locks(cx.ddl.locks("validate", table, &[]))
            .scans()
            .effect({
                let column = column.name.clone();
                on(table, move |t| {
                    t.checks.remove(&name);
                    t.column_mut(&column).into_iter().for_each(|column| column.nullable = false);
                })
            })
            .tags([tag::step(&valid), tag::step(&set), tag::filled(table, &column.name)])
            .after(tag::backfilled(table, &column.name));
        cx.push(step);
        return;
    }

    let step = Proto::new(rank::TIGHTEN, &valid, format!("prove that {full} holds no NULL"), table)
        .envelope(Envelope::Long)
        .sql(cx.ddl.validate(table, &name))
        .locks(cx.ddl.locks("validate", table, &[]))
        .scans()
        .effect({
            let name = name.clone();
            on(table, move |t| {
                if let Some(check) = t.checks.get_mut(&name) {
                    check.not_valid = false;
                }
            })
        })
        .undo(revalidate(cx, table, &name, &check))
        .tag(tag::step(&valid))
        .after(tag::backfilled(table, &column.name));
    cx.push(step);

    let step = Proto::new(rank::TIGHTEN, &set, format!("set {full} NOT NULL, proven by the check"), table)
        .sql(cx.ddl.alter_nullable(table, &column.name, false))
        .locks(cx.ddl.locks("alter_nullable", table, &[]))
        .effect({
            let column = column.name.clone();
            on(table, move |t| {
                if let Some(column) = t.column_mut(&column) {
                    column.nullable = false;
                }
            })
        })
        .undo(cx.ddl.alter_nullable(table, &column.name, true))
        .tag(tag::step(&set))
        .after(tag::step(&valid));
    cx.push(step);

    let step = Proto::new(rank::TIGHTEN, &forget, format!("drop the check that proved {full}"), table)
        .sql(cx.ddl.drop_constraint(table, &name))
        .locks(cx.ddl.locks("drop_constraint", table, &[]))
        .effect({
            let name = name.clone();
            on(table, move |t| drop(t.checks.remove(&name)))
        })
        .undo(cx.ddl.add_check(table, &name, &check))
        .undo_proof(cx.ddl.validate(table, &name))
        .tag(tag::filled(table, &column.name))
        .after(tag::step(&set));
    cx.push(step);
}

/// Taking VALIDATE back: a valid constraint cannot be made unproven, only made again.
pub(super) fn revalidate(cx: &Context<'_>, table: &ObjectName, name: &str, unproven: &Check) -> Vec<String> {
    let mut undo = cx.ddl.drop_constraint(table, name);
    undo.extend(cx.ddl.add_check(table, name, unproven));
    undo
}
