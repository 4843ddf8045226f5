//! One connection of one version: it reads and writes the rows that it shares with one connection of the other version.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use schemadiff::model::{Dialect, ObjectName};

use super::{
    client::{Client, Statement},
    statements::{Statements, TableStatements},
    value::{Value, generate},
    world::{Cell, Key, Row, Version, View, World},
};

/// Chooses values where the generated ones do not do (checks, enumerations): version, table and column as that version
/// names them, and a number that nobody else has.
pub type Values = Arc<dyn Fn(Version, &ObjectName, &str, u64) -> Option<Value> + Send + Sync>;

/// A statement that failed, or a row that was not what it must be.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Who.
    pub version: Version,
    /// What was under way.
    pub during: String,
    /// The statement.
    pub sql: String,
    /// What went wrong.
    pub error: String,
}

/// What all workers of a run share.
#[derive(Default)]
pub struct Shared {
    /// The step under way.
    pub during: Mutex<String>,
    /// What failed.
    pub failures: Mutex<Vec<Failure>>,
    /// Statements sent, old and new.
    pub statements: [AtomicU64; 2],
    /// The slowest statement of the current measurement.
    pub slowest: Mutex<Duration>,
}

impl Shared {
    fn fail(&self, version: Version, sql: &str, error: String) {
        let during = self.during.lock().unwrap().clone();
        let mut failures = self.failures.lock().unwrap();
        // Enough to understand what goes wrong; every further one says the same.
        if failures.len() < 50 {
            failures.push(Failure { version, during, sql: sql.to_owned(), error });
        }
    }
}

/// A worker.
pub struct Worker {
    pub(super) dialect: Dialect,
    pub(super) client: Client,
    pub(super) view: Arc<View>,
    pub(super) statements: Arc<Statements>,
    pub(super) world: Arc<tokio::sync::Mutex<World>>,
    pub(super) shared: Arc<Shared>,
    pub(super) values: Option<Values>,
    /// Operations done.
    pub(super) rounds: Arc<AtomicU64>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) random: u64,
    /// Whether it sends statements with a star, which only views protect.
    pub(super) stars: bool,
}

type Given = BTreeMap<String, Value>;

