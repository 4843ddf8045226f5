//! One schema for each tenant: a schema of a database is migrated like a database of its own.

use std::{path::Path, sync::Arc, time::Duration};

use cargo_schemadiff::{
    dialect::{Connection, Scope},
    diff::{DiffOptions, Hints, diff},
};
use schemadiff::{
    Error, Lockstep,
    embed::Migrations,
    lockstep::{
        Contract, NoProgress, Role,
        admin::{ApplyOptions, abort, apply, status},
    },
    model::{Dialect, Schema},
    plan::{Overlap, Phase, Plan, SNAPSHOT_FORMAT, Snapshot},
};
use schemadiff_tests::{
    engine::{Major, TestDatabase},
    golden::{each_case, name_of, plan_file, text_of},
    lockstep::{first, migrations, old_code, second},
};
use sqlx::{
    Executor as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};

const DIALECT: Dialect = Dialect::Postgres;

/// A name that has to be quoted, and looks like what migrations are written for.
const ODD: &str = "Tenant public.1";

fn of(db: &TestDatabase, schema: &str) -> String {
    let separator = if db.url.contains('?') { '&' } else { '?' };
    format!("{}{separator}schema={}", db.url, schema.replace(' ', "%20"))
}

async fn schema_of(url: &str) -> Schema {
    Connection::open(url).await.unwrap().introspect(&Scope::default()).await.unwrap().schema
}

/// The first difference, in words; none when there is none.
fn difference(found: &Schema, wanted: &Schema) -> Option<String> {
    let options = DiffOptions { undo_window: Duration::ZERO, ..DiffOptions::default() };
    match diff(found, wanted, &Hints::default(), &options) {
        Ok(changes) if changes.is_empty() => None,
        Ok(changes) => Some(format!("{changes:?}")),
        Err(error) => Some(error.to_string()),
    }
}

#[test]
fn every_golden_case_is_carried_out_and_taken_back_in_the_schema_of_a_tenant() {
    let ran = each_case(|case| async move {
        let (before, after) = (text_of(&case, "before", DIALECT, "sql")?, text_of(&case, "after", DIALECT, "sql")?);
        let text = std::fs::read_to_string(plan_file(&case, DIALECT, Major::under_test())).ok()?;
        // What comes before it, the database has without a migration.
        let plan = Plan { parent: None, ..Plan::from_toml(&text).unwrap() };
        // What a case has outside of `public`, tenants share.
        let shared = ["public.", "CREATE SCHEMA", "CREATE EXTENSION"];
        let verify = text_of(&case, "verify", DIALECT, "sql").unwrap_or_default();
        if shared.iter().any(|word| [&before, &after, &verify].iter().any(|text| text.contains(word))) {
            return None;
        }
        Some(one(&case, &plan, &before, &after).await.map_err(|e| format!("== {}\n{e}", name_of(&case))))
    });
    let ran: Vec<_> = ran.into_iter().flatten().collect();
    let failures: Vec<_> = ran.iter().filter_map(|result| result.as_ref().err()).map(String::as_str).collect();
    assert!(failures.is_empty(), "{} of {} cases failed\n{}", failures.len(), ran.len(), failures.join("\n"));
    assert!(!ran.is_empty(), "no case");
}

async fn unchanged(url: &str, before: &Schema) -> Result<(), String> {
    match difference(&schema_of(url).await, before) {
        Some(difference) => Err(format!("it was refused, and has changed the tenant: {difference}")),
        None => Ok(()),
    }
}

