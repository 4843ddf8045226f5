//! The rows that a pair of connections owns, known exactly, in the terms of the new version.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemadiff::model::{Column, ObjectName, Schema};

use super::{
    rows::{Rows, Uniques},
    value::{Value, constant},
};

/// Which version of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// The one that is being replaced.
    Old,
    /// The one that replaces it.
    New,
}

/// Computes a column of the new version from the row that the old one wrote.
pub type Derivation = Arc<dyn Fn(&BTreeMap<String, Value>) -> Value + Send + Sync>;

/// How the two versions' names and values belong together.
#[derive(Clone, Default)]
pub struct Mapping {
    /// Old table name to new table name.
    pub tables: BTreeMap<ObjectName, ObjectName>,
    /// (New table name, old column) to new column.
    pub columns: BTreeMap<(ObjectName, String), String>,
    /// (New table name, new column) to the value of rows that the old version wrote. Without an entry it is the
    /// constant default, or whatever is found first.
    pub derivations: BTreeMap<(ObjectName, String), Derivation>,
    /// (New table name, new column) whose values are not compared: the plan fills or converts them in a way that the harness
    /// does not know.
    pub uncompared: BTreeSet<(ObjectName, String)>,
}

impl Mapping {
    /// The new version's name of a table.
    pub fn table(&self, version: Version, name: &ObjectName) -> ObjectName {
        match version {
            Version::Old => self.tables.get(name).unwrap_or(name).clone(),
            Version::New => name.clone(),
        }
    }

    /// The new version's name of a column; `table` is the new version's.
    pub fn column(&self, version: Version, table: &ObjectName, name: &str) -> String {
        let renamed = self.columns.get(&(table.clone(), name.to_owned()));
        match version {
            Version::Old => renamed.map_or(name, String::as_str).to_owned(),
            Version::New => name.to_owned(),
        }
    }
}

/// What is known of one column of one row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Cell {
    /// This and nothing else.
    Known(Value),
    /// Whatever is read first; from then on it is known.
    Unknown,
    /// The old version left it empty, and the plan fills it at some moment.
    NullOr(Value),
}

impl Cell {
    /// The value, where it is known and not NULL.
    pub fn known(&self) -> Option<String> {
        match self {
            Self::Known(value) => value.clone(),
            Self::Unknown | Self::NullOr(_) => None,
        }
    }
}

/// A row by the new version's column names (and the old one's, for columns that are gone).
pub type Row = BTreeMap<String, Cell>;

/// A primary key's values.
pub type Key = Vec<Value>;

/// A version as the model sees it.
pub struct View {
    /// Which.
    pub version: Version,
    /// Its schema.
    pub schema: Schema,
    /// The other version's schema.
    pub other: Schema,
    /// Names.
    pub mapping: Mapping,
    /// Foreign keys of both versions.
    pub references: Vec<Reference>,
}

/// The rows of one owner.
pub struct World {
    /// By the new version's table name.
    tables: BTreeMap<ObjectName, Rows>,
    /// What is unique in either version, in the new version's names.
    uniques: BTreeMap<ObjectName, Uniques>,
    /// What was where before the transaction that is open changed it.
    undo: Option<Vec<(ObjectName, Key, Option<Row>)>>,
    last: u64,
}

impl World {
    /// For the owner of that number: every number it hands out is its own.
    pub fn new(owner: u64, uniques: BTreeMap<ObjectName, Uniques>) -> Self {
        Self { tables: BTreeMap::new(), uniques, undo: None, last: (owner + 1) * 10_000_000 }
    }

    /// A number that nobody else has.
    pub fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The rows of a table.
    pub fn rows(&self, table: &ObjectName) -> impl Iterator<Item = (&Key, &Row)> {
        self.tables.get(table).into_iter().flat_map(Rows::all)
    }

    /// One of them.
    pub fn row(&self, table: &ObjectName, place: &Key) -> Option<&Row> {
        self.tables.get(table)?.all().get(place)
    }

    /// How many there are.
    pub fn count(&self, table: &ObjectName) -> usize {
        self.tables.get(table).map_or(0, |rows| rows.all().len())
    }

