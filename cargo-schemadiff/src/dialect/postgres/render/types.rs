//! What an in-place change of type costs.

pub(crate) use schemadiff::compat::types::postgres::canonical;
use schemadiff::compat::types::postgres::{TypeName, parse};

use crate::dialect::TypeChange;

/// What `ALTER COLUMN .. TYPE` would do. Whatever is not certainly catalogue-only counts as a rewrite.
pub(super) fn change(from: &str, to: &str) -> TypeChange {
    let (Some(from), Some(to)) = (parse(from), parse(to)) else {
        return if from.trim() == to.trim() { TypeChange::Same } else { TypeChange::Rewrite };
    };
    if from == to {
        return TypeChange::Same;
    }
    if from.dimensions == 0 && to.dimensions == 0 && is_catalogue_only(&from, &to) {
        TypeChange::Metadata
    } else {
        TypeChange::Rewrite
    }
}

fn is_catalogue_only(from: &TypeName, to: &TypeName) -> bool {
    let widened = |default_is_widest: bool| match (from.modifiers.first(), to.modifiers.first()) {
        (Some(old), Some(new)) => new >= old,
        (_, None) => default_is_widest,
        (None, Some(_)) => false,
    };
    match (from.base.as_str(), to.base.as_str()) {
        ("character varying", "text") | ("cidr", "inet") | ("xml", "text") => true,
        ("text", "character varying") => to.modifiers.is_empty(),
        ("character varying", "character varying") | ("bit varying", "bit varying") => widened(true),
        ("numeric", "numeric") => match (from.modifiers.as_slice(), to.modifiers.as_slice()) {
            (_, []) => true,
            ([precision, scale], [new_precision, new_scale]) => new_precision >= precision && new_scale == scale,
            _ => false,
        },
        (a, b) if a == b && is_time(a) => widened(true),
        _ => false,
    }
}

/// Whether a cast to the type cuts a longer text off without a word.
pub(super) fn cuts_off(ty: &str) -> bool {
    length(ty).is_some()
}

/// The length that the type limits texts to.
pub(super) fn length(ty: &str) -> Option<u32> {
    let ty = parse(ty).filter(|ty| ty.dimensions == 0)?;
    let is_text = matches!(ty.base.as_str(), "character varying" | "character");
    ty.modifiers.first().copied().filter(|_| is_text)
}

/// The name without modifiers, in the server's spelling; none for arrays and for what is no plain type name.
pub(super) fn base(ty: &str) -> Option<String> {
    parse(ty).filter(|ty| ty.dimensions == 0).map(|ty| ty.base)
}

/// Precision and scale of a `numeric` that has them.
pub(super) fn precision(ty: &str) -> Option<(u32, u32)> {
    let ty = parse(ty).filter(|ty| ty.dimensions == 0 && ty.base == "numeric")?;
    ty.modifiers.first().copied().zip(ty.modifiers.get(1).copied())
}

fn is_time(base: &str) -> bool {
    matches!(base, "timestamp without time zone" | "timestamp with time zone" | "time without time zone" | "interval")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widening_is_catalogue_only_and_the_rest_is_not() {
        let metadata = [
            ("varchar(5)", "varchar(6)"),
            ("varchar(5)", "text"),
            ("text", "varchar"),
            ("numeric(5,2)", "numeric(8,2)"),
            ("numeric(5,2)", "numeric"),
            ("timestamptz(3)", "timestamptz"),
            ("cidr", "inet"),
            ("interval(2)", "interval(4)"),
        ];
        for (from, to) in metadata {
            assert_eq!(change(from, to), TypeChange::Metadata, "{from} -> {to}");
        }
        let rewrite = [
            ("varchar(6)", "varchar(5)"),
            ("text", "varchar(5)"),
            ("int", "bigint"),
            ("numeric(5,2)", "numeric(8,3)"),
            ("numeric", "numeric(8,3)"),
            ("timestamp", "timestamptz"),
            ("varchar(5)[]", "text[]"),
            ("char(3)", "text"),
            ("inet", "cidr"),
            ("timestamptz", "timestamptz(3)"),
            ("text", "citext"),
        ];
        for (from, to) in rewrite {
            assert_eq!(change(from, to), TypeChange::Rewrite, "{from} -> {to}");
        }
        assert_eq!(change("int", "integer"), TypeChange::Same);
    }
}
