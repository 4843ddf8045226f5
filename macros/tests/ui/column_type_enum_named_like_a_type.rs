use schemadiff::ColumnType;

#[derive(ColumnType)]
#[column_type(name = "path")]
enum Way {
    There,
    Back,
}

fn main() {}
