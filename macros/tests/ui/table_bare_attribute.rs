use schemadiff::Table;

#[derive(Table)]
#[table]
struct User {
    #[column(primary_key)]
    id: i64,
}

fn main() {}
