//! Compatibility views: a table under the name and columns that an older version knows.

use schemadiff::{
    compat::VIEW_SCHEMA,
    model::{CompatView, ObjectName, Table},
};

use super::{
    names::{ident, literal, qualified},
    sync::dollar_quoted,
    table::comment_on,
};
use crate::dialect::postgres::MARK;

/// The view, with the table's owner and grants, and the mark by which introspection knows it.
///
/// The columns of one that shows a table as it is come in the table's order, which only the server knows: what `SELECT *` returns must be the same to the
/// last column, or statements that the server keeps prepared fail.
pub(super) fn create(view: &CompatView, of: &Table, version: u32) -> Vec<String> {
    let (name, table) = (qualified(&view.name), qualified(&view.table));
    let as_it_is =
        view.columns.len() == of.columns.len() && of.columns.iter().all(|c| view.columns.get(&c.name) == Some(&c.name));
    let columns: Vec<_> = view
        .columns
        .iter()
        .map(|(seen, real)| if seen == real { ident(real) } else { format!("{} AS {}", ident(real), ident(seen)) })
        .collect();
    let columns = if as_it_is { "*".to_owned() } else { columns.join(", ") };
    // Without it the view reads and writes with its owner's rights and goes round row level security.
    let options = if version >= 150_000 { " WITH (security_invoker = true)" } else { "" };
    let json = serde_json::to_string(view).unwrap_or_default();
    let mut sql = own_schema(view).map(|schema| create_schema(schema, &view.table)).unwrap_or_default();
    sql.extend([
        format!("CREATE VIEW {name}{options} AS SELECT {columns} FROM {table}"),
        grants(view, version),
        comment_on("VIEW", &name, Some(&format!("{MARK}{json}"))),
    ]);
    sql
}

/// Drops it.
pub(super) fn drop(view: &CompatView) -> Vec<String> {
    let mut sql = vec![format!("DROP VIEW {}", qualified(&view.name))];
    sql.extend(own_schema(view).iter().map(|schema| drop_schema(schema)));
    sql
}

/// The database schema that holds the views of one version and nothing else. A view beside its table is for everybody.
fn own_schema(view: &CompatView) -> Option<&str> {
    // The name of a table that has moved stands where it stood, in a schema of the user's.
    let is_own = |schema: &&str| schema.starts_with(VIEW_SCHEMA) && Some(*schema) != view.table.schema.as_deref();
    view.name.schema.as_deref().filter(is_own)
}

/// The database schema of a version's views. Who may use a table is said by the view on it: everybody may look into the
/// schema, as into `public`. Its owner may be another one than the tables', who must be able to own the views.
fn create_schema(schema: &str, table: &ObjectName) -> Vec<String> {
    let (name, table) = (ident(schema), literal(&qualified(table)));
    vec![
        format!("CREATE SCHEMA IF NOT EXISTS {name}"),
        format!("GRANT USAGE ON SCHEMA {name} TO PUBLIC"),
        block(&format!(
            "BEGIN
  EXECUTE (SELECT format('GRANT CREATE ON SCHEMA %I TO %I', {schema}, pg_catalog.pg_get_userbyid(relowner))
    FROM pg_catalog.pg_class WHERE oid = {table}::regclass);
END
",
            schema = literal(schema)
        )),
    ]
}

/// The schema goes with its last view.
fn drop_schema(schema: &str) -> String {
    let (name, text) = (ident(schema), literal(schema));
    block(&format!(
        "BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = {text}) THEN
    DROP SCHEMA {name};
  END IF;
END
"
    ))
}

pub(super) fn block(body: &str) -> String {
    format!("DO {}", dollar_quoted(body))
}

/// A new view has no grants and belongs to whoever made it. The older version needs what it had on the table.
///
/// Rights on single columns do not reach through a view that checks its caller's rights, because it reads all its columns.
/// Where there are such rights, and no row level security that asks who the caller is, the view checks its own alone.
fn grants(view: &CompatView, version: u32) -> String {
    let (name, table) = (literal(&qualified(&view.name)), literal(&qualified(&view.table)));
    let pairs: Vec<_> =
        view.columns.iter().map(|(seen, real)| format!("({}, {})", literal(seen), literal(real))).collect();
    let columns = pairs.join(", ");
    let invoker = if version >= 150_000 {
        format!(
            "
    SELECT format('ALTER VIEW %s SET (security_invoker = false)', {name})
      FROM pg_catalog.pg_class WHERE oid = {table}::regclass AND NOT relrowsecurity
        AND EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = {table}::regclass AND attacl IS NOT NULL)
    UNION ALL"
        )
    } else {
        String::new()
    };
    block(&format!(
        "DECLARE
  command text;
BEGIN
  FOR command IN{invoker}
    SELECT format('ALTER VIEW %s OWNER TO %I', {name}, pg_catalog.pg_get_userbyid(relowner))
      FROM pg_catalog.pg_class WHERE oid = {table}::regclass AND relowner <> current_user::regrole
    UNION ALL
    SELECT format('GRANT %s ON %s TO %s%s', privilege_type, {name},
             CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
             CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
      FROM pg_catalog.pg_class, pg_catalog.aclexplode(relacl)
      WHERE oid = {table}::regclass AND grantee <> relowner
        AND privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    UNION ALL
    SELECT format('GRANT %s (%I) ON %s TO %s%s', privilege_type, seen, {name},
             CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
             CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
      FROM (VALUES {columns}) AS shown (seen, real), pg_catalog.pg_attribute, pg_catalog.aclexplode(attacl)
      WHERE attrelid = {table}::regclass AND attname = real
        AND privilege_type IN ('SELECT', 'INSERT', 'UPDATE')
  LOOP
    EXECUTE command;
  END LOOP;
END
"
    ))
}
