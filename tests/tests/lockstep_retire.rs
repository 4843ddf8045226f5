//! What the gate cannot know by itself: instances that died without a word, versions that may come back, clients without a lease.

use std::{sync::Arc, time::Duration};

use schemadiff::{
    Error, Lockstep,
    lockstep::{
        Builder, NoProgress,
        admin::{ApplyOptions, Target, abort, apply, retire, status},
    },
    model::Dialect,
};
use schemadiff_tests::{
    engine::{Major, Postgres, TestDatabase},
    lockstep::{Recorder, first, migrations, new_code, old_code, second},
};
use sqlx::{Connection as _, Executor as _, PgConnection, postgres::PgPoolOptions};

const BOTH: [Dialect; 2] = [Dialect::Postgres, Dialect::Sqlite];
/// Longer than any test runs.
const NEVER: Duration = Duration::from_secs(3600);
/// For how long nothing may be heard of an instance that is retired.
const GRACE: Duration = Duration::from_millis(50);

/// One that says nothing for so long, and is given no longer than [`GRACE`].
async fn silent_version(db: &TestDatabase, heartbeat: Duration) -> Lockstep {
    of_old_version(db).heartbeat(heartbeat).grace(GRACE).start().await.unwrap()
}

async fn old_version(db: &TestDatabase, heartbeat: Duration) -> Lockstep {
    of_old_version(db).heartbeat(heartbeat).start().await.unwrap()
}

fn of_old_version(db: &TestDatabase) -> Builder {
    Lockstep::builder("shop", migrations(db.dialect, &[first(db.dialect)]))
        .database_url(&db.url)
        .schema(old_code(db.dialect))
}

async fn all(db: &TestDatabase, options: &ApplyOptions) -> Result<(), Error> {
    let plans = [first(db.dialect), second(db.dialect)];
    apply(&db.url, &migrations(db.dialect, &plans), options, Arc::new(NoProgress)).await.map(drop)
}

async fn instances(db: &TestDatabase) -> Vec<Target> {
    let versions = status(&db.url, None).await.unwrap().versions;
    let of = |v: schemadiff::lockstep::VersionStatus| {
        v.instances.into_iter().map(move |i| Target { app: v.app.clone(), instance: i.instance })
    };
    versions.into_iter().flat_map(of).collect()
}

