//! One pair against a server: the state is made, rows of other writers are put into it, the code's statements run.

use cargo_schemadiff::dialect::{Ddl, ddl};
use schemadiff::{
    compat::{Reason, serves, strictly_serves, types::postgres::canonical},
    model::{Check, Column, Dialect, ObjectName, Schema, Table},
};
use schemadiff_tests::twin::{
    client::{Client, Statement},
    statements::{Statements, TableStatements},
    value::{Value, generate},
};

use super::pairs::{Pair, row_literal};

/// How many pairs were served, how many not.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count {
    pub served: u32,
    pub refused: u32,
}

/// The connection that all pairs share.
pub struct Trial {
    client: Client,
    ddl: Box<dyn Ddl>,
    dialect: Dialect,
    pub count: Count,
    next: u32,
}

/// Keys of the rows that were there before the code came.
const ROWS: [&str; 2] = ["1001", "1002"];

impl Trial {
    pub async fn connect(dialect: Dialect, url: &str) -> Self {
        let client = Client::connect(dialect, url).await.unwrap();
        let version = if dialect == Dialect::Sqlite { 3_050_000 } else { 150_000 };
        Self { client, ddl: ddl(dialect, version).unwrap(), dialect, count: Count::default(), next: 0 }
    }

    /// What the server and the predicate say differently about a pair.
    pub async fn run(&mut self, pair: &Pair) -> Result<(), String> {
        // Statements are cached by their text: every pair has tables of its own.
        self.next += 1;
        let number = self.next;
        let fresh = |name: &ObjectName| ObjectName::new(format!("{}_{number}", name.name));
        let (state, code) = (renamed(&pair.state, fresh), renamed(&pair.code, fresh));
        self.raw("BEGIN").await;
        self.make(&state).await;
        let verdict = self.compare(&state, &code).await;
        self.raw("ROLLBACK").await;
        verdict
    }

    async fn compare(&mut self, state: &Schema, code: &Schema) -> Result<(), String> {
        let failed = self.failures(state, code).await;
        let told = serves(self.dialect, state, code);
        match (&told, failed.as_slice()) {
            (Ok(()), []) => self.count.served += 1,
            (Ok(()), failed) => return Err(format!("served, but:\n{}", failed.join("\n"))),
            (Err(reasons), []) => return Err(format!("not served ({reasons:?}), but every statement succeeds")),
            (Err(_), _) => {
                self.count.refused += 1;
                return Ok(());
            }
        }
        // What is not asked of a version that starts is known as well.
        let strict = strictly_serves(self.dialect, state, code).err().unwrap_or_default();
        let table = &code.tables.values().next().ok_or("no table")?;
        for column in table.columns.iter().filter(|c| c.nullable && c.generated.is_none()) {
            let expected =
                strict.iter().any(|r| matches!(r, Reason::RefusesNull { column: c, .. } if *c == column.name));
            let sql = format!("UPDATE {} SET {} = NULL WHERE id = {}", table.name, column.name, ROWS[0]);
            let refused = self.attempt(&plain(sql), &[]).await;
            if refused.is_some() != expected {
                return Err(format!("NULL in {}: {refused:?}, but the reasons are {strict:?}", column.name));
            }
        }
        for index in table.indexes.values() {
            let columns: Vec<_> = index.parts.iter().filter_map(|p| p.column.clone()).collect();
            let list = columns.join(", ");
            let expected = strict.iter().any(|r| matches!(r, Reason::NoUniqueKey { columns, .. } if *columns == list));
            let (mut statement, values) = self.insert(code, table);
            statement.sql.push_str(&format!(" ON CONFLICT ({list}) DO NOTHING"));
            let refused = self.attempt(&statement, &values).await;
            if refused.is_some() != expected {
                return Err(format!("ON CONFLICT ({list}): {refused:?}, but the reasons are {strict:?}"));
            }
        }
        Ok(())
    }

