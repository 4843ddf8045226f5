//! Change how a column is numbered: `serial`, identity, a sequence of its own or one that stands by itself. The next number
//! is behind all that are there wherever it is a key: the first write would fail otherwise.

use schemadiff::{
    model::{Column, IdentityKind, Object, ObjectKey, ObjectKind, ObjectName, Table, expr},
    plan::Lock,
};

use super::column_alter::set;
use crate::planner::{
    context::{Context, slug},
    proto::{Proto, rank, tag},
};

/// The form in which a column is numbered changes.
pub(super) fn plan(cx: &mut Context<'_>, table: &ObjectName, before: &Column, after: &Column) {
    if let Some(sequence) = kept_sequence(cx, table, before) {
        return released(cx, table, before, after, sequence);
    }
    if let Some(sequence) = adopted_sequence(cx, table, after) {
        return taken(cx, table, before, after, sequence);
    }
    let id = slug(&["identity", &table.to_string(), &after.name]);
    let title = format!("change how `{table}.{}` is numbered", after.name);
    // The type and NOT NULL are other steps' matter, and the server wants NOT NULL first.
    let new = after.clone();
    let step = Proto::new(rank::CONSTRAINT, id, title, table)
        .prepares(by_code(before))
        .sql(numbered(cx, table, before, after))
        .undo(numbered(cx, table, after, before))
        .locks(cx.ddl.locks("alter_identity", table, &[]))
        .locks(if after.identity.is_none() { go_on_locks(cx, table, before, after) } else { Vec::new() })
        .effect(set(table, &after.name, move |c| {
            c.identity.clone_from(&new.identity);
            c.default.clone_from(&new.default);
        }))
        // It names the sequence as it is called in the end.
        .after_all([tag::filled(table, &after.name), tag::step(&format!("rename-sequence {table}"))]);
    push(cx, step, before, after);
}

/// Pushes a step that lets a column be numbered otherwise, and says that it reads the table where no index tells the greatest number.
pub(super) fn push(cx: &mut Context<'_>, step: Proto, before: &Column, after: &Column) {
    let table = step.table();
    let reads = !go_on(cx, table, before, after).is_empty() && !leads(cx.before(table), after);
    cx.push(if reads { step.scans() } else { step });
}

/// The statements that number a column as `after` says.
fn numbered(cx: &Context<'_>, table: &ObjectName, before: &Column, after: &Column) -> Vec<String> {
    [cx.ddl.alter_identity(table, before, after), go_on(cx, table, before, after)].concat()
}

/// The sequence that numbers a column with a `serial` type.
fn sequence_of(cx: &Context<'_>, table: &ObjectName, column: &Column) -> Option<ObjectKey> {
    column.identity.as_ref().filter(|identity| identity.kind == IdentityKind::Serial)?;
    Some(ObjectKey::new(ObjectKind::Sequence, cx.ddl.owned_sequence(table, column)?))
}

/// The sequence of a column that it no longer numbers, where it is to stay. It keeps its position.
pub(super) fn kept_sequence(cx: &Context<'_>, table: &ObjectName, before: &Column) -> Option<Object> {
    cx.after(table)?.column(&before.name).filter(|after| after.identity.is_none())?;
    let key = sequence_of(cx, table, before)?;
    let sequence = cx.request.desired.objects.get(&key).filter(|_| !cx.base.objects.contains_key(&key))?;
    Some((**sequence).clone())
}

/// The free-standing sequence that a column comes to own and to be numbered by. It keeps its position, too.
pub(super) fn adopted_sequence(cx: &Context<'_>, table: &ObjectName, after: &Column) -> Option<Object> {
    cx.before(table)?.column(&after.name).filter(|before| before.identity.is_none())?;
    let key = sequence_of(cx, table, after)?;
    let sequence = cx.base.objects.get(&key).filter(|_| !cx.request.desired.objects.contains_key(&key))?;
    Some((**sequence).clone())
}

/// The statements that let a sequence go: the column's default is what is said, and the sequence is as it was by itself.
fn let_go(cx: &Context<'_>, table: &ObjectName, column: &Column, sequence: &Object) -> Vec<String> {
    let owned = Object {
        owned_by: Some((table.clone(), column.name.clone())),
        definition: String::new(),
        comment: None,
        ..sequence.clone()
    };
    let mut sql = cx.ddl.alter_default(table, &column.name, column.default.as_deref());
    sql.extend(cx.ddl.replace_object(&owned, sequence).into_iter().flatten());
    sql
}

fn released(cx: &mut Context<'_>, table: &ObjectName, before: &Column, after: &Column, sequence: Object) {
    let title = format!("`{table}.{}` no longer takes numbers", after.name);
    let (mut forth, mut back) = (let_go(cx, table, after, &sequence), cx.ddl.adopt_sequence(table, before));
    forth.extend(go_on(cx, table, before, after));
    back.extend(go_on(cx, table, after, before));
    renumbered(cx, table, (before, after), title, (forth, back), (sequence, true));
}

