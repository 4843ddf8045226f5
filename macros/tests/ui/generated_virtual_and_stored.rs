use schemadiff::Table;

#[derive(Table)]
#[table(name = "users")]
struct User {
    #[column(primary_key)]
    id: i64,
    #[column(generated(expr = "lower(x)", virtual, stored))]
    email: String,
}

fn main() {}
