//! A proof under way: the scratch database, the state it is predicted to be in, and what was found so far.

use std::collections::{BTreeMap, BTreeSet};

use schemadiff::{
    model::{Column, DeltaError, ObjectKey, ObjectKind, ObjectName, Opaque, Schema, Table},
    plan::{Plan, Step},
};

use super::{
    Proof, compare, execute, objects,
    seed::{self, Seeded, words},
};
use crate::{
    Error, Kind, Result,
    dialect::{Connection, Ddl, Scope},
};

/// Rows for each table before the first step.
const ROWS: u64 = 5;
/// Rows that each version writes into each table before contract.
const WRITTEN: u64 = 2;

pub(super) struct Run<'r> {
    scratch: &'r mut Connection,
    ddl: &'r dyn Ddl,
    tables: BTreeSet<ObjectName>,
    state: Schema,
    proof: Proof,
    /// Number of the next made-up row.
    next: u64,
    /// Tables that took rows at the start.
    took: BTreeSet<ObjectName>,
    /// Tables whose rows could not be updated at the start.
    fixed: BTreeSet<ObjectName>,
    /// Whether there are rows that can be at fault.
    seeded: bool,
    /// The objects that are compared.
    objects: BTreeSet<ObjectKey>,
    /// What was there before the steps were taken back.
    full: Option<Schema>,
}

#[derive(Clone, Copy)]
enum Way {
    Forth,
    Back,
    /// What taking it back has left to prove.
    Proof,
}

impl<'r> Run<'r> {
    pub fn new(scratch: &'r mut Connection, ddl: &'r dyn Ddl, tables: BTreeSet<ObjectName>, state: Schema) -> Self {
        let (took, fixed, objects) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Self {
            scratch,
            ddl,
            tables,
            state,
            proof: Proof::default(),
            next: 1,
            took,
            fixed,
            seeded: false,
            objects,
            full: None,
        }
    }

    /// Objects that the plan speaks of are compared from now on, and settings of columns: a step that makes a column anew could
    /// forget them.
    pub fn watch(&mut self, plan: &Plan, remarks: Vec<String>) {
        self.objects = objects::spoken_of(plan);
        let settings = self.state.objects.keys().filter(|key| key.kind == ObjectKind::ColumnSettings);
        self.objects.extend(settings.cloned());
        self.proof.remarks = remarks;
    }

    pub fn state(&self) -> &Schema {
        &self.state
    }

    pub fn end(self) -> Proof {
        self.proof
    }

    /// Makes an object that the model does not hold.
    pub async fn make(&mut self, what: &str, definition: &str) {
        if let Err(error) = self.scratch.run(&[definition.to_owned()]).await {
            self.remark(format!("{what} could not be copied into the scratch database: {}", words(error)));
        }
    }

    /// A trigger that names what is not in the copy (a virtual table, a view over one) is taken for what it is only when it runs:
    /// the steps would fail on it here, and not where all is there.
    pub async fn leave_out_if_it_fails(&mut self, trigger: &Opaque, table: &ObjectName) {
        let Some(columns) = self.state.table(table).map(|table| table.columns.clone()) else { return };
        let writes = self.ddl.compile_writes(table, &columns);
        if let Err(error) = self.scratch.run(&writes).await {
            self.remark(format!(
                "{} `{}` cannot run in the scratch database: {}",
                trigger.kind,
                trigger.name,
                words(error)
            ));
            // Its name stands behind that of its table.
            let name = trigger.name.strip_prefix(&format!("{table}.")).unwrap_or(&trigger.name);
            if let Err(error) = self.scratch.run(&[format!("DROP TRIGGER {}", self.ddl.ident(name))]).await {
                self.remark(words(error));
            }
        }
    }

    /// Rows as they may be before the migration. What shall not be NULL after it is not NULL: whether real rows hold NULL
    /// there is for the real database to say.
    pub async fn seed(&mut self, start: &Schema, end: &Schema) {
        let stays_nullable = |table: &ObjectName, column: &str| {
            let is = |schema: &Schema| schema.column(table, column).is_some_and(|c| c.nullable);
            is(start) && is(end)
        };
        let seeded = seed::seed(self.scratch, self.ddl, start, (self.next, ROWS), &stays_nullable).await;
        self.count(&seeded, ROWS);
        self.took = seeded.rows.into_keys().collect();
        for (table, refusal) in seeded.empty {
            self.proof.without_rows.insert(table.to_string(), refusal.reason);
        }
        for (table, error) in seed::touch(self.scratch, self.ddl, start).await {
            self.remark(format!("no made-up row of `{table}` could be updated: {}", words(error)));
            self.fixed.insert(table);
        }
    }

