//! Random schemas and random changes of them, with what a user would say beside: renames, backfills, drops.

use std::collections::{BTreeMap, BTreeSet};

use schemadiff::model::Dialect;

use super::spec::{Column, Key, Kind, Reference, Schema, Table};

/// Numbers from a seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % limit.max(1) as u64) as usize
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn pick<'t, T>(&mut self, of: &'t [T]) -> Option<&'t T> {
        if of.is_empty() { None } else { Some(&of[self.below(of.len())]) }
    }
}

const TABLES: [&str; 8] =
    ["customers", "orders", "order_lines", "products", "accounts", "invoices", "memberships", "audit_events"];
const COLUMNS: [&str; 12] = [
    "email",
    "title",
    "status",
    "note",
    "quantity",
    "price",
    "is_active",
    "created_at",
    "settings",
    "country",
    "position",
    "external_ref",
];
const KINDS: [Kind; 10] = [
    Kind::Int,
    Kind::BigInt,
    Kind::Text,
    Kind::Varchar(20),
    Kind::Varchar(80),
    Kind::Bool,
    Kind::Time,
    Kind::Money,
    Kind::Json,
    Kind::Text,
];

/// New and old name of a table.
pub type TableRename = (String, String);
/// Table, new and old name of a column.
pub type ColumnRename = (String, String, String);

/// A schema after some edits, with how its names and values come from the first one.
#[derive(Debug, Clone)]
pub struct Edited {
    pub schema: Schema,
    /// Name to the name in the first schema, of tables that were there.
    pub tables: BTreeMap<String, String>,
    /// Table and column to the column in the first schema.
    pub columns: BTreeMap<(String, String), String>,
    /// What was done, for the reader.
    pub log: Vec<String>,
}

/// A schema to begin with.
pub fn schema(random: &mut Random) -> Schema {
    let mut schema = Schema::default();
    for _ in 0..2 + random.below(4) {
        add_table(&mut schema, random);
    }
    schema
}

fn free<'n>(random: &mut Random, names: &[&'n str], is_taken: impl Fn(&str) -> bool) -> Option<&'n str> {
    let left: Vec<_> = names.iter().copied().filter(|n| !is_taken(n)).collect();
    random.pick(&left).copied()
}

fn column(random: &mut Random, name: &str) -> Column {
    let kind = *random.pick(&KINDS).unwrap_or(&Kind::Text);
    Column { name: name.into(), kind, nullable: random.one_in(2), default: random.one_in(3) }
}

fn add_table(schema: &mut Schema, random: &mut Random) -> Option<String> {
    let name = free(random, &TABLES, |n| schema.table(n).is_some())?;
    let mut table = Table::new(name);
    for _ in 0..1 + random.below(4) {
        if let Some(name) = free(random, &COLUMNS, |n| table.column(n).is_some()) {
            let column = column(random, name);
            table.columns.push(column);
        }
    }
    let parents: Vec<String> = schema.tables.iter().map(|t| t.name.clone()).collect();
    if let Some(parent) = random.pick(&parents).filter(|_| true) {
        add_reference(&mut table, parent, random);
    }
    for _ in 0..random.below(3) {
        add_key(&mut table, random);
    }
    schema.tables.push(table);
    Some(format!("add table {name}"))
}

fn add_reference(table: &mut Table, parent: &str, random: &mut Random) {
    let name = format!("{parent}_id");
    if table.column(&name).is_some() {
        return;
    }
    table.columns.push(Column { name: name.clone(), kind: Kind::BigInt, nullable: true, default: false });
    let constraint = format!("{}_{name}_fk", table.name);
    table.references.push(Reference {
        name: constraint,
        column: name,
        parent: parent.into(),
        cascade: random.one_in(2),
    });
}

/// An index, a unique constraint or a check.
fn add_key(table: &mut Table, random: &mut Random) -> Option<String> {
    let names: Vec<String> = table.columns.iter().filter(|c| c.kind != Kind::Json).map(|c| c.name.clone()).collect();
    let first = random.pick(&names)?.clone();
    let mut columns = vec![first.clone()];
    if random.one_in(3) {
        columns.extend(random.pick(&names).filter(|c| **c != first).cloned());
    }
    let of = columns.join("_");
    match random.below(4) {
        0 => {
            let name = format!("{}_{of}_uq", table.name);
            if !unique_kinds(table, &columns) || table.uniques.iter().any(|k| k.name == name) {
                return None;
            }
            table.uniques.push(Key { name: name.clone(), columns, unique: true, partial: false });
            Some(format!("add unique {name}"))
        }
        1 => {
            let name = format!("{}_{first}_ck", table.name);
            let kind = table.column(&first)?.kind;
            if matches!(kind, Kind::Bool | Kind::Time) || table.checks.iter().any(|(n, ..)| *n == name) {
                return None;
            }
            table.checks.push((name.clone(), first, 10 + random.below(5) as u32));
            Some(format!("add check {name}"))
        }
        _ => {
            let name = format!("{}_{of}_idx", table.name);
            if table.indexes.iter().any(|k| k.name == name) {
                return None;
            }
            let unique = random.one_in(4) && unique_kinds(table, &columns);
            table.indexes.push(Key { name: name.clone(), columns, unique, partial: random.one_in(4) });
            Some(format!("add index {name}"))
        }
    }
}

