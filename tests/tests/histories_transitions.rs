//! Every migration in the histories of four real projects, planned by schemadiff, carried out on seeded tables, and
//! compared: after every step the server shows what the plan predicts, and at the end nothing differs.

use std::{collections::BTreeMap, sync::Arc};

use cargo_schemadiff::{
    dialect::{Connection, Scope, ddl},
    diff::{DiffOptions, Hints, column_name, diff},
    planner::{PlanRequest, plan},
};
use schemadiff::{
    model::{Dialect, ObjectName, Schema, between},
    plan::{Plan, Strategy},
};
use schemadiff_tests::{
    engine::{Postgres, TestDatabase},
    histories::{State, states},
    twin::{self, Values, steps::Execution},
};

async fn build(state: &State) -> TestDatabase {
    let db = Postgres::shared().database();
    db.execute(&state.sql()).await;
    db
}

async fn introspect(db: &TestDatabase) -> Schema {
    let mut connection = Connection::open(&db.url).await.unwrap();
    connection.introspect(&Scope::default()).await.unwrap_or_else(|e| panic!("{e}")).schema
}

/// `users` for `public.users`, `app.users` for `app.users`.
fn table_name(text: &str) -> ObjectName {
    match text.split_once('.') {
        Some(("public", name)) => ObjectName::new(name),
        Some((schema, name)) => ObjectName::in_schema(Some(schema), name),
        None => ObjectName::new(text),
    }
}

/// What the authors knew and two schemas do not say: renames, and a value for rows that lack one.
fn intent(state: &State, old: &Schema, new: &Schema) -> (Hints, DiffOptions) {
    let mut hints = Hints::default();
    for change in &state.changes {
        let Some(from) = change.frm.as_ref().and_then(|f| f.as_str()) else { continue };
        match (change.kind.as_str(), change.obj.rsplit_once('.')) {
            // A column that is there after all was copied, not renamed.
            ("column.rename", Some((table, _))) if new.column(&table_name(table), from).is_some() => {}
            ("column.rename", Some((table, column))) => {
                hints.renamed_columns.insert((table_name(table), column.into()), from.into());
            }
            ("table.rename", Some((schema, _))) => {
                let from = if from.contains('.') { from.to_owned() } else { format!("{schema}.{from}") };
                hints.renamed_tables.insert(table_name(&change.obj), table_name(&from));
            }
            _ => {}
        }
    }
    for (name, table) in &new.tables {
        let was = hints.renamed_tables.get(name).unwrap_or(name);
        let Some(before) = old.table(was) else { continue };
        for column in table.columns.iter().filter(|c| !c.fills_itself()) {
            let key = (name.clone(), column.name.clone());
            let before = before.column(hints.renamed_columns.get(&key).unwrap_or(&column.name));
            if before.is_none_or(|b| b.nullable) {
                hints.backfills.insert(key, some_value(&column.ty).to_owned());
            }
        }
    }
    (hints.clone(), DiffOptions { allowed_drops: drops(&hints, old, new), ..DiffOptions::default() })
}

/// Everything that is gone.
fn drops(hints: &Hints, old: &Schema, new: &Schema) -> std::collections::BTreeSet<String> {
    let mut names = std::collections::BTreeSet::new();
    for (name, table) in &old.tables {
        let now = hints.renamed_tables.iter().find(|(_, from)| *from == name).map_or(name, |(to, _)| to);
        let Some(after) = new.table(now) else {
            names.insert(name.to_string());
            continue;
        };
        names.extend(
            table.columns.iter().filter(|c| after.column(&c.name).is_none()).map(|c| column_name(now, &c.name)),
        );
    }
    names
}

fn some_value(ty: &str) -> &'static str {
    match ty.split('(').next().unwrap_or_default().trim() {
        "smallint" | "integer" | "bigint" | "numeric" | "double precision" | "real" => "0",
        "boolean" => "false",
        "jsonb" | "json" => "'{}'",
        "bytea" => "''",
        ty if ty.starts_with("timestamp") => "now()",
        "uuid" => "gen_random_uuid()",
        ty if ty.ends_with("[]") => "'{}'",
        _ => "''",
    }
}

