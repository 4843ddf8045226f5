//! Which names are taken while default names are given.

use std::collections::{BTreeMap, BTreeSet};

use super::{TableDecl, naming};
use crate::model::{Dialect, ObjectName};

/// Names in use, by database schema. Names that users gave come first, so that a default name gives way to them.
#[derive(Debug, Default)]
pub struct Names {
    dialect: Option<Dialect>,
    /// Of tables and indexes, and whose they are.
    relations: BTreeMap<(Option<String>, String), ObjectName>,
    constraints: BTreeSet<(Option<String>, String)>,
}

impl Dialect {
    /// How the engine compares names: SQLite and MySQL do not tell upper from lower case.
    pub(crate) fn fold(self, name: &str) -> String {
        if self == Self::Postgres { name.to_owned() } else { name.to_lowercase() }
    }
}

impl Names {
    /// Takes the names of tables and those that were given by hand. What two tables cannot both have: the second of the
    /// two, the name, and the first.
    pub fn reserve(
        &mut self,
        decls: &BTreeMap<ObjectName, &TableDecl>,
        dialect: Dialect,
    ) -> Vec<(ObjectName, String, ObjectName)> {
        self.dialect = Some(dialect);
        let mut twice = Vec::new();
        for table in decls.keys() {
            self.relations.insert(self.key(table, &table.name), table.clone());
        }
        for (table, decl) in decls {
            let uniques = decl.uniques.iter().map(|it| &it.name);
            let key = decl.primary_key.iter().map(|it| &it.name);
            // SQLite has no name for a primary key.
            let relation = decl.primary_key.iter().filter(|_| dialect != Dialect::Sqlite).map(|it| &it.name);
            let indexes = decl.indexes.iter().map(|it| &it.name);
            for name in uniques.clone().chain(relation).chain(indexes).flatten() {
                let first = self.relations.entry(self.key(table, name)).or_insert_with(|| table.clone());
                if *first != *table || dialect.fold(name) == dialect.fold(&table.name) {
                    twice.push((table.clone(), name.clone(), first.clone()));
                }
            }
            let checks = decl.checks.iter().map(|it| &it.name);
            let foreign_keys = decl.foreign_keys.iter().map(|it| &it.name);
            for name in uniques.chain(key).chain(checks).chain(foreign_keys).flatten() {
                self.constraints.insert(self.key(table, name));
            }
        }
        // Elsewhere an index has a name within its table.
        if dialect == Dialect::Mysql { Vec::new() } else { twice }
    }

    /// A default name for a check or a foreign key.
    pub fn constraint(&mut self, table: &ObjectName, columns: &[&str], suffix: &str) -> String {
        let taken = |name: &str| self.constraints.contains(&self.key(table, name));
        let name = naming::free_name(&table.name, columns, suffix, taken);
        self.constraints.insert(self.key(table, &name));
        name
    }

    /// A default name for an index, and for the constraint that owns it, if one does.
    pub fn index(&mut self, table: &ObjectName, columns: &[&str], suffix: &str, constraint: bool) -> String {
        let taken = |name: &str| {
            let key = self.key(table, name);
            self.relations.contains_key(&key) || (constraint && self.constraints.contains(&key))
        };
        let name = naming::free_name(&table.name, columns, suffix, taken);
        let key = self.key(table, &name);
        if constraint {
            self.constraints.insert(key.clone());
        }
        self.relations.insert(key, table.clone());
        name
    }

    fn key(&self, table: &ObjectName, name: &str) -> (Option<String>, String) {
        (table.schema.clone(), self.dialect.map_or_else(|| name.to_owned(), |dialect| dialect.fold(name)))
    }
}
