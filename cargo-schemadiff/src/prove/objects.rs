//! Views, functions, triggers and the like in the copy of the current schema.

use std::collections::BTreeSet;

use schemadiff::{
    model::{Delta, Object, ObjectKey, ObjectKind, ObjectName, Opaque, Schema, Shared, Table, Use, expr},
    plan::Plan,
};

use super::seed::words;
use crate::{
    Result,
    dialect::{Connection, Ddl},
    diff::{goes_with, is_type},
    planner::{calls, in_order},
};

/// The objects that the plan's steps speak of.
pub(super) fn spoken_of(plan: &Plan) -> BTreeSet<ObjectKey> {
    let keys = plan.steps.iter().flat_map(|step| &step.effects).filter_map(|delta| match delta {
        Delta::Object { key, .. } => Some(key.clone()),
        _ => None,
    });
    keys.collect()
}

/// The tables from whose sequences columns of the plan's take their numbers, or will.
fn numbering(plan: &Plan, current: &Schema, tables: &BTreeSet<ObjectName>) -> Vec<ObjectName> {
    let changed = plan.steps.iter().flat_map(|step| &step.effects).flat_map(|delta| match delta {
        Delta::Column { before, after, .. } => before.iter().chain(after).cloned().collect(),
        _ => Vec::new(),
    });
    let there = tables.iter().filter_map(|name| current.table(name)).flat_map(|table| table.columns.clone());
    let defaults = changed.chain(there).filter_map(|column| column.default).filter(|text| text.starts_with("nextval("));
    let names: BTreeSet<ObjectName> =
        defaults.flat_map(|text| expr::literals(&text)).filter_map(|name| name.parse().ok()).collect();
    let gives = |table: &&Shared<Table>| {
        let mut owned = table.columns.iter().filter_map(|column| column.owned_sequence(&table.name));
        owned.any(|sequence| names.contains(&sequence))
    };
    current.tables.values().filter(gives).map(|table| table.name.clone()).collect()
}

/// The objects that the proof needs: those that the plan speaks of, those that depend on its tables, and all that these need;
/// tables that they need join the others.
pub(super) fn concerned(plan: &Plan, current: &Schema, tables: &mut BTreeSet<ObjectName>) -> BTreeSet<ObjectKey> {
    let mut keys = spoken_of(plan);
    tables.extend(numbering(plan, current, tables));
    let at_hand = |kind| matches!(kind, ObjectKind::Schema | ObjectKind::Type | ObjectKind::Sequence);
    keys.extend(current.objects.keys().filter(|key| at_hand(key.kind)).cloned());
    let on_tables = |object: &&Shared<Object>| {
        tables.iter().any(|table| object.uses_relation(table) || goes_with(object) == Some(table))
    };
    keys.extend(current.objects.values().filter(on_tables).map(|object| object.key.clone()));
    // And those with a type that changes: they go along where it is made anew.
    let types = plan.steps.iter().flat_map(|step| &step.effects).filter_map(|delta| match delta {
        Delta::Enum { name, before: Some(_), .. } | Delta::Domain { name, before: Some(_), .. } => Some(name),
        _ => None,
    });
    for name in types {
        let with_type = current.objects.values().filter(|object| object.uses_type(name));
        keys.extend(with_type.map(|object| object.key.clone()));
    }
    let coming = plan.steps.iter().flat_map(|step| &step.effects).filter_map(|delta| match delta {
        Delta::Object { after, .. } => after.as_ref(),
        _ => None,
    });
    let coming: Vec<&Shared<Object>> = coming.collect();
    loop {
        let mut more = BTreeSet::new();
        for object in keys.iter().filter_map(|key| current.objects.get(key)).chain(coming.iter().copied()) {
            let needed = current.objects.keys().filter(|key| object.uses_object(key));
            let dependent = current.objects.values().filter(|other| other.uses_object(&object.key));
            more.extend(needed.cloned());
            more.extend(dependent.map(|other| other.key.clone()));
            for used in &object.uses {
                if let Use::Column { table: name, .. } | Use::Relation { name } = used
                    && current.tables.contains_key(name)
                {
                    tables.insert(name.clone());
                }
            }
            tables.extend(object.table().filter(|table| current.tables.contains_key(table)).cloned());
            let owner = object.owned_by.iter().map(|(table, _)| table);
            tables.extend(owner.filter(|table| current.tables.contains_key(*table)).cloned());
        }
        let known = tables.len();
        tables.extend(named_in_bodies(current, &keys, tables));
        super::with_references(current, tables);
        if more.is_subset(&keys) && tables.len() == known {
            return keys;
        }
        keys.extend(more);
    }
}

