//! Default names of constraints and indexes: PostgreSQL's rule, used on every engine.

use std::collections::BTreeSet;

use super::index_name::expression_name;
use crate::model::IndexPart;

/// Bytes in a PostgreSQL name.
pub const MAX_NAME: usize = 63;

/// `{table}_{columns}_{suffix}`, shortened as PostgreSQL's `makeObjectName` does: the longer of the first two parts
/// gives up bytes until the whole fits.
#[must_use]
pub fn default_name(table: &str, columns: &[&str], suffix: &str) -> String {
    object_name(table, addition(columns).as_deref(), suffix)
}

/// A default name that is not in `taken`: PostgreSQL numbers the suffix from 1 (`t_a_idx`, `t_a_idx1`).
pub(super) fn free_name(table: &str, columns: &[&str], suffix: &str, taken: impl Fn(&str) -> bool) -> String {
    let addition = addition(columns);
    let first = object_name(table, addition.as_deref(), suffix);
    if !taken(&first) {
        return first;
    }
    let mut number = 1_u32;
    loop {
        let name = object_name(table, addition.as_deref(), &format!("{suffix}{number}"));
        if !taken(&name) {
            return name;
        }
        number += 1;
    }
}

/// The column part: names joined by `_`, no longer looked at once it fills a name.
fn addition(columns: &[&str]) -> Option<String> {
    let mut out = String::new();
    for column in columns {
        if !out.is_empty() {
            out.push('_');
        }
        out.push_str(clip(column, MAX_NAME));
        if out.len() > MAX_NAME {
            break;
        }
    }
    (!out.is_empty()).then_some(out)
}

fn object_name(first: &str, second: Option<&str>, label: &str) -> String {
    let overhead = label.len() + 1 + usize::from(second.is_some());
    let available = MAX_NAME.saturating_sub(overhead);
    let (mut a, mut b) = (first.len(), second.map_or(0, str::len));
    while a + b > available {
        if a > b { a -= 1 } else { b -= 1 }
    }
    let first = clip(first, a);
    match second {
        Some(second) => format!("{first}_{}_{label}", clip(second, b)),
        None => format!("{first}_{label}"),
    }
}

/// At most `len` bytes, never half a character.
fn clip(text: &str, len: usize) -> &str {
    if text.len() <= len {
        return text;
    }
    let end = (0..=len).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    &text[..end]
}

/// What an index's parts are called in its name: columns by name, expressions as the server calls them;
/// a name that repeats is numbered.
pub(super) fn index_columns(parts: &[IndexPart], include: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let parts = parts.iter().map(|part| match (&part.column, &part.expr) {
        (Some(column), _) => column.clone(),
        (None, Some(expr)) => expression_name(expr),
        (None, None) => "expr".to_owned(),
    });
    for base in parts.chain(include.iter().cloned()) {
        let mut name = base.clone();
        let mut number = 1_u32;
        while names.contains(&name) {
            let digits = number.to_string();
            name = format!("{}{digits}", clip(&base, MAX_NAME - digits.len()));
            number += 1;
        }
        names.push(name);
    }
    names
}

/// The columns that an expression mentions.
pub(super) fn mentioned<'c>(expr: &str, columns: impl Iterator<Item = &'c str>) -> BTreeSet<&'c str> {
    let words = words(expr);
    columns
        .filter(|column| {
            words.iter().any(|(word, quoted)| if *quoted { word == column } else { word.eq_ignore_ascii_case(column) })
        })
        .collect()
}

/// Identifiers of an expression, with whether they were quoted. Text literals and function names are none.
fn words(expr: &str) -> Vec<(String, bool)> {
    let mut out = Vec::new();
    let mut chars = expr.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => while chars.next().is_some_and(|c| c != '\'') {},
            '"' => {
                let mut word = String::new();
                while let Some(c) = chars.next() {
                    if c == '"' && chars.next_if_eq(&'"').is_none() {
                        break;
                    }
                    word.push(c);
                }
                out.push((word, true));
            }
            c if c.is_alphabetic() || c == '_' => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_' || *c == '$') {
                    word.push(c);
                }
                while chars.next_if(|c| c.is_whitespace()).is_some() {}
                if chars.peek() != Some(&'(') {
                    out.push((word, false));
                }
            }
            c if c.is_ascii_digit() => while chars.next_if(|c| c.is_alphanumeric() || *c == '.').is_some() {},
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_parts_give_up_bytes_alternately() {
        assert_eq!(default_name("users", &["email", "org_id"], "key"), "users_email_org_id_key");
        assert_eq!(default_name("users", &[], "pkey"), "users_pkey");
        let long = "a".repeat(60);
        let name = default_name(&long, &[&"b".repeat(60)], "fkey");
        assert_eq!(name.len(), 63);
        assert_eq!(name, format!("{}_{}_fkey", "a".repeat(29), "b".repeat(28)));
        assert_eq!(default_name(&long, &["id"], "key"), format!("{}_id_key", "a".repeat(56)));
        assert!(default_name(&"ä".repeat(40), &[], "pkey").len() <= 63);
    }

    #[test]
    fn a_taken_name_is_numbered() {
        assert_eq!(free_name("t", &["a"], "idx", |name| name == "t_a_idx" || name == "t_a_idx1"), "t_a_idx2");
    }

    #[test]
    fn a_name_that_repeats_is_numbered() {
        let column = |name: &str| IndexPart { column: Some(name.into()), ..IndexPart::default() };
        let expr = |text: &str| IndexPart { expr: Some(text.into()), ..IndexPart::default() };
        assert_eq!(
            index_columns(&[column("a"), expr("a + 1"), expr("a + 2")], &["b".into()]),
            ["a", "expr", "expr1", "b"]
        );
    }

    #[test]
    fn only_identifiers_count_as_mentioned() {
        let columns = ["qty", "price", "lower", "Name"];
        let seen = |expr: &str| mentioned(expr, columns.into_iter()).into_iter().collect::<Vec<_>>();
        assert_eq!(seen("QTY > 0 AND qty < 10"), ["qty"]);
        assert_eq!(seen("lower('price') = 'qty' OR \"Name\" IS NULL"), ["Name"]);
        assert_eq!(seen("price*2>qty"), ["price", "qty"]);
    }
}
