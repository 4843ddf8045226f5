//! Whether one check follows from another, as far as their words show it.
//!
//! A check refuses a row only when it is false; NULL passes. So "follows" means: every row for which the first is not false
//! is one for which the second is not false. All rules below hold for NULL too.

use super::{Column, Dialect, expr};

/// Whether rows that the check `a` lets in are let in by the check `b`, both over these columns. False may also mean that
/// their words do not show it.
#[must_use]
pub fn implies(dialect: Dialect, columns: &[Column], a: &str, b: &str) -> bool {
    // SQLite compares what a column of text holds with a number's text.
    let is_text = |column: &Column| {
        let ty = column.ty.to_uppercase();
        dialect == Dialect::Sqlite && ["CHAR", "CLOB", "TEXT"].iter().any(|word| ty.contains(word))
    };
    let mentioned = |column: &&Column| expr::mentions(a, &column.name) || expr::mentions(b, &column.name);
    let by_number = !columns.iter().filter(mentioned).any(is_text);
    let plain = |text: &str| !text.contains("--") && !text.contains("/*");
    expr::same(a, b) || plain(a) && plain(b) && follows(by_number, a, b)
}

/// What a row gets in a column that its writer does not name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// Nothing.
    Null,
    /// The same value each time, as SQL.
    Constant(String),
    /// Another value each time.
    Fresh,
    /// A value that is made of the row, or of which nothing is known.
    Other,
}

/// Whether a check lets in every row of somebody who does not name some of its columns. `given` says what such a column gets, and
/// nothing of one that the writer names; `keeps` says of a condition over those alone whether the writer keeps to it. False may also
/// mean that the words do not show it.
#[must_use]
pub fn lets_in(
    dialect: Dialect,
    columns: &[Column],
    check: &str,
    given: &dyn Fn(&Column) -> Option<Given>,
    keeps: &dyn Fn(&str) -> bool,
) -> bool {
    let check = bare(check);
    let lets_part_in = |part: &&str| lets_in(dialect, columns, part, given, keeps);
    let (all, any) = (split(check, "AND"), split(check, "OR"));
    if any.len() > 1 {
        return any.iter().any(lets_part_in);
    }
    if all.len() > 1 {
        return all.iter().all(lets_part_in);
    }
    let mentioned: Vec<&Column> = columns.iter().filter(|column| expr::mentions(check, &column.name)).collect();
    let unnamed: Vec<Given> = mentioned.iter().filter_map(|column| given(column)).collect();
    if unnamed.is_empty() {
        return keeps(check);
    }
    // A writer that changes its own columns meets rows of others, whose values are not what its own rows get.
    if mentioned.len() > unnamed.len() {
        return false;
    }
    if unnamed.contains(&Given::Null) && is_null_with_null(check) {
        return true;
    }
    match (mentioned.as_slice(), unnamed.as_slice()) {
        ([column], [Given::Constant(value)]) => {
            implies(dialect, columns, &format!("\"{}\" = {value}", column.name.replace('"', "\"\"")), check)
        }
        _ => false,
    }
}

/// Whether a condition with a NULL in it is NULL: one comparison, or one list of literals, with nothing in it that asks for NULL or
/// has an answer in spite of it (NOT over an OR, a list, a row, an array).
fn is_null_with_null(check: &str) -> bool {
    const STRICT: [&str; 6] = ["lower", "upper", "length", "char_length", "abs", "btrim"];
    const OTHERS: [&str; 15] = [
        "is", "null", "isnull", "notnull", "case", "distinct", "and", "or", "not", "between", "in", "any", "all",
        "some", "array",
    ];
    let is_literal = |item: &String| item.starts_with('\'') || item.parse::<f64>().is_ok();
    if List::of(check).is_some_and(|list| is_simple(&list.of_what) && list.items.iter().all(is_literal)) {
        return true;
    }
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let text = check.to_lowercase();
    let mut rest = text.as_str();
    while let Some(start) = rest.find(is_part) {
        let word = &rest[start..];
        let (word, after) = word.split_at(word.find(|c| !is_part(c)).unwrap_or(word.len()));
        if OTHERS.contains(&word) || after.trim_start().starts_with('(') && !STRICT.contains(&word) {
            return false;
        }
        rest = after;
    }
    comparison(check).is_some() && !text.contains([',', '[']) && !text.contains("||")
}

