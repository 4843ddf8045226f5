use schemadiff::Table;

#[derive(Table)]
#[table(name = "users")]
struct User {
    #[column(primary_key)]
    id: i64,
    #[column(primary_key)]
    email: String,
}

fn main() {}
