//! What a session of schemadiff's own says explicitly, because a role, a database or a server may have it otherwise.
//!
//! The ledger counts on each statement seeing what was committed before it, plans on names and literals meaning what they
//! meant when the plan was proven, and backfills on seeing every row. Dates, time zone and encoding are said by the client
//! when it connects.

/// Settings and values.
const SETTINGS: &[(&str, &str)] = &[
    ("search_path", "public, pg_temp"),
    // A policy hides rows from a backfill, which would then call itself finished: an error is better.
    ("row_security", "off"),
    ("standard_conforming_strings", "on"),
    ("quote_all_identifiers", "off"),
    // Keys travel as text.
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("intervalstyle", "postgres"),
    // Short enough to notice that something is wrong, long enough for a server under load.
    ("statement_timeout", "60000"),
    ("lock_timeout", "0"),
    // A process that is paused inside a transaction must not keep its locks.
    ("idle_in_transaction_session_timeout", "30000"),
];

/// Settings that transactions state for themselves, and that only a session of one's own can have.
const SESSION_SETTINGS: &[(&str, &str)] = &[
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    // The session that keeps a lease is idle most of the time.
    ("idle_session_timeout", "0"),
    // A machine that died without a word must not keep its locks for the two hours that systems wait by default.
    ("tcp_keepalives_idle", "60"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "6"),
];

/// Ends the transactions of later servers.
const TRANSACTION_TIMEOUT: (&str, &str) = ("transaction_timeout", "0");
const HAS_TRANSACTION_TIMEOUT: u32 = 170_000;

/// Where triggers and foreign keys sleep, nothing keeps columns in step. Setting it takes a right that hardly anybody has
/// and hardly anybody needs.
pub(super) const AWAKE: &str = "SELECT pg_catalog.set_config('session_replication_role', 'origin', true) \
    WHERE pg_catalog.current_setting('session_replication_role') <> 'origin'";

fn plain(server: Option<u32>) -> impl Iterator<Item = (&'static str, &'static str)> {
    let later = server.is_some_and(|version| version >= HAS_TRANSACTION_TIMEOUT);
    SETTINGS.iter().copied().chain(later.then_some(TRANSACTION_TIMEOUT))
}

/// For one transaction: leaves nothing behind in a session that a pooler lends to somebody else next.
pub(super) fn local(server: Option<u32>) -> String {
    plain(server).map(|(name, value)| format!("SET LOCAL {name} = {value}; ")).collect()
}

/// The same before a message that is a transaction of its own.
pub(super) fn message(server: Option<u32>) -> String {
    format!("SET TRANSACTION ISOLATION LEVEL READ COMMITTED; {}", local(server))
}

fn of_session(server: Option<u32>) -> impl Iterator<Item = (&'static str, &'static str)> {
    plain(server).chain(SESSION_SETTINGS.iter().copied())
}

/// For a session of one's own.
pub(super) fn session(server: Option<u32>) -> String {
    let set = |(name, value)| match name {
        "search_path" => format!("SET {name} = {value}"),
        _ => format!("SET {name} = '{value}'"),
    };
    of_session(server).map(set).collect::<Vec<_>>().join("; ")
}

/// The same as an expression, for a statement that finds out whether the session is one's own.
pub(super) fn session_expression(server: Option<u32>) -> String {
    let set = |(name, value)| format!("pg_catalog.set_config('{name}', '{value}', false)");
    format!("pg_catalog.concat({})", of_session(server).map(set).collect::<Vec<_>>().join(", "))
}
