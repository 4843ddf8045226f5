//! What is held by its definition: views, functions, triggers, policies, sequences, statistics, ...
//!
//! Their queries run with an empty `search_path`, so that every name in a definition is qualified and means the same
//! whoever runs it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use schemadiff::{
    backend::postgres::Tenant,
    model::{OWN_NAME, OWN_TABLE, Object, ObjectKey, ObjectKind, ObjectName, Shared, Use},
};
use sqlx::postgres::PgRow;

use super::{
    row::{Oid, Row, object_name},
    sql::{Where, common, made, not_of_extension, not_of_type},
};
use crate::dialect::postgres::{
    MARK,
    normalize::text::views,
    render::names::SYNC_PREFIX,
    type_body::{COMPOSITE, RANGE},
};

/// Objects while they are put together, by the catalogue that they are in and their place in it.
pub(super) type Objects = HashMap<(String, Oid), Object>;

pub(super) const QUALIFIED: &str = "SELECT set_config('search_path', 'pg_catalog', true)";

/// Kind, catalogue, oid, schema, name, arguments, schema and name of the table, text of both names in the definition,
/// definition, comment, columns, completing statements and rights.
pub(super) fn objects(scope: Where<'_>, version: u32) -> String {
    let common = common(scope);
    let target = if version >= 170_000 { "coalesce(s.stxstattarget, -1)" } else { "s.stxstattarget" };
    let class = made("pg_class", "c.oid");
    format!(
        "{common}SELECT 'schema', 'pg_namespace', n.oid, NULL, n.nspname, NULL, NULL, NULL, NULL, NULL, 'CREATE SCHEMA {{name}}',
           obj_description(n.oid, 'pg_namespace'), NULL, NULL, NULL
         FROM space n WHERE n.nspname <> 'public' AND n.nspname !~ '^schemadiff_.*_v' AND {namespace}
       UNION ALL SELECT 'extension', 'pg_extension', e.oid, NULL, e.extname, NULL, NULL, NULL, NULL, NULL,
           'CREATE EXTENSION {{name}} WITH SCHEMA ' || quote_ident(n.nspname), NULL, NULL, NULL, NULL
         FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname <> 'plpgsql'
       UNION ALL SELECT 'type', 'pg_class', c.oid, n.nspname, c.relname, NULL, NULL, NULL, NULL, NULL,
           'CREATE TYPE {{name}} AS ' || {COMPOSITE},
           obj_description(c.reltype, 'pg_type'),
           (SELECT json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod)) ORDER BY a.attnum)::text
            FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
           (SELECT json_agg(format('COMMENT ON COLUMN {{name}}.%I IS %L', a.attname, d.description) ORDER BY a.attname)::text
            FROM pg_description d JOIN pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid
            WHERE d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid > 0), NULL
         FROM pg_class c JOIN space n ON n.oid = c.relnamespace WHERE c.relkind = 'c' AND {class}
       UNION ALL SELECT 'type', 'pg_type', t.oid, n.nspname, t.typname, NULL, NULL, NULL, NULL, NULL,
           'CREATE TYPE {{name}} AS ' || {RANGE},
           obj_description(t.oid, 'pg_type'), NULL, NULL, NULL
         FROM pg_range r JOIN pg_type t ON t.oid = r.rngtypid JOIN space n ON n.oid = t.typnamespace
         WHERE {types}
       UNION ALL SELECT CASE p.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END, 'pg_proc', p.oid, n.nspname, p.proname,
           oidvectortypes(p.proargtypes), NULL, NULL, quote_ident(n.nspname) || '.' || quote_ident(p.proname), NULL,
           pg_get_functiondef(p.oid), obj_description(p.oid, 'pg_proc'), NULL, NULL, {proc_rights}
         FROM pg_proc p JOIN space n ON n.oid = p.pronamespace
         WHERE p.prokind IN ('f', 'p', 'w') AND NOT starts_with(p.proname, '{SYNC_PREFIX}') AND {proc}
       UNION ALL SELECT CASE c.relkind WHEN 'v' THEN 'view' ELSE 'materialized-view' END, 'pg_class', c.oid, n.nspname, c.relname,
           NULL, NULL, NULL, NULL, NULL,
           CASE c.relkind WHEN 'v' THEN 'CREATE OR REPLACE VIEW {{name}}' ELSE 'CREATE MATERIALIZED VIEW {{name}}' END
             || coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', '') || ' AS '
             || btrim(pg_get_viewdef(c.oid), E' \\n;')
             || CASE WHEN c.relkind = 'm' AND NOT c.relispopulated THEN ' WITH NO DATA' ELSE '' END,
           obj_description(c.oid, 'pg_class'),
           (SELECT json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod)) ORDER BY a.attnum)::text
            FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
           (SELECT json_agg(statement ORDER BY rank, statement)::text FROM (
             SELECT 0, pg_get_indexdef(i.indexrelid) FROM pg_index i WHERE i.indrelid = c.oid
             UNION ALL SELECT 1, format('COMMENT ON INDEX %s IS %L', i.indexrelid::regclass, d.description)
             FROM pg_index i JOIN pg_description d ON d.objoid = i.indexrelid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0
             WHERE i.indrelid = c.oid
             UNION ALL SELECT 1, format('ALTER MATERIALIZED VIEW {{name}} ALTER COLUMN %I SET STATISTICS %s', a.attname, a.attstattarget)
             FROM pg_attribute a WHERE a.attrelid = c.oid AND c.relkind = 'm' AND a.attnum > 0 AND coalesce(a.attstattarget, -1) >= 0
             UNION ALL SELECT 1, format('COMMENT ON COLUMN {{name}}.%I IS %L', a.attname, d.description)
             FROM pg_description d JOIN pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid
             WHERE d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid > 0
             UNION ALL SELECT 1, format('ALTER VIEW {{name}} ALTER COLUMN %I SET DEFAULT %s', a.attname, pg_get_expr(ad.adbin, ad.adrelid))
             FROM pg_attrdef ad JOIN pg_attribute a ON a.attrelid = ad.adrelid AND a.attnum = ad.adnum
             WHERE ad.adrelid = c.oid) of_view (rank, statement)),
           {class_rights}
         FROM pg_class c JOIN space n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('v', 'm') AND coalesce(NOT starts_with(obj_description(c.oid, 'pg_class'), '{MARK}'), true)
           AND {class}
       UNION ALL SELECT 'trigger', 'pg_trigger', g.oid, NULL, g.tgname, NULL, n.nspname, c.relname, quote_ident(g.tgname),
           quote_ident(n.nspname) || '.' || quote_ident(c.relname), pg_get_triggerdef(g.oid), obj_description(g.oid, 'pg_trigger'), NULL,
           CASE WHEN g.tgenabled <> 'O' THEN json_build_array(format('ALTER TABLE {{table}} %s TRIGGER {{name}}', CASE g.tgenabled
             WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END))::text END, NULL
         FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN space n ON n.oid = c.relnamespace
         WHERE NOT g.tgisinternal AND g.tgparentid = 0 AND NOT starts_with(g.tgname, '{SYNC_PREFIX}') AND {class}
       UNION ALL SELECT 'rule', 'pg_rewrite', r.oid, NULL, r.rulename, NULL, n.nspname, c.relname, quote_ident(r.rulename),
           quote_ident(n.nspname) || '.' || quote_ident(c.relname), pg_get_ruledef(r.oid), obj_description(r.oid, 'pg_rewrite'), NULL, NULL, NULL
         FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN space n ON n.oid = c.relnamespace
         WHERE r.rulename <> '_RETURN' AND {class}
       UNION ALL SELECT 'policy', 'pg_policy', p.oid, NULL, p.polname, NULL, n.nspname, c.relname, NULL, NULL,
           'CREATE POLICY {{name}} ON {{table}} AS ' || CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END || ' FOR '
             || CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END
             || ' TO ' || (SELECT string_agg(CASE role WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(role)) END, ', ')
                           FROM unnest(p.polroles) role)
             || coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', '')
             || coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', ''),
           obj_description(p.oid, 'pg_policy'), NULL, NULL, NULL
         FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN space n ON n.oid = c.relnamespace
         WHERE {class}
       UNION ALL SELECT 'row-security', 'pg_class', c.oid, NULL, 'row level security', NULL, n.nspname, c.relname, NULL, NULL,
           'ALTER TABLE {{table}} ENABLE ROW LEVEL SECURITY' || CASE WHEN c.relforcerowsecurity THEN ', FORCE ROW LEVEL SECURITY' ELSE '' END,
           NULL, NULL, NULL, NULL
         FROM pg_class c JOIN space n ON n.oid = c.relnamespace WHERE c.relrowsecurity AND {class}
       UNION ALL SELECT 'statistics', 'pg_statistic_ext', s.oid, n.nspname, s.stxname, NULL, cn.nspname, c.relname,
           quote_ident(n.nspname) || '.' || quote_ident(s.stxname), quote_ident(cn.nspname) || '.' || quote_ident(c.relname),
           pg_get_statisticsobjdef(s.oid), obj_description(s.oid, 'pg_statistic_ext'), NULL,
           CASE WHEN {target} >= 0 THEN json_build_array('ALTER STATISTICS {{name}} SET STATISTICS ' || {target})::text END, NULL
         FROM pg_statistic_ext s JOIN space n ON n.oid = s.stxnamespace JOIN pg_class c ON c.oid = s.stxrelid
         JOIN pg_namespace cn ON cn.oid = c.relnamespace",
        namespace = made("pg_namespace", "n.oid"),
        types = made("pg_type", "t.oid"),
        proc = [made("pg_proc", "p.oid"), not_of_type("p.oid")].join(" AND "),
        proc_rights = rights("p.proacl", "p.proowner", "f", "FUNCTION", "p.oid::regprocedure"),
        class_rights = rights("c.relacl", "c.relowner", "r", "TABLE", "c.oid::regclass"),
    )
}

