//! Golden cases: `tests/golden/<case>/` holds a schema before and after, as SQL for one engine (`before.postgres.sql`) or
//! for all (`before.sql`), what a user would say beside (`case.toml`), and the plan each engine gets
//! (`postgres.plan.toml`, and one of its own for a version that has other statements: `postgres18.plan.toml`) or the refusal (`postgres.error.txt`).
//!
//! For every case: the plan is the golden one, to the byte and twice; it is proven on a scratch database; carried out on
//! a database with the rows of `seed.sql` it ends with an empty diff, and `verify.sql` returns true.
//! `SCHEMADIFF_BLESS=1` writes the golden files anew; `SCHEMADIFF_CASE=name` runs one case.

use std::{borrow::Cow, collections::BTreeMap, fs, path::Path, time::Duration};

use cargo_schemadiff::{
    dialect::{Connection, Scope, TableSize, ddl},
    diff::{DiffOptions, Hints, add_rename, diff},
    planner::{PlanRequest, plan},
    prove::{execute, prove},
};
use schemadiff::{
    compat,
    model::{Dialect, ObjectName, Schema},
    plan::{Overlap, Phase, Plan, Strategy},
};
use schemadiff_tests::{
    engine::{Major, TestDatabase},
    golden::{bless, each_case, name_of, plan_file, text_of},
};

/// `case.toml`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Case {
    /// What the case is about, for the reader.
    about: String,
    renames: Vec<String>,
    allow_drops: Vec<String>,
    /// `"users.email_key" = "lower(email)"`
    backfills: BTreeMap<String, String>,
    /// Applications whose old version has compatibility views; columns are kept in step by triggers when there are none.
    views_for: Vec<String>,
    /// Hours for which what is dropped is kept.
    undo_window: u64,
    /// Estimated rows by table.
    rows: BTreeMap<String, u64>,
}

#[test]
fn golden_cases_on_postgres() {
    all(Dialect::Postgres);
}

#[test]
fn golden_cases_on_sqlite() {
    all(Dialect::Sqlite);
}

fn all(dialect: Dialect) {
    let ran = each_case(|case| async move {
        // Without the one or the other the case is about something this engine does not have.
        let before = text_of(&case, "before", dialect, "sql")?;
        let after = text_of(&case, "after", dialect, "sql")?;
        let result = one(&case, dialect, &before, &after).await;
        Some(result.map_err(|failure| format!("== {} on {dialect}\n{failure}", name_of(&case))))
    });
    let ran: Vec<_> = ran.into_iter().flatten().collect();
    assert!(!ran.is_empty(), "no case for {dialect}");
    let failures: Vec<_> = ran.iter().filter_map(|result| result.as_ref().err()).map(String::as_str).collect();
    assert!(failures.is_empty(), "{} of {} cases failed\n{}", failures.len(), ran.len(), failures.join("\n"));
}

async fn schema_of(url: &str) -> (Connection, Schema) {
    let mut connection = Connection::open(url).await.unwrap();
    let schema = connection.introspect(&Scope::default()).await.unwrap().schema;
    (connection, schema)
}

