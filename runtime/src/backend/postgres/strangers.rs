//! Who uses the database without a lease.

use super::session::Postgres;
use crate::{
    backend::{Backend as _, DbResult, ErrorClass, TextRow},
    waiting::{Blocker, StrangeStatements, Strangers},
};

/// Sessions of clients that hold the key of no version and are not schemadiff's own. A session that nobody uses at the moment
/// counts: it will be used again. Without `pg_read_all_stats` the server says of other users' sessions little more than that they are there.
const SESSIONS: &str = "
    SELECT a.pid::text, coalesce(a.usename, '')::text, coalesce(a.application_name, '')::text, coalesce(a.state, '')::text,
        (extract(epoch FROM clock_timestamp() - a.xact_start) * 1000)::bigint::text, left(regexp_replace(coalesce(a.query, ''), 'password.*', 'password ...', 'i'), 200)::text
    FROM pg_stat_activity a
    WHERE a.datname = current_database() AND coalesce(a.backend_type, 'client backend') = 'client backend'
        AND a.usesysid IS NOT NULL AND a.pid <> pg_backend_pid()
        AND split_part(a.application_name, ' ', 1) <> 'schemadiff'
        AND NOT EXISTS (
            SELECT 1 FROM pg_locks l
            WHERE l.pid = a.pid AND l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
                AND ({keys}))
    ORDER BY a.pid";

/// The keys that count, for the `{keys}` of [`SESSIONS`]: those of the leases.
const OF_LEASES: &str = "((CAST(l.classid AS bigint) << 32) | CAST(l.objid AS bigint)) IN (SELECT schemadiff.version_key(e.app, e.version) FROM schemadiff.lease e)";

/// Where the extension `pg_stat_statements` is, if it is there, counts (which it does only where the server was started with its library)
/// and this user may read it.
const EXTENSION: &str = "
    SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'pg_stat_statements' AND has_schema_privilege(n.oid, 'USAGE')
        AND current_setting('pg_stat_statements.max', true) IS NOT NULL";

pub(super) async fn find(db: &mut Postgres, tables: &[String]) -> DbResult<Strangers> {
    // Beside a tenant are the others: whoever holds a key of the kind is taken for a service of theirs.
    let keys = if db.connected_to().tenant.is_some() { "l.mode = 'ShareLock'" } else { OF_LEASES };
    let sessions = db.rows(&SESSIONS.replace("{keys}", keys), &[]).await?.into_iter().filter_map(session).collect();
    // They say who else might be there; nothing hangs on them.
    let statements = match statements(db, tables).await {
        Err(error) if error.class != ErrorClass::Connection => {
            tracing::debug!(target: "schemadiff", %error, "the statements of others could not be looked at");
            Vec::new()
        }
        found => found?,
    };
    Ok(Strangers { sessions, statements })
}

fn session(row: TextRow) -> Option<Blocker> {
    let mut cells = row.into_iter();
    let mut text = || cells.next().flatten();
    Some(Blocker {
        pid: text()?.parse().ok()?,
        user: text()?,
        application: text()?,
        state: text()?,
        transaction_ms: text().and_then(|ms| ms.parse().ok()),
        query: text().unwrap_or_default(),
    })
}

/// Statements on these tables by users who have no lease at this moment, since the extension began to count.
async fn statements(db: &mut Postgres, tables: &[String]) -> DbResult<Vec<StrangeStatements>> {
    let Some(schema) = db.rows(EXTENSION, &[]).await?.into_iter().next().and_then(|mut row| row.pop().flatten()) else {
        return Ok(Vec::new());
    };
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let words: Vec<_> = tables.iter().map(|table| Postgres::literal(table)).collect();
    let sql = format!(
        "SELECT r.rolname::text, sum(s.calls)::bigint::text, left(max(regexp_replace(s.query, 'password.*', 'password ...', 'i')), 200)
         FROM {schema}.pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid
         WHERE s.dbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
            AND EXISTS (SELECT 1 FROM unnest(ARRAY[{}]) t WHERE strpos(lower(s.query), lower(t)) > 0)
            AND s.query !~* '^\\s*(create|alter|drop|comment|grant|revoke)\\s'
            AND r.rolname <> current_user
            AND r.rolname NOT IN (
                SELECT a.usename FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid
                WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted AND a.usename IS NOT NULL
                    AND ((CAST(l.classid AS bigint) << 32) | CAST(l.objid AS bigint))
                        IN (SELECT schemadiff.version_key(e.app, e.version) FROM schemadiff.lease e))
         GROUP BY r.rolname ORDER BY r.rolname",
        words.join(", ")
    );
    let rows = db.rows(&sql, &[]).await?;
    let statement = |row: TextRow| {
        let mut cells = row.into_iter().flatten();
        Some(StrangeStatements { user: cells.next()?, calls: cells.next()?.parse().ok()?, example: cells.next()? })
    };
    Ok(rows.into_iter().filter_map(statement).collect())
}
