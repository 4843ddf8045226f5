//! Data goes for good.

use schemadiff::plan::Hazard;

/// The rule's code.
pub const CODE: &str = "H003";

/// Data goes, but not at once.
pub fn later(what: &str, comes_back: &str, for_ms: u64) -> Hazard {
    let effect = format!("the data in {what} is set aside in this step and kept for {}: {comes_back}", words(for_ms));
    let remedy = "use `cargo schemadiff undo` to bring it back, `cargo schemadiff purge` to drop it earlier";
    super::hazard(CODE, effect, remedy)
}

/// A time in the largest unit that needs no fraction.
pub fn words(ms: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second")];
    match UNITS.into_iter().find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit)) {
        Some((unit, name)) if ms == unit => format!("1 {name}"),
        Some((unit, name)) => format!("{} {name}s", ms / unit),
        None => format!("{ms} ms"),
    }
}

/// Data goes for good.
pub fn hazard(what: &str) -> Hazard {
    let effect = format!("the data in {what} is gone after this step");
    super::hazard(CODE, effect, "take a backup, or copy what may still be needed, before contract")
}