/// Statements that give an object to its owner, and to others what it may have been kept from or given to them.
fn rights(acl: &str, owner: &str, letter: &str, word: &str, name: &str) -> String {
    let owned = if word == "TABLE" {
        "CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'MATERIALIZED VIEW' END"
    } else {
        "CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END"
    };
    let is_relation = word == "TABLE";
    let word = if is_relation { "'TABLE'" } else { owned };
    // A view that is made again may be without the column.
    let columns = if is_relation {
        "UNION ALL SELECT format('DO $grant$BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = %L::regclass \
           AND attname = %L AND NOT attisdropped) THEN GRANT %s (%I) ON TABLE %s TO %s%s; END IF; END$grant$', c.oid::regclass, t.attname,
           a.privilege_type, t.attname, c.oid::regclass, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
           CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
         FROM pg_attribute t CROSS JOIN LATERAL aclexplode(t.attacl) a WHERE t.attrelid = c.oid AND NOT t.attisdropped AND t.attnum > 0"
    } else {
        ""
    };
    format!(
        "(SELECT json_agg(statement)::text FROM (
             SELECT format('ALTER %s %s OWNER TO %I', {owned}, {name}, pg_get_userbyid({owner}))
             WHERE {owner} <> (SELECT oid FROM pg_roles WHERE rolname = current_user)
             UNION ALL SELECT format('REVOKE ALL ON %s %s FROM PUBLIC', {word}, {name})
             WHERE {acl} IS NOT NULL AND NOT EXISTS (SELECT FROM aclexplode({acl}) a WHERE a.grantee = 0)
               AND EXISTS (SELECT FROM aclexplode(acldefault('{letter}', {owner})) a WHERE a.grantee = 0)
             UNION ALL SELECT format('GRANT %s ON %s %s TO %s%s', a.privilege_type, {word}, {name},
               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
               CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
             FROM aclexplode({acl}) a WHERE a.grantee <> {owner} {columns}) given (statement))"
    )
}