/// The tables that a body of a function or a trigger names: no catalogue says which they are, and without them a write that
/// fires it would fail here and nowhere else. One too many is no harm.
fn named_in_bodies(current: &Schema, keys: &BTreeSet<ObjectKey>, tables: &BTreeSet<ObjectName>) -> Vec<ObjectName> {
    let runs = |key: &&ObjectKey| matches!(key.kind, ObjectKind::Function | ObjectKind::Procedure);
    let functions =
        keys.iter().filter(runs).filter_map(|key| current.objects.get(key)).map(|object| &object.definition);
    let fires = |opaque: &&Opaque| opaque.table.as_ref().is_some_and(|table| tables.contains(table));
    let triggers = current.opaque.iter().filter(fires).filter_map(|opaque| opaque.definition.as_ref());
    let text = functions.chain(triggers).map(|text| text.to_lowercase()).collect::<Vec<_>>().join("\n");
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let words: BTreeSet<&str> = text.split(|c| !is_part(c)).collect();
    let is_named = |name: &&ObjectName| {
        let name = name.name.to_lowercase();
        if name.chars().all(is_part) { words.contains(name.as_str()) } else { text.contains(&name) }
    };
    current.tables.keys().filter(is_named).cloned().collect()
}

/// What the scratch database brought with it, and the plan or the copy is to make.
pub(super) fn out_of_the_way(ddl: &dyn Ddl, start: &Schema, plan: &Plan) -> Vec<String> {
    let made = plan.steps.iter().flat_map(|step| &step.effects).filter_map(|delta| match delta {
        Delta::Object { before: None, after: Some(object), .. } => Some(object),
        _ => None,
    });
    let brought =
        |kind| matches!(kind, ObjectKind::Type | ObjectKind::Function | ObjectKind::Procedure | ObjectKind::Extension);
    let comes = |object: &&Shared<Object>| {
        object.key.kind == ObjectKind::Schema && !start.objects.contains_key(&object.key) || brought(object.key.kind)
    };
    let there = start.objects.values().filter(|object| brought(object.key.kind));
    let objects = made.filter(comes).chain(there);
    objects.flat_map(|object| ddl.clear_object(object)).collect()
}

/// A part of the copy.
pub(super) enum Part<'s> {
    Object(Shared<Object>),
    Table(&'s Shared<Table>),
}

/// The statements that make domains, and the composite and range types that need no table and no function, each after those that it is
/// made of; and which objects these make.
pub(super) fn types_first(ddl: &dyn Ddl, start: &Schema) -> (Vec<String>, BTreeSet<ObjectKey>) {
    let is_held = |name: &ObjectName| start.objects.contains_key(&ObjectKey::new(ObjectKind::Type, name.clone()));
    let by_itself = |object: &&Shared<Object>| {
        let of_types = |used: &Use| match used {
            Use::Type { .. } => true,
            Use::Relation { name } => is_held(name),
            Use::Column { .. } | Use::Function { .. } => false,
        };
        object.key.kind == ObjectKind::Type && object.uses.iter().all(of_types)
    };
    let objects: Vec<&Shared<Object>> = start.objects.values().filter(by_itself).collect();
    let mut waiting: Vec<(&ObjectName, Vec<&str>, Vec<String>)> = Vec::new();
    for domain in start.domains_inner_first() {
        waiting.push((&domain.name, vec![&domain.ty], ddl.create_domain(domain)));
    }
    for object in &objects {
        let of = object.columns.iter().map(|(_, ty)| ty.as_str()).collect();
        waiting.push((&object.key.name, of, ddl.create_object(object)));
    }
    let mut sql = Vec::new();
    while !waiting.is_empty() {
        let free = |(own, of, _): &(&ObjectName, Vec<&str>, Vec<String>)| {
            !waiting.iter().any(|(other, ..)| other != own && of.iter().any(|ty| is_type(ty, other)))
        };
        // None is free only where they are made of each other, which no server has.
        let at = waiting.iter().position(free).unwrap_or_default();
        sql.extend(waiting.remove(at).2);
    }
    (sql, objects.into_iter().map(|object| object.key.clone()).collect())
}

