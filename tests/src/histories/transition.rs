//! One migration of a real service, planned, proven and carried out on tables with rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cargo_schemadiff::{
    dialect::{Connection, Ddl, Scope, ddl},
    diff::{DiffOptions, Hints, diff},
    planner::{PlanRequest, plan},
    prove::{prove, seed},
};
use schemadiff::{
    embed::Migrations,
    lockstep::{
        NoProgress, Retry,
        admin::{self, ApplyOptions},
    },
    model::{Delta, Dialect, ObjectKind, ObjectName, Schema, between},
    plan::{Action, Plan, SNAPSHOT_FORMAT, Snapshot, Strategy},
};

use super::{State, intent::intent, reference::RESET};
use crate::{
    engine::{Postgres, TestDatabase},
    twin::{self, Mapping, Scenario, Values, Version},
};

/// A state and the one that follows it.
#[derive(Clone)]
pub struct Transition {
    /// The facts before.
    pub before: State,
    /// The facts after.
    pub after: State,
    /// The schema before.
    pub old: Schema,
    /// The schema after.
    pub new: Schema,
}

/// A database in which one proof after the other is made.
pub struct Bench {
    _db: TestDatabase,
    connection: Connection,
}

impl Bench {
    /// An empty one.
    pub async fn new() -> Self {
        let db = Postgres::shared().database();
        let connection = Connection::open(&db.url).await.unwrap();
        Self { _db: db, connection }
    }
}

/// How far a transition came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// No plan.
    Nothing,
    /// A plan.
    Planned,
    /// Proven on a scratch database.
    Proven,
    /// Carried out.
    Applied,
    /// And nothing differs afterwards.
    Equal,
}

/// What is done with the rows while a plan is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Load {
    /// It is not carried out, only proven.
    ProofOnly,
    /// Nothing: the rows are there.
    None,
    /// Old and new code work on them.
    Twin,
}

/// What became of a transition.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How far it came.
    pub reached: Reached,
    /// Steps of the plan.
    pub steps: usize,
    /// Rows that were there before; with twin load those that were compared at the end.
    pub rows: u64,
    /// Statements of the old and the new version.
    pub statements: [u64; 2],
    /// Tables that the proof made no row for.
    pub without_rows: Vec<String>,
    /// What stopped it.
    pub reason: Option<String>,
}

impl Outcome {
    /// Nothing yet.
    pub fn new() -> Self {
        let reached = Reached::Nothing;
        Self { reached, steps: 0, rows: 0, statements: [0, 0], without_rows: Vec::new(), reason: None }
    }
}

impl Default for Outcome {
    fn default() -> Self {
        Self::new()
    }
}

/// Plans, proves and carries out.
pub async fn run(transition: &Transition, load: Load, bench: &mut Bench) -> Outcome {
    let mut outcome = Outcome::new();
    if let Err(reason) = attempt(transition, load, bench, &mut outcome).await {
        outcome.reason = Some(reason);
    }
    outcome
}

async fn attempt(t: &Transition, load: Load, bench: &mut Bench, outcome: &mut Outcome) -> Result<(), String> {
    let said = |e: cargo_schemadiff::Error| e.to_string();
    let (hints, options) = intent(&t.after, &t.old, &t.new);
    let ddl = ddl(Dialect::Postgres, bench.connection.server().version).map_err(said)?;
    let plan = planned(&t.old, &t.new, &hints, &options, &*ddl)?;
    outcome.steps = plan.steps.len();
    outcome.reached = Reached::Planned;

    bench.connection.run(&[RESET.to_owned()]).await.map_err(said)?;
    surround(&mut bench.connection, t, None).await;
    let proof = prove(&mut bench.connection, &*ddl, &t.old, &plan).await.map_err(said)?;
    outcome.without_rows = proof.without_rows.into_keys().collect();
    outcome.reached = Reached::Proven;
    if load == Load::ProofOnly {
        return Ok(());
    }

    let db = Postgres::shared().database();
    db.execute(&t.before.sql()).await;
    let mut connection = Connection::open(&db.url).await.map_err(said)?;
    surround(&mut connection, t, Some(&plan)).await;
    let tables = touched(&plan, &t.old, &t.new);
    match load {
        Load::ProofOnly | Load::None => {
            let part = seed::fitting(&t.old, &t.new).restricted_to(|name| tables.contains(name));
            let seeded = seed::seed(&mut connection, &*ddl, &part, (1, 12), &|table, column| {
                let is = |schema: &Schema| schema.column(table, column).is_some_and(|c| c.nullable);
                is(&t.old) && is(&t.new)
            })
            .await;
            outcome.rows = seeded.rows.values().sum();
            repair(&mut connection, &t.old, &t.new, &tables).await;
            apply(&db.url, &plan, &t.new).await?;
        }
        Load::Twin => {
            let scenario = scenario(t, plan, &hints, &tables);
            let report = twin::run(&db, &scenario).await;
            outcome.statements = report.statements;
            outcome.rows = report.rows_verified;
            if let Some(first) = report.failures.first() {
                let all = report.failures.len();
                let (version, during, error, sql) = (first.version, &first.during, &first.error, &first.sql);
                return Err(format!("{all} failed statements: {version:?} during `{during}`: {error}\n  in: {sql}"));
            }
        }
    }
    outcome.reached = Reached::Applied;

    let found = connection.introspect(&Scope::default()).await.map_err(said)?.schema;
    let differs = between(&found, &t.new);
    if !differs.is_empty() {
        return Err(format!("at the end the server differs: {differs:?}"));
    }
    match diff(&found, &t.new, &Hints::default(), &DiffOptions::default()) {
        Ok(changes) if changes.is_empty() => outcome.reached = Reached::Equal,
        Ok(changes) => return Err(format!("the second diff is not empty: {changes:?}")),
        Err(e) => return Err(format!("the second diff asks: {e}")),
    }
    Ok(())
}

