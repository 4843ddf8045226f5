use schemadiff::ColumnType;

#[derive(ColumnType)]
struct Money(i64, String);

#[derive(ColumnType)]
#[column_type(name = "email")]
struct Email(String);

fn main() {}
