//! Compatibility views: a table under the name and columns that an older version knows.

use schemadiff::model::CompatView;

use super::{
    names::{ident, literal, qualified},
    table::comment_on,
};
use crate::dialect::postgres::MARK;

/// The view, with the table's owner and grants, and the mark by which introspection knows it.
pub(super) fn create(view: &CompatView, version: u32) -> Vec<String> {
    let (name, table) = (qualified(&view.name), qualified(&view.table));
    let columns: Vec<_> = view
        .columns
        .iter()
        .map(|(seen, real)| if seen == real { ident(real) } else { format!("{} AS {}", ident(real), ident(seen)) })
        .collect();
    // Without it the view reads and writes with its owner's rights and goes round row level security.
    let options = if version >= 150_000 { " WITH (security_invoker = true)" } else { "" };
    let json = serde_json::to_string(view).unwrap_or_default();
    vec![
        format!("CREATE VIEW {name}{options} AS SELECT {} FROM {table}", columns.join(", ")),
        grants(view, version),
        comment_on("VIEW", &name, Some(&format!("{MARK}{json}"))),
    ]
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
    format!(
        "DO $schemadiff$
DECLARE
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
$schemadiff$"
    )
}