/// What the model does not hold is there before; whoever writes steps by hand makes it in one. What the plan makes is not.
async fn surround(connection: &mut Connection, t: &Transition, plan: Option<&Plan>) {
    let made =
        plan.into_iter().flat_map(|plan| &plan.steps).flat_map(|step| &step.effects).filter_map(|delta| match delta {
            Delta::Object { key, before: None, .. } if key.kind == ObjectKind::Schema => {
                Some(format!("SCHEMA IF NOT EXISTS \"{}\"", key.name.name))
            }
            Delta::Object { key, before: None, .. } if key.kind == ObjectKind::Extension => {
                Some(format!("EXTENSION IF NOT EXISTS \"{}\"", key.name.name))
            }
            _ => None,
        });
    let made: Vec<String> = made.collect();
    for state in [&t.before, &t.after] {
        for statement in state.surroundings(&state.tables.keys().cloned().collect()) {
            if !made.iter().any(|made| statement.ends_with(made)) {
                let _ = connection.run(&[statement]).await;
            }
        }
    }
}

fn planned(old: &Schema, new: &Schema, hints: &Hints, options: &DiffOptions, ddl: &dyn Ddl) -> Result<Plan, String> {
    let request = PlanRequest {
        current: old,
        desired: new,
        hints,
        options,
        ddl,
        sizes: &Default::default(),
        id: "20240101000000_transition",
        parent: None,
        strategy: &Strategy::synced(""),
    };
    let plan = plan(&request).map_err(|e| e.to_string())?;
    // What runs is what is read from the file.
    let text = plan.to_toml().map_err(|e| e.to_string())?;
    Plan::from_toml(&text).map_err(|e| format!("the written plan cannot be read: {e}"))
}

/// The tables that a plan is about, and those that rows of theirs need.
fn touched(plan: &Plan, schema: &Schema, next: &Schema) -> BTreeSet<ObjectName> {
    let mut tables: BTreeSet<ObjectName> =
        plan.steps.iter().flat_map(|s| &s.effects).filter_map(|delta| delta.table().cloned()).collect();
    loop {
        let of = |name: &ObjectName| schema.table(name);
        let mut more: BTreeSet<ObjectName> = BTreeSet::new();
        for table in tables.iter().filter_map(of) {
            more.extend(table.foreign_keys.values().map(|key| key.ref_table.clone()));
            let later = next.table(&table.name);
            more.extend(later.iter().flat_map(|t| t.foreign_keys.values()).map(|key| key.ref_table.clone()));
            more.extend(table.partition_of.iter().map(|of| of.parent.clone()));
            more.extend(schema.partitions(&table.name).into_iter().map(|p| p.name.clone()));
        }
        if more.is_subset(&tables) {
            return tables;
        }
        tables.extend(more);
    }
}

/// Old and new code on the tables that the plan is about, and on those that rows of theirs need.
fn scenario(t: &Transition, mut plan: Plan, hints: &Hints, tables: &BTreeSet<ObjectName>) -> Scenario {
    for step in &mut plan.steps {
        if let Action::Backfill(backfill) = &mut step.action {
            backfill.batch_size = 20;
        }
    }
    let old = t.old.restricted_to(|name| tables.contains(name));
    let new = t.new.restricted_to(|name| tables.contains(name));
    let mut mapping = Mapping {
        tables: hints.renamed_tables.iter().map(|(new, old)| (old.clone(), new.clone())).collect(),
        columns: hints
            .renamed_columns
            .iter()
            .map(|((table, new), old)| ((table.clone(), old.clone()), new.clone()))
            .collect(),
        ..Mapping::default()
    };
    mapping.uncompared.extend(hints.backfills.keys().cloned());
    for (name, table) in &new.tables {
        let Some(was) = old.table(hints.renamed_tables.get(name).unwrap_or(name)) else { continue };
        for column in &table.columns {
            let key = (name.clone(), column.name.clone());
            let before = was.column(hints.renamed_columns.get(&key).unwrap_or(&column.name));
            if before.is_some_and(|before| before.ty != column.ty) {
                mapping.uncompared.insert(key);
            }
        }
    }
    let values = Some(values(&t.old, &t.new));
    let always_written = [&old, &new].into_iter().flat_map(in_unique_keys).collect();
    let (rows, bystanders, rounds) = (45, 3, 4);
    Scenario {
        rows,
        bystanders,
        rounds,
        cautious: true,
        values,
        mapping,
        always_written,
        ..Scenario::new(old, new, plan)
    }
}