/// Retires it as soon as it has been silent for long enough.
async fn retire_when_silent(
    db: &TestDatabase,
    target: &Target,
    grace: Duration,
) -> schemadiff::lockstep::admin::RetiredInstance {
    loop {
        match retire(&db.url, target, "host burnt down", grace).await {
            Ok(retired) => return retired,
            Err(Error::InstanceAlive { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn an_instance_that_died_without_a_word_is_retired_by_name() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let silent = silent_version(&db, NEVER).await;
        let pool = match dialect {
            Dialect::Sqlite => {
                // Of another machine: whether its process runs cannot be known here.
                let sql =
                    "UPDATE _schemadiff_lease SET process = json_set(process, '$.host', 'far', '$.machine', 'far')";
                db.execute(sql).await;
                None
            }
            _ => {
                let pool = PgPoolOptions::new().max_connections(1).after_connect(silent.hook());
                Some(pool.connect(&db.url).await.unwrap())
            }
        };
        let target = instances(&db).await.pop().unwrap();
        let error = retire(&db.url, &target, "host burnt down", NEVER).await.unwrap_err();
        assert_eq!((error.code(), error.exit_code()), ("SD0657", 6), "{error}");
        let unknown = Target { instance: "nobody".to_owned(), ..target.clone() };
        assert_eq!(retire(&db.url, &unknown, "x", NEVER).await.unwrap_err().code(), "SD0656");

        let error = all(&db, &ApplyOptions::default()).await.unwrap_err();
        assert!(matches!(error, Error::GateClosed { .. }), "{error}");
        let retired = retire_when_silent(&db, &target, Duration::from_millis(10)).await;
        // The keeper's session and the pool's.
        let open = if dialect == Dialect::Sqlite { 0 } else { 2 };
        assert_eq!((retired.sessions_ended, retired.sessions_left), (open, 0), "{retired:?}");
        // A session that is told to end does so in its own time.
        all(&db, &ApplyOptions { wait: Some(Duration::from_secs(60)), ..ApplyOptions::default() }).await.unwrap();

        let seen = status(&db.url, None).await.unwrap();
        let by_hand = &seen.retired_by_hand[0];
        assert_eq!((by_hand.instance.as_str(), by_hand.reason.as_str()), (target.instance.as_str(), "host burnt down"));
        assert_eq!(seen.retired[0].version, silent.version(), "{:?}", seen.retired);
        if let Some(pool) = pool {
            pool.close().await;
        }
        silent.shutdown().await;
    }
}

#[tokio::test]
async fn sessions_of_other_live_instances_of_the_version_are_left_alone() {
    let db = TestDatabase::new(Dialect::Postgres);
    let silent = silent_version(&db, NEVER).await;
    let target = instances(&db).await.pop().unwrap();
    let alive = old_version(&db, Duration::from_millis(50)).await;
    let retired = retire_when_silent(&db, &target, Duration::from_secs(2)).await;
    assert_eq!((retired.sessions_ended, retired.sessions_left), (1, 1), "{retired:?}");
    let error = all(&db, &ApplyOptions::default()).await.unwrap_err();
    let Error::GateClosed { holders, .. } = &error else { panic!("{error}") };
    assert!(holders.iter().all(|h| h.instance != target.instance), "{holders:?}");
    alive.shutdown().await;
    silent.shutdown().await;
}

#[tokio::test]
async fn one_that_comes_back_registers_again_while_its_version_is_served() {
    let db = TestDatabase::new(Dialect::Postgres);
    let paused = silent_version(&db, Duration::from_millis(300)).await;
    let target = instances(&db).await.pop().unwrap();
    retire_when_silent(&db, &target, Duration::from_millis(100)).await;
    while instances(&db).await != [target.clone()] {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    paused.shutdown().await;
}

#[tokio::test]
async fn a_soak_time_keeps_what_a_version_needs_after_it_is_gone() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        old_version(&db, NEVER).await.shutdown().await;
        let soaking = ApplyOptions { soak: NEVER, ..ApplyOptions::default() };
        let error = all(&db, &soaking).await.unwrap_err();
        let Error::GateClosed { holders, .. } = &error else { panic!("{error}") };
        assert!(holders[0].gone_ms.is_some() && error.to_string().contains("soak time"), "{error}");
        // It can be deployed again without a change of the database.
        old_version(&db, NEVER).await.shutdown().await;
        all(&db, &ApplyOptions::default()).await.unwrap();
    }
}

#[tokio::test]
async fn an_instance_that_was_given_up_by_hand_has_no_soak_time() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let silent = silent_version(&db, NEVER).await;
        if dialect == Dialect::Sqlite {
            db.execute("UPDATE _schemadiff_lease SET process = json_set(process, '$.host', 'far', '$.machine', 'far')")
                .await;
        }
        let target = instances(&db).await.pop().unwrap();
        retire_when_silent(&db, &target, Duration::from_millis(10)).await;
        let wait = Some(Duration::from_secs(60));
        // A session that is told to end does so in its own time; of the soak time nothing is waited for.
        let began = std::time::Instant::now();
        all(&db, &ApplyOptions { soak: NEVER, wait, ..ApplyOptions::default() }).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(50), "{:?}", began.elapsed());
        silent.shutdown().await;
    }
}

#[tokio::test]
async fn clients_without_a_lease_are_shown_before_contract() {
    let server = Postgres::start_with(Major::V15, &["shared_preload_libraries=pg_stat_statements"]);
    let db = server.database();
    db.execute("CREATE EXTENSION pg_stat_statements; CREATE ROLE reporter LOGIN").await;
    let new = Lockstep::builder("shop", migrations(db.dialect, &[first(db.dialect), second(db.dialect)]))
        .database_url(&db.url)
        .schema(new_code(db.dialect))
        .contract(schemadiff::lockstep::Contract::Manual)
        .start()
        .await
        .unwrap();
    let pool = PgPoolOptions::new().max_connections(1).after_connect(new.hook()).connect(&db.url).await.unwrap();
    db.execute("GRANT SELECT ON users TO reporter").await;
    let mut report = PgConnection::connect(&server.url_as("reporter", &db.name)).await.unwrap();
    report.execute("SELECT fullname FROM users").await.unwrap();

    let seen = status(&db.url, None).await.unwrap().strangers;
    assert_eq!(seen.sessions.iter().map(|s| s.user.as_str()).collect::<Vec<_>>(), ["reporter"], "{seen:?}");
    assert_eq!(seen.sessions[0].query, "SELECT fullname FROM users");
    let statements: Vec<_> = seen.statements.iter().map(|s| (s.user.as_str(), s.calls)).collect();
    assert_eq!(statements, [("reporter", 1)], "{seen:?}");

    // A user who may see little of others still hears that they are there.
    db.execute("CREATE ROLE deployer LOGIN; GRANT USAGE ON SCHEMA schemadiff TO deployer; GRANT SELECT ON ALL TABLES IN SCHEMA schemadiff TO deployer").await;
    let little = status(&server.url_as("deployer", &db.name), None).await.unwrap().strangers;
    assert_eq!(little.sessions.iter().map(|s| s.user.as_str()).collect::<Vec<_>>(), ["reporter"], "{little:?}");

    // Gone from the sessions, the report is still known by its statements.
    report.close().await.unwrap();
    let recorder = Recorder::default();
    let plans = [first(db.dialect), second(db.dialect)];
    let options = ApplyOptions::default();
    apply(&db.url, &migrations(db.dialect, &plans), &options, recorder.shared()).await.unwrap();
    let told = recorder.of("strangers");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["strangers"]["statements"][0]["user"], "reporter", "{told:?}");
    pool.close().await;
    new.shutdown().await;
}

