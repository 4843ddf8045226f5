//! Database addresses: what may be shown, and the same server's other databases.

use url::Url;

/// The address without its password, for messages. What cannot be parsed is not shown at all.
pub(crate) fn without_password(address: &str) -> String {
    let Ok(mut url) = Url::parse(address) else {
        return "the given address".to_owned();
    };
    // Fails only for addresses without a host, which cannot hold a password there.
    let _ = url.set_password(None);
    let kept: Vec<(String, String)> =
        url.query_pairs().filter(|(key, _)| !key.contains("password")).map(|(k, v)| (k.into(), v.into())).collect();
    if kept.is_empty() {
        url.set_query(None);
    } else {
        url.query_pairs_mut().clear().extend_pairs(kept);
    }
    url.to_string()
}

/// The address of another database of the same server.
pub(crate) fn of_database(address: &str, database: &str) -> Option<String> {
    let mut url = Url::parse(address).ok()?;
    url.set_path(database);
    let kept: Vec<(String, String)> =
        url.query_pairs().filter(|(key, _)| key != "dbname").map(|(k, v)| (k.into(), v.into())).collect();
    if kept.is_empty() {
        url.set_query(None);
    } else {
        url.query_pairs_mut().clear().extend_pairs(kept);
    }
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for address in [
            "postgres://app:hunter2@db.example:5433/shop?sslmode=require",
            "postgres://app@db.example:5433/shop?sslmode=require&password=hunter2",
        ] {
            assert_eq!(without_password(address), "postgres://app@db.example:5433/shop?sslmode=require");
        }
        assert_eq!(without_password("postgres//x:hunter2@y"), "the given address");
        assert_eq!(without_password("postgres:///shop?host=/run&password=hunter2"), "postgres:///shop?host=%2Frun");
    }

    #[test]
    fn another_database_keeps_the_rest() {
        let other = of_database("postgres://app:pw@h:1/shop?sslmode=require&dbname=shop", "scratch");
        assert_eq!(other.as_deref(), Some("postgres://app:pw@h:1/scratch?sslmode=require"));
    }
}
