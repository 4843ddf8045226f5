//! What a session of schemadiff's own says explicitly, because a role, a database or a server may have it otherwise.
//!
//! The ledger counts on each statement seeing what was committed before it, plans on names and literals meaning what they
//! meant when the plan was proven, and backfills on seeing every row. Dates, time zone and encoding are said by the client
//! when it connects.

use std::borrow::Cow;

use super::{place::Place, session::Postgres};
use crate::backend::{Backend as _, random_name};

/// Where names without a schema are looked for; what a tenant has comes before it.
const PATH: &str = "public, pg_temp";

/// Settings and values.
const SETTINGS: &[(&str, &str)] = &[
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
    // A question to all rows of a table takes one core of the server, however many it has.
    ("max_parallel_workers_per_gather", "0"),
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

/// Names and values, as they are written in statements.
fn plain(place: &Place, server: Option<u32>) -> impl Iterator<Item = (&'static str, Cow<'static, str>)> {
    let later = server.is_some_and(|version| version >= HAS_TRANSACTION_TIMEOUT);
    let path = match &place.tenant {
        Some(tenant) => Cow::Owned(format!("\"{}\", {PATH}", tenant.schema())),
        None => Cow::Borrowed(PATH),
    };
    let all = SETTINGS.iter().copied().chain(later.then_some(TRANSACTION_TIMEOUT));
    std::iter::once(("search_path", path)).chain(all.map(|(name, value)| (name, Cow::Borrowed(value))))
}

/// For one transaction: leaves nothing behind in a session that a pooler lends to somebody else next.
pub(super) fn local(place: &Place, server: Option<u32>) -> String {
    plain(place, server).map(|(name, value)| format!("SET LOCAL {name} = {value}; ")).collect()
}

/// The same before a message that is a transaction of its own.
pub(super) fn message(place: &Place, server: Option<u32>) -> String {
    format!("SET TRANSACTION ISOLATION LEVEL READ COMMITTED; {}", local(place, server))
}

/// Name of schemadiff's own sessions, unless the address has another one.
const NAME: &str = "schemadiff";

/// The name with a code that no other client has, sent with a connection's first message.
pub(super) fn name_with_code() -> String {
    format!("{NAME} {}", random_name())
}

/// The code in the name, if it is one of ours.
pub(super) fn code(name: &str) -> Option<&str> {
    let code = name.strip_prefix(NAME)?.strip_prefix(' ')?;
    (code.len() == 16 && code.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(code)
}

/// Whether the session is the client's own, as an expression. The server keeps what a session was opened with as the value
/// to come back to, whatever a pooler sets in it later: this client's code only where this client opened it. The function of
/// the ledger finds that out without a code, but the server then makes its whole list of settings: of the time that a first
/// statement takes, about a quarter.
pub(super) fn own_expression(place: &Place) -> String {
    match place.options.get_application_name().filter(|name| code(name).is_some()) {
        Some(name) => format!(
            "pg_catalog.set_config('application_name', NULL, true) OPERATOR(pg_catalog.=) {}",
            Postgres::literal(name)
        ),
        None => "schemadiff.session_is_own()".to_owned(),
    }
}

fn of_session(place: &Place, server: Option<u32>) -> impl Iterator<Item = (&'static str, Cow<'static, str>)> {
    // Who groups sessions by their names shall find one, not one for each process.
    let coded = place.options.get_application_name().is_some_and(|name| code(name).is_some());
    let more = SESSION_SETTINGS.iter().copied().chain(coded.then_some(("application_name", NAME)));
    plain(place, server).chain(more.map(|(name, value)| (name, Cow::Borrowed(value))))
}

/// For a session of one's own.
pub(super) fn session(place: &Place, server: Option<u32>) -> String {
    let set = |(name, value): (&str, Cow<'_, str>)| match name {
        "search_path" => format!("SET {name} = {value}"),
        _ => format!("SET {name} = '{value}'"),
    };
    of_session(place, server).map(set).collect::<Vec<_>>().join("; ")
}

/// The same as an expression, for a statement that finds out whether the session is one's own.
pub(super) fn session_expression(place: &Place, server: Option<u32>) -> String {
    let set = |(name, value): (&str, Cow<'_, str>)| format!("pg_catalog.set_config('{name}', '{value}', false)");
    format!("pg_catalog.concat({})", of_session(place, server).map(set).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_code_of_ours_says_whose_a_session_is() {
        let name = name_with_code();
        assert!(code(&name).is_some() && name != name_with_code());
        for other in ["schemadiff", "schemadiff watcher", "schemadiff-0123456789abcdef", "schemadiff 0123456789abcdex"]
        {
            assert_eq!(code(other), None, "{other}");
        }
    }
}
