//! Made-up values for columns: for the rows on which a plan is proven, and for tests.

use schemadiff::model::{Column, Dialect};

use super::Ddl;

/// A value for a column that differs for every `seq`, as far as the type has room for it, in the server's own text form.
/// `labels` are those of the column's enumerated type.
pub fn generate(dialect: Dialect, column: &Column, labels: Option<&[String]>, seq: u64) -> String {
    match labels.filter(|labels| !labels.is_empty()) {
        Some(labels) => labels[index(seq, labels.len())].clone(),
        None => typed(dialect, column, seq).unwrap_or_else(|| format!("{}-{seq}", initial(column))),
    }
}

/// Whether [`generate`] knows what values of the type look like.
pub fn knows(dialect: Dialect, column: &Column) -> bool {
    typed(dialect, column, 0).is_some()
}

fn initial(column: &Column) -> char {
    column.name.chars().next().unwrap_or('x')
}

fn typed(dialect: Dialect, column: &Column, seq: u64) -> Option<String> {
    let ty = column.ty.to_ascii_lowercase();
    let base = base_of(&ty);
    let room: Option<usize> =
        ty.split_once('(').and_then(|(_, rest)| rest.split([')', ',']).next()?.trim().parse().ok());
    let text = || {
        let text = format!("{}-{seq}", initial(column));
        match room {
            Some(room) if text.len() > room => base36(seq, room),
            _ => text,
        }
    };
    Some(match (dialect, base) {
        _ if ty.ends_with("[]") => match ty.split(['(', '[']).next().unwrap_or_default() {
            "text" | "character varying" => format!("{{{}}}", text()),
            "smallint" | "integer" | "bigint" | "numeric" => format!("{{{}}}", seq % 30_000),
            _ => "{}".to_owned(),
        },
        (_, "smallint") => (seq % 30_000).to_string(),
        (_, "integer" | "bigint" | "int") => seq.to_string(),
        (Dialect::Sqlite, "boolean" | "bool") => (seq % 2).to_string(),
        (_, "boolean") => if seq.is_multiple_of(2) { "true" } else { "false" }.to_owned(),
        (_, "double precision" | "real" | "float" | "double") => format!("{}.5", seq % 100_000),
        (Dialect::Postgres, "text" | "character varying" | "character" | "bpchar" | "citext" | "name") => text(),
        (Dialect::Postgres, _) => return postgres(&ty, base, room, seq),
        _ => text(),
    })
}

/// The types that only PostgreSQL has.
fn postgres(ty: &str, base: &str, room: Option<usize>, seq: u64) -> Option<String> {
    let (day, second) = (seq % 28 + 1, seq % 60);
    Some(match base {
        "numeric" => match ty.split_once(',') {
            Some((_, scale)) => {
                let scale: usize = scale.trim_end_matches(')').trim().parse().unwrap_or(0);
                let whole = room.map_or(1000, |precision| 10_u64.pow(precision.saturating_sub(scale).min(3) as u32));
                if scale == 0 { (seq % whole).to_string() } else { format!("{}.{}", seq % whole, "5".repeat(scale)) }
            }
            None => seq.to_string(),
        },
        "date" => format!("2024-02-{day:02}"),
        _ if base == "timestamptz" || base.starts_with("timestamp") && ty.ends_with("with time zone") => {
            format!("2024-02-{day:02} 10:00:{second:02}+00")
        }
        _ if base.starts_with("timestamp") => format!("2024-02-{day:02} 10:00:{second:02}"),
        _ if base.starts_with("time") => format!("10:{:02}:{second:02}", seq / 60 % 60),
        "uuid" => format!("00000000-0000-4000-8000-{seq:012x}"),
        "json" | "jsonb" => format!("{{\"n\": {seq}}}"),
        "bytea" => format!("\\x{seq:012x}"),
        "inet" | "cidr" => format!("10.0.{}.{}/32", seq / 250 % 250, seq % 250 + 1),
        "macaddr" => format!("08:00:2b:00:{:02x}:{:02x}", seq / 256 % 256, seq % 256),
        "interval" => format!("00:{:02}:{second:02}", seq / 60 % 60),
        "money" => format!("{}.50", seq % 1000),
        "bit" => {
            let width = room.unwrap_or(1).min(64);
            format!("{:0width$b}", seq & (u64::MAX >> (64 - width)))
        }
        "bit varying" => format!("{:b}", seq % 2),
        "point" => format!("({},{})", seq % 100, seq % 100),
        "xml" => format!("<n>{seq}</n>"),
        "tsvector" => format!("'word{seq}'"),
        "ltree" => format!("top.n{seq}"),
        "oid" => seq.to_string(),
        _ if base.ends_with("range") => "empty".to_owned(),
        _ => return None,
    })
}

/// Values of other shapes, for a column whose type or checks take none of [`generate`]'s.
pub const SHAPES: &[&str] = &[
    "1",
    "0",
    "x",
    "abc123",
    "",
    "a@example.org",
    "https://example.org/x",
    "A",
    "2024-01-01",
    "10:00",
    "{}",
    "[]",
    "10.0.0.1",
    "(1,1)",
    "00000000-0000-4000-8000-000000000001",
    "en",
    "USD",
    "empty",
    "12345",
    "100.5",
    "#ffffff",
    "+15550100",
];

/// The literal of a value for a column: quoted, and on SQLite as the number or bytes that the column's type asks for.
pub fn literal(ddl: &dyn Ddl, column: &Column, value: &str) -> String {
    if ddl.dialect() != Dialect::Sqlite {
        return ddl.literal(value); // of no type until it meets the column's
    }
    let ty = column.ty.to_ascii_lowercase();
    let base = base_of(&ty);
    let is_number = value.parse::<i64>().is_ok() || value.parse::<f64>().is_ok_and(f64::is_finite);
    if base == "blob" {
        let hex: String = value.bytes().map(|byte| format!("{byte:02X}")).collect();
        format!("X'{hex}'")
    } else if is_number && !base.contains("char") && !base.contains("text") && !base.contains("clob") {
        value.to_owned()
    } else {
        ddl.literal(value)
    }
}

fn base_of(ty: &str) -> &str {
    ty.split('(').next().unwrap_or_default().trim()
}

fn index(seq: u64, len: usize) -> usize {
    usize::try_from(seq % len as u64).unwrap_or_default()
}

fn base36(mut number: u64, room: usize) -> String {
    let mut digits = Vec::new();
    while number > 0 || digits.is_empty() {
        digits.push(char::from_digit((number % 36) as u32, 36).unwrap_or('0'));
        number /= 36;
    }
    digits.into_iter().take(room).collect()
}
