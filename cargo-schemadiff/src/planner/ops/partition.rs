//! Partitions: attached and detached, and what a partitioned table gets one partition at a time.

use schemadiff::{
    model::{
        Check, Column, ForeignKey, IdentityKind, Index, ObjectName, PartitionBy, PartitionOf, PrimaryKey, Schema,
        Table, Unique,
    },
    plan::Envelope,
};

use crate::{
    Error, Kind, Result,
    dialect::PerPartition,
    diff::Change,
    hazard,
    planner::{
        context::{Context, on, slug},
        proto::{Proto, Work, rank, tag},
    },
};

/// Whether the table is partitioned, before the plan or after it.
pub(in crate::planner) fn is_partitioned(cx: &Context<'_>, table: &ObjectName) -> bool {
    [cx.before(table), cx.after(table)].into_iter().flatten().any(|t| t.partition_by.is_some())
}

/// Whether the column decides which partition a row is in.
pub(super) fn is_key(cx: &Context<'_>, table: &ObjectName, column: &str) -> bool {
    let by = cx.before(table).and_then(|t| t.partition_by.as_ref());
    by.is_some_and(|by| by.uses(column))
}

/// What cannot be done to a column of a partitioned table.
///
/// # Errors
/// [`Kind::Refused`] with the way out.
pub(super) fn check_change(cx: &Context<'_>, change: &Change) -> Result<()> {
    let (table, column) = match change {
        Change::AddColumn { table, column, .. } => {
            let numbered = column.identity.as_ref().is_some_and(|i| i.kind != IdentityKind::Serial);
            if numbered && is_partitioned(cx, table) && !cx.caps.partitioned_identity {
                return Err(numbered_late(table, &column.name));
            }
            return Ok(());
        }
        Change::DropColumn { table, column } => (table, column),
        Change::RenameColumn { table, before, .. } => (table, before),
        Change::AlterColumn { table, before, after, .. } => {
            let retyped = before.ty != after.ty || before.collation != after.collation;
            if retyped && is_key(cx, table, &before.name) {
                return Err(key_stays(table, &before.name));
            }
            let numbered = after.identity.as_ref().is_some_and(|i| i.kind != IdentityKind::Serial);
            if numbered && before.identity.is_none() && is_partitioned(cx, table) && !cx.caps.partitioned_identity {
                return Err(numbered_late(table, &before.name));
            }
            (table, before)
        }
        _ => return Ok(()),
    };
    match cx.base.partitions(table).iter().find(|partition| partition.column(&column.name).is_some()) {
        None => Ok(()),
        Some(partition) => {
            let (name, column) = (&partition.name, &column.name);
            Err(Error::new(
                Kind::Refused,
                "SD0621",
                format!("`{table}.{column}` cannot change: partition `{name}` differs in it"),
            )
            .cause(format!(
                "`{name}` has a default, NOT NULL or a comment of its own there, which the change would run over"
            ))
            .help(format!("make the column of `{name}` as that of `{table}` in a migration before this one")))
        }
    }
}

fn key_stays(table: &ObjectName, column: &str) -> Error {
    Error::new(
        Kind::Refused,
        "SD0622",
        format!("the type of `{table}.{column}` cannot change: it decides the partition of a row"),
    )
    .cause("the server refuses it, and every row would have to be looked at again")
    .help("create a table of another name with the new type, and move the rows in a release of its own")
}

fn numbered_late(table: &ObjectName, column: &str) -> Error {
    Error::new(
        Kind::Refused,
        "SD0623",
        format!("`{table}.{column}` cannot be numbered by the engine: the table is partitioned"),
    )
    .cause("before version 17 PostgreSQL gives no identity to a column of a table that has partitions")
    .help("give it a default from a sequence (a serial column), or update the server")
}