    async fn raw(&mut self, sql: &str) {
        self.client.raw(sql).await.unwrap_or_else(|e| panic!("{e}\nin: {sql}"));
    }

    /// The state with two rows: one with every value, one with every NULL that it allows.
    async fn make(&mut self, state: &Schema) {
        for enumeration in state.enums.values() {
            for sql in self.ddl.create_enum(enumeration) {
                self.raw(&sql).await;
            }
        }
        for table in state.tables.values() {
            let mut at_first = Table::clone(table);
            at_first.checks.retain(|_, check| !check.not_valid);
            for sql in self.ddl.create_table(&at_first) {
                self.raw(&sql).await;
            }
            self.rows(&at_first).await;
            for (name, check) in table.checks.iter().filter(|(_, check)| check.not_valid) {
                for sql in self.ddl.add_check(&table.name, name, check) {
                    self.raw(&sql).await;
                }
            }
        }
        for view in state.compat_views.values() {
            for sql in self.ddl.create_compat_view(view, state.table(&view.table).unwrap()) {
                self.raw(&sql).await;
            }
        }
    }

    async fn rows(&mut self, table: &Table) {
        let written: Vec<&Column> = table.columns.iter().filter(|c| c.generated.is_none()).collect();
        let names: Vec<_> = written.iter().map(|c| c.name.as_str()).collect();
        let overriding = if self.dialect == Dialect::Sqlite { "" } else { " OVERRIDING SYSTEM VALUE" };
        for (at, key) in ROWS.into_iter().enumerate() {
            let values: Vec<_> = written
                .iter()
                .map(|c| match c.name.as_str() {
                    "id" => key.to_owned(),
                    name if at == 1 && c.nullable && !proven(table.checks.values(), name) => "NULL".to_owned(),
                    _ => row_literal(self.dialect, &c.ty, at),
                })
                .collect();
            let sql =
                format!("INSERT INTO {} ({}){overriding} VALUES ({})", table.name, names.join(", "), values.join(", "));
            self.raw(&sql).await;
        }
    }

    /// Why a statement fails, if it does. Its effect is taken back.
    async fn attempt(&mut self, statement: &Statement, values: &[Value]) -> Option<String> {
        self.raw("SAVEPOINT one").await;
        let result = self.client.run(statement, values).await;
        self.raw("ROLLBACK TO SAVEPOINT one").await;
        self.raw("RELEASE SAVEPOINT one").await;
        result.err().map(|e| e.to_string())
    }

    fn statements(&self, code: &Schema, table: &Table, always: &[String]) -> TableStatements {
        let mut code = code.clone();
        for table in code.tables.values_mut() {
            // Each statement is taken back, so a default serves a unique key as often as one likes.
            table.indexes.clear();
            if self.dialect == Dialect::Postgres {
                table.columns.iter_mut().for_each(|c| c.ty = canonical(&c.ty));
            }
        }
        let all = Statements::of(self.dialect, &code, always);
        all.tables.into_iter().find(|s| s.table.name == table.name).unwrap()
    }

    fn insert(&self, code: &Schema, table: &Table) -> (Statement, Vec<Value>) {
        let statements = self.statements(code, table, &[]);
        let values = statements.writable.iter().map(|c| self.value(&statements, c, 0)).collect();
        (statements.insert, values)
    }

    fn value(&self, statements: &TableStatements, column: &str, label: u64) -> Value {
        let declared = statements.table.column(column).unwrap();
        Some(match column {
            "id" => "2001".to_owned(),
            _ if self.dialect == Dialect::Sqlite && declared.ty == "BLOB" => "\u{7}".to_owned(),
            _ => {
                let labels = statements.labels.get(column).map(Vec::as_slice);
                let seq = if labels.is_some() { label } else { 2001 };
                generate(self.dialect, declared, labels, seq)
            }
        })
    }

