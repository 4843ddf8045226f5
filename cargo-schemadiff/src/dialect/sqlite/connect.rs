//! Connecting to SQLite.

use std::{
    path::Path,
    str::FromStr as _,
    sync::atomic::{AtomicU64, Ordering},
};

use schemadiff::model::Dialect;
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Row as _, SqliteConnection, TypeInfo as _,
    Value as _,
    sqlite::{SqliteConnectOptions, SqliteRow},
};

use crate::{
    Error, Kind, Result,
    dialect::{Connection, Scratch, ServerInfo},
};

/// The oldest version that is spoken to: DROP COLUMN, RETURNING, materialized CTEs, databases in memory with a name.
const OLDEST: u32 = 3_036_000;

/// A row as texts.
pub(super) type TextRow = Vec<Option<String>>;

/// A connection.
pub struct Client {
    connection: SqliteConnection,
    server: ServerInfo,
    /// The file's name, for messages.
    file: String,
}

impl Client {
    /// The server.
    pub fn server(&self) -> &ServerInfo {
        &self.server
    }

    /// See [`crate::dialect::Connection::run`].
    ///
    /// # Errors
    /// When the server fails.
    pub async fn run(&mut self, statements: &[String]) -> Result<()> {
        for statement in statements {
            sqlx::raw_sql(AssertSqlSafe(statement.clone()))
                .execute(&mut self.connection)
                .await
                .map_err(|e| failed(&e, statement, &self.file))?;
        }
        Ok(())
    }

    /// See [`crate::dialect::Connection::query_row`].
    ///
    /// # Errors
    /// When the server fails.
    pub async fn query_row(&mut self, sql: &str, params: &[Option<String>]) -> Result<Option<Vec<Option<String>>>> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// All rows as texts.
    ///
    /// # Errors
    /// When the server fails.
    pub(super) async fn query(&mut self, sql: &str, params: &[Option<String>]) -> Result<Vec<TextRow>> {
        let mut query = sqlx::query(AssertSqlSafe(sql.to_owned())).persistent(false);
        for param in params {
            query = query.bind(param.clone());
        }
        let rows = query.fetch_all(&mut self.connection).await.map_err(|e| failed(&e, sql, &self.file))?;
        rows.iter().map(|row| texts(row).map_err(|e| failed(&e, sql, &self.file))).collect()
    }
}

/// The values of a row as SQLite would cast them to text; blobs as hexadecimal digits.
fn texts(row: &SqliteRow) -> Result<TextRow, sqlx::Error> {
    let text = |at: usize| -> Result<Option<String>, sqlx::Error> {
        let value = row.try_get_raw(at)?.try_to_owned().map_err(|e| sqlx::Error::Decode(e.into()))?;
        if value.is_null() {
            return Ok(None);
        }
        let kind = value.type_info().name().to_owned();
        Ok(Some(match kind.as_str() {
            "INTEGER" => value.try_decode_unchecked::<i64>()?.to_string(),
            "REAL" => format!("{:?}", value.try_decode_unchecked::<f64>()?),
            "BLOB" => value.try_decode_unchecked::<Vec<u8>>()?.iter().map(|byte| format!("{byte:02X}")).collect(),
            _ => value.try_decode_unchecked::<String>()?,
        }))
    };
    row.columns().iter().map(|column| text(column.ordinal())).collect()
}

/// Connects. The file must be there: a mistyped path must not become an empty database.
///
/// # Errors
/// When there is no connection.
pub async fn open(url: &str) -> Result<Client> {
    let options = SqliteConnectOptions::from_str(url).map_err(|e| {
        Error::new(Kind::Usage, "SD0240", format!("`sqlite:{}` is no address of an SQLite database", file_name(url)))
            .cause(e)
            .help("write sqlite:path/to/file, sqlite:///absolute/path or sqlite::memory:")
    })?;
    let in_memory = url.contains(":memory:") || url.contains("mode=memory");
    if !in_memory && !url.contains("mode=rwc") {
        check_file(options.get_filename())?;
    }
    connect(options, if in_memory { ":memory:".to_owned() } else { file_name(url) }).await
}

