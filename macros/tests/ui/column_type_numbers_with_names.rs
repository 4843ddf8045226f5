use schemadiff::ColumnType;

#[derive(ColumnType)]
#[column_type(schema = "app")]
#[repr(i32)]
enum Level {
    #[column_type(rename = "low")]
    Low,
    High,
}

fn main() {}
