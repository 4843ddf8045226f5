//! Predicted = measured, on PostgreSQL: every step of every golden case is carried out on tables with rows, and what it
//! says of itself is held against what the server did.
//!
//! - Locks: `pg_locks` of the backend, inside the step's transaction after its last statement. A lock on an index, a
//!   sequence, a TOAST table or a partition counts for the table it belongs to, because who uses the table needs those
//!   too. A statement
//!   outside a transaction (CONCURRENTLY) is held up by a neighbour that has locked the table for writing, so that it
//!   waits in the middle of its work, and `pg_locks` is read from a third connection.
//! - Rewrites: a table that was there before has another file. Index rebuilds: an index of a name that was there before has
//!   a file that was not.
//! - Scans: as many rows were read one after the other as a table holds (`pg_stat_get_xact_tuples_returned`).
//!
//! AccessShare, which every SELECT takes and which only AccessExclusive waits for, need not be stated.
//! `SCHEMADIFF_CASE=name` runs one case.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use cargo_schemadiff::{
    dialect::{Connection, Ddl, Scope, ddl},
    prove::{execute, seed},
};
use schemadiff::{
    model::{Delta, Dialect, ObjectName, Schema},
    plan::{Action, Envelope, Plan, Step},
};
use schemadiff_tests::{
    engine::{Major, Postgres, TestDatabase},
    golden::{each_case, name_of, plan_file, text_of},
};

const ROWS: u64 = 60;

/// Weakest first, in the words of `pg_locks` without the word `Lock`.
const MODES: [&str; 8] = [
    "AccessShare",
    "RowShare",
    "RowExclusive",
    "ShareUpdateExclusive",
    "Share",
    "ShareRowExclusive",
    "Exclusive",
    "AccessExclusive",
];

fn strength(mode: &str) -> usize {
    MODES.iter().position(|m| *m == mode).unwrap_or_else(|| panic!("no lock mode: {mode}"))
}

#[test]
fn what_steps_say_of_themselves_is_what_the_server_does() {
    let measured = each_case(|case| async move {
        // Without a plan the case is about a refusal, or about something this engine does not have.
        let text = std::fs::read_to_string(plan_file(&case, Dialect::Postgres, Major::under_test())).ok()?;
        let plan = Plan::from_toml(&text).unwrap();
        let wrong = match measure(&case, &plan, ROWS).await {
            // Made-up values do not fit the case: it brings rows of its own.
            Err(error) if error.about_rows => measure(&case, &plan, 0).await,
            other => other,
        };
        let wrong = wrong.unwrap_or_else(|error| vec![error.to_string()]);
        let wrong: Vec<_> = wrong.into_iter().map(|wrong| format!("{}: {wrong}", name_of(&case))).collect();
        Some((plan.steps.len(), wrong))
    });
    let (steps, failures): (Vec<_>, Vec<_>) = measured.into_iter().flatten().unzip();
    let (steps, failures) = (steps.iter().sum::<usize>(), failures.concat());
    println!("{steps} steps");
    assert!(steps > 0, "no case");
    assert!(failures.is_empty(), "{} differences in {steps} steps\n{}", failures.len(), failures.join("\n"));
}