/// A table takes another place among partitions.
pub(super) fn plan(cx: &mut Context<'_>, before: &Table, after: &Table) -> Result<()> {
    let name = &after.name;
    if before.partition_by != after.partition_by {
        let shown = |by: &Option<PartitionBy>| {
            by.as_ref().map_or_else(|| "not partitioned".to_owned(), |by| format!("partitioned by {by}"))
        };
        return Err(Error::new(
            Kind::Refused,
            "SD0615",
            format!("`{name}` cannot be partitioned in another way in place"),
        )
        .cause(format!(
            "it is {}, it shall be {}, and no server moves its rows",
            shown(&before.partition_by),
            shown(&after.partition_by)
        ))
        .help(
            "create a table of another name that is partitioned as you want, and move the rows in a release of its own",
        )
        .help("or attach the table as it is as a partition of a new one"));
    }
    match (&before.partition_of, &after.partition_of) {
        (None, Some(of)) => attach(cx, before, after, &of.parent.clone(), &of.bound.clone()),
        (Some(of), None) => detach(cx, before, after, &of.parent.clone()),
        _ => Err(Error::new(Kind::Refused, "SD0616", format!("partition `{name}` cannot hold other rows in place"))
            .cause(
                "a partition gets other bounds only by being detached and attached again, and its rows must fit them",
            )
            .help("detach it in one migration, move the rows that do not fit, and attach it in the next")),
    }
}

fn attach(cx: &mut Context<'_>, before: &Table, after: &Table, parent: &ObjectName, bound: &str) -> Result<()> {
    let name = after.name.clone();
    let Some(above) = cx.before(parent).or_else(|| cx.after(parent)).cloned() else {
        return Err(no_parent(&name, parent));
    };
    let attached = without_shared(before, &above);
    if attached != (Table { partition_of: None, ..after.clone() }) {
        return Err(Error::new(
            Kind::Refused,
            "SD0617",
            format!("`{name}` cannot be attached to `{parent}` and change otherwise"),
        )
        .cause("what it shall be as a partition is not what attaching it makes of it")
        .help("attach it in a migration of its own, and make the other changes in the one before or after it"));
    }
    let Some(by) = above.partition_by.clone() else { return Err(no_parent(&name, parent)) };
    let made = complete(cx, before, &above)?;
    let proto = Proto::new(
        rank::CONSTRAINT,
        slug(&["attach-partition", &name.to_string()]),
        format!("prove the rows of `{name}`, and attach it to `{parent}` as a partition {bound}"),
        &name,
    )
    .touching([parent])
    .locks(cx.ddl.locks("attach_partition", &name, &[parent]))
    // A key of the table that becomes a part of the parent's loses triggers of its own, on the table that it refers to as well.
    .locks(above.foreign_keys.values().flat_map(|key| cx.ddl.locks("drop_constraint", &key.ref_table, &[])))
    // Keys that refer to the parent get a part for it.
    .locks(referring(&cx.base, parent).iter().flat_map(|child| cx.ddl.locks("add_foreign_key", &child.name, &[])))
    .hazard([hazard::fails_on_rows::hazard(bound, &name)])
    .effect({
        let after = after.clone();
        move |schema: &mut Schema| drop(schema.tables.insert(after.name.clone(), after.clone().into()))
    })
    .after(tag::table(parent))
    .after_all(made);
    let proto = beside_default(cx, parent, proto);
    let proto = step(cx, proto, &PerPartition::Attach { parent, by: &by, bound });
    cx.push(proto);
    Ok(())
}