/// Kinds that have room for different values.
fn unique_kinds(table: &Table, columns: &[String]) -> bool {
    let kind = |c: &String| table.column(c).map(|c| c.kind);
    columns.iter().filter_map(kind).any(|k| matches!(k, Kind::Int | Kind::BigInt | Kind::Text | Kind::Varchar(_)))
        && columns.iter().all(|c| table.references.iter().all(|r| r.column != *c))
}

impl Edited {
    pub fn new(schema: &Schema) -> Self {
        let tables = schema.tables.iter().map(|t| (t.name.clone(), t.name.clone())).collect();
        let columns = schema.tables.iter().flat_map(|t| {
            let pair = |c: &Column| ((t.name.clone(), c.name.clone()), c.name.clone());
            t.columns.iter().map(pair).collect::<Vec<_>>()
        });
        Self { schema: schema.clone(), tables, columns: columns.collect(), log: Vec::new() }
    }

    /// One change, drawn from its own seed; what does not fit is left out.
    pub fn edit(&mut self, seed: u64) {
        let random = &mut Random::new(seed);
        for _ in 0..5 {
            if let Some(what) = self.attempt(random) {
                return self.log.push(what);
            }
        }
    }

    fn attempt(&mut self, random: &mut Random) -> Option<String> {
        let choice = random.below(20);
        if choice == 0 {
            return add_table(&mut self.schema, random);
        }
        let at = random.below(self.schema.tables.len());
        match choice {
            1 => self.drop_table(at),
            2 => self.rename_table(at, random),
            3..=5 => self.add_column(at, random),
            6 => self.drop_column(at, random),
            7..=8 => self.rename_column(at, random),
            9..=14 => self.alter_column(at, random),
            15..=17 => add_key(self.schema.tables.get_mut(at)?, random),
            18 => self.drop_key(at, random),
            _ => {
                let parents: Vec<String> = self.schema.tables[..at].iter().map(|t| t.name.clone()).collect();
                let parent = random.pick(&parents)?.clone();
                let table = self.schema.tables.get_mut(at)?;
                add_reference(table, &parent, random);
                Some(format!("{} references {parent}", table.name))
            }
        }
    }

    fn drop_table(&mut self, at: usize) -> Option<String> {
        let name = self.schema.tables.get(at)?.name.clone();
        if self.schema.tables.len() < 2 || !self.tables.contains_key(&name) {
            return None;
        }
        self.schema.tables.remove(at);
        self.schema.tables.iter_mut().for_each(|t| t.references.retain(|r| r.parent != name));
        self.tables.remove(&name);
        self.columns.retain(|(table, _), _| *table != name);
        Some(format!("drop table {name}"))
    }

    fn rename_table(&mut self, at: usize, random: &mut Random) -> Option<String> {
        let old = self.schema.tables.get(at)?.name.clone();
        let first = self.tables.get(&old)?.clone();
        let name = format!("{}_{}", old, ["v2", "all"][random.below(2)]);
        if self.schema.table(&name).is_some() {
            return None;
        }
        self.schema.tables[at].name.clone_from(&name);
        for table in &mut self.schema.tables {
            table.references.iter_mut().filter(|r| r.parent == old).for_each(|r| r.parent.clone_from(&name));
        }
        self.tables.remove(&old);
        self.tables.insert(name.clone(), first);
        let columns = std::mem::take(&mut self.columns);
        let moved = |table: String| if table == old { name.clone() } else { table };
        self.columns = columns.into_iter().map(|((t, c), from)| ((moved(t), c), from)).collect();
        Some(format!("rename table {old} to {name}"))
    }

    fn add_column(&mut self, at: usize, random: &mut Random) -> Option<String> {
        let table = self.schema.tables.get_mut(at)?;
        // A name that was there before would be a column that stays.
        let was = self.columns.iter().filter(|((t, _), _)| *t == table.name).map(|(_, from)| from.clone());
        let was: BTreeSet<String> = was.collect();
        let name = free(random, &COLUMNS, |n| table.column(n).is_some() || was.contains(n))?;
        let name = format!("{name}_{}", ["new", "x"][random.below(2)]);
        if table.column(&name).is_some() {
            return None;
        }
        let column = column(random, &name);
        table.columns.push(column);
        Some(format!("add column {}.{name}", table.name))
    }

