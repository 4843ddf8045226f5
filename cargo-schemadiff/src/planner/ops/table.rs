//! Create, drop and rename a table.

use schemadiff::{
    model::{Column, CompatView, ForeignKey, Identity, ObjectKey, ObjectKind, ObjectName, Schema, Shared, Table},
    plan::Envelope,
};

use super::{foreign_key, naming, partition, rekey};
use crate::{
    Error, Kind, Result,
    diff::{Change, goes_with},
    hazard,
    planner::{
        aside,
        carried::Disturbed,
        context::{Context, on, slug},
        probes,
        proto::{Proto, rank, tag},
        renaming,
    },
};

/// Everything at once: nobody uses the table yet. Foreign keys to other tables come one by one, because each locks a table
/// that is in use, and where they are part of the table, those whose key is not there yet: with such a reference the engine
/// refuses what old code writes to the other table.
pub(super) fn create(cx: &mut Context<'_>, table: &Table) -> Result<()> {
    let later =
        |key: &ForeignKey| key.ref_table != table.name && (cx.caps.alter_constraints || rekey::makes_target(cx, key));
    let (keys, own): (Vec<_>, Vec<_>) = table.foreign_keys.clone().into_iter().partition(|(_, key)| later(key));
    let bare = Table { foreign_keys: own.into_iter().collect(), ..table.clone() };
    let mut sql = new_schema(cx, &table.name);
    // A partition comes beside a parent in use, or with one that nobody uses yet.
    let parent = table.partition_of.as_ref().map(|of| of.parent.clone());
    let beside = parent.as_ref().is_some_and(|parent| cx.before(parent).is_some());
    sql.extend(if beside { cx.ddl.create_partition(&bare) } else { cx.ddl.create_table(&bare) });
    let how = if beside { "create_partition" } else { "create_partition_of" };
    let name = table.name.clone();
    let index_names = naming::index_names(cx, table);
    let held = index_names.iter().flat_map(|index| naming::free(&naming::holders(cx, &name, index), index));
    let held: Vec<_> = held.collect();
    let step =
        Proto::new(rank::TABLE, slug(&["create-table", &name.to_string()]), format!("create table `{name}`"), &name)
            .sql(sql)
            .undo(cx.ddl.drop_table(&name))
            .undo_loses([probes::rows_of(cx, table)])
            .effect(move |schema: &mut Schema| {
                std::mem::drop(schema.tables.insert(bare.name.clone(), bare.clone().into()))
            })
            .tag(tag::table(&name))
            .tag(tag::keys(&name))
            .after_all([tag::TYPES.to_owned(), tag::vacant(&name)])
            .after_all(held)
            .after_all(parent.as_ref().map(tag::table))
            .locks(parent.iter().flat_map(|parent| cx.ddl.locks(how, &name, &[parent])));
    let columns = table.columns.iter().map(|c| tag::filled(&table.name, &c.name));
    let step = step.tags(columns);
    let step = match parent.as_ref().filter(|_| beside) {
        Some(parent) => partition::beside_parent(cx, parent, step),
        None => step,
    };
    cx.push(step);
    for (key_name, key) in keys {
        foreign_key::plan(cx, &table.name, &key_name, None, Some(&key));
    }
    Ok(())
}

/// Makes the database schema of a name where nothing is in it yet and no step of its own makes it.
pub(super) fn new_schema(cx: &Context<'_>, name: &ObjectName) -> Vec<String> {
    let Some(schema) = &name.schema else { return Vec::new() };
    let key = ObjectKey::new(ObjectKind::Schema, ObjectName::new(schema.clone()));
    let known = cx.base.objects.contains_key(&key) || cx.request.desired.objects.contains_key(&key);
    // Not the base's tables: there the one that moves is in its new place already.
    let current = cx.request.current;
    let mut names = current.tables.keys().chain(current.enums.keys()).chain(current.domains.keys());
    if known || names.any(|name| name.schema.as_ref() == Some(schema)) {
        return Vec::new();
    }
    cx.ddl.create_schema(schema)
}