/// A check that lets in what one of two checks lets in, in the words in which the server keeps it.
#[must_use]
pub fn either(dialect: Dialect, a: &str, b: &str) -> String {
    // Both leave names and calls without parentheses; PostgreSQL a CASE too, and makes one row of alternatives of the first.
    let postgres = dialect == Dialect::Postgres;
    let own =
        |text: &str| is_simple(text) && (postgres || !text.get(..4).is_some_and(|t| t.eq_ignore_ascii_case("CASE")));
    let operand = |text: &str| if own(text) { text.to_owned() } else { format!("({text})") };
    let first = if postgres && split(a, "OR").len() > 1 { a.to_owned() } else { operand(a) };
    format!("{first} OR {}", operand(b))
}

/// `by_number`: what is compared with a number is compared as one.
fn follows(by_number: bool, a: &str, b: &str) -> bool {
    let (a, b) = (bare(a), bare(b));
    if expr::same(a, b) {
        return true;
    }
    let (any_a, any_b) = (split(a, "OR"), split(b, "OR"));
    if any_a.len() > 1 {
        return any_a.iter().all(|a| follows(by_number, a, b));
    }
    if any_b.len() > 1 && any_b.iter().any(|b| follows(by_number, a, b)) {
        return true;
    }
    let (all_a, all_b) = (split(a, "AND"), split(b, "AND"));
    if all_b.len() > 1 {
        return all_b.iter().all(|b| follows(by_number, a, b));
    }
    if all_a.len() > 1 {
        return all_a.iter().any(|a| follows(by_number, a, b));
    }
    if let (Some(a), Some(b)) = (List::of(a), List::of(b)) {
        return a.of_what == b.of_what && a.items.iter().all(|item| b.items.contains(item));
    }
    if let (Some(a), Some(b)) = (List::of(a), Bound::of(b)) {
        return by_number && a.of_what == b.of_what && a.items.iter().all(|item| b.takes(item));
    }
    let (Some(a), Some(b)) = (Bound::of(a), Bound::of(b)) else { return false };
    by_number && a.within(&b)
}

/// `x IN (1, 2)`, `x = ANY (ARRAY[1, 2])`, or `x = 1`.
struct List {
    of_what: String,
    items: Vec<String>,
}

impl List {
    fn of(text: &str) -> Option<Self> {
        if let [what, list] = split(text, "IN").as_slice() {
            let (what, list) = (what.trim(), list.trim());
            return (is_simple(what) && enclosed(list)).then(|| Self::new(what, &list[1..list.len() - 1]));
        }
        let (what, operator, list) = comparison(text)?;
        if operator != "=" {
            return None;
        }
        let Some(array) = list.strip_prefix("ANY").map(str::trim).filter(|list| enclosed(list)) else {
            return Some(Self::new(what, list));
        };
        let array = uncast(array);
        let items = array.strip_prefix("ARRAY[").and_then(|rest| rest.strip_suffix(']'))?;
        Some(Self::new(what, items))
    }

    fn new(what: &str, items: &str) -> Self {
        let items = pieces(items, &|rest| rest.starts_with(',').then_some(1));
        Self { of_what: words(bare(what)), items: items.into_iter().map(|item| words(uncast(item))).collect() }
    }
}

/// Types of PostgreSQL that a whole number may be cast to.
const NUMBERS: [&str; 6] = ["smallint", "integer", "bigint", "numeric", "real", "double precision"];