async fn one(case: &Path, dialect: Dialect, before: &str, after: &str) -> Result<(), String> {
    let told: Case = toml::from_str(&text_of(case, "case", dialect, "toml").unwrap_or_default()).unwrap();
    assert!(!told.about.is_empty(), "{}: case.toml says what it is about", case.display());
    let (from, to) = (TestDatabase::new(dialect), TestDatabase::new(dialect));
    from.execute(before).await;
    to.execute(after).await;
    let (mut connection, current) = schema_of(&from.url).await;
    let (_, desired) = schema_of(&to.url).await;

    let mut hints = Hints::default();
    for rename in &told.renames {
        add_rename(&mut hints, rename, &current, &desired).unwrap();
    }
    for (column, expr) in &told.backfills {
        let (table, column) = column.rsplit_once('.').unwrap();
        hints.backfills.insert((table.parse().unwrap(), column.to_owned()), expr.clone());
    }
    let options = DiffOptions {
        allowed_drops: told.allow_drops.iter().cloned().collect(),
        undo_window: Duration::from_secs(told.undo_window * 3600),
        ..DiffOptions::default()
    };
    let sizes: BTreeMap<ObjectName, TableSize> =
        told.rows.iter().map(|(t, rows)| (t.parse().unwrap(), TableSize { rows: *rows, bytes: rows * 100 })).collect();
    let ddl = ddl(dialect, connection.server().version).unwrap();
    let id = format!("20260102030405_{}", name_of(case));
    let strategy = match told.views_for.as_slice() {
        [] => Strategy::synced("the case says nothing of the connections"),
        apps => Strategy { way: Overlap::Views, why: "the case says so".to_owned(), apps: apps.to_vec() },
    };
    let request = PlanRequest {
        current: &current,
        desired: &desired,
        hints: &hints,
        options: &options,
        ddl: &*ddl,
        sizes: &sizes,
        id: &id,
        parent: (!told.views_for.is_empty()).then_some(PARENT),
        strategy: &strategy,
    };
    let error_file = case.join(format!("{dialect}.error.txt"));
    let planned = match plan(&request) {
        Ok(planned) => planned,
        Err(error) if error.kind == cargo_schemadiff::Kind::Internal => return Err(error.to_string()),
        Err(error) => return golden(&error_file, &format!("{error}\n")),
    };
    assert_eq!(Some(&planned), plan(&request).ok().as_ref(), "planning twice gives one plan");
    phases_keep_their_promise(&planned, &current, &desired)?;
    let text = planned.to_toml().unwrap();
    let blessing = std::env::var_os("SCHEMADIFF_BLESS").is_some();
    if !blessing && !is_carried_out(&name_of(case)) {
        return golden(&plan_file(case, dialect, Major::under_test()), &text);
    }

    let mut scratch = connection.scratch().await.map_err(|e| e.to_string())?;
    let proof = prove(&mut scratch.connection, &*ddl, &current, &planned).await;
    scratch.remove().await.map_err(|e| e.to_string())?;
    if let Err(error) = proof {
        return Err(format!("{error}\n{text}"));
    }
    if !told.allow_drops.is_empty() && told.undo_window == 0 {
        // The same with a way back: nothing that worked without one is refused.
        let options = DiffOptions { undo_window: Duration::from_secs(3600), ..options.clone() };
        let kept = plan(&PlanRequest { options: &options, ..request }).map_err(|e| e.to_string())?;
        let mut scratch = connection.scratch().await.map_err(|e| e.to_string())?;
        let proof = prove(&mut scratch.connection, &*ddl, &current, &kept).await;
        scratch.remove().await.map_err(|e| e.to_string())?;
        proof.map_err(|e| format!("with an undo window: {e}\n{}", kept.to_toml().unwrap()))?;
    }
    carry_out(case, &from, dialect, &planned).await.map_err(|e| format!("{e}\n{text}"))?;
    let result = connection.introspect(&Scope::default()).await.map_err(|e| e.to_string())?.schema;
    let rest = diff(&result, &desired, &hints, &options).map_err(|e| format!("the second diff: {e}"))?;
    if !rest.is_empty() {
        return Err(format!("the second diff is not empty: {rest:?}"));
    }
    if blessing {
        bless(case, dialect, Major::under_test(), &text);
        return Ok(());
    }
    golden(&plan_file(case, dialect, Major::under_test()), &text)
}

