//! What PostgreSQL calls an expression in the name of an index: its rule is `FigureIndexColname`, over the expression as it was
//! written. A function gives its name, a cast its type unless what is cast has a name, and most operators give none.

/// The name, or `expr`.
pub fn expression_name(expr: &str) -> String {
    let tokens = tokens(expr);
    figure(&tokens).map_or_else(|| "expr".to_owned(), |(name, _)| name)
}

/// A piece of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A word in lower case, as the server folds it.
    Word(String),
    /// What stood in double quotes.
    Quoted(String),
    /// A text or a number.
    Constant,
    /// One character of something else, and `::` as a whole.
    Sign(&'static str),
    /// Part of an operator.
    Operator,
}

use Token::{Constant, Operator, Quoted, Sign, Word};

/// A name, and whether a cast leaves it as it is.
type Named = Option<(String, bool)>;

const SIGNS: [&str; 7] = ["::", "(", ")", "[", "]", ",", "."];

fn tokens(expr: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut rest = expr.trim_start();
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '\'' => quoted_len(rest, '\''),
            '"' => quoted_len(rest, '"'),
            c if is_word(c) => rest.find(|c: char| !is_word(c) && c != '$').unwrap_or(rest.len()),
            _ => SIGNS.iter().find(|sign| rest.starts_with(**sign)).map_or(first.len_utf8(), |sign| sign.len()),
        };
        let text = &rest[..len];
        out.push(match first {
            '\'' => Constant,
            c if c.is_ascii_digit() => Constant,
            '"' => Quoted(text.trim_matches('"').replace("\"\"", "\"")),
            c if is_word(c) => Word(text.to_lowercase()),
            _ => SIGNS.into_iter().find(|sign| *sign == text).map_or(Operator, Sign),
        });
        rest = rest[len..].trim_start();
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn quoted_len(text: &str, quote: char) -> usize {
    crate::model::expr::quoted_len(text, quote)
}

/// Places of the tokens that stand in no parentheses, brackets or CASE.
fn outside(tokens: &[Token]) -> impl Iterator<Item = usize> {
    let mut depth = 0_usize;
    tokens.iter().enumerate().filter_map(move |(at, token)| {
        let was = depth;
        match token {
            Sign("(" | "[") => depth += 1,
            Sign(")" | "]") => depth = depth.saturating_sub(1),
            Word(word) if word == "case" => depth += 1,
            Word(word) if word == "end" => depth = depth.saturating_sub(1),
            _ => {}
        }
        (was == 0 && depth <= 1).then_some(at)
    })
}

fn is_one_of(token: &Token, words: &[&str]) -> bool {
    matches!(token, Word(word) if words.contains(&word.as_str()))
}

fn figure(tokens: &[Token]) -> Named {
    // Words that make an expression of two, which then has no name. NULLIF, COALESCE and the like are functions here.
    const OPERATORS: [&str; 13] = [
        "and", "or", "not", "is", "isnull", "notnull", "in", "like", "ilike", "similar", "between", "operator",
        "overlaps",
    ];
    let places: Vec<usize> = outside(tokens).collect();
    let (first, last) = (tokens.first()?, tokens.len() - 1);
    if *first == Sign("(") && places == [0] {
        let inner = &tokens[1..last];
        let is_row = outside(inner).any(|at| inner[at] == Sign(","));
        return if is_row { Some(("row".to_owned(), true)) } else { figure(inner) };
    }
    if places.iter().any(|at| tokens[*at] == Operator || is_one_of(&tokens[*at], &OPERATORS)) {
        return None;
    }
    if is_one_of(first, &["case"]) {
        return Some(case(tokens));
    }
    let split = |is_it: &dyn Fn(&Token) -> bool| places.iter().rev().copied().find(|at| *at > 0 && is_it(&tokens[*at]));
    if split(&|token| is_one_of(token, &["at"])).is_some() {
        return Some(("timezone".to_owned(), true));
    }
    if let Some(at) = split(&|token| is_one_of(token, &["collate"])) {
        return figure(&tokens[..at]);
    }
    if let Some(at) = split(&|token| *token == Sign("::")) {
        return cast(&tokens[..at], &tokens[at + 1..]);
    }
    if tokens.contains(&Sign("[")) && tokens[last] == Sign("]") && !is_one_of(first, &["array"]) {
        return figure(&tokens[..split(&|token| *token == Sign("["))?]);
    }
    primary(tokens)
}

fn cast(what: &[Token], ty: &[Token]) -> Named {
    match figure(what) {
        Some((name, true)) => Some((name, true)),
        _ => Some((type_name(ty)?, false)),
    }
}

/// A CASE is called after what comes of ELSE, if that has a name of its own.
fn case(tokens: &[Token]) -> (String, bool) {
    let inner = &tokens[1..tokens.len() - 1];
    let default = outside(inner).filter(|at| is_one_of(&inner[*at], &["else"])).last();
    match default.and_then(|at| figure(&inner[at + 1..])) {
        Some((name, true)) => (name, true),
        _ => ("case".to_owned(), false),
    }
}

