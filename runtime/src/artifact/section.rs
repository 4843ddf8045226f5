//! The section's format: records one after the other, with any number of zero bytes between them.
//!
//! A record is [`MAGIC`], the format as a little-endian `u32`, the length of the rest as a little-endian `u32`, and one
//! JSON document with holes, a [`TableDecl`]. Only the first sixteen bytes are promised to every future format.
//!
//! After the document come the fillings, a [`FILLING`] byte before each. A hole is `\x01`, a letter for its kind, the numbers
//! of the fillings that are its fields with `,` between them, and `\x02`. So columns of one type share a filling, and the
//! compiler copies few pieces. No byte of a filling is escaped, because the compiler cannot do that cheaply. Kinds: `s` a
//! string; `t` a type with `"nullable"` after it (one filling with `\x03` between PostgreSQL, MySQL and SQLite spelling, flags
//! `n` nullable and `a` array, enumeration as JSON if there is one); `r` a referenced column (schema, table, column).

use super::{FORMAT, TableDecl};

/// First bytes of a record.
pub const MAGIC: [u8; 8] = *b"schemadf";

/// Bytes before the JSON document.
pub const HEADER: usize = 16;

/// Stands before each filling, after the document.
pub(super) const FILLING: u8 = 4;

/// Names of the section: ELF, Mach-O (in segment `__DATA`), PE. The linker cuts a PE name at its `$`.
pub const SECTION_NAMES: [&str; 3] = ["schemadiff", "__schemadiff", ".schmd"];

/// The section cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SectionError {
    /// Written by a newer schemadiff.
    #[error("it was built with a newer schemadiff: format {found}, this one reads up to {FORMAT}")]
    Newer {
        /// Format of the record.
        found: u32,
    },
    /// Not what a derive writes.
    #[error("its schemadiff section is damaged at byte {offset}: {reason}")]
    Damaged {
        /// Where.
        offset: usize,
        /// What was found.
        reason: String,
    },
}

pub(super) const fn header(len: usize) -> [u8; HEADER] {
    let [a, b, c, d, e, f, g, h] = MAGIC;
    let [f0, f1, f2, f3] = FORMAT.to_le_bytes();
    let [l0, l1, l2, l3] = (len as u32).to_le_bytes();
    [a, b, c, d, e, f, g, h, f0, f1, f2, f3, l0, l1, l2, l3]
}

/// Reads every record of a section, in the order of their Rust paths.
///
/// # Errors
/// [`SectionError`]; a newer record is reported even when others could be read.
pub fn parse_section(bytes: &[u8]) -> Result<Vec<TableDecl>, SectionError> {
    let mut tables = Vec::new();
    let mut offset = 0;
    while let Some(skipped) = bytes[offset..].iter().position(|byte| *byte != 0) {
        offset += skipped;
        let damaged = |reason: &str| SectionError::Damaged { offset, reason: reason.to_owned() };
        let record = &bytes[offset..];
        let rest = record.strip_prefix(&MAGIC).ok_or_else(|| damaged("no record starts here"))?;
        let (format, rest) = split_u32(rest).ok_or_else(|| damaged("the record is cut off"))?;
        if format > FORMAT {
            return Err(SectionError::Newer { found: format });
        }
        let (len, rest) = split_u32(rest).ok_or_else(|| damaged("the record is cut off"))?;
        let json = rest.get(..len as usize).ok_or_else(|| damaged("the record is cut off"))?;
        let text = std::str::from_utf8(json).map_err(|error| damaged(&error.to_string()))?;
        let whole =
            fill_holes(text).ok_or_else(|| damaged("a hole in the record has no end, no filling, or no known kind"))?;
        tables.push(serde_json::from_str::<TableDecl>(&whole).map_err(|error| damaged(&error.to_string()))?);
        offset += HEADER + json.len();
    }
    tables.sort_by(|a, b| a.rust.cmp(&b.rust));
    Ok(tables)
}

/// The JSON document with every hole filled. `None` when a hole makes no sense.
fn fill_holes(text: &str) -> Option<String> {
    let mut parts = text.split(char::from(FILLING));
    let document = parts.next()?;
    let fillings: Vec<_> = parts.collect();
    let mut parts = document.split('\u{1}');
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let (hole, after) = part.split_once('\u{2}')?;
        let kind = hole.chars().next()?;
        let numbers = hole[kind.len_utf8()..].split(',');
        let fields: Vec<&str> =
            numbers.map(|number| fillings.get(number.parse::<usize>().ok()?).copied()).collect::<Option<_>>()?;
        // The parts of a type are in one filling.
        let fields: Vec<&str> = fields.iter().flat_map(|field| field.split('\u{3}')).collect();
        let string = |text: &str| serde_json::Value::from(text).to_string();
        match (kind, fields.as_slice()) {
            ('s', [text]) => out.push_str(&string(text)),
            ('t', [postgres, mysql, sqlite, flags, enumeration @ ..]) if enumeration.len() <= 1 => {
                let array = if flags.contains('a') && !postgres.is_empty() { "[]" } else { "" };
                out.push_str(&format!(
                    "{{\"postgres\":{},\"mysql\":{},\"sqlite\":{}",
                    string(&format!("{postgres}{array}")),
                    string(mysql),
                    string(sqlite)
                ));
                if let [declaration] = enumeration {
                    out.push_str(&format!(",\"enumeration\":{declaration}"));
                }
                out.push_str(&format!("}},\"nullable\":{}", flags.contains('n')));
            }
            ('r', [schema, table, column]) => {
                let schema = if schema.is_empty() { "null".to_owned() } else { string(schema) };
                out.push_str(&format!(
                    "{{\"schema\":{schema},\"table\":{},\"column\":{}}}",
                    string(table),
                    string(column)
                ));
            }
            _ => return None,
        }
        out.push_str(after);
    }
    Some(out)
}

fn split_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*head), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(format: u32, json: &str) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(format.to_le_bytes());
        bytes.extend((json.len() as u32).to_le_bytes());
        bytes.extend(json.as_bytes());
        bytes
    }

    const ORGS: &str = r#"{"format":1,"rust":"app::Org","name":"orgs","columns":[]}"#;

    #[test]
    fn padding_between_records_means_nothing() {
        let mut bytes = vec![0; 3];
        bytes.extend(record(1, ORGS));
        bytes.extend([0; 13]);
        bytes.extend(record(1, ORGS));
        bytes.extend([0; 1]);
        assert_eq!(parse_section(&bytes).map(|t| t.len()), Ok(2));
        assert_eq!(parse_section(&[0; 8]), Ok(vec![]));
        assert_eq!(parse_section(&[]), Ok(vec![]));
    }

    #[test]
    fn a_newer_format_is_said_before_its_content_is_read() {
        assert_eq!(parse_section(&record(7, "whatever comes")), Err(SectionError::Newer { found: 7 }));
    }

    #[test]
    fn damage_is_located() {
        let whole = record(1, ORGS);
        for bytes in [&whole[..whole.len() - 1], &whole[..10], &whole[1..], &record(1, "{}")] {
            assert!(matches!(parse_section(bytes), Err(SectionError::Damaged { offset: 0, .. })));
        }
    }
}
