//! Histories of real projects' databases: every state as facts from the catalogue, and as the SQL that builds it.
//!
//! The SQL is put together from the server's own words alone, without the renderer under test.

use std::{collections::BTreeMap, fmt::Write as _, io::Read as _, path::Path};

use serde::Deserialize;

/// One state of a project's database: after its migration `id`.
#[derive(Debug, Clone, Deserialize)]
pub struct State {
    /// The migration's name.
    pub id: String,
    /// What it changed.
    pub changes: Vec<ChangeFact>,
    tables: BTreeMap<String, TableFact>,
    columns: BTreeMap<String, BTreeMap<String, ColumnFact>>,
    constraints: BTreeMap<String, ConstraintFact>,
    indexes: BTreeMap<String, IndexFact>,
    types: BTreeMap<String, TypeFact>,
    sequences: BTreeMap<String, SequenceFact>,
    schemas: Vec<String>,
    extensions: Vec<String>,
    opaque: BTreeMap<String, Vec<String>>,
}

/// One change as its authors meant it.
#[derive(Debug, Clone, Deserialize)]
pub struct ChangeFact {
    /// `column.rename`, `table.add`, ...
    pub kind: String,
    /// The object, `public.users.email`.
    #[serde(default)]
    pub obj: String,
    /// The old name of what was renamed.
    #[serde(default)]
    pub frm: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Deserialize)]
struct TableFact {
    kind: String,
    persistence: String,
}

#[derive(Debug, Clone, Deserialize)]
struct ColumnFact {
    #[serde(rename = "type")]
    ty: String,
    notnull: bool,
    #[serde(default)]
    default: Option<String>,
    #[serde(default)]
    generated: Option<String>,
    #[serde(default)]
    identity: Option<String>,
    #[serde(default)]
    collation: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct ConstraintFact {
    def: String,
    tbl: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Clone, Deserialize)]
