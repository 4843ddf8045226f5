//! `migrations/schemadiff.lock`: the schema after the newest migration, so that a diff needs no database.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Dialect, Schema};

/// The format this version writes, and the newest it reads.
pub const SNAPSHOT_FORMAT: u32 = 1;

/// A snapshot: the lock file, or what `file:PATH` names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// [`SNAPSHOT_FORMAT`].
    pub format: u32,
    /// The engine whose spelling it is in.
    pub dialect: Dialect,
    /// Id of the newest migration; none for an empty directory or a snapshot that is no lock file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// What the structs said, where the server spells it differently: path in the schema -> source text. With it, structs
    /// that have not changed are known to be equal without asking a server.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, String>,
    /// The managed schema in normal form.
    pub schema: Schema,
}
