//! Views over one another that change together, where one of them cannot be replaced in place: nobody could read a new one
//! through an old one, so all of them go and come in one transaction.

use schemadiff::model::{Object, ObjectKey, ObjectKind, Schema};

use super::object::{change_locks, needs, put, released};
use crate::{
    hazard,
    planner::{
        carried::{Disturbed, in_order},
        context::{Context, slug},
        proto::{Proto, rank, tag},
    },
};

/// A view as it is and as it shall be.
#[derive(Clone)]
pub(super) struct Changed {
    pub before: Object,
    pub after: Object,
}

/// The chain that a changed view is part of, in the order of the keys; none where it can change on its own.
pub(super) fn of(cx: &Context<'_>, key: &ObjectKey) -> Option<Vec<Changed>> {
    let is_view = |key: &&ObjectKey| matches!(key.kind, ObjectKind::View | ObjectKind::MaterializedView);
    let changed = |key: &ObjectKey| {
        let (before, after) = (cx.base.objects.get(key)?, cx.request.desired.objects.get(key)?);
        (before != after).then(|| Changed { before: (**before).clone(), after: (**after).clone() })
    };
    let mut others: Vec<Changed> = cx.base.objects.keys().filter(is_view).filter_map(changed).collect();
    let first = others.iter().position(|view| view.before.key == *key)?;
    let mut chain = vec![others.swap_remove(first)];
    while let Some(next) = others.iter().position(|other| chain.iter().any(|view| hangs_together(view, other))) {
        chain.push(others.swap_remove(next));
    }
    chain.sort_by(|a, b| a.before.key.cmp(&b.before.key));
    let anew = chain.iter().any(|view| {
        cx.ddl.replace_object(&view.before, &view.after).is_none()
            || cx.ddl.replace_object(&view.after, &view.before).is_none()
    });
    (chain.len() > 1 && anew).then_some(chain)
}

fn hangs_together(a: &Changed, b: &Changed) -> bool {
    let uses = |one: &Changed, other: &Changed| {
        one.before.uses_object(&other.before.key) || one.after.uses_object(&other.after.key)
    };
    uses(a, b) || uses(b, a)
}

/// One step for all of them.
pub(super) fn change(cx: &mut Context<'_>, chain: &[Changed]) {
    let sides = |side: fn(&Changed) -> &Object| in_order(chain.iter().map(|view| side(view).clone().into()).collect());
    let (old, new) = (sides(|view| &view.before), sides(|view| &view.after));
    let rights = |key: &ObjectKey| {
        let view = chain.iter().find(|view| view.before.key == *key);
        view.map(|view| view.before.rights.clone()).unwrap_or_default()
    };
    let swapped = |from: &[_], to: &[_]| {
        let gone = from.iter().rev().flat_map(|object: &schemadiff::model::Shared<Object>| cx.ddl.drop_object(object));
        let made = to.iter().flat_map(|object: &schemadiff::model::Shared<Object>| {
            cx.ddl.create_object(object).into_iter().chain(rights(&object.key))
        });
        gone.chain(made).collect::<Vec<_>>()
    };
    let names: Vec<_> = chain.iter().map(|view| view.before.key.to_string()).collect();
    let ids: Vec<_> = chain.iter().map(|view| view.before.key.path()).collect();
    let touched: Vec<_> = chain.iter().map(|view| view.before.key.as_touched()).collect();
    let results: Vec<Object> =
        chain.iter().map(|view| Object { rights: view.before.rights.clone(), ..view.after.clone() }).collect();
    let own: Vec<String> = touched.iter().map(tag::object).collect();
    let mut wanted: Vec<String> = chain.iter().flat_map(|view| needs(&view.after)).collect();
    wanted.retain(|tag| !own.contains(tag));
    let mut proto = Proto::new(
        rank::OBJECT,
        slug(&["change", "views", &ids.join("-")]),
        format!("change {}", names.join(" and ")),
        &touched[0],
    )
    .touching(&touched[1..])
    .sql(swapped(&old, &new))
    .undo(swapped(&new, &old))
    .effect(move |schema: &mut Schema| results.iter().for_each(|result| put(schema, result)))
    .tags(own)
    .after_all(wanted);
    for view in chain {
        proto = proto
            .locks(change_locks(cx, &view.before, &view.after))
            .tags(released(&view.before, Some(&view.after)))
            .disturbs([Disturbed::Object(view.before.key.clone())]);
        if view.after.key.kind == ObjectKind::MaterializedView {
            proto = proto.scans().hazard([hazard::rewrites_table::hazard(&view.after.key.name, None)]);
        }
    }
    cx.push(proto);
}