    fn count(&mut self, seeded: &Seeded, rows: u64) {
        self.next += rows;
        self.proof.rows += seeded.rows.values().sum::<u64>();
        self.seeded |= !seeded.rows.is_empty();
    }

    /// A version of the code writes rows, and writes all rows again.
    ///
    /// # Errors
    /// When it could before and cannot any more, and the values are not to blame.
    pub async fn write(&mut self, schema: &Schema, who: &str) -> Result<()> {
        // A version behind views of its own finds its tables by its search path, which is not this connection's.
        let is_there = |name: &ObjectName| {
            let has_all =
                |t: &Table| schema.table(name).is_some_and(|of| of.columns.iter().all(|c| t.column(&c.name).is_some()));
            self.state.compat_views.contains_key(name) || self.state.table(name).is_some_and(has_all)
        };
        let beside: Vec<ObjectName> = schema.tables.keys().filter(|name| !is_there(name)).cloned().collect();
        let schema = &schema.restricted_to(|name| !beside.contains(name));
        for table in beside {
            self.remark(format!(
                "{who} uses `{table}` through a view of its own before contract: its writes were not tried"
            ));
        }
        let seeded = seed::seed(self.scratch, self.ddl, schema, (self.next, WRITTEN), &|_, _| false).await;
        self.count(&seeded, WRITTEN);
        for (table, refusal) in seeded.empty {
            // What took no row at the start is on record; a table of the plan's own has no start.
            let is_new = !self.proof.without_rows.contains_key(&table.to_string());
            let is_fault = !refusal.about_rows || self.misses_a_value(&table, &refusal.reason);
            if is_fault && (self.took.contains(&table) || is_new) {
                return Err(cannot_write(who, &table, &refusal.reason));
            }
            if is_new {
                self.remark(format!(
                    "{who} could not insert a made-up row into `{table}` before contract: {}",
                    refusal.reason
                ));
            }
        }
        for (table, error) in seed::touch(self.scratch, self.ddl, schema).await {
            let (about_rows, reason) = (error.about_rows, words(error));
            if about_rows && !self.misses_a_value(&table, &reason) {
                self.remark(format!("{who} could not update a made-up row of `{table}` before contract: {reason}"));
            } else if !self.fixed.contains(&table) {
                return Err(cannot_write(who, &table, &reason));
            }
        }
        Ok(())
    }

    /// The code gives every column that it writes a value: what is NULL then is so by the plan's doing, or a trigger's that it
    /// left behind. Of a column that a backfill expression fills it is the made-up row's.
    fn misses_a_value(&self, table: &ObjectName, reason: &str) -> bool {
        let Some(table) = self.state.table(table) else { return false };
        let named = |column: &Column| {
            let name = &column.name;
            reason.contains(&format!("null value in column \"{name}\" "))
                || reason.contains(&format!("NOT NULL constraint failed: {}.{name}", table.name.name))
        };
        table.columns.iter().any(|column| named(column) && !table.is_looked_after(&column.name))
    }

    fn remark(&mut self, text: String) {
        if !self.proof.remarks.contains(&text) {
            self.proof.remarks.push(text);
        }
    }

    pub async fn forth(&mut self, step: &Step, compare: bool) -> Result<()> {
        for probe in &step.only_while_small {
            let asked = self.scratch.query_row(&probe.sql, &[]).await;
            asked.map_err(|error| refused(step, "asks what the server cannot answer", error))?;
        }
        self.carry_out(step, Way::Forth).await.map_err(|error| refused(step, "fails", error))?;
        step.apply_to(&mut self.state).map_err(|error| misfit(step, error))?;
        self.proof.steps += 1;
        if compare { self.compare(&format!("step {}", step.id)).await } else { Ok(()) }
    }

    /// The steps, newest first.
    pub async fn all_back(&mut self, plan: &Plan, steps: &[Step]) -> Result<()> {
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        for step in steps.iter().rev() {
            if !taken.contains(step.id.as_str()) {
                self.back(plan, step).await?;
                taken.extend(step.undo_takes.iter().map(String::as_str));
            }
        }
        Ok(())
    }

