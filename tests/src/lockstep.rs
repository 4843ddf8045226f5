//! Migrations for tests of the runtime: hand-written steps, rendered for each engine.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use cargo_schemadiff::dialect::{Ddl, ddl};
use schemadiff::{
    embed::Migrations,
    lockstep::{Event, Progress},
    model::{
        Column, Dialect, Fingerprint, Index, IndexPart, ObjectName, PrimaryKey, Schema, Table, between, version_name,
    },
    plan::{Action, Assignment, Envelope, KeyColumn, PLAN_FORMAT, Phase, Plan, SNAPSHOT_FORMAT, Snapshot, Step},
};

/// The first migration: `users(id, fullname)`.
pub const FIRST: &str = "20260101000000_users";
/// The second: `email_key` is added, filled and indexed, `fullname` is dropped.
pub const SECOND: &str = "20260102000000_email_key";
/// The third: the index is dropped.
pub const THIRD: &str = "20260103000000_no_index";

/// A renderer for the engine's version under test.
pub fn renderer(dialect: Dialect) -> Box<dyn Ddl> {
    let version = if dialect == Dialect::Sqlite { 3_051_003 } else { 150_000 };
    ddl(dialect, version).unwrap()
}

/// The table.
pub fn users() -> ObjectName {
    ObjectName::new("users")
}

fn column(name: &str, ty: &str, nullable: bool) -> Column {
    Column { nullable, ..Column::new(name, ty) }
}

fn text(dialect: Dialect) -> &'static str {
    if dialect == Dialect::Sqlite { "TEXT" } else { "text" }
}

fn key_type(dialect: Dialect) -> &'static str {
    if dialect == Dialect::Sqlite { "INTEGER" } else { "bigint" }
}

/// The schema of a table `users` with these columns beside `id`.
pub fn users_with(dialect: Dialect, columns: &[&str]) -> Schema {
    table_with(dialect, &users(), columns)
}

/// As [`users_with`], of any name.
pub fn table_with(dialect: Dialect, name: &ObjectName, columns: &[&str]) -> Schema {
    let mut table = Table::new(name.clone());
    table.columns.push(column("id", key_type(dialect), false));
    table.columns.extend(columns.iter().map(|name| column(name, text(dialect), true)));
    table.primary_key = Some(PrimaryKey::over(None, vec!["id".to_owned()]));
    Schema { tables: [(name.clone(), table.into())].into(), ..Schema::default() }
}

/// What the version before the second migration uses.
pub fn old_code(dialect: Dialect) -> Schema {
    users_with(dialect, &["fullname"])
}

/// What the version with the second migration uses.
pub fn new_code(dialect: Dialect) -> Schema {
    users_with(dialect, &["email_key"])
}

/// The name of the version with this newest migration and these structs.
pub fn version(migration: &str, code: &Schema) -> String {
    version_name(migration, &Fingerprint::of(code))
}

/// A step with nothing in it but its place.
pub fn step(id: &str, phase: Phase, envelope: Envelope, statements: Vec<String>, undo: Vec<String>) -> Step {
    Step {
        id: id.to_owned(),
        phase,
        title: id.to_owned(),
        cause: "a test".to_owned(),
        envelope,
        action: Action::Sql(statements),
        locks: Vec::new(),
        rewrites: false,
        scans: false,
        rebuilds_indexes: false,
        keeps: Vec::new(),
        probes: Vec::new(),
        hazards: Vec::new(),
        lock_timeout_ms: 200,
        statement_timeout_ms: 5000,
        done_when: None,
        clean_up: None,
        stopped_by: None,
        undoable: !undo.is_empty(),
        undo,
        undo_proof: Vec::new(),
        undo_takes: Vec::new(),
        only_while_small: Vec::new(),
        undo_loses: Vec::new(),
        undo_probes: Vec::new(),
        effects: Vec::new(),
    }
}

/// A plan out of steps and the schema after each.
pub fn plan(dialect: Dialect, id: &str, parent: Option<&str>, before: &Schema, steps: Vec<(Step, Schema)>) -> Plan {
    let mut now = before.clone();
    let steps = steps
        .into_iter()
        .map(|(mut step, after)| {
            step.effects = between(&now, &after);
            now = after;
            step
        })
        .collect();
    let mut plan = Plan {
        format: PLAN_FORMAT,
        id: id.to_owned(),
        dialect,
        parent: parent.map(ToOwned::to_owned),
        before: Fingerprint::of(before),
        after: Fingerprint::of(&now),
        strategy: None,
        allowed_drops: Vec::new(),
        notes: Vec::new(),
        checksum: String::new(),
        steps,
    };
    plan.checksum = plan.compute_checksum();
    plan
}

/// The index of the second migration.
pub const INDEX: &str = "users_email_key_idx";

fn with_index(mut schema: Schema) -> Schema {
    let part = IndexPart { column: Some("email_key".to_owned()), ..IndexPart::default() };
    let index = Index { parts: vec![part], ..Index::default() };
    schema.tables.get_mut(&users()).unwrap().indexes.insert(INDEX.to_owned(), index);
    schema
}

