//! Statements that build a state from the server's own words alone, without the renderer under test.

use std::collections::{BTreeMap, BTreeSet};

use super::{ColumnFacts, ConstraintFacts, IndexFacts, SequenceFacts, State};

/// A quoted identifier.
fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `schema.name` of the catalogue as a quoted, qualified name.
pub fn quoted(key: &str) -> String {
    let (schema, name) = key.split_once('.').unwrap_or(("public", key));
    format!("{}.{}", ident(schema), ident(name))
}

/// A name as the server shows it, as `schema.name`.
fn key_of(shown: &str) -> String {
    let bare = shown.replace('"', "");
    if bare.contains('.') { bare } else { format!("public.{bare}") }
}

impl State {
    /// Why the table is not one that the model holds; `None` for ordinary tables.
    pub fn unsupported(&self, table: &str) -> Option<&'static str> {
        let facts = &self.tables[table];
        match facts.kind.as_str() {
            "p" => None,
            _ if !facts.ispart && !facts.parents.is_empty() => Some("inherited table"),
            "r" => None,
            _ => Some("no ordinary table"),
        }
    }

    /// The table that a table is a partition of.
    pub fn partitioned(&self, table: &str) -> Option<String> {
        let facts = &self.tables[table];
        facts.parents.first().filter(|_| facts.ispart).map(|parent| key_of(parent))
    }

    /// Tables with those that they are partitions of before them.
    pub fn parents_first<'t>(&self, tables: impl IntoIterator<Item = &'t String>) -> Vec<&'t String> {
        let depth = |table: &String| {
            let mut depth = 0;
            let mut above = self.partitioned(table);
            while let Some(parent) = above {
                depth += 1;
                above = self.partitioned(&parent);
            }
            depth
        };
        let mut tables: Vec<_> = tables.into_iter().collect();
        tables.sort_by_key(|table| depth(table));
        tables
    }

    /// The tables, those that they are partitions of, and all that foreign keys reach.
    pub fn with_parents(&self, tables: &BTreeSet<String>) -> BTreeSet<String> {
        let mut all = tables.clone();
        let mut waiting: Vec<String> = tables.iter().cloned().collect();
        while let Some(table) = waiting.pop() {
            let referenced = self.constraints_of(&table).filter_map(|(_, constraint)| constraint.parent());
            for parent in referenced.chain(self.partitioned(&table)) {
                if self.tables.contains_key(&parent) && all.insert(parent.clone()) {
                    waiting.push(parent);
                }
            }
        }
        all
    }

    /// Constraints of a table by name, without the copies that the server makes for partitions.
    pub fn constraints_of<'s>(&'s self, table: &str) -> impl Iterator<Item = (&'s str, &'s ConstraintFacts)> {
        let of = self.constraints.iter().filter(move |(_, c)| c.tbl == table && !c.haspar);
        of.map(|(key, c)| (key.rsplit_once('/').map_or(key.as_str(), |(_, name)| name), c))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Constraints that a partition does not have from its parent.
    fn own_constraints<'s>(&'s self, table: &str) -> impl Iterator<Item = (&'s str, &'s ConstraintFacts)> {
        self.constraints_of(table).filter(|(_, constraint)| !constraint.inherited)
    }

    /// Whether the table is a partition and has the index from its parent.
    fn is_inherited(&self, table: &str, index: &IndexFacts) -> bool {
        let Some(parent) = self.partitioned(table) else { return false };
        self.indexes_of(&parent).any(|(_, of_parent)| of_parent.what() == index.what())
    }

    /// Indexes of a table by name.
    pub fn indexes_of<'s>(&'s self, table: &str) -> impl Iterator<Item = (&'s str, &'s IndexFacts)> {
        let of = self.indexes.iter().filter(move |(_, i)| i.tbl == table);
        of.map(|(key, i)| (key.split_once('.').map_or(key.as_str(), |(_, n)| n), i)).collect::<Vec<_>>().into_iter()
    }

    /// Sequences that a table's columns own: (name, column, facts).
    pub fn sequences_of<'s>(&'s self, table: &str) -> Vec<(&'s str, &'s str, &'s SequenceFacts)> {
        let mut found = Vec::new();
        for (key, facts) in &self.sequences {
            let Some((owner, column)) = facts.owned.as_deref().and_then(|o| o.rsplit_once(':')?.0.rsplit_once('.'))
            else {
                continue;
            };
            if key_of(owner) == table {
                found.push((key.as_str(), column.trim_matches('"'), facts));
            }
        }
        found
    }

    /// Everything that makes the table what it is, for telling whether it is the same as in another state.
    pub fn content(&self, table: &str) -> String {
        let enums: BTreeMap<_, _> = self.types.iter().filter(|(_, t)| t.kind == "e").collect();
        let used: Vec<_> = enums
            .into_iter()
            .filter(|(key, _)| self.columns.get(table).is_some_and(|cs| cs.values().any(|c| uses(&c.ty, key))))
            .collect();
        let constraints: Vec<_> = self.constraints_of(table).collect();
        let indexes: Vec<_> = self.indexes_of(table).collect();
        let parts =
            (&self.tables[table], self.columns.get(table), constraints, indexes, self.sequences_of(table), used);
        serde_json::to_string(&parts).unwrap()
    }

    /// What must be there before the tables and is no part of the model: extensions, schemas, composite types, sequences
    /// that nobody owns, and functions that the tables call, with bodies that stand in for theirs.
    pub fn surroundings(&self, tables: &BTreeSet<String>) -> Vec<String> {
        let mut sql = Vec::new();
        sql.extend(self.schemas.iter().map(|s| format!("CREATE SCHEMA IF NOT EXISTS {}", ident(s))));
        sql.extend(self.extensions.iter().map(|e| format!("CREATE EXTENSION IF NOT EXISTS {}", ident(e))));
        for (key, ty) in self.types.iter().filter(|(_, ty)| ty.kind == "c") {
            sql.push(format!("CREATE TYPE {} AS ({})", quoted(key), ty.attrs.join(", ")));
        }
        let free = self.sequences.iter().filter(|(_, facts)| facts.owned.is_none());
        sql.extend(free.map(|(key, facts)| facts.create(key)));
        for function in &self.opaque.functions {
            let Some((name, arguments)) = function.split_once('(') else { continue };
            let call = format!("{}(", name.split_once('.').map_or(name, |(_, n)| n));
            // One type for all columns of texts: which of them calls it first says nothing of the function.
            let as_text = |ty: String| if ty == "character varying" { "text".to_owned() } else { ty };
            if let Some(ty) = self.result_type(tables, &call).map(as_text) {
                sql.push(stand_in(name, arguments, &ty));
            }
        }
        sql
    }

    /// The type a function must have for the tables that call it; `None` if none does.
    fn result_type(&self, tables: &BTreeSet<String>, call: &str) -> Option<String> {
        let columns = tables.iter().filter_map(|t| self.columns.get(t)).flat_map(BTreeMap::values);
        let calls = |text: &str| text.contains(call);
        for column in columns {
            if [&column.default, &column.generated].into_iter().flatten().any(|expr| calls(expr)) {
                return Some(column.ty.clone());
            }
        }
        let somewhere = tables.iter().any(|table| {
            self.indexes_of(table).any(|(_, i)| calls(&i.def)) || self.constraints_of(table).any(|(_, c)| calls(&c.def))
        });
        somewhere.then(|| "text".to_owned())
    }

    /// The SQL that builds the whole state on an empty database.
    pub fn sql(&self) -> String {
        let tables: BTreeSet<_> = self.tables.keys().cloned().collect();
        let mut sql = self.surroundings(&tables);
        sql.extend(self.create_enums());
        sql.extend(self.parents_first(&tables).into_iter().flat_map(|table| self.create_table(table)));
        sql.extend(tables.iter().flat_map(|table| self.create_foreign_keys(table)));
        sql.iter().map(|statement| format!("{statement};\n")).collect()
    }

    /// What the SQL leaves out, because the facts hold only its name.
    pub fn left_out(&self) -> Vec<String> {
        let views = self.opaque.views.iter().map(|v| format!("view {v}"));
        views.chain(self.opaque.triggers.iter().map(|t| format!("trigger {t}"))).collect()
    }

    /// Enumerated types.
    pub fn create_enums(&self) -> Vec<String> {
        let enums = self.types.iter().filter(|(_, ty)| ty.kind == "e");
        enums
            .map(|(key, ty)| {
                let labels: Vec<_> = ty.labels.iter().map(|label| literal(label)).collect();
                format!("CREATE TYPE {} AS ENUM ({})", quoted(key), labels.join(", "))
            })
            .collect()
    }

    /// One table from its facts, without foreign keys.
    pub fn create_table(&self, table: &str) -> Vec<String> {
        let (facts, name) = (&self.tables[table], quoted(table));
        let sequences = self.sequences_of(table);
        let serial = |s: &&(&str, &str, &SequenceFacts)| s.2.owned.as_deref().is_some_and(|o| o.ends_with(":a"));
        let mut sql: Vec<_> = sequences.iter().filter(serial).map(|(key, _, facts)| facts.create(key)).collect();
        let columns = self.columns.get(table).into_iter().flatten();
        let lines: Vec<_> = columns
            .map(|(column, facts)| facts.definition(column, sequences.iter().find(|s| s.1 == column).map(|s| s.0)))
            .collect();
        let unlogged = if facts.persistence == "u" { "UNLOGGED " } else { "" };
        let partitioned = facts.partkey.as_ref().map(|key| format!(" PARTITION BY {key}")).unwrap_or_default();
        let body = match (self.partitioned(table), &facts.partbound) {
            (Some(parent), Some(bound)) => format!("PARTITION OF {} {bound}", quoted(&parent)),
            _ => format!("({})", lines.join(", ")),
        };
        sql.push(format!("CREATE {unlogged}TABLE {name} {body}{partitioned}"));
        for (key, column, _) in sequences.iter().filter(serial) {
            sql.push(format!("ALTER SEQUENCE {} OWNED BY {name}.{}", quoted(key), ident(column)));
        }
        for (constraint, facts) in self.own_constraints(table).filter(|(_, c)| c.kind != "f" && c.kind != "t") {
            sql.push(format!("ALTER TABLE {name} ADD CONSTRAINT {} {}", ident(constraint), facts.def));
            sql.extend(comment(&format!("CONSTRAINT {} ON {name}", ident(constraint)), facts.comment.as_deref()));
        }
        let schema = table.split_once('.').map_or("public", |(schema, _)| schema);
        for (index, facts) in self.indexes_of(table).filter(|(_, i)| !i.forcon && !self.is_inherited(table, i)) {
            sql.push(facts.def.clone());
            sql.extend(comment(&format!("INDEX {}.{}", ident(schema), ident(index)), facts.comment.as_deref()));
        }
        sql.extend(comment(&format!("TABLE {name}"), facts.comment.as_deref()));
        for (column, facts) in self.columns.get(table).into_iter().flatten() {
            sql.extend(comment(&format!("COLUMN {name}.{}", ident(column)), facts.comment.as_deref()));
        }
        sql
    }

    /// The foreign keys of one table.
    pub fn create_foreign_keys(&self, table: &str) -> Vec<String> {
        self.create_those(table, |_| true)
    }

    /// The foreign keys of one table to some others.
    pub fn create_foreign_keys_to(&self, table: &str, others: &BTreeSet<String>) -> Vec<String> {
        self.create_those(table, |facts| facts.parent().is_some_and(|parent| others.contains(&parent)))
    }

    fn create_those(&self, table: &str, which: impl Fn(&ConstraintFacts) -> bool) -> Vec<String> {
        let name = quoted(table);
        let mut sql = Vec::new();
        for (constraint, facts) in self.own_constraints(table).filter(|(_, c)| c.kind == "f" && which(c)) {
            sql.push(format!("ALTER TABLE {name} ADD CONSTRAINT {} {}", ident(constraint), facts.def));
            sql.extend(comment(&format!("CONSTRAINT {} ON {name}", ident(constraint)), facts.comment.as_deref()));
        }
        sql
    }
}

