//! Who waits for whom beside the gate: later migrations for earlier ones, those who look for those who work; and what a ledger
//! says of several services.

use std::{sync::Arc, time::Duration};

use schemadiff::{
    Error, Lockstep,
    lockstep::{
        NoProgress, Role,
        admin::{ApplyOptions, ApplyReport, apply, status, undo},
    },
    model::{Column, Dialect, ObjectName, Schema},
    plan::{Envelope, Phase, Plan},
};
use schemadiff_tests::{
    engine::TestDatabase,
    lockstep::{
        FIRST, Recorder, SECOND, first, lock, migrations, old_code, plan, renderer, second, step, table_with, third,
        users,
    },
};

const BOTH: [Dialect; 2] = [Dialect::Postgres, Dialect::Sqlite];

async fn run(db: &TestDatabase, plans: &[Plan], options: &ApplyOptions) -> Result<ApplyReport, Error> {
    apply(&db.url, &migrations(db.dialect, plans), options, Arc::new(NoProgress)).await
}

fn until(until: Phase) -> ApplyOptions {
    ApplyOptions { until, ..ApplyOptions::default() }
}

/// A third migration whose expand adds a column to the table whose contract phase the second one still has to carry out.
fn wider(dialect: Dialect) -> Plan {
    let (ddl, before) = (renderer(dialect), lock(dialect, &[first(dialect), second(dialect)]).schema);
    let users = users();
    let mut after = before.clone();
    let column = Column { nullable: true, ..Column::new("more", "text") };
    after.tables.get_mut(&users).unwrap().columns.push(column.clone());
    let add = ddl.add_column(&users, &column);
    let add =
        step("01-add-column-users-more", Phase::Expand, Envelope::Transaction, add, ddl.drop_column(&users, "more"));
    plan(dialect, "20260103000000_more", Some(SECOND), &before, vec![(add, after)])
}

fn old_version(db: &TestDatabase) -> schemadiff::lockstep::Builder {
    Lockstep::builder("shop", migrations(db.dialect, &[first(db.dialect)]))
        .database_url(&db.url)
        .schema(old_code(db.dialect))
}

#[tokio::test]
async fn an_expand_behind_another_contract_is_not_called_done() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let plans = [first(dialect), second(dialect), wider(dialect)];
        let old = old_version(&db).start().await.unwrap();
        run(&db, &plans[..2], &until(Phase::Backfill)).await.unwrap();
        let error = run(&db, &plans, &until(Phase::Backfill)).await.unwrap_err();
        let Error::Behind { queued } = &error else { panic!("{error}") };
        assert_eq!((queued.len(), queued[0].behind.as_str()), (1, SECOND));
        assert_eq!((error.code(), error.exit_code()), ("SD0854", 8), "{error}");
        assert!(error.to_string().contains("both touch `users`"), "{error}");

        // Whoever waits goes on as soon as somebody has carried out the earlier contract.
        let recorder = Recorder::default();
        let waiting = {
            let (url, all) = (db.url.clone(), migrations(dialect, &plans));
            let (options, told) =
                (ApplyOptions { wait: Some(Duration::from_secs(120)), ..until(Phase::Backfill) }, recorder.shared());
            tokio::spawn(async move { apply(&url, &all, &options, told).await })
        };
        tokio::time::sleep(Duration::from_millis(300)).await;
        old.shutdown().await;
        assert!(!waiting.is_finished());
        while recorder.of("queued").is_empty() {
            assert!(!waiting.is_finished(), "nobody was told what it waits for");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        run(&db, &plans[..2], &ApplyOptions { wait: Some(Duration::from_secs(60)), ..ApplyOptions::default() })
            .await
            .unwrap();
        let report = waiting.await.unwrap().unwrap();
        assert_eq!(report.steps.iter().map(|s| s.step.as_str()).collect::<Vec<_>>(), ["01-add-column-users-more"]);
    }
}

#[tokio::test]
async fn nobody_is_sent_away_by_those_who_only_look_whether_a_gate_is_open() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let plans = [first(dialect), second(dialect)];
        let old = old_version(&db).start().await.unwrap();
        run(&db, &plans, &until(Phase::Backfill)).await.unwrap();
        let all = migrations(dialect, &plans);
        let mut looking = Vec::new();
        for _ in 0..6 {
            let (url, all) = (db.url.clone(), all.clone());
            let options = ApplyOptions { wait: Some(Duration::from_secs(600)), ..ApplyOptions::default() };
            looking.push(tokio::spawn(async move { apply(&url, &all, &options, Arc::new(NoProgress)).await }));
        }
        for _ in 0..15 {
            let error = run(&db, &plans, &ApplyOptions::default()).await.unwrap_err();
            assert!(matches!(error, Error::GateClosed { .. }), "{dialect}: {error}");
        }
        old.shutdown().await;
        for one in looking {
            one.await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn a_start_that_only_waits_says_what_an_empty_database_lacks() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let error = old_version(&db).role(Role::WaitOnly).wait_deadline(Duration::ZERO).start().await.unwrap_err();
        let Error::NotServedInTime { reasons, .. } = &error else { panic!("{error}") };
        assert!(reasons.iter().any(|reason| reason.to_string().contains("users")), "{error}");
    }
}

/// A second service with a chain of its own.
fn billing(dialect: Dialect) -> (Plan, Schema) {
    let ddl = renderer(dialect);
    let name = ObjectName::new("invoices");
    let after = table_with(dialect, &name, &["total"]);
    let (create, drop) = (ddl.create_table(&after.tables[&name]), ddl.drop_table(&name));
    let create = step("01-create-table-invoices", Phase::Expand, Envelope::Transaction, create, drop);
    (plan(dialect, "20260105000000_billing", None, &Schema::default(), vec![(create, after.clone())]), after)
}

