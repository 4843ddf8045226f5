//! One spelling for an expression, however it was written.
//!
//! SQLite keeps the text of an expression as the user wrote it. So the declared and the stored text both go through
//! [`normal`] and are then compared. It only changes what cannot change the meaning: keyword case, white space, comments,
//! quotes around plain names, operator synonyms, parentheses around the whole or around one operand, the table's own
//! name before a column, and the double quotes of a text literal.

use schemadiff::model::Table;

use super::lexer::{Kind, Token, ident, literal, tokens};

/// Words that are operators or clauses inside an expression; a column of such a name must be quoted.
const KEYWORDS: &[&str] = &[
    "ABORT",
    "ALL",
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "COLLATE",
    "CURRENT_DATE",
    "CURRENT_TIME",
    "CURRENT_TIMESTAMP",
    "DESC",
    "DISTINCT",
    "ELSE",
    "END",
    "ESCAPE",
    "EXISTS",
    "FAIL",
    "FALSE",
    "FILTER",
    "FROM",
    "GLOB",
    "IGNORE",
    "IN",
    "IS",
    "ISNULL",
    "LIKE",
    "MATCH",
    "NOT",
    "NOTNULL",
    "NULL",
    "OR",
    "ORDER",
    "OVER",
    "RAISE",
    "REGEXP",
    "ROLLBACK",
    "SELECT",
    "THEN",
    "TRUE",
    "WHEN",
    "WHERE",
];

/// Reserved words that are none inside expressions but still need quotes as names.
const RESERVED: &[&str] = &[
    "ADD",
    "ALTER",
    "AUTOINCREMENT",
    "CHECK",
    "COMMIT",
    "CONSTRAINT",
    "CREATE",
    "DEFAULT",
    "DEFERRABLE",
    "DELETE",
    "DROP",
    "EXCEPT",
    "FOREIGN",
    "GROUP",
    "HAVING",
    "INDEX",
    "INSERT",
    "INTERSECT",
    "INTO",
    "JOIN",
    "LIMIT",
    "NOTHING",
    "ON",
    "PRIMARY",
    "REFERENCES",
    "RETURNING",
    "SET",
    "TABLE",
    "TO",
    "TRANSACTION",
    "UNION",
    "UNIQUE",
    "UPDATE",
    "USING",
    "VALUES",
    "NATURAL",
    "LEFT",
    "RIGHT",
    "INNER",
    "OUTER",
    "CROSS",
    "FULL",
];

/// A piece of an expression: a token in its normal spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    text: String,
    role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Operator, keyword operator, comma.
    Operator,
    /// Name, literal.
    Operand,
    /// A function's name, directly before `(`.
    Function,
    Open,
    Close,
    Dot,
}

impl Piece {
    fn new(text: impl Into<String>, role: Role) -> Self {
        Self { text: text.into(), role }
    }
}

/// The names an expression may use.
#[derive(Debug, Clone, Default)]
pub(super) struct Names<'n> {
    table: &'n str,
    columns: Vec<&'n str>,
}

impl<'n> Names<'n> {
    /// The table's name and columns.
    pub fn of(table: &'n Table) -> Self {
        Self { table: &table.name.name, columns: table.columns.iter().map(|c| c.name.as_str()).collect() }
    }

    fn is_table(&self, name: &str) -> bool {
        !self.table.is_empty() && self.table.eq_ignore_ascii_case(name)
    }

    /// The column in its own spelling.
    fn column(&self, name: &str) -> Option<&'n str> {
        self.columns.iter().copied().find(|c| c.eq_ignore_ascii_case(name))
    }
}

/// The normal spelling of an expression. Text that cannot be cut into tokens is only trimmed.
pub(super) fn normal(expr: &str, names: &Names<'_>) -> String {
    let Ok(found) = tokens(expr) else {
        return expr.trim().to_owned();
    };
    let mut pieces = pieces(&found, names);
    while strip_once(&mut pieces) {}
    join(&pieces)
}

/// The normal spelling of a default: as [`normal`], and a bare word is the text literal that SQLite takes it for.
pub(super) fn normal_default(expr: &str) -> String {
    let bare = normal(expr, &Names::default());
    match tokens(&bare).as_deref() {
        Ok([only]) if only.kind == Kind::QuotedName || (only.kind == Kind::Word && !is_keyword(only.text)) => {
            literal(&only.name().unwrap_or_default())
        }
        _ => bare,
    }
}

