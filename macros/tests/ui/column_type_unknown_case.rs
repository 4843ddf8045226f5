use schemadiff::ColumnType;

#[derive(ColumnType)]
#[column_type(name = "mood", rename_all = "lower")]
enum Mood {
    Happy,
}

fn main() {}
