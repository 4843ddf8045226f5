//! Who else is in the database. Each comes when the rows are there, does the same again and again until it is told to leave,
//! and is an application like others: not one of its statements may fail.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use schemadiff::model::ObjectName;
use schemadiff_tests::twin::{Entrance, Stage};
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, Row as _, postgres::PgConnectOptions};
use tokio::task::JoinHandle;

/// How long a neighbour that sits does so.
pub const SITS: Duration = Duration::from_secs(6);

/// One that has come.
#[derive(Clone)]
pub struct Visit {
    /// Where.
    pub url: String,
    /// What it knows of the rows.
    pub stage: Stage,
    stop: Arc<AtomicBool>,
    /// How often it did what it is here for.
    pub times: Arc<AtomicU64>,
}

type Done = Result<(), String>;
type Doing = Pin<Box<dyn Future<Output = Done> + Send>>;

/// What a neighbour does while it is here.
pub type Habit = fn(Visit) -> Doing;

/// Those that are here.
#[derive(Clone, Default)]
pub struct Guests(Arc<Mutex<Vec<Guest>>>);

type Guest = (Visit, JoinHandle<Done>);

impl Guests {
    /// Lets one come when the stage is set.
    pub fn invite(&self, url: &str, habits: &'static [Habit]) -> Entrance {
        let (guests, url) = (self.clone(), url.to_owned());
        Arc::new(move |stage: &Stage| {
            for habit in habits {
                let visit =
                    Visit { url: url.clone(), stage: stage.clone(), stop: Arc::default(), times: Arc::default() };
                let task = tokio::spawn(habit(visit.clone()));
                guests.0.lock().unwrap().push((visit, task));
            }
        })
    }

    /// They leave; none may have had a statement that failed, and each must have been there.
    pub async fn leave(&self) {
        let guests = std::mem::take(&mut *self.0.lock().unwrap());
        assert!(!guests.is_empty(), "nobody came");
        for (visit, task) in guests {
            visit.stop.store(true, Ordering::Relaxed);
            task.await.unwrap().unwrap_or_else(|e| panic!("a neighbour's statement failed: {e}"));
            assert!(visit.times.load(Ordering::Relaxed) > 0, "a neighbour came and did nothing");
        }
    }
}

