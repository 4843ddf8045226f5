//! What a schema can be read from.

use std::{fmt, path::PathBuf, str::FromStr};

/// One side of a diff, as the user names it.
#[derive(Clone, PartialEq, Eq)]
pub enum Side {
    /// The structs of the selected package.
    Crate,
    /// A built binary.
    Artifact(PathBuf),
    /// A live database.
    Database(String),
    /// A snapshot file.
    File(PathBuf),
    /// The lock file of the migrations directory.
    Lock,
    /// A schema with nothing in it.
    Empty,
}

impl Side {
    /// Whether it is code: what it does not mention is not there to be dropped, it may belong to somebody else.
    pub const fn is_code(&self) -> bool {
        matches!(self, Self::Crate | Self::Artifact(_))
    }
}

impl FromStr for Side {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let after = |rest: &str| {
            if rest.is_empty() { Err(format!("`{text}` names no path")) } else { Ok(PathBuf::from(rest)) }
        };
        match text {
            "crate" => Ok(Self::Crate),
            "lock" => Ok(Self::Lock),
            "empty" => Ok(Self::Empty),
            _ => match text.split_once(':') {
                Some(("artifact", rest)) => after(rest).map(Self::Artifact),
                Some(("file", rest)) => after(rest).map(Self::File),
                Some(("postgres" | "postgresql" | "sqlite" | "mysql" | "mariadb", _)) => {
                    Ok(Self::Database(text.to_owned()))
                }
                _ => Err("a side is `crate`, `artifact:PATH`, `postgres://…`, `sqlite:PATH`, `file:PATH`, `lock` or \
                          `empty`"
                    .to_owned()),
            },
        }
    }
}

impl fmt::Display for Side {
    /// For people: a password in an address is never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crate => f.write_str("crate"),
            Self::Artifact(path) => write!(f, "artifact:{}", path.display()),
            Self::Database(url) => f.write_str(&redact(url)),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Lock => f.write_str("lock"),
            Self::Empty => f.write_str("empty"),
        }
    }
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Side({self})")
    }
}

/// An address without its password, also where it stands in a query parameter.
pub fn redact(address: &str) -> String {
    let Ok(mut url) = url::Url::parse(address) else {
        // Nothing of what cannot be taken apart is safe to show, apart from its scheme.
        return match address.split_once(':') {
            Some((scheme, _)) if address.contains('@') => format!("{scheme}:…"),
            _ => address.to_owned(),
        };
    };
    if url.cannot_be_a_base() || (url.password().is_none() && url.query().is_none()) {
        return address.to_owned();
    }
    if url.password().is_some() {
        // Fails only for addresses without a host, and those hold no password.
        let _ = url.set_password(None);
    }
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(key, _)| !key.to_ascii_lowercase().contains("password"))
        .map(|(k, v)| (k.into_owned(), v.into_owned()))
        .collect();
    if kept.is_empty() {
        url.set_query(None);
    } else {
        url.query_pairs_mut().clear().extend_pairs(kept);
    }
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood() {
        assert_eq!("crate".parse(), Ok(Side::Crate));
        assert_eq!("lock".parse(), Ok(Side::Lock));
        assert_eq!("empty".parse(), Ok(Side::Empty));
        assert_eq!("artifact:target/debug/app".parse(), Ok(Side::Artifact("target/debug/app".into())));
        assert_eq!("file:a:b.toml".parse(), Ok(Side::File("a:b.toml".into())));
        assert_eq!("sqlite:app.db".parse(), Ok(Side::Database("sqlite:app.db".into())));
        for bad in ["", "crates", "file:", "artifact:", "http://x"] {
            assert!(bad.parse::<Side>().is_err(), "{bad}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        for (given, shown) in [
            ("postgres://app:hunter2@db/shop", "postgres://app@db/shop"),
            ("postgres://app@db/shop?password=hunter2&sslmode=require", "postgres://app@db/shop?sslmode=require"),
            ("postgres://app:hunter2@db/shop?password=hunter2", "postgres://app@db/shop"),
            ("postgres://app:hun ter2@[bad/shop", "postgres:…"),
            ("sqlite:app.db", "sqlite:app.db"),
            ("sqlite::memory:", "sqlite::memory:"),
        ] {
            assert_eq!(redact(given), shown);
        }
        assert!(!format!("{:?}", Side::Database("postgres://a:hunter2@b/c".into())).contains("hunter2"));
    }
}