/// What a partition has from its parent is made on the table as on any other, before it is attached: the server would build
/// indexes and prove keys while everybody waits, and refuses a table without the parent's checks. The tags of those steps.
fn complete(cx: &mut Context<'_>, table: &Table, parent: &Table) -> Result<Vec<String>> {
    let (name, first) = (&table.name, cx.protos.len());
    if let (None, Some(key)) = (&table.primary_key, &parent.primary_key) {
        let key = PrimaryKey { name: Some(default_name(cx, name, &[], "pkey")), ..key.clone() };
        super::primary_key::plan(cx, name, None, Some(&key))?;
    }
    for unique in parent.uniques.values().map(|from| Unique { comment: None, ..from.clone() }) {
        if !table.uniques.values().any(|own| Unique { comment: None, ..own.clone() } == unique) {
            let called = default_name(cx, name, &unique.columns, "key");
            super::unique::plan(cx, name, &called, None, Some(&unique))?;
        }
    }
    for index in parent.indexes.values().map(|from| Index { comment: None, ..from.clone() }) {
        if !table.indexes.values().any(|own| Index { comment: None, ..own.clone() } == index) {
            let called = default_name(cx, name, &parts_of(&index), "idx");
            super::index::plan(cx, name, &called, None, Some(&index))?;
        }
    }
    for (called, check) in &parent.checks {
        if !table.checks.contains_key(called) {
            super::check::plan(cx, name, called, None, Some(&Check { comment: None, ..check.clone() }));
        }
    }
    for (called, key) in &parent.foreign_keys {
        let key = ForeignKey { comment: None, ..key.clone() };
        if !table.foreign_keys.values().any(|own| ForeignKey { comment: None, ..own.clone() } == key) {
            super::foreign_key::plan(cx, name, called, None, Some(&key));
        }
    }
    for proto in &mut cx.protos[first..] {
        proto.tags.push(tag::step(&proto.slug));
    }
    Ok(cx.protos[first..].iter().map(|proto| tag::step(&proto.slug)).collect())
}

/// The default partition of a table.
pub(in crate::planner) fn default_of(schema: &Schema, parent: &ObjectName) -> Option<ObjectName> {
    let is_default = |of: &PartitionOf| of.parent == *parent && of.bound == "DEFAULT";
    schema.tables.values().find(|t| t.partition_of.as_ref().is_some_and(is_default)).map(|t| t.name.clone())
}

/// A step that gives the parent a partition: the default partition is read meanwhile, under a lock of its own.
fn beside_default(cx: &Context<'_>, parent: &ObjectName, step: Proto) -> Proto {
    let Some(default) = default_of(&cx.base, parent).filter(|default| default != step.table()) else { return step };
    let large = (!cx.is_small(&default)).then(|| hazard::reads_default_partition::hazard(&default, cx.rows(&default)));
    step.touching([&default]).locks(cx.ddl.locks("default_partition", &default, &[])).hazard(large).scans()
}

/// The rows leave the parent: in contract, when no version is left that expects them there.
fn detach(cx: &mut Context<'_>, before: &Table, after: &Table, parent: &ObjectName) -> Result<()> {
    let name = after.name.clone();
    let Some(above) = cx.before(parent).cloned() else { return Err(no_parent(&name, parent)) };
    let left = with_shared(cx, before, &above, after);
    if (Table { partition_of: None, ..left }) != *after {
        return Err(Error::new(
            Kind::Refused,
            "SD0618",
            format!("`{name}` cannot be detached from `{parent}` and change otherwise"),
        )
        .cause("what it shall be as a table of its own is not what is left of it when it is detached")
        .help("detach it in a migration of its own, and make the other changes in the next one"));
    }
    let step = Proto::new(
        rank::REMOVE_TABLE,
        slug(&["detach-partition", &name.to_string()]),
        format!("detach `{name}` from `{parent}`"),
        &name,
    )
    .touching([parent])
    .sql(cx.ddl.detach_partition(parent, &name))
    .no_undo()
    .locks(cx.ddl.locks("detach_partition", &name, &[parent]))
    .hazard([hazard::rows_leave::hazard(parent, &name)])
    // Its own copies of the parent's keys lock what they refer to.
    .locks(above.foreign_keys.values().flat_map(|key| cx.ddl.locks("add_foreign_key", &key.ref_table, &[])))
    .effect({
        let after = after.clone();
        move |schema: &mut Schema| drop(schema.tables.insert(after.name.clone(), after.clone().into()))
    })
    .prepares(true);
    cx.push(away_from_references(cx, parent, step));
    Ok(())
}

/// Tables with keys that refer to this one.
pub(in crate::planner) fn referring<'s>(schema: &'s Schema, table: &ObjectName) -> Vec<&'s Table> {
    let refers = |t: &&Table| t.foreign_keys.values().any(|key| key.ref_table == *table);
    schema.tables.values().map(|t| &**t).filter(refers).collect()
}

/// Whether keys refer to it.
pub(super) fn is_referred_to(cx: &Context<'_>, table: &ObjectName) -> bool {
    !referring(&cx.base, table).is_empty()
}

