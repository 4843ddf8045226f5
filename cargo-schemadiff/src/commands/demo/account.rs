//! The exact account: every write that was acknowledged is looked for in the database.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use serde::Deserialize;

use crate::{Error, Kind, Result};

/// How many of each article the shop has at the start, and how many articles; `examples/shop/src/load.rs`.
const ON_HAND: i64 = 1_000_000;
const ARTICLES: u64 = 50;

#[derive(Debug, Deserialize)]
#[serde(tag = "wrote", rename_all = "snake_case")]
enum Entry {
    Customer { email: String, name: String },
    Order { reference: String, sku: String, quantity: i64 },
    Restock { sku: String, quantity: i64 },
}

/// What `shop-v2 export` prints.
#[derive(Debug, Deserialize)]
#[serde(tag = "holds", rename_all = "snake_case")]
enum Held {
    Customer { email: String, name: String, key: String },
    Order { reference: String, sku: String, quantity: i64 },
    Stock { sku: String, on_hand: i64 },
}

/// What the database must hold.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    customers: BTreeMap<String, String>,
    orders: BTreeMap<String, (String, i64)>,
    stock: BTreeMap<String, i64>,
}

/// What it holds, compared.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// Rows that must be there.
    pub rows_expected: u64,
    /// Rows that are not there, or not with the values that were acknowledged.
    pub rows_lost: u64,
    /// Rows that nobody wrote.
    pub rows_unexplained: u64,
    /// The first few of either, for people.
    pub examples: Vec<String>,
}

impl Expected {
    /// A shop as `seed` leaves it.
    pub fn seeded(customers: u64) -> Self {
        Self {
            customers: (1..=customers).map(|n| (format!("Seed-{n}@Shop.Example"), format!("Customer {n}"))).collect(),
            orders: BTreeMap::new(),
            stock: (0..ARTICLES).map(|n| (format!("article-{n}"), ON_HAND)).collect(),
        }
    }

    /// Adds what a process noted.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn add(&mut self, journal: &Path) -> Result<()> {
        let unreadable = |e: &dyn std::fmt::Display| {
            Error::new(Kind::Apply, "SD0741", format!("{} cannot be read", journal.display())).cause(e)
        };
        for line in BufReader::new(File::open(journal).map_err(|e| unreadable(&e))?).lines() {
            let line = line.map_err(|e| unreadable(&e))?;
            match serde_json::from_str(&line).map_err(|e| unreadable(&e))? {
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

    /// Compares with what version 2 of the shop reads out of its database: one JSON object a line.
    ///
    /// # Errors
    /// When a line is not understood.
    pub fn compare(mut self, exported: &str) -> Result<Account> {
        let expected = self.customers.len() + self.orders.len() + self.stock.len();
        let mut account = Account { rows_expected: expected as u64, ..Account::default() };
        for line in exported.lines() {
            let held = serde_json::from_str(line)
                .map_err(|e| Error::new(Kind::Apply, "SD0742", "what the shop holds cannot be read back").cause(e))?;
            match held {
                Held::Customer { email, name, key } => {
                    let right = self.customers.remove(&email).map(|e| e == name && key == email.to_lowercase());
                    account.row(right, || format!("customer {email}"));
                }
                Held::Order { reference, sku, quantity } => {
                    let right = self.orders.remove(&reference).map(|e| e == (sku, quantity));
                    account.row(right, || format!("order {reference}"));
                }
                Held::Stock { sku, on_hand } => {
                    let right = self.stock.remove(&sku).map(|e| e == on_hand);
                    account.row(right, || format!("stock of {sku}"));
                }
            }
        }
        account.missing(self.customers.keys().map(|email| format!("customer {email}")));
        account.missing(self.orders.keys().map(|reference| format!("order {reference}")));
        account.missing(self.stock.keys().map(|sku| format!("stock of {sku}")));
        Ok(account)
    }
}

impl Account {
    /// `right` is nothing when nobody wrote the row.
    fn row(&mut self, right: Option<bool>, what: impl FnOnce() -> String) {
        match right {
            Some(true) => {}
            Some(false) => {
                self.rows_lost += 1;
                self.example(|| format!("{} has another value", what()));
            }
            None => {
                self.rows_unexplained += 1;
                self.example(|| format!("{} was written by nobody", what()));
            }
        }
    }

    fn missing(&mut self, names: impl Iterator<Item = String>) {
        for name in names {
            self.rows_lost += 1;
            self.example(|| format!("{name} is missing"));
        }
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < 5 {
            self.examples.push(text());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(rows: &[&str]) -> String {
        let stock = (0..ARTICLES).map(|n| {
            let on_hand = if n == 3 { ON_HAND - 2 } else { ON_HAND };
            format!(r#"{{"holds":"stock","sku":"article-{n}","on_hand":{on_hand}}}"#)
        });
        rows.iter().map(|row| (*row).to_owned()).chain(stock).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_is_lost_changed_or_invented_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("a.jsonl");
        let lines = [
            r#"{"wrote":"customer","email":"A@x","name":"first"}"#,
            r#"{"wrote":"customer","email":"A@x","name":"second"}"#,
            r#"{"wrote":"order","reference":"r1","sku":"article-3","quantity":2}"#,
        ];
        std::fs::write(&journal, lines.join("\n")).unwrap();
        let mut expected = Expected::seeded(1);
        expected.add(&journal).unwrap();
        let seed =
            r#"{"holds":"customer","email":"Seed-1@Shop.Example","name":"Customer 1","key":"seed-1@shop.example"}"#;
        let second = r#"{"holds":"customer","email":"A@x","name":"second","key":"a@x"}"#;
        let order = r#"{"holds":"order","reference":"r1","sku":"article-3","quantity":2}"#;
        let account = expected.clone().compare(&export(&[seed, second, order])).unwrap();
        assert_eq!((account.rows_expected, account.rows_lost, account.rows_unexplained), (53, 0, 0), "{account:?}");
        let stale = second.replace("second", "first");
        let account = expected.clone().compare(&export(&[seed, &stale, order])).unwrap();
        assert_eq!((account.rows_lost, account.rows_unexplained), (1, 0));
        let unfilled = seed.replace("seed-1@shop.example", "");
        let other = order.replace("r1", "r2");
        let account = expected.compare(&export(&[&unfilled, &other])).unwrap();
        assert_eq!((account.rows_lost, account.rows_unexplained), (3, 1), "{account:?}");
    }
}