fn file_name(url: &str) -> String {
    let rest = url.strip_prefix("sqlite:").unwrap_or(url);
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    rest.split('?').next().unwrap_or(rest).to_owned()
}

/// Makes the file of a new database; true when it was not there. Its directory must be, or the path is mistyped.
///
/// # Errors
/// When it cannot be made.
pub fn create_file(url: &str) -> Result<bool> {
    let Ok(options) = SqliteConnectOptions::from_str(url) else { return Ok(false) };
    let in_memory = url.contains(":memory:") || url.contains("mode=memory");
    if in_memory || url.contains("mode=ro") && !url.contains("mode=rw") || url.contains("immutable") {
        return Ok(false);
    }
    let path = options.get_filename();
    // An empty file is an empty database.
    match std::fs::File::create_new(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(Error::new(
            Kind::Database,
            "SD0549",
            format!("cannot create the SQLite database {}", path.display()),
        )
        .cause(e)
        .help("check the path; it is taken from the current directory unless it starts with /, and its directory must be there")),
    }
}

fn check_file(path: &Path) -> Result<()> {
    let shown = path.display();
    let cannot = |code, cause: &str| {
        Error::new(Kind::Database, code, format!("cannot open the SQLite database {shown}")).cause(cause)
    };
    match path.metadata() {
        Ok(meta) if meta.is_dir() => Err(cannot("SD0541", "it is a directory").help("name the database file itself")),
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(cannot("SD0540", "there is no such file")
            .help("check the path; it is taken from the current directory unless it starts with /")
            .help("to begin with an empty database: `cargo schemadiff apply` makes the file")),
        Err(e) => Err(cannot("SD0542", &e.to_string()).help("check the rights on the file and its directories")),
    }
}

async fn connect(options: SqliteConnectOptions, file: String) -> Result<Client> {
    let options = options.disable_statement_logging();
    let connection = SqliteConnection::connect_with(&options).await.map_err(|e| cannot_open(&e, &file))?;
    let server = ServerInfo { dialect: Dialect::Sqlite, version: 0, label: String::new() };
    let mut client = Client { connection, server, file };
    // Reads the header too: sqlite_version() alone would not notice that the file is no database.
    let found = client.query_row("SELECT sqlite_version(), (SELECT count(*) FROM sqlite_master)", &[]).await?;
    let text = found.and_then(|row| row.into_iter().next().flatten()).unwrap_or_default();
    client.server = server_info(&text)?;
    Ok(client)
}

fn server_info(text: &str) -> Result<ServerInfo> {
    let mut numbers = text.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let version = next() * 1_000_000 + next() * 1_000 + next();
    if version < OLDEST {
        return Err(Error::new(Kind::Database, "SD0543", format!("SQLite {text} is too old"))
            .cause("schemadiff needs 3.36 or newer")
            .help("build with a newer SQLite, for example with sqlx's bundled one"));
    }
    let note = if has_wal_reset_bug(version) { " (can corrupt databases in WAL mode, update to 3.51.3)" } else { "" };
    Ok(ServerInfo { dialect: Dialect::Sqlite, version, label: format!("SQLite {text}{note}") })
}

/// Whether the version has the WAL-reset bug: a checkpoint and a writer of two connections can corrupt the database.
pub(super) const fn has_wal_reset_bug(version: u32) -> bool {
    let fixed = version >= 3_051_003 && version != 3_052_000
        || version >= 3_050_007 && version < 3_051_000
        || version >= 3_044_006 && version < 3_045_000;
    !fixed
}

fn cannot_open(error: &sqlx::Error, file: &str) -> Error {
    match known_failure(error, file) {
        Some(known) => known,
        None => Error::new(Kind::Database, "SD0542", format!("cannot open the SQLite database {file}"))
            .cause(words(error))
            .help("check the rights on the file and its directory; WAL mode needs to write next to the file"),
    }
}