/// Catalogue and oid of an object; then what it needs: `r` a relation (schema, name, column), `f` a function (schema, name,
/// arguments), `t` a type (schema, name).
pub(super) fn uses() -> String {
    // A view needs what its query needs; a view's columns have types, as have a function's arguments.
    "WITH needs AS (
       SELECT DISTINCT CASE WHEN d.classid = 'pg_rewrite'::regclass AND r.rulename = '_RETURN' THEN 'pg_class'
           ELSE d.classid::regclass::text END AS class,
         CASE WHEN d.classid = 'pg_rewrite'::regclass AND r.rulename = '_RETURN' THEN r.ev_class ELSE d.objid END AS oid,
         d.refclassid, d.refobjid, d.refobjsubid
       FROM pg_depend d LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
       WHERE d.classid IN ('pg_rewrite'::regclass, 'pg_class'::regclass, 'pg_proc'::regclass, 'pg_trigger'::regclass,
           'pg_policy'::regclass, 'pg_statistic_ext'::regclass, 'pg_type'::regclass)
         AND d.objid >= 16384 AND d.refobjid >= 16384 AND d.deptype IN ('n', 'a')
         AND (d.classid <> 'pg_class'::regclass OR d.refclassid = 'pg_type'::regclass)
     )
     SELECT u.class, u.oid, 'r', n.nspname, c.relname, a.attname
     FROM needs u LEFT JOIN pg_type t ON u.refclassid = 'pg_type'::regclass AND t.oid = u.refobjid
     LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
     JOIN pg_class c ON c.oid = CASE WHEN u.refclassid = 'pg_class'::regclass THEN u.refobjid
         ELSE coalesce(nullif(t.typrelid, 0), nullif(e.typrelid, 0)) END
     JOIN pg_namespace n ON n.oid = c.relnamespace
     LEFT JOIN pg_attribute a ON u.refclassid = 'pg_class'::regclass AND a.attrelid = c.oid AND a.attnum = u.refobjsubid AND a.attnum > 0
     WHERE NOT (u.class = 'pg_class' AND u.oid = c.oid)
     UNION ALL SELECT u.class, u.oid, 'f', n.nspname, p.proname, oidvectortypes(p.proargtypes)
     FROM needs u JOIN pg_proc p ON u.refclassid = 'pg_proc'::regclass AND p.oid = u.refobjid JOIN pg_namespace n ON n.oid = p.pronamespace
     UNION ALL SELECT u.class, u.oid, 't', n.nspname, coalesce(e.typname, t.typname), NULL
     FROM needs u JOIN pg_type t ON u.refclassid = 'pg_type'::regclass AND t.oid = u.refobjid AND t.typrelid = 0
     LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A' JOIN pg_namespace n ON n.oid = t.typnamespace
     WHERE coalesce(e.typrelid, 0) = 0"
        .to_owned()
}

