//! One connection with cached prepared statements, whichever engine it is on.

use schemadiff::{
    backend::{Entering, Registered},
    lockstep::Enter as _,
    model::Dialect,
};
use sqlx::{AssertSqlSafe, Column as _, Connection as _, Row as _};

use super::{
    APP,
    value::{Kind, Value},
};

/// A statement of a service, prepared once per connection.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Text.
    pub sql: String,
    /// Parameters.
    pub params: Vec<Kind>,
    /// Result columns. The statement returns each as it is, and then all of them once more as text.
    pub columns: Vec<Output>,
}

/// A result column.
#[derive(Debug, Clone)]
pub struct Output {
    /// Name.
    pub name: String,
    /// What the service decodes it into.
    pub kind: Kind,
    /// Whether it decodes it into an `Option`.
    pub nullable: bool,
}

/// A connection.
pub enum Client {
    /// PostgreSQL.
    Postgres(Box<sqlx::PgConnection>),
    /// SQLite.
    Sqlite(Box<sqlx::SqliteConnection>),
}

impl Client {
    /// Connects as a service does.
    pub async fn connect(dialect: Dialect, url: &str) -> Result<Self, sqlx::Error> {
        match dialect {
            Dialect::Sqlite => {
                let options: sqlx::sqlite::SqliteConnectOptions = url.parse()?;
                let options = options
                    .foreign_keys(true)
                    .busy_timeout(std::time::Duration::from_secs(10))
                    .statement_cache_capacity(1000);
                Ok(Self::Sqlite(Box::new(sqlx::SqliteConnection::connect_with(&options).await?)))
            }
            _ => {
                let options: sqlx::postgres::PgConnectOptions = url.parse()?;
                let connection = sqlx::PgConnection::connect_with(&options.statement_cache_capacity(1000)).await?;
                Ok(Self::Postgres(Box::new(connection)))
            }
        }
    }

    /// What a pool's hook asks for a new connection of this version of [`APP`].
    pub async fn enter(&mut self, version: &str) -> Result<(), sqlx::Error> {
        let who = Entering { app: APP, version, on_standbys: None, ledger: None };
        let registered = match self {
            Self::Postgres(c) => c.enter(who).await?,
            Self::Sqlite(c) => c.enter(who).await?,
        };
        assert_eq!(registered, Registered::Yes, "{version} cannot enter");
        Ok(())
    }

    /// Runs a statement whose result has a star through the cache of prepared statements; returns the names of its columns
    /// once for each row.
    pub async fn star(&mut self, statement: &Statement, values: &[Value]) -> Result<Vec<Vec<String>>, sqlx::Error> {
        let Self::Postgres(c) = self else { return Ok(Vec::new()) };
        let query = bound(statement, values)?;
        let rows = query.fetch_all(&mut **c).await?;
        let names = |row: &sqlx::postgres::PgRow| row.columns().iter().map(|c| c.name().to_owned()).collect();
        Ok(rows.iter().map(names).collect())
    }

    /// Sends text without preparing it.
    pub async fn raw(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        match self {
            Self::Postgres(c) => sql.execute(&mut **c).await.map(drop),
            Self::Sqlite(c) => sql.execute(&mut **c).await.map(drop),
        }
    }

    /// Runs a statement through the cache of prepared statements, decodes what comes back, and returns it as text.
    pub async fn run(&mut self, statement: &Statement, values: &[Value]) -> Result<Vec<Vec<Value>>, sqlx::Error> {
        let sql = AssertSqlSafe(statement.sql.as_str());
        match self {
            Self::Postgres(c) => {
                let rows = bound(statement, values)?.fetch_all(&mut **c).await?;
                rows.iter().map(|row| decode_postgres(row, &statement.columns)).collect()
            }
            Self::Sqlite(c) => {
                let mut query = sqlx::query(sql);
                for (kind, value) in statement.params.iter().zip(values) {
                    query = match kind {
                        Kind::Int2 | Kind::Int4 | Kind::Int8 => query.bind(parsed::<i64>(value)?),
                        Kind::Float8 => query.bind(parsed::<f64>(value)?),
                        Kind::Bool => query.bind(value.as_deref().map(|v| v == "1" || v == "true")),
                        Kind::Bytes => query.bind(value.clone().map(String::into_bytes)),
                        Kind::Text | Kind::Other => query.bind(value.clone()),
                    };
                }
                let rows = query.fetch_all(&mut **c).await?;
                rows.iter().map(|row| decode_sqlite(row, &statement.columns)).collect()
            }
        }
    }
}

