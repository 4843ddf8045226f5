//! Carries out single steps of a plan, and takes them back, as their envelopes say.

use std::time::Duration;

use schemadiff::{
    model::Dialect,
    plan::{Action, Backfill, Envelope, Step},
};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::value::Value;

/// A connection for DDL.
pub enum Stepper {
    /// PostgreSQL.
    Postgres(Box<sqlx::PgConnection>),
    /// SQLite.
    Sqlite(Box<sqlx::SqliteConnection>),
}

/// A step that could not be carried out.
#[derive(Debug, thiserror::Error)]
#[error("step {step}: {cause}\nin: {sql}")]
pub struct StepError {
    step: String,
    sql: String,
    cause: String,
}

impl Stepper {
    /// Connects.
    pub async fn connect(dialect: Dialect, url: &str) -> Self {
        match dialect {
            Dialect::Sqlite => {
                let options: sqlx::sqlite::SqliteConnectOptions = url.parse().unwrap();
                let options = options.busy_timeout(Duration::from_secs(10)).foreign_keys(true);
                Self::Sqlite(Box::new(sqlx::SqliteConnection::connect_with(&options).await.unwrap()))
            }
            _ => Self::Postgres(Box::new(sqlx::PgConnection::connect(url).await.unwrap())),
        }
    }

    /// Carries the step out.
    pub async fn apply(&mut self, step: &Step) -> Result<(), StepError> {
        match &step.action {
            Action::Sql(statements) => self.envelope(step, statements).await,
            Action::Backfill(backfill) => self.backfill(step, backfill).await,
        }
    }

    /// Takes the step back.
    pub async fn undo(&mut self, step: &Step) -> Result<(), StepError> {
        if step.undo.is_empty() {
            return Ok(());
        }
        let as_sql = Step {
            envelope: if step.envelope == Envelope::Batches { Envelope::Transaction } else { step.envelope },
            ..step.clone()
        };
        self.envelope(&as_sql, &step.undo).await
    }

    async fn envelope(&mut self, step: &Step, statements: &[String]) -> Result<(), StepError> {
        match step.envelope {
            Envelope::Concurrent => {
                self.all(step, &["SET lock_timeout = 0".into(), "SET statement_timeout = 0".into()]).await?;
                self.all(step, statements).await
            }
            Envelope::Rebuild => {
                let off = ["PRAGMA foreign_keys = OFF".into(), "PRAGMA legacy_alter_table = ON".into()];
                self.all(step, &off).await?;
                let done = self.transaction(step, "BEGIN IMMEDIATE", statements).await;
                let on = ["PRAGMA legacy_alter_table = OFF".into(), "PRAGMA foreign_keys = ON".into()];
                self.all(step, &on).await?;
                done
            }
            Envelope::Transaction | Envelope::Long | Envelope::Batches => self.retried(step, statements).await,
        }
    }

    async fn retried(&mut self, step: &Step, statements: &[String]) -> Result<(), StepError> {
        let mut sent = Vec::new();
        if matches!(self, Self::Postgres(_)) {
            sent.push(format!("SET LOCAL lock_timeout = {}", step.lock_timeout_ms));
            sent.push(format!("SET LOCAL statement_timeout = {}", step.statement_timeout_ms));
        }
        sent.extend(statements.iter().cloned());
        let begin = if matches!(self, Self::Sqlite(_)) { "BEGIN IMMEDIATE" } else { "BEGIN" };
        let mut attempt = 0;
        loop {
            let done = self.transaction(step, begin, &sent).await;
            attempt += 1;
            match done {
                Err(e) if attempt < 100 && ["lock timeout", "deadlock"].iter().any(|w| e.cause.contains(w)) => {
                    tokio::time::sleep(Duration::from_millis(20 + 7 * attempt)).await;
                }
                done => return done,
            }
        }
    }

    async fn transaction(&mut self, step: &Step, begin: &str, statements: &[String]) -> Result<(), StepError> {
        self.one(step, begin).await?;
        match self.all(step, statements).await {
            Ok(()) => self.one(step, "COMMIT").await,
            Err(e) => {
                let _ = self.one(step, "ROLLBACK").await;
                Err(e)
            }
        }
    }

