//! Names of objects that live in a database schema.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A name with the database schema it lives in; `None` is the engine's default schema
/// (`public` on PostgreSQL, `main` on SQLite).
///
/// It never holds the default schema by name: two spellings of one table would be two tables.
/// Text form, also in JSON: `name` or `schema.name`, where a part that holds a dot or a double
/// quote is written in double quotes with inner quotes doubled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Database schema, `None` for the default one.
    pub schema: Option<String>,
    /// The object's own name, unquoted.
    pub name: String,
}

impl ObjectName {
    /// A name in the default schema.
    pub fn new(name: impl Into<String>) -> Self {
        Self { schema: None, name: name.into() }
    }

    /// A name in a schema; `None` means the default one.
    pub fn in_schema(schema: Option<impl Into<String>>, name: impl Into<String>) -> Self {
        Self { schema: schema.map(Into::into), name: name.into() }
    }

    /// Another name in the same schema.
    pub fn sibling(&self, name: impl Into<String>) -> Self {
        Self { schema: self.schema.clone(), name: name.into() }
    }
}

fn write_part(f: &mut fmt::Formatter<'_>, part: &str) -> fmt::Result {
    if part.is_empty() || part.contains(['.', '"']) {
        write!(f, "\"{}\"", part.replace('"', "\"\""))
    } else {
        f.write_str(part)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write_part(f, schema)?;
            f.write_str(".")?;
        }
        write_part(f, &self.name)
    }
}

/// The text is no name: an empty part, an open quote, or more than two parts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a name: write `table` or `schema.table`, with double quotes around a part that holds a dot")]
pub struct ParseNameError {
    text: String,
}

/// Splits a dotted name into its parts, honouring double quotes. `None` if a quote stays open or a part is empty.
pub(crate) fn split_dotted(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        let mut part = String::new();
        if chars.peek() == Some(&'"') {
            chars.next();
            loop {
                match chars.next()? {
                    '"' if chars.peek() == Some(&'"') => {
                        chars.next();
                        part.push('"');
                    }
                    '"' => break,
                    other => part.push(other),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != '.') {
                if c == '"' {
                    return None;
                }
                part.push(c);
            }
            if part.is_empty() {
                return None;
            }
        }
        parts.push(part);
        match chars.next() {
            None => return Some(parts),
            Some('.') => {}
            Some(_) => return None,
        }
    }
}

impl FromStr for ObjectName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseNameError { text: text.to_owned() };
        let mut parts = split_dotted(text).ok_or_else(error)?;
        match (parts.pop(), parts.pop(), parts.pop()) {
            (Some(name), schema, None) => Ok(Self { schema, name }),
            _ => Err(error()),
        }
    }
}

impl Serialize for ObjectName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An object that carries its own name.
pub(crate) trait Named {
    fn object_name(&self) -> &ObjectName;
}

impl<T: Named> Named for super::Shared<T> {
    fn object_name(&self) -> &ObjectName {
        (**self).object_name()
    }
}

/// Serializes a map of named objects as the list of its values, so that no name is written twice.
pub(crate) mod as_list {
    use super::*;

    pub fn serialize<S: Serializer, T: Serialize>(map: &BTreeMap<ObjectName, T>, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(map.values())
    }

    pub fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de> + Named>(
        d: D,
    ) -> Result<BTreeMap<ObjectName, T>, D::Error> {
        let list = Vec::<T>::deserialize(d)?;
        let count = list.len();
        let map: BTreeMap<_, _> = list.into_iter().map(|item| (item.object_name().clone(), item)).collect();
        if map.len() < count {
            return Err(serde::de::Error::custom("one name is listed twice"));
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        for name in [
            ObjectName::new("users"),
            ObjectName::in_schema(Some("app"), "users"),
            ObjectName::new("a.b"),
            ObjectName::in_schema(Some("we\"ird"), "x.\"y"),
            ObjectName::new("with space"),
            ObjectName::new(""),
        ] {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "a.b.c", "a..b", "\"open", "a\"b"] {
            assert!(text.parse::<ObjectName>().is_err(), "{text}");
        }
    }
}
