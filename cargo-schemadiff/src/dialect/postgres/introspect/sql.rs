//! The queries: a fixed number of them, each for a whole kind of object, sent together in one message.
//!
//! What is compared as text is deparsed by the server; everything else comes as numbers and names and is put together
//! here, because `pg_get_constraintdef` and `pg_get_indexdef` cost the server far more than the rest of a big catalogue.

use crate::dialect::postgres::{
    MARK,
    render::{
        aside::{COLUMN_PREFIX, SCHEMA_PREFIX},
        names::{SYNC_PREFIX, ident, literal},
    },
};
use schemadiff::backend::postgres::{LEDGER, LEDGER_PREFIX};

/// Which database schemas are read; a condition on `pg_namespace n`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Where<'t> {
    /// Everything that is neither the system's nor schemadiff's.
    Users,
    /// One schema, as if it were `public`.
    Tenant(&'t str),
    /// This session's temporary objects.
    Temporary,
}

impl Where<'_> {
    pub(super) fn condition(self) -> String {
        match self {
            // What contract phases have set aside is schemadiff's, too.
            Self::Users => format!(
                "n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', '{LEDGER}') \
                 AND NOT starts_with(n.nspname::text, '{SCHEMA_PREFIX}') \
                 AND NOT starts_with(n.nspname::text, '{LEDGER_PREFIX}')"
            ),
            Self::Tenant(schema) => format!("n.oid = to_regnamespace({})", literal(&ident(schema))),
            Self::Temporary => "n.oid = pg_my_temp_schema()".to_owned(),
        }
    }

    /// The queries, in which a tenant's schema is called `public`.
    pub(super) fn named(self, queries: String) -> String {
        let Self::Tenant(schema) = self else { return queries };
        let named = |queries: String, alias: &str| {
            let of_catalogue = format!("pg_namespace {alias} ");
            let renamed = format!(
                "(SELECT oid, CASE WHEN nspname = {} THEN 'public' ELSE nspname END AS nspname FROM pg_namespace) {alias} ",
                literal(schema)
            );
            queries.replace(&of_catalogue, &renamed)
        };
        ["n", "cn", "bn"].into_iter().fold(queries, named)
    }
}

/// What belongs to an extension is made and dropped with it.
pub(super) fn not_of_extension(class: &str, oid: &str) -> String {
    format!(
        "{oid} NOT IN (SELECT objid FROM pg_depend WHERE classid = '{class}'::regclass AND deptype = 'e' \
         AND refclassid = 'pg_extension'::regclass)"
    )
}

/// What most branches of a long query ask for, looked up once. A condition in each of them would cost the server more than all
/// the rest: it plans every branch anew.
pub(super) fn common(scope: Where<'_>) -> String {
    format!(
        "WITH space AS MATERIALIZED (SELECT n.oid, n.nspname FROM pg_namespace n WHERE {}),
           of_extension AS MATERIALIZED (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
             AND refclassid = 'pg_extension'::regclass) ",
        scope.condition()
    )
}

/// As [`not_of_extension`], after [`common`], and of what was not there from the beginning: the server's own objects are many,
/// and have smaller numbers (`FirstNormalObjectId`).
pub(super) fn made(class: &str, oid: &str) -> String {
    format!("{oid} >= 16384 AND {oid} NOT IN (SELECT objid FROM of_extension WHERE classid = '{class}'::regclass)")
}

/// A range type has functions of its own that come and go with it.
pub(super) fn not_of_type(oid: &str) -> String {
    format!("{oid} NOT IN (SELECT objid FROM pg_depend WHERE classid = 'pg_proc'::regclass AND deptype = 'i')")
}

/// About how many rows a table has. What was counted may be from before a load, and is -1 where nobody has counted yet: the
/// statistics know what was written since. Neither opens the table, which would cost more than all the rest.
const ROWS: &str = "greatest(c.reltuples::bigint, pg_stat_get_live_tuples(c.oid), 0)";