/// An error of a statement.
fn failed(error: &sqlx::Error, statement: &str, file: &str) -> Error {
    known_failure(error, file).unwrap_or_else(|| {
        Error::new(Kind::Database, "SD0547", format!("a statement failed on {file}: {}", words(error)))
            .cause(statement.trim())
            .about_rows(is_about_rows(error))
    })
}

/// SQLITE_CONSTRAINT (which RAISE in a trigger gives too), SQLITE_MISMATCH, and what functions say of a value: that bears the
/// same code as a name that does not exist.
fn is_about_rows(error: &sqlx::Error) -> bool {
    let Some(database) = error.as_database_error() else { return false };
    let code = database.code().and_then(|code| code.parse::<u32>().ok());
    let of_values = ["malformed JSON", "integer overflow", "JSON path", "string or blob too big"];
    code.is_some_and(|code| matches!(code & 0xff, 19 | 20))
        || of_values.iter().any(|words| database.message().contains(words))
}

/// What SQLite said, without sqlx's words around it.
pub(super) fn words(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(e) => e.message().to_owned(),
        other => other.to_string(),
    }
}

/// Failures that have nothing to do with the statement, by SQLite's result code.
fn known_failure(error: &sqlx::Error, file: &str) -> Option<Error> {
    let sqlx::Error::Database(database) = error else {
        return None;
    };
    let primary = database.code()?.parse::<u32>().ok()? & 0xff;
    let new = |code, effect: String| Error::new(Kind::Database, code, effect).cause(database.message());
    match primary {
        5 | 6 => Some(
            new("SD0544", format!("the database {file} is locked by another process"))
                .help("wait until the other process has ended its transaction, and try again"),
        ),
        8 => Some(
            new("SD0545", format!("the database {file} is read-only"))
                .help("check the rights on the file and its directory"),
        ),
        11 | 26 => Some(
            new("SD0546", format!("{file} is not an SQLite database, or it is damaged"))
                .help("check the path; run `PRAGMA integrity_check` on the file"),
        ),
        14 => Some(
            new("SD0542", format!("cannot open the SQLite database {file}"))
                .help("check the rights on the file and its directory; WAL mode needs to write next to the file"),
        ),
        _ => None,
    }
}

/// A database in memory that only this connection sees.
pub(super) async fn private_memory() -> Result<Client> {
    let options = SqliteConnectOptions::from_str("sqlite::memory:").map_err(|e| cannot_open(&e, ":memory:"))?;
    connect(options.foreign_keys(false), ":memory:".to_owned()).await
}

/// Makes a scratch database: in memory, under a name that all connections of this process share, because the runtime's
/// executor has to reach it through connections of its own. It goes with the last of them, so that a killed process leaves
/// nothing behind.
///
/// # Errors
/// When the SQLite library was built without its `memdb` file system (3.36 and newer have it).
pub async fn scratch(_client: &mut Client) -> Result<Scratch> {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let name = format!("/schemadiff-scratch-{}", MADE.fetch_add(1, Ordering::Relaxed));
    let options = SqliteConnectOptions::new().vfs("memdb").filename(&name).create_if_missing(true);
    let url = options.clone().to_url_lossy().to_string();
    let client = connect(options, name.clone()).await?;
    Ok(Scratch { connection: Connection::Sqlite(Box::new(client)), url, owner: None, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_judged() {
        assert_eq!(server_info("3.51.3").unwrap().version, 3_051_003);
        assert_eq!(server_info("3.51.3").unwrap().label, "SQLite 3.51.3");
        assert!(server_info("3.46.0").unwrap().label.contains("WAL"));
        assert_eq!(server_info("3.35.5").unwrap_err().code, "SD0543");
        let bad = [3_044_005, 3_045_000, 3_050_006, 3_051_002, 3_052_000];
        assert!(bad.iter().all(|v| has_wal_reset_bug(*v)));
        let good = [3_044_006, 3_050_007, 3_051_003, 3_053_000];
        assert!(!good.iter().any(|v| has_wal_reset_bug(*v)));
    }
}