/// The extension is made in a database of a server that was started without its library: its view answers with an error.
#[tokio::test]
async fn an_extension_that_counts_nothing_is_no_trouble() {
    let db = TestDatabase::new(Dialect::Postgres);
    db.execute("CREATE EXTENSION pg_stat_statements").await;
    let old = old_version(&db, NEVER).await;
    let seen = status(&db.url, Some(&migrations(db.dialect, &[first(db.dialect), second(db.dialect)]))).await.unwrap();
    assert!(seen.strangers.statements.is_empty(), "{seen:?}");
    old.shutdown().await;
    all(&db, &ApplyOptions::default()).await.unwrap();
}

/// A file that somebody writes to for longer than the grace time: no heartbeat gets through, and nobody has died.
#[tokio::test]
async fn silence_while_nobody_could_speak_is_no_death() {
    let dialect = Dialect::Sqlite;
    let db = TestDatabase::new(dialect);
    let old = old_version(&db, Duration::from_millis(100)).await;
    // As seen from another container, where its process cannot be looked at; and a clock that is an hour ahead there.
    let far = "UPDATE _schemadiff_lease SET process = json_set(process, '$.machine', 'far')";
    db.execute(far).await;
    let mut writer = sqlx::SqliteConnection::connect(&db.url).await.unwrap();
    let grace = Duration::from_secs(1);
    for what in [
        "UPDATE users SET fullname = fullname",
        "UPDATE _schemadiff_lease SET heartbeat_at = '2001-01-01 00:00:00.000'",
    ] {
        writer.execute(sqlx::AssertSqlSafe(format!("BEGIN IMMEDIATE; {what}"))).await.unwrap_or_else(|e| panic!("{e}"));
        tokio::time::sleep(grace * 2).await;
        writer.execute("COMMIT").await.unwrap();
        let error = all(&db, &ApplyOptions { grace, ..ApplyOptions::default() }).await.unwrap_err();
        assert!(matches!(error, Error::GateClosed { .. }), "{error}");
    }
    writer.close().await.unwrap();
    old.shutdown().await;
    all(&db, &ApplyOptions::default()).await.unwrap();
}