pub(super) fn tables(scope: Where<'_>) -> String {
    format!(
        "SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, array_to_string(c.reloptions, E'\\n'),
           d.description, CASE WHEN c.relkind = 'r' THEN {ROWS} END, c.relpages + coalesce(toast.relpages, 0), i.inhparent,
           c.relkind = 'r' AND NOT c.relispartition AND EXISTS (SELECT FROM pg_inherits WHERE c.oid IN (inhrelid, inhparent)), c.relrowsecurity,
           c.reloftype <> 0, CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END, i.inhdetachpending,
           pg_get_expr(c.relpartbound, c.oid)
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         LEFT JOIN pg_class toast ON toast.oid = c.reltoastrelid
         LEFT JOIN pg_inherits i ON c.relispartition AND i.inhrelid = c.oid
         LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0
         WHERE c.relkind IN ('r', 'p', 'f') AND {} AND {}",
        scope.condition(),
        not_of_extension("pg_class", "c.oid")
    )
}

pub(super) fn columns(scope: Where<'_>) -> String {
    format!(
        "SELECT a.attrelid, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
           pg_get_expr(ad.adbin, ad.adrelid), a.attidentity, a.attgenerated, a.attcollation,
           CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation END, d.description
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         JOIN pg_type t ON t.oid = a.atttypid
         LEFT JOIN pg_attrdef ad ON ad.adrelid = a.attrelid AND ad.adnum = a.attnum
         LEFT JOIN pg_description d ON d.objoid = a.attrelid AND d.classoid = 'pg_class'::regclass
           AND d.objsubid = a.attnum
         WHERE c.relkind IN ('r', 'p') AND NOT starts_with(a.attname::text, '{COLUMN_PREFIX}') AND {}",
        scope.condition()
    )
}

pub(super) fn sequences(scope: Where<'_>) -> String {
    format!(
        "SELECT d.refobjid, d.refobjsubid, n.nspname, c.relname, s.seqrelid::regclass::text,
           format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle,
           said.description
         FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         LEFT JOIN pg_description said ON said.objoid = c.oid AND said.classoid = 'pg_class'::regclass AND said.objsubid = 0
         LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.seqrelid AND d.deptype IN ('a', 'i')
           AND d.refclassid = 'pg_class'::regclass
         WHERE {} AND {} AND NOT EXISTS (SELECT FROM pg_attribute h WHERE h.attrelid = d.refobjid
           AND h.attnum = d.refobjsubid AND starts_with(h.attname::text, '{COLUMN_PREFIX}'))",
        scope.condition(),
        not_of_extension("pg_class", "c.oid")
    )
}

/// A foreign key to a partitioned table has a copy for each partition; those come and go with it (`conparentid`), as do the
/// keys and checks that a partition has from its parent.
pub(super) fn constraints(scope: Where<'_>, version: u32) -> String {
    let set_columns = if version >= 150_000 { "k.confdelsetcols::text" } else { "NULL" };
    let unusual = if version >= 180_000 { "NOT k.conenforced OR k.conperiod" } else { "false" };
    format!(
        "SELECT k.conrelid, k.conname, k.contype, k.condeferrable, k.condeferred, k.convalidated, k.connoinherit,
           k.conkey::text, k.confrelid, k.confkey::text, k.confupdtype, k.confdeltype, k.confmatchtype,
           pg_get_expr(k.conbin, k.conrelid), k.conindid, d.description, {set_columns}, {unusual},
           CASE WHEN k.contype = 'x' THEN pg_get_constraintdef(k.oid) END
         FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
         LEFT JOIN pg_description d ON d.objoid = k.oid AND d.classoid = 'pg_constraint'::regclass AND d.objsubid = 0
         WHERE k.conrelid <> 0 AND k.conparentid = 0 AND (k.coninhcount = 0 OR k.contype NOT IN ('c', 'n'))
           AND (k.contype IN ('p', 'u', 'c', 'f', 'x') OR k.contype = 'n' AND NOT k.convalidated) AND {}",
        scope.condition()
    )
}

