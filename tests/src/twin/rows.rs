//! The rows of one table and owner, with what finds a value of a unique key among them without looking at each.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::world::{Cell, Key, Row};

/// Column lists that are unique together.
pub type Uniques = Arc<[Vec<String>]>;

/// The rows of one table.
#[derive(Default)]
pub struct Rows {
    rows: BTreeMap<Key, Row>,
    uniques: Uniques,
    /// For each unique key, the rows by what they hold.
    holders: Vec<HashMap<Vec<Cell>, Vec<Key>>>,
}

/// What a row holds of a key; `None` when a part is missing, or no value that another row could have as well: what the
/// server chooses is never taken, and NULL neither.
fn held(columns: &[String], row: &Row) -> Option<Vec<Cell>> {
    let cells = columns.iter().map(|column| row.get(column).cloned());
    cells.map(|cell| cell.filter(|cell| !matches!(cell, Cell::Unknown | Cell::Known(None)))).collect()
}

impl Rows {
    /// None yet.
    pub fn new(uniques: Uniques) -> Self {
        Self { rows: BTreeMap::new(), holders: vec![HashMap::new(); uniques.len()], uniques }
    }

    /// All of them.
    pub fn all(&self) -> &BTreeMap<Key, Row> {
        &self.rows
    }

    /// Puts a row in its place, or takes away what is there; returns what was there.
    pub fn put(&mut self, place: &Key, row: Option<Row>) -> Option<Row> {
        let was = match row {
            Some(row) => {
                self.note(place, &row);
                self.rows.insert(place.clone(), row)
            }
            None => self.rows.remove(place),
        };
        if let Some(was) = &was {
            self.forget(place, was);
        }
        was
    }

    /// Changes every row.
    pub fn change(&mut self, change: impl FnMut(&mut Row)) {
        self.rows.values_mut().for_each(change);
        self.holders = vec![HashMap::new(); self.uniques.len()];
        for (place, row) in std::mem::take(&mut self.rows) {
            self.note(&place, &row);
            self.rows.insert(place, row);
        }
    }

    /// Whether another row than the one at `except` holds what this row holds of any key.
    pub fn is_taken(&self, row: &Row, except: Option<&Key>) -> bool {
        self.uniques.iter().zip(&self.holders).any(|(columns, holders)| {
            let places = held(columns, row).and_then(|cells| holders.get(&cells));
            places.is_some_and(|places| places.iter().any(|place| Some(place) != except))
        })
    }

    fn note(&mut self, place: &Key, row: &Row) {
        for (columns, holders) in self.uniques.iter().zip(&mut self.holders) {
            if let Some(cells) = held(columns, row) {
                holders.entry(cells).or_default().push(place.clone());
            }
        }
    }

    fn forget(&mut self, place: &Key, row: &Row) {
        for (columns, holders) in self.uniques.iter().zip(&mut self.holders) {
            let Some(cells) = held(columns, row) else { continue };
            let Some(places) = holders.get_mut(&cells) else { continue };
            // Once: a row that is written again with the same values is noted before it is forgotten.
            if let Some(at) = places.iter().position(|p| p == place) {
                places.swap_remove(at);
            }
            if places.is_empty() {
                holders.remove(&cells);
            }
        }
    }
}