/// Columns of unique keys whose default would be shared by all rows: the other version, which knows no key, writes them too.
fn in_unique_keys(schema: &Schema) -> Vec<String> {
    let mut names = Vec::new();
    for table in schema.tables.values() {
        let indexes = table.indexes.values().filter(|index| index.unique).flat_map(|index| &index.parts);
        names.extend(indexes.filter_map(|part| part.column.clone()));
        names.extend(table.uniques.values().flat_map(|unique| unique.columns.clone()));
    }
    let written = |name: &String| {
        schema.tables.values().filter_map(|t| t.column(name)).all(|c| c.identity.is_none() && c.generated.is_none())
    };
    names.retain(written);
    names
}

/// Values that the checks and generated columns of these projects accept.
fn values(old: &Schema, new: &Schema) -> Values {
    let mut bounds: BTreeMap<ObjectName, (String, Vec<String>)> = BTreeMap::new();
    for (table, of) in
        [old, new].into_iter().flat_map(|s| s.tables.values()).filter_map(|t| Some((t, t.partition_of.as_ref()?)))
    {
        let parent = old.table(&of.parent).or_else(|| new.table(&of.parent));
        let by = parent.and_then(|parent| parent.partition_by.as_ref()).map(ToString::to_string).unwrap_or_default();
        let key = by.split_once('(').map(|(_, key)| key.trim_end_matches(')').to_owned()).unwrap_or_default();
        let value = of.bound.split(['(', ')']).nth(1).and_then(|list| list.split(',').next()).unwrap_or_default();
        let _ = table;
        bounds
            .entry(of.parent.clone())
            .or_insert_with(|| (key, Vec::new()))
            .1
            .push(value.trim_matches('\'').to_owned());
    }
    let (old, new) = (old.clone(), new.clone());
    Arc::new(move |version, table, column, seq| {
        if let Some((key, values)) = bounds.get(table)
            && key == column
        {
            return Some(values.get(seq as usize % values.len()).cloned());
        }
        let value = match column {
            // Times that are to become days are days.
            "date" => {
                let day = format!("{}-{:02}-{:02}", 2000 + seq / 336 % 1000, seq / 28 % 12 + 1, seq % 28 + 1);
                let time = [&old, &new].into_iter().filter_map(|s| s.column(table, "date")).any(|c| c.ty == "date");
                match version {
                    Version::Old if time && old.column(table, "date").is_some_and(|c| c.ty != "date") => {
                        format!("{day} 00:00:00")
                    }
                    _ if time => day,
                    _ => return None,
                }
            }
            "split_metadata_json" => r#"{"footer_offsets": {"end": 5}}"#.to_owned(),
            "tar_sha256" | "zip_sha256" | "zip_json_sha256" => format!("\\x{seq:064x}"),
            _ => return None,
        };
        Some(Some(value))
    })
}

/// What the authors did before they made something unique: of rows that would be equal, one stays.
async fn repair(connection: &mut Connection, old: &Schema, new: &Schema, tables: &BTreeSet<ObjectName>) {
    for table in tables.iter().filter_map(|name| Some((old.table(name)?, new.table(name)?))) {
        let (before, after) = table;
        let keys = after.primary_key.iter().map(|key| (key.columns.clone(), None));
        let uniques = after.uniques.values().map(|unique| (unique.columns.clone(), None));
        let indexes = after.indexes.values().filter(|i| i.unique).map(|i| {
            let part = |p: &schemadiff::model::IndexPart| p.column.clone().or_else(|| p.expr.clone());
            (i.parts.iter().filter_map(part).collect(), i.predicate.clone())
        });
        for (columns, predicate) in keys.chain(uniques).chain(indexes) {
            let sql = format!(
                "DELETE FROM {0} WHERE ctid IN (SELECT ctid FROM (SELECT ctid, row_number() OVER (PARTITION BY {1}) AS n \
                 FROM {0} WHERE {2}) AS same WHERE n > 1)",
                before.name,
                columns.join(", "),
                predicate.unwrap_or_else(|| "true".to_owned())
            );
            // Columns that are not there yet hold no equal rows.
            let _ = connection.run(&[sql]).await;
        }
    }
}

/// Carries the plan out as the tool does.
async fn apply(url: &str, plan: &Plan, after: &Schema) -> Result<(), String> {
    let lock = Snapshot {
        format: SNAPSHOT_FORMAT,
        dialect: plan.dialect,
        head: Some(plan.id.clone()),
        sources: Default::default(),
        schema: after.clone(),
    };
    let migrations = Migrations::from_plans(&lock, std::slice::from_ref(plan)).map_err(|e| e.to_string())?;
    let options = ApplyOptions { retry: Retry::default(), ..Default::default() };
    admin::apply(url, &migrations, &options, Arc::new(NoProgress)).await.map(drop).map_err(|e| format!("{e:?}: {e}"))
}
