use schemadiff::Table;

#[derive(Table)]
#[table(name = "users")]
#[column(primary_key)]
struct User {
    #[column(primary_key)]
    id: i64,
    #[table(name = "x")]
    email: String,
}

fn main() {}
