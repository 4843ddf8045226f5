//! A few made-up rows for every table, so that what only runs when there is a row (a trigger, the expression of a
//! backfill) runs in the proof.
//!
//! Parents come before children. A row that the table refuses is made again in other shapes: without what may be left
//! out, with the literals that its checks mention, with values of common forms. A table that takes none of them stays
//! empty, and the reason is kept.

use std::collections::{BTreeMap, BTreeSet};

use schemadiff::model::{
    Check, Column, ForeignKey, Index, Object, ObjectKind, ObjectName, Schema, Shared, Table, expr,
};

use crate::{
    Error, Result,
    dialect::{
        Connection, Ddl,
        sample::{SHAPES, generate, knows, literal},
    },
    diff::is_type,
};

/// How often a row is made anew before the table counts as one that takes none: enough to try each pair of values for two
/// columns.
const ATTEMPTS: usize = 700;
/// How often with values that the type and the checks suggest, before others are tried.
const SUGGESTED: usize = 60;

/// What became of the tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seeded {
    /// Rows that were inserted, by table.
    pub rows: BTreeMap<ObjectName, u64>,
    /// Tables that took no row.
    pub empty: BTreeMap<ObjectName, Refusal>,
}

/// Why a table took no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// In the server's words.
    pub reason: String,
    /// The made-up values are at fault, as far as the server says; see [`Error::about_rows`].
    pub about_rows: bool,
}

/// Inserts `rows` rows into every table of the schema, by the names and columns that the schema says. `first` is the number
/// of the first row: rows of different numbers differ wherever their types have room for it. `may_be_null` says which of the
/// nullable columns may be left NULL in some rows.
pub async fn seed(
    db: &mut Connection,
    ddl: &dyn Ddl,
    schema: &Schema,
    (first, rows): (u64, u64),
    may_be_null: &(dyn Fn(&ObjectName, &str) -> bool + Sync),
) -> Seeded {
    let mut seeded = Seeded::default();
    let schema = &filled_by_partition(schema);
    // The rows of a partitioned table are those of its partitions.
    for table in parents_first(schema).into_iter().filter(|table| table.partition_by.is_none()) {
        let maker = Maker { ddl, schema, table, may_be_null };
        let mut failure = None;
        let mut found = 0; // the attempt that the table took
        for seq in first..first + rows {
            match maker.insert(db, seq, found).await {
                Ok(attempt) => {
                    *seeded.rows.entry(table.name.clone()).or_default() += 1;
                    found = attempt;
                }
                Err(reason) => {
                    failure = Some(reason);
                    break;
                }
            }
        }
        if let (Some(reason), None) = (failure, seeded.rows.get(&table.name)) {
            seeded.empty.insert(table.name.clone(), maker.explain(&seeded, reason));
        }
    }
    seeded
}

/// The start with the keys and checks of the end, as far as its columns and tables are there already: rows that
/// fit both are those on which the whole plan can be carried out.
#[must_use]
pub fn fitting(start: &Schema, end: &Schema) -> Schema {
    let mut fitting = start.clone();
    for after in end.tables.values() {
        let Some(before) = start.table(&after.name) else { continue };
        let has = |table: &Table, columns: &[String]| columns.iter().all(|c| table.column(c).is_some());
        let mut table = before.clone();
        for (name, key) in after.foreign_keys.iter().filter(|(_, key)| has(before, &key.columns)) {
            let there = start.table(&key.ref_table).is_some_and(|parent| has(parent, &key.ref_columns));
            if there && !before.foreign_keys.values().any(|k| k.columns == key.columns && k.ref_table == key.ref_table)
            {
                table.foreign_keys.insert(format!("{name} at the end"), key.clone());
            }
        }
        for (name, unique) in after.uniques.iter().filter(|(_, unique)| has(before, &unique.columns)) {
            table.uniques.insert(format!("{name} at the end"), unique.clone());
        }
        let plain = |index: &Index| index.parts.iter().map(|p| p.column.clone()).collect::<Option<Vec<_>>>();
        let unique = |index: &&Index| index.unique && plain(index).is_some_and(|columns| has(before, &columns));
        for (name, index) in after.indexes.iter().filter(|(_, index)| unique(index)) {
            table.indexes.insert(format!("{name} at the end"), index.clone());
        }
        // A check that lists what fits: nothing that is made up without it would. One that uses a column of the end alone says
        // nothing of the rows at the start.
        let lists = |check: &Check| check.expr.contains("ANY (ARRAY[") || check.expr.to_uppercase().contains(" IN (");
        let is_new = |c: &&Column| before.column(&c.name).is_none();
        for (name, check) in &after.checks {
            if lists(check) && !after.columns.iter().filter(is_new).any(|c| expr::mentions(&check.expr, &c.name)) {
                table.checks.insert(format!("{name} at the end"), check.clone());
            }
        }
        fitting.tables.insert(after.name.clone(), table.into());
    }
    fitting
}