/// The columns whose storage or statistics are not what their types say: schema, table, column, and statements that set and
/// reset each.
pub(super) fn column_settings(scope: Where<'_>) -> String {
    format!(
        "SELECT n.nspname, c.relname, a.attname,
           CASE WHEN a.attstattarget >= 0 THEN a.attstattarget END,
           CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END,
           CASE WHEN a.attstorage <> t.typstorage THEN CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL'
             WHEN 'x' THEN 'EXTENDED' ELSE 'MAIN' END END,
           array_to_string(a.attoptions, ', '),
           CASE t.typstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'x' THEN 'EXTENDED' ELSE 'MAIN' END
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_type t ON t.oid = a.atttypid
         WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped AND {} AND {}
           AND (a.attstattarget >= 0 OR a.attcompression <> '' OR a.attstorage <> t.typstorage OR a.attoptions IS NOT NULL)",
        scope.condition(),
        not_of_extension("pg_class", "c.oid")
    )
}

/// The objects of the first query.
pub(super) fn read(rows: &[PgRow], tenant: Option<&Tenant>) -> Objects {
    rows.iter()
        .map(Row)
        .filter_map(|row| Some(((row.get(1).to_owned() + suffix(row)?, row.number(2)), object(row, tenant)?)))
        .collect()
}

/// A table is in the catalogue of relations for itself; what its row also says of it is another object.
fn suffix(row: Row<'_>) -> Option<&'static str> {
    Some(if kind(row.get(0))? == ObjectKind::RowSecurity { " security" } else { "" })
}

fn kind(text: &str) -> Option<ObjectKind> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()
}

/// Where the schema is a tenant's, the server names it in every text of these queries.
fn said(text: &str, tenant: Option<&Tenant>) -> String {
    tenant.map_or_else(|| text.to_owned(), |tenant| tenant.definition(text))
}

fn object(row: Row<'_>, tenant: Option<&Tenant>) -> Option<Object> {
    let kind = kind(row.get(0))?;
    let name = match row.opt(3) {
        Some(schema) => object_name(schema, row.get(4)),
        None => ObjectName::new(row.get(4)),
    };
    let table = row.opt(6).map(|_| row.name(6));
    let over = if kind == ObjectKind::Statistics { table.clone() } else { None };
    let of = if over.is_some() { None } else { table };
    let key = ObjectKey { kind, name, arguments: row.opt(5).map(|text| said(text, tenant)), of };
    let mut definition = said(row.get(10), tenant);
    if let Some(name) = row.opt(8) {
        definition = definition.replacen(name, OWN_NAME, 1);
    }
    if let Some(table) = row.opt(9) {
        definition = with_table(&definition, table);
    }
    if kind == ObjectKind::Trigger || kind == ObjectKind::Rule {
        for word in ["CREATE TRIGGER ", "CREATE RULE "] {
            definition = match definition.strip_prefix(word) {
                Some(rest) => format!("{} {rest}", word.trim_end().replace("CREATE", "CREATE OR REPLACE")),
                None => definition,
            };
        }
    }
    let list = |at: usize| {
        let texts = row.opt(at).and_then(|text| serde_json::from_str::<Vec<String>>(text).ok()).unwrap_or_default();
        texts.iter().map(|text| said(text, tenant)).collect()
    };
    let columns: Vec<(String, String)> =
        row.opt(12).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let definition = if kind == ObjectKind::Function || kind == ObjectKind::Procedure {
        definition.trim_end().to_owned()
    } else {
        views(&definition)
    };
    let definition = if kind == ObjectKind::Statistics { in_one_order(&definition) } else { definition };
    Some(Object {
        completed_by: list(13),
        over,
        comment: row.owned(11),
        columns: columns.into_iter().map(|(name, ty)| (name, said(&ty, tenant))).collect(),
        rights: list(14),
        ..Object::new(key, definition.trim_end_matches(';').to_owned())
    })
}

