//! A write of old code fails with the expression that fills a new column.

use schemadiff::{
    model::{Column, ObjectName, Table, expr},
    plan::Hazard,
};

/// The rule's code.
pub const CODE: &str = "H032";

/// Functions that have a value for every argument of theirs.
const TOTAL: &[&str] = &[
    "abs",
    "btrim",
    "char_length",
    "coalesce",
    "concat",
    "concat_ws",
    "greatest",
    "initcap",
    "least",
    "left",
    "length",
    "lower",
    "ltrim",
    "md5",
    "now",
    "nullif",
    "replace",
    "reverse",
    "right",
    "rtrim",
    "substr",
    "substring",
    "trim",
    "upper",
];

/// In which way an expression may have no value for a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// It fails.
    Fails,
    /// It gives NULL.
    GivesNull,
    /// The one or the other.
    Either,
}

impl Lack {
    /// Whether it may fail.
    pub fn fails(self) -> bool {
        self != Self::GivesNull
    }

    fn words(self) -> &'static str {
        match self {
            Self::Fails => "fails",
            Self::GivesNull => "gives NULL",
            Self::Either => "fails or gives NULL",
        }
    }
}

/// A write of old code fails with the expression that fills a new column.
///
/// Where a trigger can leave the value out (`can_fail`), nothing is refused before every row has one.
pub fn hazard(table: &ObjectName, column: &str, text: &str, (how, can_fail): (Lack, bool)) -> Hazard {
    let how = how.words();
    let since = if can_fail { "once all rows are filled, " } else { "" };
    let effect = format!(
        "{since}a row that old code writes to `{table}` is refused where `{text}`, which gives `{column}` its value, {how}"
    );
    super::hazard(
        CODE,
        effect,
        "write an expression that has a value for every row that old code may write (`coalesce`, `nullif`, `CASE`)",
    )
}

/// In which way the expression may have no value for a row; none when it always has one, as far as can be told.
pub fn concerns(table: &Table, column: &Column, text: &str, can_fail: bool) -> Option<Lack> {
    let lower = text.to_ascii_lowercase();
    let reads_null = table.columns.iter().any(|c| c.nullable && expr::mentions(text, &c.name));
    let gives_null = !column.nullable && reads_null && !lower.contains("coalesce") && !lower.contains("concat");
    let fails = match can_fail {
        true => lower.contains(['/', '%']) || casts(&lower) || calls(&lower).any(|name| !TOTAL.contains(&name)),
        // SQLite gives NULL, or something, for all but documents.
        false => calls(&lower).any(|name| name.starts_with("json") && name != "json_valid"),
    };
    match (fails, gives_null) {
        (true, true) => Some(Lack::Either),
        (true, false) => Some(Lack::Fails),
        (false, true) => Some(Lack::GivesNull),
        (false, false) => None,
    }
}

/// Whether it casts to something that not every text is.
fn casts(lower: &str) -> bool {
    let to_text = |rest: &str| ["text", "varchar", "character"].iter().any(|ty| rest.trim_start().starts_with(ty));
    lower.split("::").skip(1).any(|rest| !to_text(rest)) || lower.contains("cast(")
}

/// Names that stand before a parenthesis.
fn calls(lower: &str) -> impl Iterator<Item = &str> {
    lower.match_indices('(').filter_map(|(at, _)| {
        let name = lower[..at].rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next()?;
        (!name.is_empty() && !["in", "and", "or", "not", "when", "then", "else", "values"].contains(&name))
            .then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_no_value_is_told_from_what_always_has() {
        let mut table = Table::new(ObjectName::new("t"));
        table.columns = vec![Column::new("n", "integer"), Column { nullable: true, ..Column::new("a", "text") }];
        let of =
            |nullable: bool, text: &str| concerns(&table, &Column { nullable, ..Column::new("b", "text") }, text, true);
        assert_eq!(of(false, "lower(a)"), Some(Lack::GivesNull));
        assert_eq!(of(true, "lower(a)"), None);
        assert_eq!(of(false, "coalesce(lower(a), '')"), None);
        assert_eq!(of(true, "100 / n"), Some(Lack::Fails));
        assert_eq!(of(true, "a::integer"), Some(Lack::Fails));
        assert_eq!(of(true, "n::text"), None);
        assert_eq!(of(false, "to_date(a, 'YYYY')"), Some(Lack::Either));
        let document = Column { nullable: true, ..Column::new("b", "text") };
        assert_eq!(concerns(&table, &document, "json_extract(a, '$.x')", false), Some(Lack::Fails));
        assert_eq!(concerns(&table, &document, "a / 2", false), None);
        assert_eq!(of(false, "CASE WHEN n IN (1, 2) THEN 'x' ELSE 'y' END"), None);
    }
}
