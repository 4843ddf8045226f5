//! Enumerated types: create, add labels, drop. Labels cannot be removed or reordered in place.

use schemadiff::model::{EnumType, ObjectName, Schema};

use crate::{
    Error, Kind, Result, hazard,
    planner::{
        context::{Context, slug},
        proto::{Proto, rank, tag},
    },
};

pub(super) fn plan(
    cx: &mut Context<'_>,
    name: &ObjectName,
    before: Option<&EnumType>,
    after: Option<&EnumType>,
) -> Result<()> {
    match (before, after) {
        (None, Some(after)) => create(cx, after),
        (Some(before), None) => drop(cx, before),
        (Some(before), Some(after)) => alter(cx, name, before, after)?,
        (None, None) => {}
    }
    Ok(())
}

fn create(cx: &mut Context<'_>, after: &EnumType) {
    let name = after.name.clone();
    let mut sql = Vec::new();
    if let Some(schema) = &name.schema {
        sql.extend(cx.ddl.create_schema(schema));
    }
    sql.extend(cx.ddl.create_enum(after));
    let enumeration = after.clone();
    let step =
        Proto::new(rank::TYPE, slug(&["create-type", &name.to_string()]), format!("create type `{name}`"), &name)
            .sql(sql)
            .undo(cx.ddl.drop_enum(&name))
            .effect(move |schema: &mut Schema| {
                std::mem::drop(schema.enums.insert(enumeration.name.clone(), enumeration.clone()));
            })
            .tags([tag::TYPES.to_owned(), tag::of_type(&after.name)]);
    cx.push(step);
}

fn drop(cx: &mut Context<'_>, before: &EnumType) {
    let name = before.name.clone();
    let step =
        Proto::new(rank::REMOVE_TYPE, slug(&["drop-type", &name.to_string()]), format!("drop type `{name}`"), &name)
            .sql(cx.ddl.drop_enum(&name))
            .undo(cx.ddl.create_enum(before))
            .effect(move |schema: &mut Schema| std::mem::drop(schema.enums.remove(&name)))
            .prepares(true)
            .after_all([tag::TYPES_FREE, tag::DOMAINS_GONE].map(str::to_owned));
    cx.push(step);
}

fn alter(cx: &mut Context<'_>, name: &ObjectName, before: &EnumType, after: &EnumType) -> Result<()> {
    let mut labels = before.values.clone();
    let kept: Vec<_> = after.values.iter().filter(|v| before.values.contains(v)).collect();
    if kept.iter().copied().ne(before.values.iter()) {
        return Err(Error::new(
            Kind::Refused,
            "SD0604",
            format!("the labels of type `{name}` cannot be removed or reordered"),
        )
        .cause(format!("{} becomes {}", before.values.join(", "), after.values.join(", ")))
        .help("keep the old labels in their order in the Rust enum, and stop using those you do not want")
        .help(
            "or add a column of a new type with #[column(backfill = \"..\")] and drop the old one in a later release",
        ));
    }
    let mut previous: Option<String> = None;
    for (at, value) in after.values.iter().enumerate().filter(|(_, v)| !before.values.contains(v)) {
        let next = after.values[at..].iter().find(|v| before.values.contains(v));
        let place = next.and_then(|next| labels.iter().position(|l| l == next)).unwrap_or(labels.len());
        labels.insert(place, value.clone());
        let id = slug(&["add-label", &name.to_string(), value]);
        let result = labels.clone();
        let (type_name, tagged) = (name.clone(), tag::step(&id));
        let step = Proto::new(rank::TYPE, &id, format!("add the label '{value}' to type `{name}`"), name)
            .sql(cx.ddl.add_enum_value(name, value, next.map(String::as_str)))
            .no_undo()
            .effect(move |schema: &mut Schema| {
                if let Some(enumeration) = schema.enums.get_mut(&type_name) {
                    enumeration.values.clone_from(&result);
                }
            })
            .hazard([hazard::enum_value_stays::hazard(name, value)])
            .tags([tag::TYPES.to_owned(), tag::of_type(name)])
            .tag(tagged.clone())
            .after_all(previous.replace(tagged));
        cx.push(step);
    }
    if before.comment != after.comment {
        comment(cx, name, before, after, previous);
    }
    Ok(())
}

fn comment(cx: &mut Context<'_>, name: &ObjectName, before: &EnumType, after: &EnumType, previous: Option<String>) {
    let (type_name, text) = (name.clone(), after.comment.clone());
    let id = slug(&["comment", &name.to_string()]);
    let step = Proto::new(rank::COMMENT, id, format!("comment on type `{name}`"), name)
        .sql(cx.ddl.comment_on_enum(name, after.comment.as_deref()))
        .undo(cx.ddl.comment_on_enum(name, before.comment.as_deref()))
        .effect(move |schema: &mut Schema| {
            if let Some(enumeration) = schema.enums.get_mut(&type_name) {
                enumeration.comment.clone_from(&text);
            }
        })
        .after_all(previous);
    cx.push(step);
}
