use schemadiff::ColumnType;

#[derive(ColumnType)]
struct Email(#[column_type(ty = "citext")] String);

fn main() {}
