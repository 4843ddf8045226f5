//! A time without a zone becomes a moment, or the other way round.

use schemadiff::{model::ObjectName, plan::Hazard};

/// The rule's code.
pub const CODE: &str = "H029";

/// A time without a zone becomes a moment, or the other way round.
pub fn hazard(table: &ObjectName, column: &str) -> Hazard {
    let effect = format!(
        "the times without a zone in `{table}.{column}` are taken to be UTC, whatever zone the server or its clients are set to"
    );
    super::hazard(CODE, effect, "if they are of another zone, say so in a backfill: `at AT TIME ZONE 'Europe/Berlin'`")
}

/// Whether one of the two types has a time zone and the other has none.
pub fn concerns(before: &str, after: &str) -> bool {
    let zone =
        |ty: &str| ty.starts_with("timestamp").then(|| ty.contains("with time zone") || ty.starts_with("timestamptz"));
    zone(before).zip(zone(after)).is_some_and(|(before, after)| before != after)
}
