//! Database addresses: what may be shown, the same server's other databases, and whether two are one place.

use url::Url;

/// The address without its password, also where it stands in a query parameter: for messages, logs and documents.
///
/// A password with `/`, `?` or `#` that is not percent-encoded ends the host for the rules of URLs, and stands in the
/// path, the query or the fragment: an address with an `@` there is not shown beyond its scheme.
#[must_use]
pub fn redact(address: &str) -> String {
    let Ok(mut url) = Url::parse(address) else {
        return unread(address);
    };
    if url.scheme() == "sqlite" {
        return address.to_owned();
    }
    if url.cannot_be_a_base() {
        return unread(address);
    }
    let astray = |(key, value): &(String, String)| key.contains('@') || (value.contains('@') && !is_named(key));
    let is_cut = url.path().contains('@') || url.fragment().is_some_and(|fragment| fragment.contains('@'));
    if is_cut || pairs(&url).iter().any(astray) {
        return format!("{}:…", url.scheme());
    }
    if url.password().is_none() && url.query().is_none() {
        return address.to_owned();
    }
    if url.password().is_some() {
        // Fails only for addresses without a host, and those hold no password.
        let _ = url.set_password(None);
    }
    let kept = pairs(&url).into_iter().filter(|(key, _)| !key.to_ascii_lowercase().contains("password")).collect();
    set_pairs(&mut url, kept);
    url.to_string()
}

/// Nothing of what cannot be taken apart is safe to show, apart from its scheme.
fn unread(address: &str) -> String {
    match address.split_once(':') {
        _ if !address.contains(['@', '?']) => address.to_owned(),
        Some((scheme, _)) => format!("{scheme}:…"),
        None => "…".to_owned(),
    }
}

/// Parameters in whose values an `@` is no secret (`user=app@tenant`), or that are left out anyway.
fn is_named(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.contains("password") || ["user", "application_name", "options", "host", "dbname"].contains(&key.as_str())
}

fn pairs(url: &Url) -> Vec<(String, String)> {
    url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect()
}

fn set_pairs(url: &mut Url, kept: Vec<(String, String)>) {
    if kept.is_empty() {
        url.set_query(None);
    } else {
        url.query_pairs_mut().clear().extend_pairs(kept);
    }
}

/// The address of another database of the same server. A `dbname` in the query would win over the path.
#[must_use]
pub fn of_database(address: &str, database: &str) -> Option<String> {
    let mut url = Url::parse(address).ok()?;
    url.set_path(database);
    let kept = pairs(&url).into_iter().filter(|(key, _)| key != "dbname").collect();
    set_pairs(&mut url, kept);
    Some(url.into())
}

/// What tells databases apart: not who connects, nor how.
#[must_use]
pub fn place(address: &str) -> String {
    let Ok(url) = Url::parse(address) else { return address.to_owned() };
    if url.cannot_be_a_base() || url.scheme() == "sqlite" {
        let bare = address.split('?').next().unwrap_or(address);
        // One file by two paths is one file, if it is there.
        let path = bare.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path));
        let file = path.and_then(|path| std::fs::canonicalize(path).ok());
        return file.map_or_else(|| bare.to_owned(), |file| format!("sqlite:{}", file.display()));
    }
    let given = |wanted: &str| pairs(&url).into_iter().rfind(|(key, _)| key == wanted).map(|(_, value)| value);
    let host = given("host").or_else(|| url.host_str().map(str::to_owned)).unwrap_or_default();
    let host = if ["127.0.0.1", "[::1]", "::1", ""].contains(&host.as_str()) { "localhost".to_owned() } else { host };
    let port = given("port").or_else(|| url.port().map(|port| port.to_string())).unwrap_or_else(|| "5432".to_owned());
    let database = given("dbname").unwrap_or_else(|| url.path().trim_start_matches('/').to_owned());
    // A schema that is treated as a database of its own.
    let schema = given("schema").filter(|schema| schema != "public").map(|schema| format!("?schema={schema}"));
    format!("{host}:{port}/{database}{}", schema.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for (given, shown) in [
            ("postgres://app:hunter2@db/shop", "postgres://app@db/shop"),
            ("postgres://app:hunter2@db.x:5433/shop?sslmode=require", "postgres://app@db.x:5433/shop?sslmode=require"),
            ("postgres://app@db/shop?password=hunter2&sslmode=require", "postgres://app@db/shop?sslmode=require"),
            ("postgres://app:hunter2@db/shop?password=hunter2", "postgres://app@db/shop"),
            ("postgres:///shop?host=/run&password=hunter2", "postgres:///shop?host=%2Frun"),
            ("postgres:///shop?user=a@b", "postgres:///shop?user=a%40b"),
            ("postgres://app:hun ter2@[bad/shop", "postgres:…"),
            // A password that would have had to be encoded.
            ("postgres://app:/hunter2@db/shop", "postgres:…"),
            ("postgres://app:12/hunter2@db/shop", "postgres:…"),
            ("postgres://app:12#hunter2@db/shop", "postgres:…"),
            ("postgres://app:12?hunter2@db/shop", "postgres:…"),
            ("postgres://app:12?a=hunter2@db/shop", "postgres:…"),
            ("postgres://db:port/shop?password=hunter2", "postgres:…"),
            ("postgres://[bad/shop?password=hunter2", "postgres:…"),
            ("postgres:app:hunter2@db/shop", "postgres:…"),
            ("app:hunter2@db/shop", "app:…"),
            ("hunter2@db/shop", "…"),
            ("crate", "crate"),
            ("sqlite:app.db", "sqlite:app.db"),
            ("sqlite:///srv/a@b.db", "sqlite:///srv/a@b.db"),
            ("sqlite::memory:", "sqlite::memory:"),
        ] {
            assert_eq!(redact(given), shown);
        }
    }

    #[test]
    fn another_database_keeps_the_rest() {
        let other = of_database("postgres://app:pw@h:1/shop?sslmode=require&dbname=shop", "scratch");
        assert_eq!(other.as_deref(), Some("postgres://app:pw@h:1/scratch?sslmode=require"));
    }

    #[test]
    fn a_place_is_a_host_a_port_and_a_database() {
        for (one, other, same) in [
            ("postgres://a:x@h/shop", "postgresql://b@h:5432/shop?sslmode=require", true),
            ("postgres://h/shop", "postgres://h/other", false),
            ("postgres://h/?dbname=a", "postgres://h/?dbname=b", false),
            ("postgres:///x?host=/run&dbname=a", "postgres:///a?host=/run", true),
            ("postgres://h/a?schema=one", "postgres://h/a?schema=two", false),
            ("postgres://h/a?schema=one", "postgres://h/a", false),
            ("postgres://h/a?schema=public", "postgres://h/a", true),
            ("sqlite:a.db?mode=rw", "sqlite:a.db", true),
            ("sqlite:a.db", "sqlite:b.db", false),
        ] {
            assert_eq!(place(one) == place(other), same, "{one} {other}");
        }
    }
}
