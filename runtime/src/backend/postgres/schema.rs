//! The ledger's tables and functions.

use super::{GATE_KEY, leases::SERVER, session::Postgres};
use crate::{
    backend::{Backend as _, DbError, ErrorClass, LEDGER_FORMAT, Timeouts, digest},
    error::{Error, Result},
};

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS schemadiff.meta (
        one int PRIMARY KEY CHECK (one = 1), format bigint NOT NULL, epoch bigint NOT NULL, digest text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp())",
    "CREATE TABLE IF NOT EXISTS schemadiff.migration (
        id text PRIMARY KEY, parent text, app text NOT NULL, ordinal int NOT NULL, checksum text NOT NULL,
        plan text NOT NULL, before_fingerprint text NOT NULL, after_fingerprint text NOT NULL,
        state text NOT NULL CHECK (state IN ('running', 'done', 'aborted')),
        started_at timestamptz NOT NULL, finished_at timestamptz, applied_by text NOT NULL)",
    "CREATE TABLE IF NOT EXISTS schemadiff.step (
        migration text NOT NULL REFERENCES schemadiff.migration, id text NOT NULL, position int NOT NULL,
        phase text NOT NULL, state text NOT NULL CHECK (state IN ('pending', 'running', 'done', 'undone')),
        cursor text, rows_done bigint NOT NULL DEFAULT 0, started_at timestamptz, finished_at timestamptz,
        attempts int NOT NULL DEFAULT 0, last_error text, PRIMARY KEY (migration, id))",
    "CREATE TABLE IF NOT EXISTS schemadiff.lease (
        instance text PRIMARY KEY, app text NOT NULL, version text NOT NULL, ordinal bigint NOT NULL,
        fingerprint text NOT NULL, schema json NOT NULL, process json NOT NULL, revision text,
        started_at timestamptz NOT NULL, heartbeat_at timestamptz NOT NULL, ended_at timestamptz,
        evidence text NOT NULL, grace_ms bigint NOT NULL, session_pid int, session_start timestamptz,
        server text)",
    "CREATE TABLE IF NOT EXISTS schemadiff.retired (
        app text NOT NULL, version text NOT NULL, migration text NOT NULL, step text NOT NULL,
        way text NOT NULL CHECK (way IN ('forward', 'back')), reason text NOT NULL,
        at timestamptz NOT NULL, PRIMARY KEY (app, version))",
    "CREATE TABLE IF NOT EXISTS schemadiff.retired_instance (
        instance text PRIMARY KEY, app text NOT NULL, version text NOT NULL, reason text NOT NULL, by_whom text NOT NULL,
        at timestamptz NOT NULL)",
    "CREATE TABLE IF NOT EXISTS schemadiff.worker (
        one int PRIMARY KEY CHECK (one = 1), token text NOT NULL, app text NOT NULL, process json NOT NULL,
        evidence text NOT NULL, since timestamptz NOT NULL, heartbeat_at timestamptz NOT NULL)",
    "CREATE TABLE IF NOT EXISTS schemadiff.pace (
        one int PRIMARY KEY CHECK (one = 1), paused int NOT NULL DEFAULT 0, speed double precision, asked_by text,
        asked_at timestamptz, reason text, reason_at timestamptz)",
    "CREATE TABLE IF NOT EXISTS schemadiff.aside (
        migration text NOT NULL, step text NOT NULL, key text NOT NULL, reason text NOT NULL, at timestamptz NOT NULL,
        PRIMARY KEY (migration, step, key))",
    "CREATE TABLE IF NOT EXISTS schemadiff.kept (
        migration text NOT NULL, step text NOT NULL, position int NOT NULL, what text NOT NULL, comes_back text NOT NULL,
        purge text NOT NULL, since_ms bigint NOT NULL, until_ms bigint NOT NULL, PRIMARY KEY (migration, step, position))",
    // One advisory key for each version of each application; equal on every server of the major version.
    "CREATE OR REPLACE FUNCTION schemadiff.version_key(app text, version text) RETURNS bigint
     LANGUAGE sql IMMUTABLE AS $$
        SELECT pg_catalog.hashtextextended('schemadiff ' || pg_catalog.length(app) || ' ' || app || ' ' || version, 7)
     $$",
    // Whether this client has the session for itself. What it sent when it connected stands in the session as the client's
    // setting; a pooler gives its clients sessions that it opened itself, and sets these where they differ. (It can be told to open them with
    // such settings; nobody has been seen to do so with all three of them, see docs/lockstep.md.) A client that
    // sends nothing of the kind says for one transaction what it has found out otherwise.
    "CREATE OR REPLACE FUNCTION schemadiff.session_is_own() RETURNS boolean
     LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
        SELECT current_setting('schemadiff.direct', true) IS NOT DISTINCT FROM 'on' OR 3 = (
            SELECT count(*) FROM pg_show_all_settings() s
            WHERE s.name IN ('DateStyle', 'client_encoding', 'TimeZone') AND s.source = 'client')
     $$",
    // What a connection asks when it is opened. The lock comes first and the look at `retired` after it, each with a
    // snapshot of its own: the gate holds the key exclusively while it retires a version. A lock that a pooler would pass on
    // from client to client proves nothing: then the heartbeats of the version's instances have to.
    "CREATE OR REPLACE FUNCTION schemadiff.enter(app text, version text) RETURNS text
     LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
     DECLARE found_reason text; own boolean;
     BEGIN
        IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
            RAISE EXCEPTION 'schemadiff.enter needs a transaction of isolation level read committed'
                USING ERRCODE = 'active_sql_transaction',
                HINT = 'SET TRANSACTION ISOLATION LEVEL READ COMMITTED before it, in the same transaction.';
        END IF;
        own := schemadiff.session_is_own();
        IF own THEN
            IF NOT pg_try_advisory_lock_shared(schemadiff.version_key(enter.app, enter.version)) THEN RETURN 'busy'; END IF;
        ELSIF NOT pg_try_advisory_xact_lock_shared(schemadiff.version_key(enter.app, enter.version)) THEN RETURN 'busy';
        END IF;
        SELECT json_build_object('app', r.app, 'version', r.version, 'migration', r.migration, 'step', r.step,
            'way', r.way, 'reason', r.reason, 'at_ms', (extract(epoch FROM r.at) * 1000)::bigint)::text INTO found_reason
        FROM schemadiff.retired r WHERE r.app = enter.app AND r.version = enter.version;
        IF found_reason IS NULL AND own THEN RETURN 'ok'; END IF;
        IF found_reason IS NULL THEN
            UPDATE schemadiff.lease l SET evidence = 'heartbeat'
            WHERE l.app = enter.app AND l.version = enter.version AND l.evidence IN ('lock', 'standby')
                AND l.ended_at IS NULL;
            RETURN 'pooled';
        END IF;
        IF own THEN PERFORM pg_advisory_unlock_shared(schemadiff.version_key(enter.app, enter.version)); END IF;
        RETURN found_reason;
     END $$",
];

