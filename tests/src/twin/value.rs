//! Values: always carried as the text that the server itself would show, bound and decoded as service code would.

use schemadiff::model::{Column, Dialect};

/// A value in the server's own text form; `None` is NULL.
pub type Value = Option<String>;

/// How a service binds and decodes a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `i16`
    Int2,
    /// `i32`
    Int4,
    /// `i64`
    Int8,
    /// `f64`
    Float8,
    /// `bool`
    Bool,
    /// `String`
    Text,
    /// `Vec<u8>`, on SQLite
    Bytes,
    /// Sent as text and cast by the server; the result is taken as it comes.
    Other,
}

impl Kind {
    /// The kind that a column of this type has in service code.
    pub fn of(dialect: Dialect, ty: &str) -> Self {
        let base = ty.split('(').next().unwrap_or_default().trim().to_ascii_lowercase();
        if dialect == Dialect::Sqlite {
            return match base.as_str() {
                "integer" | "int" | "bigint" | "smallint" => Self::Int8,
                "boolean" | "bool" => Self::Bool,
                "real" | "double" | "double precision" | "float" => Self::Float8,
                "blob" => Self::Bytes,
                text if text == "text" || text.contains("char") || text.contains("clob") => Self::Text,
                _ => Self::Other,
            };
        }
        match base.as_str() {
            "smallint" => Self::Int2,
            "integer" => Self::Int4,
            "bigint" => Self::Int8,
            "double precision" => Self::Float8,
            "boolean" => Self::Bool,
            "text" | "character varying" if !ty.ends_with("[]") => Self::Text,
            _ => Self::Other,
        }
    }
}

/// A value for a column that differs for every `seq`, as far as the type has room for it.
pub fn generate(dialect: Dialect, column: &Column, labels: Option<&[String]>, seq: u64) -> String {
    if let Some(labels) = labels.filter(|labels| !labels.is_empty()) {
        return labels[seq as usize % labels.len()].clone();
    }
    let ty = column.ty.to_ascii_lowercase();
    let base = ty.split('(').next().unwrap_or_default().trim();
    let room: Option<usize> =
        ty.split_once('(').and_then(|(_, rest)| rest.split([')', ',']).next()?.trim().parse().ok());
    let text = || {
        let text = format!("{}-{seq}", column.name.chars().next().unwrap_or('x'));
        match room {
            Some(room) if text.len() > room => base36(seq, room),
            _ => text,
        }
    };
    let (day, second) = (seq % 28 + 1, seq % 60);
    match (dialect, base) {
        _ if ty.ends_with("[]") => match ty.split(['(', '[']).next().unwrap_or_default() {
            "text" | "character varying" => format!("{{{}}}", text()),
            "smallint" | "integer" | "bigint" | "numeric" => format!("{{{}}}", seq % 30_000),
            _ => "{}".to_owned(),
        },
        (_, "smallint") => (seq % 30_000).to_string(),
        (_, "integer" | "bigint" | "int") => seq.to_string(),
        (Dialect::Sqlite, "boolean" | "bool") => (seq % 2).to_string(),
        (_, "boolean") => if seq.is_multiple_of(2) { "true" } else { "false" }.to_owned(),
        (_, "double precision" | "real" | "float" | "double") => format!("{}.5", seq % 100_000),
        (Dialect::Postgres, "numeric") => match ty.split_once(',') {
            Some((_, scale)) => {
                let scale: usize = scale.trim_end_matches(')').trim().parse().unwrap_or(0);
                if scale == 0 { (seq % 1000).to_string() } else { format!("{}.{}", seq % 1000, "5".repeat(scale)) }
            }
            None => seq.to_string(),
        },
        (Dialect::Postgres, "date") => format!("2024-02-{day:02}"),
        (Dialect::Postgres, _) if base.starts_with("timestamp with time zone") || base == "timestamptz" => {
            format!("2024-02-{day:02} 10:00:{second:02}+00")
        }
        (Dialect::Postgres, _) if base.starts_with("timestamp") => format!("2024-02-{day:02} 10:00:{second:02}"),
        (Dialect::Postgres, "uuid") => format!("00000000-0000-4000-8000-{seq:012x}"),
        (Dialect::Postgres, "json" | "jsonb") => format!("{{\"n\": {seq}}}"),
        (Dialect::Postgres, "bytea") => format!("\\x{seq:012x}"),
        (Dialect::Postgres, "inet") => format!("10.0.{}.{}/32", seq / 250 % 250, seq % 250 + 1),
        (Dialect::Postgres, "interval") => format!("00:{:02}:{second:02}", seq / 60 % 60),
        _ => text(),
    }
}

fn base36(mut number: u64, room: usize) -> String {
    let mut digits = Vec::new();
    while number > 0 || digits.is_empty() {
        digits.push(char::from_digit((number % 36) as u32, 36).unwrap_or('0'));
        number /= 36;
    }
    digits.into_iter().take(room).collect()
}

/// The value of a default that is a plain constant; `None` when it is anything else.
pub fn constant(default: &str) -> Option<Value> {
    let expr = default.trim();
    let expr = expr.strip_prefix('(').and_then(|e| e.strip_suffix(')')).unwrap_or(expr);
    let (literal, cast) = match expr.rsplit_once("::") {
        Some((literal, cast)) if !cast.contains('\'') => (literal.trim(), Some(cast.trim())),
        _ => (expr, None),
    };
    if literal.eq_ignore_ascii_case("null") {
        return Some(None);
    }
    if let Some(inner) = literal.strip_prefix('\'').and_then(|l| l.strip_suffix('\'')) {
        // A cast to anything but text may show the value in other words than the literal's.
        let plain = cast.is_none_or(|c| c.starts_with("text") || c.starts_with("character varying"));
        return (plain && !inner.replace("''", "").contains('\'')).then(|| Some(inner.replace("''", "'")));
    }
    let plain = literal.parse::<i64>().is_ok() || matches!(literal, "true" | "false");
    (plain && cast.is_none()).then(|| Some(literal.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::constant;

    #[test]
    fn constants_are_told_from_expressions() {
        assert_eq!(constant("7"), Some(Some("7".into())));
        assert_eq!(constant("'it''s'::text"), Some(Some("it's".into())));
        assert_eq!(constant("NULL::character varying"), Some(None));
        assert_eq!(constant("now()"), None);
        assert_eq!(constant("'a' || 'b'"), None);
        assert_eq!(constant("'{}'::jsonb"), None);
    }
}
