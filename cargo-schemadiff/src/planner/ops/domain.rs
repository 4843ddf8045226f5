//! Domains: create, change, drop. A rule is added unproven, which counts for new writes at once and locks no table. Proving
//! it, and NOT NULL, read all tables with columns of the domain while nobody can write to them: that is done where they
//! are known to be small, and refused where they are known not to be.

use std::collections::BTreeMap;

use schemadiff::model::{Check, Domain, ObjectKind, ObjectName, Schema};

use crate::{
    Error, Kind, Result, hazard,
    planner::{
        context::{Context, slug, temporary},
        probes,
        proto::{Proto, rank, tag},
    },
};

pub(super) fn plan(
    cx: &mut Context<'_>,
    name: &ObjectName,
    before: Option<&Domain>,
    after: Option<&Domain>,
) -> Result<()> {
    match (before, after) {
        (None, Some(after)) => create(cx, after),
        (Some(before), None) => drop(cx, before),
        (Some(before), Some(after)) => alter(cx, name, before, after)?,
        (None, None) => {}
    }
    Ok(())
}

/// Refuses to give a table in use a column of a domain with rules: the server writes the whole table anew for it.
///
/// # Errors
/// [`Kind::Refused`] with the way out.
pub(super) fn refuse_rewrite(cx: &Context<'_>, table: &ObjectName, column: &str, ty: &str) -> Result<()> {
    if !cx.request.desired.constrains(ty) || cx.rows(table).is_none_or(|_| cx.is_small(table)) {
        return Ok(());
    }
    let base = cx.request.desired.base_type(ty);
    Err(Error::new(
        Kind::Refused,
        "SD0672",
        format!("`{table}.{column}` cannot become a column of domain `{ty}` while the table is in use"),
    )
    .cause(
        "the domain has rules, and the server writes the table anew under a lock that stops everybody to look at them",
    )
    .help(format!("give the column the type {base}, and write the rules of the domain as checks of the table"))
    .help("or make the column by hand in a maintenance window; the next diff will find it there"))
}

/// Says of the step that adds the column that it writes the table anew, where the column's domain has rules.
pub(super) fn note_rewrite(cx: &mut Context<'_>, table: &ObjectName, column: &str, ty: &str) {
    if !cx.caps.alter_column || !cx.request.desired.constrains(ty) {
        return;
    }
    let (tag, size) = (tag::column(table, column), cx.rows(table));
    if let Some(step) = cx.protos.iter_mut().rev().find(|p| p.tags.contains(&tag)) {
        step.rewrites = true;
        if size.is_none() {
            step.hazards.push(hazard::rewrites_table::hazard(table, None));
        }
    }
}

fn create(cx: &mut Context<'_>, after: &Domain) {
    let name = after.name.clone();
    let mut sql = Vec::new();
    if let Some(schema) = &name.schema {
        sql.extend(cx.ddl.create_schema(schema));
    }
    sql.extend(cx.ddl.create_domain(after));
    let domain = after.clone();
    let step =
        Proto::new(rank::TYPE, slug(&["create-domain", &name.to_string()]), format!("create domain `{name}`"), &name)
            .sql(sql)
            .undo(cx.ddl.drop_domain(&name))
            .effect(move |schema: &mut Schema| {
                std::mem::drop(schema.domains.insert(domain.name.clone(), domain.clone()));
            })
            .tags([tag::TYPES.to_owned(), tag::of_type(&name)])
            .after_all(made_of(cx, after));
    cx.push(step);
}

/// The steps that make the type that a domain is made of.
fn made_of(cx: &Context<'_>, domain: &Domain) -> Option<String> {
    let element = domain.ty.trim_end_matches("[]");
    let desired = cx.request.desired;
    let mut types = desired.enums.keys().chain(desired.domains.keys());
    let held = || desired.objects.keys().find(|key| key.kind == ObjectKind::Type && key.name.is_type(element));
    let plain = types.find(|name| name.is_type(element)).map(tag::of_type);
    plain.or_else(|| held().map(|key| tag::object(&key.as_touched())))
}

fn drop(cx: &mut Context<'_>, before: &Domain) {
    let name = before.name.clone();
    let made_of_it = |d: &&Domain| name.is_type(d.ty.trim_end_matches("[]"));
    let first: Vec<_> = cx.base.domains.values().filter(made_of_it).map(|d| tag::dropped_type(&d.name)).collect();
    let step = Proto::new(
        rank::REMOVE_TYPE,
        slug(&["drop-domain", &name.to_string()]),
        format!("drop domain `{name}`"),
        &name,
    )
    .sql(cx.ddl.drop_domain(&name))
    .undo(cx.ddl.create_domain(before))
    .tags([tag::dropped_type(&name), tag::DOMAINS_GONE.to_owned()])
    .effect(move |schema: &mut Schema| std::mem::drop(schema.domains.remove(&name)))
    .prepares(true)
    .after(tag::TYPES_FREE)
    .after_all(first);
    cx.push(step);
}