/// Whether the expression is a literal, with a sign at most: what ADD COLUMN takes as a default.
pub(super) fn is_constant(expr: &str) -> bool {
    let Ok(found) = tokens(expr) else {
        return false;
    };
    let literal = |t: &Token<'_>| {
        matches!(t.kind, Kind::Number | Kind::Text | Kind::Blob) || t.is("NULL") || t.is("TRUE") || t.is("FALSE")
    };
    match found.as_slice() {
        [only] => literal(only),
        [sign, number] => (sign.is_symbol("-") || sign.is_symbol("+")) && number.kind == Kind::Number,
        _ => false,
    }
}

/// Whether a default may stand without parentheses.
pub(super) fn is_plain_default(expr: &str) -> bool {
    let current = ["CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME"];
    is_constant(expr) || current.iter().any(|word| expr.eq_ignore_ascii_case(word))
}

/// Those of `columns` that the expression names.
pub(super) fn mentioned<'c>(expr: &str, columns: &'c [String]) -> Vec<&'c String> {
    let found = tokens(expr).unwrap_or_default();
    let is_name = |t: &Token<'_>, column: &str| {
        matches!(t.kind, Kind::Word | Kind::QuotedName) && t.name().is_some_and(|n| n.eq_ignore_ascii_case(column))
    };
    columns.iter().filter(|column| found.iter().any(|t| is_name(t, column))).collect()
}

/// Names of the functions the expression calls, in lower case.
pub(super) fn functions(expr: &str) -> Vec<String> {
    let found = tokens(expr).unwrap_or_default();
    let calls = found.windows(2).filter(|pair| {
        matches!(pair[0].kind, Kind::Word | Kind::QuotedName) && pair[1].is_symbol("(") && !is_keyword(pair[0].text)
    });
    calls.filter_map(|pair| pair[0].name()).map(|name| name.to_ascii_lowercase()).collect()
}