/// The table goes in contract; its foreign keys before it, one by one, because dropping one locks the table at its other
/// end.
pub(super) fn drop(cx: &mut Context<'_>, table: &Table) -> Result<()> {
    let name = table.name.clone();
    let mut bare = table.clone();
    if cx.caps.alter_constraints {
        let others: Vec<_> = table
            .foreign_keys
            .iter()
            .filter(|(_, key)| key.ref_table != name)
            .map(|(n, k)| (n.clone(), k.clone()))
            .collect();
        for (key_name, key) in others {
            bare.foreign_keys.remove(&key_name);
            foreign_key::drop(cx, &name, &key_name, &key, true);
        }
    }
    let hangs = |object: &&Shared<schemadiff::model::Object>| goes_with(object) == Some(&name);
    let hanging: Vec<_> = cx.base.objects.values().filter(hangs).map(|object| object.key.as_touched()).collect();
    let referenced: Vec<_> = bare.foreign_keys.values().map(|key| key.ref_table.clone()).collect();
    let parent = table.partition_of.as_ref().map(|of| of.parent.clone());
    let locked: Vec<_> = referenced.iter().cloned().chain(parent.clone()).collect();
    let index_names = naming::index_names(cx, &bare);
    let step = || {
        Proto::new(rank::REMOVE_TABLE, slug(&["drop-table", &name.to_string()]), format!("drop table `{name}`"), &name)
            .locks(cx.ddl.locks("drop_table", &name, &locked.iter().collect::<Vec<_>>()))
            .touching(&hanging)
            .disturbs([Disturbed::GoneTable(name.clone())])
            .effect({
                let change = Change::DropTable { table: table.clone().into() };
                move |schema: &mut Schema| change.apply_to(schema)
            })
            .tags([tag::TYPES_FREE.to_owned(), tag::vacant(&name)])
            .tags(index_names.iter().map(|index| tag::freed(&name, index)))
            // A partitioned table goes after its partitions.
            .tags(parent.iter().map(tag::unreferenced))
            // Where foreign keys stay with the table to its end, the tables that reference others go before those.
            .tags(referenced.iter().filter(|other| **other != name).map(tag::unreferenced))
            .after(tag::unreferenced(&name))
    };
    let step = match aside::table(cx, step(), &bare) {
        Some(aside) => aside,
        None => {
            let lost = hazard::drops_data::hazard(&format!("table `{name}`"));
            // A key that refers to the whole table stands on each of its partitions.
            let away = parent.iter().filter(|parent| partition::is_referred_to(cx, parent));
            let step = step().sql(away.flat_map(|parent| cx.ddl.detach_partition(parent, &name)));
            let step = parent.iter().fold(step, |step, parent| partition::away_from_references(cx, parent, step));
            step.sql(cx.ddl.drop_table(&name)).no_undo().hazard([lost])
        }
    };
    let step = step.hazard(cx.opaque_hazard(&name, None));
    // Without ALTER for constraints the drop may cascade into tables the plan does not know; the rebuild envelope switches
    // enforcement off and checks all references at the end.
    let step = if cx.caps.alter_constraints { step } else { step.envelope(Envelope::Rebuild) };
    cx.push(step);
    Ok(())
}

