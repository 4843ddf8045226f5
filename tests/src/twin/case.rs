//! One operation, given as the SQL of the schema before and after it, planned and run with old and new code side by side.

use std::{collections::BTreeMap, sync::Arc};

use cargo_schemadiff::{
    dialect::{Connection, ddl},
    diff::{DiffOptions, Hints, add_rename, diff},
    planner::{PlanRequest, plan},
};
use schemadiff::{
    model::{Dialect, Schema, between},
    plan::{Action, Overlap, Plan, Strategy},
};

use super::{APP, Mapping, PARENT, Report, Scenario, Values, introspect, run, value::Value, world::Derivation};
use crate::engine::TestDatabase;

/// An operation.
#[derive(Clone, Default)]
pub struct Case {
    /// SQL of the schema before, `{id}` being a numbered primary key column.
    pub old: String,
    /// SQL of the schema after.
    pub new: String,
    /// `users.fullname=users.display_name`, `users=customers`.
    pub renames: Vec<String>,
    /// Column (`users.email_key`) and the expression that fills it.
    pub backfills: Vec<(String, String)>,
    /// What may be dropped.
    pub drops: Vec<String>,
    /// Column of the new version and what the harness expects in rows that the old version wrote.
    pub derivations: Vec<(String, Derivation)>,
    /// Values where the generated ones do not do.
    pub values: Option<Values>,
    /// Rows per table; 0 means 300.
    pub rows: usize,
    /// Columns that both versions write in every insert.
    pub always_written: Vec<String>,
    /// The old version's connections are opened through the hook, and it is retired behind compatibility views.
    pub views: bool,
    /// Columns (`orders.state`) whose values the plan changes in a way that the harness does not know.
    pub uncompared: Vec<String>,
    /// The two versions cannot overlap: the new one starts after the old one is gone.
    pub no_overlap: bool,
}

impl Case {
    /// An operation that needs no hints.
    pub fn new(old: &str, new: &str) -> Self {
        Self { old: old.into(), new: new.into(), ..Self::default() }
    }

    /// With a rename.
    #[must_use]
    pub fn rename(mut self, text: &str) -> Self {
        self.renames.push(text.into());
        self
    }

    /// With a backfill.
    #[must_use]
    pub fn backfill(mut self, column: &str, expr: &str) -> Self {
        self.backfills.push((column.into(), expr.into()));
        self
    }

    /// With an acknowledged drop.
    #[must_use]
    pub fn allow_drop(mut self, name: &str) -> Self {
        self.drops.push(name.into());
        self
    }

    /// With the value of rows that the old version wrote, computed from the row.
    #[must_use]
    pub fn derive(
        mut self,
        column: &str,
        value: impl Fn(&BTreeMap<String, Value>) -> Value + Send + Sync + 'static,
    ) -> Self {
        self.derivations.push((column.into(), Arc::new(value)));
        self
    }

    /// With values for a column (by its name alone, in whichever version and table).
    #[must_use]
    pub fn values_for(mut self, column: &'static str, value: impl Fn(u64) -> Value + Send + Sync + 'static) -> Self {
        let before = self.values.take();
        self.values = Some(Arc::new(move |version, table, name, seq| {
            if name == column {
                return Some(value(seq));
            }
            before.as_ref().and_then(|values| values(version, table, name, seq))
        }));
        self
    }

    /// Both versions name the column in every insert, whatever its default.
    #[must_use]
    pub fn always_writes(mut self, column: &str) -> Self {
        self.always_written.push(column.into());
        self
    }

    /// The plan changes the values of the column.
    #[must_use]
    pub fn uncompared(mut self, column: &str) -> Self {
        self.uncompared.push(column.into());
        self
    }

    /// The old version is retired behind compatibility views.
    #[must_use]
    pub fn behind_views(mut self) -> Self {
        self.views = true;
        self
    }

    /// The new version starts after the old one is gone.
    #[must_use]
    pub fn without_overlap(mut self) -> Self {
        self.no_overlap = true;
        self
    }

    /// Plans and runs it, and checks everything there is to check.
    pub async fn run(&self, dialect: Dialect) -> Report {
        let db = TestDatabase::new(dialect);
        let scenario = Scenario { abort_everywhere: true, ..self.scenario(&db).await };
        let report = run(&db, &scenario).await;
        self.judge(&db, &scenario, &report).await;
        report
    }

