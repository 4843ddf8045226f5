//! What an expression depends on, read from its text.

use std::ops::ControlFlow;

use sqlparser::{
    ast::{Expr, Query, Spanned, Visit, Visitor},
    dialect::PostgreSqlDialect,
    parser::Parser,
};

use crate::dialect::Volatility;

/// Functions whose value is the same for every row of a statement, given the same arguments.
const NOT_VOLATILE: &[&str] = &[
    "abs",
    "array_append",
    "array_length",
    "btrim",
    "ceil",
    "char_length",
    "chr",
    "coalesce",
    "concat",
    "concat_ws",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_setting",
    "current_time",
    "current_timestamp",
    "current_user",
    "date_part",
    "date_trunc",
    "decode",
    "encode",
    "floor",
    "format",
    "greatest",
    "initcap",
    "json_build_array",
    "json_build_object",
    "jsonb_build_array",
    "jsonb_build_object",
    "least",
    "left",
    "length",
    "localtime",
    "localtimestamp",
    "lower",
    "lpad",
    "ltrim",
    "make_date",
    "make_interval",
    "md5",
    "mod",
    "now",
    "nullif",
    "octet_length",
    "position",
    "regexp_replace",
    "repeat",
    "replace",
    "reverse",
    "right",
    "round",
    "rpad",
    "rtrim",
    "session_user",
    "sha256",
    "split_part",
    "statement_timestamp",
    "strpos",
    "substr",
    "substring",
    "timezone",
    "to_char",
    "to_date",
    "to_json",
    "to_jsonb",
    "to_number",
    "to_timestamp",
    "to_tsvector",
    "transaction_timestamp",
    "translate",
    "trim",
    "trunc",
    "upper",
    "user",
];

/// Functions that give another value, or do something, each time they are called.
const VOLATILE: &[&str] = &[
    "clock_timestamp",
    "currval",
    "gen_random_bytes",
    "gen_random_uuid",
    "gen_salt",
    "lastval",
    "nextval",
    "random",
    "setval",
    "timeofday",
    "uuid_generate_v1",
    "uuid_generate_v1mc",
    "uuid_generate_v4",
    "uuidv4",
    "uuidv7",
];

/// Functions that go by the clock of the transaction, and texts that do when they become times.
const TIMES: &[&str] = &[
    "age",
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
    "now",
    "statement_timestamp",
    "transaction_timestamp",
];
const TIME_TEXTS: &[&str] = &["'now", "'today", "'tomorrow", "'yesterday"];

/// An expression, if it can be parsed as a whole.
pub(crate) fn parse(expr: &str) -> Option<Expr> {
    let mut parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(expr).ok()?;
    let parsed = parser.parse_expr().ok()?;
    (parser.peek_token().token == sqlparser::tokenizer::Token::EOF).then_some(parsed)
}

/// Whether rows can share one value. Anything that is not known is taken as volatile: the safe side.
pub(super) fn volatility(expr: &str) -> Volatility {
    let Some(parsed) = parse(expr) else {
        return Volatility::Volatile;
    };
    let mut facts = Facts::default();
    let _ = parsed.visit(&mut facts);
    let known = facts.functions.iter().all(|name| NOT_VOLATILE.contains(&name.as_str()));
    if known && !facts.query { Volatility::Stable } else { Volatility::Volatile }
}

/// Whether a second evaluation for the same row certainly gives another value or has an effect of its own.
pub(super) fn is_chance(expr: &str) -> bool {
    match parse(expr) {
        Some(parsed) => {
            let mut facts = Facts::default();
            let _ = parsed.visit(&mut facts);
            facts.functions.iter().any(|name| VOLATILE.contains(&name.as_str()))
        }
        None => VOLATILE.iter().any(|name| expr.to_lowercase().contains(name)),
    }
}

/// Whether it gives the same for a row whenever it is asked. A query is not said to, nor what cannot be parsed; a function that
/// is not known is: whoever looks must be able to bear that it does not.
pub(super) fn is_lasting(expr: &str) -> bool {
    let Some(parsed) = parse(expr) else { return false };
    let mut facts = Facts::default();
    let _ = parsed.visit(&mut facts);
    let lasts = |name: &String| !VOLATILE.contains(&name.as_str()) && !TIMES.contains(&name.as_str());
    let lower = expr.to_lowercase();
    !facts.query && facts.functions.iter().all(lasts) && !TIME_TEXTS.iter().any(|text| lower.contains(text))
}