async fn one(case: &Path, plan: &Plan, before: &str, after: &str) -> Result<(), String> {
    let (database, to) = (TestDatabase::new(DIALECT), TestDatabase::new(DIALECT));
    let from = TestDatabase::new(DIALECT);
    from.execute(before).await;
    to.execute(after).await;
    let (current, desired) = (schema_of(&from.url).await, schema_of(&to.url).await);
    for schema in [ODD, "other"] {
        database
            .execute(&format!("CREATE SCHEMA \"{schema}\"; SET search_path = \"{schema}\", public; {before}"))
            .await;
        if let Some(difference) = difference(&schema_of(&of(&database, schema)).await, &current) {
            return Err(format!("what {schema} has reads otherwise than in `public`: {difference}"));
        }
        if let Some(seed) = text_of(case, "seed", DIALECT, "sql") {
            database.execute(&format!("SET search_path = \"{schema}\", public; {seed}")).await;
        }
    }
    let lock = Snapshot {
        format: SNAPSHOT_FORMAT,
        dialect: DIALECT,
        head: Some(plan.id.clone()),
        sources: Default::default(),
        schema: desired.clone(),
    };
    let migrations = Migrations::from_plans(&lock, std::slice::from_ref(plan)).map_err(|e| e.to_string())?;
    let losses = plan.steps.iter().flat_map(|step| &step.undo_loses).map(|loss| loss.name.clone()).collect();
    let options = ApplyOptions { allow_drop: losses, ..ApplyOptions::default() };
    let (odd, other) = (of(&database, ODD), of(&database, "other"));
    let applied = apply(&odd, &migrations, &options, Arc::new(NoProgress)).await;
    if plan.strategy.as_ref().is_some_and(|strategy| strategy.way == Overlap::Views) {
        return match applied {
            Err(Error::NotForTenant { .. }) => unchanged(&odd, &current).await,
            other => Err(format!("views belong to a whole database, and they were made for a tenant: {other:?}")),
        };
    }
    applied.map_err(|e| e.to_string())?;
    if let Some(difference) = difference(&schema_of(&odd).await, &desired) {
        return Err(format!("afterwards: {difference}"));
    }
    if let Some(verify) = text_of(case, "verify", DIALECT, "sql") {
        let mut connection = Connection::open(&odd).await.unwrap();
        let row = connection.query_row(verify.trim(), &[]).await.map_err(|e| format!("verify.sql: {e}"))?;
        let found = row.and_then(|row| row.into_iter().next().flatten());
        if !matches!(found.as_deref(), Some("t" | "true")) {
            return Err(format!("verify.sql returns {found:?}"));
        }
    }
    let until = ApplyOptions { until: Phase::Backfill, ..options.clone() };
    if plan.phase(Phase::Expand).chain(plan.phase(Phase::Backfill)).next().is_some() {
        apply(&other, &migrations, &until, Arc::new(NoProgress)).await.map_err(|e| e.to_string())?;
        match abort(&other, &migrations, &plan.id, &options, Arc::new(NoProgress)).await {
            Ok(()) => {
                let found = schema_of(&other).await;
                // Labels stay, see docs/operations/enums.md.
                if current.enums == found.enums
                    && let Some(difference) = difference(&found, &current)
                {
                    return Err(format!("after abort: {difference}"));
                }
            }
            Err(Error::NotUndoable { .. }) => {}
            Err(error) => return Err(format!("abort: {error}")),
        }
    }
    let strays = database
        .text("SELECT string_agg(relname, ', ') FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        .await;
    match strays {
        Some(names) if !names.is_empty() => Err(format!("made in `public`: {names}")),
        _ => Ok(()),
    }
}

async fn two_tenants() -> TestDatabase {
    let db = TestDatabase::new(DIALECT);
    for schema in [ODD, "other"] {
        db.execute(&format!("CREATE SCHEMA \"{schema}\"")).await;
        let first = migrations(DIALECT, &[first(DIALECT)]);
        apply(&of(&db, schema), &first, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
        db.execute(&format!("INSERT INTO \"{schema}\".users (id, fullname) VALUES (1, 'Ann')")).await;
    }
    db
}

async fn old_service(url: &str) -> Lockstep {
    Lockstep::builder("shop", migrations(DIALECT, &[first(DIALECT)]))
        .database_url(url)
        .schema(old_code(DIALECT))
        .contract(Contract::Manual)
        .role(Role::WaitOnly)
        .start()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_tenants_service_holds_the_contract_of_that_tenant_alone() {
    let db = two_tenants().await;
    let (odd, other) = (of(&db, ODD), of(&db, "other"));
    let service = old_service(&odd).await;
    let options = db.url.parse::<PgConnectOptions>().unwrap().options([("search_path", format!("\"{ODD}\""))]);
    let pool = service.guarded(PgPoolOptions::new().max_connections(2)).connect_with(options).await.unwrap();
    pool.execute("SELECT fullname FROM users").await.unwrap();

    let both = migrations(DIALECT, &[first(DIALECT), second(DIALECT)]);
    let quiet = || Arc::new(NoProgress);
    apply(&other, &both, &ApplyOptions::default(), quiet()).await.unwrap();
    assert!(db.try_execute("SELECT fullname FROM other.users").await.is_err());
    let closed = apply(&odd, &both, &ApplyOptions::default(), quiet()).await.unwrap_err();
    let Error::GateClosed { holders, .. } = &closed else { panic!("{closed}") };
    assert_eq!(holders.len(), 1, "{closed}");
    pool.execute("SELECT fullname FROM users").await.unwrap();
    let found = status(&odd, Some(&both)).await.unwrap();
    assert_eq!(found.versions.len(), 1, "{found:?}");
    assert!(status(&other, Some(&both)).await.unwrap().versions.is_empty());
    assert!(status(&db.url, Some(&both)).await.unwrap().versions.is_empty(), "the database itself has none");

    // A connection that the version has left open is one of the version: its lock is the tenant's.
    service.shutdown().await;
    let closed = apply(&odd, &both, &ApplyOptions::default(), quiet()).await.unwrap_err();
    assert!(matches!(closed, Error::GateClosed { .. }), "{closed}");
    pool.close().await;
    apply(&odd, &both, &ApplyOptions::default(), quiet()).await.unwrap();
    let refused = Lockstep::builder("shop", migrations(DIALECT, &[first(DIALECT)]))
        .database_url(&odd)
        .schema(old_code(DIALECT))
        .wait_deadline(Duration::from_secs(2))
        .start()
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Retired { .. }), "{refused}");
}

#[tokio::test]
async fn a_tenant_without_a_schema_is_said() {
    let db = TestDatabase::new(DIALECT);
    let nobody = of(&db, "nobody");
    let migrations = migrations(DIALECT, &[first(DIALECT)]);
    let error = apply(&nobody, &migrations, &ApplyOptions::default(), Arc::new(NoProgress)).await;
    assert!(matches!(error, Err(Error::NoTenant { .. })), "{error:?}");
    let error = Connection::open(&nobody).await.err().unwrap();
    assert_eq!(error.code, "SD0559", "{error}");
    for wrong in ["schemadiff", "pg_x", ""] {
        let error = status(&of(&db, wrong), None).await.unwrap_err();
        assert!(matches!(error, Error::TenantSchema { .. }), "{error}");
    }
}