impl Visit {
    fn stays(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn did_it(&self) {
        self.times.fetch_add(1, Ordering::Relaxed);
    }

    /// Shorter when it is told to leave.
    async fn sit(&self, time: Duration) {
        let end = Instant::now() + time;
        while self.stays() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether it could have been the plan that took a name away: neighbours know no more than the names of the old version.
    fn may_miss(&self, error: &sqlx::Error) -> bool {
        let code = error.as_database_error().and_then(|e| e.code().map(|c| c.into_owned())).unwrap_or_default();
        !self.stage.old_lives.load(Ordering::Relaxed) && ["42P01", "42703"].contains(&code.as_str())
    }
}

/// Connects under a name that must show up where somebody is waited for.
pub async fn connect(url: &str, name: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().unwrap();
    options.application_name(name).connect().await.unwrap()
}

async fn run(c: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(c).await.map(drop)
}

/// The user's tables at this moment, quoted.
async fn tables(c: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let sql = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^(pg_|information_|schemadiff)' \
               ORDER BY 1";
    let rows = sqlx::raw_sql(sql).fetch_all(c).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

fn quoted(table: &ObjectName) -> String {
    let part = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    format!("{}.{}", part(table.schema.as_deref().unwrap_or("public")), part(&table.name))
}

/// Has written to every table and sits in its transaction.
pub fn sits_in_a_transaction(visit: Visit) -> Doing {
    Box::pin(async move {
        let mut c = connect(&visit.url, "the sitter").await;
        while visit.stays() {
            let written = async {
                run(&mut c, "BEGIN").await?;
                for table in tables(&mut c).await? {
                    run(&mut c, &format!("LOCK TABLE {table} IN ROW EXCLUSIVE MODE")).await?;
                }
                visit.did_it();
                visit.sit(SITS).await;
                run(&mut c, "COMMIT").await
            };
            match written.await {
                Err(e) if visit.may_miss(&e) => run(&mut c, "ROLLBACK").await.map_err(|e| e.to_string())?,
                other => other.map_err(|e| e.to_string())?,
            }
            visit.sit(Duration::from_millis(500)).await;
        }
        Ok(())
    })
}

/// Has locked rows that nobody else wants and sits in its transaction.
pub fn sits_on_rows(visit: Visit) -> Doing {
    Box::pin(async move {
        let mut c = connect(&visit.url, "the row sitter").await;
        while visit.stays() {
            let locked = async {
                run(&mut c, "BEGIN").await?;
                for (table, keys) in &visit.stage.bystanders {
                    let keys: Vec<_> = keys.iter().step_by(3).filter_map(|key| key.first().cloned()).collect();
                    if !keys.is_empty() {
                        let sql =
                            format!("SELECT id FROM {} WHERE id IN ({}) FOR UPDATE", quoted(table), keys.join(", "));
                        run(&mut c, &sql).await?;
                    }
                }
                visit.did_it();
                visit.sit(SITS / 4).await;
                run(&mut c, "COMMIT").await
            };
            match locked.await {
                Err(e) if visit.may_miss(&e) => run(&mut c, "ROLLBACK").await.map_err(|e| e.to_string())?,
                other => other.map_err(|e| e.to_string())?,
            }
            visit.sit(Duration::from_millis(300)).await;
        }
        Ok(())
    })
}

/// Reads something else, in a snapshot that it keeps.
pub fn keeps_a_snapshot(visit: Visit) -> Doing {
    Box::pin(async move {
        let mut c = connect(&visit.url, "the reader").await;
        while visit.stays() {
            let read = async {
                run(&mut c, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_description").await?;
                visit.did_it();
                visit.sit(SITS).await;
                run(&mut c, "COMMIT").await
            };
            read.await.map_err(|e| e.to_string())?;
            visit.sit(Duration::from_millis(200)).await;
        }
        Ok(())
    })
}

/// Writes its own rows in one table after the other, in no particular order and with pauses: whoever takes locks on the way
/// and waits for the next meets it in a circle. The server ends one of the two; it must never be this one.
fn in_no_order(visit: Visit, order: fn(&mut Vec<String>)) -> Doing {
    Box::pin(async move {
        let mut c = connect(&visit.url, "the careless writer").await;
        while visit.stays() {
            let mut own: Vec<String> = Vec::new();
            for (table, keys) in &visit.stage.bystanders {
                let keys = keys.iter().filter_map(|key| key.first());
                own.extend(keys.map(|key| format!("UPDATE {} SET id = id WHERE id = {key}", quoted(table))));
            }
            order(&mut own);
            let written = async {
                run(&mut c, "BEGIN").await?;
                for sql in own.iter().take(6) {
                    run(&mut c, sql).await?;
                    visit.sit(Duration::from_millis(70)).await;
                }
                run(&mut c, "COMMIT").await
            };
            match written.await {
                Err(e) if visit.may_miss(&e) => run(&mut c, "ROLLBACK").await.map_err(|e| e.to_string())?,
                other => other.map_err(|e| e.to_string())?,
            }
            visit.did_it();
            visit.sit(Duration::from_millis(10)).await;
        }
        Ok(())
    })
}

/// Parents first, from the last row backwards.
pub fn writes_parents_first(visit: Visit) -> Doing {
    in_no_order(visit, |own| {
        let half = own.len() / 2;
        *own = own.iter().take(half).rev().step_by(4).chain(own.iter().skip(half).rev().step_by(4)).cloned().collect();
        interleave(own);
    })
}

/// Children first. Its rows are other ones.
pub fn writes_children_first(visit: Visit) -> Doing {
    in_no_order(visit, |own| {
        *own = own.iter().skip(1).step_by(4).rev().cloned().collect();
        interleave(own);
    })
}

/// One from the front, one from the middle.
fn interleave(own: &mut Vec<String>) {
    let back = own.split_off(own.len() / 2);
    *own = std::mem::take(own).into_iter().zip(back).flat_map(|(a, b)| [a, b]).collect();
}

/// Left behind, unfinished, the index that the plan is about to build.
pub fn left_invalid_indexes(visit: Visit) -> Doing {
    Box::pin(async move {
        let mut c = connect(&visit.url, "the one that gave up").await;
        let sql = "CREATE INDEX users_email ON users (email, age); \
                   UPDATE pg_index SET indisvalid = false \
                   WHERE indexrelid = 'users_email'::regclass";
        run(&mut c, sql).await.map_err(|e| e.to_string())?;
        visit.did_it();
        Ok(())
    })
}

/// The port of the standby that [`reads_on_the_standby`] reads on.
pub static STANDBY: AtomicU64 = AtomicU64::new(0);

/// Reads, on a standby, what the old version knows.
pub fn reads_on_the_standby(visit: Visit) -> Doing {
    Box::pin(async move {
        let options: PgConnectOptions = visit.url.parse().unwrap();
        let port = u16::try_from(STANDBY.load(Ordering::Relaxed)).unwrap();
        let mut c = options.port(port).connect().await.map_err(|e| e.to_string())?;
        let statements = ["SELECT id, org_id, email, age FROM users ORDER BY id LIMIT 50", "SELECT id, name FROM orgs"];
        while visit.stays() {
            for sql in statements {
                match sqlx::query(sql).fetch_all(&mut c).await {
                    Ok(rows) => assert!(!rows.is_empty(), "the standby has no rows"),
                    Err(e) if visit.may_miss(&e) => {}
                    Err(e) => return Err(format!("on the standby: {e}")),
                }
            }
            visit.did_it();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    })
}
