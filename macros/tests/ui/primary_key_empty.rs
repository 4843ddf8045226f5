use schemadiff::Table;

#[derive(Table)]
#[table(name = "users", primary_key())]
struct User {
    id: i64,
}

fn main() {}