    /// All statements of the code that fail.
    async fn failures(&mut self, state: &Schema, code: &Schema) -> Vec<String> {
        let mut failed = Vec::new();
        for table in code.tables.values() {
            // A NULL that the code writes by leaving a column out is asked for apart.
            let left_out = |c: &Column| c.default.is_some() || c.identity.is_some() || c.generated.is_some();
            let named: Vec<String> = table.columns.iter().filter(|c| !left_out(c)).map(|c| c.name.clone()).collect();
            let s = self.statements(code, table, &named);
            let key = |text: &str| vec![Some(text.to_owned())];
            let mut all: Vec<(Statement, Vec<Value>)> = vec![(s.select_all.clone(), Vec::new())];
            for row in ROWS {
                all.push((s.select.clone(), key(row)));
                all.extend(s.select_for_update.clone().map(|statement| (statement, key(row))));
            }
            for label in 0..3 {
                let values = |columns: &[String]| columns.iter().map(|c| self.value(&s, c, label)).collect();
                all.push((s.insert_returning.clone(), values(&s.writable)));
                all.push((s.insert_required.clone(), values(&s.required)));
            }
            for (column, statement) in &s.updates {
                all.push((statement.clone(), vec![self.value(&s, column, 0), Some(ROWS[0].to_owned())]));
            }
            all.push((s.delete.clone(), key(ROWS[0])));
            // A value that the code has the engine compute, and that is another one, is a wrong answer: as bad as an error.
            for column in &table.columns {
                let Some(generated) = &column.generated else { continue };
                // Whether two expressions give the same is nothing that the predicate could know.
                if state.table(&table.name).and_then(|t| t.column(&column.name)).is_none_or(|c| c.generated.is_some()) {
                    continue;
                }
                let (name, differs) = match self.dialect {
                    Dialect::Sqlite => (&column.name, "IS NOT"),
                    _ => (&column.name, "IS DISTINCT FROM"),
                };
                let wrong =
                    format!("EXISTS (SELECT 1 FROM {} WHERE {name} {differs} ({}))", table.name, generated.expr);
                let fails = match self.dialect {
                    Dialect::Sqlite => {
                        format!("SELECT CASE WHEN {wrong} THEN abs(-9223372036854775807 - 1) ELSE 0 END")
                    }
                    _ => format!("SELECT 1 / CASE WHEN {wrong} THEN 0 ELSE 1 END"),
                };
                all.push((plain(fails), Vec::new()));
            }
            for (statement, values) in all {
                if let Some(error) = self.attempt(&statement, &values).await {
                    failed.push(format!("{}: {error}", statement.sql));
                }
            }
        }
        failed
    }
}

fn plain(sql: String) -> Statement {
    Statement { sql, params: Vec::new(), columns: Vec::new() }
}

fn proven<'c>(mut checks: impl Iterator<Item = &'c Check>, column: &str) -> bool {
    checks.any(|check| check.expr == format!("{column} IS NOT NULL"))
}

/// The schema with other names for its tables, views and the indexes on them.
fn renamed(schema: &Schema, fresh: impl Fn(&ObjectName) -> ObjectName) -> Schema {
    let mut out = schema.clone();
    out.tables.clear();
    out.compat_views.clear();
    for table in schema.tables.values() {
        let mut table = Table::clone(table);
        table.name = fresh(&table.name);
        if let Some(name) = table.primary_key.as_mut().and_then(|key| key.name.as_mut()) {
            *name = format!("{}_pkey", table.name.name);
        }
        table.indexes = std::mem::take(&mut table.indexes)
            .into_iter()
            .map(|(n, i)| (format!("{}_{n}", table.name.name), i))
            .collect();
        out.tables.insert(table.name.clone(), table.into());
    }
    for view in schema.compat_views.values() {
        let mut view = view.clone();
        (view.name, view.table) = (fresh(&view.name), fresh(&view.table));
        out.compat_views.insert(view.name.clone(), view);
    }
    out
}
