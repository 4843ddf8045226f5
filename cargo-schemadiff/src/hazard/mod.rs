//! What a reviewer must know of: one file per rule, with a stable code, the effect in a full sentence, and the remedy.
//!
//! `docs/hazards.md` has a section for every code in [`CODES`]; a test holds it to that.

pub mod action_stays;
pub mod ambiguous_null;
pub mod builds_index;
pub mod changes_result;
pub mod conflict_target;
pub mod converts_on_write;
pub mod drops_data;
pub mod enum_value_stays;
pub mod fails_on_null;
pub mod fails_on_rows;
pub mod fails_on_write;
pub mod key_stays;
pub mod late_deferral;
pub mod loses_part;
pub mod made_again;
pub mod made_up_value;
pub mod needs_application;
pub mod no_overlap;
pub mod null_too_early;
pub mod opaque_dependents;
pub mod out_of_range;
pub mod reads_default_partition;
pub mod reads_references;
pub mod rebuilds_indexes;
pub mod rebuilds_table;
pub mod result_shape;
pub mod returns_null;
pub mod rewrites_table;
pub mod rows_leave;
pub mod rows_may_go;
pub mod stays_computed;
pub mod trigger_too_early;
pub mod unindexed_reference;
pub mod unknown_values;
pub mod view_limits;
pub mod zone_assumed;

use schemadiff::plan::Hazard;

/// All codes, in order.
pub const CODES: [&str; 36] = [
    rewrites_table::CODE,
    no_overlap::CODE,
    drops_data::CODE,
    rebuilds_table::CODE,
    fails_on_rows::CODE,
    fails_on_null::CODE,
    result_shape::CODE,
    ambiguous_null::CODE,
    made_up_value::CODE,
    null_too_early::CODE,
    conflict_target::CODE,
    enum_value_stays::CODE,
    unindexed_reference::CODE,
    opaque_dependents::CODE,
    out_of_range::CODE,
    builds_index::CODE,
    view_limits::CODE,
    rebuilds_indexes::CODE,
    rows_leave::CODE,
    returns_null::CODE,
    late_deferral::CODE,
    needs_application::CODE,
    unknown_values::CODE,
    key_stays::CODE,
    changes_result::CODE,
    action_stays::CODE,
    trigger_too_early::CODE,
    reads_default_partition::CODE,
    zone_assumed::CODE,
    made_again::CODE,
    rows_may_go::CODE,
    fails_on_write::CODE,
    converts_on_write::CODE,
    loses_part::CODE,
    stays_computed::CODE,
    reads_references::CODE,
];

fn hazard(code: &str, effect: String, remedy: &str) -> Hazard {
    Hazard { code: code.to_owned(), effect, remedy: remedy.to_owned() }
}

/// `about 1200000 rows`, or that it is not known.
fn size(rows: Option<u64>) -> String {
    match rows {
        Some(rows) => format!("about {rows} rows"),
        None => "size unknown".to_owned(),
    }
}
