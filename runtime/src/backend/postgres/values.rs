//! Values as the statements of a plan send and take them.

use serde_json::Value;

use crate::{
    backend::cell::{Cell, bytes_of, from_hex},
    model::hex,
};

/// A value that was read, by its column's type.
pub(super) fn cell(ty: &str, text: String) -> Cell {
    match ty {
        "smallint" | "integer" | "bigint" => text.parse().map_or(Cell::Text(text), Cell::Integer),
        "real" | "double precision" => text.parse().map_or(Cell::Text(text), Cell::Float),
        "boolean" => Cell::Bool(text == "true"),
        "bytea" => text.strip_prefix("\\x").and_then(from_hex).map_or(Cell::Text(text), Cell::Bytes),
        _ if ty.starts_with("json") || ty.ends_with("[]") => {
            serde_json::from_str(&text).map_or(Cell::Text(text), Cell::Json)
        }
        _ => Cell::Text(text),
    }
}

/// A value to be written, by its column's type.
pub(super) fn value(ty: &str, json: Value) -> Result<Value, String> {
    match (ty, &json) {
        ("json" | "jsonb", _) | (_, Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => Ok(json),
        ("bytea", Value::Array(_)) => {
            let bytes = bytes_of(&json).ok_or_else(|| format!("{json} is no list of bytes"))?;
            Ok(Value::String(format!("\\x{}", hex(&bytes))))
        }
        (_, Value::Array(_)) if ty.ends_with("[]") => Ok(json),
        _ => Err(format!("{json} is no value of type {ty}")),
    }
}
