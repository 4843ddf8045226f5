//! A small executor for databases that nobody else uses: the envelopes without timeouts, retries and ledger.

use schemadiff::{
    backend::{
        Backend as _,
        postgres::Postgres,
        sqlite::{
            Sqlite,
            hanging::{self, Hanging},
        },
    },
    model::{Column, Dialect, Schema},
    plan::{Action, Backfill, Envelope, Given, KeyColumn, Step},
};
use serde_json::json;

use crate::{
    Error, Kind, Result,
    dialect::{Connection, sample},
};

/// Carries a step out. The schema knows the labels of enumerated types.
///
/// # Errors
/// The server's refusal, or a step that does not do what it says.
pub async fn forth(scratch: &mut Connection, step: &Step, schema: &Schema) -> Result<()> {
    match &step.action {
        Action::Sql(statements) => send(scratch, step.envelope, statements).await?,
        Action::Backfill(backfill) => match &backfill.given {
            Some(given) => give(scratch, backfill, given, schema).await?,
            None => fill(scratch, backfill).await?,
        },
        Action::Generated(generated) => {
            let mut last = None;
            while let Some(row) = scratch.query_row(&generated.next_sql, &[]).await? {
                let sql = row.into_iter().next().flatten().unwrap_or_default();
                if last.as_ref() == Some(&sql) {
                    return Err(
                        Error::new(Kind::Internal, "SD0906", "a statement of the step has no effect").cause(sql)
                    );
                }
                scratch.run(std::slice::from_ref(&sql)).await?;
                last = Some(sql);
            }
        }
    }
    if let Some(query) = &step.done_when
        && !is_true(scratch, query).await?
    {
        return Err(Error::new(Kind::Internal, "SD0906", "the step's own probe says that it is not done").cause(query));
    }
    Ok(())
}

/// Clears away what an attempt has left.
///
/// # Errors
/// The server's refusal.
pub async fn clean_up(scratch: &mut Connection, step: &Step) -> Result<()> {
    let Some(query) = &step.clean_up else { return Ok(()) };
    let row = scratch.query_row(query, &[]).await?;
    let statements: Vec<String> = row.into_iter().flatten().flatten().collect();
    scratch.run(&statements).await
}

/// Takes it back.
///
/// # Errors
/// The server's refusal.
pub async fn back(scratch: &mut Connection, step: &Step) -> Result<()> {
    if step.undo.is_empty() {
        return Ok(());
    }
    send(scratch, step.envelope, &step.undo).await
}

/// Proves what that has put back.
///
/// # Errors
/// The server's refusal.
pub async fn prove_back(scratch: &mut Connection, step: &Step) -> Result<()> {
    send(scratch, Envelope::Long, &step.undo_proof).await
}

/// Statements in their envelope.
///
/// # Errors
/// The server's refusal.
pub async fn send(scratch: &mut Connection, envelope: Envelope, statements: &[String]) -> Result<()> {
    match envelope {
        Envelope::Transaction | Envelope::Long | Envelope::Batches => transaction(scratch, "BEGIN", statements).await,
        Envelope::Concurrent => {
            for statement in statements {
                scratch.run(std::slice::from_ref(statement)).await?;
            }
            Ok(())
        }
        Envelope::Rebuild => {
            let set = |sql: &[&str]| sql.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
            scratch.run(&set(&["PRAGMA foreign_keys=OFF", "PRAGMA legacy_alter_table=ON"])).await?;
            let result = rebuild(scratch, statements).await;
            scratch.run(&set(&["PRAGMA legacy_alter_table=OFF", "PRAGMA foreign_keys=ON"])).await?;
            result
        }
    }
}

async fn transaction(scratch: &mut Connection, begin: &str, statements: &[String]) -> Result<()> {
    scratch.run(&[begin.to_owned()]).await?;
    match scratch.run(statements).await {
        Ok(()) => scratch.run(&["COMMIT".to_owned()]).await,
        Err(error) => {
            // The first error is the one to report.
            let _ = scratch.run(&["ROLLBACK".to_owned()]).await;
            Err(error)
        }
    }
}

async fn rebuild(scratch: &mut Connection, statements: &[String]) -> Result<()> {
    scratch.run(&["BEGIN IMMEDIATE".to_owned()]).await?;
    let row = scratch.query_row(hanging::TRIGGERS, &[]).await?;
    let hanging = hanging::read(row.as_ref().and_then(|row| row.first()?.as_deref()));
    let mut result = scratch.run(statements).await;
    if result.is_ok() {
        result = restore(scratch, &hanging).await;
    }
    if result.is_ok() {
        result = match scratch.query_row("PRAGMA foreign_key_check", &[]).await {
            Ok(None) => Ok(()),
            Ok(Some(row)) => Err(Error::new(Kind::Internal, "SD0906", "the rebuild leaves dangling references")
                .cause(row.into_iter().flatten().collect::<Vec<_>>().join(", "))
                .about_rows(true)),
            Err(error) => Err(error),
        };
    }
    let end = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = scratch.run(&[end.to_owned()]).await;
    result.and(ended)
}

async fn restore(scratch: &mut Connection, hanging: &[Hanging]) -> Result<()> {
    for [name, table, definition] in hanging {
        let row = scratch.query_row(hanging::IS_GONE, &[Some(name.clone()), Some(table.clone())]).await?;
        if row.as_ref().and_then(|row| row.first()?.as_deref()) == Some("1") {
            scratch.run(std::slice::from_ref(definition)).await?;
        }
    }
    Ok(())
}

