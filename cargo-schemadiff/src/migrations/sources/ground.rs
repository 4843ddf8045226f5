//! What a spelling rests on. A server shows an expression with the types that it found (`'new'::text`, `'new'::mood`), so
//! the lock's spelling of an unchanged text is right only where the columns that it is about are of the types they were of.

use std::collections::{BTreeMap, BTreeSet};

use schemadiff::model::{Column, Schema, expr};
use serde_json::Value;

use super::get;
use crate::diff::is_type;

/// What is spelled before what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The types of columns: they rest on nothing.
    Types,
    /// Whatever else a column has: it rests on types.
    Columns,
    /// What is over columns: it rests on their types and collations.
    Rest,
}

impl Layer {
    /// All of them, what others rest on first.
    pub const ALL: [Self; 3] = [Self::Types, Self::Columns, Self::Rest];

    /// The layer of what stands at the path.
    pub fn of(path: &[String]) -> Self {
        match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["tables", _, "columns", _, "type"] => Self::Types,
            ["tables", _, "columns", ..] => Self::Columns,
            _ => Self::Rest,
        }
    }
}

/// Which columns are no longer what the lock's spellings of one layer were made for, by table.
#[derive(Debug, Default)]
pub struct Ground {
    moved: BTreeMap<String, BTreeSet<String>>,
    /// Partition to the table that it is one of: its bound is compared with that table's columns.
    parents: BTreeMap<String, String>,
}

impl Ground {
    /// What the layer rests on, compared. A column that only one side has is in no text that both sides have.
    pub fn of(layer: Layer, desired: &Schema, locked: &Schema) -> Self {
        let mut ground = Self::default();
        if layer == Layer::Types {
            return ground;
        }
        for (name, table) in &desired.tables {
            let Some(was) = locked.table(name) else { continue };
            let is_moved = |column: &&Column| {
                was.column(&column.name).is_some_and(|old| {
                    old.ty != column.ty
                        || (layer == Layer::Rest && old.collation != column.collation)
                        || loses_labels(&column.ty, desired, locked)
                })
            };
            let moved: BTreeSet<_> = table.columns.iter().filter(is_moved).map(|column| column.name.clone()).collect();
            if !moved.is_empty() {
                ground.moved.insert(name.to_string(), moved);
            }
            if let Some(of) = &table.partition_of {
                ground.parents.insert(name.to_string(), of.parent.to_string());
            }
        }
        ground
    }

    /// Whether the lock's spelling of what stands at the path means what it meant.
    pub fn holds(&self, path: &[String], locked: &Value) -> bool {
        let [tables, table, of, rest @ ..] = path else { return true };
        if tables != "tables" {
            return true;
        }
        let table = if of == "partition_of" { self.parents.get(table) } else { Some(table) };
        let Some(moved) = table.and_then(|table| self.moved.get(table)) else { return true };
        match (of.as_str(), rest) {
            ("partition_of", _) => false,
            ("columns", [column, attribute, ..]) if attribute == "generated" => {
                !moved.contains(column) && !mentions_any(get(locked, path), moved)
            }
            ("columns", [column, ..]) => !moved.contains(column),
            // All of an index or a check: an operator class rests on the column beside it.
            _ => !mentions_any(get(locked, &path[..path.len().min(4)]), moved),
        }
    }
}

/// Whether the type is an enumerated one without some label that it had. More labels change no text.
fn loses_labels(ty: &str, desired: &Schema, locked: &Schema) -> bool {
    locked.enums.values().filter(|was| is_type(ty, &was.name)).any(|was| {
        let now = desired.enums.get(&was.name);
        now.is_none_or(|now| was.values.iter().any(|label| !now.values.contains(label)))
    })
}

/// Whether some text in the value names one of the columns, or the whole row.
fn mentions_any(value: Option<&Value>, columns: &BTreeSet<String>) -> bool {
    match value {
        Some(Value::String(text)) => {
            text.contains(".*") || columns.iter().any(|column| text == column || expr::mentions(text, column))
        }
        Some(Value::Array(list)) => list.iter().any(|item| mentions_any(Some(item), columns)),
        Some(Value::Object(map)) => map.values().any(|member| mentions_any(Some(member), columns)),
        _ => false,
    }
}
