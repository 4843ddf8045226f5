//! Values: always carried as the text that the server itself would show, bound and decoded as service code would.

pub use cargo_schemadiff::dialect::sample::generate;
use schemadiff::model::Dialect;

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

/// The value of a default that is a plain constant, as a column of the type shows it; `None` when it is anything else.
pub fn constant(default: &str, ty: &str) -> Option<Value> {
    let value = plain_constant(default)?;
    let scale = ty.strip_prefix("numeric(").and_then(|rest| rest.strip_suffix(')')?.split_once(','));
    let scale: usize = scale.and_then(|(_, scale)| scale.trim().parse().ok()).unwrap_or_default();
    let shown = |text: String| match text.parse::<i64>() {
        Ok(_) if scale > 0 => format!("{text}.{}", "0".repeat(scale)),
        _ => text,
    };
    Some(value.map(shown))
}

fn plain_constant(default: &str) -> Option<Value> {
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
    #[test]
    fn constants_are_told_from_expressions() {
        let constant = |default| super::constant(default, "text");
        assert_eq!(super::constant("0", "numeric(9,2)"), Some(Some("0.00".into())));
        assert_eq!(constant("7"), Some(Some("7".into())));
        assert_eq!(constant("'it''s'::text"), Some(Some("it's".into())));
        assert_eq!(constant("NULL::character varying"), Some(None));
        assert_eq!(constant("now()"), None);
        assert_eq!(constant("'a' || 'b'"), None);
        assert_eq!(constant("'{}'::jsonb"), None);
    }
}