/// The schema with partitions as whole tables, whose bounds are among the checks: what they mention are values that fit.
fn filled_by_partition(schema: &Schema) -> Schema {
    let mut filled = schema.clone();
    for table in schema.tables.values().filter(|table| table.partition_of.is_some()) {
        let mut whole = schema.whole(table).into_owned();
        let mut below = Some(&**table);
        while let Some(of) = below.and_then(|table| table.partition_of.as_ref()) {
            below = schema.table(&of.parent).filter(|_| whole.checks.len() < ATTEMPTS);
            let Some(by) = below.and_then(|parent| parent.partition_by.as_ref()) else { continue };
            let expr = format!("{by} {}", of.bound);
            let check = Check { expr, not_valid: false, no_inherit: false, comment: None };
            whole.checks.insert(format!("bounds in {}", of.parent), check);
        }
        filled.tables.insert(whole.name.clone(), whole.into());
    }
    without_domains(&mut filled);
    filled
}

/// Columns of domains become columns of their base types with checks of their own.
fn without_domains(schema: &mut Schema) {
    if schema.domains.is_empty() {
        return;
    }
    let all = schema.clone();
    for table in schema.tables.values_mut() {
        let mut plain = all.with_domains(std::borrow::Cow::Borrowed(&**table)).into_owned();
        for column in &mut plain.columns {
            for (name, check) in all.rules(&column.ty) {
                let expr = expr::map_columns(&check.expr, |word| (word == "VALUE").then(|| column.name.clone()));
                plain.checks.insert(format!("{name} of {}", column.name), Check { expr, ..check.clone() });
            }
            column.ty = all.base_type(&column.ty).to_owned();
        }
        **table = plain;
    }
}

/// Takes all rows out of the tables again, children first.
///
/// # Errors
/// When a table cannot be emptied, for example because a trigger forbids it.
pub async fn empty(db: &mut Connection, ddl: &dyn Ddl, schema: &Schema) -> Result<()> {
    let mut waiting: Vec<&Table> = parents_first(schema);
    loop {
        // Tables that reference each other through columns that may be NULL: what one pass cannot empty, the next one may.
        let (mut refused, mut failure) = (Vec::new(), None);
        for table in waiting.iter().rev().copied() {
            if let Err(error) = db.run(&[format!("DELETE FROM {}", ddl.name(&table.name))]).await {
                refused.push(table);
                failure = Some(error);
            }
        }
        match failure {
            None => return Ok(()),
            Some(error) if refused.len() == waiting.len() => return Err(error),
            Some(_) => waiting = refused.into_iter().rev().collect(),
        }
    }
}

/// Writes the rows again as they are, as an application does that saves what it has read. Returns the tables that refuse it.
pub async fn touch(db: &mut Connection, ddl: &dyn Ddl, schema: &Schema) -> Vec<(ObjectName, Error)> {
    let mut refused = Vec::new();
    for table in schema.tables.values() {
        let plain = |c: &&Column| c.generated.is_none() && c.identity.is_none();
        let Some(column) = table.columns.iter().find(plain).map(|c| ddl.ident(&c.name)) else { continue };
        let sql = format!("UPDATE {} SET {column} = {column}", ddl.name(&table.name));
        if let Err(error) = db.run(&[sql]).await {
            refused.push((table.name.clone(), error));
        }
    }
    refused
}

