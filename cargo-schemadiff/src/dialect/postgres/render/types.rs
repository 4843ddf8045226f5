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

/// The number of bits that a bit string has at most.
pub(super) fn bits(ty: &str) -> Option<u32> {
    let ty = parse(ty).filter(|ty| ty.dimensions == 0)?;
    match ty.base.as_str() {
        "bit" => Some(ty.modifiers.first().copied().unwrap_or(1)),
        "bit varying" => ty.modifiers.first().copied(),
        _ => None,
    }
}

/// Whether it is a bit string, or an array of them: a cast cuts off what does not fit.
pub(super) fn is_bits(ty: &str) -> bool {
    parse(ty).is_some_and(|ty| matches!(ty.base.as_str(), "bit" | "bit varying"))
}

/// The length that an array's texts have at most.
pub(super) fn element_length(ty: &str) -> Option<u32> {
    let ty = parse(ty).filter(|ty| ty.dimensions > 0)?;
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

/// Whether a cast gives what it cannot hold away instead of refusing it.
pub(super) fn loses_part(from: &str, to: &str) -> bool {
    let (Some(old), Some(new)) = (parse(from), parse(to)) else { return false };
    let (was, is) = (old.base.as_str(), new.base.as_str());
    let scale = |ty: &TypeName| match ty.base.as_str() {
        "smallint" | "integer" | "bigint" => Some(0),
        "numeric" if !ty.modifiers.is_empty() => Some(ty.modifiers.get(1).copied().unwrap_or(0)),
        _ => None,
    };
    let number = |base: &str| is_number(base) || base == "money";
    let is_whole = |base: &str| matches!(base, "smallint" | "integer" | "bigint");
    match is {
        "date" | "time without time zone" | "time with time zone" => was.starts_with("timestamp"),
        "boolean" => number(was),
        "name" => matches!(was, "text" | "character varying" | "character"),
        "real" => matches!(was, "double precision" | "numeric" | "integer" | "bigint"),
        "double precision" => matches!(was, "numeric" | "bigint"),
        "money" => number(was) && !is_whole(was) && was != is,
        _ if number(is) && number(was) => match (scale(&old), scale(&new)) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(old), Some(new)) => new < old,
        },
        _ if is_time(is) && is_time(was) => {
            let digits = |ty: &TypeName| ty.modifiers.first().copied().unwrap_or(6);
            digits(&new) < digits(&old) || (is == "interval") != (was == "interval")
        }
        _ => false,
    }
}

/// Whether no two values become one. A text becomes a number, a time or a label in more ways than one.
pub(super) fn keeps_apart(from: &str, to: &str) -> bool {
    let (Some(old), Some(new)) = (parse(from), parse(to)) else { return false };
    let (was, is) = (old.base.as_str(), new.base.as_str());
    let is_text = |base: &str| matches!(base, "text" | "character varying" | "character");
    // What is too long for the new type is refused; a longer `character` ends in blanks, which do not count.
    let as_text = is_text(is) && (is != "character" || is_text(was));
    let as_number = is_number(is) && is_number(was) && !matches!(is, "real" | "double precision");
    let as_time = is_time(is) && (is_time(was) || was == "date");
    was != "citext"
        && old.dimensions == new.dimensions
        && !loses_part(from, to)
        && (as_text || as_number || as_time || was == is)
}

/// See [`crate::dialect::Questions::is_text`].
pub(super) fn is_text(ty: &str) -> bool {
    parse(ty).is_some_and(|ty| matches!(ty.base.as_str(), "text" | "character varying" | "character" | "citext"))
}

/// A number, by the name of its type without modifiers.
pub(super) fn is_number(base: &str) -> bool {
    matches!(base, "smallint" | "integer" | "bigint" | "numeric" | "real" | "double precision")
}

pub(super) fn is_time(base: &str) -> bool {
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
