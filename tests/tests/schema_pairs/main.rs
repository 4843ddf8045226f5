//! Two schemas that differ in several changes at once: planned, proven, carried out on rows, and nothing differs after.
//!
//! `SCHEMADIFF_PAIRS=500` runs more pairs, `SCHEMADIFF_PAIR=17` only the pair of that seed; a failure names the seed and the
//! fewest changes that show it.

mod edits;
mod spec;

use std::sync::Arc;

use cargo_schemadiff::{
    Kind as ErrorKind,
    dialect::{Connection, Scope, ddl},
    diff::{DiffOptions, Hints, column_name, diff},
    planner::{PlanRequest, plan},
    prove::{prove, seed},
};
use schemadiff::{
    embed::Migrations,
    lockstep::{
        NoProgress,
        admin::{self, ApplyOptions},
    },
    model::{Dialect, ObjectName, Schema as Model, between},
    plan::{Plan, SNAPSHOT_FORMAT, Snapshot, Strategy},
};
use schemadiff_tests::{engine::TestDatabase, histories::reference::RESET};

use edits::{Edited, Random};

/// What became of a pair.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// So many steps were carried out.
    Equal(usize),
    /// The planner says that there is no safe way, or asks.
    Refused(String),
}

/// The databases that all pairs of an engine share, one after the other.
struct Places {
    dialect: Dialect,
    from: TestDatabase,
    to: TestDatabase,
    scratch: TestDatabase,
}

impl Places {
    fn new(dialect: Dialect) -> Self {
        let [from, to, scratch] = [0, 1, 2].map(|_| TestDatabase::new(dialect));
        Self { dialect, from, to, scratch }
    }

    async fn clear(&mut self) {
        if self.dialect == Dialect::Sqlite {
            *self = Self::new(self.dialect);
            return;
        }
        for db in [&self.from, &self.to, &self.scratch] {
            db.execute(RESET).await;
        }
    }
}

fn table(name: &str) -> ObjectName {
    ObjectName::new(name)
}

/// What the user says beside.
fn intent(before: &spec::Schema, edited: &Edited, old: &Model, new: &Model, dialect: Dialect) -> (Hints, DiffOptions) {
    let mut hints = Hints::default();
    let (tables, columns) = edited.renames();
    hints.renamed_tables.extend(tables.into_iter().map(|(new, old)| (table(&new), table(&old))));
    hints.renamed_columns.extend(columns.into_iter().map(|(t, new, old)| ((table(&t), new), old)));
    let backfills = edited.backfills(before, dialect);
    hints.backfills.extend(backfills.into_iter().map(|(t, column, expr)| ((table(&t), column), expr)));
    let mut options = DiffOptions::default();
    for (name, was) in &old.tables {
        let now = hints.renamed_tables.iter().find(|(_, from)| *from == name).map_or(name, |(to, _)| to);
        let kept: Vec<&String> =
            hints.renamed_columns.iter().filter(|((t, _), _)| t == now).map(|(_, from)| from).collect();
        match new.table(now) {
            None => drop(options.allowed_drops.insert(name.to_string())),
            Some(after) => {
                let gone = was.columns.iter().filter(|c| after.column(&c.name).is_none() && !kept.contains(&&c.name));
                options.allowed_drops.extend(gone.map(|c| column_name(now, &c.name)));
            }
        }
    }
    (hints, options)
}