/// The new name at once, the old one as a view until contract: the retiring version's own where it has views, else one for
/// everybody beside the table. Where views do not take writes, it is one contract step.
pub(super) fn rename(cx: &mut Context<'_>, from: &ObjectName, to: &ObjectName) -> Result<()> {
    let moves = from.schema != to.schema;
    if moves && !cx.caps.updatable_views {
        return Err(Error::new(
            Kind::Refused,
            "SD0609",
            format!("`{from}` cannot be moved to another schema as `{to}`"),
        )
        .cause("the engine has no statement for it")
        .help("keep the schema, or create the new table, copy the rows and drop the old one in two releases"));
    }
    let referencing: Vec<_> = cx
        .base
        .tables
        .values()
        .filter(|t| t.foreign_keys.values().any(|key| key.ref_table == *to))
        .map(|t| t.name.clone())
        .chain(cx.base.partitions(to).into_iter().map(|partition| partition.name.clone()))
        .collect();
    // Those that are renamed in this plan too may still have their old names when this step runs.
    let old_names: Vec<_> =
        referencing.iter().filter_map(|name| cx.request.hints.renamed_tables.get(name).cloned()).collect();
    let mut sql = Vec::new();
    if moves {
        sql.extend(new_schema(cx, to));
    }
    sql.extend(cx.ddl.rename_table(from, to));
    let mut undo = Vec::new();
    // Not the base's: there a column that is renamed in place, after this step, has its new name already.
    let current = cx.request.current;
    let columns: Vec<Column> = current.table(from).map(|t| t.columns.clone()).unwrap_or_default();
    let shielded = cx.is_shielded(to);
    let (at_once, numbered): (Vec<_>, Vec<_>) = numbered(cx, from, to, &columns).into_iter().partition(|_| shielded);
    for (before, after) in at_once {
        sql.extend(cx.ddl.alter_identity(to, &before, &after));
        undo.extend(cx.ddl.alter_identity(to, &after, &before));
    }
    let seen = current.table(from).map(|t| current.whole(t).columns.clone()).unwrap_or_default();
    let view = CompatView {
        name: from.clone(),
        table: to.clone(),
        columns: seen.iter().map(|c| (c.name.clone(), c.name.clone())).collect(),
    };
    let with_view = cx.can_be_viewed(to) && !shielded;
    if with_view {
        sql.extend(cx.before(to).iter().flat_map(|table| cx.ddl.create_compat_view(&view, table)));
        undo.splice(0..0, cx.ddl.drop_compat_view(&view));
    }
    undo.extend(cx.ddl.rename_table(to, from));
    let change = Change::RenameTable { from: from.clone(), to: to.clone() };
    let what = if moves { "move" } else { "rename" };
    let title = match with_view {
        true => format!("{what} `{from}` to `{to}`, and keep the old name as a view"),
        false => format!("{what} `{from}` to `{to}`"),
    };
    let step = Proto::new(rank::TABLE, slug(&["rename-table", &to.to_string()]), title, to)
        .touching([from])
        .touching(&referencing)
        .touching(&old_names)
        .sql(sql)
        .undo(undo)
        .locks(cx.ddl.locks("rename_table", to, &[]))
        .hazard(with_view.then(|| hazard::view_limits::hazard(from, to)))
        .hazard(cx.opaque_hazard(from, None))
        .effect({
            let view = view.clone();
            let follows = renaming::names_after_table(cx, from, to);
            let numbered: Vec<Column> = numbered.iter().map(|(before, _)| before.clone()).collect();
            move |schema: &mut Schema| {
                change.apply_to(schema);
                for column in &numbered {
                    let slot = schema.tables.get_mut(&view.table).and_then(|t| t.column_mut(&column.name));
                    if let Some(slot) = slot {
                        slot.identity.clone_from(&column.identity);
                    }
                }
                renaming::follow(schema, &view.table, &follows);
                if with_view {
                    schema.compat_views.insert(view.name.clone(), view.clone());
                }
            }
        })
        .tag(tag::table(to))
        .tag(tag::step(&format!("rename-table {to}")))
        .tags((!with_view).then(|| tag::vacant(from)))
        .after_all([tag::TYPES.to_owned(), tag::vacant(to)]);
    let step = if shielded { cx.changes_shape(to, step) } else { step };
    cx.push(step);
    for (before, after) in numbered {
        rename_sequence(cx, to, before, after);
    }
    if with_view {
        super::leftover::view(cx, &view);
    }
    Ok(())
}

/// Lets a sequence follow its table's name. Old code may name it, and nothing else can bear its name for it meanwhile.
fn rename_sequence(cx: &mut Context<'_>, table: &ObjectName, before: Column, after: Column) {
    let name = |column: &Column| column.identity.as_ref().and_then(|i| i.sequence.clone()).unwrap_or_default();
    let (old, new) = (name(&before), name(&after));
    let step = Proto::new(
        rank::TABLE,
        slug(&["rename-sequence", &new]),
        format!("rename the sequence `{old}` to `{new}`"),
        table,
    )
    .sql(cx.ddl.alter_identity(table, &before, &after))
    .undo(cx.ddl.alter_identity(table, &after, &before))
    .effect(on(table, move |t| {
        for column in &mut t.columns {
            if let Some(identity) = column.identity.as_mut().filter(|i| i.sequence.as_ref() == Some(&old)) {
                identity.sequence = None;
            }
        }
    }))
    // Whoever inserts takes a number.
    .locks(cx.ddl.locks("rename_table", table, &[]))
    .tag(tag::step(&format!("rename-sequence {table}")))
    .after(tag::step(&format!("rename-table {table}")))
    // Nothing of the new version waits for the name.
    .prepares(true);
    cx.push(step);
}

/// Columns numbered from sequences that are named after the old table, as they are and as they shall be.
fn numbered(cx: &Context<'_>, from: &ObjectName, to: &ObjectName, columns: &[Column]) -> Vec<(Column, Column)> {
    if !cx.caps.alter_column {
        return Vec::new();
    }
    let named = |column: &Column, table: &ObjectName| {
        let default = cx.ddl.default_name(&table.name, &[&column.name], "seq");
        let identity = column.identity.clone()?;
        let sequence = Some(identity.sequence.clone().unwrap_or(default));
        Some(Column { identity: Some(Identity { sequence, ..identity }), ..column.clone() })
    };
    let unnamed = columns.iter().filter(|c| c.identity.as_ref().is_some_and(|i| i.sequence.is_none()));
    let both = unnamed.filter_map(|c| Some((named(c, from)?, named(c, to)?)));
    // A table that moves takes its sequences along.
    both.filter(|(before, after)| before != after).collect()
}
