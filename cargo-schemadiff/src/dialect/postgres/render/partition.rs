//! Partitions, and what a partitioned table gets one partition at a time.
//!
//! Which partitions there are is known only when a step runs: others make them too (`pg_partman`, a job every month). So a
//! step that goes through them is a query that looks at the catalogue and gives the next statement, until nothing is left
//! to do. It can be stopped and taken up again anywhere, because all it knows is what it sees.

use schemadiff::{
    model::{ForeignKey, Index, ObjectName, PartitionBy, PartitionMethod, PrimaryKey, Table, Unique},
    plan::Generated,
};

use crate::dialect::{EachPartition, PerPartition};

use super::{
    constraint, index,
    names::{self, ident, literal, qualified},
    skeleton::{skeleton, skeleton_of},
    sync,
    table::{self, alter},
};

/// How long a statement that others would have to queue behind may wait for its lock.
const SHORT_MS: u32 = 200;

/// A new partition of a table in use: made beside it and attached. CREATE TABLE .. PARTITION OF would lock the parent against
/// everybody.
pub(super) fn create(new: &Table) -> Vec<String> {
    let Some(of) = &new.partition_of else { return table::create(new) };
    let mut statements = table::create_like(new, &of.parent);
    statements.push(attach(&of.parent, &new.name, &of.bound));
    statements
}

/// ATTACH PARTITION.
fn attach(parent: &ObjectName, partition: &ObjectName, bound: &str) -> String {
    alter(parent, &format!("ATTACH PARTITION {} {bound}", qualified(partition)))
}

/// DETACH PARTITION.
pub(super) fn detach(parent: &ObjectName, partition: &ObjectName) -> String {
    alter(parent, &format!("DETACH PARTITION {}", qualified(partition)))
}

/// What rows within a bound fulfil, as the server can prove it; `None` for bounds that no plain condition says.
pub(super) fn condition(by: &PartitionBy, bound: &str) -> Option<String> {
    let [key] = by.keys.as_slice() else { return None };
    match by.method {
        PartitionMethod::Range => {
            let inner = bound.strip_prefix("FOR VALUES FROM (")?.strip_suffix(')')?;
            let (from, to) = inner.split_once(") TO (")?;
            let mut parts = vec![format!("({key}) IS NOT NULL")];
            parts.extend((from != "MINVALUE").then(|| format!("({key}) >= {from}")));
            parts.extend((to != "MAXVALUE").then(|| format!("({key}) < {to}")));
            Some(parts.join(" AND "))
        }
        PartitionMethod::List => {
            let list = bound.strip_prefix("FOR VALUES IN (")?.strip_suffix(')')?;
            // NULL is no member of a list in a condition.
            let has_null = list.split(',').any(|value| value.trim() == "NULL");
            (!has_null).then(|| format!("({key}) IS NOT NULL AND ({key}) IN ({list})"))
        }
        PartitionMethod::Hash => None,
    }
}

/// See [`crate::dialect::Ddl::partition_misfit`].
pub(super) fn misfit(parent: &ObjectName, by: &PartitionBy, bound: &str, others: &[&str]) -> Option<String> {
    if bound == "DEFAULT" {
        let belongs: Option<Vec<String>> = others.iter().map(|other| fits(parent, by, other)).collect();
        let belongs = belongs.filter(|belongs| !belongs.is_empty())?;
        return Some(belongs.iter().map(|one| format!("({one})")).collect::<Vec<_>>().join(" OR "));
    }
    fits(parent, by, bound).map(|fits| format!("({fits}) IS NOT TRUE"))
}

/// What rows within a bound fulfil, for a question: also what a check could not prove to the server.
fn fits(parent: &ObjectName, by: &PartitionBy, bound: &str) -> Option<String> {
    let keys = by.keys.iter().map(|key| format!("({key})")).collect::<Vec<_>>().join(", ");
    match by.method {
        PartitionMethod::Range if by.keys.len() > 1 => {
            let inner = bound.strip_prefix("FOR VALUES FROM (")?.strip_suffix(')')?;
            let (from, to) = inner.split_once(") TO (")?;
            let open = ["MINVALUE", "MAXVALUE"].iter().any(|word| inner.contains(word));
            let no_null = by.keys.iter().map(|key| format!("({key}) IS NOT NULL")).collect::<Vec<_>>().join(" AND ");
            (!open).then(|| format!("{no_null} AND ROW({keys}) >= ROW({from}) AND ROW({keys}) < ROW({to})"))
        }
        PartitionMethod::List => {
            let list = bound.strip_prefix("FOR VALUES IN (")?.strip_suffix(')')?;
            let with_null = list.split(',').any(|value| value.trim() == "NULL");
            let or = if with_null { format!(" OR {keys} IS NULL") } else { String::new() };
            Some(format!("{keys} IN ({list}){or}"))
        }
        PartitionMethod::Hash => {
            let inner = bound.strip_prefix("FOR VALUES WITH (modulus ")?.strip_suffix(')')?;
            let (modulus, remainder) = inner.split_once(", remainder ")?;
            let parent = literal(&qualified(parent));
            Some(format!(
                "pg_catalog.satisfies_hash_partition(CAST({parent} AS regclass), {modulus}, {remainder}, {keys})"
            ))
        }
        PartitionMethod::Range => condition(by, bound),
    }
}

