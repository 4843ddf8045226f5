//! `plan.toml`: writing, reading, and telling a whole file from a damaged one.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::{Action, Plan, Step};
use crate::model::{Delta, hex};

/// The format this version writes, and the newest it reads.
pub const PLAN_FORMAT: u32 = 1;

/// A plan file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanFileError {
    /// Not the format at all, or cut off.
    #[error("the plan cannot be read, it is cut off or was edited into something else: {cause}")]
    Malformed {
        /// What the parser said.
        cause: String,
    },
    /// Written by a newer version.
    #[error("the plan has format {found}, this version reads up to {PLAN_FORMAT}: update schemadiff")]
    TooNew {
        /// The file's format.
        found: u32,
    },
    /// The steps are not the ones that were checked.
    #[error("the steps of plan {id} are not the ones its checksum was made for: it was edited by hand")]
    Checksum {
        /// The plan's id.
        id: String,
    },
}

impl Plan {
    /// The checksum of the steps as they are: over ids, phases, envelopes, timeouts, undo and effects, and over statements
    /// with runs of white space outside quotes taken as one space, and comments left out.
    pub fn compute_checksum(&self) -> String {
        let mut hash = Sha256::new();
        for step in &self.steps {
            hash_step(&mut hash, step);
        }
        hex(&hash.finalize())
    }

    /// The text of `plan.toml`, with a fresh checksum.
    ///
    /// # Errors
    /// Never for plans that the planner makes; the serializer's error otherwise.
    #[cfg(feature = "lockstep")]
    pub fn to_toml(&self) -> Result<String, PlanFileError> {
        let plan = Self { checksum: self.compute_checksum(), ..self.clone() };
        toml::to_string_pretty(&plan).map_err(|e| PlanFileError::Malformed { cause: e.to_string() })
    }

    /// Reads `plan.toml` and verifies its checksum.
    ///
    /// # Errors
    /// See [`PlanFileError`].
    #[cfg(feature = "lockstep")]
    pub fn from_toml(text: &str) -> Result<Self, PlanFileError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let malformed = |e: toml::de::Error| PlanFileError::Malformed { cause: e.to_string() };
        let head: Head = toml::from_str(text).map_err(malformed)?;
        if head.format > PLAN_FORMAT {
            return Err(PlanFileError::TooNew { found: head.format });
        }
        let plan: Self = toml::from_str(text).map_err(malformed)?;
        if plan.compute_checksum() != plan.checksum {
            return Err(PlanFileError::Checksum { id: plan.id });
        }
        Ok(plan)
    }
}

fn hash_step(hash: &mut Sha256, step: &Step) {
    let mut field = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    field(&step.id);
    field(step.phase.as_str());
    field(&format!("{:?}", step.envelope));
    field(&step.lock_timeout_ms.to_string());
    field(&step.statement_timeout_ms.to_string());
    for text in [&step.done_when, &step.clean_up].into_iter() {
        field(&text.as_deref().map(normal_sql).unwrap_or_default());
    }
    if let Some(sql) = &step.stopped_by {
        field("stopped by");
        field(&normal_sql(sql));
    }
    field(&step.undoable.to_string());
    field(&step.undo.len().to_string());
    for sql in &step.undo {
        field(&normal_sql(sql));
    }
    for probe in &step.only_while_small {
        field("only while small");
        field(&normal_sql(&probe.sql));
    }
    for loss in &step.undo_loses {
        field("undo loses");
        field(&loss.name);
        field(&normal_sql(&loss.sql));
    }
    for id in &step.undo_takes {
        field("undo takes");
        field(id);
    }
    for probe in &step.probes {
        field("probe");
        field(&normal_sql(&probe.sql));
    }
    for kept in &step.keeps {
        field("keeps");
        field(&kept.for_ms.to_string());
        for sql in &kept.purge {
            field(&normal_sql(sql));
        }
    }
    match &step.action {
        Action::Sql(statements) => {
            field("sql");
            field(&statements.len().to_string());
            for sql in statements {
                field(&normal_sql(sql));
            }
        }
        Action::Backfill(backfill) => {
            field("backfill");
            field(&serde_json::to_string(backfill).unwrap_or_default());
        }
        Action::Generated(generated) => {
            field("generated");
            field(&normal_sql(&generated.next_sql));
        }
    }
    field(&serde_json::to_string(&step.effects).unwrap_or_default());
}

/// White space outside quotes becomes one space; `--` and `/* */` comments go. Dollar quotes are kept byte for byte.
fn normal_sql(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        let token_len = if c == '\'' || c == '"' {
            quoted_len(rest, c)
        } else if let Some(len) = dollar_quoted_len(rest) {
            len
        } else if rest.starts_with("--") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
            continue;
        } else if rest.starts_with("/*") {
            rest = &rest[rest.find("*/").map_or(rest.len(), |at| at + 2)..];
            if !out.ends_with(' ') {
                out.push(' ');
            }
            continue;
        } else if c.is_whitespace() {
            if !out.ends_with(' ') {
                out.push(' ');
            }
            rest = &rest[c.len_utf8()..];
            continue;
        } else {
            c.len_utf8()
        };
        out.push_str(&rest[..token_len]);
        rest = &rest[token_len..];
    }
    out.trim().to_owned()
}

fn quoted_len(text: &str, quote: char) -> usize {
    text.char_indices().skip(1).find(|(_, c)| *c == quote).map_or(text.len(), |(at, _)| at + 1)
}

pub(crate) fn dollar_quoted_len(text: &str) -> Option<usize> {
    let tag_end = 1 + text.strip_prefix('$')?.find('$')?;
    let tag = &text[..=tag_end];
    if !tag[1..tag_end].chars().all(|c| c.is_alphanumeric() || c == '_')
        || tag[1..].starts_with(|c: char| c.is_numeric())
    {
        return None;
    }
    text[tag.len()..].find(tag).map(|at| at + 2 * tag.len())
}

/// Effects as a list of JSON texts: one line each in the file.
pub(super) mod deltas_as_json {
    use super::*;

    pub fn serialize<S: Serializer>(deltas: &[Delta], serializer: S) -> Result<S::Ok, S::Error> {
        let texts: Result<Vec<_>, _> = deltas.iter().map(serde_json::to_string).collect();
        texts.map_err(serde::ser::Error::custom)?.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Delta>, D::Error> {
        Vec::<String>::deserialize(deserializer)?
            .iter()
            .map(|text| serde_json::from_str(text).map_err(serde::de::Error::custom))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::normal_sql;

    #[test]
    fn white_space_and_comments_are_no_part_of_the_meaning() {
        assert_eq!(normal_sql("SELECT  1 -- one\n , /* two */ 2"), normal_sql("SELECT 1\n, 2"));
        assert_ne!(normal_sql("SELECT 'a  b'"), normal_sql("SELECT 'a b'"));
        assert_ne!(normal_sql("SELECT $x$a  b$x$"), normal_sql("SELECT $x$a b$x$"));
        assert_eq!(normal_sql("SELECT '--no'  , 1"), "SELECT '--no' , 1");
        assert_eq!(normal_sql("SELECT $1 -- x"), "SELECT $1");
    }
}
