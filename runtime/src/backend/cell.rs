//! A value of a row on its way to a function of the application and back.

/// What a column holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// NULL.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Float(f64),
    /// Text, and every type that is best written as text: times, decimal numbers, UUIDs, labels.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// JSON, and lists.
    Json(serde_json::Value),
}

/// Bytes from hexadecimal digits; none when there are others.
pub(super) fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16).and_then(|value| u8::try_from(value).ok());
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    (0..digits.len() / 2).map(|at| Some(digit(2 * at)? * 16 + digit(2 * at + 1)?)).collect()
}

/// Bytes as serde writes them into JSON: a list of numbers.
pub(super) fn bytes_of(json: &serde_json::Value) -> Option<Vec<u8>> {
    let byte = |value: &serde_json::Value| value.as_u64().and_then(|number| u8::try_from(number).ok());
    json.as_array()?.iter().map(byte).collect()
}
