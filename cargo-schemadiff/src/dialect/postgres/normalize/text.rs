//! Normal form of expressions as text, the same for what is declared and for what is read from a server.

/// Without white space around and without parentheses that enclose the whole expression.
pub(crate) fn expression(text: &str) -> String {
    let mut text = text.trim();
    while let Some(inner) = text.strip_prefix('(').and_then(|t| t.strip_suffix(')'))
        && closes_last(text)
    {
        text = inner.trim();
    }
    array_of_casts(text)
}

/// The definition of something that holds queries or expressions, where what is said twice has one spelling.
pub(crate) fn views(definition: &str) -> String {
    array_of_casts(definition)
}

/// Whether the parenthesis that opens the text is closed by the one that ends it.
fn closes_last(text: &str) -> bool {
    let mut depth = 0_usize;
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1 == text.len();
                }
            }
            _ => {}
        }
    }
    false
}

/// `x IN ('a', 'b')` over a varchar column is shown as `(ARRAY['a'::character varying])::text[]`, and once that text is
/// run again as `ARRAY[('a'::character varying)::text]`. Both mean one thing; the second is the form that stays.
fn array_of_casts(text: &str) -> String {
    const OPEN: &str = "(ARRAY[";
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(OPEN) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        match rewritten_array(from) {
            Some((array, len)) => {
                out.push_str(&array);
                rest = &from[len..];
            }
            None => {
                out.push_str(OPEN);
                rest = &from[OPEN.len()..];
            }
        }
    }
    out + rest
}

/// The rewritten form of an array with a cast behind it at the start of the text, and how long the old one was.
fn rewritten_array(text: &str) -> Option<(String, usize)> {
    let inside_at = "(ARRAY[".len();
    let mut elements = Vec::new();
    let mut at = inside_at;
    loop {
        let literal = text.get(at..)?.strip_prefix('\'').map(|_| literal_len(&text[at..]))?;
        let rest = &text[at + literal..];
        let end = rest.find([',', ']'])?;
        let cast = &rest[..end];
        if !cast.starts_with("::") || cast.contains(['(', '\'', '"']) {
            return None;
        }
        elements.push(&text[at..at + literal + end]);
        at += literal + end;
        if text[at..].starts_with(", ") {
            at += 2;
        } else {
            break;
        }
    }
    let after = text[at..].strip_prefix("])::")?;
    let ty = &after[..after.find("[]")?];
    if ty.is_empty() || !ty.chars().all(|c| c.is_ascii_lowercase() || c == ' ') {
        return None;
    }
    let array: Vec<_> = elements.iter().map(|element| format!("({element})::{ty}")).collect();
    Some((format!("ARRAY[{}]", array.join(", ")), at + "])::".len() + ty.len() + "[]".len()))
}

/// Length of the quoted literal at the start of the text.
fn literal_len(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\'' && chars.next_if(|(_, next)| *next == '\'').is_none() {
            return at + 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::expression;

    #[test]
    fn only_parentheses_around_everything_go() {
        assert_eq!(expression(" ((a > 0)) "), "a > 0");
        assert_eq!(expression("(a) + (b)"), "(a) + (b)");
        assert_eq!(expression("(a = ')')"), "a = ')'");
        assert_eq!(expression("('it''s (')"), "'it''s ('");
    }

    #[test]
    fn both_spellings_of_a_list_of_texts_are_one() {
        let first = "(x)::text = ANY ((ARRAY['a'::character varying, 'it''s, ]'::character varying])::text[])";
        let second = "(x)::text = ANY (ARRAY[('a'::character varying)::text, ('it''s, ]'::character varying)::text])";
        assert_eq!(expression(first), second);
        assert_eq!(expression(second), second);
        assert_eq!(expression("a = ANY (ARRAY[1, 2])"), "a = ANY (ARRAY[1, 2])");
    }
}
