use schemadiff::Table;

#[derive(Table)]
#[table(name = "users", index(columns(cache)))]
struct User {
    #[column(primary_key)]
    id: i64,
    #[column(skip)]
    cache: String,
}

fn main() {}