/// The sessions of a version end with the server, and its processes come back a moment later than somebody who applies.
/// A backend that is killed takes the whole server down, and through recovery, as soon as the server sees it.
async fn crash(db: &TestDatabase) {
    let pid = db.text("SELECT session_pid::text FROM schemadiff.lease").await.unwrap();
    let mut other = sqlx::PgConnection::connect(&db.url).await.unwrap();
    assert!(std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    while sqlx::Connection::ping(&mut other).await.is_ok() {}
    while sqlx::PgConnection::connect(&db.url).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The same before it has sent a heartbeat: that it is of another server's time is known from when it registered.
#[tokio::test]
async fn a_server_that_is_started_anew_before_the_first_heartbeat_leaves_live_versions_their_time() {
    let server = Postgres::start(Major::V15);
    let db = server.database();
    let until = ApplyOptions { until: schemadiff::plan::Phase::Backfill, ..ApplyOptions::default() };
    all(&db, &until).await.unwrap();
    // Once by the function, which makes the lease, and once more by the shorter way of a start with nothing to do.
    for _ in 0..2 {
        let old = old_version(&db, Duration::from_secs(20)).await;
        assert_eq!(db.text("SELECT (server IS NULL)::text FROM schemadiff.lease").await.as_deref(), Some("false"));
        // The test server's commits may be a moment away from its disk.
        tokio::time::sleep(Duration::from_secs(1)).await;
        crash(&db).await;
        let both = migrations(db.dialect, &[first(db.dialect), second(db.dialect)]);
        let waiting = status(&db.url, Some(&both)).await.unwrap().waiting;
        assert_eq!(waiting.len(), 1, "its contract phase waits: {waiting:?}");
        drop(old);
        db.execute("DELETE FROM schemadiff.lease").await;
    }
}

#[tokio::test]
async fn a_server_that_is_started_anew_leaves_live_versions_time_to_connect_again() {
    let server = Postgres::start(Major::V15);
    let db = server.database();
    let until = ApplyOptions { until: schemadiff::plan::Phase::Backfill, ..ApplyOptions::default() };
    all(&db, &until).await.unwrap();
    let old = old_version(&db, Duration::from_millis(900)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    crash(&db).await;
    let error = all(&db, &ApplyOptions::default()).await.unwrap_err();
    assert!(matches!(error, Error::GateClosed { .. }), "{error}");
    while instances(&db).await.is_empty() || old.ready().await != schemadiff::lockstep::Ready::Yes {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    old.shutdown().await;
    // And one that does not come back is not waited for longer than the grace time.
    all(&db, &ApplyOptions::default()).await.unwrap();
}

/// What the application's role and the migrator's need, as docs/lockstep.md lists it; and no more.
async fn plain_role(db: &TestDatabase, name: &str) -> String {
    db.execute(&format!(
        "CREATE ROLE {name} LOGIN; GRANT USAGE ON SCHEMA schemadiff TO {name};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA schemadiff TO {name};
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA schemadiff TO {name}"
    ))
    .await;
    Postgres::shared().url_as(name, &db.name)
}

#[tokio::test]
async fn a_migrator_without_rights_on_sessions_sees_names_and_records_nothing_that_it_cannot_do() {
    let db = TestDatabase::new(Dialect::Postgres);
    let plans = [first(db.dialect), second(db.dialect)];
    let filled = ApplyOptions { until: schemadiff::plan::Phase::Backfill, ..ApplyOptions::default() };
    apply(&db.url, &migrations(db.dialect, &plans), &filled, Arc::new(NoProgress)).await.unwrap();
    let (service, migrator) = (plain_role(&db, "the_service").await, plain_role(&db, "the_migrator").await);
    let silent = Lockstep::builder("shop", migrations(db.dialect, &plans[..1]))
        .database_url(&service)
        .schema(old_code(db.dialect))
        .heartbeat(NEVER)
        .grace(GRACE)
        .start()
        .await
        .unwrap();
    let target = instances(&db).await.pop().unwrap();
    let seen = status(&migrator, None).await.unwrap();
    assert_eq!(seen.waiting[0].holders[0].instance, target.instance, "{:?}", seen.waiting);
    assert_eq!(seen.versions[0].instances[0].instance, target.instance);

    let refused = loop {
        match retire(&migrator, &target, "gone", Duration::from_millis(10)).await.unwrap_err() {
            Error::InstanceAlive { .. } => tokio::time::sleep(Duration::from_millis(20)).await,
            error => break error,
        }
    };
    assert_eq!(refused.code(), "SD0552", "{refused}");
    assert!(refused.help()[0].contains("pg_signal_backend"), "{:?}", refused.help());
    let seen = status(&db.url, None).await.unwrap();
    assert!(seen.retired_by_hand.is_empty() && seen.versions[0].instances[0].instance == target.instance);

    db.execute("GRANT pg_signal_backend TO the_migrator").await;
    let retired = retire(&migrator, &target, "gone", Duration::from_millis(10)).await.unwrap();
    assert_eq!((retired.sessions_ended, retired.sessions_left), (1, 0));
    silent.shutdown().await;
    db.execute("DROP OWNED BY the_service, the_migrator; DROP ROLE the_service, the_migrator").await;
}

#[tokio::test]
async fn a_heartbeat_of_the_future_is_no_sign_of_life() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let silent = silent_version(&db, NEVER).await;
        let set = match dialect {
            Dialect::Sqlite => {
                "UPDATE _schemadiff_lease SET process = json_set(process, '$.host', 'far', '$.machine', 'far'), \
                 heartbeat_at = strftime('%Y-%m-%d %H:%M:%f', 'now', '+1 hour')"
            }
            _ => "UPDATE schemadiff.lease SET heartbeat_at = heartbeat_at + interval '1 hour'",
        };
        db.execute(set).await;
        let target = instances(&db).await.pop().unwrap();
        retire(&db.url, &target, "the clock was set back", Duration::from_secs(1)).await.unwrap();
        silent.shutdown().await;
    }
}

/// It said itself that nothing may be heard of it for long: its fence counts on that, and would let statements pass until then.
#[tokio::test]
async fn an_instance_is_given_the_time_that_it_has_asked_for() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let patient = Lockstep::builder("shop", migrations(dialect, &[first(dialect)]))
            .database_url(&db.url)
            .schema(old_code(dialect))
            .heartbeat(NEVER)
            .grace(NEVER)
            .start()
            .await
            .unwrap();
        if dialect == Dialect::Sqlite {
            db.execute("UPDATE _schemadiff_lease SET process = json_set(process, '$.host', 'far', '$.machine', 'far')")
                .await;
        }
        let target = instances(&db).await.pop().unwrap();
        tokio::time::sleep(GRACE * 2).await;
        let error = retire(&db.url, &target, "nothing is heard of it", Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(error.code(), "SD0657", "{dialect}: {error}");
        patient.shutdown().await;
    }
}

/// Each process writes its own times: those of a machine whose clock is an hour behind look old, and it lives.
#[tokio::test]
async fn an_instance_with_another_clock_is_watched_before_it_is_retired() {
    let db = TestDatabase::new(Dialect::Sqlite);
    let alive = silent_version(&db, NEVER).await;
    let far = "UPDATE _schemadiff_lease SET process = json_set(process, '$.host', 'far', '$.machine', 'far')";
    db.execute(far).await;
    let beat =
        |at: &str| format!("UPDATE _schemadiff_lease SET heartbeat_at = strftime('%Y-%m-%d %H:%M:%f', 'now', '{at}')");
    for clock in ["-1 hour", "+1 hour"] {
        db.execute(&beat(clock)).await;
        let target = instances(&db).await.pop().unwrap();
        let retiring = retire(&db.url, &target, "it looks dead", Duration::from_secs(2));
        let (retired, ()) = tokio::join!(retiring, async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            db.execute(&beat(clock)).await;
        });
        assert_eq!(retired.unwrap_err().code(), "SD0657", "{clock}");
    }
    alive.shutdown().await;
}

