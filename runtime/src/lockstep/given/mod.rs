//! Values that SQL cannot say: functions of the application that are given a row and give the values of new columns.

mod row;

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

pub(super) use row::Row;

/// What a function says of one row: values, or why there are none.
pub(super) type Answer = Result<Value, String>;

type Answers<'a> = Pin<Box<dyn Future<Output = Vec<Answer>> + Send + 'a>>;

/// Rows at once in an asynchronous function.
const AT_ONCE: usize = 16;

/// Gives answers to rows, in their order.
pub(super) trait Fill: Send + Sync {
    fn fill(self: Arc<Self>, rows: Vec<Row>) -> Answers<'static>;
}

/// The functions that a program gives to backfills, by the names that `#[column(backfill_with = "name(column, ..)")]` uses.
///
/// A function is given one row: a struct with the columns as fields, a tuple in the order of the call, or, where there is one
/// column, its value. It gives the values of the new columns: a struct with them as fields, or, where there is one, its value.
/// An error, like a panic, is that row's: it is kept aside with its key, and the others go on.
#[derive(Clone, Default)]
pub struct Backfills {
    by_name: BTreeMap<String, Arc<dyn Fill>>,
}

impl fmt::Debug for Backfills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl Backfills {
    /// With a function; it may compute for long, and runs where that is in nobody's way.
    #[must_use]
    pub fn with<Old, New, E>(
        mut self,
        name: impl Into<String>,
        function: impl Fn(Old) -> Result<New, E> + Send + Sync + 'static,
    ) -> Self
    where
        Old: DeserializeOwned + 'static,
        New: Serialize + 'static,
        E: fmt::Display + 'static,
    {
        let whole = move |row: Row| answer(function(row.read::<Old>()?));
        self.by_name.insert(name.into(), Arc::new(Plain(whole)));
        self
    }

    /// With an asynchronous function; several rows are given to it at the same time.
    #[must_use]
    pub fn with_async<Old, New, E, F>(
        mut self,
        name: impl Into<String>,
        function: impl Fn(Old) -> F + Send + Sync + 'static,
    ) -> Self
    where
        Old: DeserializeOwned + Send + 'static,
        New: Serialize + 'static,
        E: fmt::Display + 'static,
        F: Future<Output = Result<New, E>> + Send + 'static,
    {
        let function = Arc::new(function);
        let whole = move |row: Row| {
            let function = Arc::clone(&function);
            let future: Pin<Box<dyn Future<Output = Answer> + Send>> = Box::pin(async move {
                let future = function(row.read::<Old>()?);
                answer(future.await)
            });
            future
        };
        self.by_name.insert(name.into(), Arc::new(Asynchronous(whole)));
        self
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<dyn Fill>> {
        self.by_name.get(name).cloned()
    }
}

fn answer<New: Serialize, E: fmt::Display>(result: Result<New, E>) -> Answer {
    let new = result.map_err(|e| e.to_string())?;
    serde_json::to_value(new).map_err(|e| format!("what it gives cannot be stored: {e}"))
}

/// Whether somebody waits for answers: a thread at work cannot be stopped, and would hold up the end of the process.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

struct Plain<F>(F);

impl<F: Fn(Row) -> Answer + Send + Sync + 'static> Fill for Plain<F> {
    fn fill(self: Arc<Self>, rows: Vec<Row>) -> Answers<'static> {
        Box::pin(async move {
            let many = rows.len();
            let wanted = Wanted(Arc::new(AtomicBool::new(true)));
            let still_wanted = Arc::clone(&wanted.0);
            let one = move |row| match still_wanted.load(Ordering::Relaxed) {
                true => catch_unwind(AssertUnwindSafe(|| self.0(row))).unwrap_or_else(|p| Err(panicked(&*p))),
                false => Err("nobody waits for it any more".to_owned()),
            };
            let all = tokio::task::spawn_blocking(move || rows.into_iter().map(one).collect::<Vec<_>>());
            // It catches panics itself, and is cancelled only when the runtime ends.
            all.await.unwrap_or_else(|e| vec![Err(e.to_string()); many])
        })
    }
}

struct Asynchronous<F>(F);

impl<F> Fill for Asynchronous<F>
where
    F: Fn(Row) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync + 'static,
{
    fn fill(self: Arc<Self>, rows: Vec<Row>) -> Answers<'static> {
        Box::pin(async move {
            let mut answers: Vec<Answer> = vec![Err("it gave no answer".to_owned()); rows.len()];
            let (mut left, mut running) = (rows.into_iter().enumerate(), tokio::task::JoinSet::new());
            let mut places = BTreeMap::new();
            loop {
                while running.len() < AT_ONCE
                    && let Some((at, row)) = left.next()
                {
                    let task = running.spawn((self.0)(row));
                    places.insert(task.id(), at);
                }
                let Some(done) = running.join_next_with_id().await else { return answers };
                let (id, result) = match done {
                    Ok((id, result)) => (id, result),
                    Err(e) => (e.id(), Err(e.try_into_panic().map_or_else(|e| e.to_string(), |p| panicked(&*p)))),
                };
                if let Some(answer) = places.remove(&id).and_then(|at| answers.get_mut(at)) {
                    *answer = result;
                }
            }
        })
    }
}

fn panicked(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    format!("it panicked: {}", text.unwrap_or_else(|| "without a message".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Cell;

    fn rows(many: i64) -> Vec<Row> {
        (0..many).map(|n| Row(vec![("n".to_owned(), Cell::Integer(n))])).collect()
    }

    #[tokio::test]
    async fn a_panic_or_an_error_is_the_rows_and_answers_keep_their_places() {
        let of = |n: i64| match n {
            3 => panic!("no three"),
            5 => Err("no five"),
            n => Ok(n * 2),
        };
        let functions = Backfills::default().with("plain", of).with_async("async", move |n: i64| async move {
            tokio::time::sleep(std::time::Duration::from_millis(u64::try_from(40 - n).unwrap())).await;
            of(n)
        });
        for name in ["plain", "async"] {
            let answers = functions.get(name).unwrap().fill(rows(40)).await;
            for (n, answer) in answers.iter().enumerate() {
                match n {
                    3 => assert_eq!(answer, &Err("it panicked: no three".to_owned()), "{name}"),
                    5 => assert_eq!(answer, &Err("no five".to_owned()), "{name}"),
                    n => assert_eq!(answer, &Ok(serde_json::json!(n * 2)), "{name}"),
                }
            }
        }
    }
}
