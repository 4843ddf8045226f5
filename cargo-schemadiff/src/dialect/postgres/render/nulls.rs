//! When an expression is NULL, read from its text.

use std::collections::BTreeSet;

use sqlparser::ast::{
    BinaryOperator, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, UnaryOperator, Value,
};

/// Functions of the server that give NULL exactly where one of their arguments is NULL. Not one that finds nothing in a text
/// (`substring` with a pattern) or knows no infinity (`to_char`).
const STRICT: &[&str] = &[
    "abs",
    "ascii",
    "btrim",
    "ceil",
    "char_length",
    "floor",
    "initcap",
    "left",
    "length",
    "lower",
    "lpad",
    "ltrim",
    "md5",
    "octet_length",
    "repeat",
    "replace",
    "reverse",
    "right",
    "round",
    "rpad",
    "rtrim",
    "strpos",
    "substr",
    "translate",
    "trunc",
    "upper",
];

/// Types whose operators and functions are what [`STRICT`] and [`is_strict`] are about. A list added to NULL is the list, and the
/// end of a range (`lower`) may be NULL where the range is not.
const PLAIN: &[&str] = &[
    "bigint",
    "boolean",
    "character",
    "character varying",
    "date",
    "double precision",
    "integer",
    "numeric",
    "real",
    "smallint",
    "text",
    "uuid",
];

/// The columns (names and types) of which one is NULL exactly where the expression is; none where the text does not tell.
pub(super) fn null_with(expr: &str, columns: &[(&str, &str)]) -> Option<BTreeSet<String>> {
    let parsed = super::volatility::parse(expr)?;
    let is_plain = |ty: &str| !ty.ends_with(']') && PLAIN.contains(&ty.split('(').next().unwrap_or(ty));
    // The column itself is NULL where it is, whatever its type.
    let alone = matches!(parsed, Expr::Identifier(_));
    let known: Vec<&str> = columns.iter().filter(|(_, ty)| alone || is_plain(ty)).map(|(name, _)| *name).collect();
    let mut found = BTreeSet::new();
    gather(&parsed, &known, &mut found)?;
    Some(found)
}

fn gather(expr: &Expr, columns: &[&str], found: &mut BTreeSet<String>) -> Option<()> {
    match expr {
        Expr::Identifier(name) => {
            let folded = if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() };
            columns.contains(&folded.as_str()).then(|| found.insert(folded)).map(drop)
        }
        Expr::Value(value) => (!matches!(value.value, Value::Null | Value::Placeholder(_))).then_some(()),
        Expr::Nested(inner) | Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr: inner } => {
            gather(inner, columns, found)
        }
        Expr::Cast { expr: inner, data_type, .. } if is_plain_cast(data_type) => gather(inner, columns, found),
        Expr::BinaryOp { left, op, right } if is_strict(op) => {
            gather(left, columns, found)?;
            gather(right, columns, found)
        }
        Expr::Function(call) => {
            let [name] = call.name.0.as_slice() else { return None };
            let name = name.as_ident()?.value.to_lowercase();
            let plain = call.over.is_none() && call.filter.is_none() && call.within_group.is_empty();
            let FunctionArguments::List(list) = &call.args else { return None };
            if !plain || !STRICT.contains(&name.as_str()) || !list.clauses.is_empty() {
                return None;
            }
            list.args.iter().try_for_each(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(inner)) => gather(inner, columns, found),
                _ => None,
            })
        }
        _ => None,
    }
}

/// A cast of the user's own may give NULL, and what becomes a list or a document goes by other rules from there on.
fn is_plain_cast(to: &DataType) -> bool {
    use DataType::{
        BigInt, Boolean, Char, Character, CharacterVarying, Date, DoublePrecision, Int, Integer, Numeric, Real,
        SmallInt, Text, Uuid, Varchar,
    };
    matches!(
        to,
        BigInt(_)
            | Boolean
            | Char(_)
            | Character(_)
            | CharacterVarying(_)
            | Date
            | DoublePrecision
            | Int(_)
            | Integer(_)
            | Numeric(_)
            | Real
            | SmallInt(_)
            | Text
            | Uuid
            | Varchar(_)
    )
}

/// Operators of the server that give NULL exactly where a side is NULL. Those of documents also do where they find nothing.
fn is_strict(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Divide, Eq, Gt, GtEq, Lt, LtEq, Minus, Modulo, Multiply, NotEq, Plus, StringConcat};
    matches!(op, Plus | Minus | Multiply | Divide | Modulo | StringConcat | Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_null_with_its_columns_is_told_from_what_may_be_otherwise() {
        let columns =
            [("a", "text"), ("B", "character varying(20)"), ("n", "integer"), ("r", "int4range"), ("l", "text[]")];
        let of = |expr: &str| null_with(expr, &columns).map(|found| found.into_iter().collect::<Vec<_>>().join(","));
        assert_eq!(of("lower(A)").as_deref(), Some("a"));
        assert_eq!(of("(a || ' ' || upper(\"B\"))::text").as_deref(), Some("B,a"));
        assert_eq!(of("n * 100 + 1").as_deref(), Some("n"));
        assert_eq!(of("'x'").as_deref(), Some(""));
        assert_eq!(of("l").as_deref(), Some("l"));
        for unknown in [
            "NULL",
            "b",
            "coalesce(a, \"B\")",
            "nullif(a, '')",
            "my_function(a)",
            "app.lower(a)",
            "a -> 'x'",
            "CASE WHEN a = '' THEN 1 END",
            "(SELECT a)",
            "substring(a from 'x')",
            "a::my_type",
            "lower(r)",
            "l || l",
            "a::text[] || a",
            "lower(a::int4range)",
            "a AND \"B\"",
            "current_date",
            "a ||",
        ] {
            assert_eq!(of(unknown), None, "{unknown}");
        }
    }
}
