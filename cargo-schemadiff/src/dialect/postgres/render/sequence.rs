//! Options of sequences: all of them in one statement, because they must suit each other at every moment.

use super::{names::literal, sync::dollar_quoted};

/// Options as introspection writes them: what they do not name has the server's default.
#[derive(Debug, PartialEq, Eq)]
struct Options<'o> {
    ty: Option<&'o str>,
    increment: i64,
    min: Option<i64>,
    max: Option<i64>,
    start: Option<i64>,
    cache: i64,
    cycle: bool,
}

impl<'o> Options<'o> {
    fn read(text: &'o str) -> Self {
        let words: Vec<&str> = text.split_whitespace().collect();
        let after = |name: &str, further: usize| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + further).copied()
        };
        // `NO MINVALUE` stands before another word, which is no number.
        let number = |name: &str, further: usize| after(name, further).and_then(|word| word.parse().ok());
        let cycle = words.iter().position(|word| *word == "CYCLE");
        Self {
            ty: after("AS", 1),
            increment: number("INCREMENT", 2).unwrap_or(1),
            min: number("MINVALUE", 1),
            max: number("MAXVALUE", 1),
            start: number("START", 2),
            cache: number("CACHE", 1).unwrap_or(1),
            cycle: cycle.is_some_and(|at| at == 0 || words[at - 1] != "NO"),
        }
    }

    /// The range. `NO MAXVALUE` would not do: beside a type it keeps an old bound that was the type's.
    fn range(&self) -> (i64, i64) {
        let (lowest, highest) = match self.ty {
            Some("smallint") => (i64::from(i16::MIN), i64::from(i16::MAX)),
            Some("integer") => (i64::from(i32::MIN), i64::from(i32::MAX)),
            _ => (i64::MIN, i64::MAX),
        };
        let (min, max) = if self.increment > 0 { (1, highest) } else { (lowest, -1) };
        (self.min.unwrap_or(min), self.max.unwrap_or(max))
    }

    fn words(&self) -> String {
        let (min, max) = self.range();
        format!(
            "{}INCREMENT BY {} MINVALUE {min} MAXVALUE {max} START WITH {} CACHE {} {}",
            self.ty.map(|ty| format!("AS {ty} ")).unwrap_or_default(),
            self.increment,
            self.start.unwrap_or(if self.increment > 0 { min } else { max }),
            self.cache,
            if self.cycle { "CYCLE" } else { "NO CYCLE" },
        )
    }
}

/// A sequence whose options change.
pub(super) struct Altered<'a> {
    /// Qualified and quoted.
    pub sequence: &'a str,
    /// What it counts in, where the options do not say it.
    pub ty: Option<&'a str>,
    /// The column that it numbers, with its table; both quoted.
    pub column: Option<(&'a str, &'a str)>,
}

impl Altered<'_> {
    /// Gives it these options, and no others.
    ///
    /// The server refuses a range that the sequence's position is not in. Where it has not come to the new range yet it goes on
    /// with the first number of it that its column does not hold; where it is past it, numbers would come again, and the refusal
    /// is right.
    pub fn statement(&self, from: &str, to: &str) -> String {
        let read = |text| {
            let options = Options::read(text);
            Options { ty: options.ty.or(self.ty), ..options }
        };
        let (from, to) = (read(from), read(to));
        let ((was_min, was_max), (min, max)) = (from.range(), to.range());
        let statement = format!("ALTER SEQUENCE {} {}", self.sequence, to.words());
        if was_min >= min && was_max <= max {
            return statement;
        }
        let (not_reached, last) = match to.increment > 0 {
            true => (format!("last_value < {min}"), "max"),
            false => (format!("last_value > {max}"), "min"),
        };
        let beyond = self.column.map(|(table, column)| {
            format!(
                // A column that is numbered has an index, but for a few rows the server would not use it.
                "    PERFORM set_config('enable_seqscan', 'off', true);\n    PERFORM setval({}, used) FROM (SELECT {last}({column})::bigint AS used FROM {table} \
                 WHERE {column} BETWEEN {min} AND {max}) AS schemadiff_used WHERE used IS NOT NULL;\n",
                literal(self.sequence)
            )
        });
        let body = format!(
            "BEGIN\n  IF (SELECT {not_reached} FROM {}) THEN\n    {statement} RESTART;\n{}  ELSE\n    {statement};\n  END IF;\nEND\n",
            self.sequence,
            beyond.unwrap_or_default()
        );
        format!("DO {}", dollar_quoted(&body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alter(ty: Option<&str>, from: &str, to: &str) -> String {
        Altered { sequence: "s", ty, column: None }.statement(from, to)
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        assert_eq!(
            alter(Some("integer"), "CACHE 7", ""),
            "ALTER SEQUENCE s AS integer INCREMENT BY 1 MINVALUE 1 MAXVALUE 2147483647 START WITH 1 CACHE 1 NO CYCLE"
        );
        let own = "AS bigint INCREMENT BY 5 MINVALUE 1 MAXVALUE 90 START WITH 7 CACHE 20 CYCLE";
        assert_eq!(alter(Some("integer"), "MAXVALUE 50", own), format!("ALTER SEQUENCE s {own}"));
        let none = "INCREMENT BY 1 NO MINVALUE NO MAXVALUE START WITH 1 CACHE 1 NO CYCLE";
        assert_eq!(alter(None, "", none), alter(None, "", ""));
    }

    #[test]
    fn a_range_that_is_not_reached_yet_begins_at_its_start() {
        let sql = alter(None, "", "MINVALUE 1000");
        assert!(sql.contains("last_value < 1000") && sql.contains("START WITH 1000"), "{sql}");
        let sql = alter(None, "", "INCREMENT BY -1");
        assert!(sql.contains("last_value > -1") && sql.contains("START WITH -1"), "{sql}");
        let column = Some(("t", "id"));
        let sql = Altered { sequence: "s", ty: None, column }.statement("INCREMENT BY -1", "");
        assert!(sql.contains("max(id)") && sql.contains("last_value < 1"), "{sql}");
    }
}
