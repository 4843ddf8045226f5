//! Code in documents.

use std::path::Path;

/// Blocks of Rust in a document that do not stand in `compiled`, however it is broken into lines. A comment or an ellipsis on
/// a line of its own says that something is left out.
pub fn blocks_missing_in(document: &Path, compiled: &str) -> Vec<String> {
    let text = std::fs::read_to_string(document).unwrap();
    let compiled = squeezed(compiled);
    let blocks = text.split("```rust\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    let (mut missing, mut count) = (Vec::new(), 0);
    for block in blocks {
        count += 1;
        if !compiled.contains(&squeezed(block)) {
            missing.push(block.to_owned());
        }
    }
    assert!(count > 0, "{} has no block of Rust", document.display());
    missing
}

/// Without white space, and without what the formatter adds where it breaks a line.
fn squeezed(code: &str) -> String {
    let code: String = code.lines().map(|line| line.split(" // ").next().unwrap_or(line)).collect();
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    code.replace(",)", ")").replace(",}", "}")
}