/// A step that makes a partition beside others. Keys of the parent, and those that refer to it, get a part for it, and one that
/// is referred to can be dropped only when it is detached.
pub(super) fn beside_parent(cx: &Context<'_>, parent: &ObjectName, step: Proto) -> Proto {
    let name = step.table().clone();
    let keys = cx.before(parent).into_iter().flat_map(|above| above.foreign_keys.values());
    let to = keys.flat_map(|key| cx.ddl.locks("add_foreign_key", &key.ref_table, &[]));
    let from = referring(&cx.base, parent);
    let from_locks = from.iter().flat_map(|child| cx.ddl.locks("add_foreign_key", &child.name, &[]));
    let step = step.locks(to.collect::<Vec<_>>()).locks(from_locks.collect::<Vec<_>>());
    let step = match from.is_empty() {
        true => step,
        false => step.undo(
            cx.ddl.detach_partition(parent, &name).into_iter().chain(cx.ddl.drop_table(&name)).collect::<Vec<_>>(),
        ),
    };
    beside_default(cx, parent, step)
}

/// A step that takes a partition from its parent: keys that refer to the parent may not refer to it any more, and the server
/// looks for rows that do while it holds their tables.
pub(super) fn away_from_references(cx: &Context<'_>, parent: &ObjectName, step: Proto) -> Proto {
    let children: Vec<_> = referring(&cx.base, parent).into_iter().map(|t| t.name.clone()).collect();
    let name = step.table().clone();
    children.into_iter().fold(step, |step, child| {
        let refused = hazard::fails_on_rows::hazard(&format!("that none refers to `{name}`"), &child);
        let large = (!cx.is_small(&child)).then(|| hazard::reads_references::hazard(&child, &name, cx.rows(&child)));
        step.touching([&child])
            .locks(cx.ddl.locks("drop_constraint", &child, &[]))
            .hazard([refused])
            .hazard(large)
            .scans()
    })
}

fn no_parent(name: &ObjectName, parent: &ObjectName) -> Error {
    Error::new(Kind::Refused, "SD0619", format!("`{name}` is a partition of `{parent}`, and that is not there"))
        .cause("a side that holds only some of the tables cannot say what a partition has from its parent")
        .help("compare sides that hold both tables")
}

/// What a table has of its own once it is a partition.
fn without_shared(table: &Table, parent: &Table) -> Table {
    let mut own = table.clone();
    own.columns.retain(|c| parent.column(&c.name).is_none_or(|from| *c != inherited(from)));
    if own.primary_key.as_ref().map(|key| &key.columns) == parent.primary_key.as_ref().map(|key| &key.columns) {
        own.primary_key = None;
    }
    own.uniques.retain(|_, unique| !parent.uniques.values().any(|from| from == unique));
    own.checks.retain(|name, check| parent.checks.get(name).is_none_or(|from| from.expr != check.expr));
    own.foreign_keys.retain(|_, key| !parent.foreign_keys.values().any(|from| from == key));
    own.indexes.retain(|_, index| !parent.indexes.values().any(|from| from == index));
    own
}

/// What is left of a partition when it is a table of its own. Names are the server's; the sequence that a default takes its
/// numbers from is not known here, so such columns are taken as they shall be.
fn with_shared(cx: &Context<'_>, partition: &Table, parent: &Table, wanted: &Table) -> Table {
    let mut whole = partition.clone();
    let column = |from: &Column| match (partition.column(&from.name), &from.identity) {
        (Some(own), _) => own.clone(),
        (None, Some(_)) => wanted.column(&from.name).cloned().unwrap_or_else(|| inherited(from)),
        (None, None) => inherited(from),
    };
    whole.columns = parent.columns.iter().map(column).collect();
    let default = |columns: &[String], suffix: &str| default_name(cx, &partition.name, columns, suffix);
    if let Some(key) = &parent.primary_key {
        whole.primary_key = Some(PrimaryKey { name: Some(default(&[], "pkey")), ..key.clone() });
    }
    for unique in parent.uniques.values() {
        whole.uniques.insert(default(&unique.columns, "key"), Unique { comment: None, ..unique.clone() });
    }
    for index in parent.indexes.values() {
        whole.indexes.insert(default(&parts_of(index), "idx"), Index { comment: None, ..index.clone() });
    }
    whole.checks.extend(parent.checks.iter().map(|(n, c)| (n.clone(), Check { comment: None, ..c.clone() })));
    for (name, key) in &parent.foreign_keys {
        let key = ForeignKey { comment: None, ..key.clone() };
        whole.foreign_keys.insert(name.clone(), key);
    }
    let order = |name: &str| wanted.columns.iter().position(|c| c.name == name);
    whole.columns.sort_by_key(|c| order(&c.name));
    whole
}