/// Referenced tables before those that must reference them. What may be NULL waits for nobody.
fn parents_first(schema: &Schema) -> Vec<&Table> {
    let mut placed: BTreeSet<&ObjectName> = BTreeSet::new();
    let mut order = Vec::new();
    let mut waiting: Vec<&Table> = schema.tables.values().map(|t| &**t).collect();
    for wants_all in [true, false] {
        loop {
            let is_ready = |t: &&Table| {
                let needed = |key: &&ForeignKey| key.ref_table != t.name && schema.tables.contains_key(&key.ref_table);
                let wanted = |key: &&ForeignKey| wants_all || needs_parent(t, key);
                t.foreign_keys.values().filter(needed).filter(wanted).all(|key| placed.contains(&key.ref_table))
            };
            let (ready, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_ready);
            waiting = rest;
            if ready.is_empty() {
                break;
            }
            placed.extend(ready.iter().map(|t| &t.name));
            order.extend(ready);
        }
    }
    order.extend(waiting); // a circle that nothing opens: they are tried, and explained
    order
}

fn needs_parent(table: &Table, key: &ForeignKey) -> bool {
    key.columns.iter().all(|c| table.column(c).is_some_and(|c| !c.nullable))
}

impl Refusal {
    fn of(error: Error) -> Self {
        Self { about_rows: error.about_rows, reason: words(error) }
    }
}

/// What the server said, without the statement.
pub(super) fn words(error: Error) -> String {
    let Error { effect, cause, .. } = error;
    let said = match effect.split_once(": ") {
        Some((_, said)) => said.to_owned(), // SQLite's words stand in the effect, the statement in the cause
        None => cause.unwrap_or(effect),
    };
    said.lines().next().unwrap_or_default().to_owned()
}

struct Maker<'m> {
    ddl: &'m dyn Ddl,
    schema: &'m Schema,
    table: &'m Table,
    may_be_null: &'m (dyn Fn(&ObjectName, &str) -> bool + Sync),
}

/// What stands for a column in an INSERT.
enum Cell {
    LeftOut,
    Sql(String),
}

