//! Real schema histories: states of real services, and the statements that build them from their facts.

pub mod intent;
pub mod reference;
mod sql;
pub mod transition;

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

pub use self::sql::quoted;

/// The schema of a service after one of its migrations. Keys are `schema.name` of the catalogue, unquoted.
#[derive(Debug, Clone, Deserialize)]
pub struct State {
    /// Position in the history.
    pub step: u32,
    /// Name of the migration.
    pub id: String,
    /// What the migration changed; `column.rename` and `table.rename` are the intents that two states cannot show.
    pub changes: Vec<ChangeFacts>,
    /// How many views, functions and triggers it changed.
    #[serde(default)]
    pub opaque_changes: u32,
    /// Tables.
    pub tables: BTreeMap<String, TableFacts>,
    /// Columns by table and name.
    pub columns: BTreeMap<String, BTreeMap<String, ColumnFacts>>,
    /// Constraints by `schema.table/name`.
    pub constraints: BTreeMap<String, ConstraintFacts>,
    /// Indexes.
    pub indexes: BTreeMap<String, IndexFacts>,
    /// Enumerated and composite types.
    pub types: BTreeMap<String, TypeFacts>,
    /// Sequences.
    pub sequences: BTreeMap<String, SequenceFacts>,
    /// Schemas.
    pub schemas: Vec<String>,
    /// Extensions.
    pub extensions: Vec<String>,
    /// What the facts hold only the names of.
    pub opaque: OpaqueFacts,
}

/// One change as its authors meant it.
#[derive(Debug, Clone, Deserialize)]
pub struct ChangeFacts {
    /// `column.rename`, `table.add`, ...
    pub kind: String,
    /// The object, `public.users.email`.
    #[serde(default)]
    pub obj: String,
    /// The old name of what was renamed.
    #[serde(default)]
    pub frm: Option<serde_json::Value>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct TableFacts {
    /// `relkind`.
    pub kind: String,
    /// `relpersistence`.
    pub persistence: String,
    /// A partition.
    pub ispart: bool,
    /// How it is partitioned.
    #[serde(default)]
    pub partkey: Option<String>,
    /// Which rows a partition holds.
    #[serde(default)]
    pub partbound: Option<String>,
    /// Tables it inherits from or is a partition of.
    #[serde(default)]
    pub parents: Vec<String>,
    /// Comment.
    #[serde(default)]
    pub comment: Option<String>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ColumnFacts {
    /// `format_type`.
    #[serde(rename = "type")]
    pub ty: String,
    /// NOT NULL.
    pub notnull: bool,
    /// Default.
    #[serde(default)]
    pub default: Option<String>,
    /// Expression of a generated column.
    #[serde(default)]
    pub generated: Option<String>,
    /// `attidentity`.
    #[serde(default)]
    pub identity: Option<String>,
    /// Collation that is not the type's.
    #[serde(default)]
    pub collation: Option<String>,
    /// Comment.
    #[serde(default)]
    pub comment: Option<String>,
}

/// A constraint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ConstraintFacts {
    /// `pg_get_constraintdef`.
    pub def: String,
    /// Table.
    pub tbl: String,
    /// `contype`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Part of another constraint, with which it comes and goes.
    pub haspar: bool,
    /// A table has it from its parent.
    pub inherited: bool,
    /// Comment.
    #[serde(default)]
    pub comment: Option<String>,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct IndexFacts {
    /// `pg_get_indexdef`.
    pub def: String,
    /// Table.
    pub tbl: String,
    /// Belongs to a constraint.
    pub forcon: bool,
    /// Comment.
    #[serde(default)]
    pub comment: Option<String>,
}

/// A type.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct TypeFacts {
    /// `typtype`.
    pub kind: String,
    /// Labels of an enumerated type.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Attributes of a composite type, `name type`.
    #[serde(default)]
    pub attrs: Vec<String>,
}

/// A sequence.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct SequenceFacts {
    /// Type.
    #[serde(rename = "type")]
    pub ty: String,
    /// START.
    pub start: i64,
    /// INCREMENT.
    pub inc: i64,
    /// MINVALUE.
    pub min: i64,
    /// MAXVALUE.
    pub max: i64,
    /// CACHE.
    pub cache: i64,
    /// CYCLE.
    pub cycle: bool,
    /// `table.column:a` (serial) or `:i` (identity), the table as the server shows it.
    #[serde(default)]
    pub owned: Option<String>,
}

/// Names of what the facts do not hold.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct OpaqueFacts {
    /// `schema.name(arguments)`.
    #[serde(default)]
    pub functions: Vec<String>,
    /// Views and materialized views.
    #[serde(default)]
    pub views: Vec<String>,
    /// `schema.table.name`.
    #[serde(default)]
    pub triggers: Vec<String>,
}

/// Where the files are.
fn folder() -> PathBuf {
    match std::env::var_os("SCHEMADIFF_HISTORIES") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/histories")),
    }
}

/// The projects that there are histories of.
pub fn projects() -> Vec<String> {
    let folder = folder();
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut projects: Vec<_> = names.filter_map(|n| n.strip_suffix(".jsonl.gz").map(str::to_owned)).collect();
    projects.sort();
    projects
}

/// All states of a project, in order.
pub fn states(project: &str) -> Vec<State> {
    let path = folder().join(format!("{project}.jsonl.gz"));
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let lines = BufReader::new(flate2::read::GzDecoder::new(file)).lines();
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap_or_else(|e| panic!("{project}: {e}"))).collect()
}