/// The check that proves the rows of a table that is being attached.
fn proof_name(partition: &ObjectName) -> String {
    names::temporary(&qualified(partition))
}

/// A query for one boolean: the table is a partition of the other.
fn is_attached(parent: &ObjectName, partition: &ObjectName) -> String {
    format!(
        "EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhrelid = pg_catalog.to_regclass({}) \
         AND inhparent = pg_catalog.to_regclass({}))",
        literal(&qualified(partition)),
        literal(&qualified(parent))
    )
}

/// Whether the check that proves the rows is valid; no row when it is not there.
fn proof(partition: &ObjectName) -> String {
    format!(
        "SELECT convalidated FROM pg_catalog.pg_constraint WHERE conrelid = pg_catalog.to_regclass({}) AND conname = {}",
        literal(&qualified(partition)),
        literal(&proof_name(partition))
    )
}

/// Makes a table in use a partition. A check says first what its rows must fulfil and is proven beside readers and writers;
/// with it the server reads no row while it attaches the table under a lock.
fn attach_proven(partition: &ObjectName, parent: &ObjectName, by: &PartitionBy, bound: &str) -> Generated {
    let check = ident(&proof_name(partition));
    let proven = match condition(by, bound) {
        Some(_) => format!("({})", proof(partition)),
        // Nothing can be proven: as if it were.
        None => "true".to_owned(),
    };
    let add = format!("ADD CONSTRAINT {check} CHECK ({}) NOT VALID", condition(by, bound).unwrap_or_default());
    let [add, validate, drop] = [add, format!("VALIDATE CONSTRAINT {check}"), format!("DROP CONSTRAINT {check}")]
        .map(|what| literal(&alter(partition, &what)));
    let left = format!("EXISTS ({})", proof(partition));
    Generated {
        next_sql: format!(
            "SELECT CASE WHEN attached THEN {drop} WHEN proven IS NULL THEN {add} WHEN NOT proven THEN {validate} \
               ELSE {attach} END, CASE WHEN NOT attached AND NOT proven THEN '0' ELSE '{SHORT_MS}' END \
             FROM (SELECT {is_attached} AS attached, {proven} AS proven, {left} AS proof_left) s \
             WHERE NOT attached OR proof_left",
            attach = literal(&attach(parent, partition, bound)),
            is_attached = is_attached(parent, partition),
        ),
    }
}

/// Takes back what [`attach_proven`] did, whole or half done.
fn detach_again(partition: &ObjectName, parent: &ObjectName) -> String {
    let body = format!(
        "BEGIN\n  PERFORM set_config('lock_timeout', '{SHORT_MS}ms', true);\n  IF {} THEN\n    {};\n  END IF;\n  \
         {};\nEND\n",
        is_attached(parent, partition),
        detach(parent, partition),
        alter(partition, &format!("DROP CONSTRAINT IF EXISTS {}", ident(&proof_name(partition))))
    );
    format!("DO {}", sync::dollar_quoted(&body))
}

/// A query for one boolean: the table is attached, and nothing is left of the proof.
fn is_attached_alone(partition: &ObjectName, parent: &ObjectName) -> String {
    format!("SELECT {} AND NOT EXISTS ({})", is_attached(parent, partition), proof(partition))
}

/// What each partition shall get, and what tells whether it has it.
struct Objects<'o> {
    /// The name on the table itself.
    name: &'o str,
    /// What the names on partitions end with.
    suffix: &'static str,
    /// The object of the name in `n.plain` or `n.wanted` on relation `c.oid`.
    of_name: &'static str,
    /// A query for the object of partition `c` that belongs to `t.object` on the table above, as `object`.
    attached: &'static str,
}

