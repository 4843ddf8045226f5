//! Another schema for the names in a statement: enough of a lexer for that, and no parser.

use std::collections::BTreeSet;

use crate::{model::expr::quoted_len, plan::dollar_quoted_len};

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
    pub(super) paths: Paths,
    /// The objects of the other schema that stay where they are: those of extensions.
    pub(super) left: Option<&'w BTreeSet<String>>,
    /// The objects that there are in the schema, where that is known: what else looks like its name is an alias, or a variable.
    pub(super) only: Option<&'w BTreeSet<String>>,
}

/// What becomes of a `search_path` that is set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Paths {
    Left,
    /// It gets the schema in front of the other.
    Widened,
    /// The schema in front of the other is taken out of it.
    Narrowed,
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
            '"' => quoted_len(rest, '"'),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment_len(rest),
            '$' => dollar_quoted_len(rest).unwrap_or(1),
            c if is_name || c.is_ascii_digit() => rest.find(|c| !is_name_part(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, behind) = rest.split_at(len);
        if is_name {
            let name = plain(token);
            let is_qualifier =
                !out.ends_with('.') && behind.starts_with('.') && !is_setting(words, behind) && moves(words, behind);
            let is_home = name == words.from;
            if is_home && (is_qualifier || (words.paths == Paths::Widened && last == "set schema")) {
                out.push_str(words.to);
            } else if is_home && list && words.paths == Paths::Widened {
                out.push_str(&format!("{}, {token}", words.to));
            } else {
                out.push_str(token);
            }
            let is_set = name == "search_path" && (last == "set" || last == "local" || last == "session");
            list = words.paths != Paths::Left && (is_set || (list && name != "as"));
            last = if last == "set" && name == "schema" { "set schema".to_owned() } else { name };
        } else if first == '\'' && list {
            // The server writes the names of a list as texts.
            let is_home = token.strip_prefix('\'').and_then(|t| t.strip_suffix('\'')) == Some(words.from);
            match words.paths {
                Paths::Widened if is_home => out.push_str(&format!("'{}', {token}", words.to.trim_matches('"'))),
                Paths::Narrowed if is_home && behind.starts_with(", 'public'") => {
                    rest = &behind[", ".len()..];
                    continue;
                }
                _ => out.push_str(token),
            }
        } else if first == '\'' && words.in_texts && !is_value(&last) {
            out.push_str(&within(token, behind, words));
        } else if first == '$' && len > 1 && !is_value(&last) {
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

/// Whether what is named behind the dot goes along.
fn moves(words: &Words<'_>, behind: &str) -> bool {
    let rest = &behind[1..];
    let len = match rest.chars().next() {
        Some('"') => quoted_len(rest, '"'),
        Some(c) if c.is_alphabetic() || c == '_' => rest.find(|c| !is_name_part(c)).unwrap_or(rest.len()),
        // An operator: only extensions bring any.
        _ => return words.left.is_none(),
    };
    let name = plain(&rest[..len]);
    !words.left.is_some_and(|left| left.contains(&name)) && words.only.is_none_or(|only| only.contains(&name))
}

/// Whether a text behind that word is somebody's own, and no name.
fn is_value(last: &str) -> bool {
    matches!(last, "is" | "default")
}

/// Comments may hold comments.
fn comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text[at..];
        let step = match rest {
            _ if rest.starts_with("/*") => {
                depth += 1;
                2
            }
            _ if rest.starts_with("*/") => {
                depth -= 1;
                2
            }
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
        at += step;
        if depth == 0 {
            return at;
        }
    }
    text.len()
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

/// The length of a text, in which a backslash may say what the next character means.
fn text_len(text: &str, escapes: bool) -> usize {
    if !escapes {
        return quoted_len(text, '\'');
    }
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
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
