//! `cargo schemadiff`.

fn main() {}
