//! How a table's rows are spread over partitions.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{ObjectName, expr};

/// What decides the partition of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionMethod {
    /// Ranges that do not overlap.
    Range,
    /// Lists of values.
    List,
    /// The remainder of a hash.
    Hash,
}

impl PartitionMethod {
    /// The SQL word.
    pub const fn as_sql(self) -> &'static str {
        match self {
            Self::Range => "RANGE",
            Self::List => "LIST",
            Self::Hash => "HASH",
        }
    }
}

/// `PARTITION BY` of a partitioned table. In files it is the clause's text, `RANGE (created_at)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PartitionBy {
    /// The method.
    pub method: PartitionMethod,
    /// Columns and expressions in order, each with its collation and operator class where they are not the defaults.
    pub keys: Vec<String>,
}

/// A text is no `PARTITION BY` clause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` does not say how a table is partitioned; write RANGE, LIST or HASH and the key, `RANGE (created_at)`"
)]
pub struct PartitionByError {
    /// The text.
    pub text: String,
}

impl PartitionBy {
    /// Whether the column is in the key, by itself or in an expression.
    pub fn uses(&self, column: &str) -> bool {
        self.keys.iter().any(|key| expr::mentions(key, column))
    }

    /// Lets the key follow a column to its new name.
    pub fn rename_column(&mut self, from: &str, to: &str) {
        if from != to && self.uses(from) {
            self.keys.iter_mut().for_each(|key| *key = expr::rename_column(key, from, to));
        }
    }
}

impl fmt::Display for PartitionBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.method.as_sql(), self.keys.join(", "))
    }
}

impl From<PartitionBy> for String {
    fn from(by: PartitionBy) -> Self {
        by.to_string()
    }
}

impl TryFrom<String> for PartitionBy {
    type Error = PartitionByError;

    fn try_from(text: String) -> Result<Self, PartitionByError> {
        text.parse()
    }
}

impl FromStr for PartitionBy {
    type Err = PartitionByError;

    fn from_str(text: &str) -> Result<Self, PartitionByError> {
        let wrong = || PartitionByError { text: text.to_owned() };
        let (word, key) = text.trim().split_once('(').ok_or_else(wrong)?;
        let method = match word.trim().to_ascii_uppercase().as_str() {
            "RANGE" => PartitionMethod::Range,
            "LIST" => PartitionMethod::List,
            "HASH" => PartitionMethod::Hash,
            _ => return Err(wrong()),
        };
        let keys = split(key.strip_suffix(')').ok_or_else(wrong)?).ok_or_else(wrong)?;
        if keys.iter().any(String::is_empty) {
            return Err(wrong());
        }
        Ok(Self { method, keys })
    }
}

/// The parts between commas that are in no parentheses and no quotes; `None` when the parentheses do not match.
fn split(list: &str) -> Option<Vec<String>> {
    let (mut parts, mut depth, mut quote, mut start) = (Vec::new(), 0_usize, None, 0);
    for (at, c) in list.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[') => depth += 1,
            (None, ')' | ']') => depth = depth.checked_sub(1)?,
            (None, ',') if depth == 0 => {
                parts.push(list[start..at].trim().to_owned());
                start = at + 1;
            }
            (None, _) => {}
        }
    }
    parts.push(list[start..].trim().to_owned());
    (depth == 0 && quote.is_none()).then_some(parts)
}

/// What makes a table a partition of another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionOf {
    /// The partitioned table.
    pub parent: ObjectName,
    /// The rows it holds: `FOR VALUES ..` or `DEFAULT`, in the server's spelling.
    pub bound: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_are_read_and_written() {
        for (text, shown) in [
            ("RANGE (created_at)", "RANGE (created_at)"),
            (" list( kind ) ", "LIST (kind)"),
            ("HASH (lower(a, b), \"c,(\" COLLATE \"C\")", "HASH (lower(a, b), \"c,(\" COLLATE \"C\")"),
        ] {
            assert_eq!(text.parse::<PartitionBy>().map(|by| by.to_string()).as_deref(), Ok(shown));
        }
        for text in
            ["", "RANGE", "created_at", "RANGE ()", "RANGE (a,)", "RANGE (a", "RANGE a)", "RANGE (a))", "KEY (a)"]
        {
            assert!(text.parse::<PartitionBy>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_uses_the_columns_of_its_expressions() {
        let by: PartitionBy = "RANGE (date_trunc('day', created_at), \"Kind\")".parse().unwrap();
        assert!(by.uses("created_at") && by.uses("Kind"));
        assert!(!by.uses("day") && !by.uses("kind"));
    }
}