    /// The row at a position, wrapping around.
    pub fn pick(&self, table: &ObjectName, at: u64) -> Option<(&Key, &Row)> {
        let rows = self.tables.get(table).map(Rows::all).filter(|rows| !rows.is_empty())?;
        rows.iter().nth(at as usize % rows.len())
    }

    /// Whether the values are already in another row than `except`, against a unique key of either version.
    pub fn is_taken(&self, table: &ObjectName, row: &Row, except: Option<&Key>) -> bool {
        self.tables.get(table).is_some_and(|rows| rows.is_taken(row, except))
    }

    /// Puts a row in its place, or takes away what is there.
    pub fn put(&mut self, table: &ObjectName, place: &Key, row: Option<Row>) {
        let uniques = || self.uniques.get(table).cloned().unwrap_or_default();
        let rows = self.tables.entry(table.clone()).or_insert_with(|| Rows::new(uniques()));
        let was = rows.put(place, row);
        if let Some(undo) = &mut self.undo {
            undo.push((table.clone(), place.clone(), was));
        }
    }

    /// Changes every row of a table.
    pub fn change(&mut self, table: &ObjectName, change: impl FnMut(&mut Row)) {
        if let Some(rows) = self.tables.get_mut(table) {
            rows.change(change);
        }
    }

    /// Forgets other tables than these.
    pub fn keep(&mut self, tables: &[ObjectName]) {
        self.tables.retain(|table, _| tables.contains(table));
    }

    /// From here on every change can be taken back.
    pub fn begin(&mut self) {
        self.undo = Some(Vec::new());
    }

    /// Ends what [`World::begin`] began.
    pub fn end(&mut self, commit: bool) {
        let undo = self.undo.take().unwrap_or_default();
        if !commit {
            undo.into_iter().rev().for_each(|(table, place, was)| self.put(&table, &place, was));
        }
    }
}

impl View {
    /// The two versions' views.
    pub fn both(old: &Schema, new: &Schema, mapping: &Mapping) -> [Self; 2] {
        let references = references(mapping, old, new);
        let view = |version, schema: &Schema, other: &Schema| Self {
            version,
            schema: schema.clone(),
            other: other.clone(),
            mapping: mapping.clone(),
            references: references.clone(),
        };
        [view(Version::Old, old, new), view(Version::New, new, old)]
    }

    /// The row after this version inserted `given`.
    pub fn inserted(&self, table: &ObjectName, given: &BTreeMap<String, Value>) -> Row {
        let shared = self.mapping.table(self.version, table);
        let mut row = Row::new();
        for column in &self.schema.tables[table].columns {
            let cell = match given.get(&column.name) {
                Some(None) => self.empty(&shared, &column.name),
                Some(value) => Cell::Known(value.clone()),
                None if self.is_derived(&shared, &column.name) => self.empty(&shared, &column.name),
                None if column.identity.is_some() || column.generated.is_some() => Cell::Unknown,
                // One version's default is the other one's as soon as the plan has changed it.
                None if self.default_differs(&shared, column) => Cell::Unknown,
                None => match &column.default {
                    Some(default) => constant(default, &column.ty).map_or(Cell::Unknown, Cell::Known),
                    None => Cell::Known(None),
                },
            };
            row.insert(self.mapping.column(self.version, &shared, &column.name), cell);
        }
        self.complete(&shared, &mut row);
        row
    }

    fn is_derived(&self, shared: &ObjectName, column: &str) -> bool {
        let name = self.mapping.column(self.version, shared, column);
        self.mapping.derivations.contains_key(&(shared.clone(), name))
    }

    /// A NULL that this version wrote. In a column that the plan fills it does not last; what the new version leaves empty
    /// is filled as long as the plan is under way.
    fn empty(&self, shared: &ObjectName, column: &str) -> Cell {
        match self.version {
            _ if !self.is_derived(shared, column) => Cell::Known(None),
            Version::Old => {
                let name = self.mapping.column(self.version, shared, column);
                Cell::NullOr(self.derived(shared, &name, &Row::new()).flatten())
            }
            Version::New => Cell::Unknown,
        }
    }