async fn trial(places: &mut Places, before: &spec::Schema, edited: &Edited) -> Result<Verdict, String> {
    places.clear().await;
    let dialect = places.dialect;
    places.from.execute(&before.sql(dialect)).await;
    places.to.execute(&edited.schema.sql(dialect)).await;
    let said = |e: cargo_schemadiff::Error| e.to_string();
    let mut connection = Connection::open(&places.from.url).await.map_err(said)?;
    let old = connection.introspect(&Scope::default()).await.map_err(said)?.schema;
    let new = schemadiff_tests::twin::introspect(&places.to.url).await;
    let ddl = ddl(dialect, connection.server().version).map_err(said)?;
    let (hints, options) = intent(before, edited, &old, &new, dialect);
    let request = PlanRequest {
        current: &old,
        desired: &new,
        hints: &hints,
        options: &options,
        ddl: &*ddl,
        sizes: &Default::default(),
        id: "20240101000000_pair",
        parent: None,
        strategy: &Strategy::synced(""),
    };
    let plan = match plan(&request) {
        Ok(plan) => plan,
        Err(e) if e.kind == ErrorKind::Refused => return Ok(Verdict::Refused(format!("{}: {}", e.code, e.effect))),
        Err(e) => return Err(format!("no plan: {e}")),
    };
    let text = plan.to_toml().map_err(|e| e.to_string())?;
    let plan = Plan::from_toml(&text).map_err(|e| format!("the written plan cannot be read: {e}"))?;
    let mut scratch = Connection::open(&places.scratch.url).await.map_err(said)?;
    prove(&mut scratch, &*ddl, &old, &plan).await.map_err(|e| format!("not proven: {e}"))?;

    let stays_nullable = |name: &ObjectName, column: &str| {
        let is = |schema: &Model| schema.column(name, column).is_none_or(|c| c.nullable);
        is(&old) && is(&new)
    };
    seed::seed(&mut connection, &*ddl, &seed::fitting(&old, &new), (1, 6), &stays_nullable).await;
    apply(&places.from.url, &plan, &new).await?;
    let found = connection.introspect(&Scope::default()).await.map_err(said)?.schema;
    let differs = between(&found, &new);
    if !differs.is_empty() {
        return Err(format!("at the end the server differs: {differs:?}"));
    }
    match diff(&found, &new, &hints, &options) {
        Ok(changes) if changes.is_empty() => Ok(Verdict::Equal(plan.steps.len())),
        other => Err(format!("the second diff is not empty: {other:?}")),
    }
}

async fn apply(url: &str, plan: &Plan, after: &Model) -> Result<(), String> {
    let lock = Snapshot {
        format: SNAPSHOT_FORMAT,
        dialect: plan.dialect,
        head: Some(plan.id.clone()),
        sources: Default::default(),
        schema: after.clone(),
    };
    let migrations = Migrations::from_plans(&lock, std::slice::from_ref(plan)).map_err(|e| e.to_string())?;
    let ran = admin::apply(url, &migrations, &ApplyOptions::default(), Arc::new(NoProgress)).await;
    ran.map(drop).map_err(|e| format!("not carried out: {e}"))
}

/// The changes of a seed, without some of them.
fn edited(before: &spec::Schema, seeds: &[u64]) -> Edited {
    let mut edited = Edited::new(before);
    seeds.iter().for_each(|seed| edited.edit(*seed));
    edited
}

async fn pair(places: &mut Places, number: u64) -> Result<Verdict, String> {
    let random = &mut Random::new(number + 1000);
    let before = edits::schema(random);
    let mut seeds: Vec<u64> = (0..2 + random.below(6)).map(|_| random.below(1 << 40) as u64).collect();
    let mut failure = match trial(places, &before, &edited(&before, &seeds)).await {
        Ok(verdict) => return Ok(verdict),
        Err(failure) => failure,
    };
    let mut at = 0;
    while at < seeds.len() {
        let mut fewer = seeds.clone();
        fewer.remove(at);
        match trial(places, &before, &edited(&before, &fewer)).await {
            Err(why) => (seeds, failure) = (fewer, why),
            Ok(_) => at += 1,
        }
    }
    let edited = edited(&before, &seeds);
    let sql = [before.sql(places.dialect), edited.schema.sql(places.dialect)];
    Err(format!(
        "pair {number} on {}: {:?}\n{failure}\n-- before\n{}\n-- after\n{}",
        places.dialect, edited.log, sql[0], sql[1]
    ))
}

async fn pairs(dialect: Dialect, default: u64) {
    let setting = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let numbers = match setting("SCHEMADIFF_PAIR") {
        Some(number) => number..number + 1,
        None => 0..setting("SCHEMADIFF_PAIRS").unwrap_or(default),
    };
    let mut places = Places::new(dialect);
    let (mut failures, mut refused, mut steps, count) = (Vec::new(), Vec::new(), 0, numbers.end - numbers.start);
    for number in numbers {
        match pair(&mut places, number).await {
            Ok(Verdict::Equal(of_plan)) => steps += of_plan,
            Ok(Verdict::Refused(why)) => refused.push(format!("{number}: {why}")),
            Err(failure) => {
                println!("{failure}\n");
                failures.push(failure);
            }
        }
    }
    println!("{dialect}: {count} pairs, {steps} steps, refused: {refused:#?}");
    assert!(failures.is_empty(), "{} of {count} pairs fail; the first:\n{}", failures.len(), failures[0]);
    assert!(refused.len() as u64 * 5 <= count, "too many are refused: {refused:#?}");
}

#[tokio::test]
async fn on_postgres() {
    pairs(Dialect::Postgres, 24).await;
}

#[tokio::test]
async fn on_sqlite() {
    pairs(Dialect::Sqlite, 40).await;
}
