//! How far a backfill is: pure. Workers claim ranges of the key one after the other; the durable cursor stands before the
//! first range that is not done, so that a crash repeats a few batches at most, and filling twice changes nothing.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::rate::left_ms;

/// A key as texts, one for each of its columns.
pub(super) type Key = Vec<Option<String>>;

/// Where a backfill stands, as the ledger keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// Upper bound of this pass, inclusive; empty between two passes.
    pub upper: Key,
    /// Last key up to which everything is done; none before the first batch.
    pub last: Option<Key>,
    /// Pass, from 1; 0 before the first.
    pub pass: u32,
    /// Rows that waited at the beginning.
    #[serde(default)]
    pub total: Option<u64>,
    /// Rows of this pass that were changed or locked by somebody while a function of the application computed their values.
    #[serde(default)]
    pub missed: u64,
    /// Rows in a second, lately: whoever looks from elsewhere cannot know for how long it has stood still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<u32>,
}

impl Cursor {
    /// The one to begin anew with: what waited at the beginning is known already.
    pub fn anew(self) -> Self {
        Self { total: self.total, ..Self::default() }
    }

    /// The one to begin the next pass with.
    pub fn again(self) -> Self {
        Self { upper: Key::new(), last: None, missed: 0, ..self }
    }

    /// Whether the pass has come to its end.
    pub fn is_at_end(&self) -> bool {
        !self.upper.is_empty() && self.last.as_ref() == Some(&self.upper)
    }

    pub fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub fn to_text(&self) -> String {
        // Texts, numbers and lists only: cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The number of rows that waited at the beginning, from a stored cursor.
pub(in crate::lockstep) fn total_of(cursor: &str) -> Option<u64> {
    Cursor::from_text(cursor)?.total
}

/// The time that what is left takes at the rate of late, in milliseconds, from a stored cursor.
pub(in crate::lockstep) fn left_of(cursor: &str, done: u64) -> Option<u64> {
    let cursor = Cursor::from_text(cursor)?;
    left_ms(cursor.total?.checked_sub(done)?, f64::from(cursor.per_second?))
}

/// A range that one worker has taken: above `at`, up to and with `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    id: u64,
    pub at: Option<Key>,
    pub to: Key,
}

impl Claim {
    /// The same claim, done up to `at`.
    pub fn done_to(self, at: Key) -> Self {
        Self { at: Some(at), ..self }
    }

    pub fn is_done(&self) -> bool {
        self.at.as_ref() == Some(&self.to)
    }
}

/// One pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Walk {
    cursor: Cursor,
    /// Up to where ranges have been claimed.
    head: Option<Key>,
    /// Claims in the order of the key, from the first one that is not done.
    claims: VecDeque<Claim>,
    next_id: u64,
}

impl From<Cursor> for Walk {
    fn from(cursor: Cursor) -> Self {
        Self { head: cursor.last.clone(), cursor, ..Self::default() }
    }
}

impl Walk {
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    pub fn head(&self) -> Option<&Key> {
        self.head.as_ref()
    }

    /// Whether every range has been claimed.
    pub fn is_claimed(&self) -> bool {
        self.head.as_ref() == Some(&self.cursor.upper)
    }

    /// Claims what lies between the head and `to`.
    pub fn claim(&mut self, to: Key) -> Claim {
        let claim = Claim { id: self.next_id, at: self.head.clone(), to: to.clone() };
        self.next_id += 1;
        self.head = Some(to);
        self.claims.push_back(claim.clone());
        claim
    }

    /// Says how many rows waited in the beginning, once that is known.
    pub fn knows(&mut self, total: Option<u64>) {
        self.cursor.total = self.cursor.total.or(total);
    }

    /// A claim is done up to `at`.
    pub fn advance(&mut self, claim: &Claim, at: &Key, missed: u64, per_second: Option<u32>) {
        self.cursor.per_second = per_second;
        self.cursor.missed += missed;
        if let Some(own) = self.claims.iter_mut().find(|other| other.id == claim.id) {
            own.at = Some(at.clone());
        }
        while let Some(first) = self.claims.front() {
            self.cursor.last.clone_from(&first.at);
            if !first.is_done() {
                return;
            }
            self.claims.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> Key {
        vec![Some(n.to_string())]
    }

    #[test]
    fn the_cursor_stands_before_the_first_range_that_is_not_done() {
        let mut walk = Walk::from(Cursor { upper: key(30), last: None, pass: 1, total: None, ..Cursor::default() });
        let (first, second) = (walk.claim(key(10)), walk.claim(key(20)));
        assert_eq!((first.at.clone(), second.at.clone()), (None, Some(key(10))));
        walk.advance(&second, &key(20), 0, None);
        assert_eq!(walk.cursor().last, None, "a crash now must not lose the first range");
        walk.advance(&first, &key(5), 0, None);
        assert_eq!(walk.cursor().last, Some(key(5)));
        walk.advance(&first, &key(10), 0, None);
        assert_eq!(walk.cursor().last, Some(key(20)), "both are done");
        assert!(!walk.is_claimed());
        let third = walk.claim(key(30));
        assert!(walk.is_claimed());
        walk.advance(&third, &key(30), 0, None);
        assert_eq!(walk.cursor().last, Some(key(30)));
        let again = Walk::from(walk.cursor().clone());
        assert!(again.is_claimed(), "nothing is left after a crash at the end");
    }
}
