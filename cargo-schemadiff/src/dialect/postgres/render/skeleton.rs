//! Definitions without what the server may write in another way: white space, parentheses, quotes and casts. A list of texts
//! alone has two spellings.

const NOISE: [char; 6] = [' ', '\n', '(', ')', '"', '\''];

/// Of a text.
pub(super) fn skeleton(definition: &str) -> String {
    let text: String = definition.chars().filter(|c| !NOISE.contains(c)).collect();
    let mut parts = text.split("::");
    let mut bare = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let ends = part.find(|c: char| !matches!(c, 'a'..='z' | '0'..='9' | '_' | '.')).unwrap_or(part.len());
        let rest = &part[ends..];
        if ends == 0 {
            bare += "::";
        }
        bare += if ends > 0 { rest.strip_prefix("[]").unwrap_or(rest) } else { rest };
    }
    bare
}

/// The same, of an SQL expression that gives a definition.
pub(super) fn skeleton_of(expr: &str) -> String {
    format!(
        "pg_catalog.regexp_replace(pg_catalog.translate({expr}, E' \\n()\"\\'', ''), '::[a-z0-9_.]+(\\[\\])?', '', 'g')"
    )
}

#[cfg(test)]
mod tests {
    use super::skeleton;

    #[test]
    fn both_spellings_of_a_list_have_one_skeleton() {
        let first = "x::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[])";
        let second = "(x)::text = ANY (ARRAY[('a'::character varying)::text, ('b'::character varying)::text])";
        assert_eq!(skeleton(first), skeleton(second));
        assert_ne!(skeleton("a > 0"), skeleton("a > 1"));
        assert_eq!(skeleton("a::\"T\" > 0"), "a::T>0");
    }
}
