//! Lists in messages.

use super::BadRows;
use crate::{
    compat::Reason,
    waiting::{Blocker, Holder},
};

pub(super) fn listed(rows: &[BadRows]) -> String {
    let each = rows.iter().map(|bad| format!("{}: {} (step {})", bad.finds, bad.rows.join(", "), bad.step));
    each.collect::<Vec<_>>().join("\n")
}

/// What would be lost, with rows where they were read.
pub(super) fn losses_listed(losses: &[BadRows]) -> String {
    let each = losses.iter().map(|loss| format!("{}: {} (step {})", loss.finds, loss.rows.join(", "), loss.step));
    each.collect::<Vec<_>>().join("\n")
}

/// Below what the server said.
pub(super) fn found(rows: &[BadRows]) -> String {
    if rows.is_empty() { String::new() } else { format!("\n{}", listed(rows)) }
}

pub(super) fn still_kept(kept: &[String]) -> String {
    if kept.is_empty() { String::new() } else { format!("; nothing was undone, and still kept is {}", kept.join(", ")) }
}

pub(super) const fn done_or_undone(taken_back: bool) -> &'static str {
    if taken_back { "taken back" } else { "carried out" }
}

pub(super) fn list(reasons: &[Reason]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

pub(super) fn such_as(keys: &[String]) -> String {
    if keys.is_empty() { String::new() } else { format!(", such as those with {}", keys.join("; ")) }
}

pub(super) fn kept_aside(rows: &[(String, String)]) -> String {
    let rows: Vec<_> = rows.iter().map(|(key, reason)| format!("{key} ({reason})")).collect();
    if rows.is_empty() { String::new() } else { format!(", such as those with {}", rows.join("; ")) }
}

pub(super) fn by(blockers: &[Blocker]) -> String {
    if blockers.is_empty() {
        return String::new();
    }
    format!(", blocked by {}", blockers.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

pub(super) fn holders_text(holders: &[Holder]) -> String {
    holders.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