/// A function of that name, whose body is not in the facts.
fn stand_in(name: &str, arguments: &str, ty: &str) -> String {
    let value = match (ty, arguments) {
        ("text" | "character varying", ")" | "integer)" | "int4 integer)") => "md5(random()::text)",
        ("text" | "character varying", _) => "lower($1::text)",
        _ => "NULL",
    };
    let name = quoted(name);
    format!("CREATE FUNCTION {name}({arguments} RETURNS {ty} IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN {value}; END'")
}

/// Whether a column type is the named type or an array of it.
fn uses(ty: &str, key: &str) -> bool {
    key_of(ty.trim_end_matches("[]")) == key
}

fn comment(object: &str, text: Option<&str>) -> Option<String> {
    text.map(|text| format!("COMMENT ON {object} IS {}", literal(text)))
}

impl IndexFacts {
    /// What it is over, without its name and table.
    fn what(&self) -> &str {
        self.def.split_once(" USING ").map_or("", |(_, what)| what)
    }
}

impl ConstraintFacts {
    /// The table that a foreign key references.
    pub fn parent(&self) -> Option<String> {
        let (_, target) = self.def.split_once(" REFERENCES ")?;
        Some(key_of(target.split_once('(')?.0.trim()))
    }
}

impl ColumnFacts {
    fn definition(&self, name: &str, sequence: Option<&str>) -> String {
        let mut sql = format!("{} {}", ident(name), self.ty);
        if let Some(collation) = &self.collation {
            sql += &format!(" COLLATE {}", ident(collation));
        }
        if let Some(expr) = &self.generated {
            sql += &format!(" GENERATED ALWAYS AS ({expr}) STORED");
        }
        if let Some(identity) = &self.identity {
            let kind = if identity == "a" { "ALWAYS" } else { "BY DEFAULT" };
            let name = sequence.map(|key| format!(" (SEQUENCE NAME {})", quoted(key))).unwrap_or_default();
            sql += &format!(" GENERATED {kind} AS IDENTITY{name}");
        }
        if let Some(expr) = &self.default {
            sql += &format!(" DEFAULT {expr}");
        }
        if self.notnull {
            sql += " NOT NULL";
        }
        sql
    }
}

impl SequenceFacts {
    fn create(&self, key: &str) -> String {
        let cycle = if self.cycle { " CYCLE" } else { "" };
        format!(
            "CREATE SEQUENCE {} AS {} INCREMENT BY {} MINVALUE {} MAXVALUE {} START WITH {} CACHE {}{cycle}",
            quoted(key),
            self.ty,
            self.inc,
            self.min,
            self.max,
            self.start,
            self.cache
        )
    }
}