    async fn all(&mut self, step: &Step, statements: &[String]) -> Result<(), StepError> {
        for sql in statements {
            self.one(step, sql).await?;
        }
        Ok(())
    }

    async fn one(&mut self, step: &Step, sql: &str) -> Result<(), StepError> {
        let text = sqlx::raw_sql(AssertSqlSafe(sql));
        let result = match self {
            Self::Postgres(c) => text.execute(&mut **c).await.map(drop),
            Self::Sqlite(c) => text.execute(&mut **c).await.map(drop),
        };
        result.map_err(|e| StepError { step: step.id.clone(), sql: sql.to_owned(), cause: e.to_string() })
    }

    async fn row(&mut self, step: &Step, sql: &str, params: &[Value]) -> Result<Option<Vec<Value>>, StepError> {
        let wrong = |e: sqlx::Error| StepError { step: step.id.clone(), sql: sql.to_owned(), cause: e.to_string() };
        let text = AssertSqlSafe(sql);
        match self {
            Self::Postgres(c) => {
                let query = params.iter().fold(sqlx::query(text), |query, p| query.bind(p.clone()));
                let row = query.fetch_optional(&mut **c).await.map_err(wrong)?;
                row.map(|r| (0..r.len()).map(|at| r.try_get(at)).collect::<Result<_, _>>()).transpose().map_err(wrong)
            }
            Self::Sqlite(c) => {
                let query = params.iter().fold(sqlx::query(text), |query, p| query.bind(p.clone()));
                let row = query.fetch_optional(&mut **c).await.map_err(wrong)?;
                row.map(|r| (0..r.len()).map(|at| r.try_get(at)).collect::<Result<_, _>>()).transpose().map_err(wrong)
            }
        }
    }

    async fn backfill(&mut self, step: &Step, b: &Backfill) -> Result<(), StepError> {
        let Some(upper) = self.row(step, &b.upper_sql, &[]).await? else { return Ok(()) };
        // Small batches: the load must meet many borders between them.
        let size = Some(b.batch_size.min(100).to_string());
        let mut cursor: Option<Vec<Value>> = None;
        loop {
            match self.batch(step, b, &upper, &size, cursor.as_deref()).await {
                Ok(None) => break,
                Ok(next) => cursor = next,
                Err(e) if ["lock timeout", "deadlock"].iter().any(|w| e.cause.contains(w)) => {
                    let _ = self.one(step, "ROLLBACK").await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(e) => return Err(e),
            }
        }
        match self.row(step, &b.remaining_sql, &[]).await?.and_then(|r| r[0].clone()).as_deref() {
            Some("0") => Ok(()),
            left => Err(StepError {
                step: step.id.clone(),
                sql: b.remaining_sql.clone(),
                cause: format!("{left:?} rows still wait"),
            }),
        }
    }
    async fn batch(
        &mut self,
        step: &Step,
        b: &Backfill,
        upper: &[Value],
        size: &Value,
        cursor: Option<&[Value]>,
    ) -> Result<Option<Vec<Value>>, StepError> {
        if matches!(self, Self::Sqlite(_)) {
            self.one(step, "BEGIN IMMEDIATE").await?;
        } else {
            // Far below the server's deadlock_timeout: in a deadlock it is the batch that gives way.
            self.all(step, &["BEGIN".into(), "SET LOCAL lock_timeout = 200".into()]).await?;
        }
        let sql = if cursor.is_none() { &b.first_sql } else { &b.batch_sql };
        let params: Vec<_> = cursor.unwrap_or_default().iter().chain(upper).chain([size]).cloned().collect();
        let found = self.row(step, sql, &params).await?;
        let next: Option<Vec<Value>> =
            found.map(|row| row[..b.key.len()].to_vec()).filter(|key| key.iter().all(Option::is_some));
        if let (Some(update), Some(last)) = (&b.update_sql, &next) {
            let lower = cursor.map_or_else(|| vec![None; b.key.len()], <[Value]>::to_vec);
            let params: Vec<_> = lower.iter().chain(last).cloned().collect();
            self.row(step, update, &params).await?;
        }
        self.one(step, "COMMIT").await?;
        Ok(next)
    }
}
