use schemadiff::Table;

#[derive(Table)]
#[table(name = "a\0b")]
struct User {
    #[column(primary_key)]
    id: i64,
}

fn main() {}
