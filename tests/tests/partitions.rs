//! Partitioned tables in use, on PostgreSQL: a migration reaches partitions that its plan does not know, goes on where it
//! failed, gives way to others, and can be taken back.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cargo_schemadiff::{
    dialect::{Connection, Scope, ddl},
    diff::{DiffOptions, Hints, diff, unmanaged},
    planner::{PlanRequest, plan},
};
use schemadiff::{
    Table,
    artifact::{lower, own_tables},
    lockstep::{
        NoProgress,
        admin::{ApplyOptions, abort, apply},
    },
    model::{Dialect, ObjectName, Schema},
    plan::{Action, Phase, Plan, Strategy},
};
use schemadiff_tests::{
    engine::TestDatabase,
    lockstep::{Recorder, migrations},
};
use sqlx::{Connection as _, Executor as _};

#[derive(Table)]
#[table(
    name = "readings",
    primary_key(id, at),
    partition_by = "range( at )",
    partition(name = "readings_2025", values = "from ('2025-01-01') TO (timestamptz '2026-01-01 01:00:00+01')"),
    partition(name = "readings_rest", default),
    index(columns(sensor))
)]
#[allow(dead_code)]
struct Reading {
    id: i64,
    #[column(ty = "timestamptz")]
    at: String,
    sensor: i64,
}