impl Maker<'_> {
    async fn insert(&self, db: &mut Connection, seq: u64, found: usize) -> Result<usize, Refusal> {
        let mut tried = BTreeSet::new();
        let mut failure = Refusal { reason: String::new(), about_rows: true };
        for attempt in [0, 1, found].into_iter().chain(2..ATTEMPTS) {
            let sql = self.statement(seq, attempt);
            if !tried.insert(sql.clone()) {
                continue;
            }
            match db.run(&[sql]).await {
                Ok(()) => return Ok(attempt),
                Err(error) if !error.about_rows => return Err(Refusal::of(error)),
                // The first one is about the most natural row.
                Err(error) if failure.reason.is_empty() => failure = Refusal::of(error),
                Err(_) => {}
            }
        }
        Err(failure)
    }

    fn explain(&self, seeded: &Seeded, refusal: Refusal) -> Refusal {
        let orphan = self.table.foreign_keys.values().find(|key| {
            needs_parent(self.table, key)
                && key.ref_table != self.table.name
                && !seeded.rows.contains_key(&key.ref_table)
        });
        match orphan {
            Some(key) => {
                let reason = format!("each row needs one of `{}`, which has none", key.ref_table);
                Refusal { reason, about_rows: true }
            }
            None => refusal,
        }
    }

    fn statement(&self, seq: u64, attempt: usize) -> String {
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for (at, column) in self.table.columns.iter().enumerate() {
            if let Cell::Sql(value) = self.cell(column, seq, attempt, at) {
                names.push(self.ddl.ident(&column.name));
                values.push(value);
            }
        }
        let table = self.ddl.name(self.root());
        if names.is_empty() {
            return format!("INSERT INTO {table} DEFAULT VALUES");
        }
        format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), values.join(", "))
    }

    /// The table that takes the rows of a partition, and gives them what only it has: the numbers of an identity column.
    fn root(&self) -> &ObjectName {
        let mut name = &self.table.name;
        for _ in 0..self.schema.tables.len() {
            match self.schema.table(name).and_then(|table| table.partition_of.as_ref()) {
                Some(of) if self.schema.tables.contains_key(&of.parent) => name = &of.parent,
                _ => break,
            }
        }
        name
    }

    fn cell(&self, column: &Column, seq: u64, attempt: usize, at: usize) -> Cell {
        if column.generated.is_some() || column.identity.is_some() {
            return Cell::LeftOut;
        }
        if let Some(value) = self.parents_value(column, seq) {
            return Cell::Sql(value);
        }
        let minimal = attempt == 1;
        let omit_now = minimal || seq % 3 == 1 && attempt == 0;
        if column.nullable && omit_now && (self.may_be_null)(&self.table.name, &column.name) {
            return Cell::Sql("NULL".to_owned());
        }
        // What all rows share cannot be unique.
        if column.default.is_some() && omit_now && !self.is_alone_in_a_key(std::slice::from_ref(&column.name)) {
            return Cell::LeftOut;
        }
        let value = self.value(column, seq, attempt as u64, at as u64);
        Cell::Sql(literal(self.ddl, column, &value))
    }

    /// A value that the column's type asks for. Where a check limits it, or the type is not known, each attempt brings
    /// another one, and each column goes through its values at a pace of its own, so that pairs of columns meet in many ways.
    fn value(&self, column: &Column, seq: u64, attempt: u64, at: u64) -> String {
        let (dialect, labels) = (self.ddl.dialect(), self.labels(column));
        let natural = self.held(&column.ty, seq).unwrap_or_else(|| generate(dialect, column, labels, seq));
        if !self.is_limited(column) {
            return natural;
        }
        let mut values = self.pool(column);
        if attempt < 2 {
            return values.get(pick(seq, values.len())).cloned().unwrap_or(natural);
        }
        let mut step = attempt * (2 * at + 1);
        values.push(generate(dialect, column, labels, seq + step % 11));
        if let Some(attempt) = attempt.checked_sub(SUGGESTED as u64) {
            values.extend(SHAPES.iter().map(|shape| (*shape).to_owned()));
            step = match self.limited().position(|c| c.name == column.name) {
                Some(0) => attempt,
                Some(1) => attempt / values.len() as u64,
                _ => attempt * (2 * at + 1),
            };
        }
        values.swap_remove(pick(step + seq, values.len()))
    }

    fn is_limited(&self, column: &Column) -> bool {
        let known =
            || self.labels(column).is_some() || knows(self.ddl.dialect(), column) || self.held(&column.ty, 0).is_some();
        self.table.checks.values().any(|check| expr::mentions(&check.expr, &column.name)) || !known()
    }

    /// Whether no two rows may have the same values in just these columns.
    fn is_alone_in_a_key(&self, columns: &[String]) -> bool {
        let same = |key: &[String]| key.iter().all(|c| columns.contains(c)) && !key.is_empty();
        let in_index = |index: &Index| {
            let key: Option<Vec<String>> = index.parts.iter().map(|part| part.column.clone()).collect();
            index.unique && key.is_some_and(|key| same(&key))
        };
        self.table.primary_key.as_ref().is_some_and(|key| same(&key.columns))
            || self.table.uniques.values().any(|unique| same(&unique.columns))
            || self.table.indexes.values().any(in_index)
    }

    fn limited(&self) -> impl Iterator<Item = &Column> {
        self.table.columns.iter().filter(|column| self.is_limited(column))
    }

    /// A value of a composite or a range type that the schema holds; none of another type.
    fn held(&self, ty: &str, seq: u64) -> Option<String> {
        let is_it = |object: &&Shared<Object>| object.key.kind == ObjectKind::Type && is_type(ty, &object.key.name);
        let held = self.schema.objects.values().find(is_it).filter(|_| !ty.ends_with("[]"))?;
        if held.columns.is_empty() {
            return Some("empty".to_owned());
        }
        let attributes = held.columns.iter().map(|(name, ty)| {
            let column = Column::new(name, ty);
            let label = self.labels(&column).and_then(|labels| labels.first().cloned());
            let known = || knows(self.ddl.dialect(), &column).then(|| generate(self.ddl.dialect(), &column, None, seq));
            let value = label.or_else(|| self.held(ty, seq)).or_else(known);
            // An attribute of which nothing is known is left out: it is NULL.
            value.map_or_else(String::new, |v| format!("\"{}\"", v.replace('\\', "\\\\").replace('"', "\"\"")))
        });
        Some(format!("({})", attributes.collect::<Vec<_>>().join(",")))
    }

    fn labels(&self, column: &Column) -> Option<&[String]> {
        let plain = |name: &ObjectName| {
            [name.to_string(), self.ddl.ident(&name.name), name.name.clone()].contains(&column.ty)
                || self.ddl.name(name) == column.ty
        };
        self.schema.enums.iter().find(|(name, _)| plain(name)).map(|(_, e)| e.values.as_slice())
    }

    /// The values that the checks on a column mention, and their neighbours.
    fn pool(&self, column: &Column) -> Vec<String> {
        let checks = self.table.checks.values().filter(|check| expr::mentions(&check.expr, &column.name));
        let mut pool: Vec<String> = checks.flat_map(|check| literals(&check.expr)).collect();
        let neighbours: Vec<String> = pool
            .iter()
            .filter_map(|text| text.parse::<i64>().ok())
            .flat_map(|number| [number.saturating_add(1), number.saturating_sub(1)])
            .map(|number| number.to_string())
            .collect();
        pool.extend(neighbours);
        pool
    }

    /// A value of the row that the column references, chosen by the row's number; the same row for all columns of a key.
    fn parents_value(&self, column: &Column, seq: u64) -> Option<String> {
        let (key, at) = self.table.foreign_keys.values().find_map(|key| {
            let at = key.columns.iter().position(|c| *c == column.name)?;
            Some((key, at))
        })?;
        if !self.schema.tables.contains_key(&key.ref_table) {
            return None;
        }
        let parent = self.ddl.name(&key.ref_table);
        let columns: Vec<String> = key.ref_columns.iter().map(|c| self.ddl.ident(c)).collect();
        let wanted = &columns[at];
        let order = columns.join(", ");
        // The last of the first few, so that a small table is walked through and a row is found whenever there is one.
        let some = format!(
            "(SELECT {wanted} FROM (SELECT {order} FROM {parent} WHERE {wanted} IS NOT NULL ORDER BY {order} LIMIT {}) AS few \
             ORDER BY {} LIMIT 1)",
            seq % 5 + 1,
            columns.iter().map(|c| format!("{c} DESC")).collect::<Vec<_>>().join(", "),
        );
        let own = (key.ref_table == self.table.name && !column.nullable).then(|| {
            let referenced = self.table.column(&key.ref_columns[at])?;
            Some(literal(self.ddl, referenced, &generate(self.ddl.dialect(), referenced, None, seq)))
        });
        match own.flatten() {
            Some(own) => Some(format!("coalesce({some}, {own})")),
            None => Some(some),
        }
    }
}

fn pick(number: u64, len: usize) -> usize {
    usize::try_from(number % (len.max(1) as u64)).unwrap_or_default()
}

/// The texts and numbers in an expression.
fn literals(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut in_name = false;
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '\'' => {
                let end = rest[1..].find('\'').map_or(rest.len(), |at| at + 1);
                found.push(rest[1..end].to_owned());
                (end + 1).min(rest.len())
            }
            '"' => rest[1..].find('"').map_or(rest.len(), |at| at + 2),
            c if c.is_ascii_digit() && !in_name => {
                let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
                found.push(rest[..end].to_owned());
                end
            }
            c => c.len_utf8(),
        };
        in_name = first.is_alphabetic() || first == '_' || in_name && first.is_ascii_digit();
        rest = &rest[len..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::literals;

    #[test]
    fn the_literals_of_a_check_are_found() {
        assert_eq!(literals("(kind = ANY (ARRAY['a'::text, 'b c'::text]))"), ["a", "b c"]);
        assert_eq!(literals("price2 > 10 AND \"x 5\" <= 2.5"), ["10", "2.5"]);
    }
}
