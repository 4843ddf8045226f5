//! Names inside SQL expressions: enough of a lexer to find and replace column names without knowing a dialect.
//!
//! Expressions are kept in the server's spelling, so keywords and functions need no knowledge here: a name before `(`,
//! after `.` or after `::` is no column, everything in single quotes is text.

/// A piece of an expression.
enum Piece<'e> {
    /// A name as written, and whether it is where a column can be.
    Name { text: &'e str, column: bool },
    /// Anything else.
    Other(&'e str),
}

/// Replaces a column's name everywhere in an expression. The new name is quoted when it must be.
#[must_use]
pub fn rename_column(expr: &str, from: &str, to: &str) -> String {
    map_columns(expr, |name| (name == from).then(|| to.to_owned()))
}

/// Replaces column names as `map` says; `None` keeps one.
#[must_use]
pub fn map_columns(expr: &str, map: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(expr.len());
    for piece in pieces(expr) {
        match piece {
            Piece::Name { text, column: true } => match map(&unquoted(text)) {
                Some(new) => out.push_str(&quoted(&new)),
                None => out.push_str(text),
            },
            Piece::Name { text, .. } | Piece::Other(text) => out.push_str(text),
        }
    }
    out
}

/// Whether the expression mentions the column.
#[must_use]
pub fn mentions(expr: &str, column: &str) -> bool {
    pieces(expr).iter().any(|p| matches!(p, Piece::Name { text, column: true } if unquoted(text) == column))
}

/// An expression of the user's over the columns of a table, by their bare names and without comments, so that it can stand
/// anywhere: in a trigger the row has another name. What holds a query of its own keeps its names, because a bare one may
/// mean something else there; what cannot be read here for certain stays as it is.
#[must_use]
pub fn bare(expr: &str, tables: &[&str]) -> String {
    // Texts with escapes, or between dollars.
    if expr.contains(['\\', '$']) {
        return expr.to_owned();
    }
    let pieces = pieces(expr);
    let has_query = pieces.iter().any(begins_query);
    let (mut out, mut at) = (String::with_capacity(expr.len()), 0);
    while let Some(piece) = pieces.get(at) {
        match piece {
            Piece::Other(text) if is_comment(text) => out.push(' '),
            Piece::Name { .. }
                if !has_query
                    && !out.ends_with('.')
                    && let Some(skipped) = qualifier(&pieces[at..], tables) =>
            {
                at += skipped;
                continue;
            }
            Piece::Name { text, .. } | Piece::Other(text) => out.push_str(text),
        }
        at += 1;
    }
    out.trim().to_owned()
}

/// Whether the expression holds a query of its own, whose names are not those of the row.
#[must_use]
pub fn has_query(expr: &str) -> bool {
    pieces(expr).iter().any(begins_query)
}

fn begins_query(piece: &Piece<'_>) -> bool {
    matches!(piece, Piece::Name { text, .. } if text.eq_ignore_ascii_case("select"))
}

/// The texts in single quotes.
#[must_use]
pub fn literals(expr: &str) -> Vec<String> {
    let text = |piece: Piece<'_>| match piece {
        Piece::Other(text) => Some(text.strip_prefix('\'')?.strip_suffix('\'')?.replace("''", "'")),
        Piece::Name { .. } => None,
    };
    pieces(expr).into_iter().filter_map(text).collect()
}

/// Whether two expressions differ in nothing but needless quotes around names.
#[must_use]
pub fn same(a: &str, b: &str) -> bool {
    let plain = |expr: &str| map_columns(expr, |name| Some(name.to_owned()));
    a == b || plain(a) == plain(b)
}

fn unquoted(text: &str) -> String {
    match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => text.to_owned(),
    }
}

