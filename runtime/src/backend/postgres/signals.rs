//! The load on a server, in one query.

use super::{session::Postgres, watch::WATCHER};
use crate::backend::{
    Backend as _, DbResult,
    signals::{Reading, Signals},
};

/// `{}` is a list of session numbers that are this process's own. A user without `pg_read_all_stats` (a part of
/// `pg_monitor`) sees that other users' sessions and the standbys are there, with NULL in place of what they do. `replay_lag` stays
/// as it was when a standby no longer answers; the age of its last answer does not. What only takes the log in (`pg_receivewal`, the second
/// connection of `pg_basebackup`) replays nothing, and is no standby.
const SIGNALS: &str = "WITH a AS (
        SELECT a.pid, a.state, a.xact_start, a.query = '<insufficient privilege>' AS hidden,
            a.datname = current_database() AS here,
            a.state_change AS changed
        FROM pg_stat_activity a
        WHERE coalesce(a.backend_type, 'client backend') = 'client backend' AND a.usesysid IS NOT NULL AND a.datname IS NOT NULL
            AND a.pid <> pg_backend_pid() AND a.pid <> ALL (CAST('{}' AS int[])) AND a.application_name IS DISTINCT FROM '{watcher}'),
    r AS (
        SELECT r.state IS NULL AS hidden, pg_wal_lsn_diff(pg_current_wal_lsn(), r.at) AS bytes,
            greatest(extract(epoch FROM coalesce(r.replay_lag, interval '0')),
                CASE WHEN r.at < pg_current_wal_lsn() THEN extract(epoch FROM clock_timestamp() - r.reply_time) END)
                AS seconds
        FROM (SELECT *, coalesce(replay_lsn, flush_lsn, write_lsn, sent_lsn) AS at FROM pg_stat_replication) r
        WHERE r.state IS DISTINCT FROM 'backup' AND NOT coalesce(r.state = 'streaming' AND r.replay_lsn IS NULL, false))
    SELECT (SELECT count(*) FROM a WHERE here AND (hidden OR state <> 'idle')),
        (SELECT count(DISTINCT l.pid) FROM pg_locks l WHERE NOT l.granted AND l.pid IN (SELECT a.pid FROM a WHERE here)),
        (SELECT count(*) FROM a WHERE here AND xact_start IS NOT NULL), (SELECT count(*) FROM a WHERE here AND hidden),
        (SELECT count(*) FROM r), (SELECT count(*) FROM r WHERE hidden),
        (SELECT coalesce(CAST(max(seconds) * 1000 AS bigint), 0) FROM r),
        (SELECT coalesce(CAST(max(bytes) AS bigint), 0) FROM r),
        CAST(pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS bigint),
        (SELECT coalesce(CAST(max(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)) AS bigint), 0)
            FROM pg_replication_slots s),
        quote_ident(current_user), (SELECT count(*) FROM a WHERE hidden OR state <> 'idle' OR changed > clock_timestamp() - interval '1 second')";

pub(super) async fn read(db: &mut Postgres, own: &[i64]) -> DbResult<Signals> {
    let own = own.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let rows = db.rows(&SIGNALS.replace("'{}'", &format!("'{{{own}}}'")).replace("{watcher}", WATCHER), &[]).await?;
    let row = rows.into_iter().next().unwrap_or_default();
    // No count and no difference of positions in the log is negative; a standby ahead of a position read before is at 0.
    let number = |at: usize| -> Option<u64> {
        row.get(at)?.as_deref()?.parse::<i64>().ok().map(|number| u64::try_from(number).unwrap_or_default())
    };
    let reading =
        |at: usize| number(at).map_or_else(|| Reading::Hidden("the server gives no number".to_owned()), Reading::Value);
    let user = row.get(10).and_then(Clone::clone).unwrap_or_default();
    let unless = |hidden: usize, what: &str, at: usize| match number(hidden) {
        Some(0) => reading(at),
        _ => Reading::Hidden(format!("{user} has no right to see {what}: GRANT pg_monitor TO {user}")),
    };
    Ok(Signals {
        busy: reading(0),
        awake: reading(11),
        lock_waits: reading(1),
        transactions: unless(3, "what other sessions do", 2),
        standbys: reading(4),
        replica_lag: unless(5, "how far the standbys are", 6),
        replica_lag_bytes: unless(5, "how far the standbys are", 7),
        wal: reading(8),
        slot_retention: reading(9),
        database_size: Reading::Nothing,
    })
}
