use schemadiff::Table;

#[derive(Table)]
#[schemadiff(table(name = "users"))]
struct User {
    #[column(primary_key)]
    id: i64,
    #[schemadiff(table(name = "x"))]
    email: String,
}

fn main() {}