/// The first migration.
pub fn first(dialect: Dialect) -> Plan {
    let (ddl, after) = (renderer(dialect), old_code(dialect));
    let (create, drop) = (ddl.create_table(&after.tables[&users()]), ddl.drop_table(&users()));
    let create = step("01-create-table-users", Phase::Expand, Envelope::Transaction, create, drop);
    plan(dialect, FIRST, None, &Schema::default(), vec![(create, after)])
}

/// The second migration. `slow` makes each batch take a while.
pub fn second(dialect: Dialect) -> Plan {
    let ddl = renderer(dialect);
    let both = users_with(dialect, &["fullname", "email_key"]);
    let indexed = with_index(both.clone());
    let after = with_index(new_code(dialect));

    let add = ddl.add_column(&users(), both.column(&users(), "email_key").unwrap());
    let add = step(
        "01-add-column-users-email_key",
        Phase::Expand,
        Envelope::Transaction,
        add,
        ddl.drop_column(&users(), "email_key"),
    );
    let key = [KeyColumn { name: "id".to_owned(), ty: key_type(dialect).to_owned() }];
    let set = [Assignment { column: "email_key".to_owned(), expr: "lower(fullname)".to_owned(), not_null: false }];
    let mut backfill = ddl.backfill(&users(), &key, &set, "email_key IS NULL AND fullname IS NOT NULL");
    backfill.batch_size = 100;
    let mut fill = step("02-backfill-users-email_key", Phase::Backfill, Envelope::Batches, Vec::new(), Vec::new());
    fill.action = Action::Backfill(backfill);
    fill.undoable = true;

    let index = &indexed.tables[&users()].indexes[INDEX];
    let envelope = if dialect == Dialect::Sqlite { Envelope::Transaction } else { Envelope::Concurrent };
    let create = ddl.create_index(&users(), INDEX, index, true);
    let drop = ddl.drop_index(&users(), INDEX, true);
    let mut create = step("03-create-index", Phase::Backfill, envelope, create, drop);
    create.done_when = Some(ddl.index_is_valid(&users(), INDEX, index));
    if dialect != Dialect::Sqlite {
        create.clean_up = ddl.clear_index(&users(), INDEX, index);
        create.stopped_by = ddl.index_name_taken(&users(), INDEX, index);
        create.lock_timeout_ms = 0;
        create.statement_timeout_ms = 0;
    }
    let gone = ddl.drop_column(&users(), "fullname");
    let gone = step("04-drop-column-users-fullname", Phase::Contract, Envelope::Transaction, gone, Vec::new());
    let steps = vec![(add, both.clone()), (fill, both), (create, indexed), (gone, after)];
    plan(dialect, SECOND, Some(FIRST), &old_code(dialect), steps)
}

/// A third: the index is dropped.
pub fn third(dialect: Dialect) -> Plan {
    let (ddl, before, after) = (renderer(dialect), with_index(new_code(dialect)), new_code(dialect));
    let index = &before.tables[&users()].indexes[INDEX];
    let mut drop =
        step("01-drop-index", Phase::Contract, Envelope::Concurrent, ddl.drop_index(&users(), INDEX, true), Vec::new());
    drop.done_when = Some(ddl.index_is_gone(&users(), INDEX));
    drop.stopped_by = ddl.index_name_taken(&users(), INDEX, index);
    (drop.lock_timeout_ms, drop.statement_timeout_ms) = (0, 0);
    plan(dialect, THIRD, Some(SECOND), &before, vec![(drop, after)])
}

/// The lock file after these plans.
pub fn lock(dialect: Dialect, plans: &[Plan]) -> Snapshot {
    let mut schema = Schema::default();
    for step in plans.iter().flat_map(|p| &p.steps) {
        step.apply_to(&mut schema).unwrap();
    }
    let head = plans.last().map(|p| p.id.clone());
    Snapshot { format: SNAPSHOT_FORMAT, dialect, head, sources: Default::default(), schema }
}

/// Migrations out of plans.
pub fn migrations(dialect: Dialect, plans: &[Plan]) -> Migrations {
    Migrations::from_plans(&lock(dialect, plans), plans).unwrap()
}

/// Migrations as files.
pub fn write(dir: &Path, dialect: Dialect, plans: &[Plan]) {
    for plan in plans {
        std::fs::create_dir_all(dir.join(&plan.id)).unwrap();
        std::fs::write(dir.join(&plan.id).join("plan.toml"), plan.to_toml().unwrap()).unwrap();
    }
    std::fs::write(dir.join("schemadiff.lock"), toml::to_string(&lock(dialect, plans)).unwrap()).unwrap();
}

/// Remembers what happened, as JSON.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<serde_json::Value>>>);

impl Progress for Recorder {
    fn event(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push(serde_json::to_value(event).unwrap());
    }
}

impl Recorder {
    /// Everything of one kind.
    pub fn of(&self, kind: &str) -> Vec<serde_json::Value> {
        self.0.lock().unwrap().iter().filter(|e| e["event"] == kind).cloned().collect()
    }

    /// How many there were.
    pub fn all(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// The steps that were finished.
    pub fn finished(&self) -> Vec<String> {
        self.of("step_finished").iter().map(|e| e["step"].as_str().unwrap().to_owned()).collect()
    }

    /// For the calls that take one.
    pub fn shared(&self) -> Arc<dyn Progress> {
        Arc::new(self.clone())
    }
}