pub(super) fn indexes(scope: Where<'_>, version: u32) -> String {
    let nulls = if version >= 150_000 { "i.indnullsnotdistinct" } else { "false" };
    format!(
        "SELECT i.indexrelid, i.indrelid, c.relname, am.amname, i.indisunique, i.indisvalid, {nulls}, i.indnkeyatts,
           i.indkey::text, i.indoption::text, i.indclass::text, i.indcollation::text,
           pg_get_expr(i.indpred, i.indrelid),
           CASE WHEN i.indexprs IS NOT NULL THEN array_to_string(ARRAY(
             SELECT pg_get_indexdef(i.indexrelid, at, false) FROM generate_series(1, i.indnkeyatts) at
             WHERE i.indkey[at - 1] = 0), E'\\x1f') END,
           CASE WHEN i.indexprs IS NOT NULL AND i.indcollation::oid[] && ARRAY(
             SELECT oid FROM pg_collation WHERE oid <> 100) THEN pg_get_indexdef(i.indexrelid) END,
           array_to_string(c.reloptions, E'\\n'), d.description, c.relpages, c.relispartition, i.indisprimary
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_am am ON am.oid = c.relam
         LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0
         WHERE {}",
        scope.condition()
    )
}

/// Checks come one a row.
pub(super) fn domains(scope: Where<'_>) -> String {
    format!(
        "SELECT n.nspname, t.typname, format_type(t.typbasetype, t.typtypmod), t.typnotnull,
           pg_get_expr(t.typdefaultbin, 0), CASE WHEN t.typcollation <> b.typcollation THEN t.typcollation END,
           d.description, k.conname, pg_get_expr(k.conbin, 0), k.convalidated, kd.description
         FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace JOIN pg_type b ON b.oid = t.typbasetype
         LEFT JOIN pg_description d ON d.objoid = t.oid AND d.classoid = 'pg_type'::regclass AND d.objsubid = 0
         LEFT JOIN pg_constraint k ON k.contypid = t.oid AND k.contype = 'c'
         LEFT JOIN pg_description kd ON kd.objoid = k.oid AND kd.classoid = 'pg_constraint'::regclass AND kd.objsubid = 0
         WHERE t.typtype = 'd' AND {} AND {} ORDER BY t.oid",
        scope.condition(),
        not_of_extension("pg_type", "t.oid")
    )
}

/// Operator classes and collations, and parameters of operator classes.
pub(super) const INDEX_WORDS: &str = "SELECT 'opclass', o.oid, 0, o.opcdefault,
           CASE WHEN pg_opclass_is_visible(o.oid) THEN quote_ident(o.opcname)
                ELSE quote_ident(n.nspname) || '.' || quote_ident(o.opcname) END
         FROM pg_opclass o JOIN pg_namespace n ON n.oid = o.opcnamespace
       UNION ALL
         SELECT 'collation', c.oid, 0, false, CASE WHEN n.nspname IN ('pg_catalog', 'public') THEN c.collname::text
           ELSE format('\"%s\".\"%s\"', replace(n.nspname, '\"', '\"\"'), replace(c.collname, '\"', '\"\"')) END
         FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
       UNION ALL
         SELECT 'parameters', a.attrelid, a.attnum, false,
           (SELECT string_agg(format('%s=%L', split_part(o, '=', 1), substr(o, strpos(o, '=') + 1)), ', ')
            FROM unnest(a.attoptions) o)
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
         WHERE a.attoptions IS NOT NULL AND c.relkind = 'i'";

pub(super) fn enums(scope: Where<'_>) -> String {
    format!(
        "SELECT n.nspname, t.typname, e.enumlabel, d.description
         FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_enum e ON e.enumtypid = t.oid
         LEFT JOIN pg_description d ON d.objoid = t.oid AND d.classoid = 'pg_type'::regclass AND d.objsubid = 0
         WHERE t.typtype = 'e' AND {} AND {} ORDER BY t.oid, e.enumsortorder",
        scope.condition(),
        not_of_extension("pg_type", "t.oid")
    )
}