fn alter(cx: &mut Context<'_>, name: &ObjectName, before: &Domain, after: &Domain) -> Result<()> {
    if before.ty != after.ty || before.collation != after.collation {
        return Err(Error::new(
            Kind::Refused,
            "SD0673",
            format!("domain `{name}` cannot be made of another type in place"),
        )
        .cause(format!("it is made of {}, it shall be made of {}, and no server changes that", made(before), made(after)))
        .help("create a domain of another name, change the type of the columns to it, and drop the old one in a later release"));
    }
    if before.default != after.default {
        change_default(cx, before, after);
    }
    if before.not_null != after.not_null {
        not_null(cx, name, after.not_null)?;
    }
    checks(cx, name, &before.checks, &after.checks)?;
    if before.comment != after.comment {
        let (old, new) = (before.comment.clone(), after.comment.clone());
        let (sql, undo) =
            (cx.ddl.comment_on_domain(name, new.as_deref()), cx.ddl.comment_on_domain(name, old.as_deref()));
        let step = step(
            cx,
            name,
            rank::COMMENT,
            &slug(&["comment", &name.to_string()]),
            format!("comment on domain `{name}`"),
        )
        .sql(sql)
        .undo(undo)
        .effect(on(name, move |d| d.comment.clone_from(&new)));
        cx.push(step);
    }
    Ok(())
}

fn made(domain: &Domain) -> String {
    match &domain.collation {
        Some(collation) => format!("{} COLLATE {collation}", domain.ty),
        None => domain.ty.clone(),
    }
}

/// A step about the domain; what it does to code is seen on the tables that have columns of it.
fn step(cx: &Context<'_>, name: &ObjectName, rank: u8, id: &str, title: String) -> Proto {
    Proto::new(rank, id, title, name).touching(users(cx, name).iter()).after(tag::step(&format!("rename-type {name}")))
}

fn users(cx: &Context<'_>, name: &ObjectName) -> Vec<ObjectName> {
    cx.base.tables_of(name).into_iter().cloned().collect()
}

