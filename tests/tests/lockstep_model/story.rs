//! Three versions of an application and the migrations between them, small enough to be searched through.

use std::{collections::BTreeMap, sync::Arc};

use schemadiff::{
    embed::History,
    model::{Column, Dialect, Fingerprint, Index, IndexPart, ObjectName, Schema, Sync, Table, version_name},
    plan::{Envelope, Phase, Plan, Step},
};
use schemadiff_tests::lockstep::{migrations, plan, second, step};

pub const DIALECT: Dialect = Dialect::Postgres;

/// A step of the story, all plans in one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct At {
    pub plan: usize,
    pub step: usize,
}

/// What is known before anything happens.
pub struct Story {
    pub plans: Vec<Plan>,
    /// Text of each plan, as the ledger keeps it.
    pub texts: Vec<String>,
    /// The history that each version embeds.
    pub histories: Vec<Arc<History>>,
    /// The schema that each version's structs declare.
    pub codes: Vec<Schema>,
    /// How many plans each version embeds.
    pub embeds: Vec<usize>,
    /// Whether two builds with one newest plan and other structs have names of their own.
    pub builds_apart: bool,
}

impl Story {
    /// The first so many versions.
    pub fn of(versions: usize) -> Self {
        let mut plans = vec![tables(), rename(), retype()];
        plans.truncate(versions);
        let histories: Vec<_> =
            (1..=versions).map(|known| migrations(DIALECT, &plans[..known]).history().unwrap()).collect();
        let codes = histories.iter().map(|history| history.snapshot().schema.clone()).collect();
        let texts = plans.iter().map(|plan| plan.to_toml().unwrap()).collect();
        Self { plans, texts, histories, codes, embeds: (1..=versions).collect(), builds_apart: true }
    }

    /// The first so many versions, and after them a build of the first one that came without a migration: it does not use
    /// `users` any more.
    pub fn with_a_lean_build(versions: usize) -> Self {
        let mut story = Self::of(versions);
        let mut lean = first_code();
        lean.tables.remove(&users());
        story.codes.push(lean);
        story.embeds.push(1);
        story
    }

    /// The name of a version.
    pub fn name(&self, version: usize) -> String {
        let newest = &self.plans[self.embeds[version] - 1].id;
        if self.builds_apart { version_name(newest, &Fingerprint::of(&self.codes[version])) } else { newest.clone() }
    }

    /// The history that a version embeds.
    pub fn history(&self, known: usize) -> &Arc<History> {
        &self.histories[known - 1]
    }

    /// Every step in order.
    pub fn steps(&self) -> impl Iterator<Item = (At, &Step)> {
        let numbered = self.plans.iter().enumerate();
        numbered.flat_map(|(at, plan)| plan.steps.iter().enumerate().map(move |(n, s)| (At { plan: at, step: n }, s)))
    }

    /// Where a step stands among all of them.
    pub fn position(&self, at: At) -> usize {
        self.plans[..at.plan].iter().map(|plan| plan.steps.len()).sum::<usize>() + at.step
    }

    pub fn step(&self, at: At) -> &Step {
        &self.plans[at.plan].steps[at.step]
    }
}

fn users() -> ObjectName {
    ObjectName::new("users")
}

fn notes() -> ObjectName {
    ObjectName::new("notes")
}

fn table(name: ObjectName, columns: &[(&str, &str)]) -> Table {
    let mut table = Table::new(name);
    table.columns = columns.iter().map(|(n, ty)| Column { nullable: true, ..Column::new(*n, *ty) }).collect();
    table
}

fn index(schema: &mut Schema, name: &str, column: &str) {
    let part = IndexPart { column: Some(column.to_owned()), ..IndexPart::default() };
    let index = Index { parts: vec![part], ..Index::default() };
    schema.tables.get_mut(&users()).unwrap().indexes.insert(name.to_owned(), index);
}

fn with(tables: Vec<Table>) -> Schema {
    Schema { tables: tables.into_iter().map(|t| (t.name.clone(), t.into())).collect(), ..Schema::default() }
}

