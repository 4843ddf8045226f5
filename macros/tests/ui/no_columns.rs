use schemadiff::Table;

#[derive(Table)]
#[table(name = "users", no_primary_key)]
struct User {
    #[column(skip)]
    id: i64,
}

fn main() {}