    fn drop_column(&mut self, at: usize, random: &mut Random) -> Option<String> {
        let table = self.schema.tables.get_mut(at)?;
        let name = random.pick(&table.columns)?.name.clone();
        if table.columns.len() < 2 {
            return None;
        }
        table.forget(&name);
        table.columns.retain(|c| c.name != name);
        self.columns.remove(&(table.name.clone(), name.clone()));
        Some(format!("drop column {}.{name}", table.name))
    }

    fn rename_column(&mut self, at: usize, random: &mut Random) -> Option<String> {
        let table = self.schema.tables.get_mut(at)?;
        let old = random.pick(&table.columns)?.name.clone();
        let first = self.columns.get(&(table.name.clone(), old.clone()))?.clone();
        let name = format!("{old}_{}", ["2", "value"][random.below(2)]);
        if table.column(&name).is_some() {
            return None;
        }
        let put = |c: &mut String| {
            if *c == old {
                c.clone_from(&name);
            }
        };
        table.columns.iter_mut().for_each(|c| put(&mut c.name));
        table.uniques.iter_mut().chain(&mut table.indexes).flat_map(|k| &mut k.columns).for_each(put);
        table.checks.iter_mut().for_each(|(_, c, _)| put(c));
        table.references.iter_mut().for_each(|r| put(&mut r.column));
        self.columns.remove(&(table.name.clone(), old.clone()));
        self.columns.insert((table.name.clone(), name.clone()), first);
        Some(format!("rename column {}.{old} to {name}", table.name))
    }

    fn alter_column(&mut self, at: usize, random: &mut Random) -> Option<String> {
        let table = self.schema.tables.get_mut(at)?;
        let name = random.pick(&table.columns)?.name.clone();
        let referencing = table.references.iter().any(|r| r.column == name);
        let checked = table.checks.iter().any(|(_, c, _)| *c == name);
        let column = table.columns.iter_mut().find(|c| c.name == name)?;
        let what = match random.below(3) {
            0 if !referencing => {
                column.nullable = !column.nullable;
                "nullability"
            }
            1 if !referencing => {
                column.default = !column.default;
                "default"
            }
            _ if !referencing && !checked => {
                column.kind = wider(column.kind)?;
                "type"
            }
            _ => return None,
        };
        Some(format!("change {what} of {}.{name}", table.name))
    }

    fn drop_key(&mut self, at: usize, random: &mut Random) -> Option<String> {
        let table = self.schema.tables.get_mut(at)?;
        let which = random.below(4);
        let name = match which {
            0 => random.pick(&table.uniques)?.name.clone(),
            1 => random.pick(&table.checks)?.0.clone(),
            2 => random.pick(&table.references)?.name.clone(),
            _ => random.pick(&table.indexes)?.name.clone(),
        };
        table.uniques.retain(|k| k.name != name);
        table.checks.retain(|(n, ..)| *n != name);
        table.references.retain(|r| r.name != name);
        table.indexes.retain(|k| k.name != name);
        Some(format!("drop {name}"))
    }

    /// `--rename` of each table and column.
    pub fn renames(&self) -> (Vec<TableRename>, Vec<ColumnRename>) {
        let tables = self.tables.iter().filter(|(new, old)| new != old);
        let columns = self.columns.iter().filter(|((_, new), old)| new != *old);
        (
            tables.map(|(new, old)| (new.clone(), old.clone())).collect(),
            columns.map(|((table, new), old)| (table.clone(), new.clone(), old.clone())).collect(),
        )
    }

    /// A value for columns that need one: they are new, or may be NULL in the first schema.
    pub fn backfills(&self, before: &Schema, dialect: Dialect) -> Vec<(String, String, String)> {
        let mut all = Vec::new();
        for table in &self.schema.tables {
            let Some(was) = self.tables.get(&table.name).and_then(|first| before.table(first)) else { continue };
            for column in table.columns.iter().filter(|c| !c.nullable) {
                let first = self.columns.get(&(table.name.clone(), column.name.clone()));
                let lacks = match first.and_then(|first| was.column(first)) {
                    Some(was) => was.nullable,
                    None => !column.default,
                };
                if lacks {
                    all.push((table.name.clone(), column.name.clone(), column.kind.constant(dialect).to_owned()));
                }
            }
        }
        all
    }
}

/// A kind to which every value of this one can be converted.
fn wider(kind: Kind) -> Option<Kind> {
    Some(match kind {
        Kind::Int => Kind::BigInt,
        Kind::BigInt | Kind::Money => Kind::Text,
        Kind::Varchar(20) => Kind::Varchar(80),
        Kind::Varchar(_) | Kind::Json | Kind::Bool => Kind::Text,
        Kind::Text | Kind::Time => return None,
    })
}