/// `x > 5` with a whole number.
struct Bound {
    of_what: String,
    /// The last number on the allowed side; `None` is open.
    least: Option<i64>,
    most: Option<i64>,
    /// The number itself is not allowed. Kept apart, because `x` need not be whole.
    open: bool,
}

impl Bound {
    fn of(text: &str) -> Option<Self> {
        let (what, operator, number) = comparison(text)?;
        let number = match number.split_once("::") {
            Some((number, ty)) if NUMBERS.contains(&ty) => bare(number).trim_matches('\''),
            Some(_) => return None,
            None => bare(number),
        };
        let number = number.parse().ok()?;
        let (least, most) = match operator {
            ">" | ">=" => (Some(number), None),
            "<" | "<=" => (None, Some(number)),
            _ => return None,
        };
        Some(Self { of_what: words(bare(what)), least, most, open: operator.len() == 1 })
    }

    /// Whether a whole number is on the allowed side.
    fn takes(&self, number: &str) -> bool {
        let Ok(number) = number.parse::<i64>() else { return false };
        let after = |least: i64| number > least || number == least && !self.open;
        let before = |most: i64| number < most || number == most && !self.open;
        self.least.is_none_or(after) && self.most.is_none_or(before)
    }

    fn within(&self, other: &Self) -> bool {
        // At the same number, an open end is within a closed one.
        let fits = |inner: i64, outer: i64| inner > outer || inner == outer && (self.open || !other.open);
        let same = self.of_what == other.of_what;
        same && match (self.least, self.most, other.least, other.most) {
            (Some(inner), None, Some(outer), None) => fits(inner, outer),
            (None, Some(inner), None, Some(outer)) => {
                inner.checked_neg().zip(outer.checked_neg()).is_some_and(|(inner, outer)| fits(inner, outer))
            }
            _ => false,
        }
    }
}

/// Without parentheses around the whole.
fn bare(text: &str) -> &str {
    let mut text = text.trim();
    while enclosed(text) {
        text = text[1..text.len() - 1].trim();
    }
    text
}

fn enclosed(text: &str) -> bool {
    text.len() > 1
        && text.starts_with('(')
        && text.ends_with(')')
        && !pieces(&text[1..text.len() - 1], &|_| None).is_empty()
}

/// Without parentheses and casts to a type of text, which PostgreSQL puts around each value of a list.
fn uncast(text: &str) -> &str {
    let mut text = bare(text);
    for cast in ["::text[]", "::text", "::character varying[]", "::character varying"].repeat(2) {
        text = bare(text.strip_suffix(cast).unwrap_or(text));
    }
    text
}

/// With one space between words, and needless quotes of names away.
fn words(text: &str) -> String {
    let plain = expr::map_columns(text, |name| Some(name.to_owned()));
    if plain.contains('\'') { plain } else { plain.split_whitespace().collect::<Vec<_>>().join(" ") }
}

/// What is on both sides of the one comparison at the top of an expression.
fn comparison(text: &str) -> Option<(&str, &str, &str)> {
    let is_operator = |c: char| "<>=!~@#%^&|?*+/-".contains(c);
    let run = |rest: &str| rest.find(|c| !is_operator(c)).unwrap_or(rest.len());
    let sides = pieces(text, &|rest| Some(run(rest)).filter(|len| *len > 0));
    let [left, right] = sides.as_slice() else { return None };
    let operator = text[left.len()..text.len() - right.len()].trim();
    let (left, right) = (left.trim(), right.trim());
    (["=", ">", ">=", "<", "<="].contains(&operator) && is_simple(left)).then_some((left, operator, right))
}

/// One name, call or parenthesis: no operator in it binds less than the comparison that it is a side of.
fn is_simple(text: &str) -> bool {
    let ends = |c: char| c.is_whitespace() || "<>=!~@#%^&|?*+/-".contains(c);
    pieces(text, &|rest| rest.starts_with(ends).then_some(1)).len() == 1
}