/// Registration: one round trip, atomic against the gate.
fn register_function(gate: i64) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION schemadiff.register(
            epoch bigint, instance text, app text, version text, ordinal bigint, fingerprint text, schema json,
            process json, revision text, evidence text, grace_ms bigint) RETURNS text
         LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
         DECLARE entered text;
         BEGIN
            IF NOT pg_try_advisory_xact_lock_shared({gate}) THEN RETURN 'busy'; END IF;
            IF register.epoch IS DISTINCT FROM (SELECT m.epoch FROM schemadiff.meta m) THEN RETURN 'changed'; END IF;
            entered := schemadiff.enter(register.app, register.version);
            IF entered NOT IN ('ok', 'pooled') THEN RETURN entered; END IF;
            INSERT INTO schemadiff.lease AS l (instance, app, version, ordinal, fingerprint, schema, process, revision,
                started_at, heartbeat_at, evidence, grace_ms, session_pid, session_start, server)
            VALUES (register.instance, register.app, register.version, register.ordinal, register.fingerprint,
                register.schema, register.process, register.revision, clock_timestamp(), clock_timestamp(),
                CASE entered WHEN 'pooled' THEN 'heartbeat' ELSE register.evidence END, register.grace_ms,
                pg_backend_pid(), (SELECT a.backend_start FROM pg_stat_get_activity(pg_backend_pid()) a), {SERVER})
            ON CONFLICT ON CONSTRAINT lease_pkey DO UPDATE SET heartbeat_at = excluded.heartbeat_at, ended_at = NULL,
                session_pid = excluded.session_pid, session_start = excluded.session_start, server = excluded.server,
                evidence = CASE excluded.evidence WHEN 'heartbeat' THEN 'heartbeat' ELSE l.evidence END;
            RETURN entered;
         END $$"
    )
}

