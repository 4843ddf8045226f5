//! SQLite files.

use schemadiff::model::Dialect;

use super::{Owner, TestDatabase};

/// SQLite, as sqlx bundles it.
pub struct Sqlite;

impl Sqlite {
    /// An empty file in WAL mode, in a folder of its own.
    pub fn file() -> TestDatabase {
        let folder = tempfile::Builder::new().prefix("schemadiff-").tempdir().unwrap();
        let path = folder.path().join("test.sqlite").display().to_string();
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
        super::block_on(async move {
            use sqlx::{ConnectOptions as _, Connection as _};
            options.connect().await.unwrap().close().await.unwrap();
        });
        TestDatabase {
            url: format!("sqlite:{path}"),
            dialect: Dialect::Sqlite,
            name: path,
            owner: Owner::Sqlite { _folder: folder },
        }
    }
}

/// A connection with the patience that a busy disk asks for: whoever closes the file last writes its log back, and others wait
/// for that.
pub(super) async fn connect(url: &str) -> Result<sqlx::SqliteConnection, sqlx::Error> {
    use sqlx::ConnectOptions as _;
    let options: sqlx::sqlite::SqliteConnectOptions = url.parse()?;
    options.busy_timeout(std::time::Duration::from_secs(60)).connect().await
}
