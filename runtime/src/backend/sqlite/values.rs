//! Values as the statements of a plan send and take them: a letter for the storage class, then the value.

use serde_json::Value;

use crate::{
    backend::cell::{Cell, bytes_of, from_hex},
    model::hex,
};

/// A value that was read, by its column's type.
pub(super) fn cell(ty: &str, text: &str) -> Cell {
    let (class, rest) = text.split_at_checked(1).unwrap_or_default();
    let ty = ty.to_ascii_lowercase();
    match class {
        "i" if matches!(ty.as_str(), "boolean" | "bool") => Cell::Bool(rest != "0"),
        "i" => rest.parse().map_or_else(|_| Cell::Text(rest.to_owned()), Cell::Integer),
        "r" => rest.parse().map_or_else(|_| Cell::Text(rest.to_owned()), Cell::Float),
        "b" => from_hex(rest).map_or_else(|| Cell::Text(rest.to_owned()), Cell::Bytes),
        _ if ty.starts_with("json") => {
            serde_json::from_str(rest).map_or_else(|_| Cell::Text(rest.to_owned()), Cell::Json)
        }
        _ => Cell::Text(rest.to_owned()),
    }
}

/// A value to be written, by its column's type.
pub(super) fn value(ty: &str, json: Value) -> Result<Value, String> {
    let is_blob = ty.eq_ignore_ascii_case("blob");
    let text = match &json {
        Value::Null => return Ok(Value::Null),
        Value::Bool(value) => format!("i{}", u8::from(*value)),
        Value::Number(number) if number.is_f64() => format!("r{number}"),
        Value::Number(number) => format!("i{number}"),
        Value::String(text) => format!("t{text}"),
        Value::Array(_) if is_blob => {
            let bytes = bytes_of(&json).ok_or_else(|| format!("{json} is no list of bytes"))?;
            format!("b{}", hex(&bytes))
        }
        // Lists and objects are text here.
        Value::Array(_) | Value::Object(_) => format!("t{json}"),
    };
    Ok(Value::String(text))
}