/// Carries the case out and says where a step is not what it says.
async fn measure(case: &Path, plan: &Plan, rows: u64) -> cargo_schemadiff::Result<Vec<String>> {
    let database = Postgres::shared().database();
    database.execute(&text_of(case, "before", Dialect::Postgres, "sql").unwrap()).await;
    database.has_ledger_schema().await;
    let mut db = Connection::open(&database.url).await?;
    let schema = db.introspect(&Scope::default()).await?.schema;
    let ddl = ddl(Dialect::Postgres, db.server().version)?;
    if let Some(seed) = text_of(case, "seed", Dialect::Postgres, "sql") {
        database.execute(&seed).await;
    }
    fill(&mut db, &*ddl, &schema, (1000, rows)).await;
    let mut end = schema.clone();
    plan.steps.iter().for_each(|step| step.apply_to(&mut end).unwrap());
    // A table that is renamed brings its rows along.
    let renames = |step: &Step| step.effects.iter().any(|d| matches!(d, Delta::Table { after: None, .. }));
    let makes = |step: &Step| step.effects.iter().any(|d| matches!(d, Delta::Table { before: None, .. }));
    let creates = |step: &&Step| makes(step) && !renames(step);
    let last_creation = plan.steps.iter().rfind(creates).map(|step| step.id.clone());
    let mut wrong = Vec::new();
    for step in &plan.steps {
        // Row counts, and statistics: what a statement does to find a few rows must not depend on a guess.
        let tables = db.query_row(TABLES, &[]).await?.and_then(|row| row.into_iter().next().flatten());
        db.run(&tables.map(|tables| format!("VACUUM ANALYZE {tables}")).into_iter().collect::<Vec<_>>()).await?;
        let before = Catalogue::read(&mut db).await?;
        let done = match step.envelope {
            Envelope::Concurrent => concurrently(&database, &mut db, step, &before).await?,
            _ => in_a_transaction(&mut db, step, &before).await?,
        };
        if Some(&step.id) == last_creation.as_ref() && rows > 0 {
            // New tables get rows too, such as their foreign keys to come will find in order.
            let mut schema = db.introspect(&Scope::default()).await?.schema;
            for (name, table) in &mut schema.tables {
                table.foreign_keys = end.tables.get(name).map(|t| t.foreign_keys.clone()).unwrap_or_default();
            }
            fill(&mut db, &*ddl, &schema, (1000 + rows, rows)).await;
        }
        wrong.extend(done.compare(step, &before).into_iter().map(|what| format!("{}: {what}", step.id)));
    }
    Ok(wrong)
}

async fn fill(db: &mut Connection, ddl: &dyn Ddl, schema: &Schema, rows: (u64, u64)) {
    let seeded = seed::seed(db, ddl, schema, rows, &|_, _| false).await;
    assert!(seeded.empty.is_empty(), "tables without rows: {:?}", seeded.empty);
}

/// A relation before a step.
#[derive(Debug, Clone, serde::Deserialize)]
struct Relation {
    oid: u32,
    name: String,
    kind: String,
    /// The table it belongs to, or itself.
    owner: u32,
    file: Option<u32>,
    /// Rows as of the last ANALYZE.
    rows: i64,
    /// Rows read one after the other so far.
    read: i64,
}

struct Catalogue(BTreeMap<u32, Relation>);

/// Every relation of the user's. What belongs to a table is traced back to it: indexes (of TOAST tables too), sequences.
const RELATIONS: &str = r"
SELECT coalesce(json_agg(r)::text, '[]') FROM (
  SELECT c.oid::int8 AS oid, c.relkind AS kind, coalesce(pg_relation_filenode(c.oid)::int8, 0) AS file,
         CASE n.nspname WHEN 'public' THEN c.relname ELSE n.nspname || '.' || c.relname END AS name,
         (SELECT coalesce(pg_partition_root(o.owner), o.owner)::int8 FROM (SELECT coalesce(
           (SELECT coalesce(toasted.oid, i.indrelid) FROM pg_index i
            LEFT JOIN pg_class toasted ON toasted.reltoastrelid = i.indrelid WHERE i.indexrelid = c.oid),
           (SELECT toasted.oid FROM pg_class toasted WHERE toasted.reltoastrelid = c.oid AND c.relkind = 't'),
           (SELECT d.refobjid FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
              AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND c.relkind = 'S'),
           c.oid) AS owner) o) AS owner,
         greatest(c.reltuples, 0)::int8 AS rows,
         pg_stat_get_xact_tuples_returned(c.oid) AS read
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'schemadiff')
) r";

/// What can be analyzed of it, quoted. The whole database would be the server's own catalogue for the most part.
const TABLES: &str = r"
SELECT string_agg(c.oid::regclass::text, ', ') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'schemadiff')";

impl Catalogue {
    async fn read(db: &mut Connection) -> cargo_schemadiff::Result<Self> {
        let relations: Vec<Relation> = rows(db, RELATIONS).await?;
        Ok(Self(relations.into_iter().map(|r| (r.oid, r)).collect()))
    }

    /// An index that is rebuilt for a change of type is another one of the same name.
    fn has_index(&self, name: &str) -> bool {
        self.0.values().any(|r| r.kind == "i" && r.name == name)
    }