/// The new version crash-loops where its heartbeats are the evidence, is stopped for good, and the old one is deployed again.
#[tokio::test]
async fn an_abort_watches_whoever_is_silent_and_waits_for_whoever_lives() {
    for dialect in BOTH {
        let db = TestDatabase::new(dialect);
        let plans = [first(dialect), second(dialect)];
        let both = migrations(dialect, &plans);
        let filled = ApplyOptions { until: schemadiff::plan::Phase::Backfill, ..ApplyOptions::default() };
        // Whoever waits looks twice a second, and four looks at the least make a silence.
        let grace = Duration::from_secs(3);
        let new_version = || {
            let builder = Lockstep::builder("shop", both.clone()).database_url(&db.url).schema(new_code(dialect));
            builder
                .heartbeat(Duration::from_millis(100))
                .grace(grace)
                .contract(schemadiff::lockstep::Contract::Manual)
                .start()
        };
        apply(&db.url, &both, &filled, Arc::new(NoProgress)).await.unwrap();
        new_version().await.unwrap().shutdown().await;
        let dead = match dialect {
            Dialect::Sqlite => {
                "UPDATE _schemadiff_lease SET ended_at = NULL, evidence = 'heartbeat', \
                 process = json_set(process, '$.host', 'far', '$.machine', 'far'), \
                 heartbeat_at = strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 day')"
            }
            _ => {
                "UPDATE schemadiff.lease SET ended_at = NULL, evidence = 'heartbeat', \
                 heartbeat_at = heartbeat_at - interval '1 day'"
            }
        };
        db.execute(dead).await;
        // Without waiting for anybody who lives.
        let options = ApplyOptions { grace, ..ApplyOptions::default() };
        let recorder = Recorder::default();
        abort(&db.url, &both, &plans[1].id, &options, recorder.shared())
            .await
            .unwrap_or_else(|e| panic!("{dialect}: {e}"));
        let held = recorder.of("gate_closed");
        assert_eq!((held.len(), held[0]["back"].as_bool()), (1, Some(true)), "{dialect}: {held:?}");

        // One that lives is waited for as long as the caller says.
        apply(&db.url, &both, &filled, Arc::new(NoProgress)).await.unwrap();
        let alive = new_version().await.unwrap();
        let refused = abort(&db.url, &both, &plans[1].id, &options, Arc::new(NoProgress)).await.unwrap_err();
        assert_eq!((refused.code(), refused.exit_code()), ("SD0850", 8), "{dialect}: {refused}");
        let patient = ApplyOptions { wait: Some(Duration::from_secs(60)), ..options };
        let waiting = abort(&db.url, &both, &plans[1].id, &patient, Arc::new(NoProgress));
        let (aborted, ()) = tokio::join!(waiting, async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            alive.shutdown().await;
        });
        aborted.unwrap_or_else(|e| panic!("{dialect}: {e}"));
    }
}