/// Tables and what they may need, each after what it needs itself; and the objects that come after all tables. Those that are made
/// already are left out.
pub(super) fn in_order_of_making<'s>(
    start: &'s Schema,
    made: &BTreeSet<ObjectKey>,
) -> (Vec<Part<'s>>, Vec<Shared<Object>>) {
    let rank = |object: &Shared<Object>| match object.key.kind {
        ObjectKind::Schema => 0,
        ObjectKind::Extension => 1,
        _ => 2,
    };
    let is_first = |object: &Shared<Object>| rank(object) < 2 || matches!(object.key.kind, ObjectKind::Sequence);
    // A table may need these, and these may need a table.
    let is_routine = |object: &Shared<Object>| {
        matches!(object.key.kind, ObjectKind::Type | ObjectKind::Function | ObjectKind::Procedure)
    };
    let objects = start.objects.values().filter(|object| !made.contains(&object.key)).cloned();
    let (mut first, rest): (Vec<_>, Vec<_>) = objects.partition(is_first);
    first.sort_by_key(rank);
    let (routines, mut last): (Vec<_>, Vec<_>) = rest.into_iter().partition(is_routine);
    let mut routines = in_order(routines);
    let mut tables = start.parents_first();
    let mut parts: Vec<Part<'_>> = first.into_iter().map(Part::Object).collect();
    while !tables.is_empty() {
        let free =
            |object: &Shared<Object>| {
                let missing = |name: &ObjectName| tables.iter().any(|t| t.name == *name) || is_view(&last, name);
                let waits = |other: &Shared<Object>| other.key != object.key && object.uses_object(&other.key);
                !object.uses.iter().any(
                    |used| matches!(used, Use::Column { table: name, .. } | Use::Relation { name } if missing(name)),
                ) && !routines.iter().any(waits)
            };
        if let Some(at) = routines.iter().position(free) {
            parts.push(Part::Object(routines.remove(at)));
            continue;
        }
        // Where a table and a function need each other, the table comes first, and the server says what it lacks.
        let stores = |table: &Table, ty: &Object| {
            ty.key.kind == ObjectKind::Type && table.columns.iter().any(|column| is_type(&column.ty, &ty.key.name))
        };
        let needs =
            |table: &Table| routines.iter().any(|it| calls::count(table, &it.key.name.name) > 0 || stores(table, it));
        let above = |table: &Table| {
            let of = table.partition_of.as_ref();
            of.is_none_or(|of| !tables.iter().any(|other| other.name == of.parent))
        };
        let at = tables.iter().position(|table| !needs(table) && above(table)).unwrap_or_default();
        parts.push(Part::Table(tables.remove(at)));
    }
    last.extend(routines);
    (parts, in_order(last))
}

fn is_view(objects: &[Shared<Object>], name: &ObjectName) -> bool {
    let views = [ObjectKind::View, ObjectKind::MaterializedView];
    objects.iter().any(|object| views.contains(&object.key.kind) && object.key.name == *name)
}

/// Makes them. Without one that the plan speaks of there is no proof; another one is remarked on.
pub(super) async fn make(
    scratch: &mut Connection,
    ddl: &dyn Ddl,
    plan: &Plan,
    objects: &[Shared<Object>],
) -> Result<Vec<String>> {
    let needed = spoken_of(plan);
    let mut remarks = Vec::new();
    for object in objects {
        let mut sql = vec!["BEGIN".to_owned()];
        if object.key.kind == ObjectKind::Schema {
            sql.extend(ddl.create_schema(&object.key.name.name));
            let comment = ddl.create_object(object);
            sql.extend(comment.into_iter().skip(1));
        } else {
            sql.extend(ddl.create_object(object));
        }
        sql.push("COMMIT".to_owned());
        if let Err(error) = scratch.run(&sql).await {
            // What is reported is why, not how the transaction ended.
            let _ = scratch.run(&["ROLLBACK".to_owned()]).await;
            if needed.contains(&object.key) {
                return Err(super::cannot_copy(error));
            }
            remarks.push(format!("{} could not be copied into the scratch database: {}", object.key, words(error)));
        }
    }
    Ok(remarks)
}