fn quoted(name: &str) -> String {
    let starts_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if starts_plain && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

fn is_name_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

fn pieces(expr: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(first) = expr[at..].chars().next() {
        let rest = &expr[at..];
        let name = first == '"' || first.is_alphabetic() || first == '_';
        let len = match first {
            '\'' | '"' => quoted_len(rest, first),
            '-' | '/' if is_comment(rest) => comment_len(rest),
            c if c.is_ascii_digit() || name => rest.find(|c| !is_name_part(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let text = &rest[..len];
        pieces.push(if name {
            let before = expr[..at].trim_end();
            let after = rest[len..].trim_start();
            let column = !before.ends_with('.') && !before.ends_with("::") && !after.starts_with(['(', '.']);
            Piece::Name { text, column: column || (first == '"' && !before.ends_with('.') && !after.starts_with('.')) }
        } else {
            Piece::Other(text)
        });
        at += len;
    }
    pieces
}

fn is_comment(text: &str) -> bool {
    text.starts_with("--") || text.starts_with("/*")
}

fn comment_len(text: &str) -> usize {
    let end = if text.starts_with("--") { text.find('\n') } else { text.find("*/").map(|at| at + 2) };
    end.unwrap_or(text.len())
}

/// How many pieces qualify the column that they begin with: `t.` or `app.t.` for a table `t`.
fn qualifier(pieces: &[Piece<'_>], tables: &[&str]) -> Option<usize> {
    let name = |at: usize| match pieces.get(at) {
        Some(Piece::Name { text, .. }) => Some(*text),
        _ => None,
    };
    let dot = |at: usize| matches!(pieces.get(at), Some(Piece::Other(".")));
    let is_table = |text: &str| {
        let quoted = text.starts_with('"');
        tables.iter().any(|table| if quoted { unquoted(text) == *table } else { text.eq_ignore_ascii_case(table) })
    };
    let names = 1 + (1..3).take_while(|n| dot(2 * n - 1) && name(2 * n).is_some()).count();
    let skipped = 2 * (names - 1);
    // A function of a database schema that is called as the table is.
    let called = matches!(pieces.get(skipped + 1), Some(Piece::Other("(" | ".")));
    (names > 1 && !called && is_table(name(skipped - 2)?)).then_some(skipped)
}

/// The length of a quoted token, doubled quotes included.
pub(crate) fn quoted_len(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_columns_are_renamed() {
        let renamed = |expr| rename_column(expr, "name", "label");
        assert_eq!(renamed("(name > 'name'::name)"), "(label > 'name'::name)");
        assert_eq!(renamed("lower(name) || name_len"), "lower(label) || name_len");
        assert_eq!(renamed("name(\"name\") = x.name"), "name(label) = x.name");
        assert_eq!(renamed("'it''s name' <> name"), "'it''s name' <> label");
        assert_eq!(rename_column("a IS NULL", "a", "B c"), "\"B c\" IS NULL");
    }

    #[test]
    fn expressions_stand_anywhere() {
        let bare = |expr| bare(expr, &["t", "Old t"]);
        assert_eq!(
            bare("lower(t.s) || T.\"S\" || public.t.s || \"Old t\".s || other.s"),
            "lower(s) || \"S\" || s || s || other.s"
        );
        assert_eq!(bare("s -- the t.s\n+ 1 /* or t.x */ + '--t.s' -- end"), "s  \n+ 1   + '--t.s'");
        assert_eq!(bare("t.f(t.s) + a.t.f(1) + t.a.f(2)"), "t.f(s) + a.t.f(1) + t.a.f(2)");
        assert_eq!(
            bare("(SELECT max(o.x) FROM o WHERE o.id = t.id) -- all"),
            "(SELECT max(o.x) FROM o WHERE o.id = t.id)"
        );
        assert_eq!(bare("E'\\' -- ' || t.s"), "E'\\' -- ' || t.s");
        assert!(!mentions("a /* b */ -- b", "b"));
    }

    #[test]
    fn mentions_and_equality_look_through_quotes() {
        assert!(mentions("\"Name\" > 0 AND größe < 1", "Name") && mentions("größe < 1", "größe"));
        assert!(!mentions("'name' = x", "name") && !mentions("names = 1", "name"));
        assert_eq!(literals("a <> 'it''s' AND b = '{x,y}'::c[] AND \"d\" = ''"), ["it's", "{x,y}", ""]);
        assert!(same("\"a\" > 0", "a > 0") && !same("\"A\" > 0", "a > 0"));
    }
}
