//! The demo's own database: a file, or a database beside the one that is named.

use schemadiff::model::Dialect;
use tempfile::TempDir;

use crate::{Error, Kind, Result, dialect::Connection};

/// An empty database that goes away with the demo.
pub struct DemoDatabase {
    /// Its address.
    pub url: String,
    /// For people.
    pub label: String,
    owner: Owner,
}

enum Owner {
    File { _folder: TempDir },
    Server { admin: Box<Connection>, name: String },
}

impl DemoDatabase {
    /// A temporary SQLite file, or a new database on the server of the address.
    ///
    /// # Errors
    /// When there is no server, or no right to make a database.
    pub async fn create(server: Option<&str>) -> Result<Self> {
        match server {
            Some(url) if crate::dialect::dialect_of(url)? == Dialect::Postgres => Self::on_server(url).await,
            Some(url) if !url.starts_with("sqlite:") => Connection::open(url).await.and_then(|_| Self::file()),
            _ => Self::file(),
        }
    }

    fn file() -> Result<Self> {
        let failed = |e: std::io::Error| {
            Error::new(Kind::Apply, "SD0743", "no temporary directory can be made").cause(e).help("set TMPDIR")
        };
        let folder = tempfile::Builder::new().prefix("schemadiff-demo-").tempdir().map_err(failed)?;
        let path = folder.path().join("shop.db");
        // An empty file is an empty database.
        std::fs::File::create(&path).map_err(failed)?;
        let url = format!("sqlite:{}", path.display());
        Ok(Self { url, label: "a temporary SQLite file".to_owned(), owner: Owner::File { _folder: folder } })
    }

    async fn on_server(url: &str) -> Result<Self> {
        let mut admin = Connection::open(url).await?;
        let unique = jiff::Timestamp::now().as_millisecond();
        let name = format!("schemadiff_demo_{unique}_{}", std::process::id());
        let address = crate::address::of_database(url, &name)
            .ok_or_else(|| Error::new(Kind::Usage, "SD0204", "the address of the database is no URL"))?;
        admin.run(&[format!("CREATE DATABASE {name}")]).await.map_err(|e| {
            Error::new(Kind::Database, "SD0520", "the demo cannot make a database of its own on this server")
                .cause(e.cause.unwrap_or(e.effect))
                .help("use a user with CREATEDB, or leave --database-url away: the demo then runs on SQLite")
        })?;
        let label = format!("the new database {name} ({})", admin.server().label);
        Ok(Self { url: address, label, owner: Owner::Server { admin: Box::new(admin), name } })
    }

    /// Takes it away.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn remove(self) -> Result<()> {
        match self.owner {
            Owner::File { .. } => Ok(()),
            // FORCE: a shop process that was killed may not have been noticed by the server yet.
            Owner::Server { mut admin, name } => admin.run(&[format!("DROP DATABASE {name} WITH (FORCE)")]).await,
        }
    }
}