fn taken(cx: &mut Context<'_>, table: &ObjectName, before: &Column, after: &Column, sequence: Object) {
    let title = format!("`{table}.{}` takes its numbers from {}, which it owns then", after.name, sequence.key);
    let (mut forth, mut back) = (cx.ddl.adopt_sequence(table, after), let_go(cx, table, before, &sequence));
    forth.extend(go_on(cx, table, before, after));
    back.extend(go_on(cx, table, after, before));
    renumbered(cx, table, (before, after), title, (forth, back), (sequence, false));
}

/// A sequence becomes one of its own, or is one no longer.
fn renumbered(
    cx: &mut Context<'_>,
    table: &ObjectName,
    (before, after): (&Column, &Column),
    title: String,
    (forth, back): (Vec<String>, Vec<String>),
    (sequence, is_free): (Object, bool),
) {
    let (name, default, identity) = (after.name.clone(), after.default.clone(), after.identity.clone());
    let id = slug(&["identity", &table.to_string(), &after.name]);
    let step = Proto::new(rank::CONSTRAINT, id, title, table)
        .prepares(by_code(before))
        .touching([&sequence.key.as_touched()])
        .sql(forth)
        .undo(back)
        .locks(cx.ddl.locks("alter_default", table, &[]))
        .locks(cx.ddl.locks("alter_sequence", &sequence.key.name, &[]))
        .tag(tag::object(&sequence.key.as_touched()))
        .after(tag::filled(table, &after.name))
        .effect({
            let table = table.clone();
            move |schema: &mut schemadiff::model::Schema| {
                if let Some(column) = schema.tables.get_mut(&table).and_then(|t| t.column_mut(&name)) {
                    column.identity.clone_from(&identity);
                    column.default.clone_from(&default);
                }
                match is_free {
                    true => drop(schema.objects.insert(sequence.key.clone(), sequence.clone().into())),
                    false => drop(schema.objects.remove(&sequence.key)),
                }
            }
        });
    push(cx, step, before, after);
}

/// The sequence that numbers a column by what its default says, be it another column's own.
fn named(column: &Column) -> Option<ObjectName> {
    let default = column.default.as_deref().filter(|default| default.starts_with("nextval("))?;
    expr::literals(default).first()?.parse().ok()
}

/// Whether old code gives the numbers itself: a sequence would not know of them, and new code would meet them.
const fn by_code(before: &Column) -> bool {
    before.identity.is_none() && before.default.is_none()
}

/// Whether a column comes to be numbered that was not.
pub(super) fn begins(before: &Column, after: &Column) -> bool {
    by_code(before) && named(after).is_some()
}

/// What [`go_on`] locks: the sequence, which stands under its column's table where it has one.
pub(super) fn go_on_locks(cx: &Context<'_>, table: &ObjectName, before: &Column, after: &Column) -> Vec<Lock> {
    if go_on(cx, table, before, after).is_empty() {
        return Vec::new();
    }
    let owns = |t: &ObjectName, c: &Column| sequence_of(cx, t, c).map(|key| key.name) == named(after);
    let owner = cx.base.tables.values().find(|t| t.columns.iter().any(|c| owns(&t.name, c))).map(|t| t.name.clone());
    let relation = owner.or_else(|| named(after));
    relation.into_iter().map(|relation| Lock { relation, mode: "RowExclusive".to_owned() }).collect()
}

/// Moves the sequence from which a column takes its numbers from now on behind the numbers that are there, if it is another one.
/// Where no two rows may have one number, the greatest is read from an index; elsewhere nothing can fail, and a table that is not small
/// would be read while nobody can use it.
pub(super) fn go_on(cx: &Context<'_>, table: &ObjectName, before: &Column, after: &Column) -> Vec<String> {
    // From one numbering to another, the server's next number stays the next.
    if before.identity.is_some() && after.identity.is_some() {
        return Vec::new();
    }
    let of = |column: &Column| named(column).or_else(|| cx.ddl.owned_sequence(table, column));
    let Some(sequence) = of(after) else { return Vec::new() };
    // Where the plan makes a key, no two rows may have one number either.
    let is_key = || [cx.before(table), cx.after(table)].into_iter().any(|t| leads(t, after));
    if of(before).as_ref() == Some(&sequence) || !(is_key() || cx.is_small(table)) {
        return Vec::new();
    }
    cx.ddl.go_on_behind(&sequence, table, after)
}

/// Whether a unique index gives the greatest value of a column.
fn leads(table: Option<&Table>, after: &Column) -> bool {
    table.is_some_and(|t| {
        let first = |columns: &[String]| columns.first() == Some(&after.name);
        t.primary_key.as_ref().is_some_and(|key| first(&key.columns))
            || t.uniques.values().any(|unique| first(&unique.columns))
            || t.indexes.values().any(|i| {
                i.unique
                    && !i.invalid
                    && i.predicate.is_none()
                    && i.parts.first().is_some_and(|p| p.column.as_ref() == Some(&after.name))
            })
    })
}