    /// The table that a relation belongs to, when it was there before.
    fn table(&self, oid: u32) -> Option<&Relation> {
        self.0.get(&self.0.get(&oid)?.owner)
    }
}

async fn rows<T: serde::de::DeserializeOwned>(db: &mut Connection, sql: &str) -> cargo_schemadiff::Result<Vec<T>> {
    let row = db.query_row(sql, &[]).await?.unwrap();
    Ok(serde_json::from_str(row[0].as_deref().unwrap()).unwrap())
}

/// What a step did to relations that were there before it.
#[derive(Debug, Default)]
struct Done {
    /// Strongest mode by the table's oid.
    locks: BTreeMap<u32, String>,
    /// Names after the step, by oid.
    names: BTreeMap<u32, String>,
    rewritten: BTreeSet<String>,
    rebuilt: BTreeSet<String>,
    /// `None` where it cannot be measured.
    scanned: Option<BTreeSet<String>>,
}

#[derive(serde::Deserialize)]
struct Held {
    oid: u32,
    mode: String,
}

fn locks_of(backend: &str) -> String {
    format!(
        "SELECT coalesce(json_agg(l)::text, '[]') FROM (SELECT relation::int8 AS oid, replace(mode, 'Lock', '') AS mode \
         FROM pg_locks WHERE pid = {backend} AND locktype = 'relation' AND granted) l"
    )
}

impl Done {
    async fn hold(&mut self, db: &mut Connection, backend: &str, before: &Catalogue) -> cargo_schemadiff::Result<()> {
        for held in rows::<Held>(db, &locks_of(backend)).await? {
            let Some(table) = before.table(held.oid) else { continue };
            let strongest = self.locks.entry(table.oid).or_insert_with(|| held.mode.clone());
            if strength(&held.mode) > strength(strongest) {
                *strongest = held.mode;
            }
        }
        Ok(())
    }

    fn files(&mut self, before: &Catalogue, after: &Catalogue) {
        for (oid, now) in &after.0 {
            self.names.insert(*oid, now.name.clone());
            match now.kind.as_str() {
                "r" | "m" if before.0.get(oid).is_some_and(|was| was.file != now.file) => {
                    self.rewritten.insert(now.name.clone());
                }
                "i" if before.has_index(&now.name) && before.0.values().all(|was| was.file != now.file) => {
                    self.rebuilt.insert(now.name.clone());
                }
                _ => {}
            }
        }
    }

    fn compare(&self, step: &Step, before: &Catalogue) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut stated: BTreeMap<String, &str> = BTreeMap::new();
        for lock in &step.locks {
            let relation = lock.relation.to_string();
            let now = self.names.iter().find(|(_, name)| **name == relation).map(|(oid, _)| *oid);
            let oid = before.0.values().find(|r| r.name == relation).map(|r| r.oid).or(now);
            let whole = oid.and_then(|oid| before.table(oid));
            let mode = stated.entry(whole.map_or(relation, |table| table.name.clone())).or_insert(&lock.mode);
            if strength(&lock.mode) > strength(mode) {
                *mode = &lock.mode;
            }
        }
        let mut known = BTreeSet::new();
        for (oid, mode) in &self.locks {
            let table = &before.0[oid];
            let names: Vec<&String> = [&table.name].into_iter().chain(self.names.get(oid)).collect();
            known.extend(names.iter().copied().cloned());
            let said = names.iter().find_map(|name| stated.get(*name).copied());
            if said != Some(mode) && (said.is_some() || strength(mode) > 0) {
                wrong.push(format!("locks {mode} on {}, says {}", table.name, said.unwrap_or("nothing")));
            }
        }
        let relations: BTreeSet<&String> = before.0.values().map(|r| &r.name).chain(self.names.values()).collect();
        for (relation, mode) in stated.iter().filter(|(relation, _)| !known.contains(*relation)) {
            let what = if relations.contains(relation) { "locks nothing there" } else { "there is no such relation" };
            wrong.push(format!("says {mode} on {relation}, {what}"));
        }
        if step.rewrites == self.rewritten.is_empty() {
            wrong.push(format!("rewrites {:?}, says {}", self.rewritten, step.rewrites));
        }
        // A rewrite of the table says it for its indexes.
        if step.rebuilds_indexes == self.rebuilt.is_empty() && !step.rewrites {
            wrong.push(format!("rebuilds {:?}, says {}", self.rebuilt, step.rebuilds_indexes));
        }
        if let Some(scanned) = &self.scanned
            && (step.scans || step.rewrites) == scanned.is_empty()
        {
            wrong.push(format!("reads {scanned:?}, says {}", step.scans || step.rewrites));
        }
        wrong
    }
}