/// The parts between a word at the top of an expression. The AND of a BETWEEN joins nothing.
fn split<'t>(text: &'t str, word: &str) -> Vec<&'t str> {
    let between = std::cell::Cell::new(0);
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let starts = |rest: &str, word: &str| {
        rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
            && !rest[word.len()..].starts_with(is_part)
    };
    pieces(text, &|rest| {
        if starts(rest, "BETWEEN") {
            between.set(between.get() + 1);
        } else if starts(rest, "AND") && between.get() > 0 {
            between.set(between.get() - 1);
            return None;
        }
        starts(rest, word).then_some(word.len())
    })
}

/// The parts between separators that are in no quotes, no brackets and no CASE. `separator` is asked at the begin of each
/// word and of each sign, and says how long the separator there is. Nothing when brackets do not fit each other.
fn pieces<'t>(text: &'t str, separator: &dyn Fn(&str) -> Option<usize>) -> Vec<&'t str> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let (mut parts, mut start, mut at, mut depth) = (Vec::new(), 0, 0, 0_usize);
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let word = is_part(first);
        let mut len = match first {
            '\'' | '"' | '`' => expr::quoted_len(rest, first),
            _ if word => rest.find(|c| !is_part(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        if let Some(found) = separator(rest).filter(|_| depth == 0) {
            parts.push(&text[start..at]);
            (start, len) = (at + found, found);
        } else {
            match first {
                '(' | '[' => depth += 1,
                ')' | ']' if depth == 0 => return Vec::new(),
                ')' | ']' => depth -= 1,
                _ if word && rest[..len].eq_ignore_ascii_case("CASE") => depth += 1,
                _ if word && rest[..len].eq_ignore_ascii_case("END") => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        at += len;
    }
    if depth > 0 {
        return Vec::new();
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_postgres(a: &str, b: &str) -> bool {
        implies(Dialect::Postgres, &[], a, b)
    }

    #[test]
    fn what_follows() {
        for (a, b) in [
            ("n > 0", "(n > 0)"),
            ("n > 0", "(n > 0) OR (m > 0)"),
            ("n > 0", "n >= 0"),
            ("n >= 1", "n > 0"),
            ("n < 5", "n <= 7"),
            ("n >= 0", "n >= '-5'::integer"),
            ("(n > 0) AND (m > 0)", "m > 0"),
            ("(n > 5) AND (m > 5)", "(m > 0) AND (n > 0)"),
            ("(a = 1) OR (a = 2)", "a IN (1, 2, 3)"),
            ("k IN ('a', 'b, c')", "\"k\"  IN ('b, c','x','a')"),
            ("k = 'a'::text", "k = ANY (ARRAY['a'::text, 'b'::text])"),
            (
                "(k)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[])",
                "(k)::text = ANY ((ARRAY['b'::character varying, 'c'::character varying, 'a'::character varying])::text[])",
            ),
            ("n BETWEEN 1 AND 2 AND m > 0", "n BETWEEN 1 AND 2"),
            ("n = 3", "n > 2"),
            ("n IN (1, 3)", "n <= 3"),
            ("CASE WHEN a AND b THEN c OR d ELSE e END", "CASE WHEN a AND b THEN c OR d ELSE e END OR f"),
        ] {
            assert!(on_postgres(a, b), "{a} => {b}");
        }
    }

    #[test]
    fn what_a_row_passes_whose_writer_does_not_know_a_column() {
        let columns: Vec<Column> = ["old", "n"]
            .map(|name| serde_json::from_value(serde_json::json!({ "name": name, "type": "integer" })).unwrap())
            .into();
        let passes = |check: &str, given: Given| {
            let given = |column: &Column| (column.name == "n").then(|| given.clone());
            lets_in(Dialect::Postgres, &columns, check, &given, &|check| check == "old > 0")
        };
        let zero = || Given::Constant("0".to_owned());
        assert!(
            passes("n >= 0", zero())
                && passes("(n >= 0) AND (old > 0)", zero())
                && passes("n = ANY (ARRAY[0, 1])", zero())
        );
        assert!(!passes("n > 0", zero()) && !passes("(n >= 0) AND (old > 1)", zero()) && !passes("n < old", zero()));
        for check in
            ["n > 0", "(n > 0) OR (old > 1)", "(length(n) > 3) AND (old > 0)", "n = ANY (ARRAY[1, 2])", "n IN (1, 2)"]
        {
            assert!(passes(check, Given::Null), "{check}");
        }
        for check in [
            "n < old",
            "n IS NOT NULL",
            "coalesce(n, 0) > 0",
            "(n > 0) AND (old > 1)",
            "my_check(n)",
            "NOT ((n > 0) OR (n < 9))",
            "NOT (3 = ANY (ARRAY[1, n]))",
            "3 NOT IN (1, n)",
            "3 BETWEEN 5 AND n",
            "(n, 2) = (1, 3)",
            "ARRAY[1, n] <> ARRAY[2, 3]",
            "((n > 0) AND (1 > 2)) = false",
            "('{1}' || n) = '{1}'",
        ] {
            assert!(!passes(check, Given::Null), "{check}");
        }
        assert!(!passes("n > 0", Given::Fresh) && !passes("n > 0", Given::Other));
    }

    #[test]
    fn either_is_spelled_as_the_server_does() {
        let on_postgres = |a, b| either(Dialect::Postgres, a, b);
        assert_eq!(on_postgres("n > 0", "is_ok(n, 'a b')"), "(n > 0) OR is_ok(n, 'a b')");
        assert_eq!(on_postgres("(n > 0) OR (m > 0)", "NOT flag"), "(n > 0) OR (m > 0) OR (NOT flag)");
        assert_eq!(either(Dialect::Sqlite, "flag", "n > 0"), "flag OR (n > 0)");
        assert_eq!(either(Dialect::Sqlite, "CASE WHEN n THEN 1 END", "f(n)"), "(CASE WHEN n THEN 1 END) OR f(n)");
    }

    #[test]
    fn what_does_not_follow() {
        for (a, b) in [
            ("n > 0", "n > 1"),
            ("n >= 0", "n > 0"),
            ("n = 2", "n > 2"),
            ("n IN (1, 3)", "n < 3"),
            ("n < 7", "n <= 5"),
            ("n > 0", "m > 0"),
            ("n > 0", "n < 9"),
            ("(n > 0) OR (m > 0)", "n > 0"),
            ("n > 0", "(n > 0) AND (m > 0)"),
            ("k IN ('a', 'b')", "k IN ('a')"),
            ("k NOT IN ('a')", "k NOT IN ('a', 'b')"),
            ("NOT k = 'a'", "NOT k IN ('a', 'b')"),
            ("k = 'a'::text", "k = ANY (ARRAY['a '::text])"),
            ("k ->> 'n' > 5", "k > 5"),
            ("n <> 5", "n > 5"),
            ("n - 1 > 5", "n > 5"),
            ("n BETWEEN 1 AND 2", "n BETWEEN 1"),
            ("k = 'x OR y'", "k = 'x"),
            ("a = b", "a = ANY (c)"),
            ("n > 0 -- OR m > 0", "m > 0"),
            ("k > '10'::text", "k > '5'::text"),
        ] {
            assert!(!on_postgres(a, b), "{a} => {b}");
        }
        let column = |ty: &str| {
            let column: Column = serde_json::from_value(serde_json::json!({ "name": "n", "type": ty })).unwrap();
            [column]
        };
        assert!(implies(Dialect::Sqlite, &column("INT"), "n > 10", "n > 5"));
        assert!(!implies(Dialect::Sqlite, &column("varchar(9)"), "n > 10", "n > 5"));
    }
}