    /// Whether the other version has the column too, with another default.
    fn default_differs(&self, shared: &ObjectName, column: &Column) -> bool {
        let name = self.mapping.column(self.version, shared, &column.name);
        let other = self.opposite();
        let theirs = self.other.tables.values().find(|t| self.mapping.table(other, &t.name) == *shared);
        let theirs =
            theirs.and_then(|t| t.columns.iter().find(|c| self.mapping.column(other, shared, &c.name) == name));
        theirs.is_some_and(|theirs| theirs.default != column.default)
    }

    /// Fills in what only the other version knows.
    fn complete(&self, shared: &ObjectName, row: &mut Row) {
        let other = self.opposite();
        let theirs = self.other.tables.values().find(|t| self.mapping.table(other, &t.name) == *shared);
        for column in theirs.into_iter().flat_map(|t| &t.columns) {
            let name = self.mapping.column(other, shared, &column.name);
            if row.contains_key(&name) {
                continue;
            }
            let cell = match (self.version, self.derived(shared, &name, row)) {
                (Version::Old, Some(value)) => Cell::Known(value),
                (Version::Old, None) => match &column.default {
                    Some(default) => constant(default, &column.ty).map_or(Cell::Unknown, Cell::Known),
                    None if column.nullable && column.generated.is_none() => Cell::Known(None),
                    None => Cell::Unknown,
                },
                (Version::New, _) => Cell::Unknown,
            };
            row.insert(name, cell);
        }
    }

    /// The row after everything that only the other version knows was taken away and comes back from the start.
    pub fn forget_the_other(&self, table: &ObjectName, row: &mut Row) {
        let shared = self.mapping.table(self.version, table);
        let own: Vec<_> = self.schema.tables[table]
            .columns
            .iter()
            .map(|c| self.mapping.column(self.version, &shared, &c.name))
            .collect();
        row.retain(|name, _| own.contains(name));
        self.complete(&shared, row);
    }

    fn derived(&self, shared: &ObjectName, column: &str, row: &Row) -> Option<Value> {
        let derivation = self.mapping.derivations.get(&(shared.clone(), column.to_owned()))?;
        let known = row.iter().filter_map(|(name, cell)| match cell {
            Cell::Known(value) => Some((name.clone(), value.clone())),
            Cell::Unknown | Cell::NullOr(_) => None,
        });
        Some(derivation(&known.collect()))
    }

    /// Changes the row as this version's update of some columns does.
    pub fn updated(&self, table: &ObjectName, row: &mut Row, given: &BTreeMap<String, Value>) {
        let shared = self.mapping.table(self.version, table);
        let before = row.clone();
        for (column, value) in given {
            let cell = if value.is_none() { self.empty(&shared, column) } else { Cell::Known(value.clone()) };
            row.insert(self.mapping.column(self.version, &shared, column), cell);
        }
        let given: Vec<_> = given.keys().map(|c| self.mapping.column(self.version, &shared, c)).collect();
        for ((of, column), _) in self.mapping.derivations.iter().filter(|((of, _), _)| *of == shared) {
            if given.contains(column) {
                continue;
            }
            // The column follows what it is computed from, unless somebody has given it a value of its own.
            let (was, is) = (self.derived(of, column, &before), self.derived(of, column, row));
            let own_value = matches!((before.get(column), &was), (Some(Cell::Known(v)), Some(w)) if v != w);
            if was != is && !own_value {
                let cell = match (self.version, is, before.get(column)) {
                    (Version::Old, Some(value), Some(Cell::Known(_))) => Cell::Known(value),
                    // The new version left the column alone: whether it follows depends on how far the plan is.
                    _ => Cell::Unknown,
                };
                row.insert(column.clone(), cell);
            }
        }
        self.forget_generated(&shared, row);
    }

    /// Computed columns follow any change.
    fn forget_generated(&self, shared: &ObjectName, row: &mut Row) {
        for (version, schema) in [(self.version, &self.schema), (self.opposite(), &self.other)] {
            let table = schema.tables.values().find(|t| self.mapping.table(version, &t.name) == *shared);
            for column in table.into_iter().flat_map(|t| &t.columns).filter(|c| c.generated.is_some()) {
                row.insert(self.mapping.column(version, shared, &column.name), Cell::Unknown);
            }
        }
    }