const BEFORE: &str = "CREATE TABLE users (id bigint PRIMARY KEY);
CREATE TABLE events (id bigint NOT NULL, user_id bigint NOT NULL, kind text NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');";

const AFTER: &str = "CREATE TABLE users (id bigint PRIMARY KEY);
CREATE TABLE events (id bigint NOT NULL, user_id bigint NOT NULL, kind text NOT NULL, at date NOT NULL, PRIMARY KEY (id, at, kind),
  CONSTRAINT events_user FOREIGN KEY (user_id) REFERENCES users (id)) PARTITION BY RANGE (at);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE INDEX events_kind ON events (kind, user_id);";

/// What a job of the user's makes, and the plan does not know.
const MORE: &str = "CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY LIST (kind);
CREATE TABLE events_2025_a PARTITION OF events_2025 FOR VALUES IN ('a');
CREATE TABLE events_2025_rest PARTITION OF events_2025 DEFAULT;
CREATE SCHEMA \"Old ones\"; CREATE TABLE \"Old ones\".\"events of 2023\" PARTITION OF events FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
INSERT INTO users SELECT generate_series(1, 10);
INSERT INTO events SELECT n, 1 + n % 10, chr((97 + n % 3)::int), date '2023-06-01' + (n % 800)::int FROM generate_series(1, 5000) n;";

async fn schema_of(sql: &str) -> Schema {
    let database = TestDatabase::new(Dialect::Postgres);
    database.execute(sql).await;
    Connection::open(&database.url).await.unwrap().introspect(&Scope::default()).await.unwrap().schema
}

async fn version() -> u32 {
    let database = TestDatabase::new(Dialect::Postgres);
    Connection::open(&database.url).await.unwrap().server().version
}

async fn planned(id: &str, parent: Option<&str>, current: &Schema, desired: &Schema) -> Plan {
    let (hints, options, sizes) = (Hints::default(), DiffOptions::default(), BTreeMap::new());
    let ddl = &*ddl(Dialect::Postgres, version().await).unwrap();
    let strategy = Strategy::synced("nothing speaks for another");
    let (hints, options, sizes, strategy) = (&hints, &options, &sizes, &strategy);
    plan(&PlanRequest { current, desired, hints, options, ddl, sizes, id, parent, strategy }).unwrap()
}

/// The database with its unknown partitions, and both migrations, the first of which has been applied.
async fn prepared() -> (TestDatabase, [Plan; 2]) {
    let (before, after) = (schema_of(BEFORE).await, schema_of(AFTER).await);
    let first = planned("20260101000000_events", None, &Schema::default(), &before).await;
    let second = planned("20260102000000_keys", Some(&first.id), &before, &after).await;
    let database = TestDatabase::new(Dialect::Postgres);
    let first_alone = migrations(Dialect::Postgres, std::slice::from_ref(&first));
    apply(&database.url, &first_alone, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
    database.execute(MORE).await;
    (database, [first, second])
}

async fn is_whole(database: &TestDatabase) {
    let leaves = "SELECT count(*)::text FROM pg_partition_tree('events') WHERE isleaf";
    assert_eq!(database.text(leaves).await.as_deref(), Some("5"));
    // Two indexes on each of seven tables, all valid, all but the topmost attached; a key and a proven reference likewise.
    let indexes = "SELECT format('%s %s %s', count(*), bool_and(indisvalid), count(inhrelid)) FROM pg_partition_tree('events') t \
         JOIN pg_index i ON i.indrelid = t.relid LEFT JOIN pg_inherits ON inhrelid = indexrelid";
    assert_eq!(database.text(indexes).await.as_deref(), Some("14 t 12"));
    let constraints = "SELECT string_agg(format('%s %s %s %s', contype, n, valid, attached), ', ' ORDER BY contype) FROM \
         (SELECT contype, count(*) AS n, bool_and(convalidated) AS valid, count(*) FILTER (WHERE conparentid <> 0) AS attached \
          FROM pg_partition_tree('events') t JOIN pg_constraint k ON k.conrelid = t.relid WHERE contype IN ('p', 'f') GROUP BY 1) s";
    assert_eq!(database.text(constraints).await.as_deref(), Some("f 7 t 6, p 7 t 6"));
}

/// What the struct says is what SQL by hand makes, in the server's spelling; partitions that it does not declare are no
/// difference.
#[tokio::test]
async fn a_struct_declares_how_its_table_is_partitioned() {
    let lowered = lower(&own_tables().unwrap(), Dialect::Postgres).unwrap();
    let by_hand = TestDatabase::new(Dialect::Postgres);
    by_hand
        .execute(
            "CREATE TABLE readings (id bigint NOT NULL, at timestamptz NOT NULL, sensor bigint NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
             CREATE TABLE readings_2025 PARTITION OF readings FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
             CREATE TABLE readings_rest PARTITION OF readings DEFAULT; CREATE INDEX ON readings (sensor)",
        )
        .await;
    for database in [&by_hand, &TestDatabase::new(Dialect::Postgres)] {
        let mut connection = Connection::open(&database.url).await.unwrap();
        let current = connection.introspect(&Scope::default()).await.unwrap().schema;
        let mut desired = lowered.schema.clone();
        connection.normalize(&mut desired, &current).await.unwrap();
        let expected =
            Connection::open(&by_hand.url).await.unwrap().introspect(&Scope::default()).await.unwrap().schema;
        assert_eq!(desired.tables, expected.tables);
    }
    by_hand
        .execute("CREATE TABLE readings_2024 PARTITION OF readings FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')")
        .await;
    let mut connection = Connection::open(&by_hand.url).await.unwrap();
    let current = connection.introspect(&Scope::default()).await.unwrap().schema;
    let mut desired = lowered.schema.clone();
    connection.normalize(&mut desired, &current).await.unwrap();
    let options = DiffOptions { managed: Some(desired.tables.keys().cloned().collect()), ..DiffOptions::default() };
    assert_eq!(diff(&current, &desired, &Hints::default(), &options).unwrap(), []);
    assert_eq!(unmanaged(&current, &desired, &options), [ObjectName::new("readings_2024")]);
}

/// Elsewhere the same struct is a plain table.
#[test]
fn engines_without_partitions_have_a_plain_table() {
    let schema = lower(&own_tables().unwrap(), Dialect::Sqlite).unwrap().schema;
    assert_eq!(schema.tables.keys().map(ToString::to_string).collect::<Vec<_>>(), ["readings"]);
    assert_eq!(schema.tables[&ObjectName::new("readings")].partition_by, None);
}

#[tokio::test]
async fn partitions_that_the_plan_does_not_know_get_their_part_while_they_are_written_to() {
    let (database, plans) = prepared().await;
    // From version 18 a partitioned table takes a foreign key that is not proven yet, as any table.
    let one_by_one = if version().await >= 180_000 { 2 } else { 3 };
    assert_eq!(plans[1].steps.iter().filter(|s| matches!(s.action, Action::Generated(_))).count(), one_by_one);
    // What an earlier try may have left: an index that is not valid, under the name that the migration chooses.
    let left = "SELECT 'events_2024_' || left(md5('events_kind events_2024'), 8) || '_idx'";
    let left = database.text(left).await.unwrap();
    database.execute(&format!("CREATE INDEX {left} ON events_2024 (kind, user_id)")).await;
    database.execute(&format!("UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{left}'::regclass")).await;

    let (stop, url) = (Arc::new(AtomicBool::new(false)), database.url.clone());
    let stopped = stop.clone();
    let writer = tokio::spawn(async move {
        let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
        let mut written = 0_i64;
        while !stopped.load(Ordering::Relaxed) {
            written += 1;
            let day = i32::try_from(written % 800).unwrap();
            let insert = "INSERT INTO events (id, user_id, kind, at) VALUES ($1, $2, $3, date '2023-06-01' + $4)";
            let insert = sqlx::query(insert).bind(100_000 + written).bind(1 + written % 10);
            insert.bind(if written % 2 == 0 { "a" } else { "b" }).bind(day).execute(&mut connection).await?;
            let update = sqlx::query("UPDATE events SET user_id = $1 WHERE id = $2").bind(1 + written % 7);
            update.bind(100_000 + written).execute(&mut connection).await?;
        }
        Ok::<_, sqlx::Error>(written)
    });
    let all = migrations(Dialect::Postgres, &plans);
    let applied = apply(&database.url, &all, &ApplyOptions::default(), Arc::new(NoProgress)).await;
    stop.store(true, Ordering::Relaxed);
    let written = writer.await.unwrap().unwrap();
    applied.unwrap();
    assert!(written > 0);
    // One that comes later has everything from the start.
    database
        .execute("CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')")
        .await;
    is_whole(&database).await;
    let rows = database.text("SELECT count(*)::text FROM events").await.unwrap();
    assert_eq!(rows, (5000 + written).to_string());
}

#[tokio::test]
async fn a_row_in_the_way_stops_the_step_and_it_goes_on_when_the_row_is_gone() {
    let (database, mut plans) = prepared().await;
    let twice = "INSERT INTO events SELECT * FROM \"Old ones\".\"events of 2023\" LIMIT 1";
    database.execute(twice).await;
    let all = migrations(Dialect::Postgres, &plans);
    let error = apply(&database.url, &all, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap_err();
    assert_eq!(error.code(), "SD0760", "{error}");
    assert!(error.to_string().contains("events of 2023"), "{error}");
    let built = "SELECT (count(*) > 0)::text FROM pg_index WHERE indrelid = 'events_2024'::regclass";
    assert_eq!(database.text(built).await.as_deref(), Some("false"), "nothing was begun");

    // One that comes after the look: as if nobody had asked.
    plans.iter_mut().flat_map(|plan| &mut plan.steps).for_each(|step| step.probes.clear());
    let all = migrations(Dialect::Postgres, &plans);
    let error = apply(&database.url, &all, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap_err();
    assert_eq!(error.code(), "SD0750", "{error}");
    assert!(error.to_string().contains("events of 2023"), "{error}");
    // The other partitions keep what they have.
    assert_eq!(database.text(built).await.as_deref(), Some("true"));

    database.execute("DELETE FROM events a USING events b WHERE a.id = b.id AND a.at = b.at AND a.ctid < b.ctid").await;
    apply(&database.url, &all, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
    database
        .execute("CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')")
        .await;
    is_whole(&database).await;
}

#[tokio::test]
async fn an_abort_takes_away_whatever_was_made() {
    let (database, plans) = prepared().await;
    let relations = "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace \
         WHERE relkind IN ('i', 'I', 'r', 'p') AND nspname IN ('public', 'Old ones')";
    let before = database.text(relations).await;
    let all = migrations(Dialect::Postgres, &plans);
    let options = ApplyOptions { until: Phase::Backfill, ..ApplyOptions::default() };
    apply(&database.url, &all, &options, Arc::new(NoProgress)).await.unwrap();
    assert_ne!(database.text(relations).await, before);

    abort(&database.url, &all, &plans[1].id, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
    assert_eq!(database.text(relations).await, before);
}

#[tokio::test]
async fn who_holds_the_table_is_given_way_to() {
    let (database, plans) = prepared().await;
    let mut holder = sqlx::PgConnection::connect(&database.url).await.unwrap();
    holder.execute("BEGIN; INSERT INTO events VALUES (999999, 1, 'a', '2024-02-02')").await.unwrap();
    let (url, all, recorder) = (database.url.clone(), migrations(Dialect::Postgres, &plans), Recorder::default());
    let progress = recorder.shared();
    let running = tokio::spawn(async move { apply(&url, &all, &ApplyOptions::default(), progress).await });
    while recorder.of("retrying").is_empty() {
        assert!(!running.is_finished());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A writer that comes while the migration tries again waits for no more than one try.
    database.execute("INSERT INTO events VALUES (999998, 1, 'a', '2024-02-02')").await;
    holder.execute("COMMIT").await.unwrap();
    running.await.unwrap().unwrap();
    database
        .execute("CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')")
        .await;
    is_whole(&database).await;
}

const APART: &str = "CREATE TABLE events (id bigint NOT NULL, kind text NOT NULL, at date NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_2023 PARTITION OF events FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
CREATE INDEX events_kind ON events (kind);
CREATE TABLE events_2024 (id bigint NOT NULL, kind text NOT NULL, at date NOT NULL, PRIMARY KEY (id, at));
CREATE INDEX events_2024_kind_idx ON events_2024 (kind);";

const TOGETHER: &str = "CREATE TABLE events (id bigint NOT NULL, kind text NOT NULL, at date NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_2023 PARTITION OF events FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
CREATE INDEX events_kind ON events (kind);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');";

/// A connection that writes rows of one year to a table, and reads them back with a star, each statement prepared once.
struct Client {
    table: &'static str,
    year: i32,
    from: i64,
}

impl Client {
    async fn once(&self, connection: &mut sqlx::PgConnection, id: i64) -> Result<(), sqlx::Error> {
        let (table, year) = (self.table, self.year);
        let day = i32::try_from(id % 360).unwrap();
        let insert = format!("INSERT INTO {table} VALUES ($1, 'a', make_date({year}, 1, 1) + $2) RETURNING *");
        let row = sqlx::query(sqlx::AssertSqlSafe(insert)).bind(id).bind(day).fetch_one(&mut *connection).await?;
        assert_eq!(sqlx::Row::get::<i64, _>(&row, "id"), id);
        let write = [
            "UPDATE {} SET kind = 'b' WHERE id = $1",
            "INSERT INTO {} SELECT * FROM {} WHERE id = $1 ON CONFLICT (id, at) DO UPDATE SET kind = excluded.kind || 'c'",
        ];
        for sql in write {
            let sql = sql.replace("{}", table);
            assert_eq!(
                sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).execute(&mut *connection).await?.rows_affected(),
                1
            );
        }
        let read =
            sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(format!("SELECT kind FROM {table} WHERE id = $1")));
        assert_eq!(read.bind(id).fetch_one(&mut *connection).await?, "bc");
        // Every fourth row goes again.
        let gone = format!("DELETE FROM {table} WHERE id = $1 AND id % 4 = 0");
        sqlx::query(sqlx::AssertSqlSafe(gone)).bind(id).execute(connection).await.map(drop)
    }

    /// Runs until it is stopped; returns how many rows it has left.
    fn run(self, url: &str, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<Result<i64, sqlx::Error>> {
        let (url, stop) = (url.to_owned(), Arc::clone(stop));
        tokio::spawn(async move {
            let mut connection = sqlx::PgConnection::connect(&url).await?;
            let (mut id, mut left) = (self.from, 0);
            while !stop.load(Ordering::Relaxed) {
                self.once(&mut connection, id).await.inspect_err(|e| eprintln!("{}: {e}", self.table))?;
                left += i64::from(id % 4 != 0);
                id += 1;
            }
            Ok(left)
        })
    }
}

/// Old code up to contract, new code from the moment it may start to the end. Returns the database and the rows that are left.
async fn beside_clients(before: &str, after: &str, old: [Client; 2], new: [Client; 2]) -> (TestDatabase, i64) {
    let (before, after) = (schema_of(before).await, schema_of(after).await);
    let first = planned("20260101000000_events", None, &Schema::default(), &before).await;
    let second = planned("20260102000000_parts", Some(&first.id), &before, &after).await;
    let database = TestDatabase::new(Dialect::Postgres);
    let (url, plans) = (database.url.clone(), [first, second]);
    let go = async |plans: &[Plan], until| {
        let options = ApplyOptions { until, ..ApplyOptions::default() };
        apply(&url, &migrations(Dialect::Postgres, plans), &options, Arc::new(NoProgress)).await.unwrap();
    };
    go(&plans[..1], Phase::Contract).await;
    let (old_stops, new_stops) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let old = old.map(|client| client.run(&url, &old_stops));
    let a_while = Duration::from_millis(300);
    tokio::time::sleep(a_while).await;
    go(&plans, Phase::Backfill).await;
    let new = new.map(|client| client.run(&url, &new_stops));
    tokio::time::sleep(a_while).await;
    let mut left = 0;
    old_stops.store(true, Ordering::Relaxed);
    for client in old {
        left += client.await.unwrap().unwrap();
    }
    go(&plans, Phase::Contract).await;
    tokio::time::sleep(a_while).await;
    new_stops.store(true, Ordering::Relaxed);
    for client in new {
        left += client.await.unwrap().unwrap();
    }
    assert!(left > 20, "{left} rows in all");
    let (is, shall) = (schema_of_database(&database).await, &after);
    assert!(diff(&is, shall, &Hints::default(), &DiffOptions::default()).unwrap().is_empty());
    (database, left)
}

async fn schema_of_database(database: &TestDatabase) -> Schema {
    Connection::open(&database.url).await.unwrap().introspect(&Scope::default()).await.unwrap().schema
}

#[tokio::test]
async fn a_table_is_attached_while_old_code_uses_it_and_new_code_its_parent() {
    let of = |table, year, from| Client { table, year, from };
    let old = [of("events", 2023, 0), of("events_2024", 2024, 1_000_000)];
    // Through the parent there is no place for rows of 2024 before contract.
    let new = [of("events", 2023, 2_000_000), of("events_2023", 2023, 3_000_000)];
    let (database, left) = beside_clients(APART, TOGETHER, old, new).await;
    assert_eq!(database.text("SELECT count(*)::text FROM events").await, Some(left.to_string()));
}

#[tokio::test]
async fn a_partition_is_detached_while_old_code_uses_its_parent_and_new_code_the_table() {
    let of = |table, year, from| Client { table, year, from };
    let old = [of("events", 2024, 0), of("events", 2023, 1_000_000)];
    let new = [of("events_2024", 2024, 2_000_000), of("events", 2023, 3_000_000)];
    let (database, left) = beside_clients(TOGETHER, APART, old, new).await;
    let rows = "SELECT ((SELECT count(*) FROM events) + (SELECT count(*) FROM events_2024))::text";
    assert_eq!(database.text(rows).await, Some(left.to_string()));
}
