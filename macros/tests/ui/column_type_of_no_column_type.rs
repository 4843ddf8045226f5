use schemadiff::ColumnType;

struct Inner;

#[derive(ColumnType)]
struct Outer(Inner);

fn main() {}