impl Worker {
    /// Works until it is told to stop.
    pub async fn run(mut self) {
        let statements = Arc::clone(&self.statements);
        let world = Arc::clone(&self.world);
        while !self.stop.load(Ordering::Relaxed) {
            for table in statements.tables.iter().filter(|t| !t.key.is_empty()) {
                let mut world = world.lock().await;
                self.operation(table, &mut world).await;
                drop(world);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            self.rounds.fetch_add(1, Ordering::Relaxed);
            // A version without tables has nothing else to wait for.
            tokio::task::yield_now().await;
            if statements.tables.is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 11
    }

    async fn operation(&mut self, t: &TableStatements, world: &mut World) {
        let shared = self.view.mapping.table(self.view.version, &t.table.name);
        let few = world.count(&shared) < 5;
        if self.stars && self.random().is_multiple_of(3) {
            self.star(t, world).await;
        }
        match self.random() % 12 {
            _ if few => drop(self.insert(t, &t.insert_returning, &t.writable, world).await),
            0 => drop(self.insert(t, &t.insert_required, &t.required, world).await),
            1 if t.key.iter().all(|k| t.writable.contains(k)) => {
                self.insert(t, &t.insert, &t.writable, world).await;
            }
            1 | 2 => drop(self.insert(t, &t.insert_returning, &t.writable, world).await),
            3 => self.delete(t, world).await,
            4 => self.upsert(t, world).await,
            5 => self.join(t, world).await,
            6 => self.transaction(t, world).await,
            7 | 8 => self.select(t, world).await,
            _ => self.update(t, world).await,
        }
    }

    /// Whatever comes back with a star has the columns that this version knows and no other, in the order of the first time.
    async fn star(&mut self, t: &TableStatements, world: &World) {
        let Some((_, key, _)) = self.pick(t, world).filter(|_| !t.stars.is_empty()) else { return };
        let at = self.random() as usize % t.stars.len();
        let statement = &t.stars[at];
        let result = self.client.star(statement, &key).await;
        self.shared.statements[self.view.version as usize].fetch_add(1, Ordering::Relaxed);
        let expected: Vec<_> = t.table.columns.iter().map(|c| c.name.clone()).collect();
        match result {
            Ok(rows) if rows.iter().all(|names| *names == expected) => {}
            Ok(rows) => self.wrong(statement, format!("it returns {:?}, expected {expected:?}", rows.first())),
            Err(e) => self.wrong(statement, e.to_string()),
        }
    }

    /// Sends a statement, measures it and notes a failure.
    async fn send(&mut self, statement: &Statement, values: &[Value]) -> Option<Vec<Vec<Value>>> {
        let begin = Instant::now();
        let result = self.client.run(statement, values).await;
        let took = begin.elapsed();
        {
            let mut slowest = self.shared.slowest.lock().unwrap();
            *slowest = took.max(*slowest);
        }
        self.shared.statements[self.view.version as usize].fetch_add(1, Ordering::Relaxed);
        match result {
            Ok(rows) => Some(rows),
            Err(e) => {
                self.shared.fail(self.view.version, &statement.sql, format!("{e} with {values:?}"));
                None
            }
        }
    }

    async fn raw(&mut self, sql: &str) -> bool {
        let result = self.client.raw(sql).await;
        self.shared.statements[self.view.version as usize].fetch_add(1, Ordering::Relaxed);
        if let Err(e) = &result {
            self.shared.fail(self.view.version, sql, e.to_string());
        }
        result.is_ok()
    }

    fn wrong(&self, statement: &Statement, problem: String) {
        self.shared.fail(self.view.version, &statement.sql, problem);
    }

    /// Values for the columns, for a new row or for one that is there; `None` when there are none that a foreign key or
    /// a unique key allows.
    fn given(
        &mut self,
        t: &TableStatements,
        columns: &[String],
        world: &mut World,
        row: Option<(&Key, &Row)>,
    ) -> Option<Given> {
        let view = Arc::clone(&self.view);
        let shared = view.mapping.table(view.version, &t.table.name);
        for _ in 0..8 {
            let given = self.chosen(t, columns, world)?;
            let mut changed = row.map(|(_, row)| row.clone()).unwrap_or_default();
            for (column, value) in &given {
                changed.insert(view.mapping.column(view.version, &shared, column), Cell::Known(value.clone()));
            }
            if !world.is_taken(&shared, &changed, row.map(|(key, _)| key)) {
                return Some(given);
            }
        }
        None
    }

    /// Values for the columns, parents first; `None` when a parent row that they need is not there.
    fn chosen(&mut self, t: &TableStatements, columns: &[String], world: &mut World) -> Option<Given> {
        let (version, view) = (self.view.version, Arc::clone(&self.view));
        let shared = view.mapping.table(version, &t.table.name);
        let seq = world.number();
        let mut given = Given::new();
        for name in columns {
            let column = t.table.column(name)?;
            let chosen = self.values.as_ref().and_then(|values| values(version, &t.table.name, name, seq));
            let value = match chosen {
                Some(value) => value,
                None if column.nullable && !t.never_null.contains(name) && self.random().is_multiple_of(5) => None,
                None if column.identity.is_some() => Some(format!("-{seq}")),
                None => Some(generate(self.dialect, column, t.labels.get(name).map(Vec::as_slice), seq)),
            };
            given.insert(name.clone(), value);
        }
        for reference in view.references.iter().filter(|r| r.child == shared) {
            let own: Vec<_> = columns
                .iter()
                .filter_map(|c| {
                    let at = reference.columns.iter().position(|r| *r == view.mapping.column(version, &shared, c))?;
                    Some((c, at))
                })
                .collect();
            if own.is_empty() {
                continue;
            }
            let at = self.random();
            let parent = world.pick(&reference.parent, at).map(|(_, row)| row);
            for (column, at) in own {
                let value = match parent.and_then(|row| row.get(&reference.parent_columns[at])) {
                    Some(Cell::Known(value)) => value.clone(),
                    _ => None,
                };
                if value.is_none() && !t.table.column(column)?.nullable {
                    return None;
                }
                given.insert(column.clone(), value);
            }
        }
        Some(given)
    }

    /// Inserts; the statement returns the row unless it has no result columns.
    pub(super) async fn insert(
        &mut self,
        t: &TableStatements,
        statement: &Statement,
        columns: &[String],
        world: &mut World,
    ) -> Option<()> {
        let given = self.given(t, columns, world, None)?;
        let values: Vec<_> = columns.iter().map(|c| given[c].clone()).collect();
        let rows = self.send(statement, &values).await?;
        let mut row = self.view.inserted(&t.table.name, &given);
        if !t.key.is_empty() && !statement.columns.is_empty() {
            let [read] = rows.as_slice() else {
                self.wrong(statement, format!("{} rows came back, one was inserted", rows.len()));
                return None;
            };
            self.learn(t, statement, &mut row, read, false);
            // A key that the server chose is known now, and nothing changes it any more.
            self.learn_key(t, statement, read, &mut row);
        }
        let place = vec![Some(world.number().to_string())];
        self.put(t, world, place, row);
        Some(())
    }

    fn learn_key(&self, t: &TableStatements, statement: &Statement, read: &[Value], row: &mut Row) {
        let shared = self.view.mapping.table(self.view.version, &t.table.name);
        for name in &t.key {
            let at = statement.columns.iter().position(|c| c.name == *name).unwrap();
            let name = self.view.mapping.column(self.view.version, &shared, name);
            row.insert(name, Cell::Known(read[at].clone()));
        }
    }

    /// The values by which this version finds the row, when they are known: the other version may have another key.
    fn key_in(&self, t: &TableStatements, row: &Row) -> Option<Key> {
        let shared = self.view.mapping.table(self.view.version, &t.table.name);
        let value = |name: &String| match row.get(&self.view.mapping.column(self.view.version, &shared, name)) {
            Some(Cell::Known(value)) => Some(value.clone()),
            _ => None,
        };
        t.key.iter().map(value).collect()
    }

    fn put(&self, t: &TableStatements, world: &mut World, key: Key, row: Row) {
        let shared = self.view.mapping.table(self.view.version, &t.table.name);
        world.put(&shared, &key, Some(row));
    }

    fn learn(&self, t: &TableStatements, statement: &Statement, row: &mut Row, read: &[Value], learn: bool) {
        let columns: Vec<_> = statement.columns.iter().map(|c| c.name.clone()).collect();
        if let Err(problem) = self.view.compare(&t.table.name, row, &columns, read, learn) {
            self.wrong(statement, problem);
        }
    }

    /// A row, with its place among the rows of the owner and the values by which this version finds it.
    fn pick(&mut self, t: &TableStatements, world: &World) -> Option<(Key, Key, Row)> {
        let shared = self.view.mapping.table(self.view.version, &t.table.name);
        let at = self.random();
        let (place, row) = world.pick(&shared, at)?;
        Some((place.clone(), self.key_in(t, row)?, row.clone()))
    }

    /// Reads one row by a statement whose parameters are the key, and compares it.
    async fn read(
        &mut self,
        t: &TableStatements,
        statement: &Statement,
        (place, key): (&Key, &Key),
        world: &mut World,
    ) -> Option<Row> {
        let shared = self.view.mapping.table(self.view.version, &t.table.name);
        let rows = self.send(statement, key).await?;
        let mut row = world.row(&shared, place)?.clone();
        match rows.as_slice() {
            [read] => self.learn(t, statement, &mut row, read, true),
            _ => self.wrong(statement, format!("{} rows have the key {key:?}, one was written", rows.len())),
        }
        self.put(t, world, place.clone(), row.clone());
        Some(row)
    }

    async fn select(&mut self, t: &TableStatements, world: &mut World) {
        if let Some((place, key, _)) = self.pick(t, world) {
            self.read(t, &t.select, (&place, &key), world).await;
        }
    }

    async fn join(&mut self, t: &TableStatements, world: &mut World) {
        let at = self.random() as usize;
        let Some((place, key, _)) = self.pick(t, world) else { return };
        if !t.joins.is_empty() {
            self.read(t, &t.joins[at % t.joins.len()], (&place, &key), world).await;
        }
    }

    async fn update(&mut self, t: &TableStatements, world: &mut World) -> () {
        let Some((place, key, mut row)) = self.pick(t, world) else { return };
        if t.updates.is_empty() {
            return;
        }
        let (column, statement) = &t.updates[self.random() as usize % t.updates.len()];
        let Some(given) = self.given(t, std::slice::from_ref(column), world, Some((&place, &row))) else { return };
        let values: Vec<_> = std::iter::once(given[column].clone()).chain(key.iter().cloned()).collect();
        if self.send(statement, &values).await.is_some() {
            self.view.updated(&t.table.name, &mut row, &given);
            self.put(t, world, place, row);
        }
    }

    async fn upsert(&mut self, t: &TableStatements, world: &mut World) {
        let (Some(statement), Some((place, key, mut row))) = (&t.upsert, self.pick(t, world)) else { return };
        let fresh = self.random().is_multiple_of(3);
        let onto = if fresh { None } else { Some((&place, &row)) };
        let Some(mut given) = self.given(t, &t.writable, world, onto) else { return };
        if !fresh {
            given.extend(t.key.iter().cloned().zip(key.clone()));
            // What another row references keeps its value.
            for (name, value) in self.referenced_values(t, &row) {
                given.insert(name, value);
            }
        }
        let values: Vec<_> = t.writable.iter().map(|c| given[c].clone()).collect();
        if self.send(statement, &values).await.is_none() {
            return;
        }
        if fresh {
            let place = vec![Some(world.number().to_string())];
            row = self.view.inserted(&t.table.name, &given);
            return self.put(t, world, place, row);
        }
        self.view.updated(&t.table.name, &mut row, &given);
        self.put(t, world, place, row);
    }

    fn referenced_values(&self, t: &TableStatements, row: &Row) -> Vec<(String, Value)> {
        let version = self.view.version;
        let shared = self.view.mapping.table(version, &t.table.name);
        let mut values = Vec::new();
        for name in &t.writable {
            let in_new = self.view.mapping.column(version, &shared, name);
            let mut references = self.view.references.iter().filter(|r| r.parent == shared);
            if references.any(|r| r.parent_columns.contains(&in_new))
                && let Some(Cell::Known(value)) = row.get(&in_new)
            {
                values.push((name.clone(), value.clone()));
            }
        }
        values
    }

    async fn delete(&mut self, t: &TableStatements, world: &mut World) {
        let Some((place, key, row)) = self.pick(t, world) else { return };
        if self.view.is_referenced(world, &t.table.name, &row) {
            return;
        }
        if self.send(&t.delete, &key).await.is_some() {
            let shared = self.view.mapping.table(self.view.version, &t.table.name);
            world.put(&shared, &place, None);
        }
    }

    /// Reads (locking where the engine can), updates and inserts in one transaction; one in three is rolled back.
    async fn transaction(&mut self, t: &TableStatements, world: &mut World) {
        let Some((place, key, _)) = self.pick(t, world) else { return };
        let begin = if self.dialect == Dialect::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
        if !self.raw(begin).await {
            return;
        }
        world.begin();
        let read = t.select_for_update.as_ref().unwrap_or(&t.select);
        let mut whole = self.read(t, read, (&place, &key), world).await.is_some();
        if whole && !t.updates.is_empty() {
            let failed_before = self.shared.failures.lock().unwrap().len();
            self.update(t, world).await;
            self.insert(t, &t.insert_returning, &t.writable, world).await;
            whole = self.shared.failures.lock().unwrap().len() == failed_before;
        }
        let commit = whole && !self.random().is_multiple_of(3);
        let ended = self.raw(if commit { "COMMIT" } else { "ROLLBACK" }).await;
        world.end(ended && commit);
    }

    /// Reads whole tables and compares them with what all owners together know.
    pub async fn verify(&mut self, worlds: &mut [tokio::sync::OwnedMutexGuard<World>]) -> u64 {
        let statements = Arc::clone(&self.statements);
        let mut rows_seen = 0;
        for t in statements.tables.iter().filter(|t| !t.key.is_empty()) {
            let Some(rows) = self.send(&t.select_all, &[]).await else { continue };
            rows_seen += rows.len() as u64;
            let shared = self.view.mapping.table(self.view.version, &t.table.name);
            let expected: usize = worlds.iter().map(|w| w.count(&shared)).sum();
            if rows.len() != expected {
                self.wrong(&t.select_all, format!("{} rows are there, {expected} were written", rows.len()));
            }
            let mut places: BTreeMap<Key, (usize, Key)> = BTreeMap::new();
            for (owner, world) in worlds.iter().enumerate() {
                let keyed = world.rows(&shared).filter_map(|(place, row)| Some((self.key_in(t, row)?, place)));
                places.extend(keyed.map(|(key, place)| (key, (owner, place.clone()))));
            }
            let mut strangers = expected - places.len().min(expected);
            for read in &rows {
                let mut keys = Row::new();
                self.learn_key(t, &t.select_all, read, &mut keys);
                let key = self.key_in(t, &keys).unwrap_or_default();
                let place = places.get(&key).cloned();
                let row =
                    place.and_then(|(owner, place)| Some((worlds[owner].row(&shared, &place)?.clone(), owner, place)));
                match row {
                    Some((mut row, owner, place)) => {
                        self.learn(t, &t.select_all, &mut row, read, true);
                        worlds[owner].put(&shared, &place, Some(row));
                    }
                    // A row whose key of this version nobody has read yet.
                    None if strangers > 0 => strangers -= 1,
                    None => self.wrong(&t.select_all, format!("nobody wrote a row with the key {key:?}")),
                }
            }
        }
        rows_seen
    }
}