const INDEX_OF_NAME: &str = "(SELECT x.indexrelid FROM pg_catalog.pg_index x \
     WHERE x.indexrelid = pg_catalog.to_regclass(n.wanted) AND x.indrelid = c.oid)";

const ATTACHED_INDEX: &str = "SELECT i.indexrelid AS object FROM pg_catalog.pg_index i \
     JOIN pg_catalog.pg_inherits p ON p.inhrelid = i.indexrelid WHERE i.indrelid = c.oid AND p.inhparent = t.object";

const CONSTRAINT_OF_NAME: &str =
    "(SELECT k.oid FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.conname = n.plain)";

const ATTACHED_CONSTRAINT: &str = "SELECT k.oid AS object FROM pg_catalog.pg_constraint k \
     WHERE k.conrelid = c.oid AND k.conparentid = t.object";

/// The table and all partitions below it, as a table expression `tree`: `relid`, `relkind`, `level` (0 is the table),
/// `plain` and `wanted` (the object's name without and with its schema), `object` (its oid, NULL when it is not there),
/// `above` (the object on the table above) and `attached` (it belongs to that one).
fn tree(table: &ObjectName, objects: &Objects<'_>) -> String {
    let Objects { name, suffix, of_name, attached } = objects;
    format!(
        "WITH RECURSIVE tree AS (\
           SELECT c.oid AS relid, c.relkind, 0 AS level, n.plain, n.wanted, {of_name} AS object, NULL::oid AS above, \
             true AS attached \
           FROM pg_catalog.pg_class c CROSS JOIN LATERAL (SELECT {seed}::text COLLATE \"C\" AS plain, {wanted}::text COLLATE \"C\" AS wanted) n \
           WHERE c.oid = pg_catalog.to_regclass({top}) \
         UNION ALL \
           SELECT c.oid, c.relkind, t.level + 1, n.plain, n.wanted, coalesce(a.object, {of_name}), t.object, \
             a.object IS NOT NULL \
           FROM tree t JOIN pg_catalog.pg_inherits h ON h.inhparent = t.relid \
           JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid AND c.relkind IN ('r', 'p') \
           CROSS JOIN LATERAL (SELECT (CASE WHEN octet_length(c.relname) > 45 THEN left(c.relname, 11) \
             ELSE c.relname::text END || '_' || left(md5({seed} || ' ' || c.relname), 8) || '_{suffix}') COLLATE \"C\" AS plain) p \
           CROSS JOIN LATERAL (SELECT p.plain, format('%s.%I', c.relnamespace::regnamespace, p.plain) COLLATE \"C\" AS wanted) n \
           LEFT JOIN LATERAL ({attached}) a ON true)",
        seed = literal(name),
        wanted = literal(&qualified(&table.sibling(*name))),
        top = literal(&qualified(table)),
    )
}

const fn indexes<'o>(name: &'o str, suffix: &'static str) -> Objects<'o> {
    Objects { name, suffix, of_name: INDEX_OF_NAME, attached: ATTACHED_INDEX }
}

const fn foreign_keys(name: &str) -> Objects<'_> {
    Objects { name, suffix: "fkey", of_name: CONSTRAINT_OF_NAME, attached: ATTACHED_CONSTRAINT }
}

/// An index on the table and each of its partitions: the table's own first, which partitions made meanwhile get at once,
/// then those of the partitions, each built while it is written to.
fn index(table: &ObjectName, name: &str, new: &Index) -> Generated {
    let unique = if new.unique { "UNIQUE " } else { "" };
    let what = literal(&index::definition(new));
    Generated {
        next_sql: format!(
            "{tree} SELECT CASE \
               WHEN object IS NULL AND relkind = 'p' \
                 THEN format('CREATE {unique}INDEX %I ON ONLY %s ', plain, relid::regclass) || {what} \
               WHEN object IS NULL \
                 THEN format('CREATE {unique}INDEX CONCURRENTLY %I ON %s ', plain, relid::regclass) || {what} \
               WHEN relkind = 'r' AND NOT i.indisvalid THEN 'DROP INDEX CONCURRENTLY ' || wanted \
               ELSE format('ALTER INDEX %s ATTACH PARTITION %s', above::regclass, wanted) END, \
             CASE WHEN relkind = 'p' OR i.indisvalid THEN '{SHORT_MS}' ELSE '0' END \
             FROM tree LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = object \
             WHERE object IS NULL OR relkind = 'r' AND NOT i.indisvalid OR NOT attached \
             ORDER BY object IS NOT NULL OR relkind <> 'p', level, wanted LIMIT 1",
            tree = tree(table, &indexes(name, "idx")),
        ),
    }
}