async fn carry_out(case: &Path, database: &TestDatabase, dialect: Dialect, plan: &Plan) -> Result<(), String> {
    if let Some(seed) = text_of(case, "seed", dialect, "sql") {
        database.execute(&seed).await;
    }
    database.has_ledger_schema().await;
    let mut connection = Connection::open(&database.url).await.unwrap();
    for step in &plan.steps {
        execute::forth(&mut connection, step, &Schema::default())
            .await
            .map_err(|e| format!("step {}: {e}", step.id))?;
    }
    let Some(verify) = text_of(case, "verify", dialect, "sql") else { return Ok(()) };
    let row = connection.query_row(verify.trim(), &[]).await.map_err(|e| format!("verify.sql: {e}"))?;
    match row.and_then(|row| row.into_iter().next().flatten()).as_deref() {
        Some("t" | "true" | "1") => Ok(()),
        other => Err(format!("verify.sql returns {other:?}")),
    }
}

/// Whether a plan that is not written anew is proven and carried out, or made and compared alone: `SCHEMADIFF_GOLDEN=2/3` is the second of three parts.
///
/// # Panics
/// When that is no part.
fn is_carried_out(name: &str) -> bool {
    let Ok(part) = std::env::var("SCHEMADIFF_GOLDEN") else { return true };
    let numbers = part.split_once('/').and_then(|(part, of)| Some((part.parse::<usize>().ok()?, of.parse().ok()?)));
    let Some((part, of)) = numbers.filter(|(part, of)| (1..=*of).contains(part)) else {
        panic!("SCHEMADIFF_GOLDEN is {part}, it says which part of how many, as 2/3");
    };
    name.bytes().map(usize::from).sum::<usize>() % of + 1 == part
}

/// The version that the plan replaces.
const PARENT: &str = "20250101000000_before";

/// The state as the old version of an application sees it.
fn seen<'s>(plan: &Plan, state: &'s Schema) -> Cow<'s, Schema> {
    let app = plan.strategy.iter().flat_map(|s| &s.apps).next();
    state.seen_through(app.map(|app| compat::view_schema(app, PARENT)).as_deref())
}

/// Every state before contract serves the old code; the state before contract serves the new code, or the plan says that
/// it does not; and new code that runs lives through contract.
fn phases_keep_their_promise(plan: &Plan, current: &Schema, desired: &Schema) -> Result<(), String> {
    let mut state = current.clone();
    let mut phase = Phase::Expand;
    let mut overlap = None;
    for step in &plan.steps {
        if step.phase < phase {
            return Err(format!("{} goes back to an earlier phase", step.id));
        }
        if step.phase == Phase::Contract && phase != Phase::Contract {
            let contract = plan.phase(Phase::Contract).flat_map(|step| &step.effects);
            let served = compat::serves(plan.dialect, &state, desired).is_ok()
                && compat::renewed(plan.dialect, &state, contract, desired).is_empty();
            let admitted = step.hazards.iter().any(|h| h.code == "H002");
            if served == admitted {
                return Err(format!("new code served: {served}, the plan says otherwise"));
            }
            overlap = Some(served);
        }
        phase = step.phase;
        let before = state.clone();
        step.apply_to(&mut state).map_err(|e| format!("{}: {e}", step.id))?;
        if step.phase != Phase::Contract {
            let broken = compat::breaks(plan.dialect, &seen(plan, &before), &seen(plan, &state), current);
            if !broken.is_empty() || !step.undoable {
                return Err(format!("{} breaks old code or cannot be undone: {broken:?}", step.id));
            }
        } else if overlap == Some(true) {
            let broken = compat::breaks(plan.dialect, &before, &state, desired);
            if !broken.is_empty() {
                return Err(format!("{} breaks new code: {broken:?}", step.id));
            }
        }
    }
    Ok(())
}

fn golden(file: &Path, text: &str) -> Result<(), String> {
    if std::env::var_os("SCHEMADIFF_BLESS").is_some() {
        fs::write(file, text).unwrap();
        return Ok(());
    }
    match fs::read_to_string(file) {
        Ok(expected) if expected == text => Ok(()),
        Ok(expected) => {
            Err(format!("{} is not the golden one\n--- golden\n{expected}\n--- now\n{text}", file.display()))
        }
        Err(_) => Err(format!("{} is missing; SCHEMADIFF_BLESS=1 writes it\n{text}", file.display())),
    }
}