#[tokio::test]
async fn without_the_files_the_status_knows_the_chains_of_all_services() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let plans = [first(dialect), second(dialect)];
        let shop = old_version(&db).start().await.unwrap();
        run(&db, &plans, &until(Phase::Backfill)).await.unwrap();
        let (theirs, code) = billing(dialect);
        let billing = Lockstep::builder("billing", migrations(dialect, std::slice::from_ref(&theirs)))
            .database_url(&db.url)
            .schema(code)
            .start()
            .await
            .unwrap();
        for known in [None, Some(migrations(dialect, &plans)), Some(migrations(dialect, std::slice::from_ref(&theirs)))]
        {
            let seen = status(&db.url, known.as_ref()).await.unwrap();
            assert_eq!(seen.versions.len(), 2);
            for version in &seen.versions {
                assert!(version.reasons.is_empty(), "{}: {:?}", version.app, version.reasons);
            }
        }
        let seen = status(&db.url, None).await.unwrap();
        assert_eq!(seen.waiting[0].step, "04-drop-column-users-fullname");
        // Nothing of this service is kept, and what is another's is not this one's to bring back.
        let theirs = migrations(dialect, &[theirs]);
        let error = undo(&db.url, &theirs, None, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap_err();
        assert_eq!(error.code(), "SD0667", "{error}");
        billing.shutdown().await;
        shop.shutdown().await;
    }
}

#[tokio::test]
async fn a_ledger_that_was_changed_by_hand_is_no_bug() {
    for dialect in BOTH {
        let (postgres, sqlite) = ("schemadiff.", "_schemadiff_");
        let at = if dialect == Dialect::Postgres { postgres } else { sqlite };
        let plans = [first(dialect), second(dialect), third(dialect)];
        for (harm, says) in [
            (
                format!("DELETE FROM {at}step WHERE migration = '{SECOND}' AND position = 1"),
                "row of its step 02-backfill",
            ),
            (format!("UPDATE {at}lease SET process = '{{}}'"), "a lease"),
            (format!("UPDATE {at}lease SET schema = '{{}}'"), "not the one that it registered with"),
            (format!("DELETE FROM {at}meta"), "row of its table `meta`"),
        ] {
            let db = TestDatabase::new(dialect);
            let old = old_version(&db).start().await.unwrap();
            run(&db, &plans[..2], &until(Phase::Expand)).await.unwrap();
            db.execute(&harm).await;
            let error = run(&db, &plans, &ApplyOptions::default()).await.unwrap_err();
            assert_eq!((error.code(), error.exit_code()), ("SD0557", 5), "{error}");
            assert!(error.to_string().contains(says), "{error}");
            assert!(error.help()[0].contains("restore"), "{:?}", error.help());
            old.shutdown().await;
        }
    }
}

#[tokio::test]
async fn a_status_says_of_a_migration_that_its_file_is_another() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let plans = [first(dialect), second(dialect)];
        run(&db, &plans, &until(Phase::Backfill)).await.unwrap();
        let mut other = second(dialect);
        other.steps[3].lock_timeout_ms += 1;
        other.checksum = other.compute_checksum();
        let seen = status(&db.url, Some(&migrations(dialect, &[first(dialect), other]))).await.unwrap();
        let rewritten: Vec<_> = seen.migrations.iter().map(|m| (m.id.as_str(), m.rewritten)).collect();
        assert_eq!(rewritten, [(FIRST, false), (SECOND, true)]);
        let seen = status(&db.url, Some(&migrations(dialect, &plans))).await.unwrap();
        assert!(seen.migrations.iter().all(|m| !m.rewritten));
    }
}

/// What a program does not carry it reads from the ledger, and only what was applied.
#[tokio::test]
async fn a_plan_that_was_changed_in_the_ledger_is_not_believed() {
    for dialect in BOTH {
        let at = if dialect == Dialect::Postgres { "schemadiff." } else { "_schemadiff_" };
        let plans = [first(dialect), second(dialect)];
        for text in ["xx".to_owned(), first(dialect).to_toml().unwrap()] {
            let db = TestDatabase::new(dialect);
            run(&db, &plans, &until(Phase::Backfill)).await.unwrap();
            db.execute(&format!(
                "UPDATE {at}migration SET plan = '{}' WHERE id = '{SECOND}'",
                text.replace('\'', "''")
            ))
            .await;
            let error = old_version(&db).start().await.unwrap_err();
            assert_eq!((error.code(), error.exit_code()), ("SD0557", 5), "{error}");
            assert!(error.to_string().contains(SECOND), "{error}");
        }
    }
}

/// The tool was not told whose the first chain is; its instances say it.
#[tokio::test]
async fn another_chain_does_not_begin_under_a_name_that_is_taken() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        run(&db, &[first(dialect)], &ApplyOptions::default()).await.unwrap();
        let old = old_version(&db).start().await.unwrap();
        let (theirs, code) = billing(dialect);
        let builder = |app: &str| {
            Lockstep::builder(app, migrations(dialect, std::slice::from_ref(&theirs)))
                .database_url(&db.url)
                .schema(code.clone())
        };
        let error = builder("shop").start().await.unwrap_err();
        assert!(matches!(error, Error::HistoryForked { .. }), "{error}");
        let known = status(&db.url, None).await.unwrap().migrations;
        assert_eq!(known.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(), [FIRST], "nothing was begun");
        // What a program prints that ends with it: the code, and what to do.
        let printed = format!("{error:?}");
        assert!(printed.starts_with("SD0460: ") && printed.contains("help: "), "{printed}");
        old.shutdown().await;
        old_version(&db).start().await.unwrap().shutdown().await;
        builder("billing").start().await.unwrap().shutdown().await;
    }
}
