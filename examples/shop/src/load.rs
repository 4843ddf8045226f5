//! The load: clients that sign up, change names, order and look things up, until they are told to stop.

use std::{future::Future, io::Read, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{Journal, Result, ServeArgs, Stats, journal::Entry, stats::Event};

/// What a version of the shop can do. Each version does it with statements over its own tables.
pub trait Load: Send + Sync + 'static {
    /// A new customer.
    fn sign_up(&self, stats: &Stats, email: &str, name: &str) -> impl Future<Output = Result<i64>> + Send;
    /// Another name for a customer.
    fn change_name(&self, stats: &Stats, customer: i64, name: &str) -> impl Future<Output = Result<()>> + Send;
    /// The customer's name.
    fn name_of(&self, stats: &Stats, customer: i64) -> impl Future<Output = Result<Option<String>>> + Send;
    /// An order; `false` when the article is out of stock.
    fn order(&self, stats: &Stats, order: &NewOrder<'_>) -> impl Future<Output = Result<bool>> + Send;
    /// How many orders the customer has.
    fn orders_of(&self, stats: &Stats, customer: i64) -> impl Future<Output = Result<usize>> + Send;
    /// Puts more of an article on the shelf; `false` when there is no such article.
    fn restock(&self, stats: &Stats, sku: &str, quantity: i64) -> impl Future<Output = Result<bool>> + Send;
    /// Fills an empty shop.
    fn seed(&self, customers: u64) -> impl Future<Output = Result<()>> + Send;
    /// Everything there is.
    fn export(&self) -> impl Future<Output = Result<Vec<Held>>> + Send;
}

/// A row of the shop.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "holds", rename_all = "snake_case")]
pub enum Held {
    /// A customer; version 1 knows no key.
    Customer { email: String, name: String, key: String },
    /// An order.
    Order { reference: String, sku: String, quantity: i64 },
    /// What is on the shelf.
    Stock { sku: String, on_hand: i64 },
}

/// An order to be placed.
#[derive(Debug, Clone, Copy)]
pub struct NewOrder<'a> {
    /// The caller's own reference.
    pub reference: &'a str,
    /// Customer.
    pub customer: i64,
    /// Article.
    pub sku: &'a str,
    /// How many.
    pub quantity: i64,
}

/// Number of articles on the shelf.
pub const ARTICLES: u64 = 50;

/// How many of each article there are at the start.
pub const ON_HAND: i64 = 1_000_000;

/// Serves until standard input closes or SIGTERM arrives.
///
/// # Errors
/// When the journal cannot be written. Statements that fail are counted, not returned: a shop goes on.
pub async fn run(load: impl Load, args: &ServeArgs, version: &str, waited: Duration) -> Result<()> {
    let journal = Arc::new(Journal::create(&args.journal)?);
    let stats = Arc::new(Stats::default());
    let load = Arc::new(load);
    let (stop, stopped) = watch::channel(false);
    let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
    Event::Ready { name: args.name.clone(), version: version.to_owned(), waited_ms }.print();
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..args.clients {
        let client = Client {
            load: load.clone(),
            stats: stats.clone(),
            journal: journal.clone(),
            name: format!("{}-{number}", args.name),
            pause: args.pause(),
        };
        clients.spawn(client.serve(stopped.clone()));
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(250));
    let mut asked = std::pin::pin!(asked_to_stop());
    loop {
        tokio::select! {
            _ = ticks.tick() => Event::Tick(stats.counters()).print(),
            () = &mut asked => break,
        }
    }
    stop.send_replace(true);
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Event::End(stats.counters()).print();
    Ok(())
}

async fn asked_to_stop() {
    let (closed, input_closed) = tokio::sync::oneshot::channel();
    // A thread of its own: a read of standard input cannot be taken back, and must not hold up the end of the process.
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        // An end of file and an error both mean that nobody is there any more.
        while std::io::stdin().read(&mut buffer).is_ok_and(|n| n > 0) {}
        closed.send(())
    });
    tokio::select! {
        _ = input_closed => {}
        () = terminated() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

#[cfg(unix)]
async fn terminated() {
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending().await
}

/// The customer that a client works with.
#[derive(Debug, Clone)]
struct Known {
    id: i64,
    email: String,
    name: String,
}

struct Client<L> {
    load: Arc<L>,
    stats: Arc<Stats>,
    journal: Arc<Journal>,
    name: String,
    pause: Duration,
}

impl<L: Load> Client<L> {
    async fn serve(self, mut stopped: watch::Receiver<bool>) -> Result<()> {
        let mut round = 0;
        let mut customer = None;
        while !*stopped.borrow() {
            self.operation(round, &mut customer).await?;
            round += 1;
            tokio::select! {
                () = tokio::time::sleep(self.pause) => {}
                _ = stopped.changed() => {}
            }
        }
        Ok(())
    }

    /// One operation. What fails is in the statistics already; what succeeds is noted.
    async fn operation(&self, round: u64, customer: &mut Option<Known>) -> Result<()> {
        let Some(Known { id, email, name }) = customer.clone().filter(|_| !round.is_multiple_of(40)) else {
            let email = format!("{}-{round}@shop.example", self.name);
            let name = format!("Customer {round} of {}", self.name);
            if let Ok(id) = self.load.sign_up(&self.stats, &email, &name).await {
                self.journal.note(&Entry::Customer { email: email.clone(), name: name.clone() })?;
                *customer = Some(Known { id, email, name });
            }
            return Ok(());
        };
        let sku = format!("article-{}", round % ARTICLES);
        match round % 8 {
            0 | 4 => {
                let reference = format!("{}-{round}", self.name);
                let quantity = i64::try_from(round % 3).unwrap_or_default() + 1;
                let order = NewOrder { reference: &reference, customer: id, sku: &sku, quantity };
                if let Ok(true) = self.load.order(&self.stats, &order).await {
                    self.journal.note(&Entry::Order { reference, sku, quantity })?;
                }
            }
            2 => {
                let name = format!("Renamed in round {round} by {}", self.name);
                if self.load.change_name(&self.stats, id, &name).await.is_ok() {
                    self.journal.note(&Entry::Customer { email: email.clone(), name: name.clone() })?;
                    *customer = Some(Known { id, email, name });
                }
            }
            6 => {
                let quantity = 4;
                if let Ok(true) = self.load.restock(&self.stats, &sku, quantity).await {
                    self.journal.note(&Entry::Restock { sku, quantity })?;
                }
            }
            1 | 5 => drop(self.load.orders_of(&self.stats, id).await),
            _ => {
                // Nobody else changes this customer: what was written last must be what is read.
                if let Ok(read) = self.load.name_of(&self.stats, id).await
                    && read.as_deref() != Some(&name)
                {
                    self.stats.wrong_read();
                }
            }
        }
        Ok(())
    }
}
