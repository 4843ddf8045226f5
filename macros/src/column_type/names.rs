//! Names of enumerated types, as PostgreSQL reads them.

/// A name as PostgreSQL writes it in a type.
pub fn quoted(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && KEYWORDS.binary_search(&name).is_err();
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// What sqlx's `type_name` means, as schema and name: sqlx asks the server with `to_regtype`, which reads it as SQL.
/// Parts in quotes are taken as they are, the letters of the others become small.
pub fn by_sqlx(text: &str) -> (Option<String>, String) {
    let mut parts = vec![String::new()];
    let (mut in_quotes, mut chars) = (false, text.trim().chars().peekable());
    while let Some(c) = chars.next() {
        let Some(part) = parts.last_mut() else { break };
        match c {
            '"' if in_quotes && chars.next_if_eq(&'"').is_some() => part.push('"'),
            '"' => in_quotes = !in_quotes,
            '.' if !in_quotes => parts.push(String::new()),
            _ if in_quotes => part.push(c),
            _ => part.push(c.to_ascii_lowercase()),
        }
    }
    let name = parts.pop().unwrap_or_default();
    (parts.pop(), name)
}

/// Whether PostgreSQL has a type of that name itself, which a column would get in place of the enumerated one.
pub fn is_built_in(name: &str) -> bool {
    BUILT_IN.binary_search(&name).is_ok() || KEYWORD_TYPES.binary_search(&name).is_ok()
}

/// Words that are no names unless they are quoted: `pg_get_keywords()`, categories R and C, of 14 to 18. Sorted.
const KEYWORDS: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "between",
    "bigint",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "column",
    "constraint",
    "create",
    "current_catalog",
    "current_date",
    "current_role",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "from",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "in",
    "initially",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "json",
    "json_array",
    "json_arrayagg",
    "json_exists",
    "json_object",
    "json_objectagg",
    "json_query",
    "json_scalar",
    "json_serialize",
    "json_table",
    "json_value",
    "lateral",
    "leading",
    "least",
    "limit",
    "localtime",
    "localtimestamp",
    "merge_action",
    "national",
    "nchar",
    "none",
    "normalize",
    "not",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "row",
    "select",
    "session_user",
    "setof",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "system_user",
    "table",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];

/// Types that the grammar names. Sorted.
const KEYWORD_TYPES: &[&str] =
    &["bigint", "boolean", "character", "dec", "decimal", "float", "int", "integer", "nchar", "real", "smallint"];

/// `pg_type` of 14 to 18, schema `pg_catalog`, without arrays and the rows of its own tables. Sorted.
const BUILT_IN: &[&str] = &[
    "aclitem",
    "any",
    "anyarray",
    "anycompatible",
    "anycompatiblearray",
    "anycompatiblemultirange",
    "anycompatiblenonarray",
    "anycompatiblerange",
    "anyelement",
    "anyenum",
    "anymultirange",
    "anynonarray",
    "anyrange",
    "bit",
    "bool",
    "box",
    "bpchar",
    "bytea",
    "char",
    "cid",
    "cidr",
    "circle",
    "cstring",
    "date",
    "datemultirange",
    "daterange",
    "event_trigger",
    "fdw_handler",
    "float4",
    "float8",
    "gtsvector",
    "index_am_handler",
    "inet",
    "int2",
    "int2vector",
    "int4",
    "int4multirange",
    "int4range",
    "int8",
    "int8multirange",
    "int8range",
    "internal",
    "interval",
    "json",
    "jsonb",
    "jsonpath",
    "language_handler",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "money",
    "name",
    "numeric",
    "nummultirange",
    "numrange",
    "oid",
    "oidvector",
    "path",
    "point",
    "polygon",
    "record",
    "refcursor",
    "regclass",
    "regcollation",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
    "table_am_handler",
    "text",
    "tid",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "trigger",
    "tsm_handler",
    "tsmultirange",
    "tsquery",
    "tsrange",
    "tstzmultirange",
    "tstzrange",
    "tsvector",
    "txid_snapshot",
    "unknown",
    "uuid",
    "varbit",
    "varchar",
    "void",
    "xid",
    "xid8",
    "xml",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_so_that_a_search_finds_what_is_there() {
        for list in [KEYWORDS, KEYWORD_TYPES, BUILT_IN] {
            assert!(list.is_sorted());
        }
    }

    #[test]
    fn names_are_read_and_written_as_the_server_does() {
        let all = ["mood", "user", "Mood Type", "a\"b", "json"].map(quoted);
        assert_eq!(all, ["mood", "\"user\"", "\"Mood Type\"", "\"a\"\"b\"", "\"json\""]);
        for (given, schema, name) in [
            ("mood", None, "mood"),
            ("OrderStatus", None, "orderstatus"),
            ("\"Mood\"", None, "Mood"),
            ("\"a\"\"b\"", None, "a\"b"),
            ("\"s\".\"T.u\"", Some("s"), "T.u"),
            ("App.Mood", Some("app"), "mood"),
        ] {
            assert_eq!(by_sqlx(given), (schema.map(str::to_owned), name.to_owned()), "{given}");
        }
    }
}
