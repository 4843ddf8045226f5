use schemadiff::ColumnType;

#[derive(ColumnType)]
enum Mood {
    Happy,
}

fn main() {}