/// A compatibility view's columns and those of its table come from the view's own target list: a comment that was written
/// once would not follow a rename.
pub(super) fn views_and_triggers(scope: Where<'_>) -> String {
    format!(
        "{common}SELECT c.relkind::text, n.nspname, c.relname, NULL::oid, NULL::text, d.description,
           shown.nspname, shown.relname, shown.columns, NULL::text
         FROM pg_class c JOIN space n ON n.oid = c.relnamespace
         LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0
         LEFT JOIN LATERAL (
           SELECT bn.nspname, bc.relname, json_object_agg(v.attname, b.attname)::text AS columns
           FROM pg_rewrite r
           CROSS JOIN LATERAL regexp_matches(r.ev_action::text, ':resorigtbl (\\d+) :resorigcol (\\d+)', 'g')
             WITH ORDINALITY AS entry (origin, at)
           JOIN pg_attribute v ON v.attrelid = c.oid AND v.attnum = entry.at
           JOIN pg_attribute b ON b.attrelid = entry.origin[1]::oid AND b.attnum = entry.origin[2]::int
           JOIN pg_class bc ON bc.oid = b.attrelid JOIN pg_namespace bn ON bn.oid = bc.relnamespace
           WHERE r.ev_class = c.oid AND r.rulename = '_RETURN' AND starts_with(d.description, '{MARK}')
           GROUP BY 1, 2) shown ON true
         WHERE c.relkind = 'v' AND starts_with(d.description, '{MARK}') AND {made}
       UNION ALL
         SELECT 't', n.nspname, c.relname, g.tgrelid, g.tgname::text, d.description, NULL, NULL, NULL, pg_get_triggerdef(g.oid)
         FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN space n ON n.oid = c.relnamespace
         LEFT JOIN pg_description d ON d.objoid = g.oid AND d.classoid = 'pg_trigger'::regclass AND d.objsubid = 0
         WHERE NOT g.tgisinternal AND g.tgparentid = 0 AND starts_with(g.tgname, '{SYNC_PREFIX}') AND g.tgenabled = 'A' AND {made}",
        common = common(scope),
        made = made("pg_class", "c.oid")
    )
}

/// Kind and name of what the model does not hold, and what tells it from another of that name, where that is known.
pub(super) fn unsupported(scope: Where<'_>) -> String {
    let proc = made("pg_proc", "p.oid");
    let types = made("pg_type", "t.oid");
    let operators = made("pg_operator", "o.oid");
    let classes = made("pg_opclass", "o.oid");
    format!(
        "{common}SELECT 'aggregate', n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
           format('%s %s(%s) %s %s', format_type(p.prorettype, NULL), g.aggtransfn, format_type(g.aggtranstype, NULL), g.aggfinalfn, g.agginitval)
         FROM pg_proc p JOIN space n ON n.oid = p.pronamespace JOIN pg_aggregate g ON g.aggfnoid = p.oid WHERE {proc}
       UNION ALL SELECT 'base type', n.nspname || '.' || t.typname, NULL
         FROM pg_type t JOIN space n ON n.oid = t.typnamespace
         WHERE t.typtype = 'b' AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid) AND {types}
       UNION ALL SELECT 'operator', n.nspname || '.' || o.oprname || '(' || CASE o.oprleft WHEN 0 THEN 'NONE'
           ELSE format_type(o.oprleft, NULL) END || ', ' || format_type(o.oprright, NULL) || ')', CAST(o.oprcode AS text)
         FROM pg_operator o JOIN space n ON n.oid = o.oprnamespace WHERE {operators}
       UNION ALL SELECT 'operator class', n.nspname || '.' || o.opcname || ' USING ' || am.amname, NULL
         FROM pg_opclass o JOIN space n ON n.oid = o.opcnamespace JOIN pg_am am ON am.oid = o.opcmethod
         WHERE {classes}
       UNION ALL SELECT 'cast', format_type(castsource, NULL) || ' AS ' || format_type(casttarget, NULL),
           castfunc::regproc || ' ' || castcontext::text || castmethod::text
         FROM pg_cast WHERE {casts}
       UNION ALL SELECT 'publication', pubname::text, NULL FROM pg_publication
       UNION ALL SELECT 'event trigger', evtname::text, evtevent::text FROM pg_event_trigger
       UNION ALL {settings}
       UNION ALL {plain}",
        common = common(scope),
        casts = made("pg_cast", "oid"),
        settings = settings_beyond(),
        plain = plainly_named(),
    )
}

