//! SQLite's tokens, as its own tokenizer cuts them.
//!
//! The SQL that SQLite keeps of a table, an index or a trigger is the only place where checks, generated columns,
//! collations and predicates are written down. General SQL parsers know a part of its grammar (no conflict clauses, no
//! names without quotes that are keywords elsewhere), so what is needed is read from tokens.

use std::borrow::Cow;

/// The kinds of token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or keyword without quotes.
    Word,
    /// `"name"`, `[name]` or `` `name` ``.
    QuotedName,
    /// `'text'`.
    Text,
    /// `x'00ff'`.
    Blob,
    /// A number.
    Number,
    /// Everything else: operators, punctuation, parameters.
    Symbol,
}

/// A token with its place in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'s> {
    /// Kind.
    pub kind: Kind,
    /// As written.
    pub text: &'s str,
    /// Byte offset of its first byte.
    pub at: usize,
}

impl<'s> Token<'s> {
    /// Whether it is this keyword (given in upper case).
    pub fn is(&self, keyword: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(keyword)
    }

    /// Whether it is this symbol.
    pub fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == Kind::Symbol && self.text == symbol
    }

    /// The offset behind it.
    pub fn end(&self) -> usize {
        self.at + self.text.len()
    }

    /// The name it stands for. SQLite takes a text literal for a name where only a name fits.
    pub fn name(&self) -> Option<String> {
        match self.kind {
            Kind::Word => Some(self.text.to_owned()),
            Kind::QuotedName | Kind::Text => Some(unquote(self.text).into_owned()),
            _ => None,
        }
    }
}

/// The content between quotes, doubled quotes taken as one.
fn unquote(text: &str) -> Cow<'_, str> {
    let (Some(open), Some(close)) = (text.chars().next(), text.chars().next_back()) else {
        return Cow::Borrowed(text);
    };
    let inner = text.get(open.len_utf8()..text.len().saturating_sub(close.len_utf8())).unwrap_or_default();
    match open {
        '[' => Cow::Borrowed(inner),
        quote => Cow::Owned(inner.replace(&format!("{quote}{quote}"), &quote.to_string())),
    }
}

/// The text ends inside quotes or a comment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a quote is not closed")]
pub(super) struct Unclosed;

/// Cuts text into tokens; white space and comments go.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, Unclosed> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let len = match blank_len(rest) {
            0 => {
                let (kind, len) = token_len(rest)?;
                found.push(Token { kind, text: &rest[..len], at });
                len
            }
            len => len,
        };
        at += len;
    }
    Ok(found)
}

fn blank_len(rest: &str) -> usize {
    if rest.starts_with("--") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        // A comment that is not closed ends with the text, as in SQLite.
        return rest.get(2..).and_then(|inner| inner.find("*/")).map_or(rest.len(), |end| end + 4);
    }
    rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\x0c', '\r', '\u{feff}']).len()
}

fn token_len(rest: &str) -> Result<(Kind, usize), Unclosed> {
    let mut chars = rest.chars();
    let first = chars.next().unwrap_or_default();
    let second = chars.next();
    match first {
        '\'' => Ok((Kind::Text, quoted_len(rest, '\'')?)),
        '"' | '`' => Ok((Kind::QuotedName, quoted_len(rest, first)?)),
        '[' => rest.find(']').map(|end| (Kind::QuotedName, end + 1)).ok_or(Unclosed),
        'x' | 'X' if second == Some('\'') => Ok((Kind::Blob, 1 + quoted_len(&rest[1..], '\'')?)),
        '0'..='9' => Ok((Kind::Number, number_len(rest))),
        '.' if second.is_some_and(|c| c.is_ascii_digit()) => Ok((Kind::Number, number_len(rest))),
        '?' | ':' | '@' | '$' | '#' => {
            Ok((Kind::Symbol, 1 + rest[1..].find(|c| !is_name_part(c)).unwrap_or(rest.len() - 1)))
        }
        c if is_name_part(c) => Ok((Kind::Word, rest.find(|c| !is_name_part(c)).unwrap_or(rest.len()))),
        _ => {
            let long = ["->>", "->", "||", "<<", ">>", "<=", ">=", "==", "!=", "<>"];
            let len = long.iter().find(|op| rest.starts_with(**op)).map_or(first.len_utf8(), |op| op.len());
            Ok((Kind::Symbol, len))
        }
    }
}

fn quoted_len(rest: &str, quote: char) -> Result<usize, Unclosed> {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            if chars.peek().is_some_and(|(_, next)| *next == quote) {
                chars.next();
            } else {
                return Ok(at + 1);
            }
        }
    }
    Err(Unclosed)
}

fn number_len(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let exponent_sign = matches!(byte, b'+' | b'-')
            && !rest.starts_with("0x")
            && !rest.starts_with("0X")
            && matches!(bytes.get(at.wrapping_sub(1)), Some(b'e' | b'E'));
        if !(byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_' || exponent_sign) {
            break;
        }
        at += 1;
    }
    at
}

fn is_name_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// A name in double quotes.
pub(super) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in single quotes. A NUL would end the statement inside the literal, so such a text is put together.
pub(super) fn literal(text: &str) -> String {
    let quoted = |part: &str| format!("'{}'", part.replace('\'', "''"));
    if !text.contains('\0') {
        return quoted(text);
    }
    let parts: Vec<_> = text.split('\0').map(quoted).collect();
    format!("({})", parts.join(" || char(0) || "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<&str> {
        tokens(sql).unwrap().iter().map(|t| t.text).collect()
    }

    #[test]
    fn tokens_are_sqlites() {
        assert_eq!(texts("a>=1.5e-3--c\n||x'0F'"), ["a", ">=", "1.5e-3", "||", "x'0F'"]);
        assert_eq!(texts("[a b]`c``d`\"e\"\"f\"'g''h'"), ["[a b]", "`c``d`", "\"e\"\"f\"", "'g''h'"]);
        assert_eq!(texts("a/* x ' */->>'$.b'"), ["a", "->>", "'$.b'"]);
        assert_eq!(texts("größe-0x1F+1"), ["größe", "-", "0x1F", "+", "1"]);
        assert_eq!(tokens("'open"), Err(Unclosed));
    }

    #[test]
    fn names_lose_their_quotes() {
        let names: Vec<_> = tokens("[a\"b] `c``d` \"e\"\"f\" 'g''h' i").unwrap().iter().map(|t| t.name()).collect();
        assert_eq!(names, ["a\"b", "c`d", "e\"f", "g'h", "i"].map(|n| Some(n.to_owned())));
    }
}