fn bound<'q>(
    statement: &'q Statement,
    values: &[Value],
) -> Result<sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>, sqlx::Error> {
    let mut query = sqlx::query(AssertSqlSafe(statement.sql.as_str()));
    for (kind, value) in statement.params.iter().zip(values) {
        query = match kind {
            Kind::Int2 => query.bind(parsed::<i16>(value)?),
            Kind::Int4 => query.bind(parsed::<i32>(value)?),
            Kind::Int8 => query.bind(parsed::<i64>(value)?),
            Kind::Float8 => query.bind(parsed::<f64>(value)?),
            Kind::Bool => query.bind(parsed::<bool>(value)?),
            Kind::Text | Kind::Bytes | Kind::Other => query.bind(value.clone()),
        };
    }
    Ok(query)
}

fn parsed<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    value: &Value,
) -> Result<Option<T>, sqlx::Error> {
    value.as_deref().map(str::parse).transpose().map_err(|e| sqlx::Error::Encode(Box::new(e)))
}

fn decode_postgres(row: &sqlx::postgres::PgRow, columns: &[Output]) -> Result<Vec<Value>, sqlx::Error> {
    let texts = texts(columns, |at| row.try_get::<Value, _>(at))?;
    for (at, column) in columns.iter().enumerate() {
        match column.kind {
            Kind::Int2 => drop(row.try_get::<Option<i16>, _>(at)?),
            Kind::Int4 => drop(row.try_get::<Option<i32>, _>(at)?),
            Kind::Int8 => drop(row.try_get::<Option<i64>, _>(at)?),
            Kind::Float8 => drop(row.try_get::<Option<f64>, _>(at)?),
            Kind::Bool => drop(row.try_get::<Option<bool>, _>(at)?),
            Kind::Text => drop(row.try_get::<Value, _>(at)?),
            Kind::Bytes | Kind::Other => {}
        }
    }
    Ok(texts)
}

fn decode_sqlite(row: &sqlx::sqlite::SqliteRow, columns: &[Output]) -> Result<Vec<Value>, sqlx::Error> {
    let texts = texts(columns, |at| row.try_get::<Value, _>(at))?;
    for (at, column) in columns.iter().enumerate() {
        match column.kind {
            Kind::Int2 | Kind::Int4 | Kind::Int8 => drop(row.try_get::<Option<i64>, _>(at)?),
            Kind::Float8 => drop(row.try_get::<Option<f64>, _>(at)?),
            Kind::Bool => drop(row.try_get::<Option<bool>, _>(at)?),
            Kind::Text => drop(row.try_get::<Value, _>(at)?),
            Kind::Bytes => drop(row.try_get::<Option<Vec<u8>>, _>(at)?),
            Kind::Other => {}
        }
    }
    Ok(texts)
}

/// The second half of a row; a NULL where the service decodes no `Option` is the error that sqlx would give.
fn texts(columns: &[Output], get: impl Fn(usize) -> Result<Value, sqlx::Error>) -> Result<Vec<Value>, sqlx::Error> {
    let mut values = Vec::with_capacity(columns.len());
    for (at, column) in columns.iter().enumerate() {
        let value = get(columns.len() + at)?;
        if value.is_none() && !column.nullable {
            return Err(sqlx::Error::ColumnDecode {
                index: column.name.clone(),
                source: Box::new(sqlx::error::UnexpectedNullError),
            });
        }
        values.push(value);
    }
    Ok(values)
}