/// What can be set on tables, indexes and sequences and has no place in the model.
fn settings_beyond() -> String {
    let own = made("pg_class", "c.oid");
    let of = "FROM pg_class c JOIN space n ON n.oid = c.relnamespace";
    format!(
        "SELECT 'replica identity', n.nspname || '.' || c.relname,
           coalesce((SELECT x.relname::text FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid AND i.indisreplident),
             c.relreplident::text)
         {of} WHERE c.relkind = 'r' AND c.relreplident <> 'd' AND {own}
       UNION ALL SELECT 'order of CLUSTER', n.nspname || '.' || c.relname, x.relname::text
         {of} JOIN pg_index i ON i.indrelid = c.oid AND i.indisclustered JOIN pg_class x ON x.oid = i.indexrelid WHERE {own}
       UNION ALL SELECT 'statistics target', n.nspname || '.' || c.relname || '.' || a.attname, a.attstattarget::text
         {of} JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
         WHERE c.relkind = 'i' AND coalesce(a.attstattarget, -1) >= 0 AND {own}
       UNION ALL SELECT 'TOAST options', n.nspname || '.' || c.relname, array_to_string(t.reloptions, ', ')
         {of} JOIN pg_class t ON t.oid = c.reltoastrelid WHERE t.reloptions IS NOT NULL AND {own}
       UNION ALL SELECT 'unlogged sequence', n.nspname || '.' || c.relname, NULL
         {of} WHERE c.relkind = 'S' AND c.relpersistence = 'u' AND {own}
           AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_class t ON t.oid = d.refobjid WHERE d.objid = c.oid AND d.deptype IN ('a', 'i')
             AND d.refclassid = 'pg_class'::regclass AND t.relpersistence = 'u')
       UNION ALL SELECT 'forced row level security that is not in force', n.nspname || '.' || c.relname, NULL
         {of} WHERE c.relforcerowsecurity AND NOT c.relrowsecurity AND {own}
       UNION ALL SELECT 'comment on a database schema', n.nspname::text, d.description
         FROM space n JOIN pg_description d ON d.objoid = n.oid AND d.classoid = 'pg_namespace'::regclass
         WHERE n.nspname = 'public' AND d.description <> 'standard public schema'"
    )
}

/// What has a name, in a database schema or in none, and nothing else that it is known by.
fn plainly_named() -> String {
    const IN_SCHEMAS: [(&str, &str, &str); 6] = [
        ("collation", "pg_collation", "coll"),
        ("conversion", "pg_conversion", "con"),
        ("text search configuration", "pg_ts_config", "cfg"),
        ("text search dictionary", "pg_ts_dict", "dict"),
        ("text search parser", "pg_ts_parser", "prs"),
        ("text search template", "pg_ts_template", "tmpl"),
    ];
    const IN_NONE: [(&str, &str, &str); 3] = [
        ("foreign data wrapper", "pg_foreign_data_wrapper", "fdw"),
        ("foreign server", "pg_foreign_server", "srv"),
        ("language", "pg_language", "lan"),
    ];
    let inside = IN_SCHEMAS.iter().map(|(kind, catalogue, prefix)| {
        format!(
            "SELECT '{kind}', n.nspname || '.' || x.{prefix}name, NULL FROM {catalogue} x \
             JOIN space n ON n.oid = x.{prefix}namespace WHERE {}",
            made(catalogue, "x.oid")
        )
    });
    let outside = IN_NONE.iter().map(|(kind, catalogue, prefix)| {
        let own = made(catalogue, "x.oid");
        format!("SELECT '{kind}', x.{prefix}name::text, NULL FROM {catalogue} x WHERE {own}")
    });
    inside.chain(outside).collect::<Vec<_>>().join(" UNION ALL ")
}
