//! eugene carries out every golden plan on PostgreSQL 15, step by step, and looks at what the server did. What it finds is listed
//! here with the reason why it is right in that place; anything else fails, and so does an entry that nothing needs any more.
//!
//! `cargo run -p schemadiff-tests --bin traced`. It is no test, because eugene takes as long to build as all tests together: what it
//! looks at (locks, rewrites, scans, index builds) the test `plan_measured` measures by itself for every step.

use std::{collections::BTreeSet, fs, path::Path, process::ExitCode};

use cargo_schemadiff::{
    dialect::{Connection, Scope},
    prove::execute,
};
use schemadiff::{
    model::Dialect,
    plan::{Action, Envelope, Plan, Step},
};
use schemadiff_tests::{
    engine::{Major, Postgres},
    golden::{each_case, name_of, plan_file, text_of},
    judge::eugene::{self, Hint},
};

/// What makes a table or what is over a column anew: the plan says that it does, or the table is small.
const ANEW: &[&str] = &["retype", "replace-type", "generated"];

/// A rule, the steps on which it may find something (how their names begin, without the number; none: any), and why.
const ALLOWED: &[(&str, &[&str], &str)] = &[
    ("E1", ANEW, "checks and keys over the column come with it"),
    ("E1", &["primary-key"], "it adopts an index whose columns are NOT NULL: no row is read"),
    ("E2", &["set-not-null"], "a check has proven it, in whose text eugene does not know the quotes"),
    ("E4", &[], "what follows the lock is in the catalogue alone, or the step says what it reads or writes"),
    ("E5", ANEW, "of a table that is small, or the plan says that it rewrites"),
    (
        "E6",
        ANEW,
        "of a table that is small, or the plan says that it builds indexes; or another entry for the same file",
    ),
    ("E6", &["add-column"], "the indexes of a table that the step writes anew, as it says"),
    ("E6", &["validate", "set-not-null"], "of a domain: rows are read while others read; no index is built"),
    ("E6", &["add-unique"], "a deferrable one of a small table takes the place of a plain one"),
    ("E7", &["add-unique"], "a deferrable one of a small table takes the place of a plain one"),
    ("E7", &["generated"], "made with the column, of a table that the step rewrites"),
    ("E10", ANEW, "of a table that is small, or the plan says that it rewrites"),
    (
        "E10",
        &["add-column"],
        "an identity, a generated column or a domain with a rule: small, or the plan says that it rewrites",
    ),
    ("E15", &[], "the plan says it of a new key (H013), and leaves old ones alone"),
];

/// What was found in a step.
struct Found {
    case: String,
    step: Step,
    hint: Hint,
}

fn main() -> ExitCode {
    let found = each_case(|case| async move {
        let text = fs::read_to_string(plan_file(&case, Dialect::Postgres, Major::V15)).ok()?;
        Some(carried_out(&case, Plan::from_toml(&text).ok()?).await)
    });
    let (mut found_all, mut wrong) = (Vec::new(), Vec::new());
    let (mut plans, mut steps) = (0, 0);
    for (traced, found) in found.into_iter().flatten() {
        plans += 1;
        steps += traced;
        match found {
            Ok(found) => found_all.extend(found),
            Err(why) => wrong.push(why),
        }
    }
    let mut used = BTreeSet::new();
    for Found { case, step, hint } in &found_all {
        match listed(step, hint) {
            Some(entry) => drop(used.insert(entry)),
            None => wrong.push(format!("{case} {}: {} {}\n  in: {}", step.id, hint.id, hint.help, hint.sql)),
        }
    }
    println!("{} findings in {steps} steps of {plans} plans", found_all.len());
    let stale = (0..ALLOWED.len()).filter(|entry| !used.contains(entry));
    wrong.extend(stale.map(|entry| format!("nothing needs this any more: {:?}", ALLOWED[entry])));
    wrong.iter().for_each(|wrong| eprintln!("{wrong}"));
    if wrong.is_empty() && plans > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How many steps eugene has traced, and what it found. What it does not trace (statements of their own transaction, backfills, what a query
/// gives) is carried out without it.
async fn carried_out(case: &Path, plan: Plan) -> (usize, Result<Vec<Found>, String>) {
    let mut traced = 0;
    let found = trace_all(case, plan, &mut traced).await;
    (traced, found.map_err(|why| format!("{}: {why}", name_of(case))))
}

async fn trace_all(case: &Path, plan: Plan, traced: &mut usize) -> Result<Vec<Found>, String> {
    let said = |e: cargo_schemadiff::Error| e.to_string();
    let server = Postgres::shared();
    let database = server.database();
    database.execute(&text_of(case, "before", Dialect::Postgres, "sql").unwrap_or_default()).await;
    database.has_ledger_schema().await;
    let mut db = Connection::open(&database.url).await.map_err(said)?;
    let mut state = db.introspect(&Scope::default()).await.map_err(said)?.schema;
    if let Some(seed) = text_of(case, "seed", Dialect::Postgres, "sql") {
        database.execute(&seed).await;
    }
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let mut found = Vec::new();
    for step in plan.steps {
        let sent = match &step.action {
            Action::Sql(statements) if step.envelope != Envelope::Concurrent => Some(statements),
            _ => None,
        };
        match sent {
            Some(statements) => {
                let file = folder.path().join(format!("{}.sql", step.id));
                // The executor says these.
                let mut text = "SET LOCAL lock_timeout = '1s';\nSET LOCAL statement_timeout = '5s';\n".to_owned();
                for statement in statements {
                    text.push_str(statement.trim());
                    text.push_str(";\n");
                }
                fs::write(&file, text).map_err(|e| e.to_string())?;
                let hints = eugene::trace(server.port(), &database.name, &file);
                let hints = hints.map_err(|why| format!("{}: {why}", step.id))?;
                found.extend(hints.into_iter().map(|hint| Found { case: name_of(case), step: step.clone(), hint }));
                *traced += 1;
            }
            None => execute::forth(&mut db, &step, &state).await.map_err(said)?,
        }
        step.apply_to(&mut state).map_err(|e| e.to_string())?;
    }
    Ok(found)
}

fn listed(step: &Step, hint: &Hint) -> Option<usize> {
    let slug = step.id.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches('-');
    ALLOWED.iter().position(|(rule, steps, _)| {
        *rule == hint.id && (steps.is_empty() || steps.iter().any(|start| slug.starts_with(start)))
    })
}