/// Creates what is missing. Everybody who finds no ledger comes here; the key makes them come one by one.
pub(super) async fn create(db: &mut Postgres) -> Result<()> {
    loop {
        match create_once(db).await {
            Ok(true) => return Ok(()),
            Ok(false) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            Err(e) => return Err(explain(db, e).await),
        }
    }
}

async fn create_once(db: &mut Postgres) -> Result<bool, DbError> {
    db.begin(Timeouts { lock: std::time::Duration::from_secs(10), ..Timeouts::LEDGER }).await?;
    let done = create_within(db).await;
    match done {
        Ok(true) => db.commit().await.map(|()| true),
        other => {
            db.rollback().await;
            other
        }
    }
}

async fn create_within(db: &mut Postgres) -> Result<bool, DbError> {
    if !db.is_true(&format!("SELECT pg_try_advisory_xact_lock({})", db.connected_to().key(super::CREATE_KEY))).await? {
        return Ok(false);
    }
    // IF NOT EXISTS asks for the right on the database also where somebody has made the schema for this user.
    let schema = format!("\"{}\"", db.connected_to().ledger());
    if !db.is_true(&format!("SELECT to_regnamespace({}) IS NOT NULL", Postgres::literal(&schema))).await? {
        db.execute(&format!("CREATE SCHEMA {schema}")).await?;
    }
    for sql in TABLES {
        db.execute(sql).await?;
    }
    db.execute(&register_function(db.connected_to().key(GATE_KEY))).await?;
    let row = format!(
        "INSERT INTO schemadiff.meta (one, format, epoch, digest) VALUES (1, {LEDGER_FORMAT}, 0, {}) \
         ON CONFLICT (one) DO NOTHING",
        Postgres::literal(&digest(std::iter::empty()))
    );
    db.execute(&row).await?;
    Ok(true)
}

async fn explain(db: &mut Postgres, error: DbError) -> Error {
    let doing = "create the ledger";
    if error.class == ErrorClass::ReadOnly {
        return Error::ReadOnly { doing: doing.to_owned(), cause: error.message };
    }
    if error.class != ErrorClass::Forbidden {
        return Error::Database { doing: doing.to_owned(), code: error.code, cause: error.message };
    }
    let ledger = db.connected_to().ledger();
    let ledger = if ledger.contains(' ') { format!("\"{ledger}\"") } else { ledger };
    let sql = "SELECT quote_ident(current_database()), quote_ident(current_user)";
    let names = db.rows(sql, &[]).await.ok().and_then(|rows| rows.into_iter().next()).unwrap_or_default();
    let mut names = names.into_iter().flatten();
    let (database, user) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
    Error::Forbidden {
        action: format!("{doing} (schema {ledger})"),
        cause: error.message,
        grant: format!(
            "GRANT CREATE ON DATABASE {database} TO {user};\n\
             or let its owner do it once: CREATE SCHEMA {ledger} AUTHORIZATION {user};"
        ),
    }
}