struct IndexFact {
    def: String,
    forcon: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct TypeFact {
    kind: String,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    attrs: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct SequenceFact {
    #[serde(rename = "type")]
    ty: String,
    start: i64,
    inc: i64,
    min: i64,
    max: i64,
    cache: i64,
    #[serde(default)]
    owned: Option<String>,
}

/// All states of a project, in order.
pub fn states(project: &str) -> Vec<State> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("histories/{project}.jsonl.gz"));
    let packed = std::fs::File::open(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{project}: {e}"))).collect()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `"public"."users"` for `public.users`.
fn qualified(name: &str) -> String {
    let (schema, name) = name.split_once('.').unwrap_or(("public", name));
    format!("{}.{}", quoted(schema), quoted(name))
}

impl State {
    /// What the SQL leaves out, because the facts hold only its name.
    pub fn left_out(&self) -> Vec<String> {
        let named = |kind: &str| self.opaque.get(kind).cloned().unwrap_or_default();
        let mut out: Vec<_> = named("views").iter().map(|v| format!("view {v}")).collect();
        out.extend(named("triggers").iter().map(|t| format!("trigger {t}")));
        out
    }

    /// The SQL that builds the state on an empty database.
    pub fn sql(&self) -> String {
        let mut sql = String::new();
        for schema in self.schemas.iter().filter(|s| *s != "public") {
            let _ = writeln!(sql, "CREATE SCHEMA IF NOT EXISTS {};", quoted(schema));
        }
        for extension in &self.extensions {
            let _ = writeln!(sql, "CREATE EXTENSION IF NOT EXISTS {};", quoted(extension));
        }
        self.functions(&mut sql);
        self.types(&mut sql);
        for (name, sequence) in self.sequences.iter().filter(|(_, s)| !s.is_identity()) {
            let SequenceFact { ty, start, inc, min, max, cache, .. } = sequence;
            let _ = writeln!(
                sql,
                "CREATE SEQUENCE {} AS {ty} START {start} INCREMENT {inc} MINVALUE {min} MAXVALUE {max} CACHE {cache};",
                qualified(name)
            );
        }
        self.tables(&mut sql);
        for (name, sequence) in self.sequences.iter().filter(|(_, s)| !s.is_identity()) {
            if let Some((table, column)) = sequence.owner() {
                let schema = name.split('.').next().unwrap_or("public");
                let table = format!("{}.{}", quoted(schema), quoted(table));
                let _ = writeln!(sql, "ALTER SEQUENCE {} OWNED BY {table}.{};", qualified(name), quoted(column));
            }
        }
        self.constraints(&mut sql);
        sql
    }

    /// Stand-ins for functions that indexes and checks call: the facts hold names only.
    fn functions(&self, sql: &mut String) {
        let used = |name: &str| {
            let call = format!("{name}(");
            self.indexes.values().any(|i| i.def.contains(&call))
                || self.constraints.values().any(|c| c.def.contains(&call))
        };
        for function in self.opaque.get("functions").into_iter().flatten() {
            let name = function.split('(').next().unwrap_or_default();
            let bare = name.rsplit('.').next().unwrap_or(name);
            if used(bare) {
                let arguments = &function[name.len()..];
                let _ = writeln!(
                    sql,
                    "CREATE FUNCTION {name}{arguments} RETURNS character varying LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';"
                );
            }
        }
    }

    fn types(&self, sql: &mut String) {
        for (name, fact) in &self.types {
            let body = match fact.kind.as_str() {
                "e" => {
                    let labels: Vec<_> = fact.labels.iter().map(|l| format!("'{}'", l.replace('\'', "''"))).collect();
                    format!("ENUM ({})", labels.join(", "))
                }
                _ => format!("({})", fact.attrs.join(", ")),
            };
            let _ = writeln!(sql, "CREATE TYPE {} AS {body};", qualified(name));
        }
    }

    fn tables(&self, sql: &mut String) {
        for (name, fact) in self.tables.iter().filter(|(_, t)| t.kind == "r") {
            let unlogged = if fact.persistence == "u" { "UNLOGGED " } else { "" };
            let columns: Vec<_> =
                self.columns.get(name).into_iter().flatten().map(|(column, fact)| fact.sql(column)).collect();
            let _ = writeln!(sql, "CREATE {unlogged}TABLE {} ({});", qualified(name), columns.join(", "));
        }
    }

    fn constraints(&self, sql: &mut String) {
        for kinds in ["pu", "cx", "f"] {
            for (path, fact) in self.constraints.iter().filter(|(_, c)| kinds.contains(c.kind.as_str())) {
                let name = path.split_once('/').map_or(path.as_str(), |(_, name)| name);
                let table = qualified(&fact.tbl);
                let _ = writeln!(sql, "ALTER TABLE {table} ADD CONSTRAINT {} {};", quoted(name), fact.def);
            }
            if kinds == "pu" {
                for index in self.indexes.values().filter(|i| !i.forcon) {
                    let _ = writeln!(sql, "{};", index.def);
                }
            }
        }
    }
}

impl ColumnFact {
    fn sql(&self, name: &str) -> String {
        let mut sql = format!("{} {}", quoted(name), self.ty);
        if let Some(collation) = &self.collation {
            let _ = write!(sql, " COLLATE {}", quoted(collation));
        }
        match (&self.generated, &self.identity) {
            (Some(expr), _) => drop(write!(sql, " GENERATED ALWAYS AS ({expr}) STORED")),
            (None, Some(kind)) => {
                let when = if kind == "a" { "ALWAYS" } else { "BY DEFAULT" };
                let _ = write!(sql, " GENERATED {when} AS IDENTITY");
            }
            (None, None) => {
                if let Some(default) = &self.default {
                    let _ = write!(sql, " DEFAULT {default}");
                }
            }
        }
        if self.notnull {
            sql.push_str(" NOT NULL");
        }
        sql
    }
}

impl SequenceFact {
    fn is_identity(&self) -> bool {
        self.owned.as_deref().is_some_and(|o| o.ends_with(":i"))
    }

    fn owner(&self) -> Option<(&str, &str)> {
        self.owned.as_deref()?.split(':').next()?.split_once('.')
    }
}
