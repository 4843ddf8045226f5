//! PostgreSQL's names of types: which spellings are one type.

/// A type name taken apart: `character varying(20)[]`.
#[derive(Debug, PartialEq, Eq)]
pub struct TypeName {
    /// Name in the server's spelling, with words after the parentheses (`timestamp with time zone`).
    pub base: String,
    /// What stands in parentheses.
    pub modifiers: Vec<u32>,
    /// Number of `[]`; the server does not keep bounds and dimensions.
    pub dimensions: usize,
}

/// The server's spelling (`format_type`) of a type name, as far as that is known without a server.
pub fn canonical(ty: &str) -> String {
    match parse(ty) {
        Some(name) => name.to_string(),
        None => ty.trim().to_owned(),
    }
}

/// Takes a type name apart; `None` for what is none, which then only equals itself.
pub fn parse(ty: &str) -> Option<TypeName> {
    let mut text = ty.trim();
    let mut dimensions = 0;
    loop {
        if let Some(rest) = text.strip_suffix(']') {
            let open = rest.rfind('[')?;
            if !rest[open + 1..].chars().all(|c| c.is_ascii_digit()) {
                return None;
            }
            text = rest[..open].trim_end();
            dimensions += 1;
        } else if let Some((rest, "array" | "ARRAY")) = text.rsplit_once(' ') {
            (text, dimensions) = (rest.trim_end(), 1);
        } else {
            break;
        }
    }
    if text.contains('"') {
        // A quoted name is the user's; nothing in it is an alias.
        return Some(TypeName { base: text.to_owned(), modifiers: Vec::new(), dimensions: dimensions.min(1) });
    }
    let (name, modifiers) = match (text.find('('), text.find(')')) {
        (Some(open), Some(close)) if open < close => {
            let inside = text[open + 1..close].split(',').map(|n| n.trim().parse()).collect::<Result<_, _>>().ok()?;
            (format!("{} {}", &text[..open], &text[close + 1..]), inside)
        }
        (None, None) => (text.to_owned(), Vec::new()),
        _ => return None,
    };
    let words = name.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ");
    let (base, modifiers) = without_alias(&words, modifiers);
    Some(TypeName { base, modifiers, dimensions: dimensions.min(1) })
}

fn without_alias(words: &str, mut modifiers: Vec<u32>) -> (String, Vec<u32>) {
    let words = words.strip_prefix("pg_catalog.").unwrap_or(words);
    let base = match words {
        "int" | "int4" => "integer",
        "int8" => "bigint",
        "int2" => "smallint",
        "bool" => "boolean",
        "float8" | "double" => "double precision",
        "float4" => "real",
        "float" => {
            let single = modifiers.first().is_some_and(|bits| *bits <= 24);
            modifiers.clear();
            if single { "real" } else { "double precision" }
        }
        "decimal" | "dec" => "numeric",
        "varchar" | "char varying" => "character varying",
        "char" | "bpchar" | "character" => {
            if words != "bpchar" && modifiers.is_empty() {
                modifiers.push(1);
            }
            if modifiers.is_empty() { "bpchar" } else { "character" }
        }
        "varbit" => "bit varying",
        "bit" => {
            if modifiers.is_empty() {
                modifiers.push(1);
            }
            "bit"
        }
        "timestamp" => "timestamp without time zone",
        "timestamptz" => "timestamp with time zone",
        "time" => "time without time zone",
        "timetz" => "time with time zone",
        other => other,
    };
    if base == "numeric" && modifiers.len() == 1 {
        modifiers.push(0);
    }
    (base.to_owned(), modifiers)
}

impl std::fmt::Display for TypeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let modifiers: Vec<_> = self.modifiers.iter().map(u32::to_string).collect();
        let modifiers = if modifiers.is_empty() { String::new() } else { format!("({})", modifiers.join(",")) };
        match self.base.split_once(' ') {
            // The precision stands after the first word: `timestamp(3) with time zone`.
            Some((first @ ("timestamp" | "time"), rest)) => write!(f, "{first}{modifiers} {rest}")?,
            _ => write!(f, "{}{modifiers}", self.base)?,
        }
        (0..self.dimensions).try_for_each(|_| f.write_str("[]"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_become_the_servers_spelling() {
        for (alias, spelled) in [
            ("INT8", "bigint"),
            ("varchar(20)", "character varying(20)"),
            ("VARCHAR", "character varying"),
            ("char", "character(1)"),
            ("decimal(10, 2)", "numeric(10,2)"),
            ("numeric(10)", "numeric(10,0)"),
            ("timestamptz(3)", "timestamp(3) with time zone"),
            ("timestamp(3) with time zone", "timestamp(3) with time zone"),
            ("timestamp", "timestamp without time zone"),
            ("float(24)", "real"),
            ("text[][]", "text[]"),
            ("int[3]", "integer[]"),
            ("\"Mood\"", "\"Mood\""),
            ("app.mood", "app.mood"),
            ("varbit(3)", "bit varying(3)"),
        ] {
            assert_eq!(canonical(alias), spelled, "{alias}");
        }
    }
}
