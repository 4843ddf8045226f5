//! What is said through a connection of Diesel's, or about its table.

use super::session::Postgres;
#[cfg(feature = "diesel-r2d2")]
use crate::backend::Entering;
use crate::backend::{Backend as _, DbResult};

const TABLES: &str = "
    SELECT quote_ident(n.nspname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = '__diesel_schema_migrations' AND c.relkind IN ('r', 'p')
        AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')";

/// The versions that Diesel has written down. Which of several tables is an application's depends on the `search_path` of its
/// connections, so all count.
pub(super) async fn recorded(db: &mut Postgres) -> DbResult<Vec<String>> {
    let mut recorded = Vec::new();
    let of_tenant =
        db.connected_to().tenant.as_ref().map(|t| format!(" AND n.nspname = {}", Postgres::literal(t.schema())));
    let tables = format!("{TABLES}{}", of_tenant.unwrap_or_default());
    for schema in db.rows(&tables, &[]).await?.into_iter().filter_map(|mut row| row.pop().flatten()) {
        let sql = format!("SELECT version::text FROM {schema}.__diesel_schema_migrations");
        recorded.extend(db.rows(&sql, &[]).await?.into_iter().filter_map(|mut row| row.pop().flatten()));
    }
    Ok(recorded)
}

/// Says of a session that it is the migration's own, so that it is nobody's who has to be waited for or warned of.
pub(crate) const MIGRATES: &str = "
    SELECT pg_catalog.set_config('schemadiff.application_name', pg_catalog.current_setting('application_name'), false),
        pg_catalog.set_config('application_name', 'schemadiff', false)";

/// Takes that back.
pub(crate) const HAS_MIGRATED: &str = "SELECT pg_catalog.set_config('application_name', pg_catalog.current_setting('schemadiff.application_name'), false)";

/// What stands before the answer in the message of a refusal.
#[cfg(feature = "diesel-r2d2")]
const REFUSAL: &str = "schemadiff: ";

/// What a new connection asks, in one round trip: Diesel sends a batch as it is, but has no way to read its answer. So what
/// is not a yes is an error.
///
/// Role and database may make another kind of transaction the default. A standby has none that `writes`, and says so.
#[cfg(feature = "diesel-r2d2")]
pub(crate) fn enter_sql(who: Entering<'_>, direct: bool, writes: bool) -> String {
    let (text, Entering { app, version, .. }) = (Postgres::literal, who);
    let direct = if direct { "PERFORM pg_catalog.set_config('schemadiff.direct', 'on', true);" } else { "" };
    let body = format!(
        "DECLARE answer text;
         BEGIN
            {direct}
            IF pg_catalog.pg_is_in_recovery() THEN
                answer := ({});
                IF answer OPERATOR(pg_catalog.=) 'ok' THEN RETURN; END IF;
            ELSE
                answer := schemadiff.enter({}, {});
            END IF;
            IF answer OPERATOR(pg_catalog.=) 'ok' THEN
                PERFORM pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', {},
                    nullif(pg_catalog.current_setting('search_path'), '')), false);
            ELSIF answer OPERATOR(pg_catalog.<>) 'pooled' THEN
                RAISE EXCEPTION USING MESSAGE = pg_catalog.concat({}, answer);
            END IF;
         END",
        super::leases::on_standby(who),
        text(app),
        text(version),
        super::views_of(who),
        text(REFUSAL)
    );
    let body = super::in_ledger(body, who.ledger);
    let mode = if writes { ", READ WRITE" } else { "" };
    format!("SET TRANSACTION ISOLATION LEVEL READ COMMITTED{mode}; DO {}", text(&body))
}

/// Sends a sign of life, and is an error when nothing was written.
#[cfg(feature = "diesel-r2d2")]
pub(crate) fn sign_of_life_sql(who: Entering<'_>, instance: &str) -> String {
    let body = format!(
        "BEGIN {}; IF NOT FOUND THEN RAISE EXCEPTION 'the lease has ended'; END IF; END",
        super::leases::sign_of_life(instance)
    );
    let body = super::in_ledger(body, who.ledger);
    format!("{}DO {}", super::leases::WRITES, Postgres::literal(&body))
}

/// The answer in the message of an error; none when it is another error.
#[cfg(feature = "diesel-r2d2")]
pub(crate) fn refusal(message: &str) -> Option<DbResult<crate::backend::Registered>> {
    message.strip_prefix(REFUSAL).map(super::leases::answer)
}