/// Values that the checks and generated columns of these projects accept.
fn values() -> Values {
    Arc::new(|_, _, column, _| match column {
        "split_metadata_json" => Some(Some(r#"{"footer_offsets": {"end": 5}}"#.to_owned())),
        _ => None,
    })
}

fn planned(state: &State, old: &Schema, new: &Schema) -> Result<Plan, String> {
    let (hints, options) = intent(state, old, new);
    let request = PlanRequest {
        current: old,
        desired: new,
        hints: &hints,
        options: &options,
        ddl: &*ddl(Dialect::Postgres, 150_000).unwrap(),
        sizes: &BTreeMap::new(),
        id: "20240101000000_transition",
        parent: None,
        strategy: &Strategy::synced(""),
    };
    let plan = plan(&request).map_err(|e| format!("no plan: {e}"))?;
    let text = plan.to_toml().map_err(|e| e.to_string())?;
    Plan::from_toml(&text).map_err(|e| format!("the written plan cannot be read: {e}"))
}

/// Plans and carries out one transition; the number of its steps.
async fn transition(before: &State, after: &State) -> Result<usize, String> {
    let db = build(before).await;
    let old = introspect(&db).await;
    let new = introspect(&build(after).await).await;
    twin::seed(&db, &old, &new, 60, Some(values())).await;
    let plan = planned(after, &old, &new)?;
    let mut execution = Execution::new(&db.url, &plan.id, &plan, &new);
    let mut state = old.clone();
    for step in &plan.steps {
        execution.forward().await.map_err(|e| format!("step {}: {e}", step.id))?;
        step.apply_to(&mut state).map_err(|e| format!("step {}: {e}", step.id))?;
        let mut predicted = state.clone();
        for sync in predicted.tables.values_mut().flat_map(|t| t.syncs.values_mut()) {
            *sync = sync.structure();
        }
        let differs = between(&predicted, &introspect(&db).await);
        if !differs.is_empty() {
            return Err(format!("after {} the server is not as the plan predicts: {differs:?}", step.id));
        }
    }
    execution.finish().await;
    let again = diff(&introspect(&db).await, &new, &Hints::default(), &DiffOptions::default());
    match again {
        Ok(changes) if changes.is_empty() => Ok(plan.steps.len()),
        Ok(changes) => Err(format!("the second diff is not empty: {changes:?}")),
        Err(e) => Err(format!("the second diff asks: {e}")),
    }
}

/// The transitions of one project: how many there are, and what stopped the ones that did not come through.
async fn project(name: &str) -> (usize, Vec<String>) {
    let states = states(name);
    let mut failed = Vec::new();
    let mut left_out = std::collections::BTreeSet::new();
    let mut steps = 0;
    for pair in states.windows(2) {
        left_out.extend(pair[1].left_out());
        match transition(&pair[0], &pair[1]).await {
            Ok(count) => steps += count,
            Err(why) => failed.push(format!("{name} {}: {why}", pair[1].id)),
        }
    }
    let count = states.len() - 1;
    println!("{name}: {} of {count} transitions in {steps} steps; not rebuilt: {left_out:?}", count - failed.len());
    (count, failed)
}

/// Transitions that do not come through, with the error that says which feature is lacking.
const REFUSED: &[(&str, &str)] = &[
    // boolean to an enumerated type: PostgreSQL has no cast, the authors wrote an expression.
    ("20240221124844_multi_stage_build_status", "cannot cast type boolean"),
    // A new primary key column: every row needs a value of its own, and the tables that refer to it need the same one. The
    // authors wrote that as statements over several tables; a backfill is an expression over one row. It is found before
    // anything is changed.
    ("9_add-split-incarnation-id", "rows of `indexes` that are equal in (index_uid)"),
];

macro_rules! projects {
    ($($test:ident => $name:literal),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $test() {
                let (count, failed) = project($name).await;
                let unexpected: Vec<_> = failed
                    .iter()
                    .filter(|f| !REFUSED.iter().any(|(id, code)| f.contains(id) && f.contains(code)))
                    .collect();
                println!("{}: {} of {count} transitions, {} refused", $name, count - failed.len(), failed.len());
                assert!(unexpected.is_empty(), "{unexpected:#?}");
            }
        )+
    };
}

projects! {
    docs_rs => "docs.rs",
    svix => "svix",
    atuin => "atuin",
    quickwit => "quickwit",
}