/// Fills in batches. Each statement is sent at least once, so that an empty table shows too whether the server takes it.
async fn fill(scratch: &mut Connection, backfill: &Backfill) -> Result<()> {
    let width = backfill.key.len();
    let size = Some(backfill.batch_size.to_string());
    let upper = scratch.query_row(&backfill.upper_sql, &[]).await?.unwrap_or_else(|| vec![None; width]);
    let mut cursor: Vec<Option<String>> = vec![None; width];
    loop {
        let params: Vec<_> = cursor.iter().chain(&upper).cloned().chain([size.clone()]).collect();
        let next = scratch.query_row(&backfill.batch_sql, &params).await?;
        let next = next.filter(|key| key.iter().all(Option::is_some));
        let to = next.as_ref().unwrap_or(&upper);
        let params: Vec<_> = cursor.iter().chain(to).cloned().collect();
        for sql in [Some(&backfill.update_sql), backfill.skip_locked_sql.as_ref()].into_iter().flatten() {
            scratch.query_row(sql, &params).await?;
        }
        match next {
            Some(next) if next != upper => cursor = next,
            _ => break,
        }
    }
    scratch.query_row(&backfill.left_sql, &[]).await?;
    nothing_remains(scratch, backfill).await?;
    in_step(scratch, backfill, &upper).await
}

/// What triggers keep in step is in step, and the comparison can be made.
async fn in_step(scratch: &mut Connection, backfill: &Backfill, upper: &[Option<String>]) -> Result<()> {
    let Some(comparison) = &backfill.comparison else { return Ok(()) };
    let params: Vec<_> = vec![None; upper.len()].into_iter().chain(upper.iter().cloned()).collect();
    let cells = scratch.query_row(&comparison.sql, &params).await?.unwrap_or_default();
    for (compared, differ) in comparison.columns.iter().zip(cells.iter().skip(1).step_by(2)) {
        let differ = differ.as_deref().unwrap_or("unknown");
        if compared.in_step && differ != "0" {
            return Err(Error::new(Kind::Internal, "SD0906", "the backfill has ended and rows are not in step")
                .cause(format!("`{}` holds another value in {differ} rows", compared.column))
                .about_rows(true));
        }
    }
    Ok(())
}

async fn nothing_remains(scratch: &mut Connection, backfill: &Backfill) -> Result<()> {
    let remaining = scratch.query_row(&backfill.remaining_sql, &[]).await?;
    match remaining.and_then(|row| row.into_iter().next().flatten()).as_deref() {
        Some("0") => Ok(()),
        other => Err(Error::new(Kind::Internal, "SD0906", "the backfill has ended and rows still wait")
            .cause(format!("rows left: {}", other.unwrap_or("unknown")))
            .about_rows(true)),
    }
}

/// Gives made-up values in place of the application. The statements are sent at least once.
async fn give(scratch: &mut Connection, backfill: &Backfill, given: &Given, schema: &Schema) -> Result<()> {
    let (width, dialect) = (backfill.key.len(), scratch.server().dialect);
    let upper = scratch.query_row(&backfill.upper_sql, &[]).await?.unwrap_or_else(|| vec![None; width]);
    let bounds: Vec<_> = vec![None; width].into_iter().chain(upper).collect();
    for seq in 1.. {
        let row = scratch.query_row(&given.read_sql, &bounds).await?;
        let sent: Vec<_> = row
            .iter()
            .map(|row| {
                let values: Vec<_> = given.gives.iter().map(|c| made_up(dialect, schema, c, seq)).collect();
                let (key, read) = row.split_at(width.min(row.len()));
                json!({ "k": key, "r": read, "v": values })
            })
            .collect();
        let sent = Some(serde_json::Value::Array(sent).to_string());
        for sql in [Some(&backfill.update_sql), backfill.skip_locked_sql.as_ref()].into_iter().flatten() {
            scratch.query_row(sql, std::slice::from_ref(&sent)).await?;
        }
        if row.is_none() || seq > 10_000 {
            break;
        }
    }
    scratch.query_row(&backfill.left_sql, &[]).await?;
    nothing_remains(scratch, backfill).await
}

/// A value as the plan's statement takes it.
fn made_up(dialect: Dialect, schema: &Schema, column: &KeyColumn, seq: u64) -> serde_json::Value {
    let labels = schema.enums.values().find(|e| e.name.to_string() == column.ty).map(|e| e.values.as_slice());
    let text = sample::generate(dialect, &Column::new(&column.name, &column.ty), labels, seq);
    let json = match column.ty.as_str() {
        "json" | "jsonb" => serde_json::from_str(&text).unwrap_or_default(),
        ty if ty.ends_with("[]") => json!([]),
        _ => text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number)),
    };
    let value = match dialect {
        Dialect::Sqlite => Sqlite::value(&column.ty, json),
        _ => Postgres::value(&column.ty, json),
    };
    value.unwrap_or_default()
}

async fn is_true(scratch: &mut Connection, query: &str) -> Result<bool> {
    let row = scratch.query_row(query, &[]).await?;
    let value = row.and_then(|row| row.into_iter().next().flatten());
    Ok(matches!(value.as_deref(), Some("t" | "true" | "1")))
}