    async fn back(&mut self, plan: &Plan, step: &Step) -> Result<()> {
        self.full.get_or_insert_with(|| self.state.clone());
        for loss in &step.undo_loses {
            match self.scratch.query_row(&loss.sql, &[]).await {
                // The server has understood the question; it is a made-up row that an expression of it has no value for.
                Err(error) if !(error.about_rows && self.seeded) => {
                    return Err(refused(step, "asks what the server cannot answer", error));
                }
                _ => {}
            }
        }
        for way in [Way::Back, Way::Proof] {
            self.carry_out(step, way).await.map_err(|error| refused(step, "cannot be taken back", error))?;
        }
        for step in plan.taken_back_with(step) {
            step.revert_on(&mut self.state).map_err(|error| misfit(step, error))?;
            self.proof.undone += 1;
        }
        self.compare(&format!("undoing step {}", step.id)).await
    }

    /// Carries a step out, a second time on empty tables when the made-up rows are at fault.
    async fn carry_out(&mut self, step: &Step, way: Way) -> Result<()> {
        match self.send(step, way).await {
            Err(error) if error.about_rows && self.seeded => {
                let what = match way {
                    Way::Forth => "fails",
                    Way::Back | Way::Proof => "cannot be taken back",
                };
                self.remark(format!(
                    "step {} {what} on a made-up row, and would on a real one like it; the proof went on without rows: {}",
                    step.id,
                    words(error),
                ));
                execute::clean_up(self.scratch, step).await?;
                seed::empty(self.scratch, self.ddl, &self.state).await?;
                self.seeded = false;
                self.send(step, way).await
            }
            other => other,
        }
    }

    async fn send(&mut self, step: &Step, way: Way) -> Result<()> {
        match way {
            Way::Forth => execute::forth(self.scratch, step, &self.state).await,
            Way::Back => execute::back(self.scratch, step).await,
            Way::Proof => execute::prove_back(self.scratch, step).await,
        }
    }

    /// At the end what the server shows is the desired schema in all its words.
    pub async fn arrived(&mut self) -> Result<()> {
        self.compare_with("the last step", true).await
    }

    pub async fn compare(&mut self, after: &str) -> Result<()> {
        self.compare_with(after, false).await
    }

    async fn compare_with(&mut self, after: &str, at_end: bool) -> Result<()> {
        self.proof.comparisons += 1;
        let found = self.scratch.introspect(&Scope::default()).await?.schema;
        // Types of tables that are not here cannot be told from types of the plan: all are there.
        let mut found = Schema { tables: keep(found.tables, &self.tables), ..found };
        let mut state = self.state.clone();
        if let Some(full) = &self.full {
            compare::without_labels_to_come(&mut found, &state, full);
        }
        for schema in [&mut found, &mut state] {
            schema.objects.retain(|key, _| self.objects.contains(key));
        }
        compare::same(&state, &found, at_end).map_err(|difference| {
            Error::new(
                Kind::Internal,
                "SD0905",
                format!("after {after} the server shows another schema than predicted"),
            )
            .cause(difference)
            .help("this is a bug of schemadiff; please report it with both schemas")
        })
    }
}

fn keep<V>(map: BTreeMap<ObjectName, V>, names: &BTreeSet<ObjectName>) -> BTreeMap<ObjectName, V> {
    map.into_iter().filter(|(name, _)| names.contains(name)).collect()
}

fn refused(step: &Step, what: &str, error: Error) -> Error {
    let cause = match error.cause {
        Some(cause) => format!("{}: {cause}", error.effect),
        None => error.effect,
    };
    // No cast that is made by itself, or none at all.
    let has_no_cast = ["SQLSTATE 42804", "SQLSTATE 42846"].iter().any(|code| cause.contains(code));
    let error =
        Error::new(Kind::Refused, "SD0612", format!("step {} {what} on a scratch database", step.id)).cause(cause);
    let error = if has_no_cast {
        error
            .help("where the server cannot make the new type's values of the old ones by itself, say how: --backfill 'users.state=<expression>'")
            .help("or in the struct: #[column(backfill = \"<expression>\")]")
    } else {
        error
    };
    error
        .help("when the cause names an expression of yours (default, backfill, check, index), correct it there")
        .help("otherwise please report this with both schemas")
}

pub(super) fn misfit(step: &Step, error: DeltaError) -> Error {
    Error::new(Kind::Internal, "SD0903", format!("step {} does not fit the state it was planned for", step.id))
        .cause(error)
}

fn cannot_write(who: &str, table: &ObjectName, reason: &str) -> Error {
    Error::new(Kind::Refused, "SD0624", format!("{who} could not write to `{table}` before contract"))
        .cause(reason)
        .help("when the cause names an expression or a trigger of yours, correct it there")
        .help("otherwise please report this with both schemas")
}
