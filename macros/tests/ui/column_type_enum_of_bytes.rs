use schemadiff::ColumnType;

#[derive(ColumnType)]
#[repr(u8)]
enum Level {
    Low,
    High,
}

#[derive(ColumnType)]
#[repr(i32)]
#[column_type(rename_all = "lowercase")]
enum Grade {
    One,
    Two,
}

fn main() {}