/// The server names the columns of extended statistics in the order in which the table has them, which says nothing.
fn in_one_order(definition: &str) -> String {
    let Some((head, rest)) = definition.split_once(" ON ") else { return definition.to_owned() };
    let (list, tail) = rest.rsplit_once(" FROM ").unwrap_or((rest, ""));
    let (mut parts, mut from, mut depth, mut quote) = (Vec::new(), 0, 0_usize, None);
    for (at, c) in list.char_indices() {
        match c {
            c if quote == Some(c) => quote = None,
            _ if quote.is_some() => {}
            '"' | '\'' => quote = Some(c),
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(list[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(list[from..].trim());
    parts.sort_unstable();
    format!("{head} ON {} FROM {tail}", parts.join(", "))
}

/// The name of the table behind ON, TO or FROM is the one that the object hangs on.
fn with_table(definition: &str, table: &str) -> String {
    static WORDS: LazyLock<[&str; 3]> = LazyLock::new(|| [" ON ", " TO ", " FROM "]);
    let found = WORDS.iter().filter_map(|word| {
        let text = format!("{word}{table}");
        let at = definition.find(&text)?;
        let end = at + text.len();
        let ends = definition[end..].chars().next().is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '.');
        ends.then_some((at + word.len(), end))
    });
    match found.min() {
        Some((from, to)) => format!("{}{OWN_TABLE}{}", &definition[..from], &definition[to..]),
        None => definition.to_owned(),
    }
}

/// Adds what each needs.
pub(super) fn needs(rows: &[PgRow], objects: &mut Objects, tenant: Option<&Tenant>) {
    for row in rows.iter().map(Row) {
        let Some(object) = objects.get_mut(&(row.get(0).to_owned(), row.number(1))) else { continue };
        let name = row.name(3);
        object.uses.insert(match row.letter(2) {
            'f' => Use::Function { name, arguments: said(row.get(5), tenant) },
            't' => Use::Type { name },
            _ => match row.owned(5) {
                Some(column) => Use::Column { table: name, column },
                None => Use::Relation { name },
            },
        });
    }
}

/// Settings of columns, each as one object.
pub(super) fn settings(rows: &[PgRow]) -> Vec<Object> {
    let mut found = Vec::new();
    for row in rows.iter().map(Row) {
        let table = row.name(0);
        let column = row.get(2).to_owned();
        let set = [
            row.opt(3).map(|n| format!("ALTER COLUMN {OWN_NAME} SET STATISTICS {n}")),
            row.opt(4).map(|method| format!("ALTER COLUMN {OWN_NAME} SET COMPRESSION {method}")),
            row.opt(5).map(|storage| format!("ALTER COLUMN {OWN_NAME} SET STORAGE {storage}")),
            row.opt(6).filter(|o| !o.is_empty()).map(|options| format!("ALTER COLUMN {OWN_NAME} SET ({options})")),
        ];
        let set: Vec<_> = set.into_iter().flatten().collect();
        let key = ObjectKey {
            kind: ObjectKind::ColumnSettings,
            name: ObjectName::new(column.clone()),
            arguments: None,
            of: Some(table.clone()),
        };
        let mut object = Object::new(key, format!("ALTER TABLE {OWN_TABLE} {}", set.join(", ")));
        object.columns = vec![(column.clone(), row.get(7).to_owned())];
        object.uses.insert(Use::Column { table, column });
        found.push(object);
    }
    found
}

/// By key. The extensions' own tables and views may be in what was found last.
pub(super) fn by_key(objects: impl IntoIterator<Item = Object>) -> BTreeMap<ObjectKey, Shared<Object>> {
    objects.into_iter().map(|object| (object.key.clone(), object.into())).collect()
}
