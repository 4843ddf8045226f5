//! Every write that the database acknowledged, so that afterwards each can be looked for.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    sync::Mutex,
};

use serde::{Deserialize, Serialize};

/// One acknowledged write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wrote", rename_all = "snake_case")]
pub enum Entry {
    /// A customer signed up or got another name.
    Customer { email: String, name: String },
    /// An order was placed.
    Order { reference: String, sku: String, quantity: i64 },
    /// More of an article was put on the shelf.
    Restock { sku: String, quantity: i64 },
}

/// The journal of one process.
#[derive(Debug)]
pub struct Journal(Mutex<File>);

impl Journal {
    /// Starts an empty one.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self(Mutex::new(File::create(path)?)))
    }

    /// Notes a write, after the database acknowledged it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn note(&self, entry: &Entry) -> io::Result<()> {
        let line = serde_json::to_string(entry)? + "\n";
        let mut file = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(line.as_bytes())
    }
}

/// What the database must hold after some processes have run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Name by email address.
    pub customers: BTreeMap<String, String>,
    /// Article and quantity by order reference.
    pub orders: BTreeMap<String, (String, i64)>,
    /// What was put on the shelf less what was sold, by article.
    pub stock: BTreeMap<String, i64>,
}

impl Expected {
    /// Adds what a journal says, later entries over earlier ones.
    ///
    /// # Errors
    /// When the file cannot be read or is no journal.
    pub fn read(&mut self, path: &Path) -> io::Result<()> {
        for line in BufReader::new(File::open(path)?).lines() {
            match serde_json::from_str(&line?)? {
                Entry::Customer { email, name } => drop(self.customers.insert(email, name)),
                Entry::Order { reference, sku, quantity } => {
                    *self.stock.entry(sku.clone()).or_default() -= quantity;
                    self.orders.insert(reference, (sku, quantity));
                }
                Entry::Restock { sku, quantity } => *self.stock.entry(sku).or_default() += quantity,
            }
        }
        Ok(())
    }
}
