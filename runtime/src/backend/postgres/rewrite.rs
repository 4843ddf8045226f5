//! Another schema for the names in a statement: enough of a lexer for that, and no parser.

use crate::plan::dollar_quoted_len;

/// A schema's name that is written in place of another.
#[derive(Clone, Copy)]
pub(super) struct Words<'w> {
    pub(super) from: &'w str,
    /// As it is written.
    pub(super) to: &'w str,
    /// Whether there are settings that look like tables of that schema.
    pub(super) settings: bool,
    /// Whether names in texts count (`'"public"."t"'::regclass`).
    pub(super) in_texts: bool,
    /// Whether a `search_path` that is set gets the schema in front of the other.
    pub(super) lists: bool,
}

/// Settings of a session that are called as if they were tables of the ledger.
const SETTINGS: [&str; 4] = ["filling", "direct", "gate", "application_name"];

/// Writes the schema of every qualified name anew. Between dollars stand statements, so names there count as well.
pub(super) fn rewrite(sql: &str, words: &Words<'_>) -> String {
    let mut out = String::with_capacity(sql.len() + 64);
    let mut rest = sql;
    // The names that stand last, until something else does.
    let (mut list, mut last) = (false, String::new());
    while let Some(first) = rest.chars().next() {
        let is_name = first == '"' || first.is_alphabetic() || first == '_';
        let len = match first {
            '\'' => text_len(rest, ends_in_escape(&out)),
            '"' => quoted_len(rest),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            '$' => dollar_quoted_len(rest).unwrap_or(1),
            c if is_name || c.is_ascii_digit() => rest.find(|c| !is_name_part(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, behind) = rest.split_at(len);
        if is_name {
            let name = plain(token);
            let is_qualifier = !out.ends_with('.') && behind.starts_with('.') && !is_setting(words, behind);
            let is_home = name == words.from;
            if is_home && (is_qualifier || (words.lists && last == "set schema")) {
                out.push_str(words.to);
            } else if is_home && list {
                out.push_str(&format!("{}, {token}", words.to));
            } else {
                out.push_str(token);
            }
            list = words.lists && (name == "search_path" || (list && name != "as"));
            last = if last == "set" && name == "schema" { "set schema".to_owned() } else { name };
        } else if first == '\'' && words.in_texts {
            out.push_str(&within(token, behind, words));
        } else if first == '$' && len > 1 {
            let tag = token[1..].find('$').map_or(1, |at| at + 2);
            let (open, inner) = token.split_at(tag);
            let (inner, close) = inner.split_at(inner.len() - tag);
            out.push_str(&format!("{open}{}{close}", rewrite(inner, words)));
        } else {
            out.push_str(token);
            if !first.is_whitespace() {
                list &= matches!(first, '=' | ',');
                last.clear();
            }
        }
        rest = behind;
    }
    out
}

fn is_setting(words: &Words<'_>, behind: &str) -> bool {
    words.settings && SETTINGS.iter().any(|name| behind[1..].starts_with(name))
}

/// Names in a text: with quotes around them, as plans write them, or a whole one that the server is to look up.
fn within(token: &str, behind: &str, words: &Words<'_>) -> String {
    let name = quoted(words.from);
    let text = token.replace(&format!("{name}."), &format!("{}.", words.to));
    let bare = format!("'{}.", words.from);
    match text.strip_prefix(&bare) {
        Some(object) if behind.starts_with("::reg") => format!("'{}.{object}", words.to),
        _ => text,
    }
}

/// A name as the server understands it.
fn plain(token: &str) -> String {
    match token.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => token.to_lowercase(),
    }
}

fn is_name_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Whether the text that follows is one in which a backslash says what the next character means.
fn ends_in_escape(out: &str) -> bool {
    let Some(before) = out.strip_suffix(['e', 'E']) else { return false };
    !before.ends_with(is_name_part)
}

fn quoted_len(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '"' && chars.next_if(|(_, next)| *next == '"').is_none() {
            return at + 1;
        }
    }
    text.len()
}

fn text_len(text: &str, escapes: bool) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next();
        } else if c == '\'' && chars.next_if(|(_, next)| *next == '\'').is_none() {
            return at + 1;
        }
    }
    text.len()
}

/// A name in quotes; no name of a tenant holds any.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}