    fn opposite(&self) -> Version {
        match self.version {
            Version::Old => Version::New,
            Version::New => Version::Old,
        }
    }

    /// Compares what this version read with what is known; what was unknown is known afterwards when `learn` is set.
    pub fn compare(
        &self,
        table: &ObjectName,
        row: &mut Row,
        columns: &[String],
        read: &[Value],
        learn: bool,
    ) -> Result<(), String> {
        let shared = self.mapping.table(self.version, table);
        for (column, value) in columns.iter().zip(read) {
            let name = self.mapping.column(self.version, &shared, column);
            if self.mapping.uncompared.contains(&(shared.clone(), name.clone())) {
                continue;
            }
            match row.get(&name) {
                Some(Cell::Known(known)) if known != value => {
                    return Err(format!("{table}.{column} is {value:?}, it must be {known:?}"));
                }
                Some(Cell::NullOr(filled)) if value.is_some() && filled != value => {
                    return Err(format!("{table}.{column} is {value:?}, it must be NULL or {filled:?}"));
                }
                Some(Cell::Unknown) if learn => {
                    row.insert(name, Cell::Known(value.clone()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a row of this owner references the row, by a foreign key of either version.
    pub fn is_referenced(&self, world: &World, table: &ObjectName, row: &Row) -> bool {
        let shared = self.mapping.table(self.version, table);
        self.references.iter().filter(|r| r.parent == shared).any(|r| {
            world.rows(&r.child).any(|(_, child)| {
                let mut pairs = r.columns.iter().zip(&r.parent_columns);
                pairs.all(|(from, to)| child.get(from) == row.get(to) && child.get(from) != Some(&Cell::Known(None)))
            })
        })
    }
}

/// Primary keys, unique constraints and unique indexes of both versions.
pub fn uniques(mapping: &Mapping, old: &Schema, new: &Schema) -> BTreeMap<ObjectName, Uniques> {
    let mut all: BTreeMap<ObjectName, BTreeSet<Vec<String>>> = BTreeMap::new();
    for (version, schema) in [(Version::Old, old), (Version::New, new)] {
        for table in schema.tables.values() {
            let shared = mapping.table(version, &table.name);
            let key = table.primary_key.iter().map(|k| k.columns.clone());
            let constraints = table.uniques.values().map(|u| u.columns.clone());
            let indexes = table.indexes.values().filter(|i| i.unique);
            let indexes = indexes.filter_map(|i| i.parts.iter().map(|p| p.column.clone()).collect::<Option<Vec<_>>>());
            for columns in key.chain(constraints).chain(indexes) {
                let columns = columns.iter().map(|c| mapping.column(version, &shared, c)).collect();
                all.entry(shared.clone()).or_default().insert(columns);
            }
        }
    }
    all.into_iter().map(|(table, keys)| (table, keys.into_iter().collect())).collect()
}

/// A foreign key in the new version's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Referencing table.
    pub child: ObjectName,
    /// Referencing columns.
    pub columns: Vec<String>,
    /// Referenced table.
    pub parent: ObjectName,
    /// Referenced columns.
    pub parent_columns: Vec<String>,
}

/// The foreign keys of both versions: what one of them will demand, the other must not violate.
fn references(mapping: &Mapping, old: &Schema, new: &Schema) -> Vec<Reference> {
    let mut all = Vec::new();
    for (version, schema) in [(Version::Old, old), (Version::New, new)] {
        for table in schema.tables.values() {
            for key in table.foreign_keys.values() {
                let (child, parent) = (mapping.table(version, &table.name), mapping.table(version, &key.ref_table));
                let names = |of: &ObjectName, list: &[String]| -> Vec<String> {
                    list.iter().map(|c| mapping.column(version, of, c)).collect()
                };
                let columns = names(&child, &key.columns);
                let parent_columns = names(&parent, &key.ref_columns);
                let reference = Reference { child, columns, parent, parent_columns };
                if !all.contains(&reference) {
                    all.push(reference);
                }
            }
        }
    }
    all
}