fn on(name: &ObjectName, change: impl Fn(&mut Domain) + 'static) -> impl Fn(&mut Schema) + 'static {
    let name = name.clone();
    move |schema| {
        if let Some(domain) = schema.domains.get_mut(&name) {
            change(domain);
        }
    }
}

fn change_default(cx: &mut Context<'_>, before: &Domain, after: &Domain) {
    let name = &after.name;
    let title = match &after.default {
        Some(default) => format!("give domain `{name}` the default {default}"),
        None => format!("drop the default of domain `{name}`"),
    };
    let value = after.default.clone();
    let step = step(cx, name, rank::TYPE, &slug(&["default", &name.to_string()]), title)
        .sql(cx.ddl.alter_domain_default(name, after.default.as_deref()))
        .undo(cx.ddl.alter_domain_default(name, before.default.as_deref()))
        .effect(on(name, move |d| d.default.clone_from(&value)));
    cx.push(step);
}

fn not_null(cx: &mut Context<'_>, name: &ObjectName, to: bool) -> Result<()> {
    let (verb, title) = match to {
        true => ("set-not-null", format!("refuse NULL in columns of domain `{name}`")),
        false => ("drop-not-null", format!("let columns of domain `{name}` be NULL")),
    };
    let mut step = step(cx, name, rank::TYPE, &slug(&[verb, &name.to_string()]), title)
        .sql(cx.ddl.alter_domain_nullable(name, !to))
        .undo(cx.ddl.alter_domain_nullable(name, to))
        .effect(on(name, move |d| d.not_null = to));
    if to {
        step = reads_users(cx, step, name, "NOT NULL")?;
    } else {
        // NULLs may be there by then.
        step = step.no_undo();
    }
    cx.push(step);
    Ok(())
}

/// Reads the tables with columns of the domain while nobody can write to them.
fn reads_users(cx: &Context<'_>, step: Proto, name: &ObjectName, what: &str) -> Result<Proto> {
    let users = users(cx, name);
    if let Some(large) = users.iter().find(|table| cx.rows(table).is_some() && !cx.is_small(table)) {
        return Err(Error::new(
            Kind::Refused,
            "SD0674",
            format!("`{what}` of domain `{name}` cannot be proven while `{large}` is in use"),
        )
        .cause(format!("the server reads all of `{large}` for it, and lets nobody write to it meanwhile"))
        .help("declare the check NOT VALID: it counts for all new values from then on")
        .help(format!("or write the rule as a check of `{large}`, which is proven beside all writers"))
        .help("or change the domain by hand in a maintenance window; the next diff will find it so"));
    }
    let arrays = users.iter().filter_map(|table| {
        let column = cx
            .base
            .table(table)?
            .columns
            .iter()
            .find(|c| c.ty.ends_with("[]") && cx.base.domains_of(&c.ty).is_empty())?;
        let of_it = cx.base.domains_of(column.ty.trim_end_matches("[]")).iter().any(|domain| domain.name == *name);
        of_it.then(|| format!("{table}.{}", column.name))
    });
    if let Some(array) = arrays.into_iter().next() {
        return Err(Error::new(
            Kind::Refused,
            "SD0674",
            format!("`{what}` of domain `{name}` cannot be proven for the elements of `{array}`"),
        )
        .cause("the server does not look into arrays, and refuses it for as long as there is such a column")
        .help("declare the check NOT VALID: it counts for all new values from then on")
        .help("or write the rule as a check of the table"));
    }
    if users.is_empty() {
        return Ok(step);
    }
    let locks: Vec<_> = users.iter().flat_map(|table| cx.ddl.locks("create_index", table, &[])).collect();
    let hazards = users.iter().map(|table| hazard::fails_on_rows::hazard(&format!("{what} of domain `{name}`"), table));
    Ok(step.locks(locks).hazard(hazards.collect::<Vec<_>>()).scans())
}

/// The rules: renamed, dropped, added, changed, proven.
fn checks(
    cx: &mut Context<'_>,
    name: &ObjectName,
    before: &BTreeMap<String, Check>,
    after: &BTreeMap<String, Check>,
) -> Result<()> {
    let mut gone: Vec<(&String, &Check)> = before.iter().filter(|(check, _)| !after.contains_key(*check)).collect();
    for (check, new) in after {
        match before.get(check) {
            Some(old) if old == new => {}
            Some(old) if old.expr == new.expr && (old.not_valid || !new.not_valid) => {
                if old.not_valid && !new.not_valid {
                    prove(cx, name, check, old, None)?;
                }
                if old.comment != new.comment {
                    comment_on_check(cx, name, check, old.comment.clone(), new.comment.clone());
                }
            }
            Some(old) => replace(cx, name, check, old, new)?,
            None => match gone.iter().position(|(_, old)| *old == new) {
                Some(at) => {
                    let (from, _) = gone.remove(at);
                    rename(cx, name, from, check);
                }
                None => {
                    add(cx, name, check, new)?;
                    if new.comment.is_some() {
                        comment_on_check(cx, name, check, None, new.comment.clone());
                    }
                }
            },
        }
    }
    for (check, old) in gone {
        let step = step(
            cx,
            name,
            rank::REMOVE,
            &slug(&["drop-check", &name.to_string(), check]),
            format!("drop check `{check}` of domain `{name}`"),
        )
        .sql(cx.ddl.drop_domain_check(name, check))
        .undo(cx.ddl.add_domain_check(name, check, &unproven(old)))
        .tag(tag::freed(name, check))
        .effect({
            let check = check.clone();
            on(name, move |d| std::mem::drop(d.checks.remove(&check)))
        });
        let step = back(cx, step, name, check, old);
        cx.push(step);
    }
    Ok(())
}

fn unproven(check: &Check) -> Check {
    Check { not_valid: true, ..check.clone() }
}

/// How a check that a step removes is there again when that is taken back: for new values, and proven for those that are there. Nobody
/// can write to the tables with columns of the domain while it is proven, so that where one of them is large it waits for contract and
/// does not come back.
fn back(cx: &Context<'_>, step: Proto, name: &ObjectName, check: &str, old: &Check) -> Proto {
    if old.not_valid {
        return step;
    }
    let large = users(cx, name).iter().any(|table| !cx.is_small(table));
    step.undo_proof(cx.ddl.validate_domain_check(name, check))
        .undo_probes(probes::refused_by_domain(cx, name, old))
        .one_way(large)
}

fn rename(cx: &mut Context<'_>, name: &ObjectName, from: &str, to: &str) {
    let id = slug(&["rename", &name.to_string(), to]);
    let step = step(cx, name, rank::TYPE, &id, format!("rename check `{from}` of domain `{name}` to `{to}`"))
        .sql(cx.ddl.rename_domain_check(name, from, to))
        .undo(cx.ddl.rename_domain_check(name, to, from))
        .tag(tag::freed(name, from))
        .effect({
            let (from, to) = (from.to_owned(), to.to_owned());
            on(name, move |d| {
                if let Some(check) = d.checks.remove(&from) {
                    d.checks.insert(to.clone(), check);
                }
            })
        });
    cx.push(step);
}

fn add(cx: &mut Context<'_>, name: &ObjectName, check: &str, new: &Check) -> Result<()> {
    let id = slug(&["add-check", &name.to_string(), check]);
    let unproven = Check { not_valid: true, comment: None, ..new.clone() };
    let step = step(cx, name, rank::TYPE, &id, format!("check `{check}` of domain `{name}` for new values"))
        .sql(cx.ddl.add_domain_check(name, check, &unproven))
        .undo(cx.ddl.drop_domain_check(name, check))
        .tag(tag::step(&id))
        .after(tag::freed(name, check))
        .effect({
            let (check, unproven) = (check.to_owned(), unproven.clone());
            on(name, move |d| std::mem::drop(d.checks.insert(check.clone(), unproven.clone())))
        });
    cx.push(step);
    if !new.not_valid {
        prove(cx, name, check, &unproven, Some(tag::step(&id)))?;
    }
    Ok(())
}

fn prove(cx: &mut Context<'_>, name: &ObjectName, check: &str, unproven: &Check, after: Option<String>) -> Result<()> {
    let id = slug(&["validate", &name.to_string(), check]);
    let mut undo = cx.ddl.drop_domain_check(name, check);
    undo.extend(cx.ddl.add_domain_check(name, check, unproven));
    undo.extend(unproven.comment.iter().flat_map(|text| cx.ddl.comment_on_domain_check(name, check, Some(text))));
    let step = step(
        cx,
        name,
        rank::TYPE,
        &id,
        format!("prove check `{check}` of domain `{name}` for the values that are there"),
    )
    .sql(cx.ddl.validate_domain_check(name, check))
    .undo(undo)
    .tag(tag::step(&id))
    .after_all(after)
    .effect({
        let check = check.to_owned();
        on(name, move |d| {
            if let Some(check) = d.checks.get_mut(&check) {
                check.not_valid = false;
            }
        })
    });
    let step = reads_users(cx, step, name, &unproven.expr)?;
    cx.push(step);
    Ok(())
}

/// The new rule counts before the old one goes.
fn replace(cx: &mut Context<'_>, name: &ObjectName, check: &str, old: &Check, new: &Check) -> Result<()> {
    let interim = temporary(check);
    add(cx, name, &interim, new)?;
    let mut sql = cx.ddl.drop_domain_check(name, check);
    sql.extend(cx.ddl.rename_domain_check(name, &interim, check));
    sql.extend(new.comment.iter().flat_map(|text| cx.ddl.comment_on_domain_check(name, check, Some(text))));
    let mut undo = cx.ddl.rename_domain_check(name, check, &interim);
    undo.extend(cx.ddl.add_domain_check(name, check, &unproven(old)));
    undo.extend(old.comment.iter().flat_map(|text| cx.ddl.comment_on_domain_check(name, check, Some(text))));
    let ready = ["add-check", "validate"].map(|what| tag::step(&slug(&[what, &name.to_string(), &interim])));
    let id = slug(&["replace-check", &name.to_string(), check]);
    let step =
        step(cx, name, rank::REMOVE, &id, format!("let the new check of domain `{name}` take the name `{check}`"))
            .sql(sql)
            .undo(undo)
            .after_all(ready)
            .effect({
                let (check, new) = (check.to_owned(), new.clone());
                on(name, move |d| {
                    d.checks.remove(&interim);
                    d.checks.insert(check.clone(), new.clone());
                })
            });
    let step = back(cx, step, name, check, old);
    cx.push(step);
    Ok(())
}

fn comment_on_check(cx: &mut Context<'_>, name: &ObjectName, check: &str, old: Option<String>, new: Option<String>) {
    let id = slug(&["comment", &name.to_string(), check]);
    let ready = ["add-check", "validate"].map(|what| tag::step(&slug(&[what, &name.to_string(), check])));
    let step = step(cx, name, rank::COMMENT, &id, format!("comment on check `{check}` of domain `{name}`"))
        .sql(cx.ddl.comment_on_domain_check(name, check, new.as_deref()))
        .undo(cx.ddl.comment_on_domain_check(name, check, old.as_deref()))
        .after_all(ready)
        .effect({
            let check = check.to_owned();
            on(name, move |d| {
                if let Some(slot) = d.checks.get_mut(&check) {
                    slot.comment.clone_from(&new);
                }
            })
        });
    cx.push(step);
}