/// A column, a function, or a constant with its type before it.
fn primary(tokens: &[Token]) -> Named {
    let open = outside(tokens).find(|at| tokens[*at] == Sign("("));
    let named = |name: String| Some((name, true));
    match (tokens.first()?, open, tokens.last()?) {
        (Word(array), _, Sign("]")) if array == "array" => named("array".to_owned()),
        (Word(word), Some(1), Sign(")")) if word == "cast" => {
            let inner = &tokens[2..tokens.len() - 1];
            let at = outside(inner).filter(|at| is_one_of(&inner[*at], &["as"])).last()?;
            cast(&inner[..at], &inner[at + 1..])
        }
        (Word(word), Some(1), Sign(")")) if word == "trim" => named(
            match tokens.get(2)? {
                Word(side) if side == "leading" => "ltrim",
                Word(side) if side == "trailing" => "rtrim",
                _ => "btrim",
            }
            .to_owned(),
        ),
        (_, _, Constant) if tokens.len() > 1 => Some((type_name(&tokens[..tokens.len() - 1])?, false)),
        (Word(word), None, _) if tokens.len() == 1 && ["true", "false", "null"].contains(&word.as_str()) => None,
        (_, open, _) => match tokens.get(open.unwrap_or(tokens.len()).checked_sub(1)?)? {
            Word(name) | Quoted(name) => named(name.clone()),
            _ => None,
        },
    }
}

/// The server's own name of a type, without what is in parentheses or brackets.
fn type_name(tokens: &[Token]) -> Option<String> {
    let plain: Vec<&Token> =
        outside(tokens).map(|at| &tokens[at]).filter(|t| !matches!(t, Sign("(" | "[" | "]"))).collect();
    if let Some(Quoted(name)) = plain.last() {
        return Some(name.clone());
    }
    let words: Vec<&str> = plain
        .rsplit(|token| **token == Sign("."))
        .next()?
        .iter()
        .filter_map(|token| if let Word(word) = token { Some(word.as_str()) } else { None })
        .collect();
    let zoned = words.contains(&"with") && words.contains(&"zone");
    let name = match words.as_slice() {
        ["int" | "integer", ..] => "int4",
        ["smallint", ..] => "int2",
        ["bigint", ..] => "int8",
        ["real", ..] => "float4",
        ["float" | "double", ..] => "float8",
        ["decimal" | "dec", ..] => "numeric",
        ["boolean", ..] => "bool",
        ["character" | "char" | "national" | "nchar", "varying", ..] | ["national", _, "varying", ..] => "varchar",
        ["character" | "char" | "national" | "nchar", ..] => "bpchar",
        ["bit", "varying", ..] => "varbit",
        ["timestamp", ..] if zoned => "timestamptz",
        ["time", ..] if zoned => "timetz",
        [first, ..] => first,
        [] => return None,
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::expression_name;

    #[test]
    fn expressions_are_named_as_the_server_names_them() {
        for (expr, name) in [
            ("lower(email)", "lower"),
            ("pg_catalog.lower((a)::text)", "lower"),
            ("a + b", "expr"),
            ("(a + b)", "expr"),
            ("f(a) + f(b)", "expr"),
            ("coalesce(a, ')')", "coalesce"),
            ("(s::int)", "s"),
            ("(s)::integer[]", "s"),
            ("(a || b)::text", "text"),
            ("(a || b)::varchar(20)", "varchar"),
            ("(a + 1)::double precision", "float8"),
            ("CAST(a + 1 AS bigint)", "int8"),
            ("CAST(a AS bigint)", "a"),
            ("CASE WHEN a > 0 THEN 1 END", "case"),
            ("CASE WHEN a > 0 THEN 1 ELSE 2 END", "case"),
            ("CASE WHEN a > 0 THEN b ELSE a END", "a"),
            ("ARRAY[a, b]", "array"),
            ("\"S\" COLLATE \"C\"", "S"),
            ("s COLLATE \"C\"", "s"),
            ("not (a > 0)", "expr"),
            ("a IS NULL", "expr"),
            ("trim(s)", "btrim"),
            ("trim(both ' ' from s)", "btrim"),
            ("trim(leading from s)", "ltrim"),
            ("nullif(a, b)", "nullif"),
            ("greatest(a, b)", "greatest"),
            ("at AT TIME ZONE 'UTC'", "timezone"),
            ("(doc ->> 'x')", "expr"),
            ("(doc ->> 'x')::numeric(10, 2)", "numeric"),
            ("tags[1]", "tags"),
            ("-a", "expr"),
            ("substring(s from 1 for 2)", "substring"),
            ("date_trunc('day', at)", "date_trunc"),
        ] {
            assert_eq!(expression_name(expr), name, "{expr}");
        }
    }
}
