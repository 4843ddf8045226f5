//! What a schema can be read from.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::address::redact;

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
        assert!(!format!("{:?}", Side::Database("postgres://a:hunter2@b/c".into())).contains("hunter2"));
    }
}