fn first_code() -> Schema {
    let mut schema = with(vec![
        table(users(), &[("id", "bigint"), ("fullname", "text")]),
        table(notes(), &[("id", "bigint"), ("kind", "integer")]),
    ]);
    index(&mut schema, "users_fullname_idx", "fullname");
    schema
}

fn made(id: &str, phase: Phase, envelope: Envelope) -> Step {
    let mut step = step(id, phase, envelope, vec![format!("SELECT '{id}'")], vec![format!("SELECT 'undo {id}'")]);
    step.done_when = (envelope == Envelope::Concurrent).then(|| "SELECT true".to_owned());
    step
}

/// The tables of the first version, there from the start.
fn tables() -> Plan {
    let create = made("01-create", Phase::Expand, Envelope::Transaction);
    plan(DIALECT, "20260101000000_tables", None, &Schema::default(), vec![(create, first_code())])
}

/// `users.fullname` becomes `users.name`: both versions run side by side between expand and contract.
fn rename() -> Plan {
    let before = first_code();
    let pair = vec!["fullname".to_owned(), "name".to_owned()];
    let sync = |filled: &[&str]| Sync {
        fills: pair.clone(),
        filled: filled.iter().map(|&f| f.to_owned()).collect(),
        ..Sync::default()
    };

    let mut both = before.clone();
    let t = both.tables.get_mut(&users()).unwrap();
    t.columns.push(Column { nullable: true, ..Column::new("name", "text") });
    t.syncs = BTreeMap::from([("users_sync".to_owned(), sync(&["fullname"]))]);
    let mut filled = both.clone();
    let t = filled.tables.get_mut(&users()).unwrap();
    t.syncs = BTreeMap::from([("users_sync".to_owned(), sync(&["fullname", "name"]))]);
    let mut indexed = filled.clone();
    index(&mut indexed, "users_name_idx", "name");
    let mut without_index = indexed.clone();
    without_index.tables.get_mut(&users()).unwrap().indexes.remove("users_fullname_idx");
    let mut after = without_index.clone();
    let t = after.tables.get_mut(&users()).unwrap();
    t.syncs.clear();
    t.columns.retain(|c| c.name != "fullname");

    let mut fill = made("02-fill-name", Phase::Backfill, Envelope::Batches);
    // Its statements are never sent here.
    fill.action = second(DIALECT).steps[1].action.clone();
    fill.undoable = true;
    let steps = vec![
        (made("01-add-name", Phase::Expand, Envelope::Transaction), both),
        (fill, filled),
        (made("03-index-name", Phase::Backfill, Envelope::Concurrent), indexed),
        (made("04-drop-old-index", Phase::Contract, Envelope::Concurrent), without_index),
        (made("05-drop-fullname", Phase::Contract, Envelope::Transaction), after),
    ];
    plan(DIALECT, "20260102000000_rename", Some("20260101000000_tables"), &before, steps)
}

/// `notes.kind` becomes text in place: the third version starts when the others are gone. Touches another table than
/// the rename, so both may be under way.
fn retype() -> Plan {
    let before = migrations(DIALECT, &[tables(), rename()]).history().unwrap().snapshot().schema.clone();
    let mut wider = before.clone();
    let more = Column { nullable: true, ..Column::new("more", "text") };
    wider.tables.get_mut(&notes()).unwrap().columns.push(more);
    let mut after = wider.clone();
    let t = after.tables.get_mut(&notes()).unwrap();
    t.columns.iter_mut().find(|c| c.name == "kind").unwrap().ty = "text".to_owned();
    let steps = vec![
        (made("01-add-more", Phase::Expand, Envelope::Transaction), wider),
        // Longer than one transaction, so that it is the gate's answer alone that covers the time until its end.
        (made("02-retype-kind", Phase::Contract, Envelope::Long), after),
    ];
    plan(DIALECT, "20260103000000_retype", Some("20260102000000_rename"), &before, steps)
}