    /// Makes the schema before in an empty database, and plans.
    pub async fn scenario(&self, db: &TestDatabase) -> Scenario {
        let dialect = db.dialect;
        create(db, &self.old).await;
        let old = introspect(&db.url).await;
        let new = {
            let db = database(dialect, &self.new).await;
            introspect(&db.url).await
        };
        let mut plan = self.plan(db, &old, &new).await;
        // Small batches: the load must meet many borders between them.
        for step in &mut plan.steps {
            if let Action::Backfill(backfill) = &mut step.action {
                backfill.batch_size = backfill.batch_size.min(60);
            }
        }
        // What runs is what is read from the file.
        let text = plan.to_toml().unwrap();
        let plan = Plan::from_toml(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        Scenario {
            mapping: self.mapping(&old, &new),
            values: self.values.clone(),
            rows: if self.rows == 0 { 300 } else { self.rows },
            always_written: self.always_written.clone(),
            compare_with_server: true,
            hook: self.views,
            ..Scenario::new(old, new, plan)
        }
    }

    /// Not one failure, and the database is as it should be in the end.
    pub async fn judge(&self, db: &TestDatabase, scenario: &Scenario, report: &Report) {
        report.assert_clean();
        let (reached, new) = (introspect(&db.url).await, &scenario.new);
        assert_eq!(between(&reached, new), [], "the database is not as it should be at the end");
        let again = diff(&reached, new, &Hints::default(), &DiffOptions::default()).unwrap();
        assert!(again.is_empty(), "the second diff is not empty: {again:?}");
        if !self.no_overlap {
            let steps: Vec<_> = scenario.plan.steps.iter().map(|s| (s.phase, &s.id)).collect();
            assert!(!report.steps_with_both.is_empty(), "old and new code never worked at the same time: {steps:?}");
        }
    }

    fn hints(&self, old: &Schema, new: &Schema) -> Hints {
        let mut hints = Hints::default();
        for rename in &self.renames {
            add_rename(&mut hints, rename, old, new).unwrap_or_else(|e| panic!("{e}"));
        }
        for (column, expr) in &self.backfills {
            hints.backfills.insert(path(column), expr.clone());
        }
        hints
    }

    /// For the server that it will run on.
    async fn plan(&self, db: &TestDatabase, old: &Schema, new: &Schema) -> Plan {
        let version = Connection::open(&db.url).await.unwrap().server().version;
        let options = DiffOptions { allowed_drops: self.drops.iter().cloned().collect(), ..DiffOptions::default() };
        let request = PlanRequest {
            current: old,
            desired: new,
            hints: &self.hints(old, new),
            options: &options,
            ddl: &*ddl(db.dialect, version).unwrap(),
            sizes: &BTreeMap::new(),
            id: "20240101000000_case",
            parent: Some(PARENT),
            strategy: &self.strategy(),
        };
        plan(&request).unwrap_or_else(|e| panic!("{e}"))
    }

    fn strategy(&self) -> Strategy {
        match self.views {
            true => Strategy { way: Overlap::Views, why: "the case says so".into(), apps: vec![APP.into()] },
            false => Strategy::synced("the case says so"),
        }
    }

    fn mapping(&self, old: &Schema, new: &Schema) -> Mapping {
        let hints = self.hints(old, new);
        Mapping {
            tables: hints.renamed_tables.into_iter().map(|(new, old)| (old, new)).collect(),
            columns: hints.renamed_columns.into_iter().map(|((table, new), old)| ((table, old), new)).collect(),
            derivations: self.derivations.iter().map(|(c, d)| (path(c), Arc::clone(d))).collect(),
            uncompared: self.uncompared.iter().map(|c| path(c)).collect(),
        }
    }
}

/// `table.column`.
fn path(text: &str) -> (schemadiff::model::ObjectName, String) {
    let (table, column) = text.rsplit_once('.').unwrap();
    (table.parse().unwrap(), column.to_owned())
}

/// A fresh database with the tables of an SQL text.
pub async fn database(dialect: Dialect, sql: &str) -> TestDatabase {
    let db = TestDatabase::new(dialect);
    create(&db, sql).await;
    db
}

async fn create(db: &TestDatabase, sql: &str) {
    let key = match db.dialect {
        Dialect::Sqlite => "id integer PRIMARY KEY",
        _ => "id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
    };
    db.execute(&sql.replace("{id}", key)).await;
}