/// Whether it gives the same for a row whenever it is asked. Functions of the time are not said to, whatever they are given;
/// a function that is not known is.
pub(super) fn is_lasting(expr: &str) -> bool {
    const CHANCE: [&str; 5] = ["random", "randomblob", "changes", "total_changes", "last_insert_rowid"];
    const TIMES: [&str; 6] = ["date", "time", "datetime", "julianday", "unixepoch", "strftime"];
    let words = ["CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "SELECT"];
    let Ok(found) = tokens(expr) else { return false };
    let called = functions(expr);
    let one_of = |names: &[&str]| called.iter().any(|name| names.contains(&name.as_str()));
    let is_said = found.iter().any(|token| words.iter().any(|word| token.is(word)));
    !one_of(&CHANCE) && !one_of(&TIMES) && !is_said
}

fn is_keyword(word: &str) -> bool {
    KEYWORDS.iter().any(|k| k.eq_ignore_ascii_case(word))
}

/// A name as it is written in an expression: bare when it is in lower case and no keyword. The model's own replacing of
/// names quotes by the same rule.
pub(super) fn name_text(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !is_keyword(name)
        && !RESERVED.iter().any(|k| k.eq_ignore_ascii_case(name));
    if plain { name.to_owned() } else { ident(name) }
}

/// A column in its own spelling; what stands in double quotes and is no column is a text literal to SQLite.
fn operand_text(token: &Token<'_>, next: Option<&Token<'_>>, names: &Names<'_>) -> String {
    let name = token.name().unwrap_or_default();
    let qualifier = next.is_some_and(|t| t.is_symbol("."));
    match names.column(&name) {
        Some(column) => name_text(column),
        None if token.text.starts_with('"') && !qualifier && !is_row_name(&name) => literal(&name),
        None => name_text(&name),
    }
}

fn is_row_name(name: &str) -> bool {
    ["rowid", "_rowid_", "oid"].iter().any(|row| row.eq_ignore_ascii_case(name))
}

fn pieces(found: &[Token<'_>], names: &Names<'_>) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::new();
    let mut at = 0;
    while let Some(token) = found.get(at) {
        let next = found.get(at + 1);
        let named = matches!(token.kind, Kind::Word | Kind::QuotedName);
        let qualified = out.last().is_some_and(|p| p.role == Role::Dot);
        if named
            && !qualified
            && next.is_some_and(|t| t.is_symbol("."))
            && token.name().is_some_and(|n| names.is_table(&n))
        {
            at += 2;
            continue;
        }
        let after_operand = out.last().is_some_and(|p| matches!(p.role, Role::Operand | Role::Close));
        let two_words = token.is("NOT") && after_operand && next.is_some_and(|t| t.is("NULL"));
        let behind = found.get(at + 1 + usize::from(two_words));
        if token.is("ISNULL") && ends_term(behind) {
            out.extend([Piece::new("IS", Role::Operator), Piece::new("NULL", Role::Operand)]);
        } else if (two_words || token.is("NOTNULL")) && ends_term(behind) {
            out.extend(["IS", "NOT"].map(|word| Piece::new(word, Role::Operator)));
            out.push(Piece::new("NULL", Role::Operand));
            at += usize::from(two_words);
        } else {
            out.push(piece(token, next, names));
        }
        at += 1;
    }
    out
}

/// Whether nothing follows that would bind to a NULL standing before it: `a ISNULL + 1` is not `a IS NULL + 1`.
fn ends_term(next: Option<&Token<'_>>) -> bool {
    let ends = ["AND", "OR", "THEN", "ELSE", "WHEN", "END"];
    next.is_none_or(|t| t.is_symbol(")") || t.is_symbol(",") || ends.iter().any(|word| t.is(word)))
}

fn piece(token: &Token<'_>, next: Option<&Token<'_>>, names: &Names<'_>) -> Piece {
    let before_open = next.is_some_and(|t| t.is_symbol("("));
    match token.kind {
        Kind::Word if is_keyword(token.text) => {
            let upper = token.text.to_ascii_uppercase();
            let role = match upper.as_str() {
                "CAST" | "RAISE" => Role::Function,
                "NULL" | "TRUE" | "FALSE" | "END" => Role::Operand,
                word if word.starts_with("CURRENT_") => Role::Operand,
                _ => Role::Operator,
            };
            Piece::new(upper, role)
        }
        Kind::Word if before_open => Piece::new(token.text.to_ascii_lowercase(), Role::Function),
        Kind::QuotedName if before_open => Piece::new(name_text(&token.name().unwrap_or_default()), Role::Function),
        Kind::Word | Kind::QuotedName => Piece::new(operand_text(token, next, names), Role::Operand),
        Kind::Text | Kind::Number => Piece::new(token.text, Role::Operand),
        Kind::Blob => Piece::new(format!("x{}", token.text[1..].to_ascii_uppercase()), Role::Operand),
        Kind::Symbol => match token.text {
            "(" => Piece::new("(", Role::Open),
            ")" => Piece::new(")", Role::Close),
            "." => Piece::new(".", Role::Dot),
            "==" => Piece::new("=", Role::Operator),
            "!=" => Piece::new("<>", Role::Operator),
            other => Piece::new(other, Role::Operator),
        },
    }
}

/// Takes one pair of parentheses away that means nothing.
fn strip_once(pieces: &mut Vec<Piece>) -> bool {
    for open in 0..pieces.len() {
        if pieces[open].role != Role::Open {
            continue;
        }
        let Some(close) = closing(pieces, open) else {
            return false;
        };
        if close > open + 1 && is_redundant(pieces, open, close) {
            pieces.remove(close);
            pieces.remove(open);
            return true;
        }
    }
    false
}

fn closing(pieces: &[Piece], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, piece) in pieces.iter().enumerate().skip(open) {
        match piece.role {
            Role::Open => depth += 1,
            Role::Close => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

fn is_redundant(pieces: &[Piece], open: usize, close: usize) -> bool {
    let before = open.checked_sub(1).and_then(|at| pieces.get(at));
    // An argument list, the list of IN, a row value and a query keep theirs.
    let list = before.is_some_and(|p| p.role == Role::Function || p.text == "IN" || p.text == "OVER");
    let inner = &pieces[open + 1..close];
    let query = inner.first().is_some_and(|p| p.text == "SELECT" && p.role == Role::Operator);
    if list || query || has_top_level_comma(inner) {
        return false;
    }
    let whole = open == 0 && close + 1 == pieces.len();
    let doubled = before.is_some_and(|p| p.role == Role::Open)
        && pieces.get(close + 1).is_some_and(|p| p.role == Role::Close)
        && open.checked_sub(2).and_then(|at| pieces.get(at)).is_none_or(|p| p.text != "IN");
    let one_operand = match inner {
        [only] => only.role == Role::Operand,
        [function, ..] => function.role == Role::Function && closing(inner, 1) == Some(inner.len() - 1),
        [] => false,
    };
    whole || doubled || one_operand
}

fn has_top_level_comma(inner: &[Piece]) -> bool {
    let mut depth = 0_usize;
    inner.iter().any(|piece| {
        match piece.role {
            Role::Open => depth += 1,
            Role::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && piece.text == "," && piece.role == Role::Operator
    })
}

fn join(pieces: &[Piece]) -> String {
    let mut out = String::new();
    for (at, piece) in pieces.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| pieces.get(at));
        let sign = before.is_some_and(|p| {
            let first = at.checked_sub(2).and_then(|at| pieces.get(at));
            matches!(p.text.as_str(), "-" | "+" | "~")
                && first.is_none_or(|f| matches!(f.role, Role::Operator | Role::Open))
        });
        let glued = piece.text == "," && piece.role == Role::Operator
            || matches!(piece.role, Role::Close | Role::Dot)
            || sign && !matches!(piece.text.as_str(), "-" | "+")
            || match before {
                None => true,
                Some(p) => {
                    matches!(p.role, Role::Open | Role::Dot) || p.role == Role::Function && piece.role == Role::Open
                }
            };
        if !glued {
            out.push(' ');
        }
        out.push_str(&piece.text);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_expression_are_one() {
        let names = Names { table: "t", columns: vec!["a", "b", "email", "order"] };
        for (written, expected) in [
            ("( ( \"a\">0 ) )", "a > 0"),
            ("LOWER( [email] )", "lower(email)"),
            ("x not null", "x IS NOT NULL"),
            ("x isnull and y NOTNULL", "x IS NULL AND y IS NOT NULL"),
            ("(a)=(b)", "a = b"),
            ("(a + b) * c", "(a + b) * c"),
            ("(LENGTH(a)) > 1 and (f(a) + g(b)) < 2", "length(a) > 1 AND (f(a) + g(b)) < 2"),
            ("a == 1 or a!=2", "a = 1 OR a <> 2"),
            ("t.a > 0 AND \"t\".b < 1", "a > 0 AND b < 1"),
            ("x IN ('a','b')", "x IN ('a', 'b')"),
            ("x in (1)", "x IN (1)"),
            ("coalesce(((a)), -1)", "coalesce(a, -1)"),
            ("\"order\" > 1", "\"order\" > 1"),
            ("a - -1", "a - -1"),
            ("(a, b) = (1, 2)", "(a, b) = (1, 2)"),
            ("A > \"text\"", "a > 'text'"),
            ("X'0a'", "x'0A'"),
            ("case when a then 'it''s' else null end", "CASE WHEN a THEN 'it''s' ELSE NULL END"),
            ("cast(a as integer)", "CAST(a AS integer)"),
            ("datetime('now')", "datetime('now')"),
            ("a COLLATE nocase = 'x'", "a COLLATE nocase = 'x'"),
            ("NOT(a)", "NOT a"),
            ("json_extract(a,'$.b')", "json_extract(a, '$.b')"),
            ("a -> '$.x' ->> 'y'", "a -> '$.x' ->> 'y'"),
            ("CURRENT_timestamp", "CURRENT_TIMESTAMP"),
        ] {
            assert_eq!(normal(written, &names), expected);
            assert_eq!(normal(expected, &names), expected, "stable");
        }
    }

    #[test]
    fn defaults() {
        assert_eq!(normal_default("('x')"), "'x'");
        assert_eq!(normal_default("\"draft\""), "'draft'");
        assert_eq!(normal_default("draft"), "'draft'");
        assert_eq!(normal_default("true"), "TRUE");
        assert_eq!(normal_default("( -1 )"), "-1");
        assert_eq!(normal_default("(datetime('now'))"), "datetime('now')");
        assert!(is_constant("-1") && is_constant("x'00'") && !is_constant("CURRENT_TIMESTAMP") && !is_constant("1+1"));
        assert!(is_plain_default("CURRENT_TIMESTAMP") && !is_plain_default("random()"));
    }
}