async fn in_a_transaction(db: &mut Connection, step: &Step, before: &Catalogue) -> cargo_schemadiff::Result<Done> {
    let run = |sql: &str| vec![sql.to_owned()];
    db.run(&run("BEGIN")).await?;
    let start = Catalogue::read(db).await?;
    let result = match &step.action {
        Action::Sql(statements) => db.run(statements).await,
        Action::Backfill(_) | Action::Generated(_) => execute::forth(db, step, &Schema::default()).await,
    };
    if let Err(error) = result {
        db.run(&run("ROLLBACK")).await?;
        return Err(error);
    }
    let mut done = Done::default();
    done.hold(db, "pg_backend_pid()", before).await?;
    let after = Catalogue::read(db).await?;
    let read = after.0.values().filter_map(|now| {
        let was = start.0.get(&now.oid).filter(|was| was.kind == "r" && was.rows > 0)?;
        (now.read - was.read >= was.rows).then(|| was.name.clone())
    });
    done.scanned = Some(read.collect());
    done.files(before, &after);
    db.run(&run("COMMIT")).await?;
    Ok(done)
}

/// A statement that runs outside a transaction lets go of its locks at its end: a neighbour that is about to write to
/// the table makes it wait in the middle.
async fn concurrently(
    database: &TestDatabase,
    db: &mut Connection,
    step: &Step,
    before: &Catalogue,
) -> cargo_schemadiff::Result<Done> {
    let statements = match &step.action {
        Action::Sql(statements) => statements,
        Action::Generated(generated) => return one_by_one(db, &generated.next_sql, before).await,
        Action::Backfill(_) => panic!("{}: no statements", step.id),
    };
    let table = &step.locks.first().unwrap_or_else(|| panic!("{}: names no table", step.id)).relation;
    let mut neighbour = Connection::open(&database.url).await?;
    let mut observer = Connection::open(&database.url).await?;
    let backend = db.query_row("SELECT pg_backend_pid()::text", &[]).await?.unwrap()[0].clone().unwrap();
    let lock = format!("LOCK TABLE {} IN ROW EXCLUSIVE MODE", quoted(table));
    neighbour.run(&["BEGIN".to_owned(), lock]).await?;
    let mut done = Done::default();
    let work = db.run(statements);
    let watch = async {
        let waits = format!("SELECT (wait_event_type = 'Lock')::text FROM pg_stat_activity WHERE pid = {backend}");
        while observer.query_row(&waits, &[]).await?.unwrap()[0].as_deref() != Some("true") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        done.hold(&mut observer, &backend, before).await?;
        neighbour.run(&["COMMIT".to_owned()]).await
    };
    let (worked, watched) = tokio::join!(work, watch);
    worked.and(watched)?;
    let after = Catalogue::read(db).await?;
    done.files(before, &after);
    Ok(done)
}

/// Statements that a query gives, each in a transaction of its own; of those that cannot be in one, nothing is measured.
async fn one_by_one(db: &mut Connection, next: &str, before: &Catalogue) -> cargo_schemadiff::Result<Done> {
    let mut done = Done::default();
    while let Some(row) = db.query_row(next, &[]).await? {
        let statement = row[0].clone().unwrap();
        if statement.contains(" CONCURRENTLY ") {
            db.run(&[statement]).await?;
            continue;
        }
        db.run(&["BEGIN".to_owned(), statement]).await?;
        done.hold(db, "pg_backend_pid()", before).await?;
        db.run(&["COMMIT".to_owned()]).await?;
    }
    let after = Catalogue::read(db).await?;
    done.files(before, &after);
    Ok(done)
}

fn quoted(table: &ObjectName) -> String {
    let part = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    format!("{}.{}", part(table.schema.as_deref().unwrap_or("public")), part(&table.name))
}