/// What an expression calls.
#[derive(Default)]
struct Facts {
    functions: Vec<String>,
    query: bool,
}

impl Visitor for Facts {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.query = true;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            let parts: Vec<_> = function.name.0.iter().filter_map(|part| part.as_ident()).collect();
            let own_schema = |schema: &str| !schema.eq_ignore_ascii_case("pg_catalog");
            let name = match parts.as_slice() {
                [name] => name.value.to_lowercase(),
                [schema, name] if !own_schema(&schema.value) => name.value.to_lowercase(),
                _ => function.name.to_string(),
            };
            self.functions.push(name);
        }
        ControlFlow::Continue(())
    }
}

/// Puts `record.` before every bare column name. `None` when the text cannot be parsed, or holds a query, whose names may
/// be its own.
pub(super) fn with_record(expr: &str, record: &str, columns: &[String]) -> Option<String> {
    let parsed = parse(expr)?;
    let mut names = ColumnNames { columns, found: Vec::new(), query: false };
    let _ = parsed.visit(&mut names);
    if names.query {
        return None;
    }
    let starts = line_starts(expr);
    names.found.sort();
    let (mut out, mut done) = (String::new(), 0);
    for (line, column) in names.found {
        let at = position(expr, &starts, line, column)?;
        out.push_str(expr.get(done..at)?);
        out.push_str(record);
        out.push('.');
        done = at;
    }
    out.push_str(expr.get(done..)?);
    Some(out)
}

/// Where bare column names begin: line and column as the parser counts them, from one, in characters.
struct ColumnNames<'c> {
    columns: &'c [String],
    found: Vec<(u64, u64)>,
    query: bool,
}

impl Visitor for ColumnNames<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.query = true;
        ControlFlow::Break(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Identifier(ident) = expr {
            let folded = if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() };
            if self.columns.contains(&folded) {
                let start = expr.span().start;
                self.found.push((start.line, start.column));
            }
        }
        ControlFlow::Continue(())
    }
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

fn position(text: &str, starts: &[usize], line: u64, column: u64) -> Option<usize> {
    let start = *starts.get(usize::try_from(line).ok()?.checked_sub(1)?)?;
    let skip = usize::try_from(column).ok()?.checked_sub(1)?;
    let rest = text.get(start..)?;
    Some(start + rest.char_indices().nth(skip).map_or(rest.len(), |(at, _)| at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_and_the_statement_clock_are_stable() {
        for expr in [
            "0",
            "-1",
            "'-1'::integer",
            "'{}'::jsonb",
            "'draft'::app.mood",
            "NULL::character varying",
            "now()",
            "CURRENT_TIMESTAMP",
            "(now() AT TIME ZONE 'UTC'::text)",
            "ARRAY['a'::text, 'b'::text]",
            "'1 day'::interval",
            "timezone('UTC'::text, now())",
            "true",
            "lower(email)",
        ] {
            assert_eq!(volatility(expr), Volatility::Stable, "{expr}");
        }
    }

    #[test]
    fn everything_else_is_volatile() {
        for expr in
            ["gen_random_uuid()", "nextval('s'::regclass)", "my_now()", "app.now()", "(SELECT 1)", "what is this"]
        {
            assert_eq!(volatility(expr), Volatility::Volatile, "{expr}");
        }
    }

    #[test]
    fn only_column_names_get_the_record() {
        let columns = ["date", "user name", "e", "lower"].map(str::to_owned);
        let with = |expr: &str| with_record(expr, "NEW", &columns);
        assert_eq!(with("lower(E)").as_deref(), Some("lower(NEW.E)"));
        assert_eq!(with("\"user name\"::date").as_deref(), Some("NEW.\"user name\"::date"));
        assert_eq!(with("CAST(date AS date)").as_deref(), Some("CAST(NEW.date AS date)"));
        assert_eq!(with("'e' ||\n  e || 'ü' || e").as_deref(), Some("'e' ||\n  NEW.e || 'ü' || NEW.e"));
        assert_eq!(with("(SELECT e FROM other)"), None);
    }
}