/// Takes away what [`index`] made, whole or half done.
fn drop_index(table: &ObjectName, name: &str) -> String {
    let first =
        format!("IF NOT ({}) THEN\n    {};\n  END IF", index::is_gone(table, name), index::drop(table, name, false));
    undo(table, &indexes(name, "idx"), &first, "'DROP INDEX ' || wanted")
}

/// The index behind a key.
fn behind(key: &Unique) -> Index {
    Index { include: key.include.clone(), nulls_not_distinct: key.nulls_not_distinct, ..Index::over(&key.columns) }
}

/// A key on the table and each of its partitions: a bare index cannot belong to a key's, so each partition gets an index and
/// makes a key of it.
fn key(table: &ObjectName, name: &str, suffix: &'static str, kind: &str, new: &Unique) -> Generated {
    let what = literal(&index::definition(&behind(new)));
    let clause = literal(&constraint::key(kind, new));
    let when = constraint::deferrable(new.deferrable);
    Generated {
        next_sql: format!(
            "{tree}, keys AS (SELECT tree.*, i.indisvalid AS valid, \
               EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = object AND k.conrelid = relid) AS is_key \
               FROM tree LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = object) \
             SELECT CASE \
               WHEN object IS NULL AND relkind = 'p' \
                 THEN format('ALTER TABLE ONLY %s ADD CONSTRAINT %I ', relid::regclass, plain) || {clause} \
               WHEN object IS NULL \
                 THEN format('CREATE UNIQUE INDEX CONCURRENTLY %I ON %s ', plain, relid::regclass) || {what} \
               WHEN relkind = 'r' AND NOT valid THEN 'DROP INDEX CONCURRENTLY ' || wanted \
               WHEN NOT is_key \
                 THEN format('ALTER TABLE %s ADD CONSTRAINT %I {kind} USING INDEX %I{when}', relid::regclass, plain, plain) \
               ELSE format('ALTER INDEX %s ATTACH PARTITION %s', above::regclass, wanted) END, \
             CASE WHEN relkind = 'p' OR valid THEN '{SHORT_MS}' ELSE '0' END \
             FROM keys WHERE object IS NULL OR relkind = 'r' AND NOT valid OR NOT is_key OR NOT attached \
             ORDER BY object IS NOT NULL OR relkind <> 'p', level, wanted LIMIT 1",
            tree = tree(table, &indexes(name, suffix)),
        ),
    }
}

/// A primary key as a unique constraint.
fn as_unique(key: &PrimaryKey) -> Unique {
    Unique {
        columns: key.columns.clone(),
        include: key.include.clone(),
        nulls_not_distinct: false,
        deferrable: key.deferrable,
        comment: None,
    }
}

/// Takes away what [`key`] made, whole or half done.
fn drop_key(table: &ObjectName, name: &str, suffix: &'static str) -> String {
    let first = alter(table, &format!("DROP CONSTRAINT IF EXISTS {}", ident(name)));
    let rest = "format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I; DROP INDEX IF EXISTS %s', relid::regclass, plain, wanted)";
    undo(table, &indexes(name, suffix), &first, rest)
}

/// A foreign key of a partitioned table on servers that cannot add it unproven: each partition gets and proves its own, and
/// the table's then takes them over without reading a row. That one locks the other table twice, the second time against
/// everybody, and each partition: whoever waits behind the first lock would be ended in a circle.
fn foreign_key(table: &ObjectName, name: &str, new: &ForeignKey) -> Generated {
    let clause = literal(&constraint::references(&ForeignKey { not_valid: false, ..new.clone() }));
    Generated {
        next_sql: format!(
            "{tree} SELECT CASE \
               WHEN level = 0 THEN format('ALTER TABLE %s ADD CONSTRAINT %I ', relid::regclass, plain) || {clause} \
               WHEN object IS NULL \
                 THEN format('ALTER TABLE %s ADD CONSTRAINT %I ', relid::regclass, plain) || {clause} || ' NOT VALID' \
               ELSE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', relid::regclass, plain) END, \
             CASE WHEN level = 0 OR object IS NULL THEN '{SHORT_MS}' ELSE '0' END, CASE WHEN level = 0 THEN 'true' END \
             FROM tree LEFT JOIN pg_catalog.pg_constraint k ON k.oid = object \
             WHERE NOT EXISTS (SELECT FROM tree top WHERE top.level = 0 AND top.object IS NOT NULL) \
               AND (level = 0 OR relkind = 'r' AND (object IS NULL OR NOT k.convalidated)) \
             ORDER BY level = 0, wanted LIMIT 1",
            tree = tree(table, &foreign_keys(name)),
        ),
    }
}

