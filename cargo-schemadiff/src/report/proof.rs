//! What the proof of a plan has shown, and what it could not show.

use super::{count, paint, style};
use crate::prove::Proof;

/// One line when nothing is to be said, and a list of what is.
pub fn render_proof(proof: &Proof) -> String {
    let mut out = format!(
        "{} {} steps carried out and {} taken back on a scratch database, with {} made-up rows\n",
        paint(style::HEADING, "proven:"),
        proof.steps,
        proof.undone,
        count(proof.rows),
    );
    for (table, reason) in &proof.without_rows {
        let text =
            format!("`{table}` took no made-up row, so no trigger and no expression was seen at work there: {reason}");
        item(&mut out, &text);
    }
    proof.remarks.iter().for_each(|remark| item(&mut out, remark));
    out.push('\n');
    out
}

fn item(out: &mut String, text: &str) {
    out.push_str(&format!("  {} {}\n", paint(style::WARN, "-"), text.replace('\n', "\n    ")));
}
