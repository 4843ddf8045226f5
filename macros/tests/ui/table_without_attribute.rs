use schemadiff::Table;

#[derive(Table)]
struct User {
    #[column(primary_key)]
    id: i64,
}

fn main() {}