/// Takes away what [`foreign_key`] made, whole or half done.
fn drop_foreign_key(table: &ObjectName, name: &str) -> String {
    let first = alter(table, &format!("DROP CONSTRAINT IF EXISTS {}", ident(name)));
    let rest = "format('ALTER TABLE %s DROP CONSTRAINT %I', relid::regclass, plain)";
    undo(table, &foreign_keys(name), &first, rest)
}

/// The table's own constraint of that name as row `k` of `pg_constraint`.
fn constraint_of_name(table: &ObjectName, name: &str) -> String {
    format!(
        "pg_catalog.pg_constraint k WHERE k.conrelid = pg_catalog.to_regclass({}) AND k.conname = {}",
        literal(&qualified(table)),
        literal(name)
    )
}

/// Whether row `k` is this foreign key, proven or not.
fn is_it(key: &ForeignKey) -> String {
    let wanted = skeleton(&constraint::references(&ForeignKey { not_valid: false, ..key.clone() }));
    format!(
        "k.contype = 'f' AND pg_catalog.regexp_replace({}, 'NOTVALID$', '') IN ({}, {})",
        skeleton_of("pg_catalog.pg_get_constraintdef(k.oid)"),
        literal(&wanted),
        // A table in `public` is shown without its schema.
        literal(&wanted.replacen("REFERENCESpublic.", "REFERENCES", 1))
    )
}

/// What a partitioned table gets, one partition after the other.
pub(super) fn each(table: &ObjectName, what: &PerPartition<'_>) -> EachPartition {
    match what {
        PerPartition::Index(name, new) => EachPartition {
            forth: index(table, name, new),
            undo: vec![drop_index(table, name)],
            done_when: index::is_valid(table, name, new),
            stopped_by: Some(index::name_taken(table, name, new)),
        },
        PerPartition::Unique(name, unique) => each_key(table, name, "key", "UNIQUE", unique),
        PerPartition::PrimaryKey(primary) => {
            let name = constraint::primary_key_name(table, primary);
            each_key(table, &name, "pkey", "PRIMARY KEY", &as_unique(primary))
        }
        PerPartition::ForeignKey(name, foreign) => EachPartition {
            forth: foreign_key(table, name, foreign),
            undo: vec![drop_foreign_key(table, name)],
            done_when: format!(
                "SELECT EXISTS (SELECT FROM {} AND {} AND k.convalidated)",
                constraint_of_name(table, name),
                is_it(foreign)
            ),
            stopped_by: Some(format!(
                "SELECT pg_catalog.format('%I, %s', k.conname, pg_catalog.pg_get_constraintdef(k.oid)) FROM {} AND NOT ({})",
                constraint_of_name(table, name),
                is_it(foreign)
            )),
        },
        PerPartition::Attach { parent, by, bound } => EachPartition {
            forth: attach_proven(table, parent, by, bound),
            undo: vec![detach_again(table, parent)],
            done_when: is_attached_alone(table, parent),
            stopped_by: None,
        },
    }
}

fn each_key(table: &ObjectName, name: &str, suffix: &'static str, kind: &str, new: &Unique) -> EachPartition {
    EachPartition {
        forth: key(table, name, suffix, kind, new),
        undo: vec![drop_key(table, name, suffix)],
        done_when: format!(
            "{} AND EXISTS (SELECT FROM {})",
            index::is_valid(table, name, &behind(new)),
            constraint_of_name(table, name)
        ),
        stopped_by: Some(index::name_taken(table, name, &behind(new))),
    }
}

/// One transaction of its own that waits for no lock for long: the table's object first, which takes those that belong to
/// it along, then what partitions have that was not attached yet.
fn undo(table: &ObjectName, objects: &Objects<'_>, first: &str, rest: &str) -> String {
    let body = format!(
        "DECLARE\n  rest text;\nBEGIN\n  PERFORM set_config('lock_timeout', '{SHORT_MS}ms', true);\n  {first};\n  \
         FOR rest IN {tree} SELECT {rest} FROM tree WHERE level > 0 AND object IS NOT NULL LOOP\n    EXECUTE rest;\n  \
         END LOOP;\nEND\n",
        tree = tree(table, objects),
    );
    format!("DO {}", sync::dollar_quoted(&body))
}