/// The name that the server gives to what a partition has from its parent.
fn default_name(cx: &Context<'_>, partition: &ObjectName, columns: &[String], suffix: &str) -> String {
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    cx.ddl.default_name(&partition.name, &columns, suffix)
}

/// What an index is named after.
fn parts_of(index: &Index) -> Vec<String> {
    let parts = index.parts.iter().map(|part| part.column.clone().unwrap_or_else(|| "expr".to_owned()));
    parts.chain(index.include.iter().cloned()).collect()
}

/// A column as a partition has it from its parent.
fn inherited(column: &Column) -> Column {
    Column { comment: None, identity: None, ..column.clone() }
}

/// A step that goes through the partitions that are there when it runs.
pub(super) fn step(cx: &Context<'_>, proto: Proto, what: &PerPartition<'_>) -> Proto {
    let table = proto.table().clone();
    let Some(each) = cx.ddl.each_partition(&table, what) else { return proto };
    let mut proto = proto.envelope(Envelope::Concurrent).undo(each.undo).done_when(each.done_when).scans();
    proto = proto.stopped_by(each.stopped_by);
    proto.work = Work::Generated(each.forth);
    proto
}

/// A unique constraint of a partitioned table, in the place of an index that is adopted.
pub(super) fn unique(cx: &mut Context<'_>, table: &ObjectName, name: &str, unique: &Unique) {
    let what = unique.columns.join(", ");
    let title = format!("make ({what}) of `{table}` unique as `{name}`, partition by partition");
    let bare = Unique { comment: None, ..unique.clone() };
    let id = slug(&["add-unique", name]);
    let proto = Proto::new(rank::CONSTRAINT, &id, title, table)
        .locks(cx.ddl.locks("each_partition", table, &[]))
        .hazard([hazard::fails_on_rows::hazard(&format!("uniqueness of ({what})"), table)])
        .effect({
            let (name, unique) = (name.to_owned(), bare.clone());
            on(table, move |t| drop(t.uniques.insert(name.clone(), unique.clone())))
        })
        .tags([tag::keys(table), tag::adds(table), tag::step(&id)])
        .after_all([tag::freed(table, name), tag::left(table)])
        .after_all(unique.columns.iter().chain(&unique.include).map(|c| tag::filled(table, c)));
    let proto = step(cx, proto, &PerPartition::Unique(name, &bare));
    cx.push(proto);
}

/// The primary key of a partitioned table that has none.
pub(super) fn primary_key(cx: &mut Context<'_>, table: &ObjectName, key: &PrimaryKey) {
    let what = key.columns.join(", ");
    let title = format!("make ({what}) the primary key of `{table}`, partition by partition");
    let proto = Proto::new(rank::CONSTRAINT, slug(&["primary-key", &table.to_string()]), title, table)
        .locks(cx.ddl.locks("each_partition", table, &[]))
        .hazard([hazard::fails_on_rows::hazard(&format!("uniqueness of ({what})"), table)])
        .effect({
            let key = key.clone();
            on(table, move |t| t.primary_key = Some(key.clone()))
        })
        .tags([tag::keys(table), tag::adds(table), tag::primary_key(table)])
        .after(tag::left(table))
        .after_all(key.columns.iter().map(|c| tag::filled(table, c)));
    let proto = step(cx, proto, &PerPartition::PrimaryKey(key));
    cx.push(proto);
}
